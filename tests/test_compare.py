"""Differences, comparisons and evaluations: what changed, what is best, and what it could be of."""

import attrs
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from test_display import ATTRIBUTES, HOSTILE, TAGS, Reader

import modelversion as mv
from modelversion import differences
from modelversion.compare import Compared, Comparison, compare
from modelversion.errors import InvalidInputError, UnequalTestsWarning
from modelversion.metrics import change
from modelversion.records import DataRecord


@pytest.fixture
def pair(registry):
    """Two versions that differ in everything."""

    @registry.track("churn")
    def train(df, C=1.0, kind="logistic"):
        mv.log_metrics(auc=0.8, loss=0.5, depth=3)
        mv.log_artifact("report.txt", "one")
        return {"w": np.zeros(2)}

    train(pd.DataFrame({"age": [1, 2, 3], "plan": ["x", "y", "z"], "old": [1, 2, 3]}))

    @registry.track("churn")
    def train(df, C=2.0, depth=4):
        mv.log_metrics(auc=0.9, loss=0.6, recall=0.5)
        mv.log_artifact("report.txt", "two!")
        return [1, 2]

    train(pd.DataFrame({"age": [1.5, 2, 3, 4], "plan": ["x", "y", "z", "z"], "new": [1, 2, 3, 4]}))
    return registry["churn"]


def names(changed):
    return {item.name: item.what for item in changed}


# ---- differences


def test_a_diff_tells_what_changed(pair):
    """Params, metrics, data by column, the source as a patch, files, and the object's type."""
    diff = pair[2].diff(pair[1])

    assert names(diff.params) == {"C": "changed", "depth": "added", "kind": "removed"}
    assert {c.name: (c.before, c.after) for c in diff.metrics} == {
        "auc": (0.8, 0.9),
        "loss": (0.5, 0.6),
        "recall": (None, 0.5),
        "depth": (3, None),
    }
    assert [(d.name, d.what) for d in diff.data] == [("df", "changed")]
    assert "3 → 4 rows (+1)" in diff.data[0].detail
    columns = {c.name: (c.what, c.detail) for c in diff.data[0].columns}
    assert columns["age"] == ("retyped", "int64 → float64")
    assert columns["old"] == ("removed", "int64") and columns["new"] == ("added", "int64")
    assert '-def train(df, C=1.0, kind="logistic"):' in diff.code
    assert "+def train(df, C=2.0, depth=4):" in diff.code
    assert names(diff.object)["type"] == "changed"
    assert names(diff.files)["artifacts/report.txt"] == "changed"
    assert diff.packages == () and diff.environment == ()


def test_a_diff_shows_on_one_screen_what_could_explain_a_metric(pair):
    """Metrics with direction first, then a line for each thing that changed."""
    diff = pair[2].diff(pair[1])

    said = str(diff)
    assert said.startswith("churn:1 → churn:2: 4 metrics, 3 params, 1 data set, code, ")
    assert "+0.1 better" in said and "+0.1 worse" in said
    rows = {(row["part"], row["what"]): row["how"] for row in diff.to_dict()["what_changed"]}
    assert rows["param", "C changed"] == "1.0 → 2.0"
    assert "removed: old" in rows["data", "df changed"]
    assert rows["code", "changed"] == "4 lines added, 4 removed"
    assert rows["object", "type changed"] == "builtins.dict → builtins.list"
    assert "the same: steps, packages, environment" in said
    assert len(said.split("Columns (")[0].splitlines()) < 30


def test_a_version_does_not_differ_from_itself(pair):
    """The diff is falsy and says so; what cannot be compared is named all the same."""
    diff = pair[1].diff(pair[1])

    assert not diff and pair[2].diff(pair[1])
    assert str(diff).startswith("churn:1 → churn:1: the same")
    assert repr(diff) == "<Diff churn:1 -> churn:1: the same>"


@pytest.mark.parametrize("other", [1, "1", "v1", -2, "champion"])
def test_a_diff_takes_what_selects_a_version(pair, other):
    """Of the same model, as `compare` takes it."""
    pair.set_alias("champion", 1)

    assert pair[2].diff(other).to_dict() == pair[2].diff(pair[1]).to_dict()


