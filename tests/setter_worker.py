"""Kill whoever sets a policy or the stages, at each call, and look at what is reported and done.

Run as `python setter_worker.py SCENARIO FOLDER`; the last line is JSON, as of `crash_worker`.
"""

import functools
import json
import shutil
import sys
import traceback
from pathlib import Path

from crash_worker import die_at, forked, moments

import modelversion as mv
from modelversion.errors import GateFailedError

OLD = [mv.gates.at_least("auc", 0.5)]
GOVERNED = ("a", "b")


def prepare(root):
    """Two models under a policy, one that decided before any, and one that decided nothing."""
    registry = mv.Registry(root, actor="ana")
    for name in (*GOVERNED, "before", "new"):
        registry.save(name, {"n": name}, metrics={"auc": 0.9})
    registry["before"].set_alias("champion", 1)
    registry.set_policy("production", gates=OLD)
    for name in GOVERNED:
        registry[name][1].promote("production")
        registry.save(name, {"n": name, "second": True}, metrics={"auc": 0.9})


def set_policy(root):
    return mv.Registry(root, actor="bo").set_policy("production", approvals=1)


def set_stages(root):
    return mv.Registry(root, actor="bo").set_stages(["staging", "qa", "production"])


SCENARIOS = {"set-policy": set_policy, "set-stages": set_stages}


def behind(registry):
    """Name the models that decided something and have not adopted the registry's rules."""
    policies = registry._home.policies().head().state.rules
    models = {model.name: model._line.decisions.head() for model in registry.models()}
    return {n for n, head in models.items() if head.position and head.state.rules != policies}


def reported(registry):
    """Name the models of which `verify` says that they are behind."""
    report = registry.verify()
    assert report.ok, str(report)
    adopting = [problem.key for problem in report.pending if "not adopted" in problem.what]
    return {key.split("/")[1] for key in adopting}


def judge(name, root, k):
    """Check that what is pending is reported and judged by, and then finished."""
    registry = mv.Registry(root, actor="ana")
    pending = behind(registry)
    assert reported(registry) == pending
    for model in GOVERNED:
        assert bool(registry[model].verify().pending) == (model in pending)
    taken = registry.stages[1] == "qa" or registry.policies["production"].approvals == 1
    for model in GOVERNED:
        check = registry[model][2].check("production")
        assert bool(check.adopts) == (model in pending) == ("adopts the rules" in str(check))
        assert bool(check) == (name == "set-stages" or not taken)
    assert reported(registry) == pending, "looking finished it"
    finish_by_setting(name, root) if k % 2 else finish_by_deciding(name, root, taken)
    fresh = mv.Registry(root)
    assert fresh.verify(), str(fresh.verify())
    assert all(d.explain() for model in fresh.models() for d in model.history())


def finish_by_setting(name, root):
    """Setting it again leaves nothing pending, whoever does it."""
    SCENARIOS[name](root)
    assert not behind(mv.Registry(root)) and not reported(mv.Registry(root))
    assert not mv.Registry(root)["a"][2].check("production").adopts


def finish_by_deciding(name, root, taken):
    """Whoever decides next does it under the rules that were set last, and adopts them first."""
    registry = mv.Registry(root, actor="ana")
    for model in GOVERNED:
        try:
            registry[model][2].promote("production")
            assert not (taken and name == "set-policy"), "promoted under the older policy"
        except GateFailedError:
            assert taken and name == "set-policy"
        # In an incident the way back is open, whoever governs.
        if len(registry[model].history("production").intervals()) > 1:
            registry[model].rollback("production", reason="latency")
    registry["before"][1].promote("staging")
    registry["new"][1].promote("staging")
    assert not behind(registry) and not reported(registry)


def _killed(act, root, k, halfway):
    die_at(k, halfway=halfway)
    act(root)


def main(name, folder, stop=""):
    """Kill before each call and inside of each write; print how often, and what was wrong.

    With `stop`, the first that is wrong is the last that is looked for.
    """
    folder, act = Path(folder), SCENARIOS[name]
    template = folder / "template"
    template.mkdir(parents=True)
    prepare(str(template / "registry"))
    kills, problems, pending = 0, [], 0
    for k, halfway, call in moments(template, folder, act):
        place = folder / f"{k}{'-halfway' * halfway}"
        shutil.copytree(template, place)
        root = str(place / "registry")
        kills += not forked(functools.partial(_killed, act, root, k, halfway))
        pending += bool(behind(mv.Registry(root)))
        try:
            judge(name, root, k)
        except Exception as e:
            where = traceback.extract_tb(e.__traceback__)[-1]
            problems.append(f"before {call} {k}: {e!r:.300} ({where.name}:{where.lineno})")
        shutil.rmtree(place)
        if problems and stop:
            break
    print(json.dumps({"kills": kills, "problems": problems, "pending": pending}))


if __name__ == "__main__":
    main(*sys.argv[1:])
