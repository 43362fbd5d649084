"""Handles: how worker processes of one machine log into the run of their parent.

Each log call of a worker appends one line to a file of its own, in a folder of the parent, which
reads them all before it commits. A line that a killed worker left unfinished is passed over.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import attrs

from modelversion._json import decode, dumps, encode, loads
from modelversion.artifacts import artifact_files
from modelversion.errors import NoActiveRunError, RecordError
from modelversion.metrics import Metric, check_metrics
from modelversion.params import encoded
from modelversion.records import MetricRecord
from modelversion.redaction import (
    NOTHING_LIFTED,
    Lifted,
    Redaction,
    known_secrets,
    redact,
    secret_watch,
)
from modelversion.schema import Json, from_json, to_json
from modelversion.snapshot import warn_left_out
from modelversion.storage.spool import PIECE, watch_nothing


class _Logged(Protocol):
    def log_params(self, params: Mapping[str, Any], /) -> None: ...

    def log_metrics(self, metrics: Mapping[str, Any], /, *, step: int | None = None) -> None: ...

    def log_artifact(self, path: str, content: Any) -> None: ...

    def note_redactions(self, found: Iterable[Redaction]) -> None: ...


@attrs.frozen
class RunHandle:
    """Logs into a run from another process of the same machine; `run.handle()` makes it."""

    model: str
    folder: str = attrs.field(repr=False)
    lifted: Lifted = attrs.field(default=NOTHING_LIFTED, repr=False)

    def log_params(self, params: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Record params in the parent's run; see `Run.log_params`."""
        given = {**(params or {}), **more}
        params = {n: encoded(v, f"params[{n!r}]") for n, v in given.items()}
        params, found = redact(params, "params", known=known_secrets(), lifted=self.lifted.paths)
        self._add({"params": params, "redactions": [[r.path, r.rule] for r in found]})

    def log_metrics(
        self,
        metrics: Mapping[str, Any] | None = None,
        /,
        *,
        step: int | None = None,
        **more: Any,
    ) -> None:
        """Record metrics in the parent's run; see `Run.log_metrics`."""
        found = check_metrics({**(metrics or {}), **more})
        line = {"metrics": {name: to_json(record) for name, record in found.items()}}
        self._add(line | {"step": None if step is None else encode(step, "step")})

    def log_artifact(self, path: str, content: Any) -> None:
        """Keep a file in the parent's run; see `Run.log_artifact`."""
        for key, found in artifact_files({path: content}):
            name = secrets.token_hex(8)
            rule = _copied(found, self._place() / name, allow_secrets=self.lifted.secrets)
            if rule is None:
                self._add({"artifact": key.partition("/")[2], "file": name})
            else:
                self._add({"redactions": [[key, rule]]})
                warn_left_out(key, rule, model=self.model)

    def _add(self, line: Json) -> None:
        data = dumps({"time": time.time_ns(), **line}) + b"\n"
        target = self._place() / f"{os.getpid()}.jsonl"
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def _place(self) -> Path:
        folder = Path(self.folder)
        if not folder.is_dir():
            raise NoActiveRunError(
                f"the run of {self.model!r} has ended, or it is another machine's: {folder} is "
                "not there; a handle logs on the machine of its run, until that commits"
            )
        return folder

    def remove(self) -> None:
        """Remove what was handed over; the run has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _copied(content: bytes | Path, target: Path, *, allow_secrets: bool) -> str | None:
    """Copy a file unless it holds a secret; give the rule by which it does."""
    watch = watch_nothing() if allow_secrets else secret_watch()
    source = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
    with source, target.open("xb") as out:
        while piece := source.read(PIECE):
            rule = watch(piece)
            if rule is not None:
                target.unlink()
                return rule
            out.write(piece)
    return None


def open_handle(model: str, lifted: Lifted) -> RunHandle:
    """Make a handle with an empty folder."""
    return RunHandle(model, tempfile.mkdtemp(prefix="modelversion-run-"), lifted)


def collect(handle: RunHandle, run: _Logged) -> None:
    """Log into a run what its workers did, in the order of their clocks."""
    for line in sorted(_lines(Path(handle.folder)), key=lambda line: int(line["time"])):
        run.note_redactions(Redaction(*found) for found in line.get("redactions", ()))
        if "params" in line:
            run.log_params(decode(line["params"]))
        elif "metrics" in line:
            run.log_metrics(_metrics(line["metrics"]), step=decode(line["step"]))
        elif "artifact" in line:
            run.log_artifact(line["artifact"], Path(handle.folder) / line["file"])


def _lines(folder: Path) -> Iterator[Json]:
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_bytes().split(b"\n")[:-1]:
            try:
                yield loads(line, file.name)
            except RecordError:
                continue


def _metrics(found: Json) -> dict[str, Metric]:
    records = {name: from_json(MetricRecord, value, name) for name, value in found.items()}
    return {n: Metric(decode(r.value), r.higher_is_better, r.n) for n, r in records.items()}