def test_a_diff_with_what_is_no_version_is_refused(pair):
    """It says what is taken, and which versions there are."""
    with pytest.raises(mv.errors.InvalidInputError, match="diff takes a number, a stage or an"):
        pair[2].diff(None)
    with pytest.raises(mv.errors.VersionNotFoundError, match="no version churn:9"):
        pair[2].diff(9)


def test_a_diff_that_ignores_params_would_be_found(pair, monkeypatch):
    """The mutant that finds no change fails the tests above."""
    monkeypatch.setattr("modelversion.diff.changes", lambda before, after: ())

    assert names(pair[2].diff(pair[1]).params) == {}


def test_a_step_that_changed_tells_which_of_its_params(registry):
    """One by one, not as the whole step before and after; a step that came is named."""
    for pipeline in (
        make_pipeline(StandardScaler(), LogisticRegression(C=0.1)),
        make_pipeline(StandardScaler(with_mean=False), LogisticRegression(C=10.0), memory="m"),
        make_pipeline(MinMaxScaler(), LogisticRegression(C=10.0, tol=0.5)),
    ):
        registry.save("churn", pipeline)
    churn = registry["churn"]

    told = churn[2].diff(churn[1]).to_dict()
    rows = {r["what"]: r["how"] for r in told["what_changed"]}
    assert rows["logisticregression changed"] == "params.C 0.1 → 10.0"
    assert rows["standardscaler changed"] == "params.with_mean True → False"
    assert {
        "step": "logisticregression",
        "part": "params.C",
        "before": 0.1,
        "after": 10.0,
    }.items() <= (told["steps"][-1].items())
    said = str(churn[3].diff(churn[2]))
    assert "minmaxscaler added" in said and "standardscaler removed" in said
    assert "'form'" not in said and max(map(len, said.splitlines())) < 200


def test_versions_of_other_models_are_compared_too(pair, registry):
    """A version without object, data, code and metrics has none of them to differ in."""
    registry.save("other", params={"C": 1})

    diff = registry["other"][1].diff(pair[1])

    assert diff.after == "other:1"
    assert names(diff.params)["C"] == "changed"
    assert names(diff.object) == {"type": "removed", "serializer": "removed"}
    assert [(d.name, d.what) for d in diff.data] == [("df", "removed")]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, False),
        (1, True, False),
        ("1", 1, False),
        (None, None, True),
        (float("nan"), float("nan"), True),
        ([1], [1], True),
        ({"a": 1}, {"a": 2}, False),
        ((1, 2), [1, 2], False),
    ],
)
def test_values_are_the_same_if_type_and_value_are(one, other, same):
    """1, 1.0, True and "1" are different params, and NaN is no change from NaN."""
    assert (differences.changes({"a": one}, {"a": other}) == ()) == same


def test_a_param_that_is_none_is_not_one_that_is_missing():
    """Setting something to None is a change."""
    assert len(differences.changes({}, {"a": None})) == 1


def data(**fields):
    return DataRecord(name="train", type="pandas.DataFrame", **fields)


def test_columns_with_digests_tell_which_changed_and_how_they_drifted():
    """A column of another digest is changed; its profile tells nulls, ends and mean."""
    columns = {"age": "int64", "plan": "str"}
    extra = {
        "digests": {"age": "a1", "plan": "p1"},
        "profile": {"age": {"rows": 3, "nulls": 0, "min": 1, "max": 9, "mean": 4.0}},
    }
    later = {
        "digests": {"age": "a2", "plan": "p1"},
        "profile": {"age": {"rows": 3, "nulls": 1, "min": 1, "max": 12, "mean": 6.5}},
    }
    old = with_fields(data(columns=columns, shape=(3, 2), digest="d1"), extra)
    new = with_fields(data(columns=columns, shape=(3, 2), digest="d2"), later)

    (found,) = differences.data_changes([old], [new])

    assert [(c.name, c.what) for c in found.columns] == [("age", "changed")]
    assert found.columns[0].detail == "nulls 0 → 1, max 9 → 12, mean 4 → 6.5"


def with_fields(record, fields):
    known = {field.name for field in attrs.fields(type(record))}
    inside = {name: value for name, value in fields.items() if name in known}
    outside = {name: value for name, value in fields.items() if name not in known}
    return attrs.evolve(record, **inside, extra=outside)


