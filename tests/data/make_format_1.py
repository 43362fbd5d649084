"""Make `format-1/`, the registry that every later release must read.

It was run when the format was settled, and what it made is kept for ever:

    python tests/data/make_format_1.py

Clock, chance, actors, environment and git are fixed, and nothing says where it was run, so that
the same code gives the same bytes. Beside the registry it writes the digest of each file, and
what it is to be read as (`tests/golden.py`).
"""

import hashlib
import json
import os
import pickle
import random
import shutil
import sys
import time
import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import attrs
import fsspec
import numpy as np
import pandas as pd

import modelversion as mv
from modelversion import code, governing, home, journal, snapshot, versions
from modelversion._json import dumps
from modelversion.events import PolicySet
from modelversion.gates import Gate
from modelversion.policies import Policy
from modelversion.records import EnvironmentRecord, InstalledFrom, LockRecord
from modelversion.schema import to_json
from modelversion.source import capture
from modelversion.source.git import GitState

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from golden import what_it_says  # noqa: E402

NEWER = {"from_a_newer_release": {"list": [1, "zwei", None], "deep": {"$float": "nan"}}}
RAW = "memory://raw/churn.csv"
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
ENVIRONMENT = EnvironmentRecord(
    python="3.11.7",
    implementation="cpython",
    platform="Linux-6.1-x86_64-with-glibc2.36",
    packages={"acme": "0.1", "numpy": "2.4.6", "scikit-learn": "1.9.1"},
    installed_from={"acme": InstalledFrom(url="https://git.example.org/acme", vcs="git")},
    lock_files=(LockRecord(path="uv.lock", sha256="0" * 64, size=1234),),
    host="build-7",
    cpu="an old one",
    cores=2,
    memory_bytes=2**33,
    peak_memory_bytes=2**28,
    variables={"OMP_NUM_THREADS": "2"},
)
GIT = GitState(
    commit="4" * 40,
    branch="main",
    remote="https://git.example.org/team/churn.git",
    dirty=True,
    patch=("--- a/train.py\n+++ b/train.py\n@@ -1 +1 @@\n-old\n+new\n",),
    changed=("train.py",),
    untracked=("notes.txt",),
)


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
    """Take chance, time and this machine out of what is written."""
    os.urandom = random.Random(1).randbytes
    random.seed(1)
    np.random.seed(1)
    time.perf_counter = lambda: 1.5
    snapshot.environment = lambda: ENVIRONMENT
    capture.start_reading = lambda folder: GIT
    # The code of a plain save would be this file, which may change.
    capture.of_caller = lambda: None
    # A merge beside the caller draws random names when it likes.
    journal.Journal.__init__.__kwdefaults__["run"] = lambda job: job()


def write_newer_fields():
    """Let every record carry a field that this release does not know."""
    for module in (home, journal, versions):
        module.stored = lambda record: dumps({**to_json(record), **NEWER})


def value(i):
    """An object of built-in types only, so that its pickle loads with any library."""
    return {"weights": [0.1 * i, -0.5], "names": ("a", "b"), "raw": bytes([i]), "n": i}


# ---- versions ------------------------------------------------------------------------------------


def make_churn(registry):
    """A model with all kinds of facts, enough of them for a merge."""
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
    nan = {"auc": mv.metric(float("nan"), higher_is_better=True)}
    registry.save("churn", metrics=nan)
    registry.save("churn", metrics=nan)  # a repeat
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
    versions.claim_number(churn._line)  # a save that was killed


SCALE = 2


@mv.step
def scaled(frame, *, power=1):
    return frame.assign(b=frame.b / SCALE**power)


def fit(frame, *, seed=7, password="hunter2"):  # noqa: S107 - to be redacted
    ready = scaled(frame)
    for i in range(3):
        mv.log_metrics({"val/loss": 1 / (i + 1)}, step=i)
    mv.log_data(ids=np.arange(4), odd=object())
    mv.log_metrics(auc=0.8125)
    mv.log_artifact("note.txt", "fitted\n")
    return {"mean": float(ready.b.mean())}


def make_tracked(registry):
    """A tracked function, with steps, data, code, git, series and what was measured since."""
    raw = fsspec.filesystem("memory")
    raw.pipe("/raw/churn.csv", b"a,b\nx,1\ny,2\n,4\n")
    raw.store["/raw/churn.csv"].modified = datetime(2026, 10, 1, tzinfo=UTC)
    frame = mv.data(RAW, name="train").read(pd.read_csv)
    train = registry.track("Forecast")(fit)
    train(frame)
    inline, code.MAX_INLINE = code.MAX_INLINE, 16  # as if the texts were long
    train(frame, seed=8)
    code.MAX_INLINE = inline
    served = registry["forecast"][1]
    for day in range(1, 34):  # enough for a merge
        window = (date(2026, 9, 1) + timedelta(days=day - 1), date(2026, 9, 1) + timedelta(days=day))
        served.observe({"auc": 0.8 - day / 256}, n=100 + day, window=window, source="monitor")
    served.observe({"auc": 0.75, "drift": float("inf")}, slice="EU")


