"""One model whose journal is broken: the others are told of, and it is never passed over."""

import csv
import io
import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

import modelversion as mv
from modelversion import __main__
from modelversion.errors import BrokenJournalWarning, JournalError, ModelVersionError

LAST = 3  # as many decisions as there are in each model here


def edited(folder):
    """An entry in the middle says another name; the next does not continue it."""
    file = sorted(folder.glob("*.json"))[0]
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data.replace(b"ana@team", b"eva@team"))


def holed(folder):
    """An entry in the middle is gone."""
    sorted(folder.glob("*.json"))[0].unlink()


def garbled(folder):
    """An entry is no JSON."""
    file = sorted(folder.glob("*.json"))[-1]
    file.unlink()
    file.write_bytes(b"\x00" * 100)


def from_the_future(folder):
    """The last entry is of a kind that must be understood, and that a newer release wrote."""
    file = sorted(folder.glob("*.json"))[-1]
    value = json.loads(file.read_bytes())
    value["event"] = {"kind": "stage.teleported", "must_understand": True}
    file.unlink()
    file.write_bytes(json.dumps(value).encode())


def kept(how, where):
    """How many entries of a journal stand before the first in doubt."""
    entries = {"decisions": LAST, "journal": 2, "observations": 2}[where]
    return entries - 1 if how in (garbled, from_the_future) else 0


HOW = [edited, holed, garbled, from_the_future]
WHERE = ["decisions", "journal", "observations"]


def _unbroken(html):
    """Take out the places where a browser may break a long name."""
    return html.replace("<wbr>", "")


@pytest.fixture
def root(tmp_path):
    """Three models with saves, decisions and observations; `fraud` stands between two others."""
    root = tmp_path / "registry"
    registry = mv.Registry(root, actor="ana@team")
    for name in ("churn", "fraud", "spam"):
        for number in (1, 2):
            registry.save(name, {"w": number}, params={"w": number})
        registry[name][1].promote("staging", reason="first")
        registry[name][2].promote("staging", reason="second")
        registry[name][2].observe({"auc": 0.9}, n=10)
        registry[name][2].observe({"auc": 0.8}, n=20)
    return root


@pytest.fixture(params=[pytest.param((h, w), id=f"{h.__name__}-{w}") for h in HOW for w in WHERE])
def broken(root, request):
    """The same, `fraud` broken in one of its journals in one of four ways; and in which."""
    how, where = request.param
    how(root / "models/fraud" / where)
    return mv.Registry(root, actor="eve@team"), where


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
def test_an_audit_reports_the_rest_and_names_the_broken_model(root, how, where):
    """What was done to the others, in full; from where on nothing is known of the broken one."""
    how(root / "models/fraud" / where)
    registry = mv.Registry(root)

    report = registry.audit()

    assert not report and not report.ok
    assert set(report.models) == {"churn", "fraud", "spam"}
    whole = [row.what for row in report.rows if row.model == "churn"]
    assert len(whole) == 1 + 2 + LAST + 2
    assert len([row for row in report.rows if row.model == "spam"]) == len(whole)
    (unread,) = report.unread
    assert unread.key == f"models/fraud/{where}" and (
        "verify" in unread.what or "newer" in unread.what
    )
    told = [row.position for row in report.rows if row.journal == unread.key]
    assert told == list(range(1, kept(how, where) + 1)) and unread.entries == len(told)
    others = {"journal", "decisions", "observations"} - {where}
    assert {row.journal for row in report.rows if row.journal.startswith("models/fraud/")} >= {
        f"models/fraud/{name}" for name in others
    }
    assert report.checkpoint.heads.keys() >= {"models/churn/journal", "models/spam/decisions"}
    assert unread.key not in report.checkpoint.heads


def test_an_audit_of_the_others_alone_fails_too_and_says_why(broken):
    """The whole registry is verified, whatever is listed."""
    registry, where = broken

    report = registry.audit(models=["churn"])

    assert not report and report.models == ("churn",)
    assert f"models/fraud/{where}" in str(report)


