"""A model, and a registry, as they were at a moment, and what is said of what was not there."""

import tracemalloc

import pytest

import modelversion as mv
from modelversion.errors import (
    AliasNotFoundError,
    InvalidInputError,
    ModelNotFoundError,
    VersionNotFoundError,
)


@pytest.fixture
def moments(tmp_path, clock):
    """A model whose stages, tags and versions changed; the registry and a time for each state."""
    registry = mv.Registry(tmp_path / "registry", actor="ana@team", clock=clock)
    times = {"before": clock().isoformat()}
    registry.save("Churn", {"n": 1}, tags={"team": "risk"})
    churn = registry["churn"]
    times["saved"] = clock().isoformat()
    churn[1].promote("staging")
    churn.set_alias("champion", 1)
    churn[1].tag(team="growth", checked=True)
    times["staged"] = clock().isoformat()
    registry.save("churn", {"n": 2})
    churn[2].promote("staging")
    churn.clear_stage("staging", reason="end")
    churn[2].withdraw(reason="leak")
    registry.set_stages(["qa", "production"], shared=["qa"])
    registry.set_policy("production", after="qa")
    times["cleared"] = clock().isoformat()
    return registry, times


def test_a_moment_gives_numbers_stages_aliases_and_the_latest(moments):
    """Each in the way that the model itself is asked."""
    registry, times = moments
    staged = registry["churn"].at(times["staged"])

    for selector in (1, "staging", "STAGING", "champion", "latest"):
        assert staged[selector].number == 1
    assert staged["staging"].load() == {"n": 1}
    assert staged.stages == {"development": [], "staging": [1], "production": []}
    assert registry["churn"].at(times["cleared"])["latest"].number == 2


def test_tags_are_those_of_the_moment(moments):
    """As they were saved, and as they were changed until then."""
    registry, times = moments
    churn = registry["churn"]

    assert dict(churn.at(times["saved"]).tags(1)) == {"team": "risk"}
    assert dict(churn.at(times["staged"]).tags(1)) == {"team": "growth", "checked": True}


@pytest.mark.parametrize(
    ("when", "selector", "error", "says"),
    [
        ("before", 1, VersionNotFoundError, "had no version 1 at .*; versions: none"),
        ("before", "latest", VersionNotFoundError, "had no version latest at"),
        ("staged", 2, VersionNotFoundError, "had no version 2 at .*; versions: 1"),
        ("staged", "production", VersionNotFoundError, "no version of Churn was in production at"),
        ("cleared", "staging", AliasNotFoundError, "no stage or alias 'staging' at .*stages: qa"),
        ("saved", "champion", AliasNotFoundError, "aliases: none"),
        ("staged", "nobody", AliasNotFoundError, "aliases: champion"),
        ("staged", "v2", VersionNotFoundError, "had no version 2 at"),
        ("staged", True, InvalidInputError, "takes a number, a stage or an alias, found True"),
        ("staged", 1.5, InvalidInputError, "found 1.5"),
        ("staged", None, InvalidInputError, "found None"),
    ],
)
def test_what_was_not_there_is_told(moments, when, selector, error, says):
    """What was asked, when, and what there was."""
    registry, times = moments

    with pytest.raises(error, match=says):
        registry["churn"].at(times[when])[selector]


def test_a_registry_at_a_moment_has_the_models_and_rules_of_then(moments):
    """In the spelling and the order of now; a model that came later is none."""
    registry, times = moments
    registry.save("later", {"n": 1})
    past = registry.at(times["cleared"])

    assert list(past) == ["Churn"] and len(past) == 1
    assert past["CHURN"].numbers == [1, 2]
    assert past.rules["stages"] == ["qa", "production"] and past.rules["shared"] == ["qa"]
    assert past.rules["policies"]["production"]["after"] == "qa"
    assert registry.at(times["saved"]).rules["stages"][0] == "development"
    with pytest.raises(ModelNotFoundError, match=r"there was no model 'later' at 2026-11-01T"):
        past["later"]


def test_a_moment_is_shown_in_words_and_as_data(moments):
    """With what was withdrawn, and nothing of what came later."""
    registry, times = moments
    past = registry.at(times["cleared"])

    assert str(past["churn"]).splitlines()[1:] == [
        "qa: nothing",
        "production: nothing",
        "champion -> 1",
    ]
    assert past["churn"].to_dict()["withdrawn"] == {"2": "leak"}
    assert past.to_dict()["models"]["Churn"]["numbers"] == [1, 2]
    assert repr(past).endswith(": 1 models>") and "RegistryAt" in repr(past)
    assert repr(past["churn"]).startswith("<ModelAt Churn at 2026-11-01T")


def test_an_empty_place_had_no_models(tmp_path):
    """At any time; nothing is made by asking."""
    past = mv.Registry(tmp_path / "nothing").at("2026-11-01")

    assert list(past) == [] and past.rules["policies"] == {}
    assert not (tmp_path / "nothing").exists()


def test_a_long_history_keeps_no_state_for_each_decision(tmp_path, monkeypatch):
    """What a history holds grows by its entries, not by a state of the model for each."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    registry = mv.Registry(tmp_path)
    for number in range(60):
        registry.save("churn", {"w": number})
    churn = registry["churn"]

    def grow(rounds):
        for _ in range(rounds):
            for number in range(1, 61):
                churn[number].promote("staging", reason="again")
        tracemalloc.start()
        timeline = churn.history()
        timeline.intervals()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size / len(timeline)

    few, many = grow(1), grow(9)

    assert many < few * 1.2
    assert many < 6_000  # with a state for each it was 7,970