def make_copies(registry, clock):
    """Versions of another registry, one with a parent, a note and a withdrawal."""
    lab = mv.Registry("memory://lab", actor="eva@lab", clock=clock)
    lab.save("Base", value(1), params={"C": 1}, tags={"site": "lab"})
    lab.save("base", value(2), params={"C": 2}, parents=["base:1"])
    lab["base"][1].tag(site="roof", checked=True)
    lab["base"][1].note("from the lab")
    lab["base"][1].withdraw(reason="a bad day", use_instead=2)
    lab.copy(lab["base"], to=registry)


# ---- stages --------------------------------------------------------------------------------------


def make_stages(registry, bob):
    """Every kind of decision on stages, under stages and policies that changed."""
    for i in range(1, 5):
        registry.save("Risk", value(i), metrics={"auc": 0.8 + i / 64}, tags={"team": "risk"})
    model, reviewed = registry["risk"], bob["risk"]
    model[1].promote("production", reason="first release")
    registry.set_policy(
        "production",
        after="staging",
        soak=timedelta(seconds=1),
        approvals=1,
        reason_required=True,
        gates=[
            mv.gates.at_least("auc", 0.8),
            mv.gates.at_most("auc", 1),
            mv.gates.not_worse_than("production", "auc", by=0.002),
            mv.gates.requires(["tags.team"]),
            mv.gates.same_data_schema("production"),
            mv.gates.any_of("operator:is_not", mv.gates.all_of(mv.gates.smaller_than(10**9))),
            mv.gates.verified(),
        ],
    )
    for number in (2, 3):
        model[number].promote("staging")
        reviewed[number].approve("production", reason="reviewed")
        model[number].promote("production", reason=f"CR-{number}")
    reviewed[4].reject("production", reason="unfair")
    model.rollback("production", reason="latency")
    model[4].promote("production", reason="incident", override=True)
    reviewed[4].withdraw_approval("production", reason="it is live")
    make_shared(registry, model)


def make_shared(registry, model):
    """Freezes, and a shared stage under stages that were set since."""
    model.freeze("staging", until="2099-01-01", reason="audit")
    model.freeze("production", reason="audit")
    model.unfreeze("production", reason="done")
    model.clear_stage("staging", reason="end of the pilot")
    registry.set_stages(["canary", "staging", "production"], shared=["canary"])
    set_newer_gate(registry)
    model[2].promote("canary")
    model[3].promote("canary")
    model.rollback("production", reason="a named one", to=2)
    model.set_alias("champion", 3)
    for i in range(12):  # enough for a merge
        model.set_alias("next", i % 4 + 1)
    days = timedelta(days=60)
    served = mv.gates.observed("auc", at_least=0.5, n=1000, window=days, max_age=days)
    registry.set_policy("canary", gates=[served])
    registry["forecast"][1].promote("canary")
    registry.set_policy("canary")


def set_newer_gate(registry):
    """Set a policy as a release to come does: this one refuses what it cannot judge."""
    policy = Policy(gates=(Gate("of_a_newer_release", {"threshold": 1}),), allow_override=False)
    event = PolicySet(stage="staging", policy=policy.to_dict())
    registry._home.policies().append(lambda _: event, actor=registry._home.actor)
    for line in registry._lines():
        governing.adopt(line)


def make_newer(registry):
    """What a release to come writes, as far as this one has to understand it."""
    write_newer_fields()
    registry.save("newer", value(7), params={"a": 1}, artifacts={"x.txt": "x"})
    registry["newer"].latest.tag(kept=True)
    registry["newer"].set_alias("best", 1)
    registry["newer"].latest.promote("canary", reason="first")
    registry["newer"].latest.observe({"auc": 0.5})
    registry.fork(reason="a copy for the tests")
    registry.save("newer", value(8))


def make(target):
    """Write the registry."""
    fix()
    warnings.simplefilter("ignore")
    shutil.rmtree(target, ignore_errors=True)
    clock = Clock()
    registry = mv.Registry(target, actor="ana@team", clock=clock)
    make_churn(registry)
    make_tracked(registry)
    make_copies(registry, clock)
    make_stages(registry, mv.Registry(target, actor="bob@team", clock=clock))
    make_newer(registry)


def main():
    """Write the registry, the digests of its files, and what it is to be read as."""
    target = HERE / "format-1"
    make(target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    sums = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(HERE)}" for f in files]
    (HERE / "format-1.sha256").write_text("\n".join(sums) + "\n")
    known = what_it_says(mv.Registry(target))
    (HERE / "format-1.json").write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1])) if sys.argv[1:] else main()
