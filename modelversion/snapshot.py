"""Freeze what is to be saved: the object, its files, and what was recorded beside it.

Everything is checked before the first byte is spooled; nothing here knows of storage.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from modelversion import current, layout
from modelversion._json import digest, dumps, encode
from modelversion.artifacts import File, artifact_files
from modelversion.code import identity, write, write_steps
from modelversion.environment import environment, seeds
from modelversion.errors import InvalidValueError, SecretError, SecretWarning
from modelversion.fingerprints import describe
from modelversion.metrics import check_key, check_metrics, direction
from modelversion.notes import Notes, without_secrets
from modelversion.nothing import NOTHING
from modelversion.records import (
    FORMAT,
    Actor,
    CodeRecord,
    DataRecord,
    EnvironmentRecord,
    FileRecord,
    ObjectRecord,
    Origin,
    SignatureRecord,
    StepRecord,
    VersionRecord,
)
from modelversion.redaction import check_lifted, known_secrets, masked
from modelversion.schema import Json, evolve, to_json
from modelversion.serializers import for_object, secret_error
from modelversion.signature import signature_of
from modelversion.source.capture import Look
from modelversion.storage import Blob, Withheld
from modelversion.storage.spool import Spool
from modelversion.trail import Traces, digests

MAX_PARAMS = 2**20
MAX_TEXT = 10_000
MAX_SUMMARY = 16 * 1024
PASSED = 16


@attrs.frozen(kw_only=True)
class Snapshot:
    """A version but for its number: files with digests, and records."""

    object: ObjectRecord | None
    signature: SignatureRecord | None
    notes: Notes
    blobs: tuple[Blob, ...]
    code: CodeRecord | None
    content: str
    object_digest: str
    redactions: Json
    environment: EnvironmentRecord
    parts: tuple[StepRecord, ...] = ()

    def version_record(self, origin: Origin, *, created_at: str, actor: Actor) -> VersionRecord:
        """Give `version.json` for a number."""
        notes = self.notes
        return VersionRecord(
            format=FORMAT,
            origin=origin,
            created_at=created_at,
            actor=actor,
            content=self.content,
            description=notes.description,
            object=self.object,
            signature=self.signature,
            params=notes.params,
            metrics=notes.metrics,
            data=notes.data,
            steps=(*notes.steps, *_placed(self.parts, len(notes.steps))),
            code=self.code,
            environment=self.environment,
            parents=notes.parents,
            tags=notes.tags,
            duration_seconds=notes.duration_seconds,
            failed=notes.failed,
            redactions=self.redactions,
            files=tuple(FileRecord(path=b.path, size=b.size, sha256=b.sha256) for b in self.blobs),
        )

    def summary(self, created_at: str) -> Json:
        """Give what tables and lineage need, at most 16 kB; what is left out is named."""
        notes = self.notes
        explicit = {
            name: m.higher_is_better
            for name, m in notes.metrics.items()
            if m.higher_is_better not in (None, direction(name))
        }
        parts: Json = {
            "created_at": created_at,
            "params": notes.params,
            "metrics": {name: m.value for name, m in notes.metrics.items()},
            "directions": explicit,
            "data": {d.name: d.digest for d in notes.data if d.digest},
            "passed": passed(notes.data, notes.steps),
            "tags": notes.tags,
            "parents": list(notes.parents),
            "failed": True if notes.failed else None,
            "description": notes.description,
            "type": None if self.object is None else self.object.type,
            "bytes": sum(blob.size for blob in self.blobs),
            "object": self.object_digest,
        }
        return _fit({name: part for name, part in parts.items() if part not in (None, {}, [])})


def _placed(parts: tuple[StepRecord, ...], before: int) -> Iterator[StepRecord]:
    """Give the parts of an object their places behind the steps that led to it."""
    for part in parts:
        parent = None if part.parent is None else part.parent + before
        yield evolve(part, parent=parent)


def passed(data: Iterable[DataRecord], steps: Iterable[StepRecord]) -> list[str]:
    """Give the beginnings of the digests of what went through steps, besides the data itself."""
    known = {item.digest for item in data}
    flows = (flow for step in steps for flow in (*step.inputs, *step.outputs))
    return sorted({f.digest[:PASSED] for f in flows if f.digest and f.digest not in known})


def _fit(parts: Json) -> Json:
    left_out: list[str] = []
    sizes = {name: len(dumps(part)) for name, part in parts.items()}
    while sum(sizes.values()) > MAX_SUMMARY - 256:
        # Tables can do without what only a search by data asks for.
        largest = max(sizes, key=lambda name: (name == "passed", sizes[name]))
        left_out.append(largest)
        del sizes[largest], parts[largest]
    return {**parts, "left_out": sorted(left_out)} if left_out else parts


# ---- what led to the data


def with_steps(
    data: Iterable[DataRecord], traces: Traces | None
) -> tuple[tuple[DataRecord, ...], tuple[StepRecord, ...], dict[str, str]]:
    """Join the steps that led to data and to traces.

    Returns:
        The data, with the files that those steps read; the steps; and the texts of their
        functions, by digest.
    """
    given = tuple(data)
    if not given and not traces:
        return (), (), {}
    every = (traces or Traces()).leading_to(digests(given))
    return with_inputs(given, every.files()), every.records(), every.sources()


def with_inputs(data: Iterable[DataRecord], files: Iterable[DataRecord]) -> tuple[DataRecord, ...]:
    """Add files to data, each once, under a name that is not taken by other data."""
    found = {item.name: item for item in data}
    for file in files:
        if any(item.place and item.digest == file.digest for item in found.values()):
            continue
        names = (f"{file.name}.{i}" for i in itertools.count(2))
        name = file.name if file.name not in found else next(n for n in names if n not in found)
        found[name] = evolve(file, name=name)
    return tuple(found.values())


# ---- checking what was given


def check_notes(
    *,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    parents: Iterable[str] = (),
    not_secret: Collection[str] = (),
    allow_secrets: bool = False,
    look: Look | None = None,
) -> Notes:
    """Check what a user gave beside an object.

    Raises:
        InvalidInputError: Something cannot be stored; the message names the field.
    """
    given = [describe(check_key(n, "data"), v) for n, v in check_mapping(data, "data").items()]
    described, steps, sources = with_steps(given, None)
    return Notes(
        params=check_params(params or {}),
        metrics=check_metrics(metrics or {}),
        data=described,
        steps=steps,
        step_sources=sources,
        tags=check_tags(tags or {}),
        description=None if description is None else _check_text(description, "description"),
        parents=tuple(parents),
        lifted=check_lifted(not_secret, allow_secrets),
        look=look or Look(),
    )


def check_params(params: Mapping[str, Any]) -> Json:
    """Give params as tagged JSON of at most 1 MiB."""
    encoded: Json = encode(dict(check_mapping(params, "params")), "params")
    size = len(dumps(encoded))
    if size > MAX_PARAMS:
        raise InvalidValueError(
            f"params are {size} bytes of JSON; at most {MAX_PARAMS} are kept: log large values "
            "as artifacts"
        )
    return encoded


def check_tags(tags: Mapping[str, Any]) -> Json:
    """Give tags as tagged JSON: text of at most 1,000 characters, numbers, bools or None."""
    return {check_key(n, "tag"): _tag(n, v) for n, v in check_mapping(tags, "tags").items()}


def _tag(name: str, value: Any) -> Any:
    encoded = encode(value, f"tags[{name!r}]")
    if isinstance(value, (list, tuple, Mapping, bytes)) or len(str(value)) > 1000:
        raise InvalidValueError(
            f"tags[{name!r}] must be text of at most 1,000 characters, a number, a bool or None; "
            f"found {type(value).__name__}"
        )
    return encoded


def check_text(text: Any, what: str) -> str:
    """Give a remark of at most 10,000 characters as it is stored: without its secrets."""
    return masked(_check_text(text, what))


def _check_text(text: Any, what: str) -> str:
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_TEXT:
        raise InvalidValueError(
            f"{what} must be text of 1 to {MAX_TEXT} characters, found {type(text).__name__}"
            + (f" of {len(text)}" if isinstance(text, str) else "")
        )
    encode(text, what)
    return text


def check_mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Give what was given by name, an empty dict for None.

    Raises:
        InvalidValueError: It is no dict.
    """
    if value is not None and not isinstance(value, Mapping):
        raise InvalidValueError(f"{what} must be a dict, found {type(value).__name__}")
    return value or {}


