"""The command line: every command in every format, its exit codes, and what it says on errors."""

import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import modelversion as mv
from modelversion import __main__, commands


@pytest.fixture
def url(registry):
    """Three versions, a policy, staging and an approval; production takes an auc of 0.85."""
    for auc in (0.8, 0.9, 0.95):
        registry.save("churn", {"auc": auc}, metrics={"auc": auc}, params={"C": (1, float("nan"))})
    registry.save("fraud", {"w": 1}, tags={"team": "risk"})
    registry.set_policy("production", after="staging", gates=[mv.gates.at_least("auc", 0.85)])
    for number in (1, 2, 3):
        registry["churn"][number].promote("staging")
    registry["churn"].set_alias("champion", 2)
    return registry.url


@pytest.fixture
def run(url, capsys):
    """What runs a command on the registry and gives its exit code and what it printed."""

    def go(*argv, form="json", at=url):
        code = __main__.main([*argv, "--registry", at, "--format", form, "--actor", "ci"])
        out = capsys.readouterr()
        if form == "json" and out.out:
            return code, json.loads(out.out), out.err
        return code, out.out, out.err

    return go


# ---- reading


def test_models_are_listed(run):
    """With their latest version, what is in a stage, and aliases."""
    code, found, _ = run("list")

    assert code == 0
    assert found == [
        {
            "model": "churn",
            "versions": 3,
            "latest": 3,
            "stages": {"staging": [3]},
            "aliases": {"champion": 2},
            "broken": [],
        },
        {"model": "fraud", "versions": 1, "latest": 1, "stages": {}, "aliases": {}, "broken": []},
    ]
    assert "champion 2" in run("list", form="text")[1]
    assert "| churn" in run("list", form="markdown")[1]


def test_versions_are_listed(run):
    """By a condition, in an order, with params that JSON cannot say tagged."""
    args = ("list", "churn", "--where", "metrics.auc > 0.85", "--order-by=-metrics.auc")

    code, found, _ = run(*args)

    assert code == 0
    assert [row["number"] for row in found] == [3, 2]
    assert found[0]["metrics.auc"] == 0.95
    assert found[0]["params.C"] == {"$tuple": [1, {"$float": "nan"}]}
    assert len(run(*args, "--limit", "1")[1]) == 1
    assert "0.95" in run(*args, form="text")[1] and "0.95" in run(*args, form="markdown")[1]


def test_a_version_is_shown(run, registry):
    """All that was recorded, and what can change as it is now."""
    registry["churn"][2].note("good")

    code, found, _ = run("show", "churn@champion")

    version = registry["churn"][2]
    assert code == 0
    assert (found["ref"], found["digest"], found["aliases"]) == (
        "churn:2",
        version.digest,
        ["champion"],
    )
    assert found["record"]["metrics"]["auc"]["value"] == 0.9
    assert found["notes"][0]["text"] == "good" and found["withdrawn"] is None
    assert version.digest[:8] in run("show", "churn:2", form="text")[1]
    assert "churn:2" in run("show", "churn:2", form="markdown")[1]


def test_two_versions_are_compared(run):
    """What changed since an earlier one."""
    code, found, _ = run("diff", "churn:3", "churn:1")

    assert code == 0 and found
    for form in ("text", "markdown"):
        assert "0.95" in run("diff", "churn:3", "churn:1", form=form)[1]


def test_decisions_are_shown(run):
    """All of a model's, or those on a stage."""
    code, found, _ = run("history", "churn")

    assert code == 0
    assert [row["kind"] for row in found] == [
        "policy.adopted",
        *["stage.promoted"] * 3,
        "alias.set",
    ]
    assert len(run("history", "churn", "staging")[1]) == 3
    assert "promoted churn:3 to staging" in run("history", "churn", form="text")[1]
    assert "promoted churn:3 to staging" in run("history", "churn", form="markdown")[1]


