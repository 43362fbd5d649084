"""Format 1 is read for ever: a registry that was written once, and what it says."""

import hashlib
import json
import math
import shutil
import subprocess
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import modelversion as mv
from modelversion import _json
from modelversion.records import (
    Claim,
    Entry,
    RegistryRecord,
    VersionRecord,
)
from modelversion.schema import from_json, to_json

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "format-1"
KNOWN = json.loads((DATA / "format-1.json").read_text())
NEWER = {"list": [1, "zwei", None], "deep": {"$float": "nan"}}
RECORDS = {"registry.json": RegistryRecord, "claim.json": Claim, "version.json": VersionRecord}


@pytest.fixture(params=[True, False], ids=["merges", "entries"])
def golden(request, tmp_path):
    """A copy of the registry, once with and once without merges and hints."""
    copy = tmp_path / "format-1"
    shutil.copytree(GOLDEN, copy)
    if not request.param:
        for extra in (*copy.rglob("head.json"), *copy.rglob("*.jsonl")):
            extra.unlink()
    return mv.Registry(copy, actor="eva@team")


@pytest.fixture
def churn(golden):
    """Its larger model."""
    return golden["churn"]


@pytest.mark.parametrize("name", ["format-1", "format-1-stages"])
def test_every_byte_is_the_one_that_was_written(name):
    """Neither git nor a formatter has touched a file, and none is missing or new."""
    lines = (DATA / f"{name}.sha256").read_text().splitlines()
    listed = {path: digest for digest, path in (line.split("  ") for line in lines)}
    folder = DATA / name
    found = {str(path.relative_to(DATA)): path for path in folder.rglob("*") if path.is_file()}

    assert set(found) == set(listed)
    for path, file in found.items():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == listed[path], path


def test_git_leaves_the_bytes_alone():
    """`.gitattributes` takes line ends and diffs of stored registries out of git's hands."""
    attributes = (DATA.parent.parent / ".gitattributes").read_text()
    assert "tests/data/** -text" in attributes
    file = "tests/data/format-1/registry.json"
    try:
        command = ["git", "check-attr", "text", "--", file]
        done = subprocess.run(
            command, cwd=DATA.parent.parent, capture_output=True, text=True, check=False
        )
    except OSError:
        pytest.skip("git is not installed")

    if done.returncode == 0:
        assert done.stdout.strip().endswith("text: unset")


def test_all_is_verified(golden):
    """Every digest, chain and number is in order."""
    report = golden.verify()

    assert report, str(report)
    assert report.versions == 6
    assert report.pending == ()


def test_models_and_versions_are_listed(golden, churn):
    """Names keep their spelling; deleted and abandoned numbers are not versions."""
    assert golden.id == KNOWN["registry"]
    assert list(golden) == ["Churn", "newer"]
    assert [v.number for v in churn] == [1, 2, 3, 6, 7]
    assert churn.latest.ref == "Churn:7"
    assert churn.aliases == {"champion": 3}
    assert {v.ref: v.digest for m in golden.models() for v in m} == KNOWN["digests"]


def test_params_keep_their_types(churn):
    """Every kind of value comes back equal and of its type."""
    params = dict(churn[2].params)

    assert math.isnan(params.pop("nan"))
    assert params == {
        "C": 2,
        "rate": 0.1,
        "flag": True,
        "none": None,
        "text": "größe",
        "huge": 2**70,
        "layers": [64, 32],
        "pair": (1, "a"),
        "when": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "raw": b"\x00\xff",
        "nested": {"$dollar": {"a": 1}},
    }


def test_what_was_recorded_is_read(churn):
    """Metrics with direction, description, parents, actor, time and environment are there."""
    assert churn[1].metrics == {"auc": 0.75, "loss": 1.0}
    assert math.isnan(churn[7].metrics["auc"])
    assert churn[7].higher_is_better("auc") is True
    assert churn[1].description == "version 1"
    assert str(churn[1].actor) == "ana@team"
    assert churn[1].created_at.startswith("2026-11-01T12:00:")
    assert churn[1].environment.packages["numpy"] == "2.4.6"
    assert churn[7].type is None
    assert churn.best("auc").ref == "Churn:6"
    assert [v.number for v in churn.versions(where="metrics.auc > 0.76 and params.C >= 2")] == [
        2,
        3,
    ]


def test_remarks_are_read(churn):
    """Tags as they were changed, notes in order, aliases and withdrawals as they stand."""
    assert churn[2].tags == {"team": "risk", "n": 2, "round": 11}
    assert [note["text"] for note in churn[1].notes] == [f"note {i}" for i in range(12)]
    assert churn[3].aliases == ["champion"]
    assert churn[1].withdrawn == "leaky feature"
    assert churn[2].withdrawn is None


@pytest.mark.parametrize(("number", "error"), [(4, "deleted"), (5, "abandoned"), (8, "no version")])
def test_numbers_without_a_version_are_explained(churn, number, error):
    """A tombstone, an abandoned claim and a number never taken are told apart."""
    with pytest.raises(mv.errors.VersionNotFoundError, match=error):
        churn[number]


@pytest.mark.parametrize("number", [2, 3])
def test_objects_load(golden, number):
    """Pickles of built-in types load without any allowance."""
    assert golden.load(f"churn:{number}", allow_pickle=False) == {
        "weights": [0.1 * number, -0.5],
        "names": ("a", "b"),
        "raw": bytes([number]),
        "n": number,
    }


