"""Moments as a user gives them: a date, a time, or text of either; in UTC, as stored."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from modelversion._json import timestamp
from modelversion.errors import InvalidInputError


def moment(value: Any, what: str, *, end: bool) -> str:
    """Give a moment as stored.

    Args:
        value: A datetime with a time zone, a date, or text such as `2026-11-01`,
            `2026-11-01T12:00` or `2026-11-01T12:00+02:00`; text without a zone is UTC.
        what: What it is, as errors print it.
        end: Whether what is given to the day, the hour, the minute or the second is the end of
            it, or its beginning.

    Raises:
        InvalidInputError: It is none of these.

    >>> moment("2026-11-01", "when", end=True)
    '2026-11-01T23:59:59.999999Z'
    >>> moment("2026-11-01T12:30:05Z", "when", end=True)
    '2026-11-01T12:30:05.999999Z'
    """
    found = _parsed(value) if isinstance(value, str) else value
    said = value if end and isinstance(value, str) and isinstance(found, datetime) else ""
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
        return timestamp(found + _rest(said))
    except OverflowError as e:
        raise InvalidInputError(f"{what} is {value!r:.60}, beyond any time in UTC") from e


# The clock at the end of a text: hours, minutes, seconds, their fraction, and the zone.
_CLOCK = re.compile(r"\D\d\d(:?\d\d)?(:?\d\d)?([.,]\d+)?(?:[zZ]|[+-][\d:.]+)?$")
_UNITS = (timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))


def _rest(text: str) -> timedelta:
    """Give what is left of the hour, minute or second that a text names; none of a finer one."""
    clock = _CLOCK.search(text)
    said = 3 if clock is None else sum(part is not None for part in clock.groups())
    return _UNITS[said] - timedelta.resolution if said < len(_UNITS) else timedelta()


def _parsed(text: str) -> date | None:
    # Python reads a week as its Monday.
    if "w" in text.lower():
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
