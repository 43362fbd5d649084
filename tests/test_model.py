"""A model: its versions by number, place and alias; the best of them; its aliases."""

import math
import pickle

import pytest

import modelversion as mv
from modelversion.errors import (
    AliasNotFoundError,
    InvalidInputError,
    InvalidNameError,
    ModelVersionError,
    QueryError,
    VersionNotFoundError,
)


def numbers(versions):
    return [version.number for version in versions]


# ---- versions


@pytest.mark.parametrize(
    ("selector", "number"),
    [
        (1, 1),
        (3, 3),
        (-1, 3),
        (-3, 1),
        ("latest", 3),
        ("Latest", 3),
        ("champion", 2),
        ("CHAMPION", 2),
        ("2", 2),
        ("v2", 2),
    ],
)
def test_versions_are_picked(churn, selector, number):
    """By number, by place from the end, and by alias."""
    churn.set_alias("champion", 2)

    assert churn[selector].number == number
    assert selector in churn


@pytest.mark.parametrize(
    ("selector", "error"),
    [
        (0, VersionNotFoundError),
        (4, VersionNotFoundError),
        (-4, VersionNotFoundError),
        (10**30, VersionNotFoundError),
        ("challenger", AliasNotFoundError),
        ("", AliasNotFoundError),
        ("4", VersionNotFoundError),
        ("v0", VersionNotFoundError),
        ("\ud800", AliasNotFoundError),
    ],
)
def test_what_is_not_there_is_a_key_error(churn, selector, error):
    """A missing version or alias is named, and is not contained."""
    with pytest.raises(error, match="churn") as refusal:
        churn[selector]

    assert isinstance(refusal.value, KeyError)
    assert selector not in churn


@pytest.mark.parametrize("selector", [True, None, 1.0, (1,), slice(1), b"latest"])
def test_other_selectors_are_refused(churn, selector):
    """What names no version at all is bad input."""
    with pytest.raises(InvalidInputError, match="takes a number, a stage or an alias"):
        churn[selector]

    assert selector not in churn


def test_a_model_is_read_like_a_list(churn, registry):
    """Its length, its versions oldest first, the latest, and which it contains."""
    assert len(churn) == 3
    assert numbers(churn) == [1, 2, 3]
    assert churn.latest == churn[3]
    assert churn[2] in churn
    assert registry.save("fraud", 1.5) not in churn


def test_completion_lists_aliases_and_numbers(churn):
    """What can stand between the brackets."""
    churn.set_alias("champion", 2)

    offered = churn._ipython_key_completions_()

    assert set(offered) == {"champion", "latest", 1, 2, 3}
    assert all(item in churn for item in offered)


def test_deleted_versions_are_gone(churn):
    """The latest and the counting from the end pass over them; their number says so."""
    churn[3].delete(reason="r")

    assert churn.latest.number == churn[-1].number == 2
    assert numbers(churn) == [1, 2]
    assert len(churn) == 2
    assert 3 not in churn
    with pytest.raises(VersionNotFoundError, match="churn:3 was deleted"):
        churn[3]


def test_a_model_without_versions(churn):
    """A model whose versions were all deleted is there, and empty."""
    for version in list(churn):
        version.delete(reason="r")

    assert len(churn) == 0
    assert list(churn.versions()) == []
    assert repr(churn) == "<Model churn: 0 versions>"
    with pytest.raises(VersionNotFoundError, match="churn has no version latest; it has 0"):
        _ = churn.latest
    assert churn._ipython_key_completions_() == ["latest"]


def test_models_are_values(churn, registry):
    """Two handles on one model are equal; so are a model and its copy."""
    other = mv.Registry(registry.url)["CHURN"]
    registry.save("fraud", 1.5)

    assert other == churn
    assert {other, churn} == {churn}
    assert registry["fraud"] != churn
    assert churn != "churn"


