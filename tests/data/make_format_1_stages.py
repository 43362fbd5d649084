"""Make `format-1-stages/`, a registry of format 1 with stages, which every later release must read.

It was run once, when stages were settled, and what it made is kept for ever:

    python tests/data/make_format_1_stages.py

Clock, nonces, actors and environment are fixed, so that the same code gives the same bytes.
"""

import hashlib
import shutil
import threading
from datetime import timedelta

from make_format_1 import HERE, Clock, fix, value

import modelversion as mv
from modelversion import snapshot

TARGET = HERE / "format-1-stages"


def make(registry, bob):
    """Every kind of decision on stages, under stages and policies that changed."""
    for i in range(1, 5):
        registry.save("Churn", value(i), metrics={"auc": 0.8 + i / 64}, tags={"team": "risk"})
    model, reviewed = registry["churn"], bob["churn"]
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
    model.freeze("staging", until="2099-01-01", reason="audit")
    model.freeze("production", reason="audit")
    model.unfreeze("production", reason="done")
    model.clear_stage("staging", reason="end of the pilot")
    registry.set_stages(["canary", "staging", "production"], shared=["canary"])
    model[2].promote("canary")
    model[3].promote("canary")
    model.set_alias("champion", 3)
    for i in range(12):  # enough for a merge
        model.set_alias("next", i % 4 + 1)


def main():
    """Write the registry, and the digests of its files."""
    fix()
    snapshot._add_source = lambda notes, spool: None
    shutil.rmtree(TARGET, ignore_errors=True)
    clock = Clock()
    registry = mv.Registry(TARGET, actor="ana@team", clock=clock)
    make(registry, mv.Registry(TARGET, actor="bob@team", clock=clock))
    for thread in threading.enumerate():
        if thread.name == "modelversion-merge":
            thread.join()
    files = sorted(path for path in TARGET.rglob("*") if path.is_file())
    sums = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(HERE)}" for f in files]
    (HERE / "format-1-stages.sha256").write_text("\n".join(sums) + "\n")


if __name__ == "__main__":
    main()