def test_events_are_polled(run):
    """A cursor goes from one job to the next."""
    code, first, _ = run("events", "--limit", "3")
    _, rest, _ = run("events", "--since", first["cursor"])

    assert code == 0
    assert [e["kind"] for e in first["events"]][:2] == ["model.created", "version.committed"]
    assert [e["kind"] for e in rest["events"]][-1] == "alias.set"
    assert len(first["events"]) == 3 and len(rest["events"]) == 10
    assert rest["cursor"] in run("events", "--since", first["cursor"], form="text")[1]
    assert run("events", "--since", rest["cursor"])[1]["events"] == []


# ---- deciding


def test_a_check_passes_or_fails(run):
    """Exit code 1 when a gate fails, with a line for each gate in any format."""
    code, found, err = run("check", "churn:1", "production")

    assert (code, found["passed"], err) == (1, False, "")
    assert run("check", "churn:2", "production")[0] == 0
    for form in ("text", "markdown"):
        code, text, _ = run("check", "churn:1", "production", form=form)
        assert code == 1
        assert "auc at least 0.85" in text and "auc is 0.8" in text


def test_a_promotion_is_done_or_refused(run, registry):
    """A gate that fails is exit code 1 and its report, and nothing is promoted."""
    code, found, err = run("promote", "churn:1", "production", "--reason", "r")

    assert (code, found["passed"], err) == (1, False, "")
    assert registry["churn"].stages["production"] == []
    code, found, _ = run("promote", "churn:2", "production", "--reason", "CR-118")
    assert (code, found["kind"], found["reason"]) == (0, "stage.promoted", "CR-118")
    assert found["actor"]["name"] == "ci"
    assert registry["churn"]["production"].number == 2


def test_a_promotion_can_name_what_it_replaces(run, registry):
    """`--if-current` refuses when another is there, which is an error."""
    assert run("promote", "churn:2", "production", "--if-current", "none")[0] == 0
    code, out, err = run("promote", "churn:3", "production", "--if-current", "1")

    assert (code, out) == (2, "") and "churn:2" in err
    assert run("promote", "churn:3", "production", "--if-current", "2")[0] == 0


def test_an_override_is_recorded(run, registry):
    """With its reason."""
    code, found, _ = run("promote", "churn:1", "production", "--override", "--reason", "incident 7")

    assert (code, found["override"]) == (0, True)
    assert registry["churn"]["production"].number == 1


def test_a_promotion_across_registries_is_one_command(run, registry, tmp_path):
    """The version is copied and promoted there, under the policies of there."""
    target = str(tmp_path / "prod")

    code, found, _ = run("promote", "churn:2", "staging", "--to", target, "--reason", "release")

    assert (code, found["kind"]) == (0, "stage.promoted")
    there = mv.Registry(target)["churn"]["staging"]
    assert there.digest == registry["churn"][2].digest
    assert run("promote", "churn:2", "production", "--to", target)[0] == 0
    assert len(mv.Registry(target)["churn"]) == 1


def test_versions_are_approved_and_rejected(run, registry):
    """By the actor that the job names."""
    assert run("approve", "churn:2", "production", "--reason", "fine")[0] == 0
    code, found, _ = run("reject", "churn:3", "production", "--reason", "no")

    assert (code, found["kind"]) == (0, "version.rejected")
    assert run("check", "churn:3", "production")[0] == 1


def test_a_stage_is_rolled_back(run, registry):
    """To what was there before; a dry run only tells."""
    for number in ("2", "3"):
        run("promote", f"churn:{number}", "production")

    code, found, _ = run("rollback", "churn", "production", "--reason", "slow", "--dry-run")
    assert (code, found["target"], found["dry_run"]) == (0, "churn:2", True)
    assert registry["churn"]["production"].number == 3
    assert run("rollback", "churn", "production", "--reason", "slow")[0] == 0
    assert registry["churn"]["production"].number == 2
    assert run("rollback", "churn", "production", "--reason", "slow", "--to", "3")[0] in (0, 2)


def test_versions_are_copied(run, registry, tmp_path):
    """Each with its number there."""
    target = str(tmp_path / "prod")

    code, found, _ = run("copy", "churn:2", "fraud:1", "--to", target)

    assert code == 0
    assert [(row["from"], row["to"]) for row in found] == [
        ("churn:2", "churn:1"),
        ("fraud:1", "fraud:1"),
    ]
    assert mv.Registry(target).verify()


