"""The gate over what production measured: what counts, what passes, and that it replays."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelversion as mv
from modelversion import gates, judging, proof
from modelversion._json import dumps, encode, timestamp
from modelversion.errors import GateFailedError, InvalidInputError, PolicyError, RecordError
from modelversion.gates import gate_from
from modelversion.observed import Asked, measured
from modelversion.verdicts import judge

NAN = float("nan")
DAY = timedelta(days=1)


@pytest.fixture
def registry(tmp_path, clock):
    """An empty registry in a local folder, with a clock of the test's."""
    clock.now = datetime(2026, 11, 20, tzinfo=UTC)
    return mv.Registry(tmp_path / "registry", actor="ana@team", clock=clock)


@pytest.fixture
def served(registry):
    """A version that was measured in two weeks, and in one of them on a slice."""
    version = registry.save("churn", {"w": 1}, metrics={"auc": 0.91})
    version.observe({"auc": 0.88}, n=1000, window=("2026-11-01", "2026-11-08"))
    version.observe({"auc": 0.86}, n=500, window=("2026-11-08", "2026-11-15"))
    version.observe({"auc": 0.71}, n=40, window=("2026-11-08", "2026-11-15"), slice="EU")
    return version


def asked_of(version, gate):
    """Give how a gate of a policy comes out for a version."""
    home = version._line.home
    registry = mv.Registry(home.store.url, actor="ana@team", clock=home.clock)
    registry.set_policy("production", gates=[gate])
    return registry.get(version.ref).check("production").verdicts[-1]


# ---- what counts, and what passes


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        (gates.observed("auc", at_least=0.86), True),
        (gates.observed("auc", at_least=0.8600001), False),
        (gates.observed("auc", at_most=0.86), True),
        (gates.observed("auc", at_most=0.85), False),
        (gates.observed("auc", at_least=0.8, at_most=0.9), True),
        # The newest alone has 500 samples, both weeks together have 1,500.
        (gates.observed("auc", at_least=0.8, n=500), True),
        (gates.observed("auc", at_least=0.8, n=501), False),
        (gates.observed("auc", at_least=0.8, n=1500, window=14 * DAY), True),
        (gates.observed("auc", at_least=0.8, n=1501, window=14 * DAY), False),
        # A week that ended a week before the newest did lies outside of a window of a week.
        (gates.observed("auc", at_least=0.8, n=501, window=7 * DAY), False),
        # Every one within the window has to keep to the bound.
        (gates.observed("auc", at_most=0.87, window=14 * DAY), False),
        (gates.observed("auc", at_most=0.87, window=7 * DAY), True),
        # The newest ended five days ago.
        (gates.observed("auc", at_least=0.8, max_age=4 * DAY), False),
        (gates.observed("auc", at_least=0.8, max_age=6 * DAY), True),
        (gates.observed("auc", at_least=0.7, slice="EU"), True),
        (gates.observed("auc", at_least=0.8, slice="EU"), False),
        (gates.observed("auc", at_least=0, slice="US"), False),
        (gates.observed("f1", at_least=0), False),
    ],
    ids=str,
)
def test_what_was_measured_is_held_against_the_gate(served, gate, passed):
    """Bounds, samples, window, age and slice each decide."""
    assert asked_of(served, gate).passed is passed


def test_the_verdict_says_what_was_found(served):
    """Value, how many measurements and samples, and how old."""
    verdict = asked_of(served, gates.observed("auc", at_least=0.87, window=14 * DAY))

    assert str(verdict) == (
        "FAIL  observed auc at least 0.87, over 14 days: "
        "auc was 0.86 to 0.88 in 2 measurements of 1,500 samples, 5 days ago"
    )


def test_a_version_that_was_never_measured_fails(registry, served):
    """And is told what to do; what was measured of another version does not count."""
    other = registry.save("churn", {"w": 2}, metrics={"auc": 0.99})

    verdict = asked_of(other, gates.observed("auc", at_least=0))

    assert not verdict.passed
    assert "was never observed; observe() the version where it serves first" in verdict.says


def test_the_newest_ends_last_though_it_was_noted_first(served):
    """A measurement of an older week that comes in late changes nothing."""
    served.observe({"auc": 0.1}, n=9, window=("2026-10-01", "2026-10-08"))

    assert asked_of(served, gates.observed("auc", at_least=0.8)).passed