@pytest.mark.parametrize("mmap", [False, True])
def test_buffers_load(golden, mmap):
    """Buffers that are packed and one that is a file of its own come back in order."""
    packed, own, again = golden.load("churn:6", mmap=mmap, allow_pickle=False)

    assert bytes(packed) == b"packed" * 1000
    assert bytes(own) == bytes(2**20)
    assert bytes(again) == b"again" * 1001


def test_loading_a_withdrawn_version_warns(golden):
    """The warning has the reason and the version to use instead."""
    with pytest.warns(mv.errors.WithdrawnWarning, match=r"leaky feature; use Churn:3"):
        golden.load("churn:1")


def test_artifacts_open(churn):
    """Text and binary artifacts are the bytes that were saved."""
    assert churn[1].open("report/summary.txt").read() == b"summary 1\n"
    assert churn[3].open("artifacts/raw.bin").read() == bytes(range(256))


def test_what_a_newer_release_added_is_no_obstacle(golden):
    """Records with fields that this release does not know are read by those that it knows."""
    newer = golden["newer"]

    assert golden.load("newer@best", allow_pickle=False)["n"] == 7
    assert newer.latest.params == {"a": 1}
    assert newer.latest.tags == {"kept": True}
    assert newer.verify()


def test_work_goes_on_in_an_old_registry(golden, churn):
    """New versions, tags and aliases are appended, and what was there stays as it was."""
    before = {path: path.read_bytes() for path in Path(golden.url).rglob("*.json")}

    version = golden.save("churn", {"n": 8}, params={"C": 8})
    version.tag(new=True)
    churn.set_alias("champion", version)
    golden.save("newer", {"n": 8})

    assert version.ref == "Churn:8"
    assert golden.verify(), str(golden.verify())
    assert mv.Registry(golden.url)["churn"].aliases == {"champion": 8}
    for path, data in before.items():
        assert path.name == "head.json" or path.read_bytes() == data


# ---- with stages


@pytest.fixture(params=[True, False], ids=["merges", "entries"])
def governed(request, tmp_path):
    """A copy of the registry with stages, once with and once without merges and hints."""
    copy = tmp_path / "format-1-stages"
    shutil.copytree(DATA / "format-1-stages", copy)
    if not request.param:
        for extra in (*copy.rglob("head.json"), *copy.rglob("*.jsonl")):
            extra.unlink()
    return mv.Registry(copy, actor="eva@team")


def test_stages_are_read(governed):
    """What is in each stage, what is frozen, what was asked; who was live when."""
    model = governed["churn"]

    assert governed.verify(), str(governed.verify())
    assert governed.stages == ("canary", "staging", "production")
    assert model.stages == {"canary": [2, 3], "staging": [], "production": [4]}
    assert model["production"].number == 4
    assert model[3].stages == ["canary"]
    assert model.aliases == {"champion": 3, "next": 4}
    assert governed.policies["production"].approvals == 1
    assert [change.stage for change in governed.policies.history()] == ["production", None]
    stays = model.history("production").intervals()
    assert [stay.number for stay in stays] == [1, 2, 3, 2, 4]
    assert model.at(stays[2].since)["production"].number == 3
    assert not model[3].check("production")
    assert "frozen by ana@team until 2099" in str(model[1].check("staging"))


def test_old_decisions_are_explained(governed):
    """Every one is judged again to what was recorded, the override too."""
    decisions = governed["churn"].history()

    assert {d.kind for d in decisions} == {
        "alias.set",
        "approval.withdrawn",
        "policy.adopted",
        "stage.cleared",
        "stage.frozen",
        "stage.promoted",
        "stage.rolled_back",
        "stage.unfrozen",
        "version.approved",
        "version.rejected",
    }
    for decision in decisions:
        explained = decision.explain()
        assert explained, str(explained)
    assert [d.number for d in decisions if d.override] == [4]


def test_decisions_go_on_in_an_old_registry(governed):
    """A roll-back to what was live before, and a promotion by the old policy."""
    model = governed["churn"]

    assert model.rollback("production", reason="r").number == 2
    with pytest.raises(mv.errors.GateFailedError, match="rolled back from it"):
        model[4].promote("production", reason="r")
    model[4].promote("production", reason="it was not that", override=True)

    assert model.stages["production"] == [4]
    assert governed.verify(), str(governed.verify())


def _json_files():
    return sorted(
        str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.json") if path.name != "head.json"
    )


def test_records_survive_a_round_trip():
    """Read and written again, every record says the same, unknown fields included."""
    unknown = 0
    for name in _json_files():
        value = json.loads((GOLDEN / name).read_bytes())
        record = from_json(RECORDS.get(Path(name).name, Entry), value, name)

        assert to_json(record) == value, name
        assert json.loads(_json.dumps(to_json(record))) == value, name
        if "from_a_newer_release" in value:
            assert record.extra == {"from_a_newer_release": NEWER}
            unknown += 1

    assert unknown >= 6


def test_stored_bytes_are_canonical():
    """Every record is UTF-8 JSON with sorted keys and no white space between."""
    for name in _json_files():
        data = (GOLDEN / name).read_bytes()
        value = json.loads(data)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert text.encode() == data, name