# ---- upkeep


def test_a_registry_is_verified(run, registry, tmp_path):
    """Exit code 1 when something is broken, with its key."""
    code, found, _ = run("verify")
    assert (code, found["ok"], found["versions"]) == (0, True, 4)
    assert run("verify", "churn")[1]["versions"] == 3
    assert run("verify", "churn:2")[1]["versions"] == 1
    file = tmp_path / "registry/models/churn/versions/2/object/object.pkl"
    file.unlink()

    code, found, err = run("verify")

    assert (code, found["ok"], err) == (1, False, "")
    assert found["problems"][0]["key"] == "models/churn/versions/2/object/object.pkl"
    assert run("verify", "churn:2")[0] == 1 and run("verify", "churn:1")[0] == 0
    for form in ("text", "markdown"):
        assert "object.pkl" in run("verify", form=form)[1]


def test_a_checkpoint_is_pinned_and_held_against(run, tmp_path):
    """What the job of yesterday wrote finds what is gone today."""
    file = tmp_path / "checkpoint.txt"
    code, found, _ = run("checkpoint", "--output", str(file))
    assert (code, file.read_text()) == (0, found["text"])
    assert run("checkpoint", form="text")[1].count("\n") == 3
    assert run("verify", "--since", str(file))[0] == 0
    last = sorted((tmp_path / "registry/models/churn/decisions").glob("*.json"))[-1]
    last.unlink()

    assert run("verify")[0] == 0
    code, found, _ = run("verify", "--since", str(file))
    assert (code, found["problems"][0]["key"]) == (1, f"models/churn/decisions/{last.name}")
    assert run("verify", "churn", "--since", str(file))[0] == 2
    assert run("checkpoint", "--output", str(tmp_path))[0] == 2


def test_an_audit_is_written(run, tmp_path):
    """To stdout and to files; of some models, in some time."""
    html, table = tmp_path / "a.html", tmp_path / "a.csv"

    code, found, _ = run("audit", "churn", "--html", str(html), "--csv", str(table))

    assert code == 0 and found["models"] == ["churn"] and found["verified"]["ok"]
    assert "<html" in html.read_text("utf-8") and table.read_text("utf-8").startswith("time,")
    assert run("audit", "--until", "2020-01-01")[1]["entries"] == []
    assert (
        "Audit of" in run("audit", form="text")[1]
        and "Audit of" in run("audit", form="markdown")[1]
    )
    assert run("audit", "--since", "yesterday")[0] == 2
    assert run("audit", "--html", str(tmp_path))[0] == 2


def test_an_audit_of_what_is_broken_is_exit_code_1(run, tmp_path):
    """The report is there all the same."""
    (tmp_path / "registry/models/churn/versions/2/claim.json").unlink()

    code, found, _ = run("audit")

    assert code == 1 and found["entries"] and not found["verified"]["ok"]


def test_what_crashes_left_is_cleared(run, registry, tmp_path):
    """Or only told."""
    folder = tmp_path / "registry/models/churn/versions/4"
    folder.mkdir()
    (folder / "claim.json").write_bytes(
        (folder.parent / "3/claim.json").read_bytes().replace(b'"number":3', b'"number":4')
    )

    code, found, _ = run("gc", "--older-than", "0", "--dry-run")
    assert (code, found["abandoned"], found["dry_run"]) == (0, ["churn:4"], True)
    assert run("gc", "--older-than", "0")[1]["abandoned"] == ["churn:4"]
    assert run("gc")[1] == {"abandoned": [], "removed": [], "dry_run": False}


# ---- errors and forms


