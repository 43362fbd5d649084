"""Work on several threads, or on this one where no other can be started.

The pools of `concurrent.futures` refuse as soon as the main thread has ended, while other threads
and what runs at exit still save; and the system may have no thread left to give.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def in_background(job: Callable[[], None]) -> None:
    """Start a job that nobody waits for, but the interpreter before it ends."""
    if not _started(threading.Thread(target=job, name="modelversion")):
        job()


def beside(job: Callable[[], T]) -> Callable[[], T]:
    """Start a job on a thread of its own; what is given waits for it, and gives what it gave.

    Where no thread can be started, the job has been done here.
    """
    from concurrent.futures import Future

    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(job())
        except BaseException as e:  # noqa: BLE001 - raised where it is waited for
            done.set_exception(e)

    in_background(run)
    return done.result


@contextlib.contextmanager
def behind(job: Callable[[T], object]) -> Iterator[Callable[[T], object]]:
    """Give what hands a piece of work to a thread that does one after the other, in their order.

    At the end of the block all are done, and the first error of one is raised. Where no thread
    can be started, each is done here at once.
    """
    from queue import SimpleQueue

    pieces: SimpleQueue[tuple[T] | None] = SimpleQueue()
    failed: list[BaseException] = []

    def work() -> None:
        while (piece := pieces.get()) is not None:
            try:
                if not failed:
                    job(*piece)
            except BaseException as e:  # noqa: BLE001 - raised below
                failed.append(e)

    thread = threading.Thread(target=work, name="modelversion", daemon=True)
    try:
        yield (lambda piece: pieces.put((piece,))) if _started(thread) else job
    finally:
        pieces.put(None)
        _join([thread])
    if failed:
        raise failed[0]


def each(
    job: Callable[[Any], T],
    items: Sequence[Any],
    *,
    workers: int,
    stop: threading.Event | None = None,
) -> list[T]:
    """Do a job for each item, on this thread and others; give the results in the items' order.

    The first error, or an interrupt, is raised once all threads have ended.

    Args:
        job: What is done.
        items: For what.
        workers: Threads at most, this one included.
        stop: Set when one fails, or the caller is interrupted, for jobs that take long.
    """
    stop = stop or threading.Event()
    found: dict[int, T] = {}
    failed: list[BaseException] = []
    tickets = itertools.count()

    def work() -> None:
        try:
            while not stop.is_set() and (place := next(tickets)) < len(items):
                found[place] = job(items[place])
        except BaseException as e:  # noqa: BLE001 - raised below
            failed.append(e)
            stop.set()

    others = [
        threading.Thread(target=work, name="modelversion")
        for _ in range(min(workers, len(items)) - 1)
    ]
    try:
        all(map(_started, others))  # where one is refused, none is asked for again
        work()
        _join(others)
    except BaseException:  # an interrupt: nothing goes on behind the caller's back
        stop.set()
        _join(others)
        raise
    if failed:
        raise next((e for e in failed if not isinstance(e, Exception)), failed[0])
    return [found[place] for place in range(len(items))]


def _started(thread: threading.Thread) -> bool:
    """Start a thread, if the system has one to give."""
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait for those that were started."""
    for thread in threads:
        if thread.ident is not None:
            thread.join()
