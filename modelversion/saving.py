"""Save: check, freeze, prove, commit; and nothing is lost when the commit fails."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelversion.errors import (
    InvalidValueError,
    ModelVersionError,
    SaveError,
    UnloadableError,
)
from modelversion.layout import VERSION
from modelversion.records import Origin, stored
from modelversion.snapshot import NOTHING, Notes, Snapshot, take
from modelversion.storage.spool import Spool
from modelversion.state import Pointer
from modelversion.versions import Line, commit

_PROVE = """
import sys
sys.path.append(sys.argv[2])
from modelversion.loading import open_directory
open_directory(sys.argv[1]).load(allow_pickle=True)
"""


def save(
    line: Line,
    notes: Notes,
    *,
    display: str,
    value: Any = NOTHING,
    artifacts: Mapping[str, Any] | None = None,
    verify: str | None = None,
    new: bool = False,
) -> Pointer:
    """Freeze an object and what is recorded beside it, and commit them as one version.

    Args:
        line: The model; it is added to the registry with its first version.
        notes: What is recorded.
        display: The model's name as spelt, kept if the model is new.
        value: The object, or `NOTHING`.
        artifacts: Files beside it.
        verify: `"load"` loads the object in a fresh process before the commit.
        new: Insist on a version where the latest has the same content.

    Raises:
        UnpicklableError: A part of the object cannot be pickled.
        UnloadableError: A fresh process could not load it.
        SaveError: The commit failed; the object is in `.value`, its bytes in `.spooled_at`.
    """
    if verify not in (None, "load"):
        raise InvalidValueError(f"verify must be 'load' or None, found {verify!r}")
    with Spool(line.home.store.spool) as spool:
        snapshot = _freeze(spool, notes, value, artifacts)
        if verify == "load":
            _prove(snapshot, line, value)
        try:
            line.home.create_model(line.name, display)
            pointer, _ = commit(line, snapshot, new=new)
        except (ModelVersionError, OSError) as e:
            raise _failure(line, snapshot, value, e) from e
    return pointer


def _freeze(
    spool: Spool, notes: Notes, value: Any, artifacts: Mapping[str, Any] | None
) -> Snapshot:
    try:
        return take(spool, notes, value=value, artifacts=artifacts)
    except OSError as e:
        if isinstance(e, ModelVersionError):
            raise
        raise SaveError(
            f"cannot write the object's files: {e.strerror or e}; nothing was committed, the "
            "object is in .value",
            value=None if value is NOTHING else value,
        ) from e


def _failure(line: Line, snapshot: Snapshot, value: Any, e: Exception) -> SaveError:
    place = _spool_out(snapshot, line)
    kept = (
        f"its bytes are in {place} (read them with modelversion.open_directory)"
        if place
        else "its bytes could not be kept on this machine's disk either"
    )
    return SaveError(
        f"{line.display} was not saved: {e}; the object is in .value, {kept}",
        value=None if value is NOTHING else value,
        spooled_at=place,
    )


def _spool_out(snapshot: Snapshot, line: Line) -> str | None:
    try:
        folder = Path(tempfile.mkdtemp(prefix="modelversion-unsaved-"))
        _write_directory(snapshot, line, folder)
    except OSError:
        return None
    return str(folder)


def _write_directory(snapshot: Snapshot, line: Line, folder: Path) -> None:
    """Write a version directory that has no number yet."""
    origin = Origin(registry=line.registry_id, model=line.name, number=0, nonce="")
    record = snapshot.version_record(origin, created_at=line.home.now(), actor=line.home.actor)
    for blob in snapshot.blobs:
        target = folder / blob.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(blob.read())
    (folder / VERSION).write_bytes(stored(record))


def _prove(snapshot: Snapshot, line: Line, value: Any) -> None:
    """Load the frozen bytes in a process that has none of this one's modules."""
    with tempfile.TemporaryDirectory(prefix="modelversion-prove-") as name:
        folder = Path(name) / "version"
        folder.mkdir()
        _write_directory(snapshot, line, folder)
        package = Path(__file__).resolve().parent.parent
        done = subprocess.run(
            [sys.executable, "-I", "-c", _PROVE, str(folder), str(package)],
            cwd=name,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it gave no message"])[-1]
        raise UnloadableError(
            f"the object does not load in a fresh process: {last}; nothing was committed",
            value=value,
        )
