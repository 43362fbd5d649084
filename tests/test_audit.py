"""Audits: who did what, when and why, as data, HTML, JSON and CSV."""

import csv
import io
import json
from datetime import UTC, date, datetime
from html.parser import HTMLParser

import pytest

import modelversion as mv
from modelversion import _json, audit, auditing
from modelversion.errors import InvalidInputError, ModelNotFoundError, NotARegistryError

HOSTILE = "=cmd|' /C calc'!A0<script>alert(1)</script>\x1b[31m\u202e\"&'"
BOLD = "=<script>alert(1)</script>\"&'"


@pytest.fixture
def registry(tmp_path, clock):
    """A registry whose clock the test sets."""
    return mv.Registry(tmp_path / "registry", actor="ana@team", clock=clock)


@pytest.fixture
def march(registry, clock):
    """February to April: saves, a policy, an approval, an override, a roll-back, an alias."""
    bo = mv.Registry(registry.url, actor="bo@risk", clock=clock)
    clock.now = datetime(2026, 2, 1, tzinfo=UTC)
    registry.save("fraud", {"w": 0})

    @registry.track("churn")
    def fit(rows, depth):
        mv.log_metrics(auc=depth / 16)
        return {"depth": depth}

    fit([1, 2], 12)
    churn = registry["churn"]
    registry.set_policy(
        "production", after="staging", approvals=1, gates=[mv.gates.at_least("auc", 0.85)]
    )
    churn[1].promote("staging")
    clock.now = datetime(2026, 3, 5, tzinfo=UTC)
    bo["churn"][1].approve("production", reason="reviewed by risk")
    churn[1].promote("production", reason="incident 7", override=True)
    fit([1, 2], 14)
    churn[2].promote("staging", reason="sweep 12")
    bo["churn"][2].approve("production", reason="better")
    clock.now = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)
    churn[2].promote("production", reason="CR-118")
    clock.now = datetime(2026, 4, 2, tzinfo=UTC)
    churn.rollback("production", reason="latency")
    churn.set_alias("champion", 2)
    return registry


def whats(report):
    return [row.what for row in report.rows]


def test_an_audit_tells_who_did_what_when_and_why(march):
    """Everything that was done, in order, with reasons and actors."""
    report = march.audit()

    assert report and not report.verified.problems
    assert whats(report)[:4] == [
        "made the model fraud",
        "saved fraud:1",
        "made the model churn",
        "saved churn:1",
    ]
    decided = [(r.what, r.actor, r.reason) for r in report.rows if r.kind.startswith("stage.")]
    assert decided == [
        ("promoted churn:1 to staging", "ana@team", None),
        ("promoted churn:1 to production", "ana@team", "incident 7"),
        ("promoted churn:2 to staging instead of churn:1", "ana@team", "sweep 12"),
        ("promoted churn:2 to production instead of churn:1", "ana@team", "CR-118"),
        ("rolled production back to churn:1 instead of churn:2", "ana@team", "latency"),
    ]
    assert "set the policy of production: after staging; 1 approval; auc at least 0.85" in whats(
        report
    )
    assert {row.source for row in report.rows} == {"given"}
    assert [row.time for row in report.rows] == sorted(row.time for row in report.rows)


def test_gates_and_approvals_are_told_as_they_were_seen(march):
    """Each promotion with what was asked, what was found and who had approved."""
    rows = {row.reason: row for row in march.audit().rows}

    assert "FAIL auc at least 0.85: auc is 0.75" in rows["incident 7"].gates
    assert "pass auc at least 0.85: auc is 0.875" in rows["CR-118"].gates
    assert any(gate.startswith("pass after staging") for gate in rows["CR-118"].gates)
    assert rows["CR-118"].approvals == ("bo@risk",)


def test_overrides_are_loud(march):
    """They stand first in every form, with what was not met."""
    report = march.audit()

    assert [row.reason for row in report.overrides] == ["incident 7"]
    assert "OVERRIDES" in str(report) and "1 override;" in str(report)
    text = str(report)
    assert text.index("OVERRIDES") < text.index("entries:")
    assert "FAIL auc at least 0.85: auc is 0.75" in text
    assert report.to_dict()["overrides"] == 1


