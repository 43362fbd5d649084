"""Runs never mix: threads, pools, tasks, joblib and suspended generators, each with its own run."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest

import modelversion as mv
from modelversion import current, forms
from modelversion.errors import NoActiveRunError

N = 12


@pytest.fixture
def registry(tmp_path):
    return mv.Registry(tmp_path / "registry")


def each_has_its_own(registry, name="churn", count=N):
    """Tell whether every version has the metrics and steps of its own run, and no others."""
    versions = list(registry[name])
    for version in versions:
        i = version.params["i"]
        if dict(version.metrics) != {"first": i, "second": i}:
            return False
        if [step.params for step in version.steps] not in ([], [{"i": i}]):
            return False
    return sorted(v.params["i"] for v in versions) == list(range(count))


@mv.step
def noted(i):
    return np.full(3, i)


# ---- ways to run several at once


def in_threads(registry):
    """All at one moment, each waiting for the others half-way."""
    together = threading.Barrier(N, timeout=60)

    @registry.track("churn", ignore=["pause"])
    def train(i, pause):
        mv.log_metrics(first=i)
        pause()
        noted(i)
        pause()
        mv.log_metrics(second=i)
        return {"i": i}

    with ThreadPoolExecutor(N) as pool:
        list(pool.map(lambda i: train(i, together.wait), range(N)))


def in_a_small_pool(registry):
    """Threads are used again: what one run left there would be in the next."""

    @registry.track("churn")
    def train(i):
        mv.log_metrics(first=i)
        noted(i)
        mv.log_metrics(second=i)
        return {"i": i}

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(train, range(N)))


def in_threads_of_joblib(registry):
    """With the backend that shares memory."""
    together = threading.Barrier(2, timeout=60)

    @registry.track("churn", ignore=["pause"])
    def train(i, pause):
        mv.log_metrics(first=i)
        pause()
        noted(i)
        mv.log_metrics(second=i)
        return {"i": i}

    jobs = (joblib.delayed(train)(i, together.wait) for i in range(N))
    joblib.Parallel(2, backend="threading", batch_size=1)(jobs)


def in_tasks(registry):
    """Each gives way in the middle, in a random order; some go on in a thread."""

    @registry.track("churn", ignore=["order"])
    async def train(i, order):
        mv.log_metrics(first=i)
        await asyncio.sleep(order.random() / 100)
        await asyncio.to_thread(noted, i)
        await asyncio.sleep(order.random() / 100)
        mv.log_metrics(second=i)
        return {"i": i}

    async def main():
        order = random.Random(1)
        await asyncio.gather(*(train(i, order) for i in range(N)))

    asyncio.run(main())


def in_generators(registry):
    """All suspended at once, and gone on with in turn, in a random order."""

    @registry.track("churn")
    def train(i):
        mv.log_metrics(first=i)
        yield
        noted(i)
        yield
        mv.log_metrics(second=i)
        return {"i": i}

    order = random.Random(2)
    going = [train(i) for i in range(N)]
    while going:
        picked = order.choice(going)
        if next(picked, "ended") == "ended":
            going.remove(picked)


def in_generators_of_threads(registry):
    """One begins a generator, another goes on with it."""

    @registry.track("churn")
    def train(i):
        mv.log_metrics(first=i)
        yield
        noted(i)
        mv.log_metrics(second=i)
        return {"i": i}

    going = [train(i) for i in range(N)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(next, going))
        list(pool.map(list, going))


def in_async_generators(registry):
    """Drawn from by tasks in turn."""

    @registry.track("churn")
    async def train(i):
        mv.log_metrics(first=i)
        yield
        await asyncio.sleep(0)
        noted(i)
        yield
        mv.log_metrics(second=i)
        mv.log_model({"i": i})

    async def main():
        going = [train(i) for i in range(N)]
        for _ in range(3):
            await asyncio.gather(*(anext(g, None) for g in going))

    asyncio.run(main())


def in_contexts(registry):
    """A notebook may run each cell in a context of its own."""
    for i in range(N):
        run = registry.run("churn", params={"i": i}).start()
        for work in (
            functools.partial(mv.log_metrics, first=i),
            functools.partial(noted, i),
            functools.partial(mv.log_metrics, second=i),
        ):
            contextvars.Context().run(work)
        run.commit()


def in_blocks_of_threads(registry):
    """Runs without a function, each in its thread."""
    together = threading.Barrier(N, timeout=60)

    def work(i):
        with registry.run("churn", params={"i": i}):
            mv.log_metrics(first=i)
            together.wait()
            noted(i)
            mv.log_metrics(second=i)

    with ThreadPoolExecutor(N) as pool:
        list(pool.map(work, range(N)))


def in_started_runs_of_threads(registry):
    """Started and committed, without a block."""
    together = threading.Barrier(4, timeout=60)

    def work(i):
        run = registry.run("churn", params={"i": i}).start()
        mv.log_metrics(first=i)
        together.wait()
        noted(i)
        mv.log_metrics(second=i)
        run.commit()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(N)))


WAYS = [
    in_threads,
    in_a_small_pool,
    in_threads_of_joblib,
    in_tasks,
    in_generators,
    in_generators_of_threads,
    in_async_generators,
    in_contexts,
    in_blocks_of_threads,
    in_started_runs_of_threads,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_metrics_and_steps_land_in_their_own_run(registry, way):
    """Each version has what its own run logged, whichever way they ran at once."""
    way(registry)

    assert each_has_its_own(registry)
    assert registry.verify().ok
    with pytest.raises(NoActiveRunError):
        mv.log_metrics(stray=1)


class Shared:
    """What a global variable in the place of the context variable would be."""

    def __init__(self, default=None):
        self.value = default

    def get(self):
        return self.value

    def set(self, value):
        before, self.value = self.value, value
        return before

    def reset(self, before):
        self.value = before


MIXING = [in_threads, in_tasks, in_blocks_of_threads]


@pytest.mark.parametrize("way", MIXING, ids=lambda way: way.__name__)
def test_a_global_run_would_mix(registry, monkeypatch, way):
    """The mutant: with one variable for all, metrics land in another's run."""
    monkeypatch.setattr(current, "_CURRENT", Shared())

    with contextlib.suppress(NoActiveRunError):
        way(registry)

    assert "churn" not in registry or not each_has_its_own(registry)


