"""Observations: measurements in production, beside the version, in a journal of their own."""

import math
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelversion as mv
from modelversion.errors import InvalidInputError, VersionNotFoundError
from modelversion.observed import MAX_VERSIONS, OBSERVATIONS, ObservationAdded, Observed
from modelversion.records import Actor, Entry, event_json


def test_what_was_measured_is_kept_beside_the_version(churn):
    """The version's own metrics, digest and files stay as they are."""
    before = churn[2].digest, dict(churn[2].metrics), churn[2].files

    churn[2].observe(
        {"auc": 0.85}, n=1200, window=("2026-11-01", "2026-11-08"), slice="EU", source="monitor"
    )

    (seen,) = churn.observations()
    assert (seen.number, seen.metric, seen.value, seen.n) == (2, "auc", 0.85, 1200)
    assert (seen.begin, seen.end) == (
        "2026-11-01T00:00:00.000000Z",
        "2026-11-08T00:00:00.000000Z",
    )
    assert (seen.slice, seen.source, seen.actor) == ("EU", "monitor", "ana@team")
    assert (churn[2].digest, dict(churn[2].metrics), churn[2].files) == before
    assert churn.verify().ok


def test_observations_are_a_table(churn):
    """A row for each metric of each measurement, oldest first; one metric can be asked for."""
    churn[1].observe({"auc": 0.7, "loss": 0.4})
    churn[2].observe({"auc": 0.8}, n=10)

    frame = churn.observations("auc").to_pandas()

    assert frame["number"].tolist() == [1, 2] and frame["value"].tolist() == [0.7, 0.8]
    assert str(frame["time"].dtype).endswith("UTC]")
    assert len(churn.observations()) == 3 and churn.observations()[-1].value == 0.8
    assert repr(churn.observations()) == "<Observations of churn: 3>"
    with pytest.raises(mv.ModelVersionError, match="'f1' was never observed; observed were: auc"):
        churn.observations("f1")


def test_without_observations_there_is_an_empty_table(churn):
    """It has its columns, and says that there is nothing yet."""
    assert "nothing was observed yet" in str(churn.observations())
    assert list(churn.observations().to_pandas().columns)[:3] == ["number", "metric", "value"]


def test_another_process_sees_them(churn, registry):
    """They are in the registry, not in the handle."""
    churn[2].observe({"auc": 0.85})

    assert mv.Registry(registry.url)["churn"].observations("auc")[0].value == 0.85


def test_displays_tell_recorded_and_observed(churn):
    """On the version, in a diff and in a comparison, with the direction of the change."""
    churn[2].observe({"auc": 0.85, "extra": 1}, n=1200, window=("2026-11-01", "2026-11-08"))

    version = churn[2].to_dict()["observed_in_production"]
    assert version[0]["observed"] == 0.85 and version[0]["recorded"] == 0.9
    for shown in (churn[2], churn[3].diff(churn[2]), churn.compare(2, 3), churn.observations()):
        assert "-0.05 worse" in str(shown)
        assert "-0.05 worse" in shown._repr_html_()
    assert churn[3].diff(churn[2]).observed[0] == ("churn:2", "auc", 0.9, 0.85, 1200)
    assert "2026-11-08 00:00:00 UTC" in str(churn[2])


def test_only_the_last_value_of_all_traffic_stands_on_a_version(churn):
    """A slice is in the table and not mistaken for the whole."""
    churn[2].observe({"auc": 0.85})
    churn[2].observe({"auc": 0.5}, slice="EU")
    churn[2].observe({"auc": 0.84}, n=5)

    assert [row["observed"] for row in churn[2].to_dict()["observed_in_production"]] == [0.84]
    assert len(churn.observations("auc")) == 3


def test_measurements_over_time_are_drawn(churn):
    """From two on, with their values as a table."""
    for day in range(1, 6):
        churn[2].observe(
            {"auc": 0.9 - day / 100}, window=(f"2026-11-0{day}", f"2026-11-0{day + 1}")
        )

    shown = churn.observations()

    assert "<img" in shown._repr_html_()
    assert [row["day"] for row in shown.to_dict()["over_time"]] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"metrics": {}}, "metrics is empty"),
        ({"metrics": {"auc": "high"}}, r"metrics\['auc'\] must be a number"),
        ({"metrics": {"": 1}}, "metric name"),
        ({"n": 0}, "n must be the number of samples"),
        ({"n": True}, "n must be the number of samples"),
        ({"n": 1.5}, "n must be the number of samples"),
        ({"window": "2026-11-01"}, "window must be its begin and its end"),
        ({"window": ("2026-11-01",)}, "window must be its begin and its end"),
        ({"window": ("2026-11-01", "soon")}, r"window\[1\] is no date or time: 'soon'"),
        ({"window": ("2026-11-01", 3)}, r"window\[1\] must be a date or a time, found int"),
        ({"window": ("2026-11-08", "2026-11-01")}, "window must end after it begins"),
        ({"window": ("2026-11-08", "2026-11-08")}, "window must end after it begins"),
        ({"slice": ""}, "slice name"),
        ({"slice": 3}, "slice name must be str"),
        ({"source": ""}, "source must be text"),
    ],
)
def test_what_is_no_measurement_is_refused_before_anything_is_written(churn, wrong, said):
    """The error names the field and what was found."""
    arguments = {"metrics": {"auc": 0.9}, **wrong}

    with pytest.raises(InvalidInputError, match=said):
        churn[2].observe(arguments.pop("metrics"), **arguments)

    assert len(churn.observations()) == 0