def test_a_model_pickles(churn):
    """A worker can be given the model itself."""
    twin = pickle.loads(pickle.dumps(churn))

    assert twin == churn
    assert twin.latest.load() == {"weights": [3]}


def test_a_repr_is_one_line(churn, registry):
    """It says the name, how many versions, and the latest."""
    registry.save("Fraud", 1.5)

    assert repr(churn) == "<Model churn: 3 versions, latest churn:3>"
    assert repr(registry["fraud"]) == "<Model Fraud: 1 version, latest Fraud:1>"


def test_a_repr_never_raises(churn, tmp_path):
    """What cannot be read is shown as the kind of its error."""
    entry = tmp_path / "registry/models/churn/journal/000000000003.json"
    entry.unlink()

    assert repr(churn) == "<Model churn (JournalRewoundError)>"


def test_a_handle_sees_what_others_write(churn, registry):
    """Every question reads the journal to its end."""
    mv.Registry(registry.url).save("churn", {"weights": [4]})

    assert churn.latest.number == len(churn) == 4


# ---- filters


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ({}, [1, 2, 3]),
        ({"where": "metrics.auc > 0.75"}, [2, 3]),
        ({"where": "metrics.auc > 0.75 and params.C = 3"}, [3]),
        ({"where": "number = 1 or number = 3"}, [1, 3]),
        ({"where": "tags.team is null"}, [1, 2, 3]),
        ({"where": "not withdrawn = true"}, [1, 3]),
        ({"where": "withdrawn = true"}, [2]),
        ({"where": "alias = 'champion'"}, [3]),
        ({"where": "type = 'builtins.dict'"}, [1, 2, 3]),
        ({"where": "actor = 'ana@team'"}, [1, 2, 3]),
        ({"where": "created_at > '2000-01-01'"}, [1, 2, 3]),
        ({"order_by": "-metrics.auc"}, [2, 3, 1]),
        ({"order_by": ["withdrawn", "-number"]}, [3, 1, 2]),
        ({"order_by": "metrics.auc", "limit": 2}, [1, 3]),
        ({"limit": 0}, []),
        ({"limit": 99}, [1, 2, 3]),
        ({"where": "metrics.nothing > 0"}, []),
    ],
)
def test_versions_are_filtered(churn, question, found):
    """By what was recorded, by aliases and by withdrawals; in the order that was asked for."""
    churn[2].withdraw(reason="r")
    churn.set_alias("champion", 3)

    assert numbers(churn.versions(**question)) == found


def test_filters_see_changed_tags(churn):
    """Tags are matched as they are now."""
    churn[1].tag(team="risk")
    churn[2].tag(team="risk")
    churn[2].untag("team")

    assert numbers(churn.versions(where="tags.team = 'risk'")) == [1]


@pytest.mark.parametrize("name", ["$a", "$float", "$$x", "a.b", "a b", "val/auc"])
def test_filters_find_any_name(registry, name):
    """A param, a metric or a tag of any name can be asked for in backquotes."""
    registry.save("churn", 1.5, params={name: 1}, metrics={name: 2}, tags={name: 3})
    churn = registry["churn"]

    assert numbers(churn.versions(where=f"params.`{name}` = 1")) == [1]
    assert numbers(churn.versions(where=f"metrics.`{name}` = 2")) == [1]
    assert numbers(churn.versions(where=f"tags.`{name}` = 3")) == [1]


def test_filters_reach_into_nested_params(registry):
    """A dict among the params is reached by dots, and a flat name goes first."""
    registry.save("churn", 1.5, params={"opt": {"lr": 0.1}, "a.b": 1, "a": {"b": 2}})
    churn = registry["churn"]

    assert numbers(churn.versions(where="params.opt.lr = 0.1")) == [1]
    assert numbers(churn.versions(where="params.a.b = 1")) == [1]


