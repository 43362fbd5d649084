"""Track: what a function returned and logged becomes a version; nothing is ever lost."""

import asyncio
import contextvars
import math
import tempfile
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import pandas
import polars
import pytest

import modelversion as mv
from modelversion.errors import (
    InvalidInputError,
    InvalidNameError,
    InvalidValueError,
    NoActiveRunError,
    NothingRecordedWarning,
    SaveError,
    StorageError,
    UnpicklableError,
)


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files, where results that were not saved are kept."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def saved(function, *args, **kwargs):
    """Call a tracked function and give the version that it made."""
    return mv.call(function, *args, **kwargs).version


# ---- what is recorded


def test_a_call_commits_what_the_function_returns(registry):
    """The function returns what it returns, and the version holds it."""

    @mv.track("churn", registry=registry)
    def train(C=1.0):
        mv.log_metrics(auc=0.9)
        return {"C": C}

    assert train(C=0.5) == {"C": 0.5}
    version = registry.get("churn:1")
    assert version.load() == {"C": 0.5}
    assert dict(version.params) == {"C": 0.5}
    assert dict(version.metrics) == {"auc": 0.9}
    assert version.code.entry.endswith(
        ":test_a_call_commits_what_the_function_returns.<locals>.train"
    )


def test_the_very_object_is_returned(registry):
    """Not a copy of it."""
    value = {"w": [1]}
    train = registry.track("churn")(lambda: value)

    assert train() is value


def test_the_source_is_kept(registry):
    """The function's own text is in the version."""

    @registry.track("churn")
    def train():
        return {"answer": 42}

    version = saved(train)

    source = version.code.source()
    assert 'return {"answer": 42}' in source
    assert "def train" in source


def test_time_is_measured(registry):
    """How long the function took, without the commit."""

    @registry.track("churn")
    def train():
        return {}

    version = saved(train)

    assert 0 <= version._record.duration_seconds < 5


def test_arguments_become_params(registry):
    """However they were passed, with their defaults and types."""

    @registry.track("churn")
    def train(a, b, /, c, *rest, d=4, e=None, **more):
        return {"w": 1}

    version = saved(train, 1, 2.0, "three", "r1", "r2", d=(4, 4), extra={"x": [1]})

    assert dict(version.params) == {
        "a": 1,
        "b": 2.0,
        "c": "three",
        "rest": ("r1", "r2"),
        "d": (4, 4),
        "e": None,
        "more": {"extra": {"x": [1]}},
    }
    assert type(version.params["b"]) is float


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 2**70, 0.5, math.inf, "text", b"x", [1], (1,), {"a": 1}, numpy.float32(2)],
)
def test_params_keep_their_types(registry, value):
    """Plain values come back equal and of their type."""
    train = registry.track("churn")(lambda p: {"w": 1})

    back = saved(train, value).params["p"]

    assert back == value
    assert type(back) is (float if isinstance(value, numpy.floating) else type(value))


