"""Parse: text to tokens to a syntax tree; every refusal points at the place."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final, NoReturn

import attrs

from modelversion.errors import QueryError
from modelversion.query._tree import (
    CREATED_AT,
    FIELDS,
    MAX_DEPTH,
    MAX_LENGTH,
    Comparison,
    Conjunction,
    Disjunction,
    Literal,
    Negation,
    Node,
    Order,
    Path,
)

_BACKQUOTES: Final = "a name that is no identifier goes in backquotes: params.`opt/lr`"


def parse_tree(text: object) -> Node:
    """Give the syntax tree of a `where`."""
    cursor = _open(text, "where")
    tree = _either(cursor)
    if cursor.token.kind != "end":
        _refuse(cursor, "'and', 'or' or the end")
    return tree


def parse_keys(text: object) -> Iterable[Order]:
    """Give the keys of one `order_by` string."""
    cursor = _open(text, "order_by")
    more = True
    while more:
        descending = cursor.accept("-")
        yield Order(path=_path(cursor), descending=descending)
        more = cursor.accept(",")
    if cursor.token.kind != "end":
        _refuse(cursor, "',' or the end; descending is written -metrics.auc")


# --- Text to tokens


@attrs.frozen
class _Token:
    kind: str
    text: str
    start: int


@attrs.define
class _Cursor:
    """The tokens of one query and how far they are read."""

    name: str
    text: str
    tokens: list[_Token]
    index: int = 0
    depth: int = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.index]

    def take(self) -> _Token:
        token = self.token
        self.index += token.kind != "end"
        return token

    def accept(self, *words: str) -> bool:
        """Step over the next token if it is one of these symbols or keywords."""
        found = self.token.kind == "word" and self.token.text in words
        self.index += found
        return found

    def expect(self, word: str) -> None:
        if not self.accept(word):
            _refuse(self, f"'{word}'")

    def fail(self, message: str, *, at: int) -> NoReturn:
        raise QueryError(f"{self.name}: {message}\n{_pointed(self.text, at)}")


def _pointed(text: str, at: int) -> str:
    start = max(0, at - _SHOWN)
    # One character each, or the caret would stand under another one.
    shown = "".join(c if c.isprintable() else " " for c in text[start : at + _SHOWN])
    return f"    {shown}\n    {' ' * (at - start)}^"


def _open(text: object, name: str) -> _Cursor:
    if not isinstance(text, str):
        raise QueryError(f"{name}: found the type {type(text).__name__}, wanted a string")
    if len(text) > MAX_LENGTH:
        raise QueryError(f"{name}: found {len(text):,} characters; at most {MAX_LENGTH:,} are read")
    cursor = _Cursor(name, text, [])
    cursor.tokens.extend(_tokens(cursor))
    if len(cursor.tokens) == 1:
        cursor.fail("empty; leave it out, or name a field such as metrics.auc", at=0)
    return cursor


def _tokens(cursor: _Cursor) -> Iterable[_Token]:
    text, at = cursor.text, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            cursor.fail(_unreadable(text, at), at=at)
        yield from _token(match)
        at = match.end()
    yield _Token("end", "", at)


def _unreadable(text: str, at: int) -> str:
    if text[at] in "'\"`":
        return f"the quote {text[at]} is not closed; a quote inside is written twice"
    if text[at] in "./-":
        return f"cannot read {text[at]!r} here; {_BACKQUOTES}"
    if text[at].isdigit() or text[at] == "+":
        return "cannot read this number; write it as 12, -0.5 or 1e-3"
    return f"cannot read {text[at]!r} here; text goes in quotes, {_BACKQUOTES}"


def _token(match: re.Match[str]) -> Iterable[_Token]:
    kind, text = str(match.lastgroup), match.group()
    if kind == "path" and text.lower() in _KEYWORDS:
        yield _Token("word", text.lower(), match.start())
    elif kind != "space":
        yield _Token(kind, text, match.start())


# --- Tokens to a tree


def _either(cursor: _Cursor) -> Node:
    nodes = [_both(cursor)]
    while cursor.accept("or"):
        nodes.append(_both(cursor))
    return nodes[0] if len(nodes) == 1 else Disjunction(nodes=tuple(nodes))


def _both(cursor: _Cursor) -> Node:
    nodes = [_term(cursor)]
    while cursor.accept("and"):
        nodes.append(_term(cursor))
    return nodes[0] if len(nodes) == 1 else Conjunction(nodes=tuple(nodes))


def _term(cursor: _Cursor) -> Node:
    opening = cursor.token
    if not cursor.accept("not", "("):
        return _test(cursor)
    cursor.depth += 1
    if cursor.depth > MAX_DEPTH:
        cursor.fail(f"nested more than {MAX_DEPTH} deep; write it flatter", at=opening.start)
    node: Node = Negation(node=_term(cursor)) if opening.text == "not" else _either(cursor)
    if opening.text == "(" and not cursor.accept(")"):
        _refuse(cursor, "'and', 'or' or ')'")
    cursor.depth -= 1
    return node


def _test(cursor: _Cursor) -> Node:
    path = _path(cursor)
    if cursor.accept("is"):
        return _null_test(cursor, path)
    if cursor.accept("not"):
        return Negation(node=_word_test(cursor, path))
    symbol = cursor.token.text if cursor.token.kind == "word" else ""
    if symbol in _WORD_TESTS:
        return _word_test(cursor, path)
    if symbol not in _SYMBOLS:
        _refuse(cursor, f"one of {_ALL_TESTS}")
    cursor.take()
    return _symbol_test(cursor, path, _SYMBOLS[symbol])


def _null_test(cursor: _Cursor, path: Path) -> Node:
    negated = cursor.accept("not")
    cursor.expect("null")
    node = Comparison(path=path, operator="in", operands=(None,))
    return Negation(node=node) if negated else node


def _word_test(cursor: _Cursor, path: Path) -> Comparison:
    word = cursor.token.text
    if not cursor.accept(*_WORD_TESTS):
        _refuse(cursor, "one of in, like, between")
    operands = _WORD_TESTS[word](cursor, path)
    return Comparison(path=path, operator=word, operands=operands)


def _in_operands(cursor: _Cursor, path: Path) -> tuple[Literal, ...]:
    cursor.expect("(")
    operands = [_literal(cursor, path)]
    while cursor.accept(","):
        operands.append(_literal(cursor, path))
    if not cursor.accept(")"):
        _refuse(cursor, "',' or ')'")
    return tuple(operands)


def _like_operands(cursor: _Cursor, path: Path) -> tuple[Literal, ...]:
    if cursor.token.kind != "string":
        _refuse(cursor, f"a quoted pattern after {_spelled(path)} like, such as 'a%'")
    return (_unquoted(cursor.take().text),)


def _between_operands(cursor: _Cursor, path: Path) -> tuple[Literal, ...]:
    lower = _ordered_literal(cursor, path, "between")
    cursor.expect("and")
    return (lower, _ordered_literal(cursor, path, "between"))


def _symbol_test(cursor: _Cursor, path: Path, symbol: str) -> Node:
    if symbol in _ORDERINGS:
        operand = _ordered_literal(cursor, path, symbol)
        return Comparison(path=path, operator=symbol, operands=(operand,))
    node = Comparison(path=path, operator="in", operands=(_literal(cursor, path),))
    return node if symbol == "=" else Negation(node=node)


def _ordered_literal(cursor: _Cursor, path: Path, symbol: str) -> Literal:
    if cursor.accept("null", "true", "false"):
        cursor.index -= 1
        _refuse(cursor, f"a number or text, for {symbol} has no meaning with it")
    return _literal(cursor, path)


def _literal(cursor: _Cursor, path: Path) -> Literal:
    token = cursor.token
    if token.kind == "path":
        _refuse(cursor, f"a literal; text goes in quotes: '{_shortened(token.text)}'")
    if token.kind not in ("string", "number") and token.text not in _CONSTANTS:
        _refuse(cursor, "a number, quoted text, true, false or null")
    cursor.take()
    value = _value(cursor, token)
    if path == CREATED_AT and value is not None:
        return _instant(cursor, token, value)
    return value


def _value(cursor: _Cursor, token: _Token) -> Literal:
    if token.kind == "string":
        return _unquoted(token.text)
    if token.text in _CONSTANTS:
        return _CONSTANTS[token.text]
    if not token.text.lstrip("+-").isdigit():
        return float(token.text)
    try:
        return int(token.text)
    except ValueError:
        # Python reads no integer of more than some 4,300 digits.
        cursor.fail(f"a number of {len(token.text):,} digits is too long", at=token.start)


def _unquoted(text: str) -> str:
    quote = text[0]
    return text[1:-1].replace(quote * 2, quote)


def _instant(cursor: _Cursor, token: _Token, value: Literal) -> str:
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    with suppress(ValueError, OverflowError):
        if match:
            return _in_utc(match["digits"].replace(" ", "T"), match["zone"])
    example = "'2026-11-01' or '2026-11-01T09:30:00Z'"
    cursor.fail(f"created_at compares with a date such as {example}", at=token.start)


def _in_utc(digits: str, zone: str | None) -> str:
    from datetime import UTC, datetime

    moment = datetime.fromisoformat(digits + "0001-01-01"[len(digits) :] + (zone or ""))
    if zone in (None, "Z"):
        return digits
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()[: len(digits)]


def _path(cursor: _Cursor) -> Path:
    token = cursor.token
    if token.kind != "path":
        _refuse(cursor, "a field such as metrics.auc")
    cursor.take()
    first, *names = (
        _unquoted(part) if part[0] == "`" else part for part in _PART.findall(token.text)
    )
    if first not in FIELDS:
        cursor.fail(_unknown(first), at=token.start)
    if FIELDS[first] and not names:
        cursor.fail(f"{first} wants a name after a dot; {_BACKQUOTES}", at=token.start)
    if names and not FIELDS[first]:
        cursor.fail(f"{first} has no fields of its own; write {first} alone", at=token.start)
    return (first, *names)


def _unknown(name: str) -> str:
    # Imported here because only a mistake needs it.
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), FIELDS, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    fields = ", ".join(sorted(f"{field}.*" if FIELDS[field] else field for field in FIELDS))
    return f"no field '{_shortened(name)}'; {hint}fields: {fields}"


def _refuse(cursor: _Cursor, wanted: str) -> NoReturn:
    token = cursor.token
    found = f"'{_shortened(token.text)}'" if token.kind != "end" else "the end"
    hint = f"; {_BACKQUOTES}" if token.text[:1] in ("-", ".") else ""
    cursor.fail(f"found {found}, wanted {wanted}{hint}", at=token.start)


def _spelled(path: Path) -> str:
    return _shortened(".".join(path))


def _shortened(text: str) -> str:
    text = repr(text)[1:-1]
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


_SHOWN: Final = 40
_CONSTANTS: Final[Mapping[str, Literal]] = MappingProxyType(
    {"true": True, "false": False, "null": None}
)
_KEYWORDS: Final = frozenset(
    ("and", "or", "not", "in", "like", "is", "between", "null", "true", "false")
)
_SYMBOLS: Final[Mapping[str, str]] = MappingProxyType(
    {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
)
_ORDERINGS: Final = ("<", "<=", ">", ">=")
_WORD_TESTS: Final[Mapping[str, Callable[[_Cursor, Path], tuple[Literal, ...]]]] = MappingProxyType(
    {"in": _in_operands, "like": _like_operands, "between": _between_operands}
)
_ALL_TESTS: Final = "= != < <= > >= in, like, between, is null"


# Possessive quantifiers: an open quote is reported where it opens, in linear time.
_NAME: Final = r"(?:[^\W\d]\w*|`(?:[^`]|``)*+`)"
_PART: Final = re.compile(_NAME)
_TOKEN: Final = re.compile(
    rf"""
    (?P<space>\s+)
    | (?P<number>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?![\w.]))
    | (?P<string>'(?:[^']|'')*+'|"(?:[^"]|"")*+")
    | (?P<path>{_NAME}(?:\.{_NAME})*)
    | (?P<word><=|>=|<>|!=|==|[=<>(),\-])
    """,
    re.VERBOSE,
)
_INSTANT: Final = re.compile(
    r"(?P<digits>[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?)?)?)?)"
    r"(?P<zone>Z|[+-][0-9]{2}:[0-9]{2})?"
)
