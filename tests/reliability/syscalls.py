"""Let system calls of a writer fail; `python syscalls.py FOLDER EVERY` needs strace.

For each operation, each kind of call and each error, the n-th such call of a forked writer fails,
or all from the n-th on, for every n until the operation makes no such call. What the writer was
told has to be true: acknowledged means there, an error means that nothing happened, an open
outcome means either. A new attempt then works.
The last line printed is JSON: faults by call, how they ended, and what was found wrong.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import operations
from crash_worker import check_cleared, check_next_save, wait_for_merges

from modelversion.errors import BytesLeftWarning, ModelVersionError

ERRORS = {
    "openat": ("EACCES", "EMFILE", "EIO"),
    "write": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"),
    "link": ("EACCES", "EIO"),
    "mkdir": ("ENOSPC", "EACCES"),
    "rename": ("ENOSPC", "EIO"),
    "unlink": ("EACCES", "EIO"),
}
STRACE = shutil.which("strace")
# How a writer tells what it was told: by its exit code, since any call of its may fail.
ENDINGS = {10: "done", 11: "failed", 12: "unknown"}


def attempt(operation, root):
    """Do an operation once a tracer is there, and end with what it was told."""
    code = 1
    # A deletion has happened, whatever became of the bytes, and says that in a warning.
    warnings.simplefilter("ignore", BytesLeftWarning)
    os.kill(os.getpid(), signal.SIGSTOP)
    try:
        operation(root)
        code = 10
    except ModelVersionError as e:
        code = 12 if operations.unknown(e) else 11
    except BaseException as e:
        sys.stderr.write(f"{type(e).__name__}: {e}\n")
    finally:
        wait_for_merges()
        os._exit(code)


def faulted(operation, root, call, error, when):
    """Do an operation in a forked process one of whose calls fails.

    Returns:
        How it ended, and whether a call was made to fail at all.
    """
    pid = os.fork()
    if not pid:
        attempt(operation, root)
    os.waitpid(pid, os.WUNTRACED)
    log = f"{root}.strace"
    rule = f"inject={call}:error={error}:when={when}"
    tracer = subprocess.Popen(
        [STRACE, "-f", "-o", log, "-p", str(pid), "-e", f"trace={call}", "-e", rule],
        stderr=subprocess.PIPE,
        text=True,
    )
    attached = tracer.stderr.readline()
    assert "attached" in attached, attached
    os.kill(pid, signal.SIGCONT)
    _, status = os.waitpid(pid, 0)
    tracer.communicate()
    ending = ENDINGS.get(os.waitstatus_to_exitcode(status), f"ended by {status}")
    return ending, "(INJECTED)" in Path(log).read_text(errors="replace")


def judge(operation, root, states, done, ending):
    """Give what is wrong after a fault, None if nothing is."""
    try:
        if ending not in ENDINGS.values():
            return "it raised something that is no error of the library"
        happened = ending == "done"
        problem = operations.problem_after(
            root, states, done + happened, under_way=ending == "unknown"
        )
        if problem is None and not happened:
            retry(operation, root, states[done + 1])
        check_next_save(root)
        check_cleared(root)
    except Exception as e:
        return f"{type(e).__name__} {e}"
    return problem


def retry(operation, root, wanted):
    """Do the operation again, without a fault."""
    try:
        operation(root)
    except ModelVersionError:
        # What is open may have happened, and may not be possible twice.
        if operations.said(root) != wanted:
            raise


def sweep(folder, every, calls=tuple(ERRORS)):
    """Let calls fail in every operation, in a copy of what there was before it."""
    folder.mkdir(parents=True)
    real = folder / "registry"
    states = [operations.said(str(real))]
    report = {"faults": {}, "endings": {}, "problems": []}
    for done, (name, operation) in enumerate(operations.OPERATIONS.items()):
        before = folder / "before"
        if real.exists():
            shutil.copytree(real, before)
        operation(str(real))
        states.append(operations.said(str(real)))
        for call in calls:
            for error in ERRORS[call]:
                for forever in ("", "+"):
                    run = functools.partial(one, folder / "case", before, operation, states, done)
                    for when, ending, problem in until_none(run, call, error, forever, every):
                        count(report["faults"], call)
                        count(report["endings"], ending)
                        if problem:
                            case = f"{name}, {call} {when} {error}, {ending}"
                            report["problems"].append(f"{case}: {problem}")
        shutil.rmtree(before, ignore_errors=True)
    return report


def count(counts, name):
    """Add one."""
    counts[name] = counts.get(name, 0) + 1


def until_none(run, call, error, forever, every):
    """Let the n-th call fail for each n, until there is none."""
    number = 1
    while True:
        when = f"{number}{forever}"
        ending, injected, problem = run(call, error, when)
        if not injected:
            return
        yield when, ending, problem
        number += every


def one(place, before, operation, states, done, call, error, when):
    """Copy what there was, let a call fail, judge, and clear up."""
    place.mkdir()
    root = str(place / "registry")
    if before.exists():
        shutil.copytree(before, root)
    ending, injected = faulted(operation, root, call, error, when)
    problem = judge(operation, root, states, done, ending) if injected else None
    shutil.rmtree(place)
    return ending, injected, problem


def deaf():
    """Take away a guard: pass over what a link says that could not be made."""
    real = os.link

    def link(*arguments, **options):
        with contextlib.suppress(PermissionError):
            real(*arguments, **options)

    os.link = link


if __name__ == "__main__":
    os.environ["PATH"] = ""  # the hundreds of files that git opens are git's to be tested with
    operations.expected(sys.argv[1] + "-warm")  # imports are not what is to fail
    wait_for_merges()
    calls = sys.argv[3].split(",") if len(sys.argv) > 3 else tuple(ERRORS)
    if sys.argv[4:] == ["deaf"]:
        deaf()
    print(json.dumps(sweep(Path(sys.argv[1]), int(sys.argv[2]), calls)))
