"""Real programs: each in the shape in which people write it, and what its version says.

Every object is loaded again in a fresh process, in an empty folder.
"""

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import joblib
import lightgbm
import numpy as np
import palmerpenguins
import pandas as pd
import pytest
import torch
import xgboost
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

import modelversion as mv
from tests import fresh

# Each of them trains something and starts processes.
pytestmark = pytest.mark.slow

LOAD = """
import json, sys
import numpy as np
import modelversion as mv

value = mv.Registry(sys.argv[1]).load(sys.argv[2])
print(json.dumps({expression}))
"""


@pytest.fixture
def registry(tmp_path):
    return mv.Registry(tmp_path / "registry")


@pytest.fixture
def elsewhere(tmp_path, registry):
    """Evaluate an expression on the object of a version in a fresh process."""

    def load(reference, expression):
        code = LOAD.replace("{expression}", expression)
        folder = tmp_path / "elsewhere"
        folder.mkdir(exist_ok=True)
        return json.loads(
            fresh.run(code, registry.url, reference, cwd=folder, isolated=True).splitlines()[-1]
        )

    return load


# ---- an estimator in a function


def test_an_estimator_in_a_function(registry, elsewhere):
    """The most common shape of all: data in, fitted model out."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

    @mv.track("tumour", registry=registry)
    def train(X, y, n_estimators=30, max_depth=None, seed=0):
        forest = RandomForestClassifier(n_estimators, max_depth=max_depth, random_state=seed)
        forest.fit(X, y)
        mv.log_metrics(auc=roc_auc_score(y_test, forest.predict_proba(X_test)[:, 1]))
        return forest

    model = train(X_train, y_train, max_depth=4)

    version = registry.get("tumour")
    assert dict(version.params) == {"n_estimators": 30, "max_depth": 4, "seed": 0}
    assert version.metrics["auc"] > 0.95
    assert version.data["X"].shape == X_train.shape
    assert version.data["X"].columns["mean radius"].startswith("float")
    assert "RandomForestClassifier(" in version.code.source()
    assert version._record.duration_seconds > 0
    rows = X_test[:9].to_numpy()
    assert elsewhere("tumour", f"value.predict(np.array({rows.tolist()})).tolist()") == list(
        model.predict(X_test[:9])
    )


# ---- a loop of refits


def test_a_loop_of_refits(registry, elsewhere):
    """A grid by hand, where the best is named at the end."""
    X, y = load_iris(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=1)

    for C in (0.01, 0.1, 1.0):
        for scale in (True, False):
            steps = [StandardScaler()] if scale else []
            model = make_pipeline(*steps, LogisticRegression(C=C, max_iter=2000))
            model.fit(X_train, y_train)
            registry.save(
                "iris",
                model,
                params={"C": C, "scale": scale},
                metrics={"accuracy": accuracy_score(y_test, model.predict(X_test))},
                data={"train": X_train, "test": X_test},
            )
    iris = registry["iris"]
    best = iris.best("accuracy")
    iris.set_alias("champion", best)

    assert len(iris) == 6
    assert {(v.params["C"], v.params["scale"]) for v in iris} == {
        (C, scale) for C in (0.01, 0.1, 1.0) for scale in (True, False)
    }
    assert best.metrics["accuracy"] == max(v.metrics["accuracy"] for v in iris)
    assert len(iris.versions(where="params.C < 1 and params.scale = true")) == 2
    assert [s.name for s in iris[1].steps] == ["Pipeline", "standardscaler", "logisticregression"]
    assert elsewhere("iris@champion", "float(value[-1].C)") == best.params["C"]


# ---- a script whose main() returns None

MAIN = """
    import sys

    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import accuracy_score
    from sklearn.model_selection import train_test_split

    import modelversion as mv

    EPOCHS = 4


    def main():
        X, y = load_digits(return_X_y=True)
        X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
        with mv.Registry(sys.argv[1]).run("digits", params={"epochs": EPOCHS}) as run:
            run.log_data(train=X_train, test=X_test)
            model = SGDClassifier(random_state=0)
            for epoch in range(EPOCHS):
                order = np.random.default_rng(epoch).permutation(len(X_train))
                model.partial_fit(X_train[order], y_train[order], classes=np.unique(y))
                run.log_metrics(accuracy=accuracy_score(y_test, model.predict(X_test)), step=epoch)
            run.log_model(model)
        print("saved", run.version.ref)


    if __name__ == "__main__":
        main()