@pytest.mark.parametrize(
    ("value", "shape", "kind"),
    [
        (pandas.DataFrame({"x": [1, 2], "y": [0.5, 1]}), (2, 2), "pandas.DataFrame"),
        (pandas.Series([1, 2]), (2,), "pandas.Series"),
        (polars.DataFrame({"x": [1, 2]}), (2, 1), "polars.dataframe.frame.DataFrame"),
        (numpy.zeros((3, 4)), (3, 4), "numpy.ndarray"),
        (numpy.zeros(0), (0,), "numpy.ndarray"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_frames_and_arrays_are_recorded_by_shape(registry, value, shape, kind):
    """They are data, never params, and no byte of them is copied."""
    train = registry.track("churn")(lambda df, n: {"n": n})

    version = saved(train, value, n=1)

    assert dict(version.params) == {"n": 1}
    assert version.data["df"].shape == shape
    assert version.data["df"].type == kind
    kept = [file for file in version.files if not file.path.startswith("source/")]
    assert sum(file.size for file in kept) < 10_000


class Thing:
    pass


class Rude:
    """Every attribute raises, as lazy objects of frameworks may."""

    def __getattr__(self, name):
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "value",
    [Thing(), Rude(), {1: 2}, {1, 2}, [object()], iter([1]), numpy.zeros(3) > 0],
    ids=lambda value: type(value).__name__,
)
def test_capture_never_fails(registry, value):
    """What is no plain value is described; the function is called with it as it is."""
    train = registry.track("churn")(lambda p: {"same": p is value})

    version = saved(train, value)

    assert version.load() == {"same": True}
    assert "p" in version.data
    assert dict(version.params) == {}


def test_an_iterator_is_not_consumed(registry):
    """The function sees every item."""
    train = registry.track("churn")(lambda items: {"sum": sum(items)})

    assert train(iter([1, 2, 3])) == {"sum": 6}


def test_arguments_are_recorded_as_they_came(registry):
    """What the function does to a list later does not change what was recorded."""

    @registry.track("churn")
    def train(layers):
        layers.append(99)
        return {"layers": layers}

    version = saved(train, [64])

    assert version.params["layers"] == [64]
    assert version.load() == {"layers": [64, 99]}


def test_huge_arguments_do_not_stop_a_run(registry):
    """More than params may hold is described, not refused after the training."""
    train = registry.track("churn")(lambda text: {"n": len(text)})

    version = saved(train, "x" * 3_000_000)

    assert version.load() == {"n": 3_000_000}
    assert dict(version.params) == {}
    assert version.data["text"].type == "builtins.str"


# ---- metrics


def test_metrics_are_logged(registry):
    """By keyword and by dict; the last value counts; directions are kept."""

    @registry.track("churn")
    def train():
        mv.log_metrics(auc=0.5, n=10)
        mv.log_metrics({"val/auc": 0.7, "loss": mv.metric(1, higher_is_better=True)}, auc=0.9)
        mv.log_metrics()
        return {"w": 1}

    version = saved(train)

    assert dict(version.metrics) == {"auc": 0.9, "n": 10, "val/auc": 0.7, "loss": 1}
    assert version.higher_is_better("loss") is True


def test_a_bad_metric_is_an_error_where_it_is_logged(registry):
    """It is raised inside the function, and no version is made."""

    @registry.track("churn")
    def train():
        mv.log_metrics(auc="high")
        return {"w": 1}

    with pytest.raises(InvalidValueError, match=r"metrics\['auc'\] must be a number"):
        train()
    assert "churn" not in registry


@pytest.mark.parametrize("metrics", [5, 0.9, "auc", [("auc", 0.9)], {1: 2}])
def test_metrics_are_a_dict(registry, metrics):
    """Anything else is one of our errors."""

    @registry.track("churn")
    def train():
        mv.log_metrics(metrics)

    with pytest.raises(InvalidInputError, match="metric"):
        train()


def test_metrics_outside_a_run_are_refused():
    """The error says what to do."""
    with pytest.raises(NoActiveRunError, match="call it inside a function under @track"):
        mv.log_metrics(auc=0.9)


def test_a_run_ends_with_its_function(registry):
    """Also when the function raised."""

    @registry.track("churn")
    def train():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        train()
    with pytest.raises(NoActiveRunError):
        mv.log_metrics(auc=0.9)


# ---- what is an object


@pytest.mark.parametrize("value", [None, True, 3, 0.5, 1j, "text", b"bytes"])
def test_none_and_numbers_are_no_objects(registry, value):
    """A run that returns one and logs nothing warns, and commits nothing."""

    @registry.track("churn")
    def train():
        return value

    with pytest.warns(
        NothingRecordedWarning, match="returned .* and logged nothing, so no version"
    ):
        assert train() == value
    assert "churn" not in registry


def test_the_warning_points_at_the_callers_line(registry):
    """Where the function was called, or `mv.call` was."""
    train = registry.track("churn")(lambda: None)

    for call in (train, lambda: mv.call(train)):
        with pytest.warns(NothingRecordedWarning) as caught:
            call()
        assert caught[0].filename == __file__


@pytest.mark.parametrize("value", [None, 0.9, "done"])
def test_a_run_of_metrics_commits_without_an_object(registry, value):
    """Logged metrics are worth a version."""

    @registry.track("churn")
    def train(C=1):
        mv.log_metrics(auc=0.9)
        return value

    run = mv.call(train)

    assert run.value == value
    assert run.version.type is None
    assert dict(run.version.metrics) == {"auc": 0.9}


@pytest.mark.parametrize("value", [[], {}, (), set(), numpy.float64(1).reshape(1), Thing(), Thing])
def test_anything_else_is_an_object(registry, value):
    """Also what is empty."""
    train = registry.track("churn")(lambda: value)

    assert saved(train).type is not None


def test_the_same_run_again_is_the_same_version(registry):
    """Running a cell again with the same code, data, params and result makes nothing new."""

    @registry.track("churn")
    def train(df, C=1):
        mv.log_metrics(auc=0.9)
        return {"C": C}

    first = saved(train, numpy.zeros(3))

    assert saved(train, numpy.zeros(3)) == first
    assert saved(train, numpy.zeros(3), C=2).number == 2
    assert saved(train, numpy.zeros(4), C=2).number == 3


# ---- names


def test_a_bare_track_takes_the_functions_name(registry, monkeypatch):
    """In the default registry."""
    monkeypatch.setenv("MODELVERSION_REGISTRY", registry.url)

    @mv.track
    def churn_model():
        return {"w": 1}

    churn_model()
    assert mv.load("churn_model") == {"w": 1}


@pytest.mark.parametrize("name", ["train", "fit", "main", "run", "_churn", "<lambda>", "größe"])
def test_a_bare_track_refuses_names_that_say_nothing(name):
    """When the function is decorated, not when it is called."""

    def function():
        return {}

    function.__name__ = name
    with pytest.raises(InvalidNameError):
        mv.track(function)


@pytest.mark.parametrize("name", ["", "a/b", "con", None, 5, "a:3"])
def test_names_are_checked_when_decorating(registry, name):
    """A name that is none is refused at once."""
    with pytest.raises(InvalidNameError):
        mv.track(name, registry=registry)
    with pytest.raises(InvalidNameError):
        registry.track(name)


def test_the_default_registry_is_found_at_the_call(tmp_path, monkeypatch):
    """Decorating looks for nothing."""

    @mv.track("churn")
    def train():
        return {"w": 1}

    monkeypatch.setenv("MODELVERSION_REGISTRY", str(tmp_path / "later"))
    train()

    assert mv.Registry(tmp_path / "later").load("churn") == {"w": 1}


def test_names_ignore_case(registry):
    """As everywhere."""
    registry.track("Churn")(lambda: {"w": 1})()

    assert saved(registry.track("CHURN")(lambda: {"w": 2})).ref == "Churn:2"


def test_the_function_stays_what_it_is(registry):
    """Name, docstring, signature and attributes are those of the function."""
    import inspect

    def train(df, *, C: float = 1.0) -> dict:
        """Train it."""
        return {}

    train.mark = 1
    tracked = registry.track("churn")(train)

    assert tracked.__name__ == "train"
    assert tracked.__doc__ == "Train it."
    assert tracked.mark == 1
    assert inspect.signature(tracked) == inspect.signature(train)
    assert inspect.unwrap(tracked) is train


def test_methods_are_tracked(registry):
    """The instance is described, the other arguments are params."""

    class Trainer:
        @registry.track("churn")
        def train(self, C):
            return {"C": C}

        @staticmethod
        @registry.track("static")
        def static(C):
            return {"C": C}

    assert Trainer().train(2) == {"C": 2}
    assert Trainer.static(3) == {"C": 3}
    assert dict(registry.get("churn").params) == {"C": 2}
    assert dict(registry.get("static").params) == {"C": 3}


# ---- calls


def test_call_gives_both(registry):
    """The value and the version; `last_version` gives it, too."""
    train = registry.track("churn")(lambda C: {"C": C})

    run = mv.call(train, C=1)

    assert run.value == {"C": 1}
    assert run.version.ref == "churn:1"
    assert mv.last_version() == run.version
    assert repr(run) == "Call(version=<Version churn:1 dict>)"


def test_call_wants_a_tracked_function():
    """The error names the function."""
    with pytest.raises(InvalidValueError, match="'len' is not tracked; put @track on it"):
        mv.call(len, [])


def test_the_last_version_is_of_this_thread():
    """Another thread's is not seen, and a fresh one has none."""
    assert contextvars.Context().run(mv.last_version) is None


# ---- errors


def test_an_exception_leaves_no_version(registry):
    """It is re-raised unchanged, and the next call works."""
    error = ValueError("too few rows")

    @registry.track("churn")
    def train(fail):
        mv.log_metrics(auc=0.9)
        if fail:
            raise error
        return {"w": 1}

    with pytest.raises(ValueError) as caught:
        train(True)
    assert caught.value is error
    assert caught.value.__context__ is None
    assert "churn" not in registry
    assert saved(train, False).number == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_leaves_no_version(registry, error):
    """Ctrl-C in the middle of a training is no result."""

    @registry.track("churn")
    def train():
        raise error

    with pytest.raises(error):
        train()
    assert "churn" not in registry


def test_a_wrong_call_is_pythons_error(registry):
    """As without the decorator."""
    train = registry.track("churn")(lambda a: {"a": a})

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        train()


def test_the_place_is_proved_before_the_function_runs(tmp_path):
    """No hours are spent before it is known that there is nowhere to put the result."""
    (tmp_path / "other").touch()
    ran = []

    for place in (tmp_path, tmp_path / "other" / "r"):
        with pytest.raises(StorageError):
            mv.track("churn", registry=mv.Registry(place))(lambda: ran.append(1))()
    assert ran == []


def in_the_way(registry, number):
    """Put a file where the folder of a version has to go."""
    registry.save("churn", {"w": 0})
    Path(registry.url, "models/churn/versions", str(number)).write_text("in the way")


@pytest.mark.parametrize("value", [{"w": 1}, [numpy.zeros(3)], None, 5, "done"])
def test_a_commit_that_fails_keeps_the_result(registry, value):
    """Whatever the function returned is in the error, and its bytes are in a folder."""
    in_the_way(registry, 2)

    @registry.track("churn")
    def train():
        mv.log_metrics(auc=0.9)
        return value

    with pytest.raises(SaveError, match="churn was not saved") as refusal:
        train()

    assert refusal.value.value is value
    spooled = mv.open_directory(refusal.value.spooled_at)
    assert spooled.record.metrics["auc"].value == 0.9


def test_an_object_that_cannot_be_pickled_is_not_lost(registry):
    """The error holds it."""
    value = {"lock": threading.Lock()}

    with pytest.raises(UnpicklableError, match=r"object\['lock'\]") as refusal:
        registry.track("churn")(lambda: value)()
    assert refusal.value.value is value


def test_a_frame_with_strange_columns_keeps_the_result(registry):
    """Capture never fails, whatever the columns are called."""
    frame = pandas.DataFrame([[1]], columns=pandas.Index(["\ud800"], dtype=object))
    train = registry.track("churn")(lambda df: {"w": 1})

    assert train(frame) == {"w": 1}
    assert registry.load("churn") == {"w": 1}


def test_no_warning_is_given_for_a_common_run(registry):
    """A run that commits says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.track("churn")(lambda: {"w": 1})()


# ---- threads


def test_threads_do_not_mix(registry):
    """Runs at one time in several threads log each into its own version."""
    together = threading.Barrier(4, timeout=30)

    @registry.track("churn")
    def train(i):
        mv.log_metrics(first=i)
        together.wait()
        mv.log_metrics(second=i)
        together.wait()
        return {"i": i}

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda i: mv.call(train, i), range(4)))

    for i, run in enumerate(runs):
        assert run.value == {"i": i}
        assert dict(run.version.metrics) == {"first": i, "second": i}
    assert sorted(run.version.number for run in runs) == [1, 2, 3, 4]
    assert registry.verify().ok


def test_a_thread_that_a_run_started_is_not_in_it(registry):
    """It has to be carried there, so a stray thread never logs into a run."""
    caught = []

    def stray():
        try:
            mv.log_metrics(auc=1)
        except NoActiveRunError as e:
            caught.append(e)

    @registry.track("churn")
    def train():
        thread = threading.Thread(target=stray)
        thread.start()
        thread.join()
        return {"w": 1}

    assert dict(saved(train).metrics) == {}
    assert len(caught) == 1


def test_runs_may_nest(registry):
    """An inner run has its own version, and the outer goes on with its own."""

    @registry.track("inner")
    def inner():
        mv.log_metrics(a=1)
        return {"inner": 1}

    @registry.track("outer")
    def outer():
        mv.log_metrics(b=1)
        inner()
        mv.log_metrics(c=1)
        return {"outer": 1}

    outer()

    assert dict(registry.get("inner").metrics) == {"a": 1}
    assert dict(registry.get("outer").metrics) == {"b": 1, "c": 1}


def test_tasks_do_not_mix(registry):
    """A run inside a task of asyncio is found there and nowhere else."""
    train = registry.track("churn")(lambda i: mv.log_metrics(i=i) or {"i": i})

    async def task(i):
        await asyncio.sleep(0)
        return mv.call(train, i).version, mv.last_version()

    async def main():
        return await asyncio.gather(*(task(i) for i in range(3)))

    for i, (version, last) in enumerate(asyncio.run(main())):
        assert version == last
        assert version.load() == {"i": i}


# ---- distributed training


def test_only_rank_0_of_torchrun_commits(registry, monkeypatch):
    """The others run their function, log into nothing, and say so once a call."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")

    @registry.track("churn")
    def train(rank):
        mv.log_metrics(loss=0.5)
        return {"w": rank}

    for rank in ("1", "2"):
        monkeypatch.setenv("RANK", rank)
        with pytest.warns(NothingRecordedWarning, match=f"rank {rank} .* rank 0 commits 'churn'"):
            assert train(int(rank)) == {"w": int(rank)}
    assert list(registry) == []
    monkeypatch.setenv("RANK", "0")
    train(0)

    assert registry.load("churn") == {"w": 0}
    assert len(registry["churn"]) == 1


def test_a_run_block_of_another_rank_makes_nothing(registry, monkeypatch):
    """As a tracked function does."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("RANK", "3")

    with pytest.warns(NothingRecordedWarning, match="rank 3"), registry.run("churn") as run:
        run.log_model({"w": 1})

    assert run.version is None
    assert list(registry) == []


def test_a_rank_counts_when_the_run_ends(registry, monkeypatch):
    """Training code often makes its process group inside the tracked function."""

    @registry.track("churn", on_error="keep")
    def train(fails):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setenv("RANK", "1")
        if fails:
            raise RuntimeError("stop")
        return {"w": 1}

    assert train(False) == {"w": 1}
    monkeypatch.delenv("RANK")
    with pytest.raises(RuntimeError, match="stop"):
        train(True)

    assert list(registry) == []


@pytest.mark.parametrize("variables", [{"RANK": "1"}, {"TORCHELASTIC_RUN_ID": "x", "RANK": "one"}])
def test_a_variable_of_something_else_is_no_rank(registry, monkeypatch, variables):
    """RANK alone may be anybody's."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with registry.run("churn") as run:
        run.log_model({"w": 1})

    assert run.version.ref == "churn:1"


def test_an_address_is_no_registry():
    """It says to open one, and does not show what a URL may hold."""
    with pytest.raises(mv.errors.InvalidInputError, match=r"found a str; open one") as caught:
        mv.track("clf", registry="s3://user:password@host/models")

    assert "password" not in str(caught.value)