def test_data_and_code_of_a_version_are_told(march):
    """Where it was saved, and where it was promoted."""
    rows = [row for row in march.audit().rows if row.ref == "churn:2"]
    told = [row for row in rows if row.kind in ("version.committed", "stage.promoted")]

    assert len(told) == 3
    code = march["churn"][2].code.record
    for row in told:
        assert row.code.startswith(code.entry)
        assert code.git is None or code.git.commit in row.code
        assert row.data == {
            item.name: item.digest or "not fingerprinted"
            for item in march["churn"][2].data.values()
        }


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ({"entry": "m:f"}, "m:f"),
        ({"entry": "m:f", "sha256": "ab"}, "m:f ab"),
        ({"entry": "m:f", "source": {"path": "source/code.py"}}, "m:f cd"),
        ({"entry": "m:f", "source": {"text": "x"}}, f"m:f {_json.digest(b'x')}"),
        ({"entry": "m:f", "git": {"commit": "12"}}, "m:f git 12"),
        ({"entry": "m:f", "git": {"commit": "12", "dirty": True}}, "m:f git 12 with changes"),
        ({"entry": "m:f", "git": {"problem": "no git"}}, "m:f"),
    ],
)
def test_code_is_named_by_its_source_and_its_commit(code, said):
    """As far as they are known."""
    assert auditing._code(code, {"source/code.py": "cd"}) == said


def test_an_audit_tells_what_was_where(march):
    """Stays in stages, with beginning and end."""
    stays = [
        (model, s.stage, s.number, s.since[:10], (s.until or "now")[:10])
        for model, s in march.audit().stays
    ]

    assert stays == [
        ("churn", "staging", 1, "2026-02-01", "2026-03-05"),
        ("churn", "production", 1, "2026-03-05", "2026-03-31"),
        ("churn", "staging", 2, "2026-03-05", "now"),
        ("churn", "production", 2, "2026-03-31", "2026-04-02"),
        ("churn", "production", 1, "2026-04-02", "now"),
    ]


@pytest.mark.parametrize(
    ("since", "until"),
    [
        ("2026-03-01", "2026-03-31"),
        (date(2026, 3, 1), date(2026, 3, 31)),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-31T23:59:59.999999Z"),
    ],
)
def test_a_day_counts_from_its_beginning_and_to_its_end(march, since, until):
    """March is from the first moment of its first day to the last of its last, in UTC."""
    report = march.audit(since=since, until=until)

    assert (report.since, report.until) == (
        "2026-03-01T00:00:00.000000Z",
        "2026-03-31T23:59:59.999999Z",
    )
    assert {row.time[:7] for row in report.rows} == {"2026-03"}
    assert report.rows[-1].reason == "CR-118"
    assert [s.number for _, s in report.stays if s.stage == "production"] == [1, 2]
    assert len(march.audit(until="2026-01-31")) == 0
    assert len(march.audit(since="2026-04-02")) == 3 - 1


def test_an_audit_can_be_of_some_models(march):
    """Rows and stays of those only, and what was set for all."""
    report = march.audit(models=["Fraud"])

    assert report.models == ("fraud",)
    assert whats(report) == [
        "made the model fraud",
        "saved fraud:1",
        "set the policy of production: after staging; 1 approval; auc at least 0.85",
        "adopted the registry's policies as of 3",
    ]
    assert report.stays == ()
    assert march.audit(models="fraud").rows == report.rows


def test_the_whole_registry_is_verified_and_pinned(march, tmp_path):
    """Also by an audit of one model; damage anywhere is told first."""
    report = march.audit(models=["fraud"])
    assert march.verify(since=report.checkpoint)
    file = tmp_path / "registry/models/churn/versions/1/object/object.pkl"
    file.unlink()
    file.write_bytes(b"other")

    broken = march.audit(models=["fraud"])

    assert not broken and "NOT VERIFIED" in str(broken)
    assert broken.to_dict()["verified"]["problems"][0]["key"].endswith("object.pkl")


# ---- forms