def test_filters_see_what_a_summary_left_out(registry):
    """Params that are too large for the journal are matched all the same."""
    for i in range(3):
        registry.save("churn", {"i": i}, params={"C": i, "text": "x" * 20_000}, metrics={"auc": i})

    versions = mv.Registry(registry.url)["churn"].versions(
        where="params.C >= 1 and metrics.auc < 2"
    )
    assert numbers(versions) == [2]


@pytest.mark.parametrize("where", ["", "metrics.auc >", "auc > 1", "metrics.auc > 'a", 3])
def test_a_where_that_does_not_parse_is_refused(churn, where):
    """The error is a QueryError, which points at the place."""
    with pytest.raises(QueryError, match="where"):
        churn.versions(where=where)


# ---- the best


def test_the_best_follows_the_name(registry):
    """A higher auc and a lower loss are better."""
    for i, (auc, loss) in enumerate([(0.7, 0.3), (0.9, 0.5), (0.8, 0.1)]):
        registry.save("churn", {"i": i}, metrics={"auc": auc, "val/loss": loss})
    churn = registry["churn"]

    assert churn.best("auc").number == 2
    assert churn.best("val/loss").number == 3
    assert churn.best("auc", where="number != 2").number == 3
    assert churn.best("auc", higher_is_better=False).number == 1


def test_the_best_follows_what_was_said(registry):
    """A direction that was saved goes before the name; an argument before both."""
    for i, value in enumerate([1, 3, 2]):
        registry.save("churn", i, metrics={"loss": mv.metric(value, higher_is_better=True)})

    assert registry["churn"].best("loss").number == 2
    assert registry["churn"].best("loss", higher_is_better=False).number == 1


def test_withdrawn_ones_and_nan_are_never_the_best(registry):
    """Nor are deleted ones, and those that lack the metric."""
    for i, auc in enumerate([0.5, math.nan, 0.9, 0.8, 0.7]):
        registry.save("churn", i, metrics={"auc": auc})
    registry.save("churn", 9, metrics={"f1": 1})
    churn = registry["churn"]
    churn[3].withdraw(reason="r")
    churn[4].delete(reason="r")

    assert churn.best("auc").number == 5


def test_failed_ones_are_never_the_best(registry):
    """A run that was kept although it failed is no model to choose, nor one to save from prune."""
    registry.save("churn", 1, metrics={"auc": 0.7})
    with pytest.raises(ZeroDivisionError), registry.run("churn", on_error="keep") as run:
        run.log_metrics(auc=0.9)
        _ = 1 / 0
    registry.save("churn", 2, metrics={"auc": 0.6})
    churn = registry["churn"]

    assert churn.best("auc").number == 1
    assert churn.to_dict()["best_auc"] == "churn:1"
    assert churn.prune(keep=1, keep_best=("auc", 1), dry_run=True).kept == (1, 3)
    with pytest.raises(VersionNotFoundError, match="withdrawn and failed ones do not count"):
        churn.best("auc", where="number = 2")


def test_infinities_are_numbers(registry):
    """An infinite loss is the worst, not an error."""
    for i, loss in enumerate([math.inf, 0.5, 10**400]):
        registry.save("churn", i, metrics={"loss": loss})

    assert registry["churn"].best("loss").number == 2
    assert registry["churn"].best("loss", higher_is_better=True).number == 1


def test_of_equal_ones_the_first_is_the_best(registry):
    """A later version has to be better to be the best, whichever way is better."""
    for i in range(3):
        registry.save("churn", i, metrics={"auc": 0.9, "loss": 0.1})

    assert registry["churn"].best("auc").number == 1
    assert registry["churn"].best("loss").number == 1


def test_the_best_of_a_metric_that_nobody_has(churn):
    """The error names the model and the metric."""
    for metric in ("acu", "", "metrics.auc"):
        with pytest.raises(VersionNotFoundError, match=f"no version of churn has .* '{metric}'"):
            churn.best(metric)


