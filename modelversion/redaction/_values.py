"""Secrets inside a value of tagged JSON, at any depth, in keys and in bytes too."""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Collection
from typing import Any

from modelversion.redaction._bytes import rules_in
from modelversion.redaction._keys import in_options, is_key, looks_random
from modelversion.redaction._known import BY_SECRET, NOTHING_KNOWN, Known
from modelversion.redaction._names import is_secret_name
from modelversion.redaction._text import BY_NAME, Redaction, is_secret_value, redact_text
from modelversion.secret import REDACTED

SECRET_TAG = "$secret"


def redact(
    value: Any,
    path: str,
    *,
    known: Known = NOTHING_KNOWN,
    lifted: Collection[str] = (),
    names: bool = True,
) -> tuple[Any, tuple[Redaction, ...]]:
    """Give a value of tagged JSON without its secrets, and what was redacted.

    Args:
        value: Tagged JSON, as `modelversion._json.encode` gives it.
        path: The path to it, such as `params`.
        known: What is secret besides the rules.
        lifted: Paths at and below which nothing is redacted, but what `mv.Secret` wrapped.
        names: A text is secret where the name that leads to it says so.
    """
    value, found, _ = redact_and_learn(value, path, known=known, lifted=lifted, names=names)
    return value, found


def redact_and_learn(
    value: Any, path: str, *, known: Known, lifted: Collection[str], names: bool
) -> tuple[Any, tuple[Redaction, ...], tuple[str, ...]]:
    """Do as `redact`, and give besides the texts that were secret by their name alone."""
    walk = _Walk(known, lifted, names)
    redacted = walk.visit(value, path, secret=False)
    return redacted, tuple(dict.fromkeys(walk.found)), tuple(walk.named)


def is_lifted(path: str, lifted: Collection[str]) -> bool:
    """Tell whether a path is one of those that are lifted, or lies below one."""
    below = (".", "[", "/")
    return any(path == one or path.startswith(tuple(one + sep for sep in below)) for one in lifted)


class _Walk:
    """Goes through a value once and notes what it redacts."""

    def __init__(self, known: Known, lifted: Collection[str], names: bool) -> None:
        self._known = known
        self._lifted = lifted
        self._names = names
        self._free = False
        self.found: list[Redaction] = []
        self.named: list[str] = []

    def visit(self, value: Any, path: str, *, secret: bool) -> Any:
        if isinstance(value, str):
            return self._text(value, path, secret)
        if not isinstance(value, (list, dict)):
            return value
        free, self._free = self._free, self._free or is_lifted(path, self._lifted)
        try:
            if isinstance(value, list):
                told = _behind_options(value) if self._names and not secret else ()
                return [
                    self.visit(v, f"{path}[{i}]", secret=secret or i in told)
                    for i, v in enumerate(value)
                ]
            return self._object(value, path, secret)
        finally:
            self._free = free

    def _note(self, path: str, rule: str) -> str:
        self.found.append(Redaction(path, rule))
        return REDACTED

    def _text(self, text: str, path: str, secret: bool) -> str:
        if self._free or is_lifted(path, self._lifted):
            return text
        if secret and is_secret_value(text):
            self.named.append(text)
            return self._note(path, BY_NAME)
        text, found = redact_text(text, path, known=self._known)
        self.found.extend(found)
        return text

    def _object(self, value: dict[str, Any], path: str, secret: bool) -> Any:
        if len(value) == 1:
            ((tag, item),) = value.items()
            if tag in _TAGS:
                return _TAGS[tag](self, value, item, path, secret)
        result: dict[str, Any] = {}
        for key, item in value.items():
            shown = self._key(key, path)
            while shown in result:
                shown += "'"
            inner = f"{path}.{shown}" if _SIMPLE.fullmatch(shown) else f"{path}[{shown!r}]"
            below = secret or (self._names and self._says(key, item, path, value))
            result[shown] = self.visit(item, inner, secret=below)
        return result

    def _says(self, name: str, item: Any, path: str, beside: Collection[str]) -> bool:
        """Tell whether a name says that what is under it is secret."""
        if is_key(name):
            return looks_random(item) or in_options(path, beside)
        return is_secret_name(name)

    def _key(self, key: str, path: str) -> str:
        if self._free:
            return key
        shown, found = redact_text(key, f"a key of {path}", known=self._known)
        self.found.extend(found)
        return shown

    def _secret(self, value: Any, item: Any, path: str, secret: bool) -> Any:
        return self._note(path, BY_SECRET)

    def _tuple(self, value: Any, item: Any, path: str, secret: bool) -> Any:
        return {"$tuple": self.visit(item, path, secret=secret)}

    def _bytes(self, value: Any, item: Any, path: str, secret: bool) -> Any:
        if self._free or is_lifted(path, self._lifted):
            return value
        if secret and item:
            return self._note(path, BY_NAME)
        for rule in rules_in(_decoded(item), self._known):
            return self._note(path, rule)
        return value

    def _kept(self, value: Any, item: Any, path: str, secret: bool) -> Any:
        return value


def _behind_options(items: list[Any]) -> Collection[int]:
    """Give the places behind options with a secret name, as in `["--api-key", "..."]`."""
    options = [isinstance(item, str) and item.startswith("-") for item in items]
    return [
        i + 1
        for i, (is_option, is_next) in enumerate(itertools.pairwise(options))
        if is_option and not is_next and is_secret_name(items[i].lstrip("-"))
    ]


_SIMPLE = re.compile(r"[\w/\-]+")
_TAGS = {
    SECRET_TAG: _Walk._secret,
    "$tuple": _Walk._tuple,
    "$bytes": _Walk._bytes,
    "$float": _Walk._kept,
    "$int": _Walk._kept,
    "$time": _Walk._kept,
}


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, TypeError, ValueError):
        return b""