"""


def test_a_main_that_returns_nothing(registry, elsewhere, tmp_path):
    """Run as a script, twice: the second is a repeat."""
    for _ in range(2):
        assert fresh.run(MAIN, registry.url, cwd=tmp_path) == "saved digits:1\n"

    version = registry.get("digits")
    assert dict(version.params) == {"epochs": 4}
    assert [step for step, _ in version.metrics.series("accuracy")] == [0, 1, 2, 3]
    assert version.metrics["accuracy"] > 0.85
    assert {name: item.shape for name, item in version.data.items()} == {
        "train": (1347, 64),
        "test": (450, 64),
    }
    assert elsewhere("digits", "list(value.coef_.shape)") == [10, 64]


# ---- metrics only


def test_an_evaluation_that_makes_no_model(registry):
    """It loads a version, measures it, and commits numbers and a report."""
    X, y = load_iris(return_X_y=True)
    registry.save("iris", LogisticRegression(max_iter=500).fit(X[::2], y[::2]))

    @registry.track("iris-evaluation")
    def evaluate(X, y, split="holdout"):
        model = registry.load("iris")
        predicted = model.predict(X)
        mv.log_metrics({f"{split}/accuracy": mv.metric(accuracy_score(y, predicted), n=len(y))})
        mv.log_artifact("confusion.csv", pd.DataFrame(confusion_matrix(y, predicted)))

    assert evaluate(X[1::2], y[1::2]) is None

    version = registry.get("iris-evaluation")
    assert version.type is None
    assert version.parents == ("iris:1",)
    assert version.metrics["holdout/accuracy"] > 0.9
    assert version.data["X"].shape == (75, 4)
    assert version.open("confusion.csv").read().startswith(b",0,1,2")
    with pytest.raises(mv.errors.ObjectNotFoundError):
        version.load()


# ---- a generator of epochs


def test_a_generator_of_epochs(registry, elsewhere):
    """Its caller looks at each epoch and stops when it is good enough."""
    X, y = load_digits(return_X_y=True)

    @registry.track("digits")
    def epochs(X, y, patience=2):
        model, best, since = SGDClassifier(random_state=3), 0.0, 0
        for epoch in range(50):
            model.partial_fit(X, y, classes=np.unique(y))
            score = model.score(X, y)
            mv.log_metrics(score=score, step=epoch)
            best, since = (score, 0) if score > best else (best, since + 1)
            yield epoch, score
            if since >= patience:
                break
        return model

    seen = list(epochs(X, y))

    version = registry.get("digits")
    assert version.metrics.series("score") == seen
    assert 3 <= len(seen) < 50
    assert version.params["patience"] == 2
    assert elsewhere("digits", "type(value).__name__") == "SGDClassifier"


# ---- callbacks


def test_xgboost_with_a_callback(registry, elsewhere):
    """The booster calls back after each round, with the evaluations so far."""
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

    class Log(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            for part, metrics in evals_log.items():
                for name, values in metrics.items():
                    mv.log_metrics({f"{part}/{name}": values[-1]}, step=epoch)
            return False

    @registry.track("tumour-xgb", ignore=["valid"])
    def train(train, valid, params, rounds=12):
        data = xgboost.DMatrix(*train)
        return xgboost.train(
            params,
            data,
            num_boost_round=rounds,
            evals=[(data, "train"), (xgboost.DMatrix(*valid), "valid")],
            callbacks=[Log(), xgboost.callback.EarlyStopping(rounds=4)],
            verbose_eval=False,
        )

    params = {"objective": "binary:logistic", "eta": 0.4, "max_depth": 3, "nthread": 1}
    booster = train((X_train, y_train), (X_test, y_test), params)

    version = registry.get("tumour-xgb")
    series = version.metrics.series("valid/logloss")
    assert version.params["params"] == params
    assert [step for step, _ in series] == list(range(len(series)))
    assert series[-1][1] < series[0][1]
    assert {n: d.shape for n, d in version.data.items()} == {
        "train[0]": X_train.shape,
        "train[1]": y_train.shape,
    }
    assert elsewhere("tumour-xgb", "value.num_boosted_rounds()") == booster.num_boosted_rounds()


def test_lightgbm_with_a_callback(registry, elsewhere):
    """A plain function that gets the state of each round."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

    def log_round(env):
        found = {f"{part}/{name}": value for part, name, value, *_ in env.evaluation_result_list}
        mv.log_metrics(found, step=env.iteration)

    with registry.run("tumour-lgb") as run:
        params = {"objective": "binary", "metric": "auc", "num_leaves": 7, "learning_rate": 0.2}
        run.log_params(params, rounds=10)
        run.log_data(train=X_train, valid=X_test)
        data = lightgbm.Dataset(X_train, y_train)
        booster = lightgbm.train(
            {**params, "verbose": -1, "num_threads": 1},
            data,
            num_boost_round=10,
            valid_sets=[data.create_valid(X_test, y_test)],
            callbacks=[log_round],
        )
        run.log_model(booster)

    version = run.version
    assert len(version.metrics.series("valid_0/auc")) == 10
    assert version.metrics["valid_0/auc"] > 0.95
    assert version.params["num_leaves"] == 7
    assert elsewhere("tumour-lgb", "[value.num_feature(), value.num_trees()]") == [30, 10]


