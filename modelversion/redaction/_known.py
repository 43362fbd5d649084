"""Texts that are secret because somebody said so: by `mv.Secret`, or by a variable's name."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

import attrs

from modelversion.redaction._names import is_secret_name

BY_SECRET = "mv.Secret"
MIN_LENGTH = 8
_MIN_LETTERS = 16
_DIRECTORIES = frozenset(["PWD", "OLDPWD"])


@attrs.frozen(cache_hash=True)
class Known:
    """Texts that are secret in this process, longest first, each with the name of its rule.

    `values` has them in every form in which a text may hold them, `plain` as they are.
    """

    values: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    plain: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)

    def rules_in(self, data: bytes) -> Iterator[str]:
        """Give the rules of the values that stand in some bytes as they are."""
        for value, rule in self.plain:
            rare, whole = _needle(value)
            # One byte is found twenty times as fast as several.
            if rare in data and whole in data:
                yield rule

    def learn(self, texts: Iterable[str], rule: str) -> Known:
        """Give what is known with more texts, of those that are special enough."""
        more = {form: rule for text in texts if is_telling(text) for form in _forms(text)}
        return _sorted({**more, **dict(self.values)}, self.plain) if more else self


NOTHING_KNOWN = Known()


def known_values(environ: Mapping[str, str], wrapped: Iterable[str] = ()) -> Known:
    """Give what is known to be secret: wrapped texts, and values of secret-named variables.

    A value that is short, a number, one plain word or a path would be found where it is no
    secret, and is left out.
    """
    named = [(text, BY_SECRET) for text in wrapped if is_telling(text)]
    for name in environ:
        if is_secret_name(name) and name not in _DIRECTORIES and is_telling(environ[name]):
            named.append((environ[name], f"environment:{name}"))
    found = {form: rule for text, rule in reversed(named) for form in _forms(text)}
    return _sorted(found, named)


def _sorted(found: Mapping[str, str], plain: Iterable[tuple[str, str]]) -> Known:
    longest_first = sorted(found.items(), key=lambda item: (-len(item[0]), item))
    return Known(tuple(longest_first), tuple(plain))


# From the characters that are rare in text to those that are not.
_RARE_FIRST = b"~^|{}@#$%&*!?QZXJKVYUGWBFHMCLNRDEPOISTA=+;:/_9876543210-zqxjkvbygwfpumcdlhrnsioate"


@functools.lru_cache(maxsize=1024)
def _needle(value: str) -> tuple[bytes, bytes]:
    """Give the rarest byte of a value, and all of it."""
    whole = value.encode("utf-8", "surrogatepass")
    rare = min(range(len(whole)), key=lambda i: _RARE_FIRST.find(whole[i : i + 1]))
    return whole[rare : rare + 1], whole


_PLAIN = re.compile(
    r"[0-9.,:+\- ]+|(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^/\\\s]+[/\\])*[^/\\\s]*\.\w{1,10}"
)


def is_telling(value: str) -> bool:
    """Tell whether a value is special enough to be looked for in texts."""
    if len(value) < MIN_LENGTH or _PLAIN.fullmatch(value):
        return False
    return len(value) >= _MIN_LETTERS or not value.isalpha()


@functools.lru_cache(maxsize=1024)
def _forms(text: str) -> frozenset[str]:
    """Give a text as it is, as URLs hold it, as JSON and `repr` escape it, and in base64."""
    escaped = json.dumps(text)[1:-1]
    forms = {text, quote(text, safe=""), quote(text), escaped, repr(text)[1:-1]}
    forms.add(base64.b64encode(text.encode("utf-8", "surrogatepass")).decode())
    return frozenset(form for form in forms if len(form) >= MIN_LENGTH)
