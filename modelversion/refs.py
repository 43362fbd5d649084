"""References: `churn:3`, `churn@production`, and the names inside them.

Pure: text in, values out.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from modelversion.errors import InvalidInputError, InvalidNameError, InvalidReferenceError

LATEST = "latest"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(10))]
)
_FORMS = "churn, churn:3, churn:latest or churn@champion"


@attrs.frozen
class Ref:
    """A parsed reference: a model, and a number or an alias (or neither)."""

    model: str
    selector: int | str | None = None

    def __str__(self) -> str:
        if self.selector is None:
            return self.model
        mark = ":" if isinstance(self.selector, int) or self.selector == LATEST else "@"
        return f"{self.model}{mark}{self.selector}"


def check_name(name: Any, what: str) -> str:
    """Give a valid name in lower case, as it is compared and stored.

    Args:
        name: The name as written: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`, no `..`, no trailing dot,
            not a device name of Windows.
        what: What it names, as errors print it, such as `model`.

    Raises:
        InvalidNameError: The name is not one; the message says which rule.
    """
    if not isinstance(name, str):
        raise InvalidNameError(f"{what} name must be str, found {type(name).__name__} {name!r}")
    problem = _problem(name)
    if problem:
        mark = _MARKS.search(name)
        alone = name[: mark.start()] if mark and what == "model" else ""
        hint = f"; give the model alone: {alone!r}" if alone and not _problem(alone) else ""
        raise InvalidNameError(f"{what} name {name[:80]!r} {problem}{hint}")
    return name.lower()


def _problem(name: str) -> str | None:
    if not _NAME.fullmatch(name):
        return "must be 1 to 64 letters, digits, '.', '_' or '-', and begin with a letter or digit"
    if ".." in name or name.endswith("."):
        return "must not contain '..' or end with '.'"
    if name.lower().split(".")[0] in WINDOWS_DEVICES:
        return "is a device name on Windows"
    return None


def check_alias(name: Any) -> str:
    """Give a valid alias in lower case; `latest` and numbers mean something else already."""
    alias = check_name(name, "alias")
    if alias == LATEST or re.fullmatch(r"v?\d+", alias):
        raise InvalidNameError(f"alias name {name!r} is taken: it reads as a version")
    return alias


def check_stage(name: Any) -> str:
    """Give a valid name of a stage in lower case."""
    stage = check_name(name, "stage")
    if stage in (LATEST, "none") or re.fullmatch(r"v?\d+", stage):
        raise InvalidNameError(f"stage name {name!r} is taken: it means something else")
    return stage


def parse(text: Any) -> Ref:
    """Read a reference in any of its forms.

    `churn`, `churn:3`, `churn:v3`, `churn:latest`, `churn@champion`, and the same behind
    `models:/`, where `models:/churn/3` and `models:/churn/champion` are read too.

    Raises:
        InvalidReferenceError: The text is none of these.
    """
    if not isinstance(text, str):
        raise InvalidReferenceError(f"a reference is text such as {_FORMS}; found {text!r}")
    if "://" in text:
        raise InvalidReferenceError(
            f"a reference is text such as {_FORMS}; found a URL, which names a place: open it by "
            "modelversion.Registry(url) or modelversion.open_directory(path)"
        )
    body = text.removeprefix("models:/")
    mark = _MARKS.search(body) if body is text else _MLFLOW_MARKS.search(body)
    name, selector = (body, None) if mark is None else (body[: mark.start()], body[mark.end() :])
    try:
        model = check_name(name, "model")
        if mark is None or selector is None:
            return Ref(model)
        return Ref(model, _selector(selector, at=mark.group() == "@"))
    except InvalidNameError as e:
        raise InvalidReferenceError(f"reference {text[:100]!r}: {e}; write {_FORMS}") from e


_MARKS = re.compile(r"[:@]")
_MLFLOW_MARKS = re.compile(r"[:@/]")
_NUMBER = re.compile(r"[vV]?(\d{1,12})", re.ASCII)


def _selector(text: str, *, at: bool) -> int | str:
    number = _NUMBER.fullmatch(text)
    if number and not at:
        return int(number[1])
    if text.lower() == LATEST:
        return LATEST
    return check_name(text, "alias")


def check_selector(value: Any, where: str) -> int | str:
    """Give what selects a version of a model: a number, `latest`, or a name in lower case.

    Args:
        value: A number, as an int or as `"3"` or `"v3"`, or a name.
        where: What it selects from, as errors print it, such as `churn[...]`.

    Raises:
        InvalidInputError: It is neither a number nor text.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InvalidInputError(f"{where} takes a number, a stage or an alias, found {value!r:.60}")
    number = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if number:
        return int(number[1])
    return value.lower() if isinstance(value, str) else value
