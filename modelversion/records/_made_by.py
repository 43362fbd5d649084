"""The records of what made a version: its code, the state of git, and the environment."""

from __future__ import annotations

import attrs

from modelversion.schema import (
    OPTIONAL_BOOL,
    OPTIONAL_INT,
    OPTIONAL_TEXT,
    Json,
    by_name,
    json_object,
    many,
    one,
    plain,
    record,
    texts,
)


@record
class PieceRecord:
    """A definition, a file or a cell that stands in lines `start` to `end` of the source.

    `file` and `line` say where it stood, `cell` in which cell of a notebook.
    """

    name: str = plain(str)
    start: int = plain(int)
    end: int = plain(int)
    file: str | None = plain(OPTIONAL_TEXT, None)
    line: int | None = plain(OPTIONAL_INT, None)
    cell: int | None = plain(OPTIONAL_INT, None)
    extra: Json = attrs.field(factory=dict)


@record
class TextRecord:
    """A text of a version: itself where it is short, else the path of its file."""

    text: str | None = plain(OPTIONAL_TEXT, None)
    path: str | None = plain(OPTIONAL_TEXT, None)
    extra: Json = attrs.field(factory=dict)


@record
class GitRecord:
    """The git repository around the code when the run began, as far as git told.

    `branch` is None where the head is detached, `dirty` where git could not tell. `patch` holds
    the changes against `commit`; `left_out` names changed files that are not in it, `more` counts
    names that are not listed, `problem` says what could not be read.
    """

    commit: str | None = plain(OPTIONAL_TEXT, None)
    branch: str | None = plain(OPTIONAL_TEXT, None)
    remote: str | None = plain(OPTIONAL_TEXT, None)
    dirty: bool | None = plain(OPTIONAL_BOOL, None)
    patch: TextRecord | None = one(TextRecord, None)
    changed: tuple[str, ...] = texts()
    left_out: tuple[str, ...] = texts()
    untracked: tuple[str, ...] = texts()
    more: int | None = plain(OPTIONAL_INT, None)
    problem: str | None = plain(OPTIONAL_TEXT, None)
    extra: Json = attrs.field(factory=dict)


@record
class CodeRecord:
    """The code that made a version: where it enters, and what it reaches of the user's own.

    `source` is the text, `pieces` what stands in it, the entry's own first; versions of the first
    releases have it in the file `path`. `missing` says why the source of a name is not there,
    `left_out` names what was too much. `globals` are plain values that the code reads,
    `libraries` packages that it uses. `cells` are the notebook's cells so far.
    """

    entry: str = plain(str)
    path: str | None = plain(OPTIONAL_TEXT, None)
    sha256: str | None = plain(OPTIONAL_TEXT, None)
    source: TextRecord | None = one(TextRecord, None)
    pieces: tuple[PieceRecord, ...] = many(PieceRecord)
    missing: Json = json_object()
    left_out: tuple[str, ...] = texts()
    globals: Json = json_object()
    libraries: tuple[str, ...] = texts()
    notebook: str | None = plain(OPTIONAL_TEXT, None)
    cells: TextRecord | None = one(TextRecord, None)
    cells_left_out: int | None = plain(OPTIONAL_INT, None)
    git: GitRecord | None = one(GitRecord, None)
    extra: Json = attrs.field(factory=dict)


@record
class LockRecord:
    """A file that pins packages, found in or above the working folder: path from there, sha256."""

    path: str = plain(str)
    sha256: str = plain(str)
    size: int = plain(int)
    extra: Json = attrs.field(factory=dict)


@record
class InstalledFrom:
    """Where a distribution was installed from, by PEP 610: URL, commit, whether it is editable."""

    url: str = plain(str)
    vcs: str | None = plain(OPTIONAL_TEXT, None)
    commit: str | None = plain(OPTIONAL_TEXT, None)
    editable: bool | None = plain(OPTIONAL_BOOL, None)
    extra: Json = attrs.field(factory=dict)


@record
class EnvironmentRecord:
    """Where a version was made: Python, machine, every installed distribution, lock files.

    `packages` are name -> version, `installed_from` those that came from a URL or a folder.
    `variables` are environment variables of an allow-list. `seeds` are params that are named as
    seeds, `random_states` the seed or a digest of the state of each generator at the start.
    """

    python: str = plain(str)
    implementation: str = plain(str)
    platform: str = plain(str)
    packages: Json = json_object()
    installed_from: dict[str, InstalledFrom] = by_name(InstalledFrom)
    lock_files: tuple[LockRecord, ...] = many(LockRecord)
    host: str | None = plain(OPTIONAL_TEXT, None)
    cpu: str | None = plain(OPTIONAL_TEXT, None)
    cores: int | None = plain(OPTIONAL_INT, None)
    memory_bytes: int | None = plain(OPTIONAL_INT, None)
    peak_memory_bytes: int | None = plain(OPTIONAL_INT, None)
    gpus: tuple[str, ...] = texts()
    gpu_driver: str | None = plain(OPTIONAL_TEXT, None)
    cuda: str | None = plain(OPTIONAL_TEXT, None)
    variables: Json = json_object()
    seeds: Json = json_object()
    random_states: Json = json_object()
    extra: Json = attrs.field(factory=dict)

    def requirements(self) -> str:
        """Give the distributions as text for `pip install -r` or `uv pip sync`.

        One that was installed from a folder of that machine is left as a comment: there is
        nothing to fetch it from.
        """
        lines = (
            requirement(n, str(v), self.installed_from.get(n)) for n, v in self.packages.items()
        )
        return "".join(f"{line}\n" for line in (f"# Python {self.python}", *lines))


def requirement(name: str, version: str, source: InstalledFrom | None) -> str:
    """Give the line that installs one distribution again."""
    if source is None:
        return f"{name}=={version}"
    if source.url.startswith("file:"):
        return f"# {name}=={version} was installed from {source.url}"
    if source.commit is None:
        return f"{name} @ {source.url}"
    return f"{name} @ {source.vcs or 'git'}+{source.url}@{source.commit}"
