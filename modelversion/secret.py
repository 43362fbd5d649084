"""`Secret`: a value that is used and never recorded, printed or pickled."""

from __future__ import annotations

import hmac
from typing import Any

from modelversion.errors import InvalidValueError, SecretError

REDACTED = "(redacted)"
_REMEMBERED = 256
# What was wrapped once is secret for the life of the process: it may have been copied into a URL
# or a message before the wrapper was gone. The order is that of wrapping.
_REVEALABLE: dict[str, None] = {}


class Secret:
    """A text that is recorded as redacted: `Secret("...")`, and `.reveal()` where it is used.

    It is shown nowhere. Its pickle does not hold it, so neither does a model that has one as a
    part, nor a worker that is sent one: there `reveal` refuses. For as long as the process lives
    the text is redacted wherever else it appears in what is recorded.

    >>> key = Secret("correct horse battery staple")
    >>> key, f"{key}", key == Secret("correct horse battery staple")
    (Secret(redacted), '(redacted)', True)
    >>> key.reveal()
    'correct horse battery staple'
    """

    __slots__ = ("__value", "__weakref__")

    def __init__(self, value: str) -> None:
        if not isinstance(value, str) or not value:
            raise InvalidValueError(
                f"a Secret is a text of at least one character, found {type(value).__name__}"
            )
        self.__value: str | None = str.__str__(value)
        _remember(self.__value)

    def reveal(self) -> str:
        """Give the text.

        Raises:
            SecretError: It was unpickled, and the text is not in a pickle.
        """
        if self.__value is None:
            raise SecretError(
                "this Secret was unpickled, and a pickle does not hold its text; "
                "make it anew where it is used, such as from an environment variable"
            )
        return self.__value

    def __repr__(self) -> str:
        return "Secret(redacted)"

    def __str__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, its = self.__value, other.__value
        if mine is None or its is None:
            return mine is its
        return hmac.compare_digest(_bytes(mine), _bytes(its))

    def __hash__(self) -> int:
        return hash((Secret, self.__value))

    def __bool__(self) -> bool:
        return self.__value is not None

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _placeholder, ()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _placeholder() -> Secret:
    """Give the secret that a pickle holds: one without its text."""
    found = Secret.__new__(Secret)
    found._Secret__value = None  # type: ignore[attr-defined]
    return found


def _remember(value: str) -> None:
    _REVEALABLE.pop(value, None)
    _REVEALABLE[value] = None
    while len(_REVEALABLE) > _REMEMBERED:
        _REVEALABLE.pop(next(iter(_REVEALABLE)), None)


def wrapped_texts() -> tuple[str, ...]:
    """Give the texts that were wrapped in a `Secret` in this process."""
    return tuple(_REVEALABLE)