def test_an_incident_is_handled_from_a_terminal(run, registry):
    """Roll back, withdraw, freeze, tell why, and open again: each is a command, and recorded."""
    churn = registry["churn"]
    for number in (2, 3):
        run("promote", f"churn:{number}", "production", "--reason", f"CR-{number}")
    assert "promoted churn:3 to production" in run("explain", "churn", "production", form="text")[1]
    run("rollback", "churn", "production", "--reason", "incident 7")
    assert run("clear", "churn", "staging", "--reason", "end of the pilot")[0] == 0
    code, found, _ = run("withdraw", "churn:3", "--reason", "leak", "--use-instead", "2")
    assert code == 0
    assert found == {"ref": "churn:3", "withdrawn": "leak", "stages": []}
    run("freeze", "churn", "production", "--reason", "incident 7", "--until", "2999-01-01")

    assert run("promote", "churn:3", "production", "--override", "--reason", "r")[0] == 1
    assert "no override lets it in" in run("check", "churn:3", "production", form="text")[1]
    assert run("explain", "churn", "production")[1]["live"] == [3]
    said = run("explain", "churn", "production", form="text")[1]
    assert "rolled production back to churn:2 instead of churn:3: incident 7" in said
    assert run("unfreeze", "churn", "production", "--reason", "fixed")[0] == 0
    assert run("restore", "churn:3", "--reason", "it was not that")[1]["withdrawn"] is None
    assert churn.stages == {"development": [], "staging": [], "production": [2]}
    assert {d.actor.name for d in churn.history()[-7:]} == {"ci"}


def test_what_was_live_is_told_from_a_terminal(run, registry):
    """As of any moment, in every form."""
    run("promote", "churn:2", "production", "--reason", "r")
    then = registry["churn"].history()[-1].time
    run("promote", "churn:3", "production", "--reason", "r")

    code, found, _ = run("at", "churn", then)

    assert code == 0 and found["stages"]["production"] == [2]
    assert "production: 2" in run("at", "churn", then, form="text")[1]
    assert "production: 3" in run("at", "churn", "2999-01-01", form="markdown")[1]


def test_a_decision_that_comes_out_otherwise_is_exit_code_1(run, monkeypatch):
    """An auditor's script notices."""
    monkeypatch.setattr("modelversion.replay._otherwise", lambda *args: iter(["it differs"]))

    assert run("explain", "churn", "staging")[0] == 1
    assert "DIFFERS  it differs" in run("explain", "churn", "staging", form="text")[1]


# Command line -> exit code; each command at least once, each code that it may give.
OUTCOMES = {
    "list": 0,
    "list churn": 0,
    "list nothing": 2,
    "show churn:2": 0,
    "show churn:9": 2,
    "diff churn:3 churn:1": 0,
    "diff churn:3 churn:9": 2,
    "history churn": 0,
    "history churn qa": 2,
    "at churn 2999-01-01": 0,
    "at churn yesterday": 2,
    "explain churn staging": 0,
    "explain churn staging --position 2": 0,
    "explain churn production": 2,
    "explain churn staging --position 99": 2,
    "freeze churn production --reason r": 0,
    "freeze churn production --reason r --until 2001-01-01": 2,
    "unfreeze churn production --reason r": 2,
    "clear churn staging --reason r": 0,
    "clear churn production --reason r": 2,
    "withdraw churn:1 --reason r --use-instead 2": 0,
    "withdraw churn:9 --reason r": 2,
    "restore churn:1 --reason r": 2,
    "events": 0,
    "events --since nonsense": 2,
    "check churn:3 production": 0,
    "check churn:1 production": 1,
    "check churn:3 qa": 2,
    "promote churn:3 production --reason r": 0,
    "promote churn:1 production --reason r": 1,
    "promote churn:3 production --if-current 1": 2,
    "promote churn:1 production --override": 2,
    "approve churn:3 production --reason r": 0,
    "approve churn:9 production --reason r": 2,
    "reject churn:3 production --reason r": 0,
    "reject churn:3 qa --reason r": 2,
    "rollback churn staging --reason r": 0,
    "rollback churn production --reason r": 2,
    "copy churn:3 --to memory://prod": 0,
    "copy churn:9 --to memory://prod": 2,
    "verify": 0,
    "verify churn": 0,
    "verify churn:3": 0,
    "verify --since missing.txt": 2,
    "checkpoint": 0,
    "checkpoint --output missing/file": 2,
    "audit": 0,
    "audit nothing": 2,
    "gc --dry-run": 0,
    "gc --older-than 1": 0,
}


