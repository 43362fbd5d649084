"""Pipelines: each part of a saved scikit-learn object is a step, read without running it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures, StandardScaler

from modelversion import parts
from modelversion.parts import parts_of

RANDOM = np.random.default_rng(0)
WORDS = ("cat", "dog", "sat", "the", "zebra")
FRAME = pd.DataFrame(
    {
        "age": RANDOM.normal(size=40),
        "pay": RANDOM.normal(size=40),
        "city": RANDOM.permutation(["Oslo", "Rome", "Oslo", "Lima"] * 10),
        "text": [" ".join(RANDOM.choice(WORDS, 3)) for _ in range(40)],
    }
)
FRAME.loc[3, "age"] = np.nan
TARGET = [0, 1, 0, 1] * 10


def pipeline():
    number = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = ColumnTransformer(
        [
            ("number", number, ["age", "pay"]),
            ("city", OneHotEncoder(), ["city"]),
            ("text", TfidfVectorizer(), "text"),
        ]
    )
    union = FeatureUnion([("pca", PCA(2)), ("best", SelectKBest(k=3))])
    return Pipeline([("columns", columns), ("union", union), ("model", LogisticRegression(C=0.5))])


def named(value):
    found = parts_of(value)
    return {part.name: part for part in found}


def test_each_part_of_a_pipeline_is_a_step():
    """With its type and params, the parts inside others under them, in order."""
    found = parts_of(pipeline().fit(FRAME, TARGET))

    names = [part.name for part in found]
    assert names == [
        "Pipeline",
        "columns",
        "columns/number",
        "columns/number/simpleimputer",
        "columns/number/standardscaler",
        "columns/city",
        "columns/text",
        "union",
        "union/pca",
        "union/best",
        "model",
    ]
    parents = [None if part.parent is None else names[part.parent] for part in found]
    assert parents[1:5] == ["Pipeline", "columns", "columns/number", "columns/number"]
    assert parents[8:] == ["union", "union", "Pipeline"]
    assert {part.form for part in found} == {"part"}
    assert found[3].code.entry == "sklearn.impute._base:SimpleImputer"
    assert found[3].params["strategy"] == "median"
    assert found[-1].params["C"] == 0.5


def test_features_are_followed_by_name():
    """From the frame's columns to what the last transformer gives, through arrays without names."""
    found = named(pipeline().fit(FRAME, TARGET))

    assert found["columns/number"].columns == ("age", "pay")
    assert found["columns/text"].columns == ("text",)
    assert found["columns/number/standardscaler"].feature_names == ("age", "pay")
    assert found["columns/city"].feature_names == ("city_Lima", "city_Oslo", "city_Rome")
    assert found["columns"].features_in == 4
    assert found["columns"].features_out == 10
    assert found["columns"].feature_names[:3] == ("number__age", "number__pay", "city__city_Lima")
    assert found["union/best"].features_out == 3
    assert set(found["union/best"].feature_names) < set(found["columns"].feature_names)
    assert found["union"].feature_names[:2] == ("pca__pca0", "pca__pca1")
    assert (found["model"].features_in, found["model"].features_out) == (5, None)


SELECTIONS = {
    "names": (["age", "pay"], ("age", "pay")),
    "places": ([0, 1], ("age", "pay")),
    "from the end": ([-4, -3], ("age", "pay")),
    "mask": ([True, True, False, False], ("age", "pay")),
    "array mask": (np.array([True, True, False, False]), ("age", "pay")),
    "slice": (slice(0, 2), ("age", "pay")),
    "slice of names": (slice("age", "pay"), ("age", "pay")),
    "open slice of names": (slice(None, "pay"), ("age", "pay")),
    "function": (make_column_selector(dtype_include=float), ("age", "pay")),
}


@pytest.mark.parametrize("how", SELECTIONS)
def test_columns_are_named_however_they_were_chosen(how):
    """By name, place, mask, slice or function."""
    chosen, expected = SELECTIONS[how]
    columns = ColumnTransformer([("n", SimpleImputer(), chosen)])

    assert named(columns.fit(FRAME))["n"].columns == expected


def test_dropped_and_passed_columns_are_steps():
    """The remainder too."""
    columns = make_column_transformer(
        ("drop", ["text", "city"]), (StandardScaler(), ["age"]), remainder="passthrough"
    ).fit(FRAME)

    found = named(columns)

    assert found["drop"].code.entry == "drop"
    assert found["drop"].columns == ("text", "city")
    assert found["remainder"].columns == ("pay",)
    assert found["ColumnTransformer"].feature_names == ("standardscaler__age", "remainder__pay")


def test_arrays_have_no_names():
    """What was fitted on an array has counts only; nothing is invented."""
    columns = ColumnTransformer([("a", StandardScaler(), [0, 2]), ("b", PCA(1), slice(1, 3))])
    found = named(columns.fit(np.random.default_rng(0).normal(size=(9, 3))))

    assert found["a"].columns == ("0", "2")
    assert found["b"].columns == ("1", "2")
    assert (found["a"].features_in, found["a"].features_out) == (2, 2)
    assert found["a"].feature_names == ()


