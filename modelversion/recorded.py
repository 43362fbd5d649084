"""What was recorded of a version: its identity, its record, its files. None of it ever changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO

from modelversion import layout
from modelversion.code import Code
from modelversion.errors import InvalidInputError, ModelVersionError
from modelversion.files import write_files
from modelversion.history import History
from modelversion.loading import (
    deleted_or_damaged,
    open_file,
    recorded_metrics,
    recorded_params,
    spelt,
)
from modelversion.metrics import Metrics, direction
from modelversion.records import (
    Actor,
    CopiedFrom,
    DataRecord,
    EnvironmentRecord,
    FileRecord,
    SignatureRecord,
    VersionRecord,
)
from modelversion.redaction import Redaction
from modelversion.state import Pointer
from modelversion.verification import VerifyReport, verify_version
from modelversion.versions import Line, Opened, copied_from, fetch_bytes, open_version

if TYPE_CHECKING:
    from modelversion.graph import Steps


class Recorded:
    """The part of a `Version` that was fixed when it was committed."""

    _history: History
    _line: Line
    _pointer: Pointer
    _opened: Opened | None

    # ---- identity

    @property
    def number(self) -> int:
        """The version's number, from 1."""
        return self._pointer.number

    @property
    def model(self) -> str:
        """The model's name in its first spelling."""
        return self._line.display

    @property
    def ref(self) -> str:
        """The printed reference, such as `churn:3`."""
        return self._line.ref(self.number)

    @property
    def digest(self) -> str:
        """The sha256 of `version.json` in hex, which covers every byte of the version."""
        return self._pointer.sha256

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recorded) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str, int]:
        return self._line.registry_id, self._line.name, self.number

    def __repr__(self) -> str:
        return f"<Version {self.ref}{self._glance()}>"

    def _glance(self) -> str:
        try:
            record = self._open().record
        except ModelVersionError as e:  # a repr never raises
            return f" ({type(e).__name__})"
        kind = "" if record.object is None else " " + record.object.type.rsplit(".", 1)[-1]
        shown = [f" {name}={_short(value)}" for name, value in list(self.metrics.items())[:3]]
        return "".join(c if c.isprintable() else "?" for c in "".join([kind, *shown]))

    def _open(self) -> Opened:
        if self._opened is None:
            self._opened = open_version(self._line, self._pointer)
        return self._opened

    @property
    def _record(self) -> VersionRecord:
        return self._open().record

    # ---- what was recorded

    @property
    def created_at(self) -> str:
        """When the number was claimed: RFC 3339, UTC."""
        return self._record.created_at

    @property
    def actor(self) -> Actor:
        """Who saved it, and how that is known."""
        return self._record.actor

    @property
    def description(self) -> str | None:
        """The description given when it was saved."""
        return self._record.description

    @property
    def type(self) -> str | None:
        """The full name of the object's type, None without an object."""
        return None if self._record.object is None else self._record.object.type

    @property
    def signature(self) -> SignatureRecord | None:
        """What the object takes and gives, None where its library does not tell, or none is kept.

        Features and their names, classes, parameters of a module, or how a function is called.
        """
        return self._record.signature

    @property
    def params(self) -> Mapping[str, Any]:
        """The params, with the types they had."""
        return recorded_params(self._record)

    @property
    def metrics(self) -> Metrics:
        """The metrics: name -> last value; `metrics.series(name)` gives those logged by step."""
        return recorded_metrics(self._record, self.open)

    @property
    def failed(self) -> str | None:
        """What stopped the run that made it, None for one that came to its end."""
        return self._record.failed

    def higher_is_better(self, metric: str) -> bool | None:
        """Tell a metric's direction: the one it was saved with, else what its name says."""
        record = self._record.metrics.get(metric)
        explicit = None if record is None else record.higher_is_better
        return direction(metric) if explicit is None else explicit

    @property
    def data(self) -> Mapping[str, DataRecord]:
        """The data it was made from: name -> type, shape and columns."""
        return MappingProxyType({item.name: item for item in self._record.data})

    @property
    def steps(self) -> Steps:
        """The steps that led to it, and the parts of its pipeline; `print(v.steps)` shows them."""
        from modelversion.graph import Steps

        return Steps(self._record.steps, self._record.data, read=self._bytes)

    @property
    def code(self) -> Code | None:
        """The code that made it: source, helpers, notebook cells, and the state of git."""
        record = self._record.code
        return None if record is None else Code(record, self._bytes)

    def _bytes(self, path: str) -> bytes:
        with self.open(path) as file:
            return file.read()

    @property
    def environment(self) -> EnvironmentRecord | None:
        """Python, platform and every installed distribution when it was saved."""
        return self._record.environment

    @property
    def parents(self) -> tuple[str, ...]:
        """References of the versions it was made from; of a copy, those that are here too."""
        if self.copied_from is None:
            return self._record.parents
        return tuple(self._history.refresh().full(self.number).get("parents", ()))

    @property
    def copied_from(self) -> CopiedFrom | None:
        """Where it was copied from, None for a version that was saved here."""
        return copied_from(self._line, self._pointer, self._record.origin)

    @property
    def redactions(self) -> tuple[Redaction, ...]:
        """What was redacted when it was saved: the path and the rule of each."""
        found = self._record.redactions
        return tuple(Redaction(path, str(rule)) for path in sorted(found) for rule in found[path])

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """Every file with its size in bytes and sha256."""
        return self._record.files

    # ---- the files

    def open(self, path: str) -> BinaryIO:
        """Open a file of the version for reading, after its bytes were verified.

        Args:
            path: Its path, such as `artifacts/roc.png`.

        Raises:
            ArtifactNotFoundError: The version has no such file.
            IntegrityError: Its bytes are not the committed ones.
        """
        opened = self._open()
        with deleted_or_damaged(self._line, self.number):
            return open_file(opened, path)

    def download(self, folder: str | os.PathLike[str], *paths: str) -> Path:
        """Copy verified files below a folder and give it.

        Args:
            folder: Where to; made if absent. No file there is replaced.
            paths: Which files; without any, all and `version.json` with them, so that
                `modelversion.open_directory` reads the copy.

        Raises:
            InvalidInputError: A file of that name is there already.
            IntegrityError: Bytes are not the committed ones.
        """
        target, opened = layout.folder_path(folder, "folder"), self._open()
        chosen = [spelt(opened, path) for path in paths]
        wanted = chosen or [file.path for file in opened.record.files]
        try:
            with deleted_or_damaged(self._line, self.number):
                record = None if chosen else fetch_bytes(self._line, self._pointer)
                write_files(opened.files, wanted, target)
                if record is not None:
                    with (target / layout.VERSION).open("xb") as out:
                        out.write(record)
        except FileExistsError as e:
            raise InvalidInputError(f"{e.filename} exists; download into another folder") from e
        return target

    def verify(self) -> VerifyReport:
        """Read and hash every file; the report is falsy and names each that is broken."""
        return verify_version(self._line, self._pointer)


def _short(value: float) -> str:
    return str(value)[:12] if isinstance(value, int) else f"{value:.4g}"
