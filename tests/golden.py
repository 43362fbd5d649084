"""What a registry says, as plain JSON: everything that can be read of it, but for the words."""

from modelversion._json import encode


def what_it_says(registry):
    """Give all that is recorded, decided and told; words for it may change, and are left out."""
    report = registry.verify()
    return {
        "id": registry.id,
        "rules": _rules(registry),
        "models": {name: _model(registry[name]) for name in registry},
        "events": [[e.kind, e.ref, e.time, e.actor.name] for e in registry.events()],
        "audit": [_without_words(row) for row in registry.audit().to_dict()["entries"]],
        "stays": registry.audit().to_dict()["stays"],
        "usage": registry.usage().to_dict()["models"],
        "verified": {
            "versions": report.versions,
            "problems": [problem.key for problem in report.problems],
            "pending": [problem.key for problem in report.pending],
        },
    }


def _rules(registry):
    changes = registry.policies.history()
    return {
        "stages": list(registry.stages),
        "policies": {stage: policy.to_dict() for stage, policy in registry.policies.items()},
        "history": [[c.position, c.time, c.actor.name, c.stage, list(c.shared)] for c in changes],
    }


def _without_words(row):
    """Leave out the words, and the clock, which only a row of a slow one has."""
    assert row["clock"] is None
    gates = [gate.split(" ")[0] for gate in row["gates"]]
    return {**{k: v for k, v in row.items() if k not in ("what", "clock")}, "gates": gates}


def _model(model):
    times = sorted({decision.time for decision in model.history()})
    return {
        "stages": model.stages,
        "aliases": model.aliases,
        "versions": {str(version.number): _version(version) for version in model},
        "best": getattr(model.best("auc"), "number", None)
        if model.versions(where="metrics.auc > 0")
        else None,
        "history": [_decision(decision) for decision in model.history()],
        "stays": [stay.to_dict() for stay in model.history().intervals()],
        "at": {time: _at(model.at(time)) for time in times},
        "observations": _observations(model),
    }


def _at(then):
    return {name: value for name, value in then.to_dict().items() if name != "open"}


def _version(version):
    return {
        "digest": version.digest,
        "created_at": version.created_at,
        "actor": version.actor.name,
        "type": version.type,
        "description": version.description,
        "failed": version.failed,
        "params": encode(dict(version.params), "params"),
        "metrics": {name: encode(value, name) for name, value in version.metrics.items()},
        "directions": {name: version.higher_is_better(name) for name in version.metrics},
        "series": {n: encode(version.metrics.series(n), n) for n in version.metrics},
        "tags": encode(dict(version.tags), "tags"),
        "notes": [dict(note) for note in version.notes],
        "parents": list(version.parents),
        "stages": version.stages,
        "aliases": version.aliases,
        "withdrawn": version.withdrawn,
        "files": [[file.path, file.size, file.sha256] for file in version.files],
        "data": {name: data.digest for name, data in version.data.items()},
        "steps": [_step(step) for step in version.steps],
        "step_sources": [version.steps.source(i) for i in range(len(version.steps))],
        "code": _code(version.code),
        "environment": version.environment.requirements(),
        "redactions": [str(redaction) for redaction in version.redactions],
        "copied_from": getattr(version.copied_from, "number", None),
    }


def _step(step):
    flows = [[[flow.name, flow.digest] for flow in side] for side in (step.inputs, step.outputs)]
    return [step.name, step.form, step.code.entry, encode(step.params, "params"), *flows]


def _code(code):
    if code is None:
        return None
    return {
        "entry": code.entry,
        "source": {name: code.source(name) for name in code.names},
        "commit": code.git.commit,
        "patch": code.patch(),
    }


def _decision(decision):
    explained = decision.explain()
    return {
        **{k: v for k, v in decision.to_dict().items() if k != "text"},
        "agrees": explained.agrees,
        "passed": [verdict.passed for verdict in explained.replayed],
    }


def _observations(model):
    rows = model.observations()
    names = ("number", "metric", "n", "begin", "end", "slice", "source", "time", "actor")
    return [
        [*(getattr(row, name) for name in names), encode(row.value, row.metric)] for row in rows
    ]