def test_an_audit_is_the_same_each_time(march, clock):
    """Two audits of one state differ in the checkpoint's time, and in nothing else."""
    first = march.audit()
    frozen = mv.Registry(
        march.url, clock=lambda: _json.parse_timestamp(first.checkpoint.time, "time")
    )
    second = frozen.audit()

    assert first.to_json() == second.to_json() and first.to_csv() == second.to_csv()


def test_json_holds_everything(march, tmp_path):
    """The file is what is returned, and what `to_dict` gives."""
    report = march.audit()

    text = report.to_json(tmp_path / "a.json")

    assert (tmp_path / "a.json").read_text("utf-8") == text
    assert json.loads(text) == report.to_dict()
    assert mv.Checkpoint.parse(json.loads(text)["checkpoint"]) == report.checkpoint
    assert set(json.loads(text)["entries"][0]) == set(audit._COLUMNS)


def test_csv_has_a_row_for_each_entry(march, tmp_path):
    """One header, one row an entry, whatever stands in a reason."""
    march["churn"][1].note('a\nb, "c"')
    report = march.audit()

    text = report.to_csv(tmp_path / "a.csv")

    assert (tmp_path / "a.csv").read_bytes().decode() == text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(report)
    assert [row["reason"] for row in rows] == [r.reason or "" for r in report.rows]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
def test_no_cell_is_a_formula(march, start):
    """What a spreadsheet would compute is text."""
    march["churn"][1].promote("development", reason=f"{start}1+1")

    rows = list(csv.reader(io.StringIO(march.audit().to_csv(), newline="")))

    assert any(cell == f"'{start}1+1" for row in rows for cell in row)
    assert not any(cell.startswith(audit._FORMULA) for row in rows for cell in row)


def test_without_the_quote_a_cell_would_be_a_formula(march, monkeypatch):
    """The quote is what makes it text."""
    march["churn"][1].promote("development", reason="=1+1")
    monkeypatch.setattr(audit, "_FORMULA", ("no such start",))

    rows = list(csv.reader(io.StringIO(march.audit().to_csv(), newline="")))

    assert any(cell.startswith("=") for row in rows for cell in row)