def test_each_form_of_an_audit_shows_what_is_broken(broken, tmp_path):
    """Text, HTML, JSON, CSV and Markdown."""
    registry, where = broken
    report = registry.audit()
    key = f"models/fraud/{where}"

    rows = list(csv.DictReader(io.StringIO(report.to_csv())))

    assert key in str(report) and key in _unbroken(report.to_html(tmp_path / "a.html").read_text())
    assert key in report.to_markdown()
    plain = json.loads(report.to_json())
    assert plain["ok"] is False and plain["unread"][0]["key"] == key
    loud = [row for row in rows if row["kind"] == "UNREAD"]
    assert [row["journal"] for row in loud] == [key] and rows[0] == loud[0]
    assert loud[0]["model"] == "fraud" and loud[0]["effective"] == "False"


# ---- what stands before the break ----------------------------------------------------------------


@pytest.fixture
def governed(tmp_path):
    """A model with seven decisions: 1 and 2 went through staging, 1 came back; and its audit."""
    registry = mv.Registry(tmp_path / "whole", actor="ana@team")
    for number in (1, 2):
        registry.save("churn", {"w": number})
    churn = registry["churn"]
    churn[1].promote("staging", reason="first")
    churn[1].promote("production", reason="CR-1")
    churn[2].promote("staging", reason="second")
    churn[2].promote("production", reason="CR-2")
    churn.rollback("production", reason="incident 7")
    churn.set_alias("champion", 1)
    return tmp_path / "whole", registry.audit()


def broken_at(root, target, position, how):
    """Give a copy of a registry, and break one entry of its model's decisions there."""
    shutil.copytree(root, target)
    file = target / f"models/churn/decisions/{position:012}.json"
    data = file.read_bytes()
    file.unlink()
    if how != "holed":
        file.write_bytes(data.replace(b"ana@team", b"eva@team") if how == "edited" else b"{")
    return mv.Registry(target)


@pytest.mark.parametrize("how", ["edited", "holed", "garbled"])
def test_an_audit_tells_what_stands_before_a_broken_entry(governed, tmp_path, how):
    """Each of those entries as a whole audit tells it, and none that is broken or behind."""
    root, before = governed
    decisions = [row for row in before.rows if row.journal.endswith("/decisions")]
    assert len(decisions) == 7

    for position in range(1, 7):  # the last one vouches for the one before it
        report = broken_at(root, tmp_path / str(position), position, how).audit()

        told = [row for row in report.rows if row.journal.endswith("/decisions")]
        assert told == decisions[: position - 1]
        (unread,) = report.unread
        assert unread.entries == position - 1
        assert unread.until == (decisions[position - 2].time if position > 1 else None)
        if position > 1:
            assert f"entries 1 to {position - 1}, until {unread.until}" in str(report)
        assert not report


def test_nothing_is_said_to_be_still_where_it_was_before_the_break(governed, tmp_path):
    """A stay that had not ended by then ends, for the report, with what is known of it."""
    root, before = governed
    registry = broken_at(root, tmp_path / "broken", 6, "garbled")  # the roll-back
    assert [(str(s.number), s.until) for _, s in before.stays if s.until is None] == [
        ("2", None),
        ("1", None),
    ]

    report = registry.audit()

    last = report.unread[0].until
    open_ended = [(s.stage, s.number, s.until, s.ended) for _, s in report.stays if s.cut_off]
    assert open_ended == [("staging", 2, last, None), ("production", 2, last, None)]
    assert not [stay for _, stay in report.stays if stay.until is None]
    assert "still there" not in str(report) and "still there" in str(before)
    assert str(report).count("UTC (what came later is not known)") == 2
    plain = json.loads(report.to_json())
    assert [stay.get("cut_off") for stay in plain["stays"]].count(True) == 2
    assert (plain["unread"][0]["entries"], plain["unread"][0]["until"]) == (5, last)
    (loud, *_) = csv.DictReader(io.StringIO(report.to_csv()))
    assert (loud["kind"], loud["position"]) == ("UNREAD", "6") and last in loud["what"]
    html = _unbroken(report.to_html(tmp_path / "a.html").read_text())
    assert html.count("what came later is not known") == 3 and "entries 1 to 5" in html