def test_a_window_that_is_measured_again_counts_once(served):
    """With what was measured last."""
    served.observe({"auc": 0.84}, n=700, window=("2026-11-08", "2026-11-15"))

    verdict = asked_of(served, gates.observed("auc", at_least=0.8, window=14 * DAY))

    assert verdict.seen["n"] == 1700
    assert verdict.seen["lowest"] == 0.84


def test_a_window_that_ends_in_the_future_is_as_old_as_its_entry(served, clock):
    """Otherwise one wrong date would count as fresh for ever."""
    served.observe({"auc": 0.99}, window=("2026-11-08", "2099-01-01"))
    clock.now += 10 * DAY

    verdict = asked_of(served, gates.observed("auc", at_least=0.9, max_age=9 * DAY))

    assert not verdict.passed
    assert verdict.seen["until"].startswith("2026-11-20")


def test_mutant_a_future_that_is_believed_is_fresh_for_ever(served, clock, monkeypatch):
    """The mutant that takes the window's word lets the stale version in."""
    from modelversion import observed

    monkeypatch.setattr(observed, "min", max, raising=False)
    served.observe({"auc": 0.99}, window=("2026-11-08", "2099-01-01"))
    clock.now += 10 * DAY

    seen = asked_of(served, gates.observed("auc", at_least=0.9, max_age=9 * DAY)).seen

    assert seen["age_seconds"] < 0


@pytest.mark.parametrize("bound", [{"at_least": -1}, {"at_most": 1}])
def test_nan_never_passes(served, bound):
    """Not even where only one of several is NaN."""
    served.observe({"auc": NAN}, n=10, window=("2026-11-15", "2026-11-16"))

    verdict = asked_of(served, gates.observed("auc", window=30 * DAY, **bound))

    assert not verdict.passed
    assert "nan, which never passes" in verdict.says


def test_samples_that_nobody_counted_are_none(registry):
    """A measurement without n cannot meet an n."""
    version = registry.save("churn", {"w": 1})
    version.observe({"auc": 0.9})

    assert asked_of(version, gates.observed("auc", at_least=0.8)).passed
    assert not asked_of(version, gates.observed("auc", at_least=0.8, n=1)).passed


NUMBERS = st.one_of(st.floats(allow_infinity=True), st.integers(-(2**70), 2**70))
MEASURED = st.tuples(
    NUMBERS, st.none() | st.integers(1, 10**9), st.integers(0, 400), st.sampled_from([None, "EU"])
)


@given(
    st.lists(MEASURED, max_size=12),
    st.none() | st.integers(1, 200),
    st.sampled_from([None, "EU"]),
    st.floats(-10, 10),
)
def test_the_sum_is_what_a_plain_loop_finds(found, days, part, bound):
    """Over any values, samples, ends and slices; and the verdict follows from the sum alone."""
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    entries = []
    for i, (value, n, day, where) in enumerate(found):
        event = {"kind": "observation.added", "number": 1, "metrics": {"auc": encode(value, "v")}}
        event |= {"n": n, "slice": where, "begin": f"{i}", "end": timestamp(begin + day * DAY)}
        entries.append({"event": event, "time": "2026-12-01T00:00:00.000000Z"})
    window = None if days is None else days * DAY
    now = "2026-12-01T00:00:00.000000Z"
    asked = Asked(number=1, metric="auc", slice=part, window=window, now=now)

    seen = measured(entries, asked)
    verdict = judge(gates.observed("auc", at_least=bound), seen)

    mine = [(day, i, value, n) for i, (value, n, day, where) in enumerate(found) if where == part]
    if not mine:
        assert seen == {} and not verdict.passed
        return
    newest = max(mine, key=lambda m: m[:2])
    kept = [newest] if days is None else [m for m in mine if newest[0] - m[0] < days]
    assert seen["count"] == len(kept)
    assert seen["n"] == sum(n or 0 for *_, n in kept)
    assert verdict.passed is all(value >= bound for _, _, value, _ in kept)


# ---- deciding by it, and replaying


def test_a_promotion_records_what_was_read(registry, served):
    """The numbers, and up to where the journal of observations was read."""
    registry.set_policy("production", gates=[gates.observed("auc", at_least=0.8, n=500)])

    served.promote("production")

    judged = registry["churn"].history("production")[-1].event["judged"]
    assert judged["observations"]["position"] == 3
    assert judged["verdicts"][-1]["seen"]["lowest"] == 0.86