# ---- a class with fit

TRAINER = """
    import numpy as np
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import modelversion as mv


    class Trainer:
        \"\"\"Keeps its settings, and what it fitted.\"\"\"

        def __init__(self, alpha=1.0, clip=3.0):
            self.alpha = alpha
            self.clip = clip

        def get_params(self, deep=True):
            return {"alpha": self.alpha, "clip": self.clip}

        @mv.step
        def prepare(self, X):
            return np.clip(X, -self.clip, self.clip)

        @mv.track("trend", registry=mv.Registry(URL))
        def fit(self, X, y):
            self.pipeline_ = make_pipeline(StandardScaler(), Ridge(alpha=self.alpha))
            self.pipeline_.fit(self.prepare(X), y)
            mv.log_metrics(r2=self.score(X, y))
            return self

        def score(self, X, y):
            return self.pipeline_.score(np.clip(X, -self.clip, self.clip), y)


    X = np.random.default_rng(0).normal(size=(200, 3))
    y = X @ [1.0, -2.0, 0.5] + 1
    Trainer(alpha=0.1).fit(X, y)
    Trainer(alpha=10.0).fit(X, y)
"""


def test_a_class_with_fit(registry, elsewhere, tmp_path):
    """A script's own class: its settings are params, its inner pipeline is read, it loads."""
    fresh.run(f"URL = {registry.url!r}\n" + textwrap.dedent(TRAINER), cwd=tmp_path)

    trend = registry["trend"]
    assert [v.params["alpha"] for v in trend] == [0.1, 10.0]
    assert trend.best("r2").number == 1
    version = trend.latest
    assert [(s.name, s.form) for s in version.steps] == [
        ("Trainer.prepare", "call"),
        ("pipeline_", "part"),
        ("pipeline_/standardscaler", "part"),
        ("pipeline_/ridge", "part"),
    ]
    assert version.steps[0].params == {"alpha": 10.0, "clip": 3.0}
    assert version.code.entry == "__main__:Trainer.fit"
    assert elsewhere("trend", "[value.alpha, value.pipeline_[-1].coef_.shape[0]]") == [10.0, 3]


# ---- asyncio


def test_async_training(registry, elsewhere):
    """Parts are fetched at once and the fits run in threads, three models at a time."""
    X, y = load_iris(return_X_y=True)

    async def fetch(part):
        await asyncio.sleep(0.01 * (3 - part))
        return X[part::3], y[part::3]

    @registry.track("iris-async")
    async def train(C):
        parts = await asyncio.gather(*(fetch(i) for i in range(3)))
        mv.log_metrics(rows=sum(len(labels) for _, labels in parts))
        rows, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        model = LogisticRegression(C=C, max_iter=1000)
        await asyncio.to_thread(model.fit, rows, labels)
        mv.log_metrics(C_seen=C, accuracy=await asyncio.to_thread(model.score, X, y))
        return model

    async def main():
        return await asyncio.gather(*(mv.call(train, C) for C in (0.01, 1.0, 100.0)))

    calls = asyncio.run(main())

    for call in calls:
        assert call.value.C == call.version.params["C"] == call.version.metrics["C_seen"]
        assert call.version.metrics["rows"] == 150
    assert sorted(v.number for v in registry["iris-async"]) == [1, 2, 3]
    assert elsewhere("iris-async", "int(value.n_features_in_)") == 4