def test_an_audit_of_a_time_behind_the_break_tells_nothing_of_it(governed, tmp_path):
    """No stay goes on into a time of which nothing is known."""
    root, _ = governed
    registry = broken_at(root, tmp_path / "broken", 6, "garbled")

    report = registry.audit(since="2199-01-01")

    assert not report and not report.stays and not report.rows
    assert report.unread[0].entries == 5


def test_a_model_s_own_history_is_refused_where_it_is_broken(governed, tmp_path):
    """What a part of a journal leads to could be taken for what is so today."""
    root, _ = governed
    churn = broken_at(root, tmp_path / "broken", 6, "garbled")["churn"]

    for look in (churn.history, lambda: churn.at("2020-01-01").stages):
        with pytest.raises(ModelVersionError, match="entry 6"):
            look()


def test_a_handle_that_saw_other_entries_tells_none_of_them(governed, tmp_path):
    """Of a journal that was rewritten behind its back nobody can tell which part was."""
    root, _ = governed
    shutil.copytree(root, tmp_path / "cut")
    registry = mv.Registry(tmp_path / "cut")
    registry["churn"].history()
    (tmp_path / "cut/models/churn/decisions/000000000007.json").unlink()

    report = registry.audit()

    assert not [row for row in report.rows if row.journal.endswith("/decisions")]
    assert report.unread[0].entries == 0 and "rewritten" in report.unread[0].what


def test_merges_tell_what_stands_before_a_break(merges):
    """An entry that a merge holds is not lost with its file."""
    registry = mv.Registry("memory://long", actor="ana@team")
    registry.save("churn", {"w": 1})
    for i in range(40):
        registry["churn"].set_alias(f"a{i}", 1)
    merges()
    for position in (7, 36):
        registry._home.store.remove(f"models/churn/decisions/{position:012}.json")

    report = mv.Registry("memory://long").audit(models=["churn"])

    decisions = [row for row in report.rows if row.journal.endswith("/decisions")]
    assert [row.position for row in decisions] == list(range(1, 36))
    assert [unread.entries for unread in report.unread] == [35]


def test_events_are_those_of_the_rest_and_a_warning(broken):
    """The broken journal is named, and its events come once it is mended."""
    registry, where = broken

    with pytest.warns(BrokenJournalWarning, match=f"models/fraud/{where}"):
        events = registry.events()

    assert {event.model for event in events} >= {"churn", "spam"}
    assert [problem.key for problem in events.problems] == [f"models/fraud/{where}"]
    assert f"models/fraud/{where}" in str(events)


def test_a_cursor_waits_for_a_broken_journal(root, tmp_path):
    """What was read before stays read; what was not is given once the journal is whole again."""
    registry = mv.Registry(root)
    cursor = registry.events().cursor
    registry["fraud"][1].promote("production", reason="while nobody looked")
    registry["churn"][1].promote("production")
    file = sorted((root / "models/fraud/decisions").glob("*.json"))[-1]
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(b"{")
    with pytest.warns(BrokenJournalWarning):
        seen = mv.Registry(root).events(since=cursor)
    assert [event.model for event in seen] == ["churn"]
    file.unlink()
    file.write_bytes(data)

    after = mv.Registry(root).events(since=seen.cursor)

    assert [event.model for event in after] == ["fraud"] and not after.problems