@pytest.mark.parametrize("form", __main__.FORMATS)
@pytest.mark.parametrize(("line", "code"), OUTCOMES.items(), ids=OUTCOMES)
def test_every_command_answers_in_every_form(run, line, code, form):
    """The same exit code whatever the form; a report is on stdout, an error a line on stderr."""
    found, out, err = run(*line.split(), form=form)

    assert found == code
    assert bool(out) == (code != 2)
    assert err.count("\n") == (code == 2) and bool(err) == (code == 2)
    if form == "markdown" and code != 2:
        assert out.lstrip().startswith(("#", "|", "*", "`"))


@pytest.mark.parametrize("line", ["verify", "audit", "verify churn", "verify churn:2"])
@pytest.mark.parametrize("form", __main__.FORMATS)
def test_what_is_broken_is_exit_code_1_in_every_form(run, url, line, form):
    """A flipped byte fails whatever looks at it, and is named."""
    file = Path(url) / "models/churn/versions/2/object/object.pkl"
    file.unlink()
    file.write_bytes(b"other")

    code, out, _ = run(*line.split(), form=form)

    assert code == 1
    assert "object.pkl" in str(out)


@pytest.mark.parametrize("form", __main__.FORMATS)
def test_an_audit_of_a_broken_journal_tells_what_is_broken(run, url, form, tmp_path):
    """An edited entry is exit code 1 too, with the entry that does not fit; files say so too."""
    file = Path(url) / "models/churn/decisions/000000000003.json"
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data.replace(b"ana@team", b"eva@team"))

    html = tmp_path / "a.html"

    code, out, err = run("audit", "--html", str(html), form=form)

    assert code == 1 and not err
    assert "entry 4 does not continue entry 3" in html.read_text()
    assert "entry 4 does not continue entry 3" in str(out)


def test_every_command_is_among_them():
    """Whoever adds a command says here how it ends."""
    assert {line.split()[0] for line in OUTCOMES} == {name for name, _, _ in __main__._COMMANDS}


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("show", "chrun:1"), "did you mean 'churn'"),
        (("show", "churn:9"), "no version churn:9"),
        (("check", "churn:1", "prod"), "stages: development, staging, production"),
        (("list", "churn", "--where", "auc >"), "auc"),
        (("list", "--where", "metrics.auc > 0.9"), "say which model"),
        (("list", "--order-by=-metrics.auc"), "say which model"),
        (("list", "--limit", "0"), "say which model"),
        (("approve", "churn:1", "production", "--reason", " "), "reason"),
        (("events", "--since", "mv1.x"), "no cursor"),
        (("copy", "churn:1", "--to", "nowhere://x"), "nowhere"),
        (("history", "churn", "prod"), "no stage 'prod'"),
        (
            ("rollback", "churn", "staging", "--reason", "r", "--if-current", "churn:1"),
            "staging holds churn:3",
        ),
    ],
)
def test_an_error_is_a_line_on_stderr(run, argv, says):
    """Exit code 2, nothing on stdout, and no traceback."""
    code, out, err = run(*argv)

    assert (code, out) == (2, "")
    assert err.startswith("modelversion: error: ") and err.count("\n") == 1
    assert says in err and "Traceback" not in err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["frobnicate"],
        ["check", "churn:1"],
        ["approve", "churn:1", "production"],
        ["gc", "--older-than", "-1"],
        ["gc", "--older-than", "nan"],
        ["list", "--limit", "x"],
        ["list", "--format", "yaml"],
    ],
)
def test_a_wrong_call_is_exit_code_2(capsys, argv):
    """With the usage."""
    with pytest.raises(SystemExit) as caught:
        __main__.main(argv)

    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert "usage: modelversion" in err and "_hours" not in err


def test_options_may_stand_before_and_after_a_command(url, capsys):
    """As one is used to write them."""
    for argv in (["--registry", url, "list"], ["list", "--registry", url]):
        assert __main__.main(argv) == 0
        assert "churn" in capsys.readouterr().out