# ---- a command line

COMMAND = """
    import argparse
    import pathlib

    import pandas as pd
    from sklearn.tree import DecisionTreeRegressor

    import modelversion as mv


    def parse(argv=None):
        parser = argparse.ArgumentParser()
        parser.add_argument("csv", type=pathlib.Path)
        parser.add_argument("--target", default="y")
        parser.add_argument("--max-depth", type=int, default=3)
        parser.add_argument("--registry", required=True)
        return parser.parse_args(argv)


    def train(args):
        frame = mv.data(args.csv, name="table").read(pd.read_csv)
        X, y = frame.drop(columns=args.target), frame[args.target]
        tree = DecisionTreeRegressor(max_depth=args.max_depth, random_state=0).fit(X, y)
        mv.log_metrics(r2=tree.score(X, y))
        return tree


    if __name__ == "__main__":
        args = parse()
        mv.track("tree", registry=mv.Registry(args.registry))(train)(args)
"""


def test_a_command_line(registry, elsewhere, tmp_path):
    """Arguments are params, typed; the file it read is an input; another depth is a version."""
    frame = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40) % 5})
    frame.assign(y=frame.a * 2 + frame.b).to_csv(tmp_path / "table.csv", index=False)
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(COMMAND))

    for depth in ("2", "5"):
        command = [script, "table.csv", "--max-depth", depth, "--registry", registry.url]
        subprocess.run([sys.executable, *command], cwd=tmp_path, check=True)

    tree = registry["tree"]
    assert [v.params["args"]["max_depth"] for v in tree] == [2, 5]
    assert tree[1].params["args"]["target"] == "y"
    assert tree[1].params["args"]["csv"] == "table.csv"
    assert tree[2].metrics["r2"] > tree[1].metrics["r2"]
    assert tree[1].data["table"].digest == mv.data(tmp_path / "table.csv").digest
    assert [(s.form, s.name) for s in tree[1].steps] == [("read", "read_csv")]
    assert elsewhere("tree:2", "int(value.get_depth())") == 5


# ---- a notebook

CELLS = [
    """
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

import modelversion as mv

registry = mv.Registry(URL)
raw = pd.DataFrame({"x": np.arange(30.0), "z": np.arange(30) % 4})
""",
    """
@mv.step
def with_square(frame, power=2):
    return frame.assign(square=frame.x**power)

table = with_square(raw)
""",
    """
run = registry.run("curve", params={"power": 2}).start()
""",
    """
model = LinearRegression().fit(table, 3 * raw.x**2 + raw.z)
mv.log_metrics(r2=model.score(table, 3 * raw.x**2 + raw.z))
run.log_data(train=table)
""",
    """
run.log_model(model)
version = run.commit()
assert version.ref == "curve:1"
""",
    # The same cell again, as one does.
    """
@mv.track("curve-tracked", registry=registry)
def train(table):
    return LinearRegression().fit(table, table.x)

train(table)
train(table)
assert len(registry["curve-tracked"]) == 1
""",
]
NOTEBOOK = """
    import json, sys
    import nbclient, nbformat

    cells = [f"URL = {sys.argv[1]!r}", *json.load(open("cells.json"))]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(book, kernel_name="python3", timeout=180).execute()
"""


def test_a_notebook(registry, elsewhere, tmp_path):
    """One run over several cells, a step in a cell before it, and a cell that runs twice."""
    (tmp_path / "cells.json").write_text(json.dumps(CELLS))
    fresh.run(NOTEBOOK, registry.url, cwd=tmp_path)

    version = registry.get("curve")
    assert dict(version.params) == {"power": 2}
    assert version.metrics["r2"] == pytest.approx(1.0)
    assert version.data["train"].shape == (30, 3)
    for ref in ("curve", "curve-tracked"):
        steps = registry.get(ref).steps
        assert [s.name for s in steps] == ["with_square"]
        assert [e.source for e in steps.edges] == [0]
    assert elsewhere("curve", "list(value.feature_names_in_)") == ["x", "z", "square"]
    assert elsewhere("curve-tracked", "value.n_features_in_") == 3


