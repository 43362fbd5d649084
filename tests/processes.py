"""Run work in other processes or threads, and give what it gave."""

import importlib
import json
import multiprocessing
import subprocess
import sys
import threading
import traceback

PATIENCE_SECONDS = 900


def together(job, arguments):
    """Run `job(argument)` in a process each, started at one moment; give the results in order."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(arguments))
    pipes, workers = [], []
    for argument in arguments:
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=_work, args=(job, argument, barrier, sender))
        worker.start()
        sender.close()
        pipes.append(receiver)
        workers.append(worker)
    found = [_received(pipe) for pipe in pipes]
    for worker in workers:
        worker.join()
    return _checked(found)


def _work(job, argument, barrier, sender):
    barrier.wait(PATIENCE_SECONDS)
    try:
        sender.send((True, job(argument)))
    except BaseException:
        sender.send((False, traceback.format_exc()))


def _received(pipe):
    with pipe:
        if not pipe.poll(PATIENCE_SECONDS):
            return False, "gave nothing in time"
        try:
            return pipe.recv()
        except EOFError:
            return False, "ended without a word"


def _checked(found):
    failures = [given for succeeded, given in found if not succeeded]
    assert not failures, f"{len(failures)} of {len(found)} failed, the first:\n{failures[0]}"
    return [given for _, given in found]


def threads_together(job, arguments):
    """Run `job(argument)` in a thread each, started at one moment; give the results in order."""
    barrier = threading.Barrier(len(arguments))
    found = [(False, "never ran")] * len(arguments)

    def work(i, argument):
        barrier.wait(PATIENCE_SECONDS)
        try:
            found[i] = True, job(argument)
        except BaseException:
            found[i] = False, traceback.format_exc()

    workers = [
        threading.Thread(target=work, args=(i, argument)) for i, argument in enumerate(arguments)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE_SECONDS)
    return _checked(found)


def report_of(*command, cwd=None, timeout=PATIENCE_SECONDS):
    """Run Python in a process of its own, warnings as errors; give the JSON that it prints last."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def with_driver(name):
    """Import a module of the package; None if it needs a driver that the extra `test` lacks."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name not in ("dask", "gcsfs", "ray"):
            raise
        return None