# ---- freezing


@attrs.frozen
class FrozenObject:
    """An object whose bytes were taken; what happens to `value` later changes them no more."""

    value: Any
    record: ObjectRecord
    blobs: tuple[Blob, ...]
    parts: tuple[StepRecord, ...] = ()
    signature: SignatureRecord | None = None


def freeze(spool: Spool, value: Any) -> FrozenObject:
    """Take the bytes of an object.

    Raises:
        UnpicklableError: A part of it cannot be pickled; its path is named.
        SecretError: A part of it is a secret; its path is named.
    """
    before = len(spool.blobs)
    with _named("object", value):
        record = for_object(value).dump(value, spool)
    blobs = tuple(spool.blobs[before:])
    return FrozenObject(value, record, blobs, _parts(value), signature_of(value))


def _parts(value: Any) -> tuple[StepRecord, ...]:
    if "sklearn.base" not in sys.modules:
        return ()
    from modelversion.parts import parts_of

    return parts_of(value)


@contextlib.contextmanager
def _named(path: str, value: Any = None) -> Iterator[None]:
    """Say of bytes that are withheld in the body whose they are."""
    try:
        yield
    except Withheld as e:
        raise secret_error(path, e.rule, value=value) from None


def freeze_artifacts(
    spool: Spool,
    artifacts: Mapping[str, Any],
    *,
    leave_out: Callable[[SecretError], None] | None = None,
) -> tuple[Blob, ...]:
    """Take the bytes of artifacts.

    Args:
        spool: Where the bytes go.
        artifacts: Path in the version -> content, as `artifact_files` says.
        leave_out: Is told of each file that holds a secret, which is then left out.

    Raises:
        InvalidPathError: A path is not allowed, or its file is not there.
        InvalidValueError: A content is nothing that can be kept.
        SecretError: A file holds a secret, and nothing says that it may be left out.
    """
    files = list(artifact_files(check_mapping(artifacts, "artifacts")))
    layout.check_distinct(path for path, _ in files)
    before = len(spool.blobs)
    for file in files:
        try:
            _spooled(spool, [file])
        except SecretError as e:
            if leave_out is None:
                raise
            leave_out(e)
    return tuple(spool.blobs[before:])


