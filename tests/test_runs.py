"""Runs without a function: blocks, cells, workers, artifacts, and what happens when they end."""

import argparse
import dataclasses
import enum
import io
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import warnings
from collections import namedtuple
from pathlib import Path

import attrs
import numpy as np
import pandas as pd
import plotly.graph_objects
import plotly.io
import polars as pl
import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression

import modelversion as mv
from modelversion.errors import (
    InvalidNameError,
    InvalidPathError,
    InvalidValueError,
    MetricNotFoundError,
    NoActiveRunError,
    NothingRecordedWarning,
    SaveError,
    UnpicklableError,
)


@pytest.fixture
def registry(tmp_path):
    return mv.Registry(tmp_path / "registry")


def spools(registry):
    return [p for p in Path(registry.url).rglob("*") if "spool" in p.name or ".tmp" in p.name]


# ---- blocks and cells


def test_a_block_is_a_run(registry):
    """What is logged by the run or by the module's functions is in one version."""
    base = registry.save("base", {"b": 1})

    with registry.run(
        "churn", params={"lr": 0.1}, tags={"team": "risk"}, description="sweep", parents=[base]
    ) as run:
        run.log_params({"depth": 3}, seed=np.int64(7))
        mv.log_param("solver", "lbfgs")
        for step in range(3):
            mv.log_metrics({"val/loss": 1 / (step + 1)}, step=step, lr=0.1)
        run.log_metric("auc", mv.metric(0.9, n=100))
        run.log_data(train=np.zeros((3, 2)))
        run.log_artifact("notes.txt", "text")
        mv.log_model({"w": [1]})

    version = run.version
    assert version.ref == "churn:1"
    assert version.load() == {"w": [1]}
    assert dict(version.params) == {"lr": 0.1, "depth": 3, "seed": 7, "solver": "lbfgs"}
    assert version.metrics["val/loss"] == pytest.approx(1 / 3)
    assert version.metrics.series("val/loss") == [(0, 1.0), (1, 0.5), (2, pytest.approx(1 / 3))]
    assert version.metrics.series("auc") == []
    assert version.data["train"].shape == (3, 2)
    assert version.open("artifacts/notes.txt").read() == b"text"
    assert dict(version.tags) == {"team": "risk"}
    assert version.description == "sweep"
    assert version.parents == ("base:1",)
    assert registry.verify().ok
    assert spools(registry) == []
    with pytest.raises(MetricNotFoundError, match="metrics: "):
        version.metrics.series("nothing")


def test_cells_share_a_run(registry):
    """From start to commit the run is the current one, whatever context a cell runs in."""
    import contextvars

    run = registry.run("churn").start()
    contextvars.Context().run(lambda: mv.log_metrics(loss=0.5))
    contextvars.Context().run(lambda: mv.log_model({"w": 1}))
    version = run.commit()

    assert dict(version.metrics) == {"loss": 0.5}
    with pytest.raises(NoActiveRunError):
        mv.log_metrics(loss=1)
    with pytest.raises(NoActiveRunError, match="is committed"):
        run.log_metrics(loss=1)
    with pytest.raises(NoActiveRunError, match="started before"):
        run.start()


def test_a_run_may_be_discarded(registry):
    """Nothing is committed, nothing is left, and another may start."""
    run = registry.run("churn").start()
    run.log_model({"w": np.zeros(2**18)})
    run.discard()

    assert "churn" not in registry
    assert spools(registry) == []
    with registry.run("churn") as other:
        other.log_metrics(auc=1)
    assert other.version.number == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_leaves_nothing(registry, error):
    """The exception is the block's own, also where the user interrupts."""
    with pytest.raises(error, match="mine"), registry.run("churn") as run:
        run.log_model({"w": 1})
        run.log_artifact("a.txt", "a")
        raise error("mine")

    assert "churn" not in registry
    assert spools(registry) == []
    with pytest.raises(NoActiveRunError):
        mv.log_metrics(a=1)


def test_a_block_that_raises_may_be_kept(registry):
    """With what was logged until then."""
    with pytest.raises(ValueError, match="mine"), registry.run("churn", on_error="keep") as run:
        run.log_metrics(loss=3)
        raise ValueError("mine")

    assert run.version.failed == "ValueError: mine"
    assert dict(registry.get("churn").metrics) == {"loss": 3}


