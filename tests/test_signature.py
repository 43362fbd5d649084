"""Signatures: what an object takes and gives, read from it without running anybody's code."""

import functools
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
import torch
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier
from test_display import ATTRIBUTES, HOSTILE, TAGS, Reader
from test_schemas import check, stored
from tokens import ALNUM, draw

import modelversion as mv
from modelversion import signature
from modelversion.differences import signature_changes
from modelversion.records import SignatureRecord
from modelversion.redaction import Redactor, known_secrets
from modelversion.signature import signature_of

RANDOM = np.random.default_rng(0)
X = pd.DataFrame({"age": RANDOM.normal(size=40), "pay": RANDOM.normal(size=40), "n": range(40)})
Y = np.array(["leaves", "stays"] * 20)
TOKEN = "ghp_" + draw(ALNUM, 36)
VOTERS = [("a", LogisticRegression()), ("b", DecisionTreeClassifier())]


# ---- estimators ----------------------------------------------------------------------------------


def test_an_estimator_tells_its_features_and_classes():
    """Their number and names as it was fitted on them, and the labels that it gives."""
    found = signature_of(LogisticRegression().fit(X, Y))

    assert found == SignatureRecord(
        kind="estimator",
        features=3,
        feature_names=["age", "pay", "n"],
        classes=["leaves", "stays"],
    )
    assert str(found) == "3 features (age, pay, n) → 2 classes (leaves, stays)"


def test_an_estimator_that_was_fitted_on_an_array_has_no_names():
    """What is not known is left out."""
    found = signature_of(LinearRegression().fit(X.to_numpy(), range(40)))

    assert found == SignatureRecord(kind="estimator", features=3)
    assert str(found) == "3 features"


COMPOSITES = [
    make_pipeline(StandardScaler(), LogisticRegression()),
    make_pipeline(make_pipeline(StandardScaler()), make_pipeline(LogisticRegression())),
    Pipeline(
        [("c", ColumnTransformer([("s", StandardScaler(), ["age"])])), ("m", LogisticRegression())]
    ),
    FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())]),
    GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {}, cv=2),
    VotingClassifier(VOTERS),
    StackingClassifier(VOTERS, cv=2),
    RFE(LogisticRegression()),
    SelectFromModel(LogisticRegression()),
    CalibratedClassifierCV(LogisticRegression(), cv=2),
    OneVsRestClassifier(LogisticRegression()),
    RandomForestClassifier(2),
    xgboost.XGBClassifier(n_estimators=2),
    lightgbm.LGBMClassifier(n_estimators=2, verbose=-1),
]


@pytest.mark.parametrize("model", COMPOSITES, ids=lambda model: type(model).__name__)
def test_composites_tell_what_the_library_tells_of_them(model):
    """The same features, names and classes that its own properties give."""
    model.fit(X, [0, 1] * 20)

    found = signature_of(model)
    assert found.features == model.n_features_in_
    assert list(found.feature_names) == list(getattr(model, "feature_names_in_", ()))
    assert list(found.classes) == list(getattr(model, "classes_", ()))


def test_of_several_outputs_there_is_a_number():
    """Their classes are lists of lists, and are left out."""
    two = np.stack([Y, Y]).T
    tree = DecisionTreeClassifier().fit(X, two)

    assert signature_of(tree).outputs == 2
    assert signature_of(tree).classes == ()
    assert str(signature_of(tree)) == "3 features (age, pay, n) → 2 outputs"
    assert signature_of(MultiOutputClassifier(DecisionTreeClassifier()).fit(X, two)).features == 3
    target = TransformedTargetRegressor(LinearRegression()).fit(X, range(40))
    assert signature_of(target).features == 3