def warn_left_out(path: str, rule: str, *, model: str) -> None:
    """Say that a file is not kept: a run is not ended by the secret in it."""
    warnings.warn(
        f"{path} was left out of the run of {model!r}: it holds a secret ({rule}); take that out, "
        "or give allow_secrets=True to keep it as it is",
        SecretWarning,
        stacklevel=current.user_level(),
    )


def _spooled(spool: Spool, files: Iterable[File]) -> tuple[Blob, ...]:
    before = len(spool.blobs)
    for path, content in files:
        with _named(path):
            if isinstance(content, Path):
                spool.add_file(path, content)
            else:
                spool.add(path, content)
    return tuple(spool.blobs[before:])


def take(
    spool: Spool,
    notes: Notes,
    *,
    value: Any = NOTHING,
    artifacts: Mapping[str, Any] | None = None,
    frozen: Iterable[Blob] = (),
) -> Snapshot:
    """Freeze an object and its artifacts into a spool.

    Args:
        spool: Where the files go.
        notes: What is recorded beside the object.
        value: The object, or one that was frozen before; `NOTHING` makes a version without one.
        artifacts: Path in the version -> content, as `artifact_files` says.
        frozen: Artifacts that were frozen before.

    Raises:
        UnpicklableError: A part of the object cannot be pickled; its path is named.
        InvalidPathError: An artifact's path is not allowed, or its file is not there.
        SecretError: A part of the object, or an artifact, holds a secret.
    """
    given, before = check_mapping(artifacts, "artifacts"), tuple(frozen)
    files = list(artifact_files(given)) if given else []
    layout.check_distinct([*(blob.path for blob in before), *(path for path, _ in files)])
    taken = value if isinstance(value, FrozenObject) else None
    if taken is None and value is not NOTHING:
        with _named("object", value):
            record = for_object(value).dump(value, spool)
        taken = FrozenObject(value, record, tuple(spool.blobs), _parts(value), signature_of(value))
    of_object = () if taken is None else taken.blobs
    rest = _spooled(spool, files)
    said = (taken.parts, taken.signature) if taken else ((), None)
    notes, parts, signature, redactions = without_secrets(notes, *said, known_secrets())
    code, steps, noted = _add_notes(notes, spool)
    here = environment()
    blobs = (*of_object, *before, *rest, *noted)
    return Snapshot(
        object=None if taken is None else taken.record,
        signature=signature,
        notes=attrs.evolve(notes, steps=steps),
        blobs=blobs,
        code=code,
        content=_content(notes, code, blobs),
        object_digest=digest(dumps([[b.path, b.sha256] for b in of_object])) if taken else "",
        parts=parts,
        redactions=redactions,
        environment=evolve(here, seeds=seeds(notes.params), random_states=notes.look.states),
    )