def test_warnings_are_lines_too(run, registry):
    """What a command warns of is on stderr, and stdout is JSON all the same."""
    registry["churn"][2].withdraw(reason="bad labels")
    run("promote", "churn:3", "production")

    code, found, err = run("copy", "churn:2", "--to", "memory://copies")

    assert code == 0 and isinstance(found, list)
    assert all(line.startswith("modelversion: ") for line in err.splitlines())


def test_hostile_text_does_not_reach_the_terminal(run, registry, capsys):
    """Control characters of a reason or a note are never printed."""
    registry["churn"][1].note("\x1b[2J\x07")
    registry["churn"][1].promote("development", reason="\x1b[2J::error::x")

    for argv in (["show", "churn:1"], ["history", "churn"], ["audit"], ["events"]):
        for form in ("text", "markdown", "json"):
            code = __main__.main([*argv, "--registry", registry.url, "--format", form])
            assert code == 0
            assert not {"\x1b", "\x07"} & set(capsys.readouterr().out)
    assert "\x1b" not in run("show", "churn:\x1b[2J")[2]


def test_plain_text_in_a_fence_cannot_end_it():
    """Markdown of what has no display of its own stays one block."""
    text = commands.markdown("a\n```\n# evil\n````")

    assert text.startswith("`````text\n") and text.endswith("\n`````")


def test_it_runs_as_a_module(url, tmp_path):
    """`python -m modelversion` finds the default registry."""
    done = subprocess.run(
        [sys.executable, "-m", "modelversion", "list", "--format", "json"],
        cwd=tmp_path,
        env={**os.environ, "MODELVERSION_REGISTRY": url},
        capture_output=True,
        check=False,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert [row["model"] for row in json.loads(done.stdout)] == ["churn", "fraud"]


def test_it_is_a_script_too():
    """The wheel has a `modelversion` that is the same."""
    project = tomllib.loads((Path(mv.__file__).parent.parent / "pyproject.toml").read_text("utf-8"))

    module, _, name = project["project"]["scripts"]["modelversion"].partition(":")
    assert getattr(importlib.import_module(module), name) is __main__.main


def test_a_reader_that_has_seen_enough_is_no_error(url, tmp_path):
    """`modelversion history | head -1` ends quietly."""
    done = subprocess.run(
        f"{sys.executable} -m modelversion history churn --registry {url} | true",
        cwd=tmp_path,
        shell=True,
        capture_output=True,
        check=False,
        text=True,
    )

    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


PAGE = Path(mv.__file__).parent.parent / "docs" / "reference" / "command-line.md"


def test_every_command_and_option_is_documented():
    """The reference names each of them."""
    page = PAGE.read_text("utf-8")

    for name, _, arguments in __main__._COMMANDS:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name} ")][:1] or [
            line for line in page.splitlines() if line.startswith(f"| `{name}`")
        ]
        rows = "".join(line for line in page.splitlines() if line.startswith(f"| `{name}"))
        assert row
        for flags, options in arguments:
            shown = flags[0] if flags[0].startswith("--") else options["metavar"]
            assert shown in rows, (name, flags)


def test_every_field_of_the_json_is_documented(run, tmp_path):
    """What a command gives has a name on the page, so that scripts may rest on it."""
    page = PAGE.read_text("utf-8")
    commands_run = [
        ("list",),
        ("show", "churn:2"),
        ("events",),
        ("at", "churn", "2999-01-01"),
        ("explain", "churn", "staging"),
        ("check", "churn:1", "production"),
        ("rollback", "churn", "staging", "--reason", "r", "--dry-run"),
        ("copy", "churn:2", "--to", str(tmp_path / "prod")),
        ("verify",),
        ("checkpoint",),
        ("audit",),
        ("gc",),
    ]

    for argv in commands_run:
        _, found, _ = run(*argv)
        first = found[0] if isinstance(found, list) else found
        missing = [name for name in first if f"`{name}`" not in page]
        assert missing == [], argv
