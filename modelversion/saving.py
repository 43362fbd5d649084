"""Save: check, freeze, prove, commit; and nothing is lost when the commit fails."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from modelversion import current
from modelversion.errors import (
    InvalidValueError,
    ModelVersionError,
    NotARegistryError,
    OutcomeUnknownError,
    PickleWarning,
    SaveError,
    UnloadableError,
    UnsafeFilesystemError,
)
from modelversion.home import Home
from modelversion.layout import VERSION
from modelversion.notes import Notes
from modelversion.nothing import NOTHING
from modelversion.records import ObjectRecord, Origin
from modelversion.redaction import masked, secret_watch
from modelversion.schema import stored
from modelversion.snapshot import FrozenObject, Snapshot, take
from modelversion.state import Pointer
from modelversion.storage import Blob
from modelversion.storage.spool import Spool, watch_nothing
from modelversion.versions import Line, commit

_PROVE = """
import sys
import warnings
sys.path.append(sys.argv[2])
from modelversion.loading import open_directory
open_directory(sys.argv[1]).load(allow_pickle=True)
"""


@attrs.frozen
class Frozen:
    """What is to be saved: the model's name as spelt, the notes, the object, files beside it."""

    display: str
    notes: Notes
    value: Any = NOTHING
    artifacts: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    verify: str | None = attrs.field(default=None, kw_only=True)
    new: bool = attrs.field(default=False, kw_only=True)
    frozen: tuple[Blob, ...] = attrs.field(default=(), kw_only=True)

    @property
    def given(self) -> Any:
        """The live object, None if there is none."""
        value = self.value.value if isinstance(self.value, FrozenObject) else self.value
        return None if value is NOTHING else value

    @property
    def files(self) -> dict[str, Any]:
        """What becomes files, as `take` wants it."""
        return {"value": self.value, "artifacts": self.artifacts, "frozen": self.frozen}


def save(home: Home, draft: Frozen, open_line: Callable[[], Line]) -> Pointer:
    """Freeze a draft and commit it as one version.

    Args:
        home: The registry's place.
        draft: What is saved. With `verify="load"` a fresh process loads it before the commit;
            with `new` a version is made where the latest has the same content.
        open_line: Gives the model once there is something to commit: bad input writes nothing.

    Raises:
        UnpicklableError: A part of the object cannot be pickled.
        UnloadableError: A fresh process could not load it.
        SecretError: The object or an artifact holds a secret.
        SaveError: The commit failed; the object is in `.value`, its bytes in `.spooled_at`.
    """
    if draft.verify not in (None, "load"):
        raise InvalidValueError(f"verify must be 'load' or None, found {draft.verify!r}")
    with open_spool(home, allow_secrets=draft.notes.lifted.secrets) as spool:
        try:
            snapshot = take(spool, draft.notes, **draft.files)
        except OSError as e:
            raise _unspooled(home, draft, e) from e
        if draft.verify == "load":
            _prove(snapshot, home, draft)
        try:
            line = open_line()
            home.create_model(line.name, draft.display)
            saved = commit(line, snapshot, new=draft.new)
        except (NotARegistryError, UnsafeFilesystemError):
            raise  # another place is needed, not another attempt
        except (ModelVersionError, OSError) as e:
            raise _uncommitted(home, draft, snapshot, e) from e
    if home.store.remote and snapshot.object is not None and snapshot.object.data_only is False:
        _warn_pickled(line.label(saved.number), snapshot.object)
    return saved


def _warn_pickled(name: str, found: ObjectRecord) -> None:
    """Warn whoever saves for others that they have to say that they trust it."""
    from modelversion.serializers._pickle import untrusted

    names = untrusted(found.globals)
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    listed = f"what its pickle imports: {shown}" if names else "what its refusal tells"
    warnings.warn(
        f"{name} loads from a remote registry only with allow_pickle=True, or a list that names "
        f"{listed}",
        PickleWarning,
        stacklevel=current.user_level(),
    )


def open_spool(
    home: Home, *, allow_secrets: bool, folder: Callable[[], Path | None] | None = None
) -> Spool:
    """Give a spool beside the registry that withholds secrets, unless they are allowed."""
    watch = watch_nothing if allow_secrets else secret_watch
    return Spool(folder or home.store.spool, watch=watch)


def _unspooled(home: Home, draft: Frozen, e: OSError) -> SaveError:
    """Freeze once more, beside the system's temporary files: the registry's disk took no more."""

    def beside() -> Path:
        return _temporary("spool")

    with open_spool(home, allow_secrets=draft.notes.lifted.secrets, folder=beside) as spool:
        try:
            snapshot = take(spool, draft.notes, **draft.files)
        except OSError:
            return _uncommitted(home, draft, None, e)
        return _uncommitted(home, draft, snapshot, e)


def _temporary(what: str) -> Path:
    # Where no file can be opened any more, this import fails with an OSError too.
    import tempfile

    return Path(tempfile.mkdtemp(prefix=f"modelversion-{what}-"))


def _uncommitted(home: Home, draft: Frozen, snapshot: Snapshot | None, e: Exception) -> SaveError:
    place = None if snapshot is None else _spool_out(snapshot, home, draft)
    kept = (
        f"its bytes are in {place} (read them with modelversion.open_directory)"
        if place
        else "its bytes could not be kept on this machine's disk either"
    )
    outcome = f"{draft.display} was not saved"
    if isinstance(e, OutcomeUnknownError):
        outcome = f"whether {draft.display} was saved is not known"
    return SaveError(
        f"{outcome}: {masked(str(e))}; the object is in .value, {kept}",
        value=draft.given,
        spooled_at=place,
    )


def _spool_out(snapshot: Snapshot, home: Home, draft: Frozen) -> str | None:
    try:
        folder = _temporary("unsaved")
        _write_directory(snapshot, home, draft, folder)
    except OSError:
        return None
    return str(folder)


def _write_directory(snapshot: Snapshot, home: Home, draft: Frozen, folder: Path) -> None:
    """Write a version directory that has no number yet."""
    import shutil

    model = draft.display.lower()
    origin = Origin(registry=home.seen_id or "", model=model, number=0, nonce="")
    record = snapshot.version_record(origin, created_at=home.now(), actor=home.actor)
    for blob in snapshot.blobs:
        target = folder / blob.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(blob.content, bytes):
            target.write_bytes(blob.content)
        else:
            shutil.copyfile(blob.content, target)
    (folder / VERSION).write_bytes(stored(record))


def _prove(snapshot: Snapshot, home: Home, draft: Frozen) -> None:
    """Load the frozen bytes in a process that has none of this one's modules."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory(prefix="modelversion-prove-") as name:
        folder = Path(name) / "version"
        folder.mkdir()
        _write_directory(snapshot, home, draft, folder)
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
            f"the object does not load in a fresh process: {masked(last)}; nothing was committed",
            value=draft.given,
        )
