"""In an incident, and when it is looked into later: hurried commands and questions about times."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest

import modelversion as mv
from modelversion import __main__
from modelversion.errors import InvalidInputError, ModelNotFoundError, VersionNotFoundError
from modelversion.moments import moment


@pytest.fixture
def root(tmp_path):
    """Where the registry is."""
    return tmp_path / "registry"


@pytest.fixture
def registry(root, clock):
    """Two models with three versions each; 1, then 2 went to production of `churn`."""
    registry = mv.Registry(root, actor="ana@team", clock=clock)
    for name in ("churn", "fraud"):
        for number in (1, 2, 3):
            registry.save(name, {"w": number, "of": name})
    for number in (1, 2):
        registry["churn"][number].promote("production")
    return registry


@pytest.fixture
def run(registry, root, capsys):
    """Run the command line on the registry: exit code, stdout, stderr."""

    def run(*args, at=root):
        code = __main__.main([*args, "--registry", str(at)])
        return code, *capsys.readouterr()

    return run


# ---- the version of another model


@pytest.mark.parametrize("what", ["rollback", "clear_stage"])
@pytest.mark.parametrize("other", ["another model", "another registry"])
def test_a_version_of_another_model_is_refused(registry, tmp_path, what, other):
    """Its number says nothing here: nothing is decided by it."""
    foreign = registry["fraud"][1 if what == "rollback" else 2]
    if other == "another registry":
        away = mv.Registry(tmp_path / "away")
        foreign = away.save("churn", {"w": 9})
        if what == "clear_stage":
            foreign = away.save("churn", {"w": 10})
    churn = registry["churn"]

    with pytest.raises(VersionNotFoundError, match=f"{foreign.ref} is no version of churn"):
        if what == "rollback":
            churn.rollback("production", reason="x", to=foreign)
        else:
            churn.clear_stage("production", reason="x", version=foreign)

    assert churn.stages["production"] == [2]


def test_a_version_of_the_same_model_is_taken(registry):
    """Also one of another handle."""
    churn = registry["churn"]
    again = mv.Registry(registry.url)["churn"]

    assert churn.rollback("production", reason="x", to=again[1]).number == 1
    assert churn.clear_stage("production", reason="x", version=again[1]).kind == "stage.cleared"


@pytest.mark.parametrize("to", [-1, -2, 0])
def test_a_roll_back_does_not_count_from_the_end(registry, to):
    """`-1` is the latest version elsewhere, which is the last that an incident wants back."""
    churn = registry["churn"]
    churn[3].promote("production")
    churn.rollback("production", reason="3 is broken")

    with pytest.raises(InvalidInputError, match=r"to must be the number of a version, found"):
        churn.rollback("production", reason="x", to=to)


def test_a_dry_run_writes_nothing(registry, root):
    """Not even that the model adopts the rules; whoever may only read can ask."""
    before = sorted(root.rglob("*"))

    with pytest.raises(mv.errors.RollbackError, match="nothing was in production at any time"):
        registry["fraud"].rollback("production", reason="x", dry_run=True)
    assert registry["churn"].rollback("production", reason="x", dry_run=True).number == 1

    assert sorted(root.rglob("*")) == before


# ---- the command line


@pytest.mark.parametrize("to", ["1", "v1", "churn:1", "Churn:v1"])
def test_a_number_is_taken_as_references_print_it(run, registry, to):
    """What a dry run has printed can be given back."""
    assert run("rollback", "churn", "production", "--reason", "x", "--to", to)[0] == 0
    assert registry["churn"].stages["production"] == [1]


def test_what_is_there_is_given_as_a_reference_too(run):
    """`--if-current` and `--use-instead` read what `--to` reads."""
    there = ("--if-current", "churn:2")

    assert run("promote", "churn:3", "production", *there)[0] == 0
    assert run("promote", "churn:3", "staging", "--if-current", "none")[0] == 0
    assert run("withdraw", "churn:2", "--reason", "x", "--use-instead", "churn:3")[0] == 0


@pytest.mark.parametrize("to", ["fraud:1", "churn", "-1", "one", "churn@production", "1.0", ""])
@pytest.mark.parametrize(
    "line",
    [
        "rollback churn production --reason x --to",
        "promote churn:3 production --if-current",
        "withdraw churn:3 --reason x --use-instead",
    ],
)
def test_what_is_no_number_of_the_model_is_an_error(run, line, to):
    """Exit code 2 and a line that says what to give."""
    code, out, err = run(*line.split()[:-1], f"{line.split()[-1]}={to}")

    assert code == 2 and not out
    assert "is no version of churn; give its number, such as 3 or churn:3" in err


def test_a_word_for_a_count_is_told_in_words(run, capsys):
    """Not by the name of a function of ours."""
    with pytest.raises(SystemExit):
        run("list", "churn", "--limit", "few")

    assert "'few' is no whole number" in capsys.readouterr().err


def test_a_reference_where_a_model_is_asked_is_told(run):
    """The part that is the model is named."""
    for given in ("churn:2", "churn@production"):
        code, _, err = run("rollback", given, "production", "--reason", "x")

        assert code == 2 and "give the model alone: 'churn'" in err


def test_a_place_without_a_registry_is_said_to_be_none(run, tmp_path):
    """A typo in a path must not read as a registry without models."""
    nowhere = tmp_path / "modles"

    code, out, _ = run("list", at=nowhere)
    assert code == 0 and "no registry is here yet" in out
    for command in (("rollback", "churn", "production", "--reason", "x"), ("show", "churn:1")):
        code, _, err = run(*command, at=nowhere)
        assert code == 2 and "there is no registry at" in err and "modles" in err
    with pytest.raises(ModelNotFoundError, match="there is no registry at"):
        mv.Registry(nowhere)["churn"]
    assert not nowhere.exists()


# ---- times


def test_an_audit_that_ends_before_it_begins_is_refused(run, registry):
    """Swapped dates must not read as a month in which nothing was done."""
    with pytest.raises(InvalidInputError, match=r"since .* is after until"):
        registry.audit(since="2026-12-01", until="2026-11-01")

    assert run("audit", "--since", "2026-12-01", "--until", "2026-11-01")[0] == 2
    assert registry.audit(since="2026-11-01", until="2026-11-01").rows


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2026-11-01", "2026-11-01T00:00:00.000000Z", "2026-11-01T23:59:59.999999Z"),
        ("20261101", "2026-11-01T00:00:00.000000Z", "2026-11-01T23:59:59.999999Z"),
        ("2026-11-01T12", "2026-11-01T12:00:00.000000Z", "2026-11-01T12:59:59.999999Z"),
        ("2026-11-01T12:30", "2026-11-01T12:30:00.000000Z", "2026-11-01T12:30:59.999999Z"),
        ("2026-11-01T12:30Z", "2026-11-01T12:30:00.000000Z", "2026-11-01T12:30:59.999999Z"),
        ("2026-11-01 12:30+02:00", "2026-11-01T10:30:00.000000Z", "2026-11-01T10:30:59.999999Z"),
        ("20261101T1230", "2026-11-01T12:30:00.000000Z", "2026-11-01T12:30:59.999999Z"),
        ("2026-11-01T12:30:05Z", "2026-11-01T12:30:05.000000Z", "2026-11-01T12:30:05.999999Z"),
        ("20261101T123005", "2026-11-01T12:30:05.000000Z", "2026-11-01T12:30:05.999999Z"),
        ("2026-11-01T12:30:05-03", "2026-11-01T15:30:05.000000Z", "2026-11-01T15:30:05.999999Z"),
        ("2026-11-01T12:30:05.25Z", "2026-11-01T12:30:05.250000Z", "2026-11-01T12:30:05.250000Z"),
    ],
)
def test_a_time_counts_to_the_end_of_what_was_said(text, first, last):
    """A day to its end, and so a minute and a second: what is printed can be asked for."""
    assert moment(text, "when", end=False) == first
    assert moment(text, "when", end=True) == last


def test_a_datetime_is_taken_as_it_is():
    """It says a microsecond."""
    when = datetime(2026, 11, 1, 12, tzinfo=UTC)

    assert moment(when, "when", end=True) == moment(when, "when", end=False)


@pytest.mark.parametrize("text", ["2026-W48", "2026W48", "2026-W48-3", "2026-W48T12:00"])
def test_a_week_is_no_time(text):
    """Python reads one as its Monday, at the wrong end of what was meant."""
    with pytest.raises(InvalidInputError, match="must be a date"):
        moment(text, "when", end=True)


def test_the_time_that_a_history_prints_is_the_time_to_ask_for(registry, clock):
    """A roll-back in the middle of a second is seen at that second."""
    clock.now = datetime(2026, 11, 5, 3, 0, 0, 400_000, tzinfo=UTC)
    decision = registry["churn"].rollback("production", reason="latency")
    decided = registry["churn"].history()[-1]
    assert decision.number == 1

    printed = str(decided).split()[0]

    assert registry["churn"].at(printed).stages["production"] == [1]


def test_a_moment_to_come_is_told_to_be_open(registry, clock, run):
    """What is known now of the end of today may change until then."""
    churn = registry["churn"]

    today, past = churn.at(clock.now.date()), churn.at(clock.now - timedelta(hours=1))

    assert today.open and not past.open
    assert "not over yet" in str(today) and "not over yet" not in str(past)
    assert today.to_dict()["open"] is True and past.to_dict()["open"] is False


def test_an_audit_tells_where_a_clock_was_behind(registry, clock):
    """Times never go back, so what a slow clock wrote has the time of the entry before it."""
    true = clock.now
    clock.now -= timedelta(days=365)
    registry["churn"][3].promote("production", reason="by a machine whose battery died")

    report = registry.audit()

    (late,) = [row for row in report.rows if row.clock is not None]
    assert late.reason == "by a machine whose battery died"
    assert late.time[:10] == true.date().isoformat() and late.clock[:4] == "2025"
    assert "1 entry, by up to 364 days" in str(report)
    (row,) = [row for row in csv.DictReader(io.StringIO(report.to_csv())) if row["clock"]]
    assert row["clock"] == late.clock and row["reason"] == late.reason


def test_clocks_that_agree_are_not_told_of(registry):
    """Nor is the microsecond by which entries are kept apart."""
    stopped = mv.Registry(registry.url, clock=lambda: datetime(2026, 12, 1, tzinfo=UTC))
    stopped["churn"].set_alias("a", 1)
    stopped["churn"].set_alias("a", 2)

    report = registry.audit()

    assert not [row for row in report.rows if row.clock] and "clocks  " not in str(report)