def test_other_content_of_the_same_shape_is_a_change():
    """Where only the whole has a digest, that is all that can be said."""
    (found,) = differences.data_changes([data(digest="a")], [data(digest="b")])

    assert (found.what, found.detail) == ("changed", "other content of the same shape")
    assert list(differences.data_changes([data(digest="a")], [data(digest="a")])) == []


def test_data_without_a_digest_is_not_said_to_be_the_same():
    """What cannot be known is named."""
    assert list(differences.unknown_data([data()], [data(digest="a")])) == ["train"]
    assert list(differences.unknown_data([data(digest="a")], [data(digest="a")])) == []


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_in_a_diff_do_nothing(registry, text):
    """Params, columns and sources are shown as text."""
    clean = text.encode("utf-8", "replace").decode()
    registry.save("m", {"a": 1}, params={clean: clean}, data={"d": pd.DataFrame({clean: [1]})})
    registry.save("m", {"a": 1}, params={clean: 1}, data={"d": pd.DataFrame({"b": [1.5]})})
    m = registry["m"]

    for shown in (m[2].diff(m[1]), m.compare(1, 2)):
        read = Reader(shown._repr_html_())
        assert read.tags <= TAGS and read.attributes <= ATTRIBUTES
        assert "cannot be shown" not in read.text


# ---- comparisons


def compared(ref, metrics, params=None, **more):
    return Compared(ref=ref, marks="", metrics=metrics, params=params or {}, directions={}, **more)


def test_versions_are_compared_side_by_side(pair, registry):
    """Numbers, aliases and versions of other models; the best by each metric in words."""
    registry.save("rival", params={"C": 9}, metrics={"auc": 0.95})
    pair.set_alias("champion", 1)

    comparison = pair.compare(2, "champion", registry["rival"][1])

    assert [v.ref for v in comparison.versions] == ["churn:2", "churn:1", "rival:1"]
    assert comparison.best("auc") == "rival:1" and comparison.best("loss") == "churn:1"
    assert comparison.best("depth") is None
    said = str(comparison)
    assert "rival:1 with 0.95, +0.05 better than churn:2" in said
    assert "churn:1 with 0.5, -0.1 better than churn:2" in said
    assert "which way is better was not recorded" in said
    assert "churn:2 with 0.5, the only one that has it" in said
    assert "0.8 (-0.1 worse)" in said


def test_ties_are_called_ties():
    """Nobody is named as better than its equal."""
    comparison = compare([compared("m:1", {"auc": 0.9}), compared("m:2", {"auc": 0.9})], None)

    assert "m:1 and m:2 are level with 0.9" in str(comparison)


def test_withdrawn_and_failed_ones_are_marked(pair, registry):
    """Who asks for one of them sees what it is."""
    pair[1].withdraw(reason="leak")
    with pytest.raises(ZeroDivisionError), registry.run("churn", on_error="keep"):
        _ = 1 / 0

    assert [v.marks for v in pair.compare(1, 2, 3).versions] == ["withdrawn", "", "failed"]


def test_a_best_that_failed_or_was_withdrawn_is_not_named_without_that():
    """A comparison ranks what it was asked for; nobody takes such a version by mistake."""
    versions = [
        compared("m:1", {"auc": 0.9}),
        compared("m:2", {"auc": 0.99}, flaw="failed"),
        compared("m:3", {"auc": 0.8}, flaw="withdrawn"),
    ]

    assert "m:2 (failed) with 0.99, +0.09 better than m:1" in str(compare(versions, None))
    said = str(compare(versions[1:], None))
    assert "m:2 (failed) with 0.99, +0.19 better than m:3 (withdrawn)" in said


def test_test_data_that_differ_are_named_before_any_metric(registry):
    """By the comparison, and where the best is asked for: such metrics do not compare."""
    easy, hard = pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 2, 3]})
    for auc, test in ((0.99, easy), (0.9, hard), (0.8, hard)):
        tested = {"train": pd.DataFrame({"a": [auc]}), "X_test": test}
        registry.save("m", {"w": auc}, metrics={"auc": auc}, data=tested)
    model = registry["m"]

    said = "X_test is not the same data in all of them; evaluate scores them on the same"
    assert said in str(model.compare(1, 2))
    assert "not the same data" not in str(model.compare(2, 3))
    told = "m:1 is the best by 'auc', but 2 others had other data as 'X_test'"
    with pytest.warns(UnequalTestsWarning, match=told) as caught:
        assert model.best("auc").number == 1
    assert caught[0].filename == __file__
    assert model.best("auc", where="number > 1").number == 2