def test_a_deleted_version_is_not_observed(churn):
    """What was measured of it before stays."""
    version = churn[1]
    version.observe({"auc": 0.6})
    version.delete(reason="r")

    with pytest.raises(VersionNotFoundError, match="churn:1 was deleted"):
        version.observe({"auc": 0.6})
    assert len(churn.observations()) == 1 and "churn:1" in str(churn.observations())


@pytest.mark.parametrize(
    "begin",
    [
        "2026-11-01",
        date(2026, 11, 1),
        datetime(2026, 11, 1),
        datetime(2026, 11, 1, tzinfo=UTC),
        datetime(2026, 11, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        "2026-11-01T00:00:00+00:00",
    ],
    ids=str,
)
def test_a_window_is_of_days_or_times(churn, begin):
    """All of these are the same moment."""
    churn[2].observe({"auc": 0.9}, window=(begin, "2026-11-08"))

    assert churn.observations()[0].begin == "2026-11-01T00:00:00.000000Z"


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, -0.0, 5e-324], ids=str)
def test_any_number_is_kept_as_it_is(churn, value):
    """NaN, infinities and large integers come back."""
    churn[2].observe({"auc": value})

    assert repr(churn.observations()[0].value) == repr(value)
    assert "cannot be shown" not in str(churn.observations()) + str(churn[2])


def test_observations_are_merged_and_checked_like_other_journals(churn, registry, merges):
    """After 70 of them a fresh handle reads merges, and verify finds a changed entry."""
    for i in range(70):
        churn[2].observe({"auc": i / 100})
    merges()

    fresh = mv.Registry(registry.url)["churn"]
    assert fresh[2].to_dict()["observed_in_production"][0]["observed"] == 0.69
    assert len(fresh.observations()) == 70
    key = "models/churn/observations/000000000070.json"
    entry = Path(registry.url) / key
    entry.write_bytes(entry.read_bytes().replace(b"0.69", b"0.99"))
    assert [problem.key for problem in registry.verify().problems] != []


def test_a_checkpoint_pins_observations_too(churn, registry):
    """A journal of observations that was cut off is found."""
    churn[2].observe({"auc": 0.8})
    checkpoint = registry.checkpoint()
    (Path(registry.url) / "models/churn/observations/000000000001.json").unlink()

    report = mv.Registry(registry.url).verify(since=checkpoint)

    assert any("observations" in problem.key for problem in report.problems)


# ---- the fold


def entry_of(event, position=1):
    return Entry(
        position=position,
        previous="",
        nonce="",
        time="2026-11-01T00:00:00.000000Z",
        clock="",
        actor=Actor(name="a", source="given"),
        event=event if isinstance(event, dict) else event_json(event),
    )


@pytest.mark.parametrize(
    "event",
    [
        ObservationAdded(number=0, metrics={"auc": 1}),
        ObservationAdded(number=1, metrics={}),
        ObservationAdded(number=1, metrics={"auc": 1}, n=0),
        {"kind": "observation.added", "number": "one"},
    ],
)
def test_an_event_that_makes_no_sense_changes_nothing(event):
    """It is void, and counted."""
    after = OBSERVATIONS.step(Observed(), entry_of(event))

    assert (after.last, after.void) == ({}, 1)


@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.sampled_from(["auc", "f1"]), st.floats(0, 1)),
        max_size=60,
    )
)
def test_the_state_survives_being_stored(events):
    """What a merge keeps of it is all of it, and the last value counts."""
    state, last = Observed(), {}
    for position, (number, name, value) in enumerate(events, 1):
        event = ObservationAdded(number=number, metrics={name: value})
        state = OBSERVATIONS.step(state, entry_of(event, position))
        last[number, name] = value

    again = OBSERVATIONS.from_json(OBSERVATIONS.to_json(state))
    assert again == state and list(again.last) == list(state.last)
    assert {(n, m): s.value for n, of in state.last.items() for m, s in of.items()} == last


def test_the_state_keeps_the_versions_that_were_measured_last():
    """It does not grow with every version that ever served."""
    state = Observed()
    for number in range(1, MAX_VERSIONS + 10):
        event = ObservationAdded(number=number, metrics={"auc": 1})
        state = OBSERVATIONS.step(state, entry_of(event, number))

    assert len(state.last) == MAX_VERSIONS and state.of(1) == {} and state.of(MAX_VERSIONS + 9)