def test_a_run_of_nothing_warns(registry):
    """And commits nothing; params alone are no result."""
    with pytest.warns(NothingRecordedWarning, match="'churn'") as caught:  # noqa: SIM117
        with registry.run("churn", params={"lr": 1}):
            pass

    assert "churn" not in registry
    assert caught[0].filename == __file__


def test_the_object_is_taken_at_the_call(registry):
    """Going on with training changes nothing, and the last call wins."""
    weights = np.zeros(2**18)
    with registry.run("churn") as run:
        run.log_model({"w": [0]})
        run.log_model(weights)
        run.log_artifact("w.bin", weights.tobytes()[:8])
        weights[:] = 1

    assert run.version.load().sum() == 0
    assert len(run.version.files) == 3


def test_siblings_are_committed_beside(registry):
    """`log_model(model=...)` makes a version of another model, with the same params."""
    with registry.run("churn", params={"lr": 1}) as run:
        run.log_model({"q": 50})
        run.log_model({"q": 90}, model="churn-q90")

    assert run.version.ref == "churn:1"
    assert registry.load("churn-q90") == {"q": 90}
    assert dict(registry.get("churn-q90").params) == {"lr": 1}


def test_what_cannot_be_pickled_is_refused_at_the_call(registry):
    """The run goes on without it."""
    with registry.run("churn") as run:
        with pytest.raises(UnpicklableError):
            run.log_model({"lock": __import__("threading").Lock()})
        run.log_model({"w": 1})

    assert run.version.load() == {"w": 1}