def test_a_policy_that_does_not_ask_reads_no_observations(registry, served):
    """And records none."""
    registry.set_policy("production", gates=[gates.at_least("auc", 0.8)])
    served.promote("production")

    assert "observations" not in registry["churn"].history("production")[-1].event["judged"]


def test_a_replay_is_of_that_time(registry, served, clock):
    """What was measured since, and that time has passed, changes nothing."""
    gate = gates.observed("auc", at_least=0.8, max_age=6 * DAY)
    registry.set_policy("production", gates=[gates.any_of(gate, gates.at_least("auc", 1))])
    served.promote("production")
    clock.now += 100 * DAY
    served.observe({"auc": 0.2}, n=9999)

    explained = registry["churn"].history("production")[-1].explain()

    assert not registry["churn"][1].check("production")
    assert explained and explained.replayed[-1].passed
    assert "auc was 0.86 in 1 measurement of 500 samples" in str(explained)
    assert registry.verify(), str(registry.verify())


def test_a_version_that_does_badly_is_refused_or_let_in_by_an_override(registry, served):
    """The refusal names the gate; the override is recorded as one, and replays."""
    registry.set_policy("production", gates=[gates.observed("auc", at_least=0.9)])

    with pytest.raises(GateFailedError, match=r"auc was 0\.86 in 1 measurement"):
        served.promote("production")
    served.promote("production", override=True, reason="incident 7")

    assert all(decision.explain() for decision in registry["churn"].history())
    assert "observed auc at least 0.9" in registry.audit().to_markdown()


def test_many_measurements_are_read_through_merges(registry, clock):
    """Hundreds, by a handle that has seen none of them."""
    version = registry.save("churn", {"w": 1})
    for i in range(70):
        version.observe({"auc": 0.8 + i / 1000}, n=10)
    gate = gates.observed("auc", at_least=0.8, window=DAY, n=700)
    registry.set_policy("production", gates=[gate])

    mv.Registry(registry.url, clock=clock).get("churn:1").promote("production")

    seen = registry["churn"].history("production")[-1].event["judged"]["verdicts"][-1]["seen"]
    assert (seen["count"], seen["n"]) == (70, 700)
    assert mv.Registry(registry.url).verify()


# ---- forging


def _seen(event):
    event["judged"]["verdicts"][-1]["seen"]["lowest"] = 0.99


def _no_observations(event):
    del event["judged"]["observations"]


def _other_observations(event):
    event["judged"]["observations"]["digest"] = "0" * 64


def _later_observations(event):
    event["judged"]["observations"]["position"] = 99


def _no_position(event):
    event["judged"]["observations"] = {"position": [], "digest": None}


FORGERIES = [_seen, _no_observations, _other_observations, _later_observations, _no_position]


def forged(registry, change):
    """Change the promotion and chain it anew, as a forger would."""
    folder = Path(registry.url, "models/churn/decisions")
    path = sorted(folder.glob("0*.json"))[-1]
    entry = json.loads(path.read_bytes())
    change(entry["event"])
    path.write_bytes(dumps(entry))
    shutil.rmtree(folder / "s1", ignore_errors=True)
    return mv.Registry(registry.url)


@pytest.fixture
def promoted(registry, served):
    """A registry whose last decision was made by what production measured."""
    registry.set_policy("production", gates=[gates.observed("auc", at_least=0.8)])
    served.promote("production")
    return registry


@pytest.mark.parametrize("change", FORGERIES, ids=lambda f: f.__name__.strip("_"))
def test_a_forged_measurement_is_found(promoted, change):
    """By verify, which reads the journal of observations up to the position that was named."""
    report = forged(promoted, change).verify()

    assert not report
    assert all("decisions/" in problem.key for problem in report.problems), str(report)


def test_mutant_digests_of_observations_are_not_compared(promoted, monkeypatch):
    """A judge that believes the digest misses the forged one."""
    monkeypatch.setattr(proof, "_names", lambda digests, pin: True)

    assert forged(promoted, _other_observations).verify()