# ---- cross-validation in workers


def fit_fold(handle, model, X, y, fold, rows):
    train, test = rows
    model.fit(X[train], y[train])
    score = model.score(X[test], y[test])
    handle.log_metrics({"fold/accuracy": score}, step=fold)
    return score


def test_cross_validation_with_joblib(registry, elsewhere):
    """Folds in two processes log into the run of their parent, which refits and commits."""
    X, y = load_digits(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    folds = list(StratifiedKFold(4, shuffle=True, random_state=0).split(X, y))

    with registry.run("digits-cv") as run:
        run.log_params({"model": model, "folds": len(folds)})
        handle = run.handle()
        scores = joblib.Parallel(n_jobs=2)(
            joblib.delayed(fit_fold)(handle, clone(model), X, y, i, rows)
            for i, rows in enumerate(folds)
        )
        run.log_metrics(accuracy=float(np.mean(scores)), spread=float(np.std(scores)))
        run.log_model(model.fit(X, y))

    version = run.version
    assert sorted(version.metrics.series("fold/accuracy")) == list(enumerate(scores))
    assert version.metrics["accuracy"] == pytest.approx(np.mean(scores))
    assert version.params["folds"] == 4
    assert version.params["model"]["type"].endswith("Pipeline")
    assert [s.name for s in version.steps][1:] == ["standardscaler", "logisticregression"]
    assert elsewhere("digits-cv", "len(value.classes_)") == 10


# ---- a pipeline on raw data

PENGUINS = Path(palmerpenguins.__file__).parent / "data" / "penguins-raw.csv"


@mv.step
def tidy(raw):
    """Short names, no empty rows, the year of the egg, and a sex that is known or missing."""
    names = {column: column.split("(")[0].strip().lower().replace(" ", "_") for column in raw}
    frame = raw.rename(columns=names).dropna(subset=["body_mass", "culmen_length"])
    return frame.assign(
        species=frame.species.str.split().str[0],
        year=pd.to_datetime(frame.date_egg).dt.year,
        sex=frame.sex.where(frame.sex.isin(["MALE", "FEMALE"])),
    )


@mv.step
def features(frame, *, target="species"):
    """What is measured, and what is to be told from it."""
    numbers = ["culmen_length", "culmen_depth", "flipper_length", "body_mass", "year"]
    return frame[[*numbers, "island", "sex"]], frame[target]


def test_a_pipeline_on_raw_data(registry, elsewhere):
    """From the file on the disk to the classifier: every step is there, with its columns."""
    raw = mv.data(PENGUINS, name="penguins")
    X, y = features(tidy(raw.read(pd.read_csv)))
    X_train, X_test, y_train, y_test = mv.step(train_test_split)(
        X, y, test_size=0.25, random_state=0
    )

    @registry.track("penguins", ignore=["test"])
    def train(X, y, test, *, C=1.0):
        number = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        word = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
        columns = ColumnTransformer(
            [
                ("number", number, X.select_dtypes("number").columns),
                ("word", word, ["island", "sex"]),
            ]
        )
        model = make_pipeline(columns, LogisticRegression(C=C, max_iter=2000)).fit(X, y)
        mv.log_metrics(accuracy=model.score(*test))
        return model

    model = train(X_train, y_train, (X_test, y_test), C=0.3)

    version = registry.get("penguins")
    assert version.metrics["accuracy"] > 0.95
    assert [(s.form, s.name) for s in version.steps][:4] == [
        ("read", "read_csv"),
        ("call", "tidy"),
        ("call", "features"),
        ("call", "train_test_split"),
    ]
    assert [(e.source, e.target) for e in version.steps.edges] == [
        ("penguins", 0),
        (0, 1),
        (1, 2),
        (2, 3),
        (2, 3),
        (3, "X"),
        (3, "y"),
    ]
    assert version.data["penguins"].place.url == str(PENGUINS)
    assert [v.ref for v in registry.search(data=PENGUINS)] == ["penguins:1"]
    parts = {step.name: step for step in version.steps if step.form == "part"}
    assert parts["columntransformer/number"].columns == (
        "culmen_length",
        "culmen_depth",
        "flipper_length",
        "body_mass",
        "year",
    )
    assert parts["columntransformer"].features_out == 10
    assert "word__island_Dream" in parts["columntransformer"].feature_names
    assert parts["logisticregression"].params["C"] == 0.3
    row = X_test[:5].to_dict("list")
    assert elsewhere(
        "penguins", f"value.predict(__import__('pandas').DataFrame({row!r})).tolist()"
    ) == list(model.predict(X_test[:5]))


# ---- torch


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))

    def forward(self, x):
        return self.layers(x)


