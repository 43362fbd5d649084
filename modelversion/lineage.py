"""Lineage: from data over steps to versions, to what was made from them, and to where it serves."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext

import attrs

from modelversion.broken import Broken, Problem
from modelversion.broken import table as unread
from modelversion.display import (
    Cell,
    Facts,
    Note,
    Page,
    Picture,
    Section,
    Shown,
    Table,
    counted,
    digest,
)
from modelversion.display.plots import graph
from modelversion.errors import ModelVersionError
from modelversion.graph import Steps
from modelversion.history import History
from modelversion.records import VersionRecord
from modelversion.refs import parse

_MOST = 300
_DEPTHS = 12
Key = tuple[str, int]


@attrs.frozen(kw_only=True)
class Node:
    """Data, a step, a version, or a stage or alias.

    Attributes:
        id: Names it among the nodes.
        kind: `data`, `step`, `version` or `name`.
        name: What is shown.
        detail: The digest of data, or what a version is.
    """

    id: str
    kind: str
    name: str
    detail: str = ""


@attrs.frozen(kw_only=True)
class Lineage(Shown):
    """What versions were made from, and what was made from them, across models.

    Attributes:
        of: Whose lineage it is.
        nodes: Data, steps, versions, stages and aliases.
        edges: Pairs of node ids: what the second was made from, or serves as.
        ancestors: References of the versions that they build on, directly or not.
        descendants: References of the versions that build on them, directly or not.
        withdrawn: Those of all these versions that are withdrawn.
        more: How many versions were left out, since there are too many.
        problems: The journals that cannot be read, and whose models are missing.
    """

    of: str
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    ancestors: tuple[str, ...]
    descendants: tuple[str, ...]
    withdrawn: tuple[str, ...] = ()
    more: int = 0
    problems: tuple[Problem, ...] = ()

    def __repr__(self) -> str:
        up, down = len(self.ancestors), len(self.descendants)
        return f"<Lineage of {self.of}: {up} before, {down} after>"

    def _named(self, kind: str) -> list[Node]:
        return [node for node in self.nodes if node.kind == kind]

    def _page(self) -> Page:
        names = _labels(self.nodes)
        edges = [(names[one], names[other]) for one, other in self.edges]
        shown = _layers(self.nodes, self.edges)
        drawn = graph([[names[i] for i in layer] for layer in shown], edges)
        made = ", ".join(node.name for node in self._named("data"))
        says = f"{counted(len(self.ancestors), 'version')} before, {len(self.descendants)} after"
        picture = Picture(
            "From data to stages",
            drawn,
            kind="graph",
            alt=f"arrows from what is older to what was made from it: {len(edges)}",
            data=Table("edges", ("from", "to"), rows=edges),
        )
        facts = {
            "data": made,
            "steps": ", ".join(node.name for node in self._named("step")),
            "made from": ", ".join(self.ancestors),
            "made from it": ", ".join(self.descendants),
            "serves as": ", ".join(node.name for node in self._named("name")),
        }
        rows = [(n.kind, n.name, _detail(n)) for n in self.nodes]
        table = Table("nodes", ("kind", "name", "detail"), rows=rows, more=self.more)
        warning = f"withdrawn: {', '.join(self.withdrawn)}"
        return Page(
            f"lineage of {self.of}",
            says,
            blocks=[
                unread(self.problems, "NOT IN THIS LINEAGE"),
                Note(warning, "bad") if self.withdrawn else None,
                Facts(facts),
                picture if edges else None,
                Section("All of it", [table], says=f"{len(rows)} nodes"),
            ],
        )


def _labels(nodes: Sequence[Node]) -> dict[str, str]:
    """Give each node a text of its own: of two data sets called `train`, one is `train (2)`."""
    counts: dict[str, int] = {}
    labels: dict[str, str] = {}
    for node in nodes:
        count = counts[node.name] = counts.get(node.name, 0) + 1
        labels[node.id] = node.name if count == 1 else f"{node.name} ({count})"
    return labels


def _detail(node: Node) -> Cell:
    return digest(node.detail or None) if node.kind == "data" else Cell(node.detail)


def _layers(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    """Put each node behind whatever it was made from; a circle ends somewhere."""
    depth = {node.id: 0 for node in nodes}
    for _ in range(_DEPTHS):
        for one, other in edges:
            depth[other] = max(depth[other], min(depth[one] + 1, _DEPTHS))
    return [[i for i, d in depth.items() if d == at] for at in range(_DEPTHS + 1)]


class Family:
    """Which version was made from which, over all models of a registry."""

    def __init__(self, histories: Iterable[History], *, of: Collection[str] = ()) -> None:
        """Read the models; one whose journal is broken is left out, unless it is asked `of`."""
        self.broken = Broken()
        self._histories: dict[str, History] = {}
        self._unread: set[str] = set()
        self._children: dict[Key, list[Key]] = {}
        for history in histories:
            line = history.line
            self._unread.add(line.name)
            left_out = self.broken.aside(line.facts, line.decisions)
            with nullcontext() if line.name in of else left_out:
                self._add(line.name, history.refresh())
                self._unread.remove(line.name)

    def _add(self, name: str, history: History) -> None:
        links = [((name, n), parent) for n in history.numbers() for parent in _parents(history, n)]
        self._histories[name] = history
        for child, parent in links:
            self._children.setdefault(parent, []).append(child)

    def parents(self, key: Key) -> list[Key]:
        """Give the versions that a version names as its parents, those that are gone too."""
        return _parents(self._histories[key[0]], key[1])

    def why_gone(self, key: Key) -> str:
        """Say why a version that is named as a parent is not there."""
        return "cannot be read" if key[0] in self._unread else "deleted, or of another registry"

    def exists(self, key: Key) -> bool:
        """Tell whether a version is there and not deleted."""
        history = self._histories.get(key[0])
        return history is not None and key[1] in history.numbers()

    def ref(self, key: Key) -> str:
        """Give the printed reference."""
        history = self._histories.get(key[0])
        return f"{key[0]}:{key[1]}" if history is None else history.line.ref(key[1])

    def up(self, keys: Sequence[Key]) -> Iterator[Key]:
        """Give what versions build on, the nearest first."""
        return self._walk(keys, lambda key: self.parents(key) if self.exists(key) else [])

    def down(self, keys: Sequence[Key]) -> Iterator[Key]:
        """Give what builds on versions, the nearest first."""
        return self._walk(keys, lambda key: self._children.get(key, []))

    def _walk(self, keys: Sequence[Key], following: Callable[[Key], list[Key]]) -> Iterator[Key]:
        # An edited record may name its own descendant as a parent.
        seen, waiting = set(keys), list(keys)
        while waiting:
            for key in following(waiting.pop(0)):
                if key not in seen:
                    seen.add(key)
                    waiting.append(key)
                    yield key

    def data(self, key: Key) -> dict[str, str]:
        """Give name -> digest of the data that a version was made from."""
        row = self._histories[key[0]].full(key[1])
        return {name: text for name, text in row.get("data", {}).items() if text}

    def used(self, text: str) -> list[Key]:
        """Give the versions that were made from data, directly or through a step."""
        return [
            (name, number)
            for name, history in self._histories.items()
            for number in history.numbers()
            if history.used(number, text)
        ]

    def names(self, key: Key) -> list[str]:
        """Give the stages and aliases of a version."""
        return self._histories[key[0]].names(key[1])

    def withdrawn(self, key: Key) -> bool:
        """Tell whether a version is withdrawn."""
        return key[1] in self._histories[key[0]].decisions.withdrawn


def _parents(history: History, number: int) -> list[Key]:
    return [key for key in map(_key, history.full(number).get("parents", ())) if key is not None]


def _key(reference: str) -> Key | None:
    try:
        ref = parse(reference)
    except ModelVersionError:  # of another registry, or edited
        return None
    return (ref.model.lower(), ref.selector) if isinstance(ref.selector, int) else None


def lineage(
    family: Family, keys: Sequence[Key], *, of: str, record: VersionRecord | None = None
) -> Lineage:
    """Give the lineage of versions.

    Args:
        family: All models of the registry.
        keys: The versions.
        of: What is printed of them.
        record: The record of the one version whose steps are shown.
    """
    family.broken.warn("the lineage is without")
    up, down = list(family.up(keys)), list(family.down(keys))
    every = [*keys, *up, *down]
    kept = every[:_MOST]
    draft = _Draft()
    for key in kept:
        _add_version(draft, family, key)
    if record is not None:
        _add_steps(draft, record, family.ref(keys[0]))
    for key in kept:
        for parent in family.parents(key) if family.exists(key) else ():
            draft.link(f"version {family.ref(parent)}", f"version {family.ref(key)}")
    return Lineage(
        of=of,
        nodes=tuple(draft.nodes.values()),
        edges=tuple(draft.edges),
        ancestors=tuple(map(family.ref, up)),
        descendants=tuple(map(family.ref, down)),
        withdrawn=tuple(family.ref(k) for k in every if family.exists(k) and family.withdrawn(k)),
        more=len(every) - len(kept),
        problems=family.broken.problems,
    )


class _Draft:
    """Nodes and edges that are being gathered, each once."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str], None] = {}

    def add(self, kind: str, name: str, *, key: str = "", detail: str = "") -> str:
        node = Node(id=f"{kind} {key or name}", kind=kind, name=name, detail=detail)
        self.nodes.setdefault(node.id, node)
        return node.id

    def link(self, one: str, other: str) -> None:
        if one in self.nodes and other in self.nodes:
            self.edges[one, other] = None


