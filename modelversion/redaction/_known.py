"""Texts that are secret because somebody said so: by `mv.Secret`, or by a variable's name."""

from __future__ import annotations

import base64
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


@attrs.frozen
class Known:
    """Texts that are secret in this process, longest first, each with the name of its rule."""

    values: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)

    def rules_in(self, data: bytes) -> Iterator[str]:
        """Give the rules of the values that stand in some bytes as they are."""
        for value, rule in self.values:
            if value.encode("utf-8", "surrogatepass") in data:
                yield rule

    def learn(self, texts: Iterable[str], rule: str) -> Known:
        """Give what is known with more texts, of those that are special enough."""
        more = {form: rule for text in texts if is_telling(text) for form in _forms(text)}
        return _sorted({**more, **dict(self.values)}) if more else self


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
    return _sorted(found)


def _sorted(found: Mapping[str, str]) -> Known:
    return Known(tuple(sorted(found.items(), key=lambda item: (-len(item[0]), item))))


_PLAIN = re.compile(
    r"[0-9.,:+\- ]+|(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^/\\\s]+[/\\])*[^/\\\s]*\.\w{1,10}"
)


def is_telling(value: str) -> bool:
    """Tell whether a value is special enough to be looked for in texts."""
    if len(value) < MIN_LENGTH or _PLAIN.fullmatch(value):
        return False
    return len(value) >= _MIN_LETTERS or not value.isalpha()


def _forms(text: str) -> set[str]:
    """Give a text as it is, as URLs hold it, as JSON and `repr` escape it, and in base64."""
    escaped = json.dumps(text)[1:-1]
    forms = {text, quote(text, safe=""), quote(text), escaped, repr(text)[1:-1]}
    forms.add(base64.b64encode(text.encode("utf-8", "surrogatepass")).decode())
    return {form for form in forms if len(form) >= MIN_LENGTH}