def test_the_best_of_a_search_is_read():
    """Not the pipeline that the search began with."""
    search = GridSearchCV(pipeline(), {"model__C": [0.25, 4.0]}, cv=2).fit(FRAME, TARGET)

    found = named(search)

    assert found["best_estimator_/model"].params["C"] == search.best_params_["model__C"]
    assert parts_of(GridSearchCV(pipeline(), {"model__C": [1]})) == ()


class Holder:
    def __init__(self, held):
        self.pipeline_ = held
        self.other = 3


@pytest.mark.parametrize(
    ("hold", "name"),
    [
        (lambda p: {"model": p, "threshold": 0.4}, "model"),
        (lambda p: (p, 0.4), "[0]"),
        (lambda p: ["a", p], "[1]"),
        (Holder, "pipeline_"),
    ],
)
def test_pipelines_inside_other_objects_are_found(hold, name):
    """In dicts, lists, tuples, and attributes of classes of one's own."""
    assert f"{name}/model" in named(hold(pipeline().fit(FRAME, TARGET)))


def test_an_unfitted_pipeline_is_read():
    """Types, params and columns are there, counts are not."""
    found = named(pipeline())

    assert found["columns/number"].columns == ("age", "pay")
    assert found["columns"].features_in is None
    assert found["model"].params["C"] == 0.5


@pytest.mark.parametrize("value", [None, 3, {"w": 1}, LogisticRegression(), StandardScaler(), []])
def test_what_is_no_pipeline_has_no_parts(value):
    """A single estimator tells its params itself."""
    assert parts_of(value) == ()


ASKED = []


class Counting(TransformerMixin, BaseEstimator):
    """Notes whatever is asked of it."""

    def __init__(self, size=1):
        self.size = size

    def fit(self, X, y=None):
        ASKED.append("fit")
        self.n_features_in_ = np.shape(X)[1]
        self.feature_names_in_ = np.array(X.columns)
        return self

    def transform(self, X):
        ASKED.append("transform")
        return X

    def get_feature_names_out(self, names=None):
        return np.array([f"mine_{name}" for name in names])


def test_nothing_is_run():
    """Neither fit nor transform: only the names of features are asked for."""
    fitted = make_pipeline(Counting(size=7)).fit(FRAME)
    ASKED.clear()

    found = named(fitted)

    assert ASKED == []
    assert found["counting"].params == {"size": 7}
    assert found["counting"].feature_names == tuple(f"mine_{name}" for name in FRAME)


class Rude(Counting):
    """Raises at whatever it can."""

    def get_params(self, deep=True):
        raise RuntimeError("no params")

    def get_feature_names_out(self, names=None):
        raise RuntimeError("no names")

    @property
    def n_features_out_(self):
        raise RuntimeError("no number")


class Odd(Pipeline):
    @property
    def steps(self):
        raise RuntimeError("no steps")

    @steps.setter
    def steps(self, value):
        pass


def test_a_part_that_raises_is_noted_all_the_same():
    """Capture never fails: a part that tells nothing is there by its type."""
    found = named(make_pipeline(Rude(), StandardScaler()).fit(FRAME[["pay"]]))

    assert found["rude"].params == {}
    assert found["rude"].feature_names == ()
    assert found["standardscaler"].features_out == 1
    assert parts_of(Odd([("a", StandardScaler())])) == ()


def test_very_many_features_are_counted_only():
    """Names are asked for up to 1,000; that many parts, and depths, are bounded too."""
    wide = make_pipeline(PolynomialFeatures(3)).fit(pd.DataFrame(np.zeros((2, 20))).add_prefix("c"))

    part = named(wide)["polynomialfeatures"]

    assert part.features_out == 1771
    assert part.feature_names == ()
    many = make_pipeline(*[StandardScaler() for _ in range(500)])
    assert len(parts_of(many)) == parts.MAX_PARTS
    deep = StandardScaler()
    for _ in range(40):
        deep = Pipeline([("p", deep)])
    assert len(parts_of(deep)) < 12


def test_a_text_column_of_many_words_asks_for_no_names(monkeypatch):
    """A vocabulary of a million words would take a second to list."""
    texts = pd.DataFrame({"t": [" ".join(f"w{i}" for i in range(3000))] * 2})
    fitted = make_column_transformer((TfidfVectorizer(), "t")).fit(texts)
    monkeypatch.setattr(TfidfVectorizer, "get_feature_names_out", lambda *_: pytest.fail("asked"))
    monkeypatch.setattr(ColumnTransformer, "get_feature_names_out", lambda *_: pytest.fail("asked"))

    assert named(fitted)["tfidfvectorizer"].features_out == 3000


def test_a_version_has_the_parts_of_its_object(registry):
    """As it was when it was taken; they come behind the steps that ran."""
    fitted = pipeline().fit(FRAME, TARGET)
    with registry.run("churn") as run:
        run.log_model(fitted)
        fitted.set_params(model__C=99)

    steps = registry.get("churn").steps

    assert [step.name for step in steps][:2] == ["Pipeline", "columns"]
    assert steps[-1].params["C"] == 0.5
    assert "standardscaler StandardScaler: 2 -> 2 features" in str(steps)
    assert registry.verify().ok


def test_the_same_pipeline_again_is_a_repeat(registry):
    """What is read from the object says nothing that its bytes do not say."""
    fitted = pipeline().fit(FRAME, TARGET)

    assert registry.save("churn", fitted) == registry.save("churn", fitted)
