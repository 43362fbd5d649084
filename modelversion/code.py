"""The code of a version: how it is written into one file, and how it is read back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from modelversion import layout
from modelversion._json import decode, encode
from modelversion.errors import ArtifactNotFoundError, InvalidInputError
from modelversion.records import CodeRecord, GitRecord, PieceRecord, StepRecord, TextRecord
from modelversion.schema import Json, evolve
from modelversion.source._places import Piece
from modelversion.source.capture import Capture
from modelversion.source.git import GitState

ENTRY = f"{layout.SOURCE}/entry.py"
CELLS = f"{layout.SOURCE}/cells.py"
PATCH = f"{layout.SOURCE}/git.patch"
STEPS = f"{layout.SOURCE}/steps.py"
MAX_INLINE = 64 * 1024


@attrs.frozen
class Written:
    """The record of some code, and the files of its longer texts by path."""

    record: CodeRecord
    files: dict[str, bytes]


def write(found: Capture, state: GitState | None) -> Written:
    """Make the record of code whose values are JSON: short texts stand in it, others are files.

    A file of its own would cost a small save an fsync or two, a third of its time.
    """
    files: dict[str, bytes] = {}
    source, pieces = joined(found.pieces)
    cells = found.cells
    record = CodeRecord(
        entry=found.entry.name,
        source=_text(source, ENTRY, files),
        pieces=pieces,
        missing=found.missing,
        left_out=found.left_out,
        globals=found.values,
        libraries=found.libraries,
        notebook=found.notebook,
        cells=None if cells is None else _text(cells.text, CELLS, files),
        cells_left_out=None if cells is None else cells.left_out or None,
        git=None if state is None else _git(state, files),
    )
    return Written(record, files)


def _text(text: str | None, path: str, files: dict[str, bytes]) -> TextRecord | None:
    if not text:
        return None
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_INLINE:
        return TextRecord(text=data.decode())
    files[path] = data
    return TextRecord(path=path)


@functools.lru_cache(maxsize=16)  # most saves of a process are of the same code
def joined(pieces: tuple[Piece, ...]) -> tuple[str, tuple[PieceRecord, ...]]:
    """Write pieces one below the other; a line of comment says where each one is from.

    No line number of the original stands in the text: what did not change stays the same.
    """
    lines: list[str] = []
    records = []
    for piece in pieces:
        if lines:
            lines += ["\n", "\n", f"# ---- {piece.name}{_where(piece)}\n"]
        start = len(lines) + 1
        lines += piece.text.splitlines(keepends=True)
        records.append(
            PieceRecord(
                name=piece.name,
                start=start,
                end=len(lines),
                file=piece.file,
                line=piece.line,
                cell=piece.cell,
            )
        )
    return "".join(lines), tuple(records)


def _where(piece: Piece) -> str:
    return f" ({piece.file})" if piece.file else ""


def encoded_values(values: Mapping[str, Any]) -> Json:
    """Give the plain values of globals as tagged JSON, without those that it cannot say."""
    encoded = {}
    for name, value in values.items():
        try:
            encoded[name] = encode(value, name)
        except InvalidInputError:
            continue  # a key that is no text, a lone surrogate: it is not said what it was
    return encoded


def write_steps(
    steps: tuple[StepRecord, ...], sources: Mapping[str, str]
) -> tuple[tuple[StepRecord, ...], dict[str, bytes]]:
    """Give each text to the first step of its digest; texts that are long together are one file.

    Args:
        steps: The steps.
        sources: The text of each digest, as it is stored.
    """
    names = {step.code.sha256: step.code.entry for step in steps}
    pieces = (Piece(names.get(sha256, sha256), text) for sha256, text in sources.items())
    whole, places = joined(tuple(pieces))
    files: dict[str, bytes] = {}
    kept = _text(whole, STEPS, files)
    found: dict[str, Json] = {}
    for (sha256, text), place in zip(sources.items(), places, strict=True):
        together = {"source": kept, "pieces": (place,)}
        found[sha256] = together if files else {"source": _text(text, STEPS, files)}
    return tuple(_with_text(step, found.pop(step.code.sha256 or "", None)) for step in steps), files


def _with_text(step: StepRecord, text: Json | None) -> StepRecord:
    return step if text is None else evolve(step, code=evolve(step.code, **text))


def _git(state: GitState, files: dict[str, bytes]) -> GitRecord:
    told = attrs.asdict(state, recurse=False)
    return GitRecord(**{**told, "patch": _text("".join(state.patch), PATCH, files)})


def identity(record: CodeRecord | None, files: Mapping[str, str]) -> Json:
    """Give what makes code the same: the source and the values it reads, not git, not cells.

    Args:
        record: The record of the code.
        files: The digest of each file, by path.
    """
    if record is None:
        return {}
    source = record.source or TextRecord()
    return {
        "entry": record.entry,
        "source": files[source.path] if source.path else source.text,
        "globals": record.globals,
        "missing": sorted(record.missing),
    }


# ---- reading -------------------------------------------------------------------------------------


@attrs.frozen(repr=False)
class Code:
    """The code that made a version, and the state of git.

    Attributes:
        record: Everything that was recorded of it.
    """

    record: CodeRecord
    _read: Callable[[str], bytes]

    @property
    def entry(self) -> str:
        """Where it enters: `module:function`, a file, or a notebook."""
        return self.record.entry

    @property
    def git(self) -> GitRecord | None:
        """Commit, branch, remote and changed files when the run began; None outside of git."""
        return self.record.git

    @property
    def missing(self) -> Mapping[str, str]:
        """What is not there: name -> why, such as `edited since import`."""
        return MappingProxyType(self.record.missing)

    @property
    def globals(self) -> Mapping[str, Any]:
        """The plain values of globals that the code reads: `module:name` -> value."""
        return MappingProxyType(decode(self.record.globals))

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages that the code uses; `environment.packages` has their versions."""
        return self.record.libraries

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what stands in the source, the entry first."""
        return tuple(piece.name for piece in self.record.pieces)

    def source(self, name: str | None = None) -> str | None:
        """Give the source, after its bytes were verified.

        Args:
            name: One of `names`, or the end of one, such as a function's name; all without.

        Returns:
            The text; None where no source is there.

        Raises:
            ArtifactNotFoundError: Nothing of that name is in the source.
        """
        text = self._text(self.record.source or TextRecord(path=self.record.path))
        if name is None:
            return text
        for piece in self.record.pieces:
            if text is not None and name in _spellings(piece.name):
                return "".join(text.splitlines(keepends=True)[piece.start - 1 : piece.end])
        why = next((f": {w}" for n, w in self.missing.items() if n.endswith(name)), "")
        raise ArtifactNotFoundError(
            f"no source of {name!r}{why}; there are: {', '.join(self.names) or 'none'}"
        )

    def cells(self) -> str | None:
        """Give the cells that were run in the notebook until then, None outside of one."""
        return self._text(self.record.cells)

    def patch(self) -> str | None:
        """Give what differed from the git commit, None where nothing did; `git apply` takes it."""
        return self._text(None if self.git is None else self.git.patch)

    def _text(self, kept: TextRecord | None) -> str | None:
        if kept is None or kept.path is None:
            return None if kept is None else kept.text
        return self._read(kept.path).decode("utf-8", "replace")

    def __repr__(self) -> str:
        more = len(self.record.pieces) - 1
        parts = [self.entry, *([f"{more} more"] if more > 0 else [])]
        parts += [f"{len(self.missing)} missing"] if self.missing else []
        parts += [f"git {describe_git(self.git)}"] if self.git else []
        return f"<Code {'; '.join(parts)}>"

    def __str__(self) -> str:
        return "\n".join([self.entry, *self._lines()])

    def _lines(self) -> list[str]:
        record = self.record
        lines = [f"  {_place(piece)}" for piece in record.pieces]
        lines += [f"  {name}: source not available, {why}" for name, why in record.missing.items()]
        return lines if record.git is None else [*lines, f"  git: {describe_git(record.git)}"]


def step_source(
    steps: Sequence[StepRecord], place: int, read: Callable[[str], bytes]
) -> str | None:
    """Give the source of a step's function, None where none was kept."""
    sha256 = steps[place].code.sha256
    alike = (step.code for step in steps if step.code.sha256 == sha256)
    kept = next((code for code in alike if code.source or code.path), None)
    if sha256 is None or kept is None:
        return None
    return Code(kept, read).source(kept.pieces[0].name if kept.pieces else None)


def _spellings(name: str) -> tuple[str, ...]:
    inner = name.rpartition(":")[2]
    return name, inner, inner.rpartition(".")[2]


def _place(piece: PieceRecord) -> str:
    where = piece.file if piece.cell is None else f"cell {piece.cell}"
    return piece.name if where is None else f"{piece.name} ({where}, line {piece.line})"


def describe_git(git: GitRecord) -> str:
    """Say in one line what git told."""
    parts = [(git.commit or "no commit")[:12], f"on {git.branch}" if git.branch else "detached"]
    if git.dirty:
        parts.append(f"{len(git.changed)} changed")
    if git.untracked:
        parts.append(f"{len(git.untracked)} untracked")
    return ", ".join([*parts, *([git.problem] if git.problem else [])])