def test_a_torch_loop(registry, elsewhere):
    """Batches, epochs, a validation loss by step; the best state is what is kept."""
    torch.manual_seed(0)
    X, y = (torch.tensor(a) for a in load_iris(return_X_y=True))
    X, order = X.float(), torch.randperm(150)
    train_rows, test_rows = order[:100], order[100:]

    with registry.run("iris-net", params={"lr": 0.05, "width": 16, "batch": 25}) as run:
        net = Net(16)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
        criterion = nn.CrossEntropyLoss()
        best = float("inf")
        run.log_data(train=X[train_rows])
        for epoch in range(12):
            for rows in train_rows[torch.randperm(100)].split(25):
                optimizer.zero_grad()
                loss = criterion(net(X[rows]), y[rows])
                loss.backward()
                optimizer.step()
                mv.log_metrics({"train/loss": loss.item()}, step=len(losses(run)))
            with torch.no_grad():
                valid = criterion(net(X[test_rows]), y[test_rows]).item()
            mv.log_metrics({"val/loss": valid}, step=epoch)
            if valid < best:
                best = valid
                mv.log_model(net)
        mv.log_metrics({"val/best": best})

    version = run.version
    series = version.metrics.series("val/loss")
    assert [step for step, _ in series] == list(range(12))
    assert len(version.metrics.series("train/loss")) == 48
    assert version.metrics["val/best"] == min(loss for _, loss in series)
    assert version.data["train"].shape == (100, 4)
    with torch.no_grad():
        kept = nn.CrossEntropyLoss()(version.load()(X[test_rows]), y[test_rows]).item()
    assert kept == pytest.approx(best)
    assert elsewhere("iris-net", "sum(p.numel() for p in value.parameters())") == 4 * 16 + 16 + 51


def losses(run):
    return [line for line in run._book.series if line["metric"] == "train/loss"]


# ---- what goes wrong


BROKEN = """
    import signal, sys, time
    import modelversion as mv

    registry = mv.Registry(sys.argv[1])

    @mv.step
    def prepare(rows):
        return [row * 2 for row in rows]

    @registry.track("slow")
    def train(rows):
        mv.log_model({"half": prepare(rows)})
        mv.log_artifact("notes.txt", "half")
        mv.log_metrics(loss=0.5)
        print("training", flush=True)
        if sys.argv[2] == "raise":
            raise LookupError("no such column")
        time.sleep(120)

    train([1, 2, 3])
"""


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("raise", "LookupError: no such column"),
        (signal.SIGINT, "KeyboardInterrupt"),
        (signal.SIGTERM, ""),
        (signal.SIGKILL, ""),
    ],
    ids=["raises", "interrupted", "terminated", "killed"],
)
def test_a_program_that_does_not_end_well(registry, tmp_path, how, error):
    """No version, its own exception last, and nothing that stands in the way of the next run."""
    script = tmp_path / "broken.py"
    script.write_text(textwrap.dedent(BROKEN))
    process = subprocess.Popen(
        [sys.executable, script, registry.url, str(how)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "training\n"
    if how != "raise":
        process.send_signal(how)
    _, err = process.communicate(timeout=120)

    assert process.returncode != 0
    assert (err.strip().splitlines() or [""])[-1] == error
    assert "slow" not in registry
    assert registry.verify().ok
    registry.save("slow", {"w": 1})
    assert registry.get("slow").number == 1
