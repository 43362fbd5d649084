"""What people who come from other registries expect, one case each."""

import pytest

import modelversion as mv
from modelversion.errors import (
    AliasNotFoundError,
    ConflictError,
    GateFailedError,
    InUseError,
    InvalidInputError,
    InvalidNameError,
    InvalidReferenceError,
    ModelNotFoundError,
    PolicyError,
    QueryError,
    RollbackError,
    StageMovedError,
    StageNotFoundError,
    VersionNotFoundError,
)

CASES = {}


def case(works):
    """Add a case: its name says what is expected, its body asserts it."""
    CASES[works.__name__] = works
    return works


def refused(error, action, *, match=None):
    with pytest.raises(error, match=match) as refusal:
        action()
    return refusal.value


@pytest.fixture
def registry(place, clock):
    return mv.Registry(place, actor="ana@team", clock=clock)


@pytest.fixture
def churn(registry):
    """Three versions of Churn: auc 0.7, 0.9 and 0.8."""
    for i, auc in enumerate([0.7, 0.9, 0.8], 1):
        registry.save("Churn", {"w": [i]}, params={"C": i}, metrics={"auc": auc})
    return registry["churn"]


# ---- names


@case
def a_model_is_found_in_any_case(r, c):
    assert r["CHURN"] == r["churn"] == c


@case
def the_first_spelling_is_displayed(r, c):
    r.save("CHURN", {"w": 9})
    assert list(r) == ["Churn"] and c.latest.ref == "Churn:4"


@case
def a_typo_suggests_the_nearest_model(r, c):
    refused(ModelNotFoundError, lambda: r["chrun"], match="did you mean 'Churn'")


@case
def a_missing_model_is_a_key_error(r, c):
    assert isinstance(refused(KeyError, lambda: r["fraud"]), ModelNotFoundError)


@case
def a_model_with_a_slash_is_no_name(r, c):
    refused(InvalidNameError, lambda: r.save("team/churn", 1))


@case
def a_windows_device_is_no_name(r, c):
    refused(InvalidNameError, lambda: r.save("con", {"w": 1}))


@case
def reading_a_model_does_not_make_it(r, c):
    refused(ModelNotFoundError, lambda: r["fraud"])
    assert list(r) == ["Churn"]


# ---- numbers and references


@case
def numbers_begin_with_one(r, c):
    assert [v.number for v in c] == [1, 2, 3]


@case
def there_is_no_version_zero(r, c):
    refused(VersionNotFoundError, lambda: c[0])


@case
def minus_one_is_the_latest(r, c):
    assert c[-1] == c.latest == c[3]


@case
def too_far_back_is_an_index_error(r, c):
    assert isinstance(refused(IndexError, lambda: c[-4]), VersionNotFoundError)


@case
def a_bare_name_is_the_latest(r, c):
    assert r.get("churn").number == 3


@case
def v3_is_read_as_3(r, c):
    assert r.get("churn:v3").number == 3


@case
def mlflow_uris_are_read(r, c):
    c[2].promote("production")
    assert [r.get(f"models:/churn/{s}").number for s in ("2", "Production", "latest")] == [2, 2, 3]


@case
def two_marks_are_no_reference(r, c):
    refused(InvalidReferenceError, lambda: r.get("churn:1@production"))


@case
def a_version_that_is_missing_lists_the_latest(r, c):
    refused(VersionNotFoundError, lambda: c[9], match="3, 2, 1")


@case
def a_number_is_never_used_again(r, c):
    c[3].delete(reason="r")
    assert r.save("churn", {"w": [3]}, params={"C": 3}, metrics={"auc": 0.8}).number == 4


# ---- aliases


@case
def an_alias_moves(r, c):
    c.set_alias("champion", 1)
    c.set_alias("champion", 2)
    assert c.aliases == {"champion": 2}


@case
def an_alias_is_in_lower_case(r, c):
    c.set_alias("Champion", 1)
    assert c["CHAMPION"].number == 1 and c.aliases == {"champion": 1}


@case
def several_aliases_may_name_one_version(r, c):
    c.set_alias("a", 2)
    c.set_alias("b", "a")
    assert c[2].aliases == ["a", "b"]


@case
def a_stage_is_no_alias(r, c):
    refused(InvalidNameError, lambda: c.set_alias("Production", 1), match="it is a stage")


@case
def latest_is_no_alias(r, c):
    refused(InvalidNameError, lambda: c.set_alias("latest", 1))


@case
def a_number_is_no_alias(r, c):
    for name in ("3", "v3"):
        refused(InvalidNameError, lambda name=name: c.set_alias(name, 1))


@case
def an_alias_of_nothing_is_refused(r, c):
    refused(VersionNotFoundError, lambda: c.set_alias("champion", 9))


@case
def an_alias_that_is_missing_lists_stages_and_aliases(r, c):
    c.set_alias("champion", 1)
    refused(AliasNotFoundError, lambda: c["best"], match="production; aliases: champion")


