"""Work on several threads: to its end, or to the first error, also where no thread can be had."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import modelversion as mv
from modelversion.errors import SaveError, UnpicklableError
from modelversion.threads import behind, each

resource = pytest.importorskip("resource", reason="limits of files are those of Unix")

MIB = 2**20

LATE = """
import atexit, sys, threading
import numpy as np
import modelversion as mv

registry = mv.Registry(sys.argv[1])

def save(name):
    value = {"a": np.full(300_000, 2.0), "b": np.arange(1_100_000.0), "text": "x" * 2**21}
    version = registry.save(name, value)
    found = registry.load(version.ref)
    same = all(np.array_equal(found[key], value[key]) for key in ("a", "b"))
    print(name, same, mv.fingerprint(value["b"]).digest is not None)

def work():
    threading.main_thread().join()
    save("thread")

atexit.register(save, "exit")
threading.Thread(target=work).start()
"""


def test_what_outlives_the_main_thread_saves_and_loads(tmp_path):
    """A thread that trains on when the script has ended, and a handler at exit."""
    ran = subprocess.run(
        [sys.executable, "-c", LATE, str(tmp_path / "registry")],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert ran.stdout.split() == ["thread", "True", "True", "exit", "True", "True"], ran.stderr


@pytest.fixture
def no_threads(monkeypatch):
    """The system has no thread to give."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_threads")
def test_where_no_thread_can_be_started_all_is_done_on_this_one(tmp_path):
    """Saves, merges, loads and data hashes; nothing that was committed is told as a failure."""
    registry = mv.Registry(tmp_path / "registry")
    value = {"a": np.full(300_000, 2.0), "b": np.arange(1_100_000.0), "text": "x" * 2 * MIB}
    version = registry.save("m", value, data={"b": value["b"]})
    for number in range(31):
        version.tag({"n": number})

    assert list((tmp_path / "registry/models/m/journal/s1").iterdir())
    np.testing.assert_equal(mv.Registry(registry.url).load("m"), value)


@contextlib.contextmanager
def _files_up_to(size):
    """No file of this process grows larger: a write gives `EFBIG`, and a signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _arrays(count=3):
    return {str(i): np.full(MIB // 2, i + 1.0) for i in range(count)}


def _open_files():
    return len(os.listdir("/dev/fd"))


def _alive():
    return {thread for thread in threading.enumerate() if thread.is_alive()}


def _nothing_left(registry, threads, files):
    # One whose start was interrupted is not waited for: it ends at once, and Python may go on
    # listing it.
    until = time.monotonic() + 60
    while (alive := _alive()) != threads and time.monotonic() < until:
        time.sleep(0.01)
    assert alive == threads
    assert _open_files() == files
    assert [name for name in os.listdir(registry.url) if name.startswith(".tmp-")] == []


@pytest.mark.parametrize("value", [_arrays(), "x" * 5 * MIB], ids=["arrays", "text"])
def test_a_disk_that_takes_no_more_fails_the_save_and_is_blamed_for_it(registry, value):
    """The object is in the error; no version, thread, file or open descriptor is left."""
    registry.save("m", 1)
    threads, files = set(threading.enumerate()), _open_files()

    with _files_up_to(2 * MIB), pytest.raises(SaveError, match="File too large") as caught:
        registry.save("m", value)

    assert not isinstance(caught.value, UnpicklableError)
    assert caught.value.value is value
    assert len(registry["m"]) == 1
    del caught
    _nothing_left(registry, threads, files)
    assert registry.save("m", value).verify()


def _interrupt_once(number, frame):
    """Each thread that writes too much gives a signal, and nobody interrupts twice here."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def test_an_interrupt_while_arrays_are_written_leaves_nothing(registry):
    """It is told as one, when all threads have ended."""
    registry.save("m", 1)
    threads, files, value = set(threading.enumerate()), _open_files(), _arrays()
    before = signal.signal(signal.SIGXFSZ, _interrupt_once)

    try:
        with _files_up_to(2 * MIB), pytest.raises(KeyboardInterrupt):
            registry.save("m", value)
    finally:
        signal.signal(signal.SIGXFSZ, before)

    assert len(registry["m"]) == 1
    _nothing_left(registry, threads, files)


def test_results_stand_in_the_order_of_the_items():
    """However the threads came to them."""
    assert each(lambda n: n * n, range(100), workers=4) == [n * n for n in range(100)]
    assert each(lambda n: n, [], workers=4) == []


def _handed_on(count, job):
    with behind(job) as hand:
        for number in range(count):
            hand(number)


def test_what_is_handed_on_is_done_in_order_by_the_end_of_the_block():
    """Falsy pieces too."""
    done = []
    _handed_on(1000, done.append)
    assert done == list(range(1000))


@pytest.mark.usefixtures("no_threads")
def test_what_is_handed_on_is_done_at_once_where_there_are_no_threads():
    """Nothing waits for a thread that never starts."""
    done = []
    with behind(done.append) as hand:
        hand(1)
        assert done == [1]


def test_what_fails_behind_is_raised_at_the_end_and_nothing_is_done_after_it():
    """An error of the block itself comes first; no thread is left."""
    threads, done = set(threading.enumerate()), []

    def job(number):
        done.append(number)
        if number == 3:
            raise ValueError("went wrong")

    with pytest.raises(ValueError, match="went wrong"):
        _handed_on(10, job)
    with pytest.raises(KeyError), behind(job) as hand:
        hand(3)
        raise KeyError

    assert done == [0, 1, 2, 3, 3]
    assert set(threading.enumerate()) == threads


@pytest.mark.parametrize("work", [_handed_on, lambda n, job: each(job, range(n), workers=3)])
def test_an_interrupt_while_a_thread_is_started_leaves_none(work, monkeypatch):
    """The thread runs already when the caller hears of the interrupt."""
    threads, start = set(threading.enumerate()), threading.Thread.start

    def interrupted(thread):
        start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        work(3, lambda number: None)

    assert set(threading.enumerate()) == threads


def test_the_first_error_is_raised_and_stops_the_others():
    """What another raises because it was stopped is not what went wrong."""
    stop, begun = threading.Event(), threading.Event()

    def job(number):
        if number == 0:
            begun.set()
            assert stop.wait(60)
            raise ValueError("was stopped")
        assert begun.wait(60)
        raise KeyError("went wrong")

    with pytest.raises(KeyError, match="went wrong"):
        each(job, range(100), workers=2, stop=stop)
