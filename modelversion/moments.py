"""Moments as a user gives them: a date, a time, or text of either; in UTC, as stored."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any

from modelversion._json import timestamp
from modelversion.errors import InvalidInputError


def moment(value: Any, what: str, *, end: bool) -> str:
    """Give a moment as stored.

    Args:
        value: A datetime with a time zone, a date, or text such as `2026-11-01`,
            `2026-11-01T12:00` or `2026-11-01T12:00+02:00`; text without a zone is UTC.
        what: What it is, as errors print it.
        end: Whether a bare date is its end, or its beginning.

    Raises:
        InvalidInputError: It is none of these.

    >>> moment("2026-11-01", "when", end=True)
    '2026-11-01T23:59:59.999999Z'
    """
    found = _parsed(value) if isinstance(value, str) else value
    if isinstance(found, date) and not isinstance(found, datetime):
        found = datetime.combine(found, time.max if end else time.min, UTC)
    if not isinstance(found, datetime):
        raise InvalidInputError(
            f"{what} must be a date, a datetime with a time zone, or text such as '2026-11-01' or "
            f"'2026-11-01T12:00Z'; found {value!r:.60}"
        )
    if found.tzinfo is None:
        raise InvalidInputError(
            f"{what} is {value!r:.60}, a time without a zone; say datetime(..., tzinfo=UTC)"
        )
    try:
        return timestamp(found)
    except OverflowError as e:
        raise InvalidInputError(f"{what} is {value!r:.60}, beyond any time in UTC") from e


def _parsed(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
