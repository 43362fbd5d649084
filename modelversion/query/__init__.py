"""Parse and evaluate the `where` and `order_by` strings that choose versions.

A `where` is a condition on the fields of one version::

    metrics.auc > 0.9 and tags.team = 'risk' and params.`opt/lr` < 1

| written | true when the field |
|---|---|
| `=` `==` `!=` `<>` `<` `<=` `>` `>=` | compares so with a literal |
| `in (1, 2)`, `between 1 and 2` | is one of these, lies between these, both ends included |
| `like 'a%'` | matches: `%` any text, `_` one character, backslash takes either literally |
| `is null`, `= null` | has no value |
| `not in`, `not like`, `not between`, `is not null` | does not |

`not` binds tighter than `and`, `and` tighter than `or`. Keywords may be in any case, names may
not. Literals are numbers, `'text'` or `"text"` (a doubled quote stands for one), `true`, `false`
and `null`. A name that is no identifier goes in backquotes.

There is no third truth value. A comparison with a field that has no value is false, and every
negation is the plain opposite of what it negates: `alias != 'champion'` and
`not alias = 'champion'` both hold for a version without an alias, and
`not (metrics.auc > 0.9)` holds for one without that metric. Add `and metrics.auc is not null`
to leave those out.

Numbers compare with numbers, text with text, booleans with booleans; across types nothing is
equal and nothing comes before anything. NaN is equal to nothing. A field that holds several values
(two aliases of a version, a list among the params) compares as true when any of them does, and is
null when it holds none.

`created_at` compares at the precision of the literal, in UTC: `= '2026-11-01'` is that whole day,
`<= '2026-11'` goes to the end of November, `> '2026-11-01'` begins the day after.
"""

from collections.abc import Sequence

import attrs

from modelversion.errors import QueryError
from modelversion.query._evaluate import Predicate, compile_node, sort_rows
from modelversion.query._parse import parse_keys, parse_tree
from modelversion.query._tree import (
    FIELDS,
    MAX_DEPTH,
    MAX_LENGTH,
    MISSING,
    Comparison,
    Conjunction,
    Disjunction,
    Literal,
    Lookup,
    Negation,
    Node,
    Order,
    Path,
    paths,
)

__all__ = [
    "FIELDS",
    "MAX_DEPTH",
    "MAX_LENGTH",
    "MISSING",
    "Comparison",
    "Conjunction",
    "Disjunction",
    "Literal",
    "Lookup",
    "Negation",
    "Node",
    "Order",
    "Path",
    "Where",
    "parse_order_by",
    "parse_where",
    "sort_rows",
]


@attrs.frozen(kw_only=True)
class Where:
    """A parsed `where`: its text, its syntax tree and the compiled test."""

    text: str
    tree: Node = attrs.field(repr=False)
    _predicate: Predicate = attrs.field(init=False, repr=False, eq=False)

    @_predicate.default
    def _compiled(self) -> Predicate:
        return compile_node(self.tree)

    def matches(self, lookup: Lookup, /) -> bool:
        """Tell whether the fields that `lookup` gives meet the condition.

        Args:
            lookup: Gives the value at a path such as `("metrics", "auc")`, or `MISSING`.
        """
        return self._predicate(lookup)

    @property
    def paths(self) -> frozenset[Path]:
        """Give every field path that the condition reads."""
        return frozenset(paths(self.tree))


def parse_where(text: str, /) -> Where:
    """Parse a `where` string.

    Raises:
        QueryError: The text is no condition, names an unknown field, is longer than `MAX_LENGTH`
            or nests deeper than `MAX_DEPTH`; a caret points at the place.

    Examples:
        >>> where = parse_where("metrics.auc > 0.9 and params.`opt/lr` < 1")
        >>> fields = {("metrics", "auc"): 0.93, ("params", "opt/lr"): 0.1}
        >>> where.matches(lambda path: fields.get(path, MISSING))
        True
    """
    return Where(text=text, tree=parse_tree(text))


def parse_order_by(text: str | Sequence[str], /) -> tuple[Order, ...]:
    """Parse an `order_by`: fields separated by commas, `-` before one for descending.

    Args:
        text: One string, or several whose keys follow each other.

    Raises:
        QueryError: The text is no list of fields, names an unknown field or is longer than
            `MAX_LENGTH`; a caret points at the place.

    Examples:
        >>> [order.descending for order in parse_order_by("-metrics.auc, number")]
        [True, False]
    """
    parts: object = [text] if isinstance(text, str) else text
    if not isinstance(parts, Sequence):
        found = type(text).__name__
        raise QueryError(f"order_by: found the type {found}, wanted a string or a list of them")
    return tuple(order for part in parts for order in parse_keys(part))