class Page(HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.said = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.said.append(data)


def test_html_is_one_file_that_loads_nothing(march, tmp_path):
    """No script, no address, nothing from elsewhere."""
    file = march.audit().to_html(tmp_path / "march.html")

    page = Page(file.read_text("utf-8"))
    assert "script" not in page.tags and "link" not in page.tags and "img" not in page.tags
    assert not any(name.startswith("on") or name in ("src", "href") for name, _ in page.attributes)
    said = " ".join(page.said)
    for expected in ("incident 7", "OVERRIDES", "self-declared", "reviewed by risk", "CR-118"):
        assert expected in said


def test_hostile_text_is_text_everywhere(registry, tmp_path):
    """Names, reasons, notes, tags and actors of any content are shown and never obeyed."""
    mallory = mv.Registry(registry.url, actor=BOLD)
    version = mallory.save("churn", {"w": 1}, tags={"t": HOSTILE}, description=HOSTILE)
    version.note(HOSTILE)
    version.promote("staging", reason=HOSTILE)

    report = registry.audit()
    html = report.to_html(tmp_path / "a.html").read_text("utf-8")

    page = Page(html)
    assert "script" not in page.tags
    assert "<script>alert" not in html
    assert "\x1b" not in str(report)
    cells = [cell for row in csv.reader(io.StringIO(report.to_csv(), newline="")) for cell in row]
    assert not any(cell.startswith("=") for cell in cells)
    assert json.loads(report.to_json())["entries"][-1]["reason"] == HOSTILE


def test_a_long_audit_has_every_row_in_its_files(registry, tmp_path):
    """The display is bounded, the files are not."""
    version = registry.save("churn", {"w": 1})
    for i in range(300):
        version.note(f"remark {i:03d}")
    report = registry.audit()

    assert len(str(report).encode()) <= 20_000
    html = report.to_html(tmp_path / "a.html").read_text("utf-8")
    assert all(f"remark {i:03d}" in html for i in range(300))
    assert len(report.to_csv().splitlines()) == len(report) + 1


def test_an_audit_is_a_data_frame(march):
    """With times as times."""
    frame = march.audit().to_pandas()

    assert len(frame) == len(march.audit())
    assert str(frame["time"].dtype).startswith("datetime64") and frame["override"].sum() == 1


# ---- what is odd in a journal


def test_a_deleted_version_is_still_told(march):
    """Its tombstone says who deleted it and why; its data went with it."""
    march["fraud"][1].delete(reason="erasure request 9")

    rows = [row for row in march.audit(models=["fraud"]).rows if row.ref == "fraud:1"]

    assert [row.what for row in rows] == ["saved fraud:1", "deleted fraud:1"]
    assert rows[1].reason == "erasure request 9" and rows[0].data == {}


def test_a_copy_tells_where_it_came_from(march, tmp_path):
    """The first entry of a copied version is the copy."""
    target = mv.Registry(tmp_path / "target", actor="release-bot")
    march.copy("churn:2", to=target)

    (row,) = [row for row in target.audit().rows if row.kind == "version.committed"]

    assert row.what == f"copied {row.ref} from churn:2 of {march.id}" and row.actor == "release-bot"


def forge(root, folder, event):
    """Append an entry whose event makes no sense, chained as it should be."""
    files = sorted((root / folder).glob("0*.json"))
    last = json.loads(files[-1].read_bytes())
    entry = last | {
        "position": last["position"] + 1,
        "previous": _json.digest(files[-1].read_bytes()),
        "time": "2026-05-01T00:00:00.000000Z",
        "event": event,
    }
    (root / folder / f"{entry['position']:012d}.json").write_bytes(_json.dumps(entry))


@pytest.mark.parametrize(
    ("folder", "event"),
    [
        ("policies", {"kind": "policy.set", "must_understand": True, "stage": "x", "policy": 7}),
        ("policies", {"kind": "policy.set", "must_understand": True}),
        ("policies", {"kind": "stages.set", "must_understand": True, "stages": 7}),
        ("policies", {"kind": "registry.forked", "must_understand": False}),
        ("policies", {"kind": "something.new", "must_understand": False}),
        ("models/churn/journal", {"kind": "version.noted", "must_understand": False, "number": 9}),
        ("models/churn/journal", {"kind": "something.new", "must_understand": False}),
    ],
)
def test_an_entry_that_makes_no_sense_is_reported_and_stops_nothing(march, tmp_path, folder, event):
    """A writer of the bucket can append anything; the rest is told all the same."""
    forge(tmp_path / "registry", folder, event)

    report = mv.Registry(march.url).audit()

    assert report.rows[-1].time.startswith("2026-05-01")
    assert report.rows[-1].kind == event["kind"]
    assert str(report) and report.to_csv() and report.to_json()


@pytest.mark.parametrize("judged", [{}, {"verdicts": 7}, {"verdicts": [7]}, {"verdicts": [{}]}])
def test_a_void_promotion_is_told_as_void(march, tmp_path, judged):
    """What changed nothing is told as that, whatever it claims was judged."""
    event = {
        "kind": "stage.promoted",
        "must_understand": True,
        "stage": "production",
        "number": 2,
        "nonce": "0" * 16,
        "size": 1,
        "sha256": "0" * 64,
        "judged": judged,
        "replaces": [2],
    }
    forge(tmp_path / "registry", "models/churn/decisions", event)

    report = mv.Registry(march.url).audit()

    assert report.rows[-1].effective is False
    assert report.rows[-1].kind == "stage.promoted"
    assert mv.Registry(march.url)["churn"]["production"].number == 1


# ---- bad input


def test_bad_input_is_refused(march, registry, tmp_path):
    """Unknown models, times that are none, and an empty place."""
    with pytest.raises(ModelNotFoundError, match="did you mean 'fraud'"):
        march.audit(models=["fruad"])
    with pytest.raises(InvalidInputError, match="since"):
        march.audit(since="March")
    with pytest.raises(InvalidInputError, match="until"):
        march.audit(until=7)
    with pytest.raises(NotARegistryError, match="no journal to pin"):
        mv.Registry(tmp_path / "empty").audit()
