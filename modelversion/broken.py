"""What of a registry cannot be read, named beside all that can.

One model's broken journal hides no other model, and no reader passes it over in silence.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence

import attrs

from modelversion import current
from modelversion.display import Table
from modelversion.errors import (
    BrokenJournalWarning,
    IntegrityError,
    ModelVersionError,
    NewerFormatError,
)
from modelversion.journal import Journal

# What other errors say, such as that of a lost connection, is of the place and not of one model.
UNREADABLE = (IntegrityError, NewerFormatError)


@attrs.frozen
class Problem:
    """A broken file: its key below the registry's root, and what is wrong with it."""

    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"

    def to_dict(self) -> dict[str, str]:
        """Give it as plain JSON."""
        return {"key": self.key, "what": self.what}


class Broken:
    """Collects the journals that cannot be read while the rest is."""

    def __init__(self) -> None:
        self._found: dict[str, Problem] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was found, each journal once."""
        return tuple(self._found.values())

    @contextlib.contextmanager
    def aside(self, *journals: Journal) -> Iterator[None]:
        """Go on behind a block of which one of these journals cannot be read."""
        try:
            yield
        except UNREADABLE as e:
            for folder, error in _culprits(journals, e):
                self._found.setdefault(folder, Problem(folder, _told(error)))

    def warn(self, what: str) -> None:
        """Warn of what was found, where a caller may not look at it."""
        for problem in self.problems:
            text = f"{what} {problem.key}, which {problem.what}"
            warnings.warn(text, BrokenJournalWarning, stacklevel=current.user_level())


def _culprits(
    journals: Sequence[Journal], error: ModelVersionError
) -> Iterator[tuple[str, ModelVersionError]]:
    """Tell which of several journals it is; their model, where each alone reads well."""
    if len(journals) == 1:
        yield journals[0].folder, error
        return
    found = False
    for journal in journals:
        try:
            journal.history(journal.start(), journal.head())
        except UNREADABLE as e:
            found = True
            yield journal.folder, e
    if not found:
        yield journals[0].folder.rpartition("/")[0], error


def _told(error: ModelVersionError) -> str:
    if isinstance(error, NewerFormatError):
        return f"cannot be read: {error}"
    return f"cannot be read: {error}; verify() names each broken entry: put it back from a backup"


def table(problems: Sequence[Problem], name: str = "CANNOT BE READ") -> Table | None:
    """Give what is broken as a table; nothing where nothing is."""
    rows = [(problem.key, problem.what) for problem in problems]
    return Table(name, ("what", "why"), rows=rows) if rows else None
