"""Kill writers and look at what they leave; run as `python crash_worker.py SCENARIO FOLDER`.

One warm process forks a writer for each kill, so that a kill costs a few milliseconds. A writer
is killed before its k-th call that changes the filesystem, for every k until it gets through, or
in the middle of a write, or at a random moment. After each kill the survivors are judged here.
The last line printed is JSON: how many kills there were, and what was found wrong after them.
"""

import contextlib
import functools
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from datetime import timedelta
from pathlib import Path

import numpy as np

import modelversion as mv
from modelversion import layout

NOW = timedelta(0)
CHANGING = (
    "fsync",
    "link",
    "mkdir",
    "open",
    "rename",
    "replace",
    "rmdir",
    "unlink",
    "write",
)


# ---- dying -------------------------------------------------------------------------------------


def die():
    """End this process as a power failure of it alone would."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def die_at(k, *, halfway):
    """Arrange to die before the k-th call that changes the filesystem.

    With `halfway` a write that is the k-th call first writes one half of its bytes. Gives the
    list that the names of the calls are added to.
    """
    lock, calls = threading.Lock(), []

    def wrap(name, real):
        @functools.wraps(real)
        def counted(*args, **kwargs):
            if name == "open" and not _creates(args):
                return real(*args, **kwargs)
            with lock:
                calls.append(name)
                if len(calls) == k:
                    if halfway and name == "write":
                        real(args[0], memoryview(args[1])[: len(args[1]) // 2])
                    die()
            return real(*args, **kwargs)

        return counted

    for name in CHANGING:
        setattr(os, name, wrap(name, getattr(os, name)))
    return calls


def _creates(args):
    return len(args) > 1 and args[1] & os.O_CREAT


def forked(work):
    """Do `work` in a forked process; give True if it ended by itself, False if it was killed."""
    pid = start(work)
    return ended(pid)


def start(work):
    """Fork a process that does `work` and give its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        wait_for_merges()
        os._exit(code)


def wait_for_merges():
    """Wait until no merge of a journal is being written in the background."""
    for thread in threading.enumerate():
        if thread.name == "modelversion":
            thread.join()


def ended(pid):
    """Wait for a forked process; True if it ended by itself, False if it was killed."""
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        raise AssertionError("the writer failed; see its traceback above")
    return True


# ---- judging -----------------------------------------------------------------------------------