def test_a_metric_that_hardly_any_version_has_is_drawn_against_none():
    """Axes without points would say nothing."""
    versions = [compared("m:1", {"auc": 0.9}), compared("m:2", {"loss": 0.1})]

    assert "against" not in str(compare(versions, None))


def test_versions_are_listed_in_words():
    """With one "and", however many they are."""
    four = [compared(f"m:{i}", {"auc": 0.9}) for i in range(1, 5)]

    said = str(compare([*four[:3]], None))
    assert said.startswith("m:1, m:2 and m:3: 3 versions side by side")
    assert "m:1, m:2 and m:3 are level with 0.9" in said
    five = str(compare([*four, compared("m:5", {})], None))
    assert five.startswith("m:1, m:2, m:3, m:4, ...: 5 versions side by side")


def test_only_the_metrics_asked_for_are_compared(pair):
    """An unknown one is refused with those that there are."""
    assert pair.compare(1, 2, metrics=["auc"]).metrics == ("auc",)
    with pytest.raises(InvalidInputError, match="no version has 'auk'; metrics: auc, depth"):
        pair.compare(1, 2, metrics=["auk"])


def test_a_comparison_needs_two_versions(pair):
    """The same one twice is one."""
    pair.set_alias("champion", 1)

    for given_ in ((), (1,), (1, "champion")):
        with pytest.raises(InvalidInputError, match="at least two versions"):
            pair.compare(*given_)


def test_the_front_is_what_nobody_beats():
    """Better in one without being worse in the other beats; equals do not beat each other."""
    comparison = compare(
        [
            compared("m:1", {"auc": 0.9, "latency_ms": 30}),
            compared("m:2", {"auc": 0.8, "latency_ms": 10}),
            compared("m:3", {"auc": 0.8, "latency_ms": 20}),
            compared("m:4", {"auc": 0.9, "latency_ms": 30}),
            compared("m:5", {"auc": float("nan"), "latency_ms": 1}),
            compared("m:6", {"auc": 1.0}),
        ],
        None,
    )

    assert comparison.front("auc", "latency_ms") == ["m:1", "m:2", "m:4"]
    assert "not beaten in both: m:1, m:2, m:4" in str(comparison)
    with pytest.raises(InvalidInputError, match="which way 'speed' is better"):
        comparison.front("auc", "speed")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_a_front_has_no_beaten_member_and_leaves_out_no_other(points):
    """Against the definition, point by point."""
    versions = [
        compared(f"m:{i}", {"auc": float(a), "loss": float(b)}) for i, (a, b) in enumerate(points)
    ]

    front = set(compare(versions, None).front("auc", "loss"))

    for i, (a, b) in enumerate(points):
        beaten = any(x >= a and y <= b and (x, y) != (a, b) for x, y in points)
        assert (f"m:{i}" in front) == (not beaten)


def test_a_direction_that_versions_do_not_agree_on_names_no_best():
    """Recorded both ways is as good as not recorded."""
    up, down = ({"score2": 1.0}, {"score2": 2.0})
    comparison = Comparison(
        versions=(
            Compared(ref="a:1", marks="", metrics=up, params={}, directions={"score2": True}),
            Compared(ref="a:2", marks="", metrics=down, params={}, directions={"score2": False}),
        ),
        metrics=("score2",),
    )

    assert comparison.best("score2") is None


def test_observed_values_stand_beside_recorded_ones():
    """Where something was measured in production, the difference is told."""
    versions = [
        compared("m:1", {"auc": 0.9}, observed={"auc": (0.8, 1200)}),
        compared("m:2", {"auc": 0.8}),
    ]

    row = compare(versions, None).to_dict()["observed_in_production"]["observed"][0]

    assert row.pop("change") == pytest.approx(-0.1)
    assert row == {
        "version": "m:1",
        "metric": "auc",
        "recorded": 0.9,
        "observed": 0.8,
        "n": 1200,
    }
    assert "-0.1 worse" in str(compare(versions, None))