@case
def deleting_an_alias_keeps_the_version(r, c):
    c.set_alias("champion", 1)
    c.delete_alias("champion")
    assert 1 in c and c.aliases == {}


@case
def an_alias_may_name_what_is_in_a_stage(r, c):
    c[2].promote("production")
    c.set_alias("champion", "production")
    assert c.aliases == {"champion": 2}


# ---- stages


@case
def nothing_is_in_a_stage_at_first(r, c):
    assert c.stages == {"development": [], "staging": [], "production": []}


@case
def a_save_promotes_nothing(r, c):
    r.save("churn", {"w": [4]})
    assert not any(c.stages.values())


@case
def an_unknown_stage_lists_the_known_ones(r, c):
    refused(
        StageNotFoundError, lambda: c[1].promote("qa"), match="development, staging, production"
    )


@case
def archived_is_explained(r, c):
    refused(StageNotFoundError, lambda: c[1].promote("Archived"), match="withdraw")


@case
def one_version_at_a_time(r, c):
    c[1].promote("production")
    c[2].promote("production")
    assert c.stages["production"] == [2]


@case
def a_version_may_be_in_two_stages(r, c):
    c[1].promote("staging")
    c[1].promote("production")
    assert c[1].stages == ["staging", "production"]


@case
def a_stage_may_be_skipped_without_a_policy(r, c):
    c[1].promote("production")
    assert c["production"].number == 1


@case
def an_older_version_may_be_promoted(r, c):
    c[3].promote("production")
    c[1].promote("production")
    assert c["production"].number == 1


@case
def promoting_again_changes_nothing(r, c):
    first = c[1].promote("production")
    assert c[1].promote("production") == first and len(c.history("production")) == 1


@case
def the_stages_of_models_are_apart(r, c):
    r.save("fraud", {"w": 1}).promote("production")
    assert c.stages["production"] == [] and r["fraud"].stages["production"] == [1]


@case
def an_empty_stage_is_a_key_error(r, c):
    assert isinstance(refused(KeyError, lambda: c["staging"]), VersionNotFoundError)


@case
def a_stage_can_be_emptied(r, c):
    c[1].promote("production")
    c.clear_stage("production", reason="end")
    assert c.stages["production"] == []


@case
def loading_a_stage_gives_its_object(r, c):
    c[2].promote("production")
    assert r.load("churn@production", allow_pickle=True) == {"w": [2]}


@case
def what_one_expected_to_be_live_is_checked(r, c):
    c[1].promote("production")
    error = refused(StageMovedError, lambda: c[2].promote("production", if_current=3))
    assert error.current == 1


@case
def other_stages_can_be_set(r, c):
    r.set_stages(["Lab", "Live"])
    c[1].promote("LIVE")
    assert r.stages == ("lab", "live") and c.stages == {"lab": [], "live": [1]}


@case
def a_shared_stage_holds_several(r, c):
    r.set_stages(["canary", "production"], shared=["canary"])
    c[1].promote("canary")
    c[2].promote("canary")
    assert c.stages["canary"] == [1, 2] and c["canary"].number == 2
    c.clear_stage("canary", version=2, reason="r")
    assert c["canary"].number == 1


@case
def a_stage_in_use_cannot_be_dropped(r, c):
    c[1].promote("staging")
    refused(ConflictError, lambda: r.set_stages(["production"]), match="Churn:1 is in the stage")


@case
def a_stage_that_a_policy_names_cannot_be_dropped(r, c):
    r.set_policy("production", after="staging")
    refused(ConflictError, lambda: r.set_stages(["production"]), match="policy of production")


@case
def a_stage_cannot_take_the_name_of_an_alias(r, c):
    c.set_alias("canary", 1)
    refused(ConflictError, lambda: r.set_stages(["canary", "production"]), match="is an alias")


@case
def stages_are_different_names(r, c):
    for names in ([], ["a", "A"], "ab", ["latest"], ["3"], ["none"], [5], None, ["a b"]):
        refused(InvalidInputError, lambda names=names: r.set_stages(names))


@case
def shared_stages_are_among_them(r, c):
    refused(PolicyError, lambda: r.set_stages(["a"], shared=["b"]))


# ---- rolling back


@case
def a_roll_back_undoes_a_promotion(r, c):
    c[1].promote("production")
    c[2].promote("production")
    assert c.rollback("production", reason="r").target == "Churn:1"


@case
def a_roll_back_needs_something_before(r, c):
    c[1].promote("production")
    refused(RollbackError, lambda: c.rollback("production", reason="r"))


@case
def a_roll_back_leaves_other_stages(r, c):
    for number in (1, 2):
        c[number].promote("staging")
        c[number].promote("production")
    c.rollback("production", reason="r")
    assert c.stages["staging"] == [2] and c.stages["production"] == [1]


