"""Steps: what goes into a function and what comes out is recorded, and nothing else changes."""

import asyncio
import functools
import inspect
import pickle
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import cloudpickle
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import KFold, train_test_split
from sklearn.preprocessing import StandardScaler

import modelversion as mv
from modelversion import records, trail
from modelversion.errors import InvalidValueError

FRAME = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20) % 3})


def recorded(registry, work):
    """Run some work and give the steps of its version."""
    with registry.run("churn") as run:
        work()
        run.log_metrics(done=1)
    return run.version.steps


# ---- what is recorded


@mv.step
def scaled(df, *, by=2.0, columns=("a",)):
    """Scale some columns."""
    return df.assign(**{name: df[name] * by for name in columns})


def test_a_call_is_recorded(registry):
    """Name, source, params, what went in and came out, seconds."""
    found = recorded(registry, lambda: scaled(FRAME, by=3.0))

    (step,) = found
    assert (step.name, step.form, step.count) == ("scaled", "call", 1)
    assert step.params == {"by": 3.0, "columns": {"$tuple": ["a"]}}
    assert [(i.name, i.type, i.shape) for i in step.inputs] == [("df", "pandas.DataFrame", (20, 2))]
    assert [(o.name, o.shape) for o in step.outputs] == [("result", (20, 2))]
    assert 0 <= step.seconds < 10
    assert step.code.entry == f"{__name__}:scaled"
    version = registry.get("churn")
    assert "def scaled(df" in version.steps.source(0)
    assert registry.verify().ok


def test_the_function_is_what_it_was():
    """It gives the very object, under its own name and signature."""
    frame = FRAME.copy()
    same = mv.step(lambda df: df)

    assert same(frame) is frame
    assert scaled.__doc__ == "Scale some columns."
    assert str(inspect.signature(scaled)) == "(df, *, by=2.0, columns=('a',))"


def test_a_librarys_function_is_wrapped_where_it_is_called(registry):
    """Each of several outputs is one of its own; a library's source is not kept."""

    def work():
        X, test = mv.step(train_test_split)(FRAME, random_state=0, test_size=0.25)
        return X, test

    (step,) = recorded(registry, work)

    assert step.name == "train_test_split"
    assert step.code.entry == "sklearn.model_selection._split:train_test_split"
    assert step.code.sha256 is None
    assert registry.get("churn").steps.source(0) is None
    assert step.params == {
        "random_state": 0,
        "shuffle": True,
        "stratify": None,
        "test_size": 0.25,
        "train_size": None,
    }
    assert [(i.name, i.shape) for i in step.inputs] == [("arrays[0]", (20, 2))]
    assert [(o.name, o.shape) for o in step.outputs] == [
        ("result[0]", (15, 2)),
        ("result[1]", (5, 2)),
    ]


class Split(NamedTuple):
    train: object
    test: object


