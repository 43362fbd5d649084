"""How a registry is written to: made by the first write, and committed to by runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from modelversion.history import History
from modelversion.home import Home
from modelversion.notes import Notes
from modelversion.refs import check_name
from modelversion.run import Target
from modelversion.saving import Frozen, open_spool, save
from modelversion.serializers import Allow
from modelversion.storage import Blob
from modelversion.storage.spool import Spool
from modelversion.version import Version
from modelversion.versions import Line


@attrs.frozen(eq=False)
class Writer:
    """Writes to a registry that may not be there yet.

    Attributes:
        home: Where it is.
        open: Gives the history of a model by its name in lower case.
        allow: What the versions that it gives may load.
    """

    home: Home
    open: Callable[[str], History]
    allow: Allow | None

    def target(self) -> Target:
        """Give what runs write to."""
        return Target(self.home.ensure, self._spool, self.commit)

    def _spool(self, allow_secrets: bool) -> Spool:
        return open_spool(self.home, allow_secrets=allow_secrets)

    def commit(self, name: str, notes: Notes, value: Any, frozen: tuple[Blob, ...] = ()) -> Version:
        """Commit what a run has recorded."""
        key = check_name(name, "model")
        draft = Frozen(name, notes, value, frozen=frozen)
        pointer = save(self.home, draft, partial(self.line, key))
        return Version(self.open(key), pointer, self.allow)

    def line(self, key: str) -> Line:
        """Give a model to be written, in a registry that was made if there was none."""
        self.home.ensure()
        return self.open(key).line

    def receive(self, name: str) -> History:
        """Give a model that copies go into, made if there was none of that name."""
        line = self.line(check_name(name, "model"))
        self.home.create_model(line.name, name)
        return self.open(line.name)
