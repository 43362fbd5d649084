"""Build large registries quickly, in a process of their own: real entries, without the waiting.

`python build.py versions FOLDER N` makes N versions by `Registry.save`. `python build.py
entries FOLDER N` makes one version and appends the entries of N - 1 more to its journal, which
is all that a table reads. `searched` does so with data in each, of which every hundredth is the
same. fsync does nothing here; what is read later is the same.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import attrs

import modelversion as mv
from modelversion import layout
from modelversion.journal import Journal
from modelversion.records import VersionCommitted
from modelversion.storage import Store, _local

MODEL = "many"


def versions(registry: mv.Registry, count: int) -> None:
    """Save small versions, each of another content."""
    for i in range(count):
        _save(registry, i)


def _save(registry: mv.Registry, i: int) -> mv.Version:
    return registry.save(
        MODEL,
        {"i": i},
        params={"C": i / 10, "penalty": "l2", "max_iter": 100 + i % 7},
        metrics={"auc": 0.5 + i % 1000 / 2000, "loss": 1.0 / (i + 1)},
        tags={"team": ("risk", "growth")[i % 2]},
    )


def searched(registry: mv.Registry, count: int) -> None:
    """Append entries with the digest of the data that each version was made from."""
    entries(registry, count, data=True)


def entries(registry: mv.Registry, count: int, *, data: bool = False) -> None:
    """Append what commits append, with the first version's entry as the pattern."""
    _save(registry, 0)
    line = registry._history(MODEL).line
    first = _committed(line.home.store, line.facts.folder)
    for number in range(2, count + 1):
        summary = _summary(first.summary, number)
        if data:
            summary["data"] = {"train": f"{number % 100:064x}"}
        event = attrs.evolve(first, number=number, summary=summary)
        line.facts.append(lambda _, e=event: e, actor=line.home.actor, fresh=False)


def _committed(store: Store, journal: str) -> VersionCommitted:
    event = json.loads(store.read(layout.entry(journal, 1)))["event"]
    del event["kind"], event["must_understand"]
    return VersionCommitted(**event)


def _summary(pattern: dict, i: int) -> dict:
    return {
        **pattern,
        "params": {"C": i / 10, "penalty": "l2", "max_iter": 100 + i % 7},
        "metrics": {"auc": 0.5 + i % 1000 / 2000, "loss": 1.0 / (i + 1)},
    }


def _put_new_at_once(self: _local.LocalStore, key: str, data: bytes) -> None:
    path = Path(self._path(key))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(data)


def main(kind: str, folder: str, count: str) -> None:
    os.fsync = lambda descriptor: None
    Journal.__init__.__kwdefaults__["run"] = lambda job: job()
    if kind != "versions":
        _local.LocalStore.put_new = _put_new_at_once
        _local.LocalStore.prove = lambda self: None
    {"versions": versions, "entries": entries, "searched": searched}[kind](
        mv.Registry(folder), int(count)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
