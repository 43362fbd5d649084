"""Entries whose fields are not what the format says: void, and in nobody's way.

Whoever may write to a bucket can append them, chained as they should be.
"""

import json

import pytest

import modelversion as mv
from modelversion import _json

FACTS, DECISIONS = "models/churn/journal", "models/churn/decisions"
OBSERVATIONS = "models/churn/observations"
POINTER = {"nonce": "00", "size": 1, "sha256": "0" * 64}
NO_NUMBERS = [None, "2", 2.5, True, [2], {"$int": "2"}]
FORGED = [
    *[(FACTS, {"kind": "version.committed", "number": n, **POINTER}) for n in NO_NUMBERS],
    (FACTS, {"kind": "version.committed", "number": 2}),
    (FACTS, {"kind": "version.tagged", "number": [2], "set": {"a": 1}}),
    (FACTS, {"kind": "version.tagged", "number": 2, "set": "a"}),
    (FACTS, {"kind": "version.noted", "number": {}, "text": "no"}),
    (FACTS, {"kind": "version.noted", "number": 2}),
    (FACTS, {"kind": "version.noted", "number": 2, "text": ["no"]}),
    *[(DECISIONS, {"kind": "stage.promoted", "stage": "staging", "number": n}) for n in NO_NUMBERS],
    (DECISIONS, {"kind": "version.withdrawn", "number": {}, "reason": ["no"]}),
    (DECISIONS, {"kind": "version.approved", "number": 2, "stage": ["staging"], "reason": {}}),
    (OBSERVATIONS, {"kind": "observation.added", "metrics": {"auc": 0.1}}),
    (OBSERVATIONS, {"kind": "observation.added", "number": 2, "metrics": 0.1}),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A model with what each kind of forged entry is about."""
    root = tmp_path_factory.mktemp("void") / "registry"
    registry = mv.Registry(root, actor="ana@team")
    for number in (1, 2):
        registry.save("churn", {"w": number}, params={"w": number}, tags={"team": "risk"})
    churn = registry["churn"]
    churn[2].promote("staging", reason="first")
    churn[2].note("good")
    churn[2].observe({"auc": 0.9}, n=10)
    return root


def appended(root, folder, event):
    """Append an entry to a journal by hand; give its file."""
    last = max((root / folder).glob("0*.json"))
    value = json.loads(last.read_bytes())
    entry = value | {
        "position": value["position"] + 1,
        "previous": _json.digest(last.read_bytes()),
        "time": "2199-01-01T00:00:00.000000Z",
        "event": {"must_understand": True, **event},
    }
    file = root / folder / f"{entry['position']:012}.json"
    file.write_bytes(_json.dumps(entry))
    return file


def told(root):
    """What a registry says of its versions, to every kind of reader."""
    registry = mv.Registry(root)
    churn = registry["churn"]
    return {
        "versions": churn.versions().to_pandas().to_dict("list"),
        "found": [version.ref for version in registry.search(where="params.w > 0")],
        "at": churn.at("2199-12-31").to_dict(),
        "tags": churn.at("2199-12-31").tags(2),
        "notes": churn[2].notes,
        "shown": str(churn[2]),
        "observed": churn.observations("auc").to_pandas().to_dict("list"),
        "stays": [str(stay) for stay in churn.history("staging").intervals()],
        "verified": str(registry.verify()),
        "lineage": churn.lineage().to_dict(),
        "copied": registry.copy("churn:2", to=mv.Registry("memory://copies")).digest,
    }


@pytest.fixture(scope="module")
def before(root):
    """What it says without a forged entry."""
    return told(root)


@pytest.mark.parametrize(("folder", "event"), FORGED)
def test_a_void_entry_changes_nothing_and_hides_nothing(root, before, folder, event):
    """Everything is told as before, and the entry itself by history, events and audit."""
    file = appended(root, folder, event)
    try:
        assert told(root) == before
        registry = mv.Registry(root)
        history = registry["churn"].history()
        assert len(history.to_pandas()) == len(history) and history._repr_html_()
        assert all(decision.explain() is not None for decision in history)
        void = [d["effective"] for d in history.to_dict() if "effective" in d]
        assert void == ([False] if folder == DECISIONS else [])
        assert str(history).count("(void") == history._repr_html_().count("(void") == len(void)
        (row,) = [r for r in registry.audit().rows if r.time.startswith("2199")]
        assert (row.journal, row.kind, row.effective) == (folder, event["kind"], False)
        assert registry.events()[-1].kind == event["kind"]
    finally:
        file.unlink()


def test_a_void_commit_does_not_stand_for_the_version_that_came_later(tmp_path):
    """Its number is free, and what it says is not taken for what was saved under it."""
    registry = mv.Registry(tmp_path, actor="ana@team")
    registry.save("churn", {"w": 1})
    appended(tmp_path, FACTS, {"kind": "version.committed", "number": 2, "summary": {}, **POINTER})
    registry.save("churn", {"w": 2}, params={"w": 2})

    churn = mv.Registry(tmp_path)["churn"]

    assert churn.versions()[-1].load() == {"w": 2}
    assert churn.versions().to_pandas()["params.w"].to_list()[-1] == 2
    assert mv.Registry(tmp_path).verify()
