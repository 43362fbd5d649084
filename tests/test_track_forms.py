"""Every form that `@track` takes, and that runs never mix."""

import asyncio
import contextlib
import functools
import inspect
import pickle
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pytest

import modelversion as mv
from modelversion.errors import InvalidValueError, NoActiveRunError, SaveError


@pytest.fixture
def registry(tmp_path):
    return mv.Registry(tmp_path / "registry")


# ---- forms


def test_a_coroutine_is_tracked(registry):
    """It stays a coroutine function, and what it returns when awaited is the object."""

    @registry.track("churn")
    async def train(C=1):
        await asyncio.sleep(0)
        mv.log_metrics(auc=0.9)
        return {"C": C}

    assert inspect.iscoroutinefunction(train)
    assert asyncio.run(train(C=2)) == {"C": 2}
    assert registry.load("churn") == {"C": 2}
    assert registry.get("churn").metrics["auc"] == 0.9
    call = asyncio.run(mv.call(train, C=3))
    assert (call.value, call.version.number) == ({"C": 3}, 2)


def test_a_generator_commits_when_it_has_ended(registry):
    """What it yields is its caller's, what it returns is the object."""

    @registry.track("churn")
    def train(epochs):
        weights = []
        for epoch in range(epochs):
            weights.append(epoch)
            mv.log_metrics(loss=1 / (epoch + 1), step=epoch)
            sent = yield epoch
            weights.append(sent)
        return {"w": weights}

    assert inspect.isgeneratorfunction(train)
    steps = train(2)
    assert next(steps) == 0
    assert "churn" not in registry
    assert steps.send("a") == 1
    with pytest.raises(StopIteration) as stop:
        steps.send("b")
    assert stop.value.value == {"w": [0, "a", 1, "b"]}
    assert registry.load("churn") == {"w": [0, "a", 1, "b"]}
    assert registry.get("churn").metrics.series("loss") == [(0, 1.0), (1, 0.5)]


def test_a_generator_that_is_left_commits_nothing(registry):
    """Its finally runs, and there is no version: the training did not end."""
    closed = []

    @registry.track("churn")
    def train():
        try:
            yield 1
        finally:
            closed.append(True)

    for _ in train():
        break

    assert closed == [True]
    assert "churn" not in registry


def test_what_is_thrown_into_a_generator_reaches_it(registry):
    """And it may go on."""

    @registry.track("churn")
    def train():
        try:
            yield 1
        except KeyError:
            yield 2
        return {"w": 1}

    steps = train()
    next(steps)
    assert steps.throw(KeyError("x")) == 2
    assert list(steps) == []
    assert registry.load("churn") == {"w": 1}


def test_the_caller_of_a_suspended_generator_is_not_in_its_run(registry):
    """Between two steps a metric of the caller lands nowhere, or in the caller's own run."""

    @registry.track("inner")
    def train():
        yield 1
        mv.log_metrics(inner=1)
        return {"w": 1}

    @registry.track("outer")
    def outer():
        steps = train()
        next(steps)
        mv.log_metrics(outer=1)
        list(steps)
        return {"v": 1}

    steps = train()
    next(steps)
    with pytest.raises(NoActiveRunError):
        mv.log_metrics(stray=1)
    steps.close()
    outer()

    assert dict(registry.get("outer").metrics) == {"outer": 1}
    assert dict(registry.get("inner").metrics) == {"inner": 1}


def test_an_async_generator_is_tracked(registry):
    """Sending, throwing and leaving work as they do without a decorator."""

    @registry.track("churn")
    async def train(fail=False):
        sent = yield 1
        try:
            yield sent
        except KeyError:
            yield "caught"
        mv.log_model({"sent": sent})

    async def use():
        steps = train()
        first = await anext(steps)
        with pytest.raises(NoActiveRunError):
            mv.log_metrics(stray=1)
        second = await steps.asend("x")
        third = await steps.athrow(KeyError("k"))
        rest = [item async for item in steps]
        left = train()
        await anext(left)
        await left.aclose()
        return first, second, third, rest

    assert inspect.isasyncgenfunction(train)
    assert asyncio.run(use()) == (1, "x", "caught", [])
    assert [v.load() for v in registry["churn"]] == [{"sent": "x"}]


class Trainer:
    registry = None

    def __init__(self, C=1.0):
        self.C = C

    def get_params(self, deep=True):
        return {"C": self.C}


def test_methods_of_every_kind_are_tracked(registry):
    """Whichever of the decorators stands above the other."""

    class Model(Trainer):
        @registry.track("method")
        def fit(self, rounds):
            self.fitted = rounds
            return self

        @registry.track("a")
        @classmethod
        def above(cls, C):
            return {"C": C, "cls": cls.__name__}

        @classmethod
        @registry.track("b")
        def below(cls, C):
            return {"C": C, "cls": cls.__name__}

        @registry.track("c")
        @staticmethod
        def static(C):
            return {"C": C}

    model = Model(C=0.5)

    assert model.fit(3) is model
    assert mv.call(model.fit, rounds=4).value is model
    assert dict(registry.get("method:1").params) == {"C": 0.5, "rounds": 3}
    assert registry.load("method:1").fitted == 3
    for name, function in {"a": model.above, "b": Model.below}.items():
        assert function(2) == {"C": 2, "cls": "Model"}
        assert dict(registry.get(name).params) == {"C": 2}
    assert Model.static(5) == registry.load("c") == {"C": 5}


