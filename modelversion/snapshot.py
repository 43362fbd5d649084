"""Freeze what is to be saved: the object, its files, and what was recorded beside it.

Everything is checked before the first byte is spooled; nothing here knows of storage.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from modelversion import layout
from modelversion._json import digest, dumps, encode
from modelversion.environment import environment
from modelversion.errors import InvalidPathError, InvalidValueError
from modelversion.fingerprint import describe
from modelversion.metrics import check_key, check_metrics, direction
from modelversion.records import (
    FORMAT,
    Actor,
    CodeRecord,
    DataRecord,
    FileRecord,
    MetricRecord,
    ObjectRecord,
    Origin,
    VersionRecord,
)
from modelversion.schema import Json, to_json
from modelversion.serializers import for_object
from modelversion.storage import Blob
from modelversion.storage.spool import Spool

MAX_PARAMS = 2**20
MAX_TEXT = 10_000
MAX_SUMMARY = 16 * 1024
NOTHING: Any = type("Nothing", (), {"__repr__": lambda self: "NOTHING"})()


@attrs.frozen(kw_only=True)
class Notes:
    """What is recorded beside an object, checked and as JSON."""

    params: Json
    metrics: dict[str, MetricRecord]
    data: tuple[DataRecord, ...]
    tags: Json
    description: str | None = None
    parents: tuple[str, ...] = ()
    entry: str | None = None
    source: str | None = None
    duration_seconds: float | None = None


@attrs.frozen(kw_only=True)
class Snapshot:
    """A version but for its number: files with digests, and records."""

    object: ObjectRecord | None
    notes: Notes
    blobs: tuple[Blob, ...]
    code: CodeRecord | None
    content: str
    object_digest: str

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
            params=notes.params,
            metrics=notes.metrics,
            data=notes.data,
            code=self.code,
            environment=environment(),
            parents=notes.parents,
            tags=notes.tags,
            duration_seconds=notes.duration_seconds,
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
            "tags": notes.tags,
            "parents": list(notes.parents),
            "description": notes.description,
            "type": None if self.object is None else self.object.type,
            "bytes": sum(blob.size for blob in self.blobs),
            "object": self.object_digest,
        }
        return _fit({name: part for name, part in parts.items() if part not in (None, {}, [])})


def _fit(parts: Json) -> Json:
    left_out: list[str] = []
    sizes = {name: len(dumps(part)) for name, part in parts.items()}
    while sum(sizes.values()) > MAX_SUMMARY - 256:
        largest = max(sizes, key=lambda name: sizes[name])
        left_out.append(largest)
        del sizes[largest], parts[largest]
    return {**parts, "left_out": sorted(left_out)} if left_out else parts


# ---- checking what was given


def check_notes(
    *,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    tags: Mapping[str, Any] | None = None,
    description: str | None = None,
    parents: Iterable[str] = (),
) -> Notes:
    """Check what a user gave beside an object.

    Raises:
        InvalidInputError: Something cannot be stored; the message names the field.
    """
    return Notes(
        params=check_params(params or {}),
        metrics=check_metrics(metrics or {}),
        data=tuple(describe(check_key(n, "data"), v) for n, v in _mapping(data, "data").items()),
        tags=check_tags(tags or {}),
        description=None if description is None else check_text(description, "description"),
        parents=tuple(parents),
    )


def check_params(params: Mapping[str, Any]) -> Json:
    """Give params as tagged JSON of at most 1 MiB."""
    encoded: Json = encode(dict(_mapping(params, "params")), "params")
    size = len(dumps(encoded))
    if size > MAX_PARAMS:
        raise InvalidValueError(
            f"params are {size} bytes of JSON; at most {MAX_PARAMS} are kept: log large values "
            "as artifacts"
        )
    return encoded


def check_tags(tags: Mapping[str, Any]) -> Json:
    """Give tags as tagged JSON: text of at most 1,000 characters, numbers, bools or None."""
    return {check_key(n, "tag"): _tag(n, v) for n, v in _mapping(tags, "tags").items()}


def _tag(name: str, value: Any) -> Any:
    encoded = encode(value, f"tags[{name!r}]")
    if isinstance(value, (list, tuple, Mapping, bytes)) or len(str(value)) > 1000:
        raise InvalidValueError(
            f"tags[{name!r}] must be text of at most 1,000 characters, a number, a bool or None; "
            f"found {type(value).__name__}"
        )
    return encoded


def check_text(text: Any, what: str) -> str:
    """Give a text of at most 10,000 characters."""
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_TEXT:
        raise InvalidValueError(
            f"{what} must be text of 1 to {MAX_TEXT} characters, found {type(text).__name__}"
            + (f" of {len(text)}" if isinstance(text, str) else "")
        )
    encode(text, what)
    return text


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise InvalidValueError(f"{what} must be a dict, found {type(value).__name__}")
    return value or {}


# ---- freezing


def take(
    spool: Spool, notes: Notes, *, value: Any = NOTHING, artifacts: Mapping[str, Any] | None = None
) -> Snapshot:
    """Freeze an object and its artifacts into a spool.

    Args:
        spool: Where the files go.
        notes: What is recorded beside the object.
        value: The object; `NOTHING` makes a version without one.
        artifacts: Path in the version -> bytes, text, or an `os.PathLike` of a file or folder.

    Raises:
        UnpicklableError: A part of the object cannot be pickled; its path is named.
        InvalidPathError: An artifact's path is not allowed, or its file is not there.
    """
    files = list(_artifact_files(artifacts or {}))
    layout.check_distinct(path for path, _ in files)
    record = None if value is NOTHING else for_object(value).dump(value, spool)
    of_object = len(spool.blobs)
    for path, content in files:
        if isinstance(content, Path):
            spool.add_file(path, content)
        else:
            spool.add(path, content)
    code = _add_source(notes, spool)
    object_digest = digest(dumps([[b.path, b.sha256] for b in spool.blobs[:of_object]]))
    return Snapshot(
        object=record,
        notes=notes,
        blobs=tuple(spool.blobs),
        code=code,
        content=_content(notes, spool.blobs),
        object_digest=object_digest if record is not None else "",
    )


def _artifact_files(artifacts: Mapping[str, Any]) -> Iterator[tuple[str, bytes | Path]]:
    for path, content in _mapping(artifacts, "artifacts").items():
        key = layout.artifact_path(path)
        if isinstance(content, bytes):
            yield key, content
        elif isinstance(content, str):
            encode(content, f"artifacts[{path!r}]")
            yield key, content.encode()
        elif isinstance(content, os.PathLike):
            yield from _files_at(Path(content), path, key)
        else:
            raise InvalidValueError(
                f"artifacts[{path!r}] must be bytes, text or a pathlib.Path, found "
                f"{type(content).__name__}"
            )


def _files_at(source: Path, path: str, key: str) -> Iterator[tuple[str, Path]]:
    if source.is_file():
        yield key, source
        return
    if not source.is_dir():
        raise InvalidPathError(f"artifacts[{path!r}]: there is no file or folder {str(source)!r}")
    found = sorted(source.rglob("*"))
    for file in found:
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            raise InvalidPathError(
                f"artifacts[{path!r}]: {str(file)!r} is a link or no regular file; give what it "
                "points to as an artifact of its own"
            )
        if file.is_file():
            yield layout.artifact_path(f"{path}/{file.relative_to(source).as_posix()}"), file
    if not any(file.is_file() for file in found):
        raise InvalidPathError(f"artifacts[{path!r}]: the folder {str(source)!r} holds no file")


def _add_source(notes: Notes, spool: Spool) -> CodeRecord | None:
    if notes.entry is None:
        return None
    if notes.source is None:
        return CodeRecord(entry=notes.entry)
    blob = spool.add(f"{layout.SOURCE}/entry.py", notes.source.encode())
    return CodeRecord(entry=notes.entry, path=blob.path, sha256=blob.sha256)


def _content(notes: Notes, blobs: list[Blob]) -> str:
    """Digest what makes two saves the same content; who, when and how long are left out."""
    given = (notes.params, {n: to_json(m) for n, m in notes.metrics.items()}, notes.tags)
    data = [to_json(item) for item in notes.data]
    files = sorted([blob.path, blob.sha256] for blob in blobs)
    rest = [notes.description, list(notes.parents), notes.entry]
    return digest(dumps([*given, data, files, rest]))