def _add_notes(
    notes: Notes, spool: Spool
) -> tuple[CodeRecord | None, tuple[StepRecord, ...], tuple[Blob, ...]]:
    """Add the files that hold what is too long for `version.json`: series and source."""
    before = len(spool.blobs)
    if notes.series:
        lines = b"".join(dumps(line) + b"\n" for line in notes.series)
        spool.add(layout.SERIES, lines, watched=False)
    code = _add_source(notes, spool)
    steps, files = write_steps(notes.steps, notes.step_sources)
    for path, data in files.items():
        spool.add(path, data, watched=False)
    return code, steps, tuple(spool.blobs[before:])


def _add_source(notes: Notes, spool: Spool) -> CodeRecord | None:
    if notes.look.code is None:
        return None
    written = write(notes.look.code, notes.look.told())
    for path, data in written.files.items():
        spool.add(path, data, watched=False)
    return written.record


def _content(notes: Notes, code: CodeRecord | None, blobs: Iterable[Blob]) -> str:
    """Digest what makes two saves the same content; who, when, where and how long are left out."""
    given = (notes.params, {n: to_json(m) for n, m in notes.metrics.items()}, notes.tags)
    data = [_same_data(item) for item in notes.data]
    source = f"{layout.SOURCE}/"
    files = sorted([b.path, b.sha256] for b in blobs if not b.path.startswith(source))
    made_by = identity(code, {b.path: b.sha256 for b in blobs})
    rest = [notes.description, list(notes.parents), made_by, notes.failed]
    steps = [_said(step) for step in notes.steps]
    return digest(dumps([*given, data, files, rest, *([steps] if steps else [])]))


def _same_data(item: DataRecord) -> Json:
    """Give what tells a data set: what else is known of it does not make it another."""
    if item.digest is None:
        # Where a file lies and when it was written is no part of what it holds.
        return to_json(evolve(item, place=None))
    return {"name": item.name, "kind": item.kind, "digest": item.digest}


def _said(step: StepRecord) -> list[Any]:
    """Give what makes a step another one: neither how long it took nor how often it ran."""
    flows = [[[f.name, f.digest] for f in side] for side in (step.inputs, step.outputs)]
    return [step.name, step.form, step.code.entry, step.code.sha256, step.params, flows]
