"""The records that are stored: of versions, of journals, and of what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from modelversion.errors import NewerFormatError
from modelversion.records._made_by import CodeRecord as CodeRecord
from modelversion.records._made_by import EnvironmentRecord as EnvironmentRecord
from modelversion.records._made_by import GitRecord as GitRecord
from modelversion.records._made_by import InstalledFrom as InstalledFrom
from modelversion.records._made_by import LockRecord as LockRecord
from modelversion.records._made_by import PieceRecord as PieceRecord
from modelversion.records._made_by import TextRecord as TextRecord
from modelversion.records._signature import SignatureRecord as SignatureRecord
from modelversion.schema import (
    OPTIONAL_BOOL,
    OPTIONAL_INT,
    OPTIONAL_LIST,
    OPTIONAL_NUMBER,
    OPTIONAL_TEXT,
    Json,
    by_name,
    json_object,
    many,
    one,
    plain,
    record,
    texts,
    to_json,
)

FORMAT = 1


@record
class Actor:
    """Who did it: a name, and how it is known (given, env, ci, os)."""

    name: str = plain(str)
    source: str = plain(str)
    run_url: str | None = plain(OPTIONAL_TEXT, None)
    extra: Json = attrs.field(factory=dict)

    def __str__(self) -> str:
        return self.name


@record
class RegistryRecord:
    """`registry.json`: what makes a folder a registry."""

    format: int = plain(int)
    id: str = plain(str)
    created_at: str = plain(str)
    actor: Actor = one(Actor)
    extra: Json = attrs.field(factory=dict)


@record
class ForkRecord:
    """`forks/<n>.json`: a copy of a registry goes its own way under another id."""

    id: str = plain(str)
    previous: str = plain(str)
    created_at: str = plain(str)
    actor: Actor = one(Actor)
    reason: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class Claim:
    """`claim.json`: number n of a model is taken by the process that knows the nonce."""

    registry: str = plain(str)
    model: str = plain(str)
    number: int = plain(int)
    nonce: str = plain(str)
    time: str = plain(str)
    actor: Actor = one(Actor)
    extra: Json = attrs.field(factory=dict)


@record
class FileRecord:
    """A file of a version: relative POSIX path, bytes, sha256 in hex."""

    path: str = plain(str)
    size: int = plain(int)
    sha256: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class Origin:
    """Where a version directory was committed first."""

    registry: str = plain(str)
    model: str = plain(str)
    number: int = plain(int)
    nonce: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class CopiedFrom:
    """Where a copy came from, which its own registry could not say otherwise.

    `origin` is the one in its `version.json`; `registry`, `model` and `number` name the version
    that was read, and `actor` who saved it first. `heads` are the ends of the source's journals,
    folder -> position and sha256. `tags` and `untagged` are what changed since the save. `history`
    are the entries about the version, oldest first; of those that are too many the oldest are left
    out and counted. `parents` are references in the source.
    """

    origin: Origin = one(Origin)
    registry: str = plain(str)
    model: str = plain(str)
    number: int = plain(int)
    actor: Actor = one(Actor)
    heads: Json = json_object()
    tags: Json = json_object()
    untagged: tuple[str, ...] = texts()
    parents: tuple[str, ...] = texts()
    history: tuple[Json, ...] = texts()
    left_out: int | None = plain(OPTIONAL_INT, None)
    extra: Json = attrs.field(factory=dict)


@record
class BufferRecord:
    """An out-of-band buffer: `size` bytes at `offset` of the version's file `path`."""

    path: str = plain(str)
    offset: int = plain(int)
    size: int = plain(int)
    extra: Json = attrs.field(factory=dict)


@record
class ObjectRecord:
    """How the object is kept.

    `stream` is the path of the pickle, `buffers` its out-of-band buffers in the order in which
    it asks for them, `globals` the exact names that it imports, as `module:qualname`. `data_only`
    tells whether it loaded without `allow_pickle` when it was saved; a reader judges for itself.
    """

    serializer: str = plain(str)
    type: str = plain(str)
    stream: str = plain(str)
    buffers: tuple[BufferRecord, ...] = many(BufferRecord)
    globals: tuple[str, ...] = texts()
    data_only: bool | None = plain(OPTIONAL_BOOL, None)
    extra: Json = attrs.field(factory=dict)


