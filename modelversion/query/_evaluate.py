"""Evaluate: a syntax tree as nested closures, and rows in the order of keys."""

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from modelversion.query._tree import (
    CREATED_AT,
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
    Row,
)

Predicate: TypeAlias = Callable[[Lookup], bool]
_Accepts: TypeAlias = Callable[[Any], bool]

_SEVERAL: Final = (tuple, list, set, frozenset)
_RANKS: Final[Mapping[type, int]] = MappingProxyType({bool: 0, float: 1, str: 2})
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = MappingProxyType(
    {
        "=": operator.eq,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
)
_LIKE_CHAR: Final = re.compile(r"\\[%_\\]|.", re.DOTALL)


def compile_node(node: Node) -> Predicate:
    """Give the test that a tree says."""
    match node:
        case Comparison():
            return _comparison(node)
        case Negation(node=inner):
            inner_holds = compile_node(inner)
            return lambda lookup: not inner_holds(lookup)
        case Conjunction(nodes=nodes):
            return _joined(tuple(map(compile_node, nodes)), decisive=False)
        case Disjunction(nodes=nodes):
            return _joined(tuple(map(compile_node, nodes)), decisive=True)


def _joined(predicates: tuple[Predicate, ...], *, decisive: bool) -> Predicate:
    def holds(lookup: Lookup) -> bool:
        # A loop, not all() or any(): a frame less for each level, and twice as fast.
        for predicate in predicates:
            if predicate(lookup) is decisive:
                return decisive
        return not decisive

    return holds


def _comparison(node: Comparison) -> Predicate:
    path, accepts, accepts_null = node.path, _accepts(node), None in node.operands

    def holds(lookup: Lookup) -> bool:
        value = lookup(path)
        if value is None or value is MISSING:
            return accepts_null
        if isinstance(value, _SEVERAL):
            return any(map(accepts, value)) if value else accepts_null
        return accepts(value)

    return holds


def _accepts(node: Comparison) -> _Accepts:
    match node.operator, node.operands:
        case "in", operands:
            return _one_of(node.path, operands)
        case "like", (str(pattern),):
            matches = re.compile(_like_regex(pattern), re.DOTALL).fullmatch
            return lambda value: isinstance(value, str) and matches(value) is not None
        case "between", (lower, upper):
            above = _compared(node.path, ">=", lower)
            below = _compared(node.path, "<=", upper)
            return lambda value: above(value) and below(value)
    return _compared(node.path, node.operator, node.operands[0])


def _one_of(path: Path, operands: tuple[Literal, ...]) -> _Accepts:
    if path == CREATED_AT:
        tests = [_compared(path, "=", operand) for operand in operands if operand is not None]
        return lambda value: any(test(value) for test in tests)
    # The kind goes in too, because True == 1 in Python.
    members = frozenset((_kind(operand), operand) for operand in operands)

    def accepts(value: Any) -> bool:
        kind = _kind(value)
        return kind is not None and (kind, value) in members

    return accepts


def _like_regex(pattern: str) -> str:
    parts = [[""]]
    for char in _LIKE_CHAR.findall(pattern):
        if char == "%":
            parts.append([""])
        else:
            parts[-1].append("." if char == "_" else re.escape(char[-1]))
    first, *rest = ("".join(part) for part in parts)
    if not rest:
        return first
    # Atomic groups: '%a%a%a%' would else try every way to share the text out.
    return first + "".join(f"(?>.*?{part})" for part in rest[:-1]) + ".*" + rest[-1]


def _compared(path: Path, symbol: str, operand: Any) -> _Accepts:
    compare, kind = _COMPARE[symbol], _kind(operand)
    if path != CREATED_AT:
        return lambda value: _kind(value) is kind and compare(value, operand)
    size = len(operand)
    return lambda value: isinstance(value, str) and compare(_cut(value, size), operand)


def _cut(moment: str, size: int) -> str:
    digits = moment.rstrip("Z")
    return (digits if "." in digits else digits + ".").ljust(size, "0")[:size]


def _kind(value: object) -> type | None:
    if isinstance(value, bool):
        return bool
    if isinstance(value, str):
        return str
    return float if isinstance(value, int | float) else None


def sort_rows(
    rows: Iterable[Row], orders: Sequence[Order], *, lookup_for: Callable[[Row], Lookup]
) -> list[Row]:
    """Sort rows by several keys; rows that are equal in all of them keep their order.

    A row whose field is missing, null, NaN or not a number, text or boolean comes last, ascending
    or descending. Types do not mix: ascending, booleans come before numbers and numbers before
    text. A field of several values counts as its smallest.
    """
    ordered = list(rows)
    for order in reversed(orders):
        ordered = _sorted_by(ordered, order, lookup_for)
    return ordered


def _sorted_by(rows: list[Row], order: Order, lookup_for: Callable[[Row], Lookup]) -> list[Row]:
    key = _created_key if order.path == CREATED_AT else _sort_key
    keyed = [(key(lookup_for(row)(order.path)), row) for row in rows]
    present = [(rank, row) for rank, row in keyed if rank is not None]
    present.sort(key=operator.itemgetter(0), reverse=order.descending)
    return [row for _, row in present] + [row for rank, row in keyed if rank is None]


def _created_key(value: object) -> tuple[int, Any] | None:
    # "Z" sorts after "." and would put 12:00:00Z behind 12:00:00.5Z.
    return _scalar_key(value.rstrip("Z") if isinstance(value, str) else value)


def _sort_key(value: object) -> tuple[int, Any] | None:
    if isinstance(value, _SEVERAL):
        keys = (_scalar_key(item) for item in value)
        return min((key for key in keys if key is not None), default=None)
    return _scalar_key(value)


def _scalar_key(value: Any) -> tuple[int, Any] | None:
    kind = _kind(value)
    is_nan = value != value if kind is float else False
    return None if kind is None or is_nan else (_RANKS[kind], value)
