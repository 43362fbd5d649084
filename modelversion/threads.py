"""Work on several threads, or on this one where no other can be started.

The pools of `concurrent.futures` refuse as soon as the main thread has ended, while other threads
and what runs at exit still save; and the system may have no thread left to give.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def in_background(job: Callable[[], None]) -> None:
    """Start a job that nobody waits for, but the interpreter before it ends."""
    try:
        threading.Thread(target=job, name="modelversion").start()
    except RuntimeError:
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

    ends = [beside(work) for _ in range(min(workers, len(items)) - 1)]
    work()
    _wait(ends, stop)
    if failed:
        raise next((e for e in failed if not isinstance(e, Exception)), failed[0])
    return [found[place] for place in range(len(items))]


def _wait(ends: Sequence[Callable[[], None]], stop: threading.Event) -> None:
    try:
        for end in ends:
            end()
    except BaseException:  # an interrupt: nothing goes on behind the caller's back
        stop.set()
        for end in ends:
            end()
        raise