OUTPUTS = {
    "frame": (lambda: FRAME, ["result"]),
    "tuple": (lambda: (FRAME, FRAME, 3), ["result[0]", "result[1]", "result[2]"]),
    "named tuple": (lambda: Split(FRAME, FRAME), ["result.train", "result.test"]),
    "dict": (lambda: {"train": FRAME, "n": 3}, ["result.train", "result.n"]),
    "nested": (lambda: ((FRAME, 1), [FRAME]), ["result[0][0]", "result[0][1]", "result[1][0]"]),
    "list of tuples": (lambda: [(FRAME, FRAME)], ["result[0][0]", "result[0][1]"]),
    "plain list": (lambda: [1, 2], ["result"]),
    "nothing": (lambda: None, []),
    "odd names": (
        lambda: {"`": FRAME, "\n": FRAME, 3: FRAME},
        ["result[0]", "result[1]", "result[2]"],
    ),
    "too deep": (lambda: [[[[FRAME]]]], ["result"]),
    "too many": (lambda: [FRAME] * 65, ["result"]),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_outputs_are_named_by_their_place(registry, kind):
    """The parts of a tuple apart, and tables inside lists and dicts."""
    give, roles = OUTPUTS[kind]

    (step,) = recorded(registry, mv.step(give))

    assert [output.name for output in step.outputs] == roles


def test_inputs_inside_lists_and_dicts_are_inputs(registry):
    """What else stands beside them is a param."""
    work = mv.step(lambda parts, *more, **rest: None)

    (step,) = recorded(
        registry, lambda: work({"train": FRAME, "n": 3}, [FRAME, "x"], FRAME, extra=FRAME, k=1)
    )

    assert [item.name for item in step.inputs] == [
        "parts.train",
        "more[0][0]",
        "more[1]",
        "rest.extra",
    ]
    assert step.params == {"parts": {"n": 3}, "more": [["x"]], "rest": {"k": 1}}


class Cleaner:
    def __init__(self, low=0):
        self.low = low

    def get_params(self, deep=True):
        return {"low": self.low}

    @mv.step
    def clean(self, df):
        return df[df.a > self.low]

    @mv.step
    @classmethod
    def above(cls, df):
        return cls, df

    @staticmethod
    @mv.step
    def below(df):
        return df


def test_methods_are_steps(registry):
    """With the params of their object, where it knows them; also a library's bound method."""

    def work():
        assert len(Cleaner(low=4).clean(FRAME)) == 15
        assert Cleaner.above(FRAME)[0] is Cleaner
        assert Cleaner().below(FRAME) is FRAME
        mv.step(StandardScaler(with_mean=False).fit_transform)(FRAME)

    found = recorded(registry, work)

    assert [step.name for step in found] == [
        "Cleaner.clean",
        "Cleaner.above",
        "Cleaner.below",
        "StandardScaler.fit_transform",
    ]
    assert found[0].params == {"low": 4}
    assert found[3].params["with_mean"] is False
    assert [item.name for item in found[3].inputs] == ["X"]


class Unknowing(Cleaner):
    def get_params(self, deep=True):
        raise RuntimeError("no params")


def test_an_object_that_does_not_tell_its_params_is_a_step(registry):
    """Capture never fails."""
    (step,) = recorded(registry, lambda: Unknowing(low=4).clean(FRAME))

    assert step.params == {}


def test_coroutines_are_steps(registry):
    """Also many at once: what each awaits inside is inside it."""

    @mv.step
    async def inner(i):
        await asyncio.sleep(0)
        return np.full(3, i)

    @mv.step
    async def outer(i):
        await asyncio.sleep(0)
        return await inner(i)

    async def both():
        return await asyncio.gather(*(outer(i) for i in range(5)))

    found = recorded(registry, lambda: asyncio.run(both()))

    assert inspect.iscoroutinefunction(outer)
    assert [step.name.rpartition(".")[2] for step in found].count("outer") == 5
    for step in found:
        if step.name.endswith("inner"):
            assert step.params == found[step.parent].params


def test_what_a_generator_yields_is_its_output(registry):
    """Each item apart, up to 64; only the time inside it counts."""

    def work():
        assert len(list(folds(FRAME))) == 4
        assert len(list(batches(100))) == 100

    @mv.step
    def folds(df):
        yield from KFold(4).split(df)

    @mv.step
    def batches(n):
        for i in range(n):
            yield np.full(2, i)

    pairs, drawn = recorded(registry, work)

    assert inspect.isgeneratorfunction(folds)
    assert [o.name for o in pairs.outputs][:3] == ["result[0][0]", "result[0][1]", "result[1][0]"]
    assert len(pairs.outputs) == 8
    assert len(drawn.outputs) == 64


def test_a_generator_that_is_returned_is_not_touched(registry):
    """A plain function that gives one back is recorded by its type: nothing is drawn from it."""
    drawn = mv.step(KFold(4).split)(FRAME)

    (step,) = recorded(registry, lambda: mv.step(KFold(4).split)(FRAME))

    assert inspect.isgenerator(drawn)
    assert len(list(drawn)) == 4
    assert [output.type for output in step.outputs] == ["builtins.generator"]


def test_a_generator_that_is_left_is_no_failure(registry):
    """Its finally runs, and what it gave is recorded."""
    closed = []

    @mv.step
    def batches():
        try:
            yield FRAME
            yield FRAME
        finally:
            closed.append(True)

    def work():
        for _ in batches():
            break

    (step,) = recorded(registry, work)

    assert closed == [True]
    assert step.failed is None
    assert len(step.outputs) == 1


def test_an_async_generator_is_a_step(registry):
    """As the others; what is sent into it arrives."""

    @mv.step
    async def batches():
        sent = yield FRAME
        yield sent

    async def use():
        drawn = batches()
        first = await anext(drawn)
        second = await drawn.asend(FRAME[:3])
        await drawn.aclose()
        return first, second

    (step,) = recorded(registry, lambda: asyncio.run(use()))

    assert inspect.isasyncgenfunction(batches)
    assert [item.shape for item in step.outputs] == [(20, 2), (3, 2)]


def test_partials_builtins_and_callables_are_steps(registry):
    """Whatever can be called, with or without a signature."""

    class Doubler:
        def __call__(self, df):
            return df * 2

    def work():
        mv.step(functools.partial(scaled.__wrapped__, by=5.0))(FRAME)
        mv.step(np.concatenate)([np.zeros(2), np.ones(3)])
        mv.step(Doubler())(FRAME)
        mv.step(max)(3, 4)

    found = recorded(registry, work)

    assert [s.name for s in found] == ["scaled", "concatenate", "Doubler", "max"]
    assert found[0].params["by"] == 5.0
    assert [o.shape for o in found[1].outputs] == [(5,)]
    assert found[3].params == {"args": {"$tuple": [3, 4]}}


@pytest.mark.parametrize("value", [3, None, Cleaner, "text"])
def test_what_is_no_function_is_refused(value):
    """A class has many methods; which of them makes the data is not for us to guess."""
    with pytest.raises(InvalidValueError, match="a function or a method, found"):
        mv.step(value)


# ---- nothing changes, nothing fails


def test_an_exception_goes_on_unchanged(registry, empty_trail):
    """It is the function's own; a run that is kept lists the step as failed."""
    error = ValueError("too few rows")

    @mv.step
    def broken(df):
        raise error

    with pytest.raises(ValueError) as caught, registry.run("churn", on_error="keep"):
        broken(FRAME)

    assert caught.value is error
    assert error.__context__ is None
    (step,) = registry.get("churn").steps
    assert step.failed == "ValueError: too few rows"
    assert step.outputs == ()
    assert "failed: ValueError" in str(registry.get("churn").steps)
    assert len(empty_trail) == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_goes_on(registry, error):
    """Ctrl-C in a step ends the run, and leaves no version."""

    @mv.step
    def broken():
        raise error

    with pytest.raises(error), registry.run("churn"):
        broken()

    assert "churn" not in registry


class Rude:
    def __getattr__(self, name):
        raise RuntimeError(name)


class Hidden:
    """A callable whose signature cannot even be asked for."""

    @property
    def __signature__(self):
        raise RuntimeError("no signature")

    def __call__(self, *args):
        return args


@pytest.mark.parametrize(
    "value",
    [Rude(), iter([1]), object(), {1: {object()}}, [object()] * 3],
    ids=["rude", "iterator", "object", "dict", "list"],
)
def test_capture_never_fails(registry, value):
    """Whatever goes in comes out, and the run commits."""
    same = mv.step(lambda thing: (thing, thing))

    (step,) = recorded(registry, lambda: same(value))

    assert same(value)[0] is value
    assert [item.digest for item in step.outputs] == [None, None]


def test_a_call_that_cannot_be_bound_is_pythons_error():
    """As without the decorator."""
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        scaled()
    assert mv.step(Hidden())(3) == (3,)


def test_an_iterator_is_not_consumed():
    """The function sees every item."""
    assert mv.step(sum)(iter([1, 2, 3])) == 6


def test_nothing_is_recorded_where_tracking_is_off(registry, empty_trail, monkeypatch):
    """By the block and by the variable."""
    with mv.disabled():
        scaled(FRAME)
    monkeypatch.setenv("MODELVERSION_MODE", "off")
    scaled(FRAME)
    assert len(empty_trail) == 0

    monkeypatch.delenv("MODELVERSION_MODE")
    scaled(FRAME)
    assert len(empty_trail) == 1


# ---- nesting, loops, bounds


def test_nested_steps_are_inside(registry):
    """Each names the step around it, also where runs nest between them."""

    @mv.step
    def inner(df):
        return df

    @mv.step
    def outer(df):
        return inner(inner(df))

    found = recorded(registry, lambda: outer(FRAME))

    assert [(s.name.rpartition(".")[2], s.parent) for s in found] == [
        ("outer", None),
        ("inner", 0),
    ]
    assert found[1].count == 2
    assert [found.depth(i) for i in range(2)] == [0, 1]


@pytest.mark.slow
def test_a_step_in_a_loop_is_folded(registry):
    """10,000 calls: 64 are listed, the others counted with their seconds."""

    def work():
        for i in range(10_000):
            scaled(FRAME, by=float(i))

    found = recorded(registry, work)

    assert len(found) == 65
    assert sum(step.count for step in found) == 10_000
    folded = max(found, key=lambda step: step.count)
    assert folded.count == 9_936
    assert (folded.inputs, folded.outputs, folded.params) == ((), (), {})
    assert folded.seconds > 0
    assert "... 9,997 more of scaled" in str(found)


def test_equal_calls_are_one_step(registry):
    """The same function, params and data: counted, with the sum of their seconds."""

    def work():
        for _ in range(500):
            scaled(FRAME)

    (step,) = recorded(registry, work)

    assert step.count == 500


def test_nested_steps_in_a_loop_are_folded_too(registry):
    """What ran inside a call that is only counted stands under the count."""

    @mv.step
    def inner(i):
        return i

    @mv.step
    def outer(i):
        return inner(i)

    found = recorded(registry, lambda: [outer(i) for i in range(300)])

    by_name = {}
    for step in found:
        by_name.setdefault(step.name.rpartition(".")[2], []).append(step)
    assert {name: len(each) for name, each in by_name.items()} == {"outer": 65, "inner": 65}
    counted = [step for step in by_name["inner"] if step.count > 1]
    assert found[counted[0].parent].count == 300 - 64


def test_a_version_lists_a_bounded_number(registry):
    """Many functions in many loops: a thousand steps, the others counted."""
    functions = []
    for i in range(40):
        function = lambda j: j  # noqa: E731
        function.__qualname__ = f"made_{i}"
        functions.append(mv.step(function))

    found = recorded(registry, lambda: [f(j) for f in functions for j in range(70)])

    assert len(found) <= trail.MAX_STEPS + 40
    assert sum(step.count for step in found) == 40 * 70
    assert registry.verify().ok


def test_the_trail_is_bounded():
    """By number, by bytes, and by calls of one function."""
    few = trail.Trail(traces=10)
    small = trail.Trail(size=50_000)
    many = trail.Trail()
    record = records.StepRecord(
        name="f", form="call", code=records.CodeRecord(entry="m:f"), params={"x": "y" * 5000}
    )
    for i in range(1000):
        for held in (few, small, many):
            path = ("m:f",) if held is many else (f"m:f{i}",)
            held.add(trail.Trace(trail.tick(), path, record))

    assert len(few) == 10
    assert small.bytes <= 50_000 and len(small) > 3
    assert len(many) == trail.MAX_ALIKE


def test_no_frame_is_kept_alive():
    """The trail holds digests and no references."""
    import weakref

    frame = FRAME.copy()
    result = scaled(frame)
    ends = [weakref.ref(frame), weakref.ref(result)]
    del frame, result

    assert [end() for end in ends] == [None, None]


# ---- threads and processes


def test_steps_of_threads_belong_to_their_run(registry):
    """Eight runs at once in a pool; each version has its own steps, and no other's."""
    together = threading.Barrier(8, timeout=60)

    @registry.track("churn")
    def train(i):
        together.wait()
        for _ in range(5):
            scaled(FRAME, by=i + 2.0)  # by 1 it would give what the others are given
        together.wait()
        return {"i": i}

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda i: mv.call(train, i), range(8)))

    for i, run in enumerate(runs):
        (step,) = run.version.steps
        assert (step.params["by"], step.count) == (i + 2.0, 5)


