"""The syntax tree of a `where`, the keys of an `order_by`, and the fields that they may name."""

import enum
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias, TypeVar

import attrs

_PLAIN: Final = (
    "number",
    "created_at",
    "actor",
    "description",
    "type",
    "stage",
    "alias",
    "withdrawn",
)
_NAMESPACES: Final = ("data", "metrics", "params", "tags")

FIELDS: Final[Mapping[str, bool]] = MappingProxyType(
    dict.fromkeys(_PLAIN, False) | dict.fromkeys(_NAMESPACES, True)
)
"""First part of a field path -> whether a name must follow it, as in `metrics.auc`."""

MAX_LENGTH: Final = 10_000
"""Longest `where` or `order_by` that is read, in characters."""

MAX_DEPTH: Final = 100
"""Deepest nesting of parentheses and `not` that is read."""


class _Missing(enum.Enum):
    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing.MISSING
"""What a lookup returns for a field that a version does not have."""

Path: TypeAlias = tuple[str, ...]
Lookup: TypeAlias = Callable[[Path], object]
Literal: TypeAlias = str | int | float | bool | None
Node: TypeAlias = "Comparison | Negation | Conjunction | Disjunction"
Row = TypeVar("Row")

CREATED_AT: Final = ("created_at",)


@attrs.frozen(kw_only=True)
class Comparison:
    """A field held against literals; `operator` is in, like, between, <, <=, > or >=."""

    path: Path
    operator: str
    operands: tuple[Literal, ...]


@attrs.frozen(kw_only=True)
class Negation:
    """True where its node is false."""

    node: Node


@attrs.frozen(kw_only=True)
class Conjunction:
    """True where all of its nodes are true."""

    nodes: tuple[Node, ...]


@attrs.frozen(kw_only=True)
class Disjunction:
    """True where any of its nodes is true."""

    nodes: tuple[Node, ...]


@attrs.frozen(kw_only=True)
class Order:
    """One key to sort by."""

    path: Path
    descending: bool = False


def paths(node: Node) -> Iterable[Path]:
    waiting = [node]
    while waiting:
        match waiting.pop():
            case Comparison(path=path):
                yield path
            case Negation(node=inner):
                waiting.append(inner)
            case Conjunction(nodes=nodes) | Disjunction(nodes=nodes):
                waiting.extend(nodes)