def test_functions_under_other_decorators_are_tracked(registry):
    """Params are those of the function below."""

    def twice(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            function(*args, **kwargs)
            return function(*args, **kwargs)

        return wrapper

    @registry.track("churn")
    @twice
    def train(C, *, seed=0):
        return {"C": C}

    train(1)

    assert dict(registry.get("churn").params) == {"C": 1, "seed": 0}
    assert "def train(C, *, seed=0):" in registry.get("churn").code.source("train")


@pytest.mark.parametrize("value", [3, object(), Trainer])
def test_what_is_no_function_is_refused(registry, value):
    """A class has many methods; which of them trains is not for us to guess."""
    with pytest.raises(InvalidValueError, match="a function or a method"):
        registry.track("churn")(value)


def test_what_a_load_only_looks_up_is_no_version(registry):
    """A builtin that was saved and loaded stays a param, and makes no parent."""
    registry.save("function", len)
    registry.load("function")

    @registry.track("churn")
    def train(measure):
        return {"w": measure([1])}

    train(len)

    version = registry.get("churn")
    assert version.parents == ()
    assert version.params == {"measure": "builtins.len"}


def test_the_inner_of_two_tracked_functions_is_a_parent(registry):
    """And so is a version that is loaded inside, or passed in."""

    @registry.track("base")
    def base():
        return {"b": 1}

    @registry.track("churn")
    def train(start, other):
        base()
        return {"w": registry.load("base"), "start": start["s"], "other": other.number}

    class Start(dict):
        pass

    registry.save("start", Start(s=1))
    train(registry.load("start"), registry.save("other", {"o": 1}))

    assert set(registry.get("churn").parents) == {"base:1", "start:1", "other:1"}
    assert dict(registry.get("churn").params) == {}
    assert dict(registry.get("churn").data) == {}


def test_a_tracked_function_pickles(registry):
    """By value into a process that has none of this code; its versions land in the registry."""
    code = """
        import modelversion as mv

        @mv.track("churn", registry=mv.Registry({url!r}))
        def train(C):
            mv.log_metrics(auc=C)
            return {{"C": C}}

        import cloudpickle, sys
        sys.stdout.buffer.write(cloudpickle.dumps(train))
    """
    source = textwrap.dedent(code).format(url=registry.url)
    made = subprocess.run([sys.executable, "-c", source], capture_output=True, check=True)

    train = pickle.loads(made.stdout)

    assert train(0.5) == {"C": 0.5}
    assert registry.get("churn").metrics["auc"] == 0.5
    assert cloudpickle.loads(cloudpickle.dumps(train))(0.6) == {"C": 0.6}


# ---- options


def test_ignored_arguments_are_not_recorded(registry):
    """Neither as params nor as data."""

    @registry.track("churn", ignore=["df", "verbose"])
    def train(df, C, verbose=True):
        return {"C": C}

    train([1], 2)

    assert dict(registry.get("churn").params) == {"C": 2}


def test_ignoring_what_is_no_parameter_is_refused(registry):
    """When decorating, not after an hour of training."""
    with pytest.raises(InvalidValueError, match=r"'dff', which is no parameter of .*: df"):
        registry.track("churn", ignore=["dff"])(lambda df: df)


def test_a_tuple_is_split(registry):
    """Each part goes where its name says; the function returns the tuple."""

    @registry.track("churn", returns=("model", "metrics", "params", "artifacts", "_"))
    def train():
        return {"w": 1}, {"auc": 0.9}, {"best": 3}, {"a.txt": "text"}, "rest"

    assert train()[4] == "rest"
    version = registry.get("churn")
    assert version.load() == {"w": 1}
    assert dict(version.metrics) == {"auc": 0.9}
    assert dict(version.params) == {"best": 3}
    assert version.open("artifacts/a.txt").read() == b"text"


def test_a_tuple_of_another_length_keeps_the_result(registry):
    """The training is done: nothing is lost by a wrong declaration."""
    train = registry.track("churn", returns=("model", "metrics"))(lambda: ({"w": 1},))

    with pytest.raises(SaveError, match="a tuple of 2") as caught:
        train()

    assert caught.value.value == ({"w": 1},)
    assert "churn" not in registry


@pytest.mark.parametrize("returns", [("model", "model"), ("weights",), "modle"])
def test_wrong_parts_are_refused_when_decorating(registry, returns):
    """A part has one of six names."""
    with pytest.raises(InvalidValueError, match="model, metrics, params, data, artifacts, _"):
        registry.track("churn", returns=returns)


def test_a_failed_run_may_be_kept(registry):
    """Marked as failed, with what was logged; the exception is the function's own."""

    @registry.track("churn", on_error="keep")
    def train(C):
        mv.log_metrics(loss=2.0)
        raise ZeroDivisionError("at epoch 3")

    with pytest.raises(ZeroDivisionError, match="at epoch 3"):
        train(1)

    version = registry.get("churn")
    assert version.failed == "ZeroDivisionError: at epoch 3"
    assert dict(version.metrics) == {"loss": 2.0}
    with pytest.raises(InvalidValueError, match="'discard' or 'keep'"):
        registry.track("churn", on_error="ignore")


def test_nothing_is_tracked_where_it_is_disabled(registry, monkeypatch):
    """Functions just run, logging does nothing, and the place is not touched."""

    @registry.track("churn")
    def train():
        mv.log_metrics(auc=1)
        mv.log_model({"w": 2})
        return {"w": 1}

    with mv.disabled():
        assert train() == {"w": 1}
        assert mv.call(train).version is None
        mv.log_metrics(auc=1)
        with registry.run("churn") as run:
            run.log_metrics(auc=1)
            run.log_model({"w": 1})
            run.log_artifact("a.txt", "a")
        assert run.version is None
    monkeypatch.setenv("MODELVERSION_MODE", "off")
    assert train() == {"w": 1}
    assert "churn" not in registry
    monkeypatch.setenv("MODELVERSION_MODE", "fo")
    with pytest.raises(InvalidValueError, match="MODELVERSION_MODE must be 'on' or 'off'"):
        train()


# ---- runs never mix


def test_thread_pools_and_tasks_do_not_mix(registry):
    """40 runs at once, in threads and as tasks that yield to each other: each has its own."""

    @registry.track("threads")
    def train(i):
        mv.log_metrics(i=i)
        return {"i": i}

    @registry.track("tasks")
    async def train_async(i):
        await asyncio.sleep(0)
        mv.log_metrics(i=i)
        await asyncio.sleep(0)
        mv.log_metrics(j=i)
        return {"i": i}

    async def gather():
        await asyncio.gather(*(train_async(i) for i in range(20)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(train, range(20)))
    asyncio.run(gather())

    for name, keys in {"threads": ("i",), "tasks": ("i", "j")}.items():
        found = [(dict(v.metrics), v.load()["i"]) for v in registry[name]]
        assert sorted(i for _, i in found) == list(range(20))
        assert all(metrics == dict.fromkeys(keys, i) for metrics, i in found)


def test_a_thread_logs_into_a_run_that_is_bound_to_it(registry):
    """Unbound it is told how; bound it logs, also when many do at once."""
    errors = []

    def stray():
        try:
            mv.log_metrics(x=1)
        except NoActiveRunError as e:
            errors.append(str(e))

    with registry.run("churn") as run:
        thread = threading.Thread(target=stray)
        thread.start()
        thread.join()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(run.bind(lambda i: mv.log_metrics({f"m{i}": i}, step=i)), range(100)))

    assert "run.bind" in errors[0]
    assert dict(run.version.metrics) == {f"m{i}": i for i in range(100)}


# ---- switched off


def forms_of(decorate):
    """Give a function of each form, decorated."""

    @decorate
    def plain(n):
        return [n]

    @decorate
    async def awaited(n):
        await asyncio.sleep(0)
        return [n]

    @decorate
    def yielding(n):
        got = yield n
        return [got]

    @decorate
    async def yielding_later(n):
        got = yield n
        yield got

    return plain, awaited, yielding, yielding_later


async def taken(generator):
    """Take the first item, send a text, and give what comes back, then throw an error in."""
    first = await anext(generator)
    second = await generator.asend("sent")
    with pytest.raises(KeyError):
        await generator.athrow(KeyError("thrown in"))
    return [first, second]


@pytest.mark.parametrize("decorate", ["track", "step"])
def test_every_form_works_where_tracking_is_off(registry, decorate):
    """Values, sent texts, thrown errors and returned values pass through, and nothing is kept."""
    decorators = {"track": registry.track("churn"), "step": mv.step}
    plain, awaited, yielding, yielding_later = forms_of(decorators[decorate])

    with mv.disabled():
        assert plain(1) == [1]
        assert asyncio.run(awaited(2)) == [2]
        generator = yielding(3)
        assert next(generator) == 3
        with pytest.raises(StopIteration) as stopped:
            generator.send("sent")
        assert stopped.value.value == ["sent"]
        assert asyncio.run(taken(yielding_later(4))) == [4, "sent"]
    assert registry.models() == []


@pytest.mark.parametrize("off", [True, False])
def test_a_generator_that_is_closed_is_closed_inside(registry, off):
    """Its finally runs, whether it is recorded or not."""
    closed = []

    @registry.track("churn")
    async def epochs():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    async def leave():
        generator = epochs()
        await anext(generator)
        await generator.aclose()

    with mv.disabled() if off else contextlib.nullcontext():
        asyncio.run(leave())

    assert closed == [True]
    assert registry.models() == []
