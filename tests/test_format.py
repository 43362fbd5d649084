"""Format 1 is read for ever: a registry that was written once, and what it says."""

import hashlib
import json
import math
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pandas
import pytest
from golden import what_it_says

import modelversion as mv
from modelversion import _json
from modelversion.decisions import DECISIONS
from modelversion.records import Claim, Entry, ForkRecord, RegistryRecord, VersionRecord
from modelversion.schema import from_json, to_json

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "format-1"
KNOWN = json.loads((DATA / "format-1.json").read_text("utf-8"))
# Of the list of all files: format 1 is frozen, so it may never change again.
FROZEN = "eb437f498b4680a345f322419a20fdfa3738488b36a4a36f3325996cf2becb96"
NEWER = {"list": [1, "zwei", None], "deep": {"$float": "nan"}}
RECORDS = {"registry.json": RegistryRecord, "claim.json": Claim, "version.json": VersionRecord}


@pytest.fixture(params=[True, False], ids=["merges", "entries"])
def golden(request, tmp_path):
    """A copy of the registry, once with and once without merges and hints."""
    copy = tmp_path / "format-1"
    shutil.copytree(GOLDEN, copy)
    if not request.param:
        for extra in (*copy.rglob("head.json"), *copy.rglob("s[123]/*.jsonl")):
            extra.unlink()
    return mv.Registry(copy, actor="eva@team")


@pytest.fixture
def churn(golden):
    """Its larger model."""
    return golden["churn"]


def check_bytes(data):
    """Hold every file against the list of digests, and that against the one above."""
    listing = (data / "format-1.sha256").read_bytes()
    listed = dict(reversed(line.split("  ")) for line in listing.decode().splitlines())
    found = {str(path.relative_to(data)): path for path in data.rglob("*") if path.is_file()}
    found = {name: path for name, path in found.items() if name.startswith("format-1/")}

    assert hashlib.sha256(listing).hexdigest() == FROZEN, "format 1 is frozen; make another format"
    assert set(found) == set(listed)
    for path, file in found.items():
        assert hashlib.sha256(file.read_bytes()).hexdigest() == listed[path], path


def test_every_byte_is_the_one_that_was_written():
    """Neither git nor a formatter nor anybody has touched a file, and none is missing or new."""
    check_bytes(DATA)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: (data / "format-1/registry.json").write_bytes(b"{}"),
        lambda data: (data / "format-1/models/churn/decisions/000000000001.json").unlink(),
        lambda data: (data / "format-1/new.json").write_bytes(b"{}"),
        lambda data: (data / "format-1.sha256").write_bytes(b""),
    ],
    ids=["changed", "missing", "new", "listing"],
)
def test_a_changed_byte_is_noticed(tmp_path, spoil):
    """Each way to touch the files fails the test above."""
    shutil.copytree(GOLDEN, tmp_path / "format-1")
    shutil.copy(DATA / "format-1.sha256", tmp_path)
    check_bytes(tmp_path)
    spoil(tmp_path)

    with pytest.raises(AssertionError):
        check_bytes(tmp_path)


def test_the_reference_says_that_the_format_is_frozen():
    """And what that promises; who changes the files has to take it back."""
    page = (DATA.parent.parent / "docs" / "reference" / "format.md").read_text("utf-8")

    assert "## Format 1 is frozen" in page
    assert mv.records.FORMAT == 1


def test_what_it_says_is_what_it_said(golden):
    """Versions, decisions, their explanations, each moment, events and audits are as stored."""
    assert json.loads(json.dumps(what_it_says(golden))) == KNOWN


def test_the_files_say_nothing_of_a_machine():
    """No folder, host or user of whoever made them."""
    data = b"".join(path.read_bytes() for path in GOLDEN.rglob("*") if path.is_file())

    assert b"build-7" in data and b"/tmp" not in data and b"/home" not in data
    assert str(DATA.parent.parent).encode() not in data


def test_the_files_are_made_again_byte_by_byte(tmp_path):
    """The script gives the same wherever it runs; a later release may write more than is kept."""
    script = DATA / "make_format_1.py"
    for name in ("a", "b"):
        (tmp_path / f"in-{name}").mkdir()
        command = [sys.executable, str(script), str(tmp_path / name)]
        subprocess.run(command, check=True, cwd=tmp_path / f"in-{name}")

    found = [
        {str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files(tmp_path / name)}
        for name in ("a", "b")
    ]
    assert found[0] == found[1]
    assert len(found[0]) > 200


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_git_leaves_the_bytes_alone():
    """`.gitattributes` takes line ends and diffs of stored registries out of git's hands."""
    attributes = (DATA.parent.parent / ".gitattributes").read_text()
    assert "tests/data/** -text" in attributes
    file = "tests/data/format-1/registry.json"
    command = ["git", "check-attr", "text", "--", file]
    done = subprocess.run(
        command, cwd=DATA.parent.parent, capture_output=True, text=True, check=False
    )

    if done.returncode == 0:
        assert done.stdout.strip().endswith("text: unset")


def test_all_is_verified(golden):
    """Every digest, chain and number is in order."""
    report = golden.verify()

    assert report, str(report)
    assert report.versions == 15
    assert [p.key for p in report.pending] == ["models/churn/versions/8"]