@pytest.mark.parametrize(
    "value",
    [
        LogisticRegression(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        xgboost.XGBClassifier(),
        lightgbm.LGBMClassifier(),
        Pipeline([]),
        {"w": [1]},
        [LogisticRegression()],
        None,
        3,
        object(),
        LogisticRegression,
        len,
        functools.partial(len),
        torch.nn.ReLU(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_tells_nothing_has_none(value):
    """Estimators before their fit, plain data, classes."""
    assert signature_of(value) is None


def test_a_pipeline_takes_what_its_first_working_part_takes():
    """What is passed through is not asked; scikit-learn itself raises here."""
    model = make_pipeline("passthrough", None, StandardScaler(), LogisticRegression()).fit(X, Y)

    assert str(signature_of(model)) == "3 features (age, pay, n) → 2 classes (leaves, stays)"


def test_a_text_pipeline_tells_its_classes():
    """A vectorizer counts no features that go in."""
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
        ["a cat", "dogs"] * 5, [0, 1] * 5
    )

    assert str(signature_of(model)) == "2 classes (0, 1)"


def test_labels_become_plain_ones():
    """Numbers, texts and bools of numpy too; of anything else there are none."""
    one = LogisticRegression()
    one.n_features_in_ = np.int64(3)
    for given_, kept in [
        (np.array([True, False]), [True, False]),
        (np.array(["a", 2, np.str_("c"), np.float32(0.5)], dtype=object), ["a", 2, "c", 0.5]),
        ([float("nan"), 2**60], [{"$float": "nan"}, {"$int": str(2**60)}]),
        (pd.Index(["x", "y"]), ["x", "y"]),
        (["\ud800"], ["\\ud800"]),
        ([None, "a"], []),
        (np.eye(2), []),
        (np.array(3), []),
        ("ab", []),
        ({"a": 1}, []),
    ]:
        one.classes_ = given_

        found = signature_of(one)
        assert list(found.classes) == kept
        assert found.features == 3
        assert str(found)


# ---- boosters, modules, functions ----------------------------------------------------------------


def test_boosters_tell_their_features():
    """Numbers in the place of names are no names."""
    names = ("age", "pay", "n")
    target = [0, 1] * 20
    for data, known in ((X, names), (X.to_numpy(), ())):
        boosted = xgboost.train({}, xgboost.DMatrix(data, target), 2)
        light = lightgbm.train({"verbose": -1}, lightgbm.Dataset(data, target), 2)
        for booster in (boosted, light):
            found = SignatureRecord(kind="booster", features=3, feature_names=known)
            assert signature_of(booster) == found
        model = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(data, Y)
        found = signature_of(model)
        assert (found.kind, found.feature_names, found.classes) == (
            "estimator",
            known,
            ("leaves", "stays"),
        )


def test_a_module_tells_its_parameters():
    """Each once, in order, with type and shape; a lazy one has no shape yet."""
    inner = torch.nn.Linear(3, 2, bias=False)
    net = torch.nn.Sequential(inner, torch.nn.BatchNorm1d(2), inner, torch.nn.LazyLinear(1))
    net.half()
    net.own = torch.nn.Parameter(torch.zeros(()))

    found = signature_of(net)
    assert found.kind == "module"
    assert found.parameters == (
        "own float32[]",
        "0.weight float16[2, 3]",
        "1.weight float16[2]",
        "1.bias float16[2]",
        "3.weight float16",
        "3.bias float16",
    )
    assert str(found) == (
        "6 parameters (own float32[], 0.weight float16[2, 3], 1.weight float16[2], ...)"
    )
    names = [text.split(" ")[0] for text in found.parameters]
    assert names == [name for name, _ in net.named_parameters()]


def test_a_function_tells_how_it_is_called():
    """As Python prints it, but for defaults that are not plain."""

    def one(a, /, b, *rest, c, d=1, e="x", **more):
        local = a
        return local

    def two(a=None, *, b=(1.5), c=True):
        return a

    def three(a=object(), b=(1, 2), c=10**400, d="x" * 500):  # noqa: B008
        return a

    for function in (one, two, lambda x: x, lambda: 0, lambda *a: a, lambda **a: a, lambda a, /: a):
        found = signature_of(function)
        assert found.kind == "function"
        assert str(found) == found.call == str(inspect.signature(function))
    assert signature_of(three).call == "(a=..., b=..., c=..., d=...)"


def annotated(a: "undefined", b: list[int] = None) -> int:  # noqa: F821, RUF013
    """A function whose annotations could not be asked."""


def test_annotations_are_left_out():
    """They may be code that has not run yet."""
    assert signature_of(annotated).call == "(a, b=None)"


# ---- bounds, and nobody's code -------------------------------------------------------------------


def test_long_lists_are_a_count_and_a_digest():
    """Up to 1,000 names and 64 Ki characters are kept; of what is very long only the count."""
    one = LogisticRegression()
    for names, kept in [
        ([f"f{i}" for i in range(1000)], True),
        ([f"f{i}" for i in range(1001)], False),
        (["x" * 2**15, "y" * (2**15 + 1)], False),
    ]:
        one.feature_names_in_ = np.array(names, dtype=object)

        found = signature_of(one)
        assert (list(found.feature_names) == names) is kept
        assert (found.left_out == {}) is kept
        assert str(found).startswith(f"{len(names)} features")
    assert set(found.left_out["feature_names"]) == {"count", "sha256"}
    one.feature_names_in_ = ["x"] * 100_001
    assert signature_of(one).left_out == {"feature_names": {"count": 100_001}}


def test_no_code_of_the_user_runs():
    """Neither properties nor `__getattr__`, comparisons, conversions or printing."""
    ran = []

    class Loud:
        def __getattribute__(self, name):
            ran.append(name)
            return object.__getattribute__(self, name)

        def __eq__(self, other):
            ran.append("__eq__")
            return True

        __hash__ = None

        def __repr__(self):
            ran.append("__repr__")
            return ""

        def __len__(self):
            ran.append("__len__")
            return 1

        def __int__(self):
            ran.append("__int__")
            return 1

        @property
        def n_features_in_(self):
            ran.append("n_features_in_")
            return 3

    class Text(str):
        def __str__(self):
            ran.append("__str__")
            return ""

    class Booster(xgboost.Booster):
        def num_features(self):
            ran.append("num_features")
            return 3

    class Net(torch.nn.Module):
        def named_parameters(self, *args, **kwargs):
            ran.append("named_parameters")
            return super().named_parameters(*args, **kwargs)

    loud, net = Loud(), Net()
    loud.estimator_ = Loud()
    net.register_parameter("w", torch.nn.Parameter(torch.zeros(1)))
    fitted = LogisticRegression()
    fitted.n_features_in_, fitted.classes_ = loud, [loud, loud]
    fitted.feature_names_in_ = [Text("a"), "b"]
    pipeline = Pipeline([("a", loud), ("b", loud)])
    ran.clear()

    for value in (loud, pipeline, net, lambda a=loud: a, Booster()):
        signature_of(value)
    assert signature_of(fitted).feature_names == ("a", "b")
    assert ran == []


def test_what_goes_round_in_circles_ends():
    """A part that is its own part, and a library that raises, cost nobody a save."""
    one = LogisticRegression()
    one.estimator_ = one
    net = torch.nn.Module()
    net._modules["net"] = net
    broken = torch.nn.Linear(1, 1)
    broken._parameters = 3

    assert signature_of(one) is signature_of(net) is signature_of(broken) is None
    assert signature_of(xgboost.Booster()) is None


def test_nothing_is_imported_for_it(tmp_path):
    """A save of a function takes no library that was not there."""
    code = f"""
import sys
import modelversion as mv
mv.Registry({str(tmp_path / "r")!r}).save("f", lambda x: x)
print([name for name in ("sklearn", "torch", "numpy", "pandas", "xgboost") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


# ---- secrets -------------------------------------------------------------------------------------


def test_secrets_in_a_signature_are_redacted(registry, environment):
    """Names and labels by their format, defaults by their name; the path says where."""
    environment.setenv("SERVICE_TOKEN", "s3cr3t-of-a-service")
    model = LogisticRegression()
    model.n_features_in_ = 2
    model.feature_names_in_ = ["age", TOKEN]
    model.classes_ = ["a", "s3cr3t-of-a-service", 3]
    registry.save("churn", model, allow_secrets=True)
    registry.save("call", lambda x, password="hunter2!": x)

    one, two = registry["churn"][1], registry["call"][1]
    assert one.signature.feature_names == ("age", "(redacted)")
    assert one.signature.classes == ("a", "(redacted)", 3)
    assert two.signature.call == "(x, password='(redacted)')"
    where = {redaction.path for version in (one, two) for redaction in version.redactions}
    assert {"signature.feature_names", "signature.classes", "signature.call"} <= where
    for file in Path(registry.url).rglob("*.json"):
        assert TOKEN not in file.read_text("utf-8")
    kept = registry.save("churn", model, allow_secrets=True, not_secret=["signature"], new=True)
    assert kept.signature.feature_names == ("age", TOKEN)


SPICE = [TOKEN, "password", "token: 'abc123def'", "=", "https://a:bcd@c.example", "--api-key", "'"]


@given(st.lists(st.one_of(st.sampled_from(SPICE), st.text(max_size=8), st.integers()), max_size=8))
def test_a_list_is_redacted_as_each_of_its_texts(values):
    """That all are looked through at once finds no less."""
    one, all_ = (Redactor(known_secrets()) for _ in range(2))

    each = [one.text(v, "names") if isinstance(v, str) else v for v in values]
    assert list(all_.listed(tuple(values), "names")) == each
    assert all_.rules() == one.rules()


# ---- what is kept and shown ----------------------------------------------------------------------


@pytest.fixture
def pair(registry):
    """Two versions of a model, of which the second has a feature and a class more."""
    registry.save("churn", LogisticRegression().fit(X[["age", "pay"]], Y))
    more = np.array(["leaves", "stays", "pauses", "stays"] * 10)
    registry.save("churn", LogisticRegression().fit(X, more))
    return registry["churn"]


def test_a_version_has_the_signature_of_its_object(pair, registry):
    """In the record, as the schema says, in every display and in its data."""
    version = registry.get("churn:2")

    assert version.signature.feature_names == ("age", "pay", "n")
    line = "3 features (age, pay, n) → 3 classes (leaves, pauses, stays)"
    assert line in str(version) and line in Reader(version._repr_html_()).text
    assert "3 features \\(age, pay, n\\)" in version.to_markdown()
    told = version.to_dict()["signature"]
    assert told["feature_names"] == ["age", "pay", "n"] or told["feature_names"] == (
        "age",
        "pay",
        "n",
    )
    json.dumps(version.to_dict(), default=str)
    assert registry.save("plain", {"a": 1}).signature is None
    assert registry.save("nothing", params={"a": 1}).signature is None
    check(stored(Path(registry.url)))


def test_a_diff_names_features_and_classes_that_came_and_went(pair):
    """Among what could explain the metric, under the object."""
    diff = pair[2].diff(pair[1])

    rows = {r["what"]: r["how"] for r in diff.to_dict()["what_changed"] if r["part"] == "object"}
    assert rows == {
        "features changed": "2 → 3",
        "feature_names changed": "+ n",
        "classes changed": "+ pauses",
    }
    back = pair[1].diff(pair[2]).to_dict()["what_changed"]
    assert {"part": "object", "what": "feature_names changed", "how": "- n"} in back
    assert not any(change for change in pair[1].diff(pair[1]).object)
    names = {row["name"]: row["after"] for row in diff.to_dict()["object"]}
    assert list(names["feature_names"]) == ["age", "pay", "n"]


def changed(registry, *models):
    for model in models:
        registry.save("m", model)
    rows = registry["m"][2].diff(registry["m"][1]).to_dict()["what_changed"]
    return {r["what"]: r["how"] for r in rows if r["part"] == "object"}


def test_another_order_is_a_difference(registry):
    """A model that takes its columns in another order gives nonsense on those of the other."""
    orders = (["age", "pay"], ["pay", "age"])
    models = [LogisticRegression().fit(X[names], Y) for names in orders]

    assert changed(registry, *models) == {"feature_names changed": "in another order"}


def test_many_names_that_changed_are_counted(registry):
    """The first ones are named."""
    few, many = ([f"f{i}" for i in range(count)] for count in (2, 12))
    models = [
        LogisticRegression().fit(pd.DataFrame(np.eye(9, len(n)), columns=n), [0, 1, 2] * 3)
        for n in (few, many)
    ]

    assert changed(registry, *models)["feature_names changed"] == (
        "+ f2, f3, f4, f5, f6, f7 and 4 more"
    )


def test_lists_that_were_too_long_differ_by_digest(registry):
    """And those that have none do not differ as far as is known."""
    models = [LogisticRegression(), LogisticRegression()]
    for i, model in enumerate(models):
        model.feature_names_in_ = [f"{i}{j}" for j in range(2000)]

    said = changed(registry, *models)["feature_names changed"]
    assert said.startswith("2000 of digest ")
    before, after = (registry["m"][number]._record for number in (1, 2))
    assert len(signature_changes(before, after)) == 1
    for model in models:
        model.feature_names_in_ = model.feature_names_in_ * 60
    assert signature_of(models[0]) == signature_of(models[1])


def test_calls_and_parameters_are_compared(registry):
    """Of functions how they are called, of modules the parameters that came and went."""
    said = changed(registry, lambda x: x, lambda x, y=1: x)
    assert said["call changed"] == "(x) → (x, y=1)"

    other = mv.Registry("memory://nets")
    said = changed(other, torch.nn.Linear(2, 1), torch.nn.Linear(3, 1))
    assert said["parameters changed"] == "+ weight float32[1, 3]; - weight float32[1, 2]"


def test_old_records_have_no_signature(registry, tmp_path, pair):
    """That they lack one is no difference to one that has it."""
    golden = tmp_path / "format-1"
    shutil.copytree(Path(__file__).parent / "data" / "format-1", golden)
    old = mv.Registry(golden)["churn"][2]

    assert old.signature is None
    assert "signature" not in str(old)
    assert {c.name for c in pair[1].diff(old).object} == {"type"}


def test_an_object_is_looked_at_when_it_is_given(registry):
    """What is fitted further after `log_model` has the signature of what was taken."""
    model = LogisticRegression().fit(X, Y)
    with registry.run("churn") as run:
        run.log_model(model)
        model.fit(X[["age"]], Y)

    assert registry["churn"][1].signature.features == 3


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_are_shown_as_text(registry, hostile):
    """No tag, no link and no control character is made of a feature's name or a label."""
    model = LogisticRegression()
    model.n_features_in_, model.feature_names_in_ = 1, [hostile]
    model.classes_ = [hostile, "b"]
    registry.save("churn", model)
    model.feature_names_in_ = [hostile + "2"]
    registry.save("churn", model)

    for shown in (registry["churn"][1], registry["churn"][2].diff(registry["churn"][1])):
        read = Reader(shown._repr_html_())
        assert read.tags <= TAGS and read.attributes <= ATTRIBUTES
        assert all(c.isprintable() or c == "\n" for c in str(shown))
        assert "<script" not in shown.to_markdown() and "](" not in shown.to_markdown()
    check(stored(Path(registry.url)))


@given(st.lists(st.text(max_size=12) | st.integers() | st.floats() | st.booleans(), max_size=6))
def test_any_labels_come_back(labels):
    """Whatever they are, the record is JSON and says the same when it is read."""
    model = LogisticRegression()
    model.classes_ = labels

    found = signature_of(model)
    if labels:
        again = mv.schema.from_json(
            SignatureRecord, mv._json.loads(mv.schema.stored(found), "signature"), "signature"
        )
        assert again == found and str(again) == str(found)
        assert len(found.classes) == len(labels)
    else:
        assert found is None


def test_a_signature_is_quick(registry):
    """It asks each thing once: no more calls for a thousand features than for three."""
    small, large = LogisticRegression(), LogisticRegression()
    small.feature_names_in_ = ["a", "b", "c"]
    large.feature_names_in_ = [f"f{i}" for i in range(1000)]

    def calls(value):
        count = 0

        def look(frame, event, arg):
            nonlocal count
            count += event == "call" and frame.f_code.co_filename == signature.__file__

        sys.setprofile(look)
        try:
            signature_of(value)
        finally:
            sys.setprofile(None)
        return count

    assert calls(large) == calls(small) < 60