def test_a_registry_at_a_moment_gives_the_rest(broken):
    """The others are there, the broken one raises when it is asked for, and is named."""
    registry, where = broken
    if where == "observations":  # a moment does not need them
        assert set(registry.at("2199-01-01").to_dict()["models"]) == {"churn", "fraud", "spam"}
        return

    then = registry.at("2199-01-01")

    assert then["churn"].stages["staging"] == [2]
    with pytest.raises(ModelVersionError, match="fraud"):
        then["fraud"].to_dict()
    plain = then.to_dict()
    assert set(plain["models"]) == {"churn", "spam"}
    assert [problem["key"] for problem in plain["broken"]] == [f"models/fraud/{where}"]
    assert "spam at" in str(then)
    # What is shown in short is of the decisions alone.
    assert (f"models/fraud/{where}" in str(then)) is (where == "decisions")


def test_a_search_gives_the_rest_and_a_warning(broken):
    """Rows of the others; the broken one is named in what is shown."""
    registry, where = broken
    if where == "observations":
        assert len(registry.search()) == 6
        return

    with pytest.warns(BrokenJournalWarning, match=f"models/fraud/{where}"):
        found = registry.search(where="params.w = 2")

    assert [version.ref for version in found] == ["churn:2", "spam:2"]
    assert f"models/fraud/{where}" in str(found) and "models/fraud" in _unbroken(
        found._repr_html_()
    )
    assert [problem.key for problem in found[:1].problems] == [f"models/fraud/{where}"]


def test_the_versions_of_a_broken_model_are_refused(broken):
    """Asked for by name there is no rest to give."""
    registry, where = broken
    if where == "observations":  # versions do not need them
        assert len(registry["fraud"].versions()) == 2
        return

    with pytest.raises(ModelVersionError):
        registry["fraud"].versions()


def test_a_registry_shows_the_rest_and_names_what_is_broken(broken):
    """In a notebook and as text; usage too."""
    registry, where = broken
    if where == "observations":  # neither needs them
        assert not registry.usage().problems
        return

    shown, usage = str(registry), registry.usage()

    for text in (shown, str(usage)):
        assert "churn" in text and "spam" in text and "cannot be read" in text
    assert set(usage.models) == {"churn", "spam"}
    assert [problem.key for problem in usage.problems] == [f"models/fraud/{where}"]


def test_verify_names_the_entry_and_checks_the_rest(broken):
    """All versions but those of the broken model are read."""
    registry, where = broken

    report = registry.verify()

    assert not report and report.versions == 4
    assert {problem.key.rsplit("/", 1)[0] for problem in report.problems} == {
        f"models/fraud/{where}"
    }


def _claims(root):
    """Numbers of each model that were claimed and never committed, with a file in each."""
    for name in ("churn", "fraud", "spam"):
        folder = root / f"models/{name}/versions/3"
        folder.mkdir()
        claim = (folder.parent / "2/claim.json").read_bytes()
        (folder / "claim.json").write_bytes(claim.replace(b'"number":2', b'"number":3'))
        (folder / "left.bin").write_bytes(b"left")


def test_gc_clears_the_rest_and_leaves_a_broken_model_alone(broken, root):
    """Nothing is removed by a journal that cannot be read, which is told; others are cleared."""
    registry, where = broken
    _claims(root)
    if where == "observations":  # no byte depends on them
        assert len(registry.gc(older_than=timedelta(0)).abandoned) == 3
        return
    before = {path: path.read_bytes() for path in (root / "models/fraud").rglob("*.*")}
    unclaimed = [root / f"models/{name}/versions/7" for name in ("fraud", "churn")]
    for folder in unclaimed:
        folder.mkdir()

    with pytest.warns(BrokenJournalWarning, match=f"cleared of models/fraud/{where}"):
        report = registry.gc(older_than=timedelta(0))

    assert report.abandoned == ("churn:3", "spam:3")
    assert {path: path.read_bytes() for path in (root / "models/fraud").rglob("*.*")} == before
    assert [folder.exists() for folder in unclaimed] == [True, False]
    assert [problem.key for problem in report.problems] == [f"models/fraud/{where}"]
    assert f"models/fraud/{where}" in str(report)
    with pytest.raises(ModelVersionError):
        registry["fraud"].gc(older_than=timedelta(0))