@case
def what_was_rolled_back_does_not_slip_in_again(r, c):
    c[1].promote("production")
    c[2].promote("production")
    c.rollback("production", reason="r")
    refused(GateFailedError, lambda: c[2].promote("production"))


@case
def a_roll_back_to_what_was_deleted_goes_further(r, c):
    for number in (1, 2, 3):
        c[number].promote("production")
    c[2].delete(reason="r")
    assert c.rollback("production", reason="r").number == 1


# ---- end of life


@case
def what_is_live_cannot_be_deleted(r, c):
    c[2].promote("production")
    refused(InUseError, lambda: c[2].delete(reason="r"), match="in production")


@case
def what_has_an_alias_cannot_be_deleted(r, c):
    c.set_alias("champion", 2)
    refused(InUseError, lambda: c[2].delete(reason="r"), match="champion")


@case
def a_deleted_version_says_so(r, c):
    c[2].delete(reason="r")
    refused(VersionNotFoundError, lambda: c[2], match="was deleted")


@case
def a_deleted_latest_leaves_the_one_before(r, c):
    c[3].delete(reason="r")
    assert c.latest.number == 2


@case
def a_withdrawn_version_loads_with_a_warning(r, c):
    c[2].withdraw(reason="bad labels", use_instead=3)
    with pytest.warns(mv.errors.WithdrawnWarning, match="bad labels; use Churn:3"):
        assert c[2].load(allow_pickle=True) == {"w": [2]}


@case
def a_withdrawal_can_be_taken_back(r, c):
    c[2].withdraw(reason="r")
    c[2].restore(reason="fine")
    assert c[2].withdrawn is None


@case
def a_withdrawn_version_is_not_the_best(r, c):
    c[2].withdraw(reason="r")
    assert c.best("auc").number == 3


@case
def prune_spares_what_was_live(r, c):
    c[1].promote("production")
    c[3].promote("production")
    assert c.prune(keep=0).deleted == (2,)


# ---- search and order


@case
def versions_are_listed_oldest_first(r, c):
    assert [v.number for v in c.versions()] == [1, 2, 3]


@case
def the_best_is_the_highest_auc(r, c):
    assert c.best("auc").number == 2


@case
def versions_are_found_by_stage(r, c):
    c[2].promote("production")
    c[2].promote("staging")
    found = c.versions(where="stage = 'production' and stage = 'staging'")
    assert [v.number for v in found] == [2]


@case
def versions_without_a_stage_are_found(r, c):
    c[2].promote("production")
    assert [v.number for v in c.versions(where="stage is null")] == [1, 3]
    assert [v.number for v in c.versions(where="stage != 'production'")] == [1, 3]


@case
def versions_are_found_by_stage_in_all_models(r, c):
    c[2].promote("production")
    r.save("fraud", {"w": 1}).promote("production")
    found = r.search(where="stage = 'production'").to_dict()
    assert found["model"] == ["Churn", "fraud"] and found["stages"] == ["production"] * 2


@case
def versions_are_ordered_by_metric(r, c):
    assert [v.number for v in c.versions(order_by="-metrics.auc")] == [2, 3, 1]


@case
def versions_are_ordered_by_stage(r, c):
    c[3].promote("production")
    c[1].promote("staging")
    assert [v.number for v in c.versions(order_by="stage")] == [3, 1, 2]


@case
def a_typo_in_a_condition_points_at_it(r, c):
    refused(QueryError, lambda: c.versions(where="stagee = 'production'"), match="stage")


@case
def the_table_has_a_column_of_stages(r, c):
    c[2].promote("production")
    c[2].promote("staging")
    assert c.versions().to_dict()["stages"] == ["", "staging, production", ""]


@case
def completion_offers_stages_that_are_filled(r, c):
    c[2].promote("production")
    c.set_alias("champion", 1)
    assert c._ipython_key_completions_() == ["production", "champion", "latest", 1, 2, 3]


# ---- copies


@case
def a_copy_brings_no_stage_along(r, c):
    c[2].promote("production")
    other = mv.Registry(f"memory://copy-of-{id(r)}", actor="eve", clock=r._home.clock)
    copy = r.copy("churn@production", to=other)
    assert copy.number == 1 and copy.stages == [] and copy.digest == c[2].digest


@case
def a_copy_can_be_promoted_by_its_own_rules(r, c):
    other = mv.Registry(f"memory://rules-of-{id(r)}", actor="eve", clock=r._home.clock)
    other.set_policy("production", gates=[mv.gates.at_least("auc", 0.85)])
    r.copy(["churn:1", "churn:2"], to=other)
    refused(GateFailedError, lambda: other.get("churn:1").promote("production"))
    other.get("churn:2").promote("production")
    assert other["churn"].stages["production"] == [2]


@pytest.mark.parametrize("name", CASES)
def test_it_is_as_people_expect(name, registry, churn):
    """See the case of that name."""
    CASES[name](registry, churn)


def test_there_are_at_least_sixty_cases():
    """And each has a name of its own."""
    assert len(CASES) >= 60