def test_models_and_versions_are_listed(golden, churn):
    """Names keep their spelling; deleted and abandoned numbers are not versions."""
    assert golden.id == KNOWN["id"]
    assert list(golden) == ["Base", "Churn", "Forecast", "newer", "Risk"]
    assert [v.number for v in churn] == [1, 2, 3, 6, 7]
    assert churn.latest.ref == "Churn:7"
    assert churn.aliases == {"champion": 3}


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


@pytest.mark.parametrize(("number", "error"), [(4, "deleted"), (5, "abandoned"), (9, "no version")])
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
    assert newer[1].params == {"a": 1}
    assert newer[1].tags == {"kept": True}
    assert newer.verify()


def test_work_goes_on_in_an_old_registry(golden, churn):
    """New versions, tags and aliases are appended, and what was there stays as it was."""
    before = {path: path.read_bytes() for path in Path(golden.url).rglob("*.json")}

    version = golden.save("churn", {"n": 8}, params={"C": 8})
    version.tag(new=True)
    churn.set_alias("champion", version)
    golden.save("newer", {"n": 8})

    assert version.ref == "Churn:9"
    assert golden.verify(), str(golden.verify())
    assert mv.Registry(golden.url)["churn"].aliases == {"champion": 9}
    for path, data in before.items():
        assert path.name == "head.json" or path.read_bytes() == data


# ---- steps, copies, observations, stages


def test_steps_and_code_are_read(golden):
    """The way from the file to the model, the source that made it, and the series of a metric."""
    version = golden["forecast"][1]

    assert [step.name for step in version.steps] == ["read_csv", "scaled"]
    assert version.data["train"].place.url == "memory://raw/churn.csv"
    assert "def scaled(frame, *, power=1)" in version.code.source("scaled")
    assert dict(version.code.globals) == {"__main__:SCALE": 2}
    one, two = (golden["forecast"][number].steps.source(1) for number in (1, 2))
    assert one == two and one.startswith("@mv.step")
    kept = {file.path for file in golden["forecast"][2].files}
    assert {"source/entry.py", "source/git.patch", "source/steps.py"} <= kept
    assert version.code.git.commit == "4" * 40 and "+new" in version.code.patch()
    assert version.metrics.series("val/loss")[-1] == (2, 1 / 3)
    assert version.params["password"] == "(redacted)"
    frame = pandas.DataFrame({"a": ["x", "y", None], "b": [1, 2, 4]})
    assert [v.ref for v in golden.search(data=frame)] == ["Forecast:1", "Forecast:2"]


def test_copies_are_read(golden):
    """Where they came from, with what was said of them there."""
    one, two = golden["base"]

    assert (one.copied_from.number, one.actor.name) == (1, "eva@lab")
    assert one.tags == {"site": "roof", "checked": True}
    assert [note["text"] for note in one.notes] == ["from the lab"]
    assert one.withdrawn == "a bad day"
    assert two.parents == ("Base:1",)


def test_observations_are_read(golden):
    """What was measured, and what was measured last."""
    rows = golden["forecast"].observations("auc")

    assert len(rows) == 34
    assert (rows[0].begin[:10], rows[0].n, rows[0].source) == ("2026-09-01", 101, "monitor")
    assert golden["forecast"]._history.observed(1)["auc"].value == 0.8 - 33 / 256


def test_stages_are_read(golden):
    """What is in each stage, what is frozen, what was asked; who was live when."""
    model = golden["risk"]

    assert golden.stages == ("canary", "staging", "production")
    assert model.stages == {"canary": [2, 3], "staging": [], "production": [2]}
    assert model["production"].number == 2
    assert model[3].stages == ["canary"]
    assert model.aliases == {"champion": 3, "next": 4}
    assert golden.policies["production"].approvals == 1
    changed = ["production", None, "staging", "canary", "canary"]
    assert [change.stage for change in golden.policies.history()] == changed
    stays = model.history("production").intervals()
    assert [stay.number for stay in stays] == [1, 2, 3, 2, 4, 2]
    assert model.at(stays[2].since)["production"].number == 3
    assert not model[3].check("production")
    report = str(model[1].check("staging"))
    assert "frozen by ana@team until 2099" in report
    assert "a gate that this release does not know" in report


def test_old_decisions_are_explained(golden):
    """Every one is judged again to what was recorded, the override too."""
    decisions = [d for model in golden.models() for d in model.history()]

    assert {d.kind for d in decisions} == set(DECISIONS.rules)
    for decision in decisions:
        explained = decision.explain()
        assert explained, str(explained)
    assert [d.number for d in decisions if d.override] == [4]


def test_decisions_go_on_in_an_old_registry(golden):
    """A roll-back to what was live before, and a promotion by the old policy."""
    model = golden["risk"]

    assert model.rollback("production", reason="r", to=3).number == 3
    with pytest.raises(mv.errors.GateFailedError, match="rolled back from it"):
        model[2].promote("production", reason="r")
    model[2].promote("production", reason="it was not that", override=True)

    assert model.stages["production"] == [2]
    assert golden.verify(), str(golden.verify())
    assert golden.audit()


def _json_files():
    return sorted(
        str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*.json") if path.name != "head.json"
    )


def test_records_survive_a_round_trip():
    """Read and written again, every record says the same, unknown fields included."""
    unknown = 0
    for name in _json_files():
        value = json.loads((GOLDEN / name).read_bytes())
        kind = ForkRecord if name.startswith("forks") else RECORDS.get(Path(name).name, Entry)
        record = from_json(kind, value, name)

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