def test_a_claim_that_cannot_be_read_is_named_and_left(root):
    """Its age is not known, and the other models are cleared."""
    _claims(root)
    claim = root / "models/fraud/versions/3/claim.json"
    claim.write_bytes(b"{}")

    with pytest.warns(BrokenJournalWarning, match=r"versions/3/claim\.json"):
        report = mv.Registry(root).gc(older_than=timedelta(0))

    assert report.abandoned == ("churn:3", "spam:3")
    assert claim.with_name("left.bin").exists()
    (problem,) = mv.Registry(root).verify().problems
    assert problem.key == "models/fraud/versions/3/claim.json"


def test_lineage_goes_on_without_a_broken_model(root):
    """What it has of the lineage is said to be missing; its own lineage is refused."""
    registry = mv.Registry(root)
    registry.save("churn", {"w": 3}, parents=["fraud:2", "spam:1"])
    garbled(root / "models/fraud/decisions")
    registry = mv.Registry(root)

    with pytest.warns(BrokenJournalWarning, match="lineage is without models/fraud/decisions"):
        found = registry.get("churn:3").lineage()

    assert set(found.ancestors) == {"fraud:2", "spam:1"}
    assert {node.name: node.detail for node in found.nodes}["fraud:2"] == "cannot be read"
    assert [problem.key for problem in found.problems] == ["models/fraud/decisions"]
    assert "models/fraud/decisions" in str(found)
    with pytest.raises(ModelVersionError, match="models/fraud/decisions"):
        registry["fraud"].lineage()


def test_a_policy_reaches_the_others_before_it_is_said_that_one_is_broken(root):
    """A broken model in the middle does not leave those behind it without the policy."""
    edited(root / "models/fraud/decisions")
    registry = mv.Registry(root, actor="eve@team")

    with pytest.raises(JournalError, match="fraud"):
        registry.set_policy("production", approvals=1)

    for name in ("churn", "spam"):
        assert registry[name].history()[-1].kind == "policy.adopted"


@pytest.fixture
def run(root, capsys, monkeypatch, tmp_path):
    """Run the command line on the registry: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        code = __main__.main([*args, "--registry", str(root)])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize("form", __main__.FORMATS)
@pytest.mark.parametrize("command", ["audit", "events", "gc", "list", "verify"])
def test_each_command_fails_shows_the_rest_and_names_it(run, root, command, form):
    """Exit code 1, whatever the form."""
    edited(root / "models/fraud/decisions")

    code, out, _ = run(command, "--format", form)

    assert code == 1
    assert "fraud" in out and "does not continue" in out
    assert command in ("gc", "verify") or ("churn" in out and "spam" in out)


def test_an_audit_writes_its_files_all_the_same(run, root):
    """An HTML and a CSV file that name what is missing."""
    edited(root / "models/fraud/decisions")

    assert run("audit", "--html", "a.html", "--csv", "a.csv")[0] == 1

    for name in ("a.html", "a.csv"):
        text = _unbroken(Path(name).read_text())
        assert "models/fraud/decisions" in text and "churn" in text


@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
def test_an_audit_of_a_registry_whose_own_journal_is_broken(root, how):
    """Its models are those of the folders, and all that they say is reported."""
    how(root / "policies")
    registry = mv.Registry(root)

    report = registry.audit()

    assert not report and [problem.key for problem in report.unread] == ["policies"]
    assert {row.model for row in report.rows} == {"churn", "fraud", "spam"}
    created = 1 if how in (garbled, from_the_future) else 0
    assert len(registry.audit(models=["churn"])) == created + 2 + LAST + 2
