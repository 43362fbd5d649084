"""The steps of a version as a graph: which gave what another took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import attrs

from modelversion._json import decode
from modelversion.code import step_source
from modelversion.display import Page, Shown, Table
from modelversion.errors import ArtifactNotFoundError
from modelversion.records import DataRecord, StepRecord
from modelversion.schema import Json, to_json

_SHOWN = 40
_ALIKE = 3


@attrs.frozen
class Edge:
    """Data that goes from one step to another.

    Attributes:
        source: The place of the step that gave it, or the name of the version's data.
        target: The place of the step that took it, or the name of the version's data.
        role: What the target calls it, such as the name of an argument.
        digest: The data's digest.
    """

    source: int | str
    target: int | str
    role: str
    digest: str = attrs.field(repr=False)


class Steps(Sequence[StepRecord], Shown):
    """The steps that led to a version, in the order in which they began.

    Those of the object itself, such as the transformers of a pipeline, are last.
    """

    def __init__(
        self,
        steps: Sequence[StepRecord],
        data: Sequence[DataRecord] = (),
        *,
        read: Callable[[str], bytes] | None = None,
    ) -> None:
        self._steps = tuple(steps)
        self._data = tuple(data)
        self._read = read or _unread

    @overload
    def __getitem__(self, index: int) -> StepRecord: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[StepRecord, ...]: ...

    def __getitem__(self, index: int | slice) -> StepRecord | tuple[StepRecord, ...]:
        return self._steps[index]

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        names = ", ".join(_printable(step.name) for step in self._steps[:6])
        return f"<Steps: {names or 'none'}{', ...' if len(self) > 6 else ''}>"

    def __str__(self) -> str:
        if not self._steps:
            return "no steps"
        edges: dict[int | str, list[Edge]] = {}
        for edge in self.edges:
            edges.setdefault(edge.target, []).append(edge)
        lines: list[str] = []
        shown: dict[str, int] = {}
        hidden: dict[str, int] = {}
        for i, step in enumerate(self._steps):
            shown[step.name] = shown.get(step.name, 0) + 1
            if shown[step.name] <= _ALIKE and len(lines) < _SHOWN:
                lines.append(self._line(i, edges.get(i, [])))
            else:
                hidden[step.name] = hidden.get(step.name, 0) + step.count
        lines += [f"... {count:,} more of {_printable(name)}" for name, count in hidden.items()]
        lines += [
            f"{_text(item)} from {edge.source}"
            for item in self._data
            for edge in edges.get(item.name, [])
        ]
        return "\n".join(lines)

    def _line(self, place: int, edges: list[Edge]) -> str:
        step = self._steps[place]
        known = {edge.role: edge.source for edge in edges}
        came = ", ".join(_from(item, known.get(item.name)) for item in step.inputs)
        gave = ", ".join(_text(item) for item in step.outputs)
        many = f" x {step.count:,}" if step.count > 1 else ""
        parts = [f"{'  ' * self.depth(place)}{_printable(step.name)}{many}"]
        if step.form == "part":
            parts += [_features(step)]
        elif came or gave:
            parts += [f"({came}) -> {gave or 'nothing'}"]
        if step.failed:
            parts += [f"failed: {_printable(step.failed)}"]
        return f"{place}  " + " ".join(part for part in parts if part)

    def _page(self) -> Page:
        sources: dict[int | str, dict[str, int | str]] = {}
        for edge in self.edges:
            sources.setdefault(edge.target, {})[edge.role] = edge.source
        rows = [self._row(i, step, sources.get(i, {})) for i, step in enumerate(self._steps)]
        columns = ("place", "step", "took", "gave", "params", "calls", "seconds", "failed")
        says = "" if rows else "none"
        return Page("steps", says, blocks=[Table("steps", columns, rows=rows)])

    def _row(self, place: int, step: StepRecord, sources: dict[str, int | str]) -> tuple[Any, ...]:
        took = ", ".join(_from(item, sources.get(item.name)) for item in step.inputs)
        part = step.form == "part"
        return (
            place,
            f"{'. ' * self.depth(place)}{step.name}",
            ", ".join(step.columns) if part else took,
            _features(step) if part else ", ".join(_text(item) for item in step.outputs),
            ", ".join(f"{name}={value}" for name, value in decode(step.params).items()),
            step.count,
            step.seconds,
            step.failed,
        )

    def source(self, place: int) -> str | None:
        """Give the source of a step's function as it ran, after its bytes were verified.

        Args:
            place: The place of the step in this list.

        Returns:
            The text; None for a library's function, and where it could not be told.
        """
        return step_source(self._steps, place, self._read)

    def depth(self, place: int) -> int:
        """Tell how many steps a step ran inside of."""
        depth, parent = 0, self._steps[place].parent
        # A record that was edited may name itself, or go in a circle.
        while parent is not None and 0 <= parent < place:
            depth, place, parent = depth + 1, parent, self._steps[parent].parent
        return depth

    @property
    def edges(self) -> list[Edge]:
        """Where the data of each step came from: an earlier step, or the version's data.

        Two are linked if the digest is the same. Of several steps that gave the same data, the
        last before counts, and of steps inside each other the outermost.
        """
        found = []
        makers: dict[str, list[int]] = {}
        named = {item.digest: item.name for item in reversed(self._data) if item.digest}
        for i, step in enumerate(self._steps):
            for item in step.inputs:
                made = item.digest or ""
                maker = self._maker(i, makers.get(made, ()))
                source = named.get(made) if maker is None else maker
                if source is not None:
                    found.append(Edge(source, i, item.name, made))
            for item in step.outputs:
                if item.digest is not None:
                    makers.setdefault(item.digest, []).append(i)
        for item in self._data:
            maker = self._maker(len(self), makers.get(item.digest or "", ()))
            if maker is not None:
                found.append(Edge(maker, item.name, item.name, item.digest or ""))
        return found

    def _maker(self, place: int, makers: Sequence[int]) -> int | None:
        around = set(self._around(place))
        for maker in reversed(makers):
            if maker in around:
                continue
            outer = [p for p in self._around(maker) if p in makers and p not in around]
            return outer[-1] if outer else maker
        return None

    def _around(self, place: int) -> Iterator[int]:
        parent = self._steps[place].parent if place < len(self) else None
        while parent is not None and 0 <= parent < place:
            yield parent
            place, parent = parent, self._steps[parent].parent

    def to_dict(self) -> dict[str, Any]:
        """Give the steps and edges as plain JSON."""
        return {
            "steps": [_with_place(i, step) for i, step in enumerate(self._steps)],
            "edges": [attrs.asdict(edge) for edge in self.edges],
        }


def _unread(path: str) -> bytes:
    raise ArtifactNotFoundError(f"{path} is a file of the version, which is not at hand")


def _with_place(place: int, step: StepRecord) -> Json:
    return {"place": place, **to_json(step)}


def _from(item: DataRecord, source: int | str | None) -> str:
    if source is None or source == item.name:
        return _text(item)
    return f"{_text(item)} from {_printable(str(source))}"


def _text(item: DataRecord) -> str:
    shape = "" if item.shape is None else " " + " x ".join(f"{size:,}" for size in item.shape)
    return f"{_printable(item.name)}{shape}"


def _features(step: StepRecord) -> str:
    kind = step.code.entry.rpartition(":")[2]
    columns = f" of {len(step.columns)} columns" if step.columns else ""
    return _printable(": ".join(filter(None, [f"{kind}{columns}", _counts(step)])))


def _counts(step: StepRecord) -> str:
    """Tell how many features a part takes and gives; an estimator at the end gives none."""
    taken, given = step.features_in, step.features_out
    if taken is None and given is None:
        return ""
    if given is None:
        return f"takes {taken:,} features"
    return f"gives {given:,} features" if taken is None else f"{taken:,} -> {given:,} features"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:100]