def test_a_bound_thread_steps_inside_the_run(registry):
    """And an unbound one does not."""

    def work():
        scaled(FRAME, by=1.0)

    with registry.run("churn") as run, ThreadPoolExecutor(2) as pool:
        pool.submit(run.bind(work)).result()
        pool.submit(lambda: scaled(FRAME, by=2.0)).result()
        run.log_metrics(done=1)

    assert [step.params["by"] for step in run.version.steps] == [1.0]


@pytest.mark.slow
def test_a_step_works_in_processes():
    """Forked, spawned and those of joblib; a wrapped library function by value."""
    calls = [
        lambda: list(ProcessPoolExecutor(1, get_context("spawn")).map(scaled, [FRAME])),
        lambda: joblib.Parallel(2)(joblib.delayed(scaled)(FRAME) for _ in range(2)),
        lambda: joblib.Parallel(2)(
            joblib.delayed(mv.step(pd.DataFrame.copy))(scaled(f)) for f in [FRAME, FRAME]
        ),
    ]

    for call in calls:
        for found in call():
            assert found.a.sum() == FRAME.a.sum() * 2


def test_a_step_pickles_by_value():
    """Into a process that has none of this code, where it is a step."""
    code = """
        import modelversion as mv

        @mv.step
        def double(x):
            return x * 2

        import cloudpickle, sys
        sys.stdout.buffer.write(cloudpickle.dumps(double))
    """
    made = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=True
    )

    double = pickle.loads(made.stdout)

    assert double(np.ones(2)).sum() == 4
    assert double.__modelversion__.name == "double"
    assert cloudpickle.loads(cloudpickle.dumps(double))(3) == 6


def test_a_fork_is_no_danger(empty_trail):
    """A child of a process whose threads take steps takes its own, and never waits for theirs."""
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            scaled(FRAME)

    threads = [threading.Thread(target=busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with get_context("fork").Pool(2) as pool:
            results = [pool.apply_async(_step_once, (i,)) for i in range(20)]
            assert [r.get(timeout=60) for r in results] == [20] * 20
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _step_once(i):
    return len(scaled(FRAME, by=float(i)))