@record
class MetricRecord:
    """A metric: its number (tagged JSON), the direction if known, and the sample size."""

    value: Any = plain(object)
    higher_is_better: bool | None = plain(OPTIONAL_BOOL, None)
    n: int | None = plain(OPTIONAL_INT, None)
    extra: Json = attrs.field(factory=dict)


@record
class PlaceRecord:
    """Where a file or folder of data lay: URL, bytes, and how the place tells its state."""

    url: str = plain(str)
    size: int | None = plain(OPTIONAL_INT, None)
    files: int | None = plain(OPTIONAL_INT, None)
    etag: str | None = plain(OPTIONAL_TEXT, None)
    modified_at: str | None = plain(OPTIONAL_TEXT, None)
    extra: Json = attrs.field(factory=dict)


@record
class DataRecord:
    """A data set that a version was made from; `digest` is None where it was not fingerprinted.

    `columns` is column -> type, `digests` column -> sha256, `profile` column -> rows, nulls, min,
    max and mean (tagged JSON); what is too much is left out. `reason` says why there is no digest.
    """

    name: str = plain(str)
    type: str = plain(str)
    kind: str | None = plain(OPTIONAL_TEXT, None)
    shape: tuple[int, ...] | None = plain(OPTIONAL_LIST, None, attrs.converters.optional(tuple))
    dtype: str | None = plain(OPTIONAL_TEXT, None)
    columns: Json = json_object()
    digests: Json = json_object()
    profile: Json = json_object()
    digest: str | None = plain(OPTIONAL_TEXT, None)
    place: PlaceRecord | None = one(PlaceRecord, None)
    size: int | None = plain(OPTIONAL_INT, None)
    reason: str | None = plain(OPTIONAL_TEXT, None)
    extra: Json = attrs.field(factory=dict)


@record
class StepRecord:
    """A step on the way from the data to the object.

    `form` is `call` (a function under `step`), `read` (a file that became a frame) or `part` (a
    part of the object, such as a transformer of a pipeline, read from it). `parent` is the place
    in the version's list of the step that it ran inside. `count` is above 1 where calls of one
    function are folded: `seconds` is then their sum, and their data is not listed.
    """

    name: str = plain(str)
    form: str = plain(str)
    code: CodeRecord = one(CodeRecord)
    params: Json = json_object()
    inputs: tuple[DataRecord, ...] = many(DataRecord)
    outputs: tuple[DataRecord, ...] = many(DataRecord)
    seconds: float | None = plain(OPTIONAL_NUMBER, None)
    count: int = plain(int, 1)
    parent: int | None = plain(OPTIONAL_INT, None)
    failed: str | None = plain(OPTIONAL_TEXT, None)
    columns: tuple[str, ...] = texts()
    features_in: int | None = plain(OPTIONAL_INT, None)
    features_out: int | None = plain(OPTIONAL_INT, None)
    feature_names: tuple[str, ...] = texts()
    extra: Json = attrs.field(factory=dict)


@record
class VersionRecord:
    """`version.json`: everything recorded of a version; every other file with size and digest.

    `params` and `metrics` values are tagged JSON (`modelversion._json.encode`). `redactions` has
    for each path what was redacted there: the names of the rules.
    """

    format: int = plain(int)
    origin: Origin = one(Origin)
    created_at: str = plain(str)
    actor: Actor = one(Actor)
    content: str = plain(str)
    description: str | None = plain(OPTIONAL_TEXT, None)
    object: ObjectRecord | None = one(ObjectRecord, None)
    signature: SignatureRecord | None = one(SignatureRecord, None)
    params: Json = json_object()
    metrics: dict[str, MetricRecord] = by_name(MetricRecord)
    data: tuple[DataRecord, ...] = many(DataRecord)
    steps: tuple[StepRecord, ...] = many(StepRecord)
    code: CodeRecord | None = one(CodeRecord, None)
    environment: EnvironmentRecord | None = one(EnvironmentRecord, None)
    parents: tuple[str, ...] = texts()
    tags: Json = json_object()
    duration_seconds: float | None = plain(OPTIONAL_NUMBER, None)
    failed: str | None = plain(OPTIONAL_TEXT, None)
    redactions: Json = json_object()
    files: tuple[FileRecord, ...] = many(FileRecord)
    extra: Json = attrs.field(factory=dict)