def equal(one, other):
    """Compare what the scenarios save: plain values, and dicts of arrays."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)
    return one == other


def check_readers(registry, allowed):
    """No reader sees a part of a version: what is listed loads, whole and as it was saved."""
    for model in registry.models():
        for version in model.versions():
            value = version.load()
            if not any(equal(value, one) for one in allowed):
                raise AssertionError(f"{version.ref} loads as {str(value)[:200]}")
        for alias, number in model.aliases.items():
            if number not in [version.number for version in model.versions()]:
                raise AssertionError(f"alias {alias} names {number}, which is not there")
    report = registry.verify()
    if not report.ok:
        raise AssertionError(f"verify before gc: {report}")


def check_next_save(root):
    """The next save works, and loads."""
    version = mv.Registry(root).save("churn", ["the next one", str(root)])
    if mv.Registry(root).load(version.ref) != ["the next one", str(root)]:
        raise AssertionError("the next save loads as something else")


def check_cleared(root):
    """After gc nothing is left over, and every number without a version is accounted for."""
    registry = mv.Registry(root)
    registry.gc(older_than=NOW)
    left = [str(p) for p in Path(root).rglob("*") if p.name.startswith(layout.TEMPORARY)]
    if left:
        raise AssertionError(f"gc left {left}")
    again = registry.gc(older_than=NOW)
    if again.abandoned or again.removed:
        raise AssertionError(f"a second gc found more: {again}")
    report = mv.Registry(root).verify()
    if not report.ok:
        raise AssertionError(f"verify after gc: {report}")
    if report.pending:
        raise AssertionError(f"pending after gc: {[str(p) for p in report.pending]}")
    for model in mv.Registry(root).models():
        check_gaps(root, model)


def check_gaps(root, model):
    """Each number up to the highest was committed, or its claim stands and it was abandoned."""
    facts = model._line.facts.head().state
    highest = max(facts.committed.last, facts.abandoned.last)
    for number in range(1, highest + 1):
        folder = Path(root) / layout.version(model.name.lower(), number)
        if not (folder / layout.CLAIM).is_file():
            raise AssertionError(f"number {number} has no claim")
        if (number in facts.committed) == (number in facts.abandoned):
            raise AssertionError(f"number {number} is neither committed nor abandoned, or both")
        if number in facts.abandoned and len(list(folder.iterdir())) > 1:
            raise AssertionError(f"abandoned number {number} still holds files")


# ---- one scenario: what is there before, what the writer does, what may be read after ----------

SMALL = {"weights": [1.0, 2.0]}


def large(seed):
    """Three arrays that each get a file of their own, and one that shares a file."""
    return {f"a{i}": np.full(2**17 + i, seed + i, "float64") for i in range(3)} | {
        "b": np.full(1000, seed, "float64")
    }


def nothing(root):
    """No registry yet."""


def two_versions(root):
    """Two versions, an alias on the first."""
    registry = mv.Registry(root)
    registry.save("churn", "one")
    registry.save("churn", "two")
    registry["churn"].set_alias("champion", 1)


def two_versions_and_a_large_one(root):
    """Two versions and a third of large arrays."""
    two_versions(root)
    mv.Registry(root).save("churn", large(1))


def up_to_a_merge(root):
    """A journal of 31 entries: the next one is followed by a merge."""
    registry = mv.Registry(root)
    version = registry.save("churn", "one")
    for i in range(30):
        version.tag(turn=i)


def remains(root):
    """What three crashed saves, a crashed deletion and a crashed spool leave."""
    two_versions_and_a_large_one(root)
    for k in (24, 30, 44):
        forked(functools.partial(_die_in, lambda: mv.Registry(root).save("churn", SMALL), k))
    forked(functools.partial(_die_in, lambda: mv.Registry(root).save("churn", large(5)), 40))
    forked(functools.partial(_die_in, lambda: _delete(root, 2), 5))


def _die_in(work, k):
    die_at(k, halfway=False)
    work()


def _delete(root, number):
    mv.Registry(root)["churn"][number].delete(reason="too old")


def _repeat(root):
    registry = mv.Registry(root)
    registry.save("churn", "two", new=True)
    registry.save("churn", "two")


BEFORE = ["one", "two"]
SCENARIOS = {
    "first-save": (nothing, lambda root: mv.Registry(root).save("churn", SMALL), [SMALL]),
    "save": (two_versions, lambda root: mv.Registry(root).save("churn", SMALL), [*BEFORE, SMALL]),
    "save-new-model": (
        two_versions,
        lambda root: mv.Registry(root).save("other", SMALL),
        [*BEFORE, SMALL],
    ),
    "save-large": (
        two_versions,
        lambda root: mv.Registry(root).save("churn", large(3)),
        [*BEFORE, large(3)],
    ),
    "save-shared": (
        two_versions_and_a_large_one,
        lambda root: mv.Registry(root).save("churn", large(1), tags={"again": True}),
        [*BEFORE, large(1)],
    ),
    "repeat": (two_versions, _repeat, BEFORE),
    "alias": (
        two_versions,
        lambda root: mv.Registry(root)["churn"].set_alias("champion", 2),
        BEFORE,
    ),
    "tag-and-merge": (up_to_a_merge, lambda root: mv.Registry(root)["churn"][1].tag(a=1), BEFORE),
    "delete": (
        two_versions_and_a_large_one,
        lambda root: _delete(root, 3),
        [*BEFORE, large(1)],
    ),
    "gc": (remains, lambda root: mv.Registry(root).gc(older_than=NOW), [*BEFORE, SMALL, large(1)]),
}


def run_scenario(name, folder):
    """Kill the writer of a scenario before each of its calls, and judge what is left each time."""
    prepare, act, allowed = SCENARIOS[name]
    template = folder / "template"
    template.mkdir()
    prepare(str(template / "registry"))
    kills, problems = 0, []
    for k, halfway, call in moments(template, folder, act):
        place = folder / f"{k}{'-halfway' * halfway}"
        shutil.copytree(template, place)
        root = str(place / "registry")
        reader = mv.Registry(root)
        check_readers(reader, allowed)
        kills += not forked(functools.partial(_killed, act, root, k, halfway))
        moment = f"{name}, killed {'in the middle of' if halfway else 'before'} call {k} ({call})"
        problems += judge(root, reader, allowed, moment, gc_first=k % 2)
        shutil.rmtree(place)
    return kills, problems


def moments(template, folder, act):
    """Give every moment to kill at: before each call, after the last, and inside of writes."""
    place = folder / "unharmed"
    shutil.copytree(template, place)
    calls = recorded(functools.partial(act, str(place / "registry")))
    shutil.rmtree(place)
    for k, call in enumerate(calls, 1):
        yield k, False, call
        if call == "write":
            yield k, True, call


def recorded(work):
    """Do `work` in a forked process and give the names of its calls."""
    receiver, sender = os.pipe()

    def tell():
        calls = die_at(0, halfway=False)
        work()
        wait_for_merges()
        with open(sender, "w") as out:
            out.write(" ".join(calls))

    pid = start(tell)
    os.close(sender)
    with open(receiver) as file:
        calls = file.read().split()
    ended(pid)
    return calls


def _killed(act, root, k, halfway):
    die_at(k, halfway=halfway)
    act(root)


def judge(root, reader, allowed, moment, *, gc_first):
    """Give what is wrong after a kill, as a list of at most one line."""
    try:
        check_readers(reader, allowed)
        check_readers(mv.Registry(root), allowed)
        for check in (check_cleared, check_next_save) if gc_first else (check_next_save,):
            check(root)
        check_cleared(root)
        check_readers(reader, [*allowed, ["the next one", str(root)]])
        check_readers(mv.Registry(root), [*allowed, ["the next one", str(root)]])
    except Exception as e:
        where = traceback.extract_tb(e.__traceback__)[-1]
        return [f"{moment}: {type(e).__name__} {e} ({Path(where.filename).name}:{where.lineno})"]
    return []


# ---- random moments ----------------------------------------------------------------------------


def busy(root, ready):
    """Save, tag, alias, delete and collect until killed."""
    dice = random.Random(os.urandom(8))
    registry = mv.Registry(root)
    os.write(ready, b"!")
    while True:
        version = registry.save("churn", ["busy", dice.randrange(10**9)])
        version.tag(seen=True)
        model = registry["churn"]
        chosen = dice.randrange(6) if len(model) > 1 else 0
        if chosen == 0:
            model.set_alias("champion", version)
        elif chosen == 1:
            registry.save("churn", {"a": np.full(2**17, 1.5)}, new=True)
        elif chosen == 2:
            with contextlib.suppress(mv.errors.InUseError):
                model[-2].delete(reason="old")
        elif chosen == 3:
            registry.gc()


def run_random(folder, count=100):
    """Kill a busy writer at random moments, each time in the place that the last one left."""
    dice = random.Random(20261101)
    kills, problems = 0, []
    for round_ in range(count):
        root = str(folder / f"registry-{round_ // 10}")
        receiver, sender = os.pipe()
        pid = start(functools.partial(busy, root, sender))
        os.close(sender)
        os.read(receiver, 1)
        os.close(receiver)
        time.sleep(dice.random() ** 2 * 0.08)
        os.kill(pid, signal.SIGKILL)
        kills += not ended(pid)
        problems += judge_random(root, round_)
    return kills, problems


def judge_random(root, round_):
    """Give what is wrong after a kill at a random moment."""
    try:
        for version in mv.Registry(root).search():
            version.load()
        check_next_save(root)
        check_cleared(root)
    except Exception as e:
        return [f"random kill {round_}: {type(e).__name__} {e}\n{traceback.format_exc()}"]
    return []


# ---- 512 MB ------------------------------------------------------------------------------------

MEGABYTES = 512


def huge():
    """Four arrays of 128 MB."""
    return {f"a{i}": np.full(MEGABYTES * 2**20 // 32, i + 0.5) for i in range(4)}


def run_huge(folder):
    """Kill a save of 512 MB while its bytes are written, and while it is committed."""
    root = str(folder / "registry")
    mv.Registry(root).save("churn", "one")
    value = huge()
    allowed = ["one", value, ["the next one", root]]

    def act(place):
        mv.Registry(place).save("churn", value, new=True)

    mv.Registry(folder / "unharmed").save("churn", "one")
    calls = recorded(functools.partial(act, str(folder / "unharmed")))
    shutil.rmtree(folder / "unharmed")
    kills, problems = 0, []
    for k in (20, len(calls) // 3, len(calls) * 2 // 3, len(calls) - 40, len(calls) - 12):
        reader = mv.Registry(root)
        kills += not forked(functools.partial(_killed, act, root, k, True))
        problems += judge(root, reader, allowed, f"512 MB, call {k}", gc_first=k % 2)
    return kills, problems + check_huge(root, value)


def check_huge(root, value):
    """Save the 512 MB at last, and load them."""
    saved = mv.Registry(root).save("churn", value, new=True)
    if not equal(mv.Registry(root).load(saved.ref, mmap=True), value):
        return ["512 MB load as something else"]
    left = [p.name for p in Path(root).iterdir() if p.name.startswith(layout.TEMPORARY)]
    return [f"left over: {left}"] if left else []


def main(name, folder):
    """Run one scenario and print its report."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    if name == "random":
        kills, problems = run_random(Path(folder))
    elif name == "huge":
        kills, problems = run_huge(Path(folder))
    else:
        kills, problems = run_scenario(name, Path(folder))
    print(json.dumps({"kills": kills, "problems": problems}))


if __name__ == "__main__":
    main(*sys.argv[1:])