def test_many_versions_are_compared_in_20_kb(registry):
    """The pictures are drawn of the first ones, the table counts the rest."""
    for i in range(70):
        registry.save("m", params={f"p{j}": i * j for j in range(9)}, metrics={"auc": i, "loss": i})

    comparison = registry["m"].compare(*range(1, 71))

    assert len(comparison._repr_html_().encode()) <= 20_000
    assert "70 versions side by side" in comparison._repr_html_()
    assert len(comparison.to_pandas()) == 70


@pytest.mark.parametrize(
    ("by", "higher", "said"),
    [
        (0.02, True, ("+0.02 better", "good")),
        (0.02, False, ("+0.02 worse", "bad")),
        (-0.02, False, ("-0.02 better", "good")),
        (0, True, ("same", "")),
        (3, None, ("+3", "")),
    ],
)
def test_a_change_is_said_in_words(by, higher, said):
    """Colour is never the only thing that tells better from worse."""
    assert change(by, higher) == said


# ---- on one data set


def test_versions_are_scored_on_the_same_data(registry):
    """By functions of one's own, and by names that scikit-learn knows."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    X, y = load_iris(return_X_y=True)
    for C in (0.001, 1.0):
        registry.save("iris", LogisticRegression(C=C, max_iter=500).fit(X, y))
    iris = registry["iris"]

    by_name = iris.evaluate(1, 2, X=X, y=y, scorer=["accuracy", "f1_macro"])
    own = iris.evaluate(1, iris[2], X=X, y=y, scorer=lambda m, X, y: float(m.score(X, y)))

    frame = by_name.to_pandas()
    assert frame["version"].tolist() == ["iris:1", "iris:2"]
    assert frame["accuracy"][1] > frame["accuracy"][0]
    assert own.scores["iris:2"]["lambda"] == pytest.approx(frame["accuracy"][1])
    assert "on 150 rows" in str(own) and repr(own) == "<Evaluation of iris:1, iris:2>"
    named = iris.evaluate(1, X=X, y=y, scorer={"acc": "accuracy"})
    assert list(named.scores["iris:1"]) == ["acc"]


def test_an_evaluation_says_who_is_best_and_by_how_much(registry):
    """A higher score of scikit-learn's is better, whatever it is called; of others as named."""
    for weight in (1, 2, 3):
        registry.save("m", {"w": weight}, new=True)
    score = {"auc": lambda m, X, y: m["w"] / 10, "loss": lambda m, X, y: float(m["w"])}

    found = registry["m"].evaluate(
        1, 2, 3, X=[1], y=[1], scorer=score | {"size": lambda m, X, y: 1}
    )

    facts = found.to_dict()
    assert str(found).startswith("evaluation: on 1 row\n")
    assert facts["best_auc"] == "m:3 with 0.3, +0.1 better than m:2"
    assert facts["best_loss"] == "m:1 with 1, -1 better than m:2"
    assert not facts["best_size"]


def test_scikit_learns_errors_are_negative_and_higher_is_better(registry):
    """Even where the user calls such a scorer by the name of the error."""
    X, y = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 3.0])
    for shift in (0, 1):
        registry.save("line", LinearRegression().fit(X, y + shift))

    found = registry["line"].evaluate(
        1, 2, X=X, y=y, scorer={"rmse": "neg_root_mean_squared_error"}
    )

    assert found.to_dict()["best_rmse"].startswith("line:1 with ")


def test_an_error_while_scoring_names_the_version(registry):
    """The user's error stays what it is, and is told which of several versions it was of."""
    registry.save("m", {"w": 1})
    registry.save("m", {"v": 2})

    with pytest.raises(KeyError) as caught:
        registry["m"].evaluate(1, 2, X=[1], y=[1], scorer=lambda m, X, y: m["w"])

    assert caught.value.__notes__ == ["when m:2 was scored"]


def test_a_scorer_that_is_none_is_refused_before_anything_is_loaded(pair):
    """The error says what can be given."""
    with pytest.raises(InvalidInputError, match=r"function of \(model, X, y\)"):
        pair.evaluate(1, X=None, y=None, scorer=3)
