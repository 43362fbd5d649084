"""Make `format-1/`, the registry that every later release must read.

It was run once, when the format was settled, and what it made is kept for ever:

    python tests/data/make_format_1.py

Clock, nonces, actor and environment are fixed, so that the same code gives the same bytes.
"""

import hashlib
import json
import os
import pickle
import random
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import attrs

import modelversion as mv
from modelversion import home, journal, snapshot, versions
from modelversion._json import dumps
from modelversion.records import EnvironmentRecord
from modelversion.schema import to_json

HERE = Path(__file__).parent
TARGET = HERE / "format-1"
NEWER = {"from_a_newer_release": {"list": [1, "zwei", None], "deep": {"$float": "nan"}}}
PARAMS = {
    "C": 1,
    "rate": 0.1,
    "flag": True,
    "none": None,
    "text": "größe",
    "huge": 2**70,
    "nan": float("nan"),
    "layers": [64, 32],
    "pair": (1, "a"),
    "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "day": date(2026, 1, 2),
    "raw": b"\x00\xff",
    "nested": {"$dollar": {"a": 1}},
}


@attrs.frozen(kw_only=True)
class Remark:
    """An event of a release to come, which readers need not understand."""

    kind: ClassVar[str] = "future.remark"
    must_understand: ClassVar[bool] = False
    text: str = attrs.field(metadata={"plain": str})
    extra: dict = attrs.field(factory=dict)


class Clock:
    """A clock that goes on by a second each time it is read."""

    def __init__(self):
        self.now = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


def fix():
    """Take chance and this machine out of what is written."""
    os.urandom = random.Random(1).randbytes
    fixed = EnvironmentRecord(
        python="3.11.7",
        implementation="cpython",
        platform="Linux-6.1-x86_64-with-glibc2.36",
        packages={"numpy": "2.4.6", "scikit-learn": "1.9.1"},
    )
    snapshot.environment = lambda: fixed


def write_newer_fields():
    """Let every record carry a field that this release does not know."""
    for module in (home, journal, versions):
        module.stored = lambda record: dumps({**to_json(record), **NEWER})


def value(i):
    """An object of built-in types only, so that its pickle loads with any library."""
    return {"weights": [0.1 * i, -0.5], "names": ("a", "b"), "raw": bytes([i]), "n": i}


def make_churn(registry):
    """A model with all kinds of entries, enough of them for a merge."""
    for i in range(1, 4):
        registry.save(
            "Churn",
            value(i),
            params={**PARAMS, "C": i},
            metrics={"auc": 0.7 + 0.05 * i, "loss": mv.metric(1 / i, n=100)},
            tags={"team": "risk", "n": i},
            description=f"version {i}",
            artifacts={"report/summary.txt": f"summary {i}\n", "raw.bin": bytes(range(256))},
        )
    registry.save("Churn", value(4), params={"C": 4}, parents=["churn:3"])
    versions.claim_number(registry["churn"]._line)
    registry.gc(older_than=timedelta(0))
    buffers = [bytearray(b"packed" * 1000), bytearray(2**20), bytearray(b"again" * 1001)]
    registry.save("churn", [pickle.PickleBuffer(b) for b in buffers], metrics={"auc": 0.95})
    registry.save("churn", metrics={"auc": mv.metric(float("nan"), higher_is_better=True)})
    make_remarks(registry["churn"])


def make_remarks(churn):
    """Tags, notes, aliases, a withdrawal, a deletion and an event of the future."""
    for i in range(12):
        churn[1].note(f"note {i}")
        churn[2].tag(round=i, owner="ana")
    churn[2].untag("owner")
    churn._line.facts.append(lambda _: Remark(text="later"), actor=churn._line.home.actor)
    for _ in range(5):
        churn[6].note("more")
    churn.set_alias("champion", 1)
    churn.set_alias("champion", 3)
    churn.set_alias("Old", 1)
    churn.delete_alias("old")
    churn[1].withdraw(reason="leaky feature", use_instead=3)
    churn[2].withdraw(reason="by mistake")
    churn[2].restore(reason="it was fine")
    churn[4].delete(reason="not needed")


def main():
    """Write the registry, the digests of its files, and what it is to be read as."""
    fix()
    shutil.rmtree(TARGET, ignore_errors=True)
    registry = mv.Registry(TARGET, actor="ana@team", clock=Clock())
    make_churn(registry)
    write_newer_fields()
    registry.save("newer", value(7), params={"a": 1}, artifacts={"x.txt": "x"})
    registry["newer"].latest.tag(kept=True)
    registry["newer"].set_alias("best", 1)
    for thread in journal.threading.enumerate():
        if thread.name == "modelversion-merge":
            thread.join()
    files = sorted(path for path in TARGET.rglob("*") if path.is_file())
    sums = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(HERE)}" for f in files]
    (HERE / "format-1.sha256").write_text("\n".join(sums) + "\n")
    digests = {v.ref: v.digest for model in registry.models() for v in model}
    known = {"registry": registry.id, "digests": digests}
    (HERE / "format-1.json").write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