@record
class Entry:
    """One entry of a journal; `event` is the JSON of one of the events below, or a newer one."""

    position: int = plain(int)
    previous: str = plain(str)
    nonce: str = plain(str)
    time: str = plain(str)
    clock: str = plain(str)
    actor: Actor = one(Actor)
    event: Json = plain(dict)
    extra: Json = attrs.field(factory=dict)


# ---- events ------------------------------------------------------------------------------------


@record
class ModelCreated:
    """A model's name was used for the first time; `display` is its first spelling."""

    kind: ClassVar[str] = "model.created"
    must_understand: ClassVar[bool] = True
    model: str = plain(str)
    display: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class RegistryForked:
    """A copy of the registry `previous` goes its own way from here on."""

    kind: ClassVar[str] = "registry.forked"
    must_understand: ClassVar[bool] = False
    id: str = plain(str)
    previous: str = plain(str)
    reason: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class VersionCommitted:
    """Number, claim nonce, size and sha256 of `version.json`, and the summary for tables."""

    kind: ClassVar[str] = "version.committed"
    must_understand: ClassVar[bool] = True
    number: int = plain(int)
    nonce: str = plain(str)
    size: int = plain(int)
    sha256: str = plain(str)
    content: str = plain(str)
    summary: Json = json_object()
    copied_from: CopiedFrom | None = one(CopiedFrom, None)
    extra: Json = attrs.field(factory=dict)


@record
class VersionAbandoned:
    """A claimed number that will never be committed."""

    kind: ClassVar[str] = "version.abandoned"
    must_understand: ClassVar[bool] = True
    number: int = plain(int)
    reason: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class VersionRepeated:
    """The identical content was saved again, and no new version made."""

    kind: ClassVar[str] = "version.repeated"
    must_understand: ClassVar[bool] = False
    number: int = plain(int)
    extra: Json = attrs.field(factory=dict)


@record
class TagsChanged:
    """Tags set (tagged JSON values) and removed."""

    kind: ClassVar[str] = "version.tagged"
    must_understand: ClassVar[bool] = False
    number: int = plain(int)
    set: Json = json_object()
    removed: tuple[str, ...] = texts()
    extra: Json = attrs.field(factory=dict)


@record
class NoteAdded:
    """A remark on a version."""

    kind: ClassVar[str] = "version.noted"
    must_understand: ClassVar[bool] = False
    number: int = plain(int)
    text: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class AliasSet:
    """An alias now names a version, bound to its `version.json` as the commit entry binds it."""

    kind: ClassVar[str] = "alias.set"
    must_understand: ClassVar[bool] = True
    alias: str = plain(str)
    number: int = plain(int)
    nonce: str = plain(str)
    size: int = plain(int)
    sha256: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class AliasDeleted:
    """An alias no longer names a version."""

    kind: ClassVar[str] = "alias.deleted"
    must_understand: ClassVar[bool] = True
    alias: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class VersionWithdrawn:
    """A version is not to be used any more; loading it warns."""

    kind: ClassVar[str] = "version.withdrawn"
    must_understand: ClassVar[bool] = True
    number: int = plain(int)
    reason: str = plain(str)
    use_instead: int | None = plain(OPTIONAL_INT, None)
    extra: Json = attrs.field(factory=dict)


@record
class VersionRestored:
    """A withdrawal is taken back."""

    kind: ClassVar[str] = "version.restored"
    must_understand: ClassVar[bool] = True
    number: int = plain(int)
    reason: str = plain(str)
    extra: Json = attrs.field(factory=dict)


@record
class VersionDeleted:
    """The tombstone of a version: its bytes are gone, their digests stay."""

    kind: ClassVar[str] = "version.deleted"
    must_understand: ClassVar[bool] = True
    number: int = plain(int)
    reason: str = plain(str)
    sha256: str = plain(str)
    files: tuple[FileRecord, ...] = many(FileRecord)
    extra: Json = attrs.field(factory=dict)


def event_json(event: Any) -> Json:
    """Give an event as the JSON that an entry carries."""
    return {"kind": event.kind, "must_understand": event.must_understand, **to_json(event)}


def check_format(value: Any, what: str) -> None:
    """Refuse a record of a newer major format before its fields are judged.

    Raises:
        NewerFormatError: The record says a format above the one this release writes.
    """
    found = value.get("format") if isinstance(value, Mapping) else None
    if isinstance(found, int) and found > FORMAT:
        raise NewerFormatError(
            f"{what} has format {found}; this modelversion reads up to {FORMAT}: "
            f"install a release that reads format {found}"
        )