def test_the_best_needs_a_direction(registry):
    """Where nothing or two things say which way is better, the caller has to."""
    registry.save("churn", 1, metrics={"depth": 1, "x": mv.metric(1, higher_is_better=True)})
    registry.save("churn", 2, metrics={"depth": 2, "x": mv.metric(2, higher_is_better=False)})
    churn = registry["churn"]

    for metric in ("depth", "x"):
        with pytest.raises(InvalidInputError, match="higher_is_better=True or False"):
            churn.best(metric)
        assert churn.best(metric, higher_is_better=True).number == 2


def test_a_direction_is_true_or_false(churn):
    """Another word for the direction is refused, not taken for true."""
    with pytest.raises(InvalidInputError, match="higher_is_better"):
        churn.best("auc", higher_is_better="no")


# ---- aliases


def test_aliases_name_versions(churn, registry):
    """They are set, moved, listed and deleted; a version knows its own."""
    churn.set_alias("champion", 1)
    churn.set_alias("Champion", 2)
    churn.set_alias("next", churn[3])
    churn.set_alias("again", "champion")
    churn.set_alias("last", -1)
    churn.set_alias("newest", "latest")

    assert churn.aliases == {"again": 2, "champion": 2, "last": 3, "newest": 3, "next": 3}
    assert mv.Registry(registry.url)["churn"].aliases == churn.aliases
    assert churn[2].aliases == ["again", "champion"]
    assert churn[1].aliases == []
    churn.delete_alias("CHAMPION")
    assert "champion" not in churn.aliases
    assert churn[2].load() == {"weights": [2]}


def test_an_alias_stays_when_versions_come(churn, registry):
    """`latest` moves by itself, an alias does not."""
    churn.set_alias("champion", "latest")

    registry.save("churn", {"weights": [4]})

    assert churn["champion"].number == 3
    assert churn["latest"].number == 4


@pytest.mark.parametrize("alias", ["", "latest", "3", "v3", "a b", "a@b", 3, None, "con"])
def test_alias_names_are_checked(churn, alias):
    """What reads as a version or is no name is refused, and nothing is decided."""
    for use in (lambda: churn.set_alias(alias, 1), lambda: churn.delete_alias(alias)):
        with pytest.raises(InvalidNameError, match="alias name"):
            use()
    assert churn.aliases == {}


@pytest.mark.parametrize(
    ("version", "error"),
    [
        (9, VersionNotFoundError),
        (0, VersionNotFoundError),
        ("challenger", AliasNotFoundError),
        (True, InvalidInputError),
        (None, InvalidInputError),
        (1.0, InvalidInputError),
    ],
)
def test_an_alias_names_a_version_that_is_there(churn, version, error):
    """Anything else is refused, and nothing is decided."""
    with pytest.raises(error):
        churn.set_alias("champion", version)
    assert churn.aliases == {}


def test_an_alias_names_a_version_of_its_model(churn, registry):
    """Another model's version of the same number is refused."""
    other = registry.save("fraud", 1.5)

    with pytest.raises(ModelVersionError, match="fraud:1 is no version of churn"):
        churn.set_alias("champion", other)


def test_an_alias_never_names_a_deleted_version(churn):
    """A handle on a version that was deleted cannot be given an alias."""
    version = churn[1]
    version.delete(reason="r")

    with pytest.raises(VersionNotFoundError):
        churn.set_alias("champion", version)
    with pytest.raises(VersionNotFoundError, match="churn:1 was deleted"):
        churn.set_alias("champion", 1)


def test_a_missing_alias_cannot_be_deleted(churn):
    """The error lists those that there are."""
    churn.set_alias("champion", 1)

    with pytest.raises(AliasNotFoundError, match="churn has no alias 'next'; aliases: champion"):
        churn.delete_alias("next")


# ---- verifying


def test_a_model_is_verified(churn):
    """The report says what was read, and is true if all is well."""
    report = churn.verify()

    assert report
    assert (report.ok, report.subject, report.versions) == (True, "churn", 3)
    assert report.problems == report.pending == ()
    assert str(report) == "churn: 3 versions verified, all good"