def _add_version(draft: _Draft, family: Family, key: Key) -> None:
    ref = family.ref(key)
    if not family.exists(key):
        draft.add("version", ref, detail=family.why_gone(key))
        return
    version = draft.add("version", ref, detail="withdrawn" if family.withdrawn(key) else "")
    for name, text in family.data(key).items():
        draft.link(draft.add("data", name, key=text, detail=text), version)
    for name in family.names(key):
        draft.link(version, draft.add("name", f"{ref.rpartition(':')[0]}@{name}"))


def _add_steps(draft: _Draft, record: VersionRecord, ref: str) -> None:
    """Put the steps between the data and the version."""
    version = f"version {ref}"
    ids: dict[int | str, str] = {}
    for item in record.data:
        text = item.digest or ""
        ids[item.name] = draft.add("data", item.name, key=text or f"{ref} {item.name}", detail=text)
        draft.link(ids[item.name], version)
    for place, step in enumerate(record.steps):
        if step.form != "part" and step.parent is None:
            ids[place] = draft.add("step", step.name, key=f"{ref} {place}")
    ends = set(ids)
    for edge in Steps(record.steps, record.data).edges:
        if edge.source in ids and edge.target in ids:
            draft.link(ids[edge.source], ids[edge.target])
            draft.edges.pop((ids[edge.source], version), None)
            ends.discard(edge.source)
    for end in ends:
        draft.link(ids[end], version)