def test_mutant_a_replay_that_does_not_look_again_misses_forged_numbers(promoted, monkeypatch):
    """A replay that takes the measurements from the record believes them."""
    original = judging.decide
    monkeypatch.setattr(
        judging,
        "decide",
        lambda gate, eyes, seen=None: original(gate, eyes) if seen is None else judge(gate, seen),
    )

    assert forged(promoted, _seen).verify()


def test_mutant_a_position_that_is_not_kept_lets_later_measurements_in(promoted, monkeypatch):
    """A replay over all that is there now contradicts what was true then."""
    original = judging.Shelf.measured
    monkeypatch.setattr(judging.Shelf, "measured", lambda self, position: original(self, 10**6))
    promoted["churn"][1].observe({"auc": 0.1})

    assert not mv.Registry(promoted.url).verify()


# ---- bad input


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: gates.observed("auc"), "asks nothing"),
        (lambda: gates.observed("", at_least=1), "metric name"),
        (lambda: gates.observed(5, at_least=1), "metric name"),
        (lambda: gates.observed("auc", at_least=NAN), "at_least must be a finite number"),
        (lambda: gates.observed("auc", at_most="1"), "at_most must be a finite number"),
        (lambda: gates.observed("auc", at_least=True), "at_least must be a finite number"),
        (lambda: gates.observed("auc", at_least=2, at_most=1), "nothing passes"),
        (lambda: gates.observed("auc", at_least=1, n=0), "n must be the number of samples"),
        (lambda: gates.observed("auc", at_least=1, n=1.5), "n must be the number of samples"),
        (lambda: gates.observed("auc", at_least=1, n=True), "n must be the number of samples"),
        (lambda: gates.observed("auc", at_least=1, window=7), "window must be a timedelta"),
        (lambda: gates.observed("auc", at_least=1, window=timedelta(0)), "window must be"),
        (lambda: gates.observed("auc", at_least=1, max_age=-DAY), "max_age must be a timedelta"),
        (lambda: gates.observed("auc", at_least=1, slice=""), "slice name"),
        (lambda: gates.observed("auc", at_least=1, slice="a`b"), "slice name"),
    ],
)
def test_a_gate_that_is_none_is_refused(build, says):
    """When it is built, with one typed error that names the field."""
    with pytest.raises(InvalidInputError, match=says):
        build()


@pytest.mark.parametrize(
    "asked",
    [
        [gates.observed("auc", at_least=0.9), gates.observed("auc", at_most=0.8)],
        [
            gates.observed("auc", at_least=0.9, slice="EU"),
            gates.all_of(gates.observed("auc", at_most=0.8, slice="EU")),
        ],
    ],
)
def test_a_policy_that_can_never_be_met_is_refused(registry, asked):
    """Two bounds of the same measurements that exclude each other."""
    with pytest.raises(PolicyError, match="observed auc"):
        registry.set_policy("production", gates=asked)


def test_bounds_of_other_things_do_not_exclude_each_other(registry):
    """What was recorded, and what was measured of a slice, are others."""
    asked = [
        gates.at_least("auc", 0.9),
        gates.observed("auc", at_most=0.8),
        gates.observed("auc", at_least=0.85, slice="EU"),
    ]

    registry.set_policy("production", gates=asked)

    assert registry.policies["production"].gates == tuple(asked)


FULL = gates.observed(
    "auc", at_least=0.5, at_most=2**70, n=2**60, window=DAY / 3, max_age=9 * DAY, slice="EU"
)


@pytest.mark.parametrize("gate", [FULL, gates.observed("auc", at_most=1)], ids=str)
def test_a_gate_is_read_as_it_was_stored(gate):
    """Through JSON, with numbers of any size."""
    assert gate_from(json.loads(dumps(gate.to_dict())), "gate") == gate


@pytest.mark.parametrize(
    "change",
    [
        {"at_least": None},
        {"window_seconds": -1},
        {"window_seconds": 1e300},
        {"max_age_seconds": "9"},
        {"max_age_seconds": {"$float": "nan"}},
        {"n": 0},
        {"other": 1},
        {"metric": 5},
    ],
)
def test_a_gate_that_was_edited_is_refused(change):
    """With the path of the field."""
    stored = {"gate": "observed", "metric": "auc", "at_least": 1, **change}

    with pytest.raises(RecordError, match=r"gates\[0\] is no gate .*edited"):
        gate_from(stored, "gates[0]")