def test_a_generator_that_stays_inside_would_leak(registry, monkeypatch):
    """The mutant: a run that is set once for a generator, and not around each of its steps."""

    def send(self, value):
        current._CURRENT.set(self.recording.run)
        return self.generator.send(value)

    @registry.track("churn")
    def train():
        yield

    def work():
        steps = train()
        next(steps)
        mv.log_metrics(stray=1)
        steps.close()

    with pytest.raises(NoActiveRunError):
        contextvars.copy_context().run(work)
    monkeypatch.setattr(forms._Inside, "send", send)
    contextvars.copy_context().run(work)


# ---- what is left behind


def test_a_generator_that_is_collected_leaves_nothing(registry):
    """Suspended, dropped, collected, perhaps by another thread: no version, no current run."""

    @registry.track("churn")
    def train():
        mv.log_metrics(a=1)
        yield
        mv.log_metrics(b=1)

    steps = train()
    next(steps)
    with ThreadPoolExecutor(1) as pool:
        held = [steps]
        del steps
        pool.submit(lambda: (held.clear(), gc.collect())).result()

    assert "churn" not in registry
    with pytest.raises(NoActiveRunError):
        mv.log_metrics(stray=1)


def test_an_executor_of_a_loop_loses_the_run(registry):
    """`run_in_executor` takes no context along: the call is told so, and bound it logs."""

    @registry.track("churn")
    async def train():
        loop = asyncio.get_running_loop()
        with pytest.raises(NoActiveRunError, match=r"run\.bind"):
            await loop.run_in_executor(None, functools.partial(mv.log_metrics, a=1))
        bound = current.current_run().bind(mv.log_metrics)
        await loop.run_in_executor(None, functools.partial(bound, a=2))
        return {"w": 1}

    asyncio.run(train())

    assert dict(registry.get("churn").metrics) == {"a": 2}


def test_a_pool_made_inside_a_run_is_no_way_in(registry):
    """Its threads outlive the run, and log nowhere, before and after its end."""
    with ThreadPoolExecutor(1) as pool:
        with registry.run("churn") as run:
            mv.log_metrics(a=1)
            assert isinstance(pool.submit(mv.log_metrics, b=1).exception(), NoActiveRunError)
        assert isinstance(pool.submit(mv.log_metrics, c=1).exception(), NoActiveRunError)

    assert dict(run.version.metrics) == {"a": 1}


def test_a_task_that_outlives_its_run_is_refused(registry):
    """It inherited the run, which has been committed since."""
    outcome = []

    async def late(ready):
        await ready.wait()
        try:
            mv.log_metrics(late=1)
        except NoActiveRunError as e:
            outcome.append(str(e))

    async def main():
        ready = asyncio.Event()

        @registry.track("churn", returns=("_", "model"), ignore=["ready"])
        async def train(ready):
            mv.log_metrics(a=1)
            return asyncio.create_task(late(ready)), {"w": 1}

        task, _ = await train(ready)
        ready.set()
        await task

    asyncio.run(main())

    assert "is committed" in outcome[0]
    assert dict(registry.get("churn").metrics) == {"a": 1}


def worker(i, url):
    @mv.track("churn", registry=mv.Registry(url))
    def train(i):
        mv.log_metrics(first=i)
        noted(i)
        mv.log_metrics(second=i)
        return {"i": i}

    return train(i)


@pytest.mark.slow
def test_workers_have_runs_of_their_own(registry):
    """Tracked functions in two processes at once, from inside a run of the parent."""
    with registry.run("outer") as run:
        joblib.Parallel(2)(joblib.delayed(worker)(i, registry.url) for i in range(N))
        run.log_metrics(outer=1)

    assert each_has_its_own(registry)
    assert dict(run.version.metrics) == {"outer": 1}
    assert run.version.parents == ()
