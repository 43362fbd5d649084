"""What is secret in a record, by rules: values in, redacted values and what was redacted out.

The rules, in their order: values that are known to be secret in this process (`mv.Secret`, and
those of secret-named environment variables), tokens of known formats, logins in URLs, and texts
under a name such as `password`. A number, a bool or None is never a secret.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable
from typing import Any

import attrs

from modelversion.errors import InvalidValueError
from modelversion.redaction._bytes import Watch
from modelversion.redaction._known import NOTHING_KNOWN, Known, known_values
from modelversion.redaction._names import is_secret_name
from modelversion.redaction._process import known_secrets, masked, secret_watch
from modelversion.redaction._text import BY_NAME, Redaction, redact_text, redact_url
from modelversion.redaction._values import is_lifted, redact, redact_and_learn

ROOTS = ("params", "tags", "description", "data", "source", "failed", "code", "steps", "signature")


class Redactor:
    """Redacts the parts of one record, and keeps what was redacted in all of them."""

    def __init__(
        self, known: Known, lifted: Collection[str] = (), *, found: Iterable[Redaction] = ()
    ) -> None:
        self._known = known
        self._lifted = tuple(lifted)
        self._found = list(found)

    def value(self, value: Any, path: str, *, names: bool = True) -> Any:
        """Give a value of tagged JSON without its secrets; see `redact`.

        A text that was secret by its name is known from then on: it may stand in source too.
        """
        value, found, named = redact_and_learn(
            value, path, known=self._known, lifted=self._lifted, names=names
        )
        self._known = self._known.learn(named, BY_NAME)
        _remember(named)
        self._found.extend(found)
        return value

    def text(self, text: str, path: str, *, code: bool = False) -> str:
        """Give a text without its secrets; see `redact_text`."""
        if is_lifted(path, self._lifted):
            return text
        redacted, known = (_of_code, self._known_in_code()) if code else (_of_prose, self._known)
        text, found = redacted(text, path, known)
        self._found.extend(found)
        return text

    def listed(self, values: tuple[Any, ...], path: str) -> tuple[Any, ...]:
        """Give short texts, among what else there is, without their secrets.

        Most lists have none, so they are looked through as one text first.
        """
        together = "\n".join(value for value in values if type(value) is str)
        if _is_clean(together, self._known):
            return values
        return tuple(self.text(v, path) if type(v) is str else v for v in values)

    def _known_in_code(self) -> Known:
        """Give what is known, with what was secret by its name in records before this one.

        A script that is kept whole may hold it where no name stands beside it. Objects and
        other texts are not searched for it: a word in them may well be the same by chance.
        """
        return self._known.learn(tuple(_NAMED), BY_NAME) if _NAMED else self._known

    def rules(self) -> dict[str, list[str]]:
        """Give what was redacted: for each path the rules, sorted."""
        paths = sorted({redaction.path for redaction in self._found})
        return {p: sorted({r.rule for r in self._found if r.path == p}) for p in paths}


_NAMED: dict[str, None] = {}
_MOST_NAMED = 1000


def _remember(texts: Iterable[str]) -> None:
    for text in texts:
        if len(_NAMED) < _MOST_NAMED:
            _NAMED[text] = None


def _of_prose(text: str, path: str, known: Known) -> tuple[str, tuple[Redaction, ...]]:
    return redact_text(text, path, known=known)


@functools.lru_cache(maxsize=64)
def _is_clean(text: str, known: Known) -> bool:
    """Tell whether nothing in a text is secret; one version after the other has the same names."""
    return redact_text(text, known=known)[0] == text


@functools.lru_cache(maxsize=2048)
def _of_code(text: str, path: str, known: Known) -> tuple[str, tuple[Redaction, ...]]:
    """Redact program text; the same stands in one version after the other."""
    return redact_text(text, path, known=known, code=True)


# ---- what may be stored --------------------------------------------------------------------------


@attrs.frozen
class Lifted:
    """What may be stored although a rule finds it: by path, and whether objects and files may."""

    paths: tuple[str, ...] = ()
    secrets: bool = False


NOTHING_LIFTED = Lifted()


def check_lifted(not_secret: Any, allow_secrets: Any) -> Lifted:
    """Give what `not_secret=` and `allow_secrets=` except, or refuse what is neither.

    Raises:
        InvalidValueError: It is no list of paths such as `params.token_kind`, or no bool.
    """
    if not isinstance(allow_secrets, bool):
        raise InvalidValueError(
            f"allow_secrets must be True or False, found {type(allow_secrets).__name__}"
        )
    if isinstance(not_secret, str) or not isinstance(not_secret, Collection):
        raise InvalidValueError(
            "not_secret must list paths such as ['params.token_kind'], found "
            f"{type(not_secret).__name__}"
        )
    for path in not_secret:
        if not isinstance(path, str) or re.split(r"[.\[/]", path)[0] not in ROOTS:
            raise InvalidValueError(
                "not_secret must list paths as version.redactions gives them, each beginning with "
                f"{', '.join(ROOTS)}; found another {type(path).__name__}"
            )
    return Lifted(tuple(not_secret), allow_secrets)


__all__ = [
    "NOTHING_KNOWN",
    "NOTHING_LIFTED",
    "Known",
    "Lifted",
    "Redaction",
    "Redactor",
    "Watch",
    "check_lifted",
    "is_lifted",
    "is_secret_name",
    "known_secrets",
    "known_values",
    "masked",
    "redact",
    "redact_text",
    "redact_url",
    "secret_watch",
]