BAD = {
    "step": (lambda run: run.log_metrics(a=1, step="x"), InvalidValueError, "step must be an int"),
    "bool": (lambda run: run.log_metrics(a=1, step=True), InvalidValueError, "step must be an int"),
    "metric": (lambda run: run.log_metric("a", "high"), InvalidValueError, "metrics"),
    "name": (lambda run: run.log_metric("", 1), InvalidNameError, "metric"),
    "metrics": (lambda run: run.log_metrics([1]), InvalidValueError, "must be a dict, found list"),
    "param": (lambda run: run.log_param("f", object()), InvalidValueError, r"params\['f'\]"),
    "artifact": (lambda run: run.log_artifact("../a", "x"), InvalidPathError, r"\.\."),
    "missing": (lambda run: run.log_artifact("a", Path("/no/such")), InvalidPathError, "no file"),
    "model": (lambda run: run.log_model({}, model="a/b"), InvalidNameError, "a/b"),
    "data": (lambda run: run.log_data({"": 1}), InvalidNameError, "data"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_where_it_is_logged(registry, what):
    """What was logged before and after it is kept."""
    work, error, message = BAD[what]
    with registry.run("churn") as run:
        run.log_metrics(before=1)
        with pytest.raises(error, match=message):
            work(run)
        run.log_metrics(after=1)

    assert dict(run.version.metrics) == {"before": 1, "after": 1}
    assert run.version.files == ()


def test_the_place_is_proved_when_a_run_starts(tmp_path):
    """Not after an hour of training."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("mine")
    run = mv.Registry(tmp_path / "full").run("churn")

    with pytest.raises(mv.errors.NotARegistryError):
        run.start()


def test_a_commit_that_fails_keeps_the_object(registry, monkeypatch):
    """The live object is in the error, and its frozen bytes can be read."""
    value = {"w": np.arange(2**18)}
    run = registry.run("churn").start()
    run.log_model(value)
    monkeypatch.setattr(
        type(registry._writer), "line", lambda *_: (_ for _ in ()).throw(OSError("disk gone"))
    )

    with pytest.raises(SaveError, match="disk gone") as caught:
        run.commit()

    assert caught.value.value is value
    kept = mv.open_directory(caught.value.spooled_at).load(allow_pickle=True)
    assert np.array_equal(kept["w"], value["w"])
    assert spools(registry) == []


# ---- params


@dataclasses.dataclass
class Config:
    lr: float
    sizes: tuple = (1, 2)


@attrs.define
class Settings:
    depth: int
    config: Config


class Mode(enum.Enum):
    FAST = object()


class Kind(enum.StrEnum):
    TREE = "tree"


Point = namedtuple("Point", "x y")
OWN_PARAMS = {
    "dataclass": (Config(0.1), {"lr": 0.1, "sizes": (1, 2)}),
    "attrs": (Settings(3, Config(0.2)), {"depth": 3, "config": {"lr": 0.2, "sizes": (1, 2)}}),
    "argparse": (argparse.Namespace(lr=1, name="x"), {"lr": 1, "name": "x"}),
    "named tuple": (Point(1, 2), {"x": 1, "y": 2}),
    "nested": ({"a": [Config(1)]}, {"a": [{"lr": 1, "sizes": (1, 2)}]}),
    "path": (Path("a") / "b.csv", str(Path("a") / "b.csv")),
    "enum": (Mode.FAST, "FAST"),
    "enum of texts": (Kind.TREE, "tree"),
    "paths within": (argparse.Namespace(csv=Path("x")), {"csv": "x"}),
    "class": (Config, f"{__name__}.Config"),
    "function": (len, "builtins.len"),
}


@pytest.mark.parametrize("kind", OWN_PARAMS)
def test_objects_tell_their_params(registry, kind):
    """As an argument, typed and nested."""
    value, expected = OWN_PARAMS[kind]

    @registry.track("churn")
    def train(p):
        return {"w": 1}

    train(value)

    assert dict(registry.get("churn").params) == {"p": expected}


def test_an_estimator_tells_its_params(registry):
    """With its type, since two kinds may share them."""
    train = registry.track("churn")(lambda model: {"w": 1})
    train(LogisticRegression(C=0.5))

    found = registry.get("churn").params["model"]
    assert found["type"].endswith("LogisticRegression")
    assert found["C"] == 0.5
    assert list(registry["churn"].versions(where="params.model.C = 0.5"))


def test_a_namespace_is_logged_as_params(registry):
    """As `log_params(parser.parse_args())`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    with registry.run("churn") as run:
        run.log_params(parser.parse_args(["--lr", "0.5"]))
        run.log_metrics(auc=1)

    assert dict(run.version.params) == {"lr": 0.5}


# ---- artifacts

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
TABLES = {
    "pandas.parquet": FRAME,
    "polars.parquet": pl.from_pandas(FRAME),
    "arrow.parquet": pa.Table.from_pandas(FRAME),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_become_parquet(registry, name):
    """And read back equal; the same table again is the same version."""

    def run():
        with registry.run("churn") as run:
            run.log_artifact(name, TABLES[name])
        return run.version

    read = pd.read_parquet(io.BytesIO(run().open(f"artifacts/{name}").read()))
    pd.testing.assert_frame_equal(read, FRAME)
    assert run().number == 1


@pytest.mark.parametrize(
    ("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_figures_become_images(registry, suffix, magic):
    """In the format of the suffix."""
    figure = Figure()
    figure.add_subplot().plot([1, 2])

    with registry.run("churn") as run:
        run.log_artifact(f"roc.{suffix}", figure)

    assert run.version.open(f"artifacts/roc.{suffix}").read().startswith(magic)
    with registry.run("churn") as run:
        with pytest.raises(InvalidPathError, match=r"\.png, \.svg"):
            run.log_artifact("roc.bmp", figure)
        run.log_metrics(a=1)


@pytest.mark.parametrize("suffix", ["html", "json"])
def test_plotly_figures_become_pages(registry, suffix):
    """A page, or the JSON that plotly reads again; the same figure again is the same version."""

    def run():
        figure = plotly.graph_objects.Figure(data=[{"type": "scatter", "y": [1, 3, 2]}])
        with registry.run("churn") as run:
            run.log_artifact(f"roc.{suffix}", figure)
        return run.version

    version = run()

    text = version.open(f"artifacts/roc.{suffix}").read().decode()
    if suffix == "json":
        assert list(plotly.io.from_json(text).data[0].y) == [1, 3, 2]
    else:
        assert "<html>" in text and "Plotly.newPlot" in text
    assert run().number == version.number == 1


def test_a_plotly_figure_is_no_image(registry):
    """What would want a browser is refused, with what is possible."""
    figure = plotly.graph_objects.Figure()

    with registry.run("churn") as run:
        with pytest.raises(InvalidPathError, match=r"written as \.html, \.json, not as \.png"):
            run.log_artifact("roc.png", figure)
        run.log_metrics(auc=0.9)


def test_files_are_taken_at_the_call(registry, tmp_path):
    """A file that is written again later stays as it was; a folder keeps its tree."""
    file = tmp_path / "roc.txt"
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f.txt").write_text("deep")
    with registry.run("churn") as run:
        file.write_text("first")
        run.log_artifact("first.txt", file)
        file.write_text("second")
        run.log_artifact(file)
        run.log_artifact("again.txt", "old")
        run.log_artifact("again.txt", "new")
        run.log_artifact("tree", tmp_path / "d")

    read = {f.path: run.version.open(f.path).read() for f in run.version.files}
    assert read == {
        "artifacts/first.txt": b"first",
        "artifacts/roc.txt": b"second",
        "artifacts/again.txt": b"new",
        "artifacts/tree/e/f.txt": b"deep",
    }


# ---- workers


def work(handle, i):
    handle.log_params({f"p{i}": i})
    handle.log_metrics({"loss": mv.metric(i, n=3)}, step=i)
    handle.log_artifact(f"part-{i}.txt", f"text {i}")


def test_workers_log_into_the_run_of_their_parent(registry):
    """Through a handle that pickles; only the parent commits."""
    with registry.run("churn") as run:
        handle = pickle.loads(pickle.dumps(run.handle()))
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.starmap(work, [(handle, i) for i in range(4)])

    version = run.version
    assert dict(version.params) == {f"p{i}": i for i in range(4)}
    assert sorted(version.metrics.series("loss")) == [(i, i) for i in range(4)]
    assert version.open("artifacts/part-3.txt").read() == b"text 3"
    assert not Path(handle.folder).exists()
    with pytest.raises(NoActiveRunError, match="has ended"):
        handle.log_metrics(a=1)


def test_a_line_that_a_killed_worker_left_is_passed_over(registry):
    """What it wrote before is kept."""
    with registry.run("churn") as run:
        handle = run.handle()
        handle.log_metrics(a=1)
        with open(Path(handle.folder) / "9.jsonl", "wb") as file:
            file.write(b'{"time": 1, "metrics": {"b"')

    assert dict(run.version.metrics) == {"a": 1}


def test_a_forked_child_is_not_in_the_run(registry):
    """It cannot log by accident, and cannot commit."""
    run = registry.run("churn").start()
    run.log_metrics(a=1)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            mv.log_metrics(b=1)
        except NoActiveRunError:
            try:
                run.commit()
            except NoActiveRunError as e:
                code = 0 if "which alone can commit" in str(e) else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    assert dict(run.commit().metrics) == {"a": 1}


def test_a_killed_run_leaves_no_version(tmp_path):
    """Nor anything that `gc` does not clear."""
    code = f"""
        import time, numpy, modelversion as mv
        with mv.Registry({str(tmp_path / "registry")!r}).run("churn") as run:
            run.log_model(numpy.zeros(2**20))
            print("logged", flush=True)
            time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "logged\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()

    registry = mv.Registry(tmp_path / "registry")
    assert "churn" not in registry
    assert registry.verify().ok
    registry.gc(older_than=__import__("datetime").timedelta(0))
    assert spools(registry) == []


# ---- progress


def test_progress_leaves_one_line_where_nobody_looks(registry, capsys):
    """All items come, in order, and the last state is told."""
    with registry.run("churn") as run:
        seen = []
        for i in run.progress(iter(range(5)), total=5):
            seen.append(i)
            run.log_metrics(loss=0.5)

    assert seen == [0, 1, 2, 3, 4]
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert err.startswith("churn: 5/5, ") and err.endswith("loss 0.5\n")


def test_progress_of_a_loop_that_is_left(registry, capsys):
    """It tells how far it came."""
    with registry.run("churn") as run:
        for i in run.progress(range(9)):
            run.log_metrics(i=i)
            if i == 3:
                break

    assert capsys.readouterr().err.startswith("churn: 3/9, ")


LIVE = """
import time
import modelversion as mv

registry = mv.Registry("memory://progress")
with registry.run("churn") as run:
    for i in run.progress(range(4)):
        run.log_metrics(loss=1 / (i + 1))
        time.sleep(0.3)
"""


def test_progress_in_a_notebook_is_one_table_that_is_updated(tmp_path, monkeypatch):
    """The cell has one output when it has ended, the last state; while it ran it was another."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.chdir(tmp_path)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(LIVE)])
    updates = []

    class Client(NotebookClient):
        def process_message(self, msg, cell, cell_index):
            if msg["msg_type"] in ("display_data", "update_display_data"):
                updates.append(msg["content"]["data"]["text/html"])
            return super().process_message(msg, cell, cell_index)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ipykernel
        Client(notebook, timeout=180, kernel_name="python3").execute()

    (output,) = notebook.cells[0].outputs
    assert output["output_type"] == "display_data"
    assert "<table" in output["data"]["text/html"] and "0.25" in output["data"]["text/html"]
    assert len(set(updates)) >= 3, "it was live"
    assert updates[-1] == output["data"]["text/html"]
    assert "<script" not in updates[-1]
