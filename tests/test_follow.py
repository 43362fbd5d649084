"""Following a name from a serving process, while storage does its worst."""

import gc
import itertools
import logging
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time

import pytest
from processes import threads_together
from test_journal import CountingStore

import modelversion as mv
from modelversion import follow
from modelversion.errors import (
    AliasNotFoundError,
    DigestMismatchError,
    InvalidInputError,
    InvalidNameError,
    UntrustedPickleError,
    VersionNotFoundError,
    WithdrawnWarning,
)
from modelversion.journal import Journal

PATIENCE_SECONDS = 60
SELDOM = 3600.0


@pytest.fixture
def churn(registry):
    """Three versions, and an alias on the first."""
    for n in (1, 2, 3):
        registry.save("churn", {"n": n})
    registry["churn"].set_alias("live", 1)
    return registry["churn"]


@pytest.fixture
def root(tmp_path):
    """The registry's folder."""
    return tmp_path / "registry"


@pytest.fixture
def followed(churn):
    """What follows an alias and is closed after the test."""
    made = []

    def start(name="live", *, every=SELDOM, **options):
        made.append(churn.follow(name, every=every, **options))
        return made[-1]

    yield start
    for live in made:
        live.close()


def until(condition):
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def served(live):
    """Give the number in use, after a look at whether object and version belong together."""
    value, version = live.get()
    assert value["n"] == version.number
    return version.number


def ticks(live, count=2 * follow._RECHECK):
    """Let some intervals pass."""
    for _ in range(count):
        live._tick()
    return live.status


# ---- swapping


def test_a_name_is_followed(churn, followed):
    """The object that the alias means is served, and the next one soon after the alias moved."""
    live = followed(every=0.02)
    assert served(live) == 1 and live.version == churn[1]

    churn.set_alias("live", 3)

    until(lambda: served(live) == 3)
    assert live.status and live.status.ref == "churn:3"


def test_latest_is_followed(churn, registry, followed):
    """A new commit is served, and after its deletion the one before."""
    live = followed("latest", every=0.02)
    assert served(live) == 3

    registry.save("churn", {"n": 4})
    until(lambda: served(live) == 4)
    churn[4].delete(reason="a mistake")
    until(lambda: served(live) == 3)
    assert live.status


def test_gets_go_on_while_the_next_version_is_loading(registry, churn, followed, tmp_path):
    """A thousand gets return the old object while a load waits, and then the new one is there."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    registry.save("churn", {"n": 4, "gate": Waiting(gate)})
    live = followed(every=0.01)
    churn.set_alias("live", 4)

    writer = opened_for_writing(gate)
    assert [served(live) for _ in range(1000)] == [1] * 1000
    os.write(writer, b"go")
    os.close(writer)

    until(lambda: served(live) == 4)


class Waiting:
    """Unpickled by reading a pipe to its end: a load waits until the test lets it go on."""

    def __init__(self, gate):
        self.gate = str(gate)

    def __reduce__(self):
        return subprocess.check_output, (["cat", self.gate],)


def opened_for_writing(gate):
    """Open a pipe that somebody reads already, which shows that the load has begun."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            assert time.monotonic() < deadline, "nobody came to load"
            time.sleep(0.005)


def test_no_get_sees_half_of_a_swap(churn, followed):
    """Threads that get while the alias moves always have an object with its own version."""
    live = followed(every=0.001)
    done = threading.Event()

    def job(i):
        if i == 0:
            for n in range(40):
                churn.set_alias("live", n % 3 + 1)
                time.sleep(0.002)
            done.set()
            return {1, 2, 3}
        seen = set()
        while not done.is_set():
            seen.add(served(live))
        return seen

    found = threads_together(job, range(4))

    assert set().union(*found[1:]) <= {1, 2, 3}
    until(lambda: served(live) == 40 % 3)


def test_a_change_is_told(churn, followed):
    """`on_change` gets what `get` gives, once for each swap, and none for the first load."""
    told = []
    live = followed(on_change=lambda value, version: told.append((value["n"], version.number)))
    for n in (2, 2, 3):
        churn.set_alias("live", n)
        ticks(live)

    assert told == [(2, 2), (3, 3)]


def test_an_error_of_on_change_stops_nothing(churn, followed, caplog):
    """It is logged, and the swap is done."""
    live = followed(on_change=lambda value, version: 1 / 0)
    churn.set_alias("live", 2)

    assert ticks(live)

    assert served(live) == 2
    assert "on_change for churn:2 failed" in caplog.text and "ZeroDivisionError" in caplog.text


def test_a_look_can_be_asked_for(churn, followed):
    """`refresh` loads in the calling thread what came meanwhile."""
    live = followed()
    churn.set_alias("live", 2)

    status = live.refresh()

    assert status and served(live) == 2
    assert repr(live) == "<Live churn@live: churn:2 (up to date)>"


# ---- what it asks of storage


@pytest.mark.parametrize("name", ["live", "latest"])
def test_one_small_request_an_interval(registry, churn, name):
    """While nothing changes, every interval reads one key, and none of a version."""
    store = registry._home.store = CountingStore(registry._home.store)
    live = mv.Registry(registry.url)["churn"].follow(name, every=SELDOM)
    live._line.facts._store = live._line.decisions._store = store
    store.clear()

    for count in range(1, 101):
        live._tick()
        assert (store.waves, store.requests) == (count, count)
    assert {key.split("/")[2] for _, keys in store.calls for key in keys} <= {
        "decisions",
        "journal",
    }
    live.close()


def test_a_get_asks_nothing(churn, followed):
    """Serving needs no storage at all."""
    live = followed()
    live._line.decisions._store = live._line.facts._store = live._line.home.store = None

    assert [live.get()[0]["n"] for _ in range(100)] == [1] * 100


def test_the_thread_asks_once_an_interval(churn, followed):
    """In real time too there is no more than one look an interval."""
    live = followed(every=0.1)
    began = time.monotonic()
    until(lambda: live._ticks >= 8)

    assert live._ticks <= (time.monotonic() - began) / 0.1 + 1


# ---- what may go wrong


def test_a_storage_that_is_away_is_told_and_survived(churn, followed, root, caplog):
    """The last version stays while the folder is gone, and following goes on when it is back."""
    live = followed()
    away = root.with_name("away")
    root.rename(away)

    status = ticks(live)

    assert not status and "is gone since this handle read it" in status.problem
    assert served(live) == 1
    assert sum("churn@live stays at churn:1" in m for m in caplog.messages) == 1
    away.rename(root)
    churn.set_alias("live", 2)
    assert ticks(live, 100)
    assert served(live) == 2


def test_a_storage_that_answers_with_errors_is_told(churn, followed, root):
    """Every look fails and is counted as one; nothing is raised."""
    live = followed()
    decisions = root / "models/churn/decisions"
    kept = decisions.with_name("kept")
    decisions.rename(kept)
    decisions.symlink_to(decisions)

    status = ticks(live)

    assert not status and "cannot read" in status.problem
    assert served(live) == 1
    decisions.unlink()
    kept.rename(decisions)
    assert ticks(live, 100)


def corrupt(root, number):
    file = root / f"models/churn/versions/{number}/object/object.pkl"
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[:-2] + b"xx")
    return lambda: (file.unlink(), file.write_bytes(data))


def test_a_version_that_does_not_verify_is_not_served(churn, followed, root):
    """The last good one stays, the status names the file, and a repair is noticed."""
    live = followed()
    repair = corrupt(root, 2)
    churn.set_alias("live", 2)

    status = ticks(live)

    assert not status and "object/object.pkl has the sha256" in status.problem
    assert served(live) == 1 and status.ref == "churn:1"
    repair()
    assert ticks(live, 100)
    assert served(live) == 2


def test_a_broken_version_is_tried_less_and_less(churn, followed, root):
    """Otherwise a large broken version would be read every interval."""
    live = followed()
    corrupt(root, 2)
    churn.set_alias("live", 2)
    tried = []
    for tick in range(1, 250):
        before = live._failures
        live._tick()
        if live._failures > before:
            tried.append(tick)

    gaps = [b - a for a, b in itertools.pairwise(tried)]
    assert gaps == [1, 2, 4, 8, 16, 32, 64, 64]


def test_a_decision_is_heard_at_once_while_a_version_is_broken(churn, followed, root):
    """Moving the alias to a good version does not wait for the next attempt."""
    live = followed()
    corrupt(root, 2)
    churn.set_alias("live", 2)
    ticks(live, 40)
    churn.set_alias("live", 3)

    assert ticks(live, 2)
    assert served(live) == 3


def test_a_version_that_does_not_unpickle_is_not_served(churn, registry, followed, tmp_path):
    """Whatever its own code raises, the last good one stays."""
    registry.save("churn", Exploding(tmp_path / "armed"))
    (tmp_path / "armed").mkdir()
    live = followed()
    churn.set_alias("live", 4)

    status = ticks(live)

    assert status.problem.startswith("FileExistsError: ")
    assert served(live) == 1


class Exploding:
    """Fails when it is unpickled into a folder that is there."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_that_is_not_allowed_is_not_served(churn, registry, followed, tmp_path):
    """The first load raises; a later one keeps what is served."""
    registry.save("churn", Exploding(tmp_path / "made"))
    live = followed(allow_pickle=False)
    churn.set_alias("live", 4)

    assert "posix:mkdir" in ticks(live).problem
    assert served(live) == 1
    assert not (tmp_path / "made").exists()
    with pytest.raises(UntrustedPickleError):
        followed(allow_pickle=False)


def test_an_older_journal_is_never_followed(churn, followed, root, tmp_path, caplog):
    """A registry that was put back from an older copy is told, and changes nothing served."""
    shutil.copytree(root, tmp_path / "older")
    churn.set_alias("live", 2)
    live = followed()
    assert served(live) == 2
    shutil.rmtree(root)
    shutil.move(tmp_path / "older", root)

    status = ticks(live)

    assert served(live) == 2
    assert not status and "rewritten or restored from an older copy" in status.problem


def test_an_older_journal_that_grew_again_is_never_followed(churn, followed, root, tmp_path):
    """Entries that do not continue what was read are another history, however long."""
    shutil.copytree(root, tmp_path / "older")
    churn.set_alias("live", 2)
    live = followed()
    shutil.rmtree(root)
    shutil.move(tmp_path / "older", root)
    other = mv.Registry(root)["churn"]
    for n in (3, 1, 3):
        other.set_alias("live", n)

    assert not ticks(live, 50)

    assert served(live) == 2


def test_without_the_look_back_an_older_journal_would_go_unseen(
    churn, followed, root, tmp_path, monkeypatch
):
    """What tells of a journal that was cut off is the look at the last entry that was read."""
    live = followed()
    monkeypatch.setattr(Journal, "recheck", lambda self: None)
    (root / "models/churn/decisions/000000000001.json").unlink()

    assert ticks(live)


def test_a_name_that_is_gone_keeps_its_last_version(churn, followed):
    """A deleted alias is a problem to tell and no reason to stop serving."""
    live = followed()
    churn.delete_alias("live")

    status = ticks(live)

    assert "has no stage or alias 'live'" in status.problem and served(live) == 1
    churn.set_alias("live", 3)
    assert ticks(live) and served(live) == 3


def test_a_withdrawal_of_what_is_served_is_told(churn, followed, caplog):
    """It stays in use, since only its owner can say what to serve instead."""
    live = followed()
    churn[1].withdraw(reason="bad labels")

    status = ticks(live)

    assert status and status.withdrawn == "bad labels"
    assert caplog.messages == ["churn:1 is in use and was withdrawn: bad labels"]
    churn[1].restore(reason="they were fine")
    assert ticks(live).withdrawn is None


def test_a_withdrawn_version_is_followed_with_a_warning_at_the_start(churn, followed):
    """The first load is the caller's and warns as any; later ones are in the status."""
    churn[1].withdraw(reason="bad labels")
    churn[2].withdraw(reason="worse labels")

    with pytest.warns(WithdrawnWarning, match="bad labels"):
        live = followed()
    churn.set_alias("live", 2)
    status = ticks(live)

    assert served(live) == 2 and status.withdrawn == "worse labels"


# ---- its life


def followers():
    return [t for t in threading.enumerate() if t.name == "modelversion-follow"]


def test_closing_ends_the_thread_and_not_the_serving(churn, followed):
    """After `close`, or the end of a `with`, the last version is still there."""
    with churn.follow("live", every=0.01) as live:
        until(lambda: live._ticks > 1)
    until(lambda: not followers())

    churn.set_alias("live", 2)
    assert served(live) == 1
    assert repr(live) == "<Live churn@live: churn:1 (closed)>"
    live.close()


def test_what_is_dropped_ends_its_thread(churn):
    """A Live that nobody holds any more is collected, and its thread with it."""
    live = churn.follow("live", every=0.01)
    assert len(followers()) == 1

    del live
    gc.collect()

    until(lambda: not followers())


def test_a_swap_that_is_loading_when_it_is_closed_is_dropped(churn, followed, monkeypatch):
    """Nothing changes after `close`."""
    live = followed()
    churn.set_alias("live", 2)
    original = mv.Version._load
    monkeypatch.setattr(
        mv.Version, "_load", lambda self, *rest: (live.close(), original(self, *rest))[1]
    )

    live._tick()

    assert served(live) == 1


def test_a_program_ends_though_it_follows(churn, registry, tmp_path):
    """The thread does not keep the interpreter alive, and ends without a word."""
    program = f"""
import modelversion as mv
live = mv.Registry({registry.url!r})["churn"].follow("live", every=3600)
print(live.get()[0]["n"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        text=True,
        timeout=PATIENCE_SECONDS,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def in_child(job):
    """Give what a function returns in a forked child."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sender, pickle.dumps(job()))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(sender)
    with os.fdopen(receiver, "rb") as file:
        data = file.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return pickle.loads(data)


def test_a_forked_worker_goes_on_following(churn, followed):
    """It serves at once what the parent had loaded, and swaps by a thread of its own."""
    live = followed(every=0.02)

    def job():
        first = served(live)
        churn.set_alias("live", 3)
        until(lambda: served(live) == 3)
        return first, len(followers())

    assert in_child(job) == (1, 1)
    until(lambda: served(live) == 3)


def test_without_a_look_at_the_process_a_forked_worker_would_not_follow(
    churn, followed, monkeypatch
):
    """A thread does not survive a fork."""
    live = followed(every=0.02)

    def job():
        monkeypatch.setattr(live, "_pid", os.getpid())
        served(live)
        return len(followers())

    assert in_child(job) == 0


def test_a_forked_worker_of_what_was_closed_stays_closed(churn, followed):
    """A fork opens nothing again."""
    live = followed(every=0.02)
    live.close()

    assert in_child(lambda: (served(live), len(followers()))) == (1, 0)


def test_memory_in_a_forked_worker_is_told(followed):
    """A registry in memory is the parent's; the child says so and serves what it has."""
    registry = mv.Registry("memory://followed")
    registry.save("m", {"n": 1})
    live = registry["m"].follow("latest", every=SELDOM)

    problem = in_child(lambda: (served(live), live.refresh().problem)[1])

    assert "lives in the memory of process" in problem
    assert live.refresh()
    live.close()


def test_it_does_not_pickle(followed):
    """The message says what to send instead."""
    with pytest.raises(InvalidInputError, match="call follow\\(\\) where it is served"):
        pickle.dumps(followed())


# ---- bad input


@pytest.mark.parametrize("every", [0, -1, float("nan"), float("inf"), True, "30", None, 10**9])
def test_an_interval_is_a_number_of_seconds(churn, every):
    """The message shows what was found; no thread is started."""
    with pytest.raises(InvalidInputError, match="every must be a number of seconds above 0"):
        churn.follow("live", every=every)
    assert not followers()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (3, InvalidInputError),
        (-1, InvalidInputError),
        ("", InvalidNameError),
        (None, InvalidNameError),
        ("no such", InvalidNameError),
        ("nobody", AliasNotFoundError),
    ],
)
def test_what_cannot_be_followed_is_refused(churn, name, error):
    """A number never moves, and a name must mean something at the start."""
    with pytest.raises(error):
        churn.follow(name)
    assert not followers()


def test_a_first_version_that_does_not_verify_is_an_error(churn, root):
    """There is no good one to fall back to yet."""
    corrupt(root, 1)

    with pytest.raises(DigestMismatchError):
        churn.follow("live")


def test_a_model_without_versions_has_no_latest(registry, churn):
    """The same goes for a name that means nothing yet."""
    for version in list(churn.versions()):
        if version.number != 1:
            version.delete(reason="test")
    churn.delete_alias("live")
    churn[1].delete(reason="test")

    with pytest.raises(VersionNotFoundError):
        churn.follow("latest")


def test_the_end_of_a_problem_is_logged(churn, followed, root, caplog):
    """Whoever reads the log sees that it works again, with or without a swap."""
    caplog.set_level(logging.INFO, "modelversion")
    live = followed()
    repair = corrupt(root, 2)
    churn.set_alias("live", 2)
    ticks(live)
    repair()
    ticks(live, 100)
    root.rename(root.with_name("away"))
    ticks(live)
    root.with_name("away").rename(root)
    ticks(live, 100)

    assert [message.partition(":")[0] for message in caplog.messages] == [
        "churn@live stays at churn",
        "churn@live is churn",
        "churn@live stays at churn",
        "following churn@live works again",
    ]


# ---- stages


def test_a_stage_is_followed_through_promotions_and_roll_backs(churn, followed):
    """A promotion is served, a roll-back too; a cleared stage keeps its last version."""
    churn[1].promote("production", reason="first")
    told = []
    live = followed("Production", on_change=lambda value, version: told.append(version.number))
    assert served(live) == 1

    churn[2].promote("production", reason="better")
    assert ticks(live) and served(live) == 2
    churn.rollback("production", reason="slow")
    assert ticks(live) and served(live) == 1
    churn.clear_stage("production", reason="maintenance")
    status = ticks(live)

    assert not status and served(live) == 1
    churn[3].promote("production", reason="back")
    assert ticks(live, 100) and served(live) == 3
    assert told == [2, 1, 3]


def test_an_override_is_served_like_any_promotion(churn, followed, registry):
    """What was decided is what is served; who decided badly is in the journal."""
    churn[1].promote("production")
    live = followed("production")
    registry.set_policy("production", gates=[mv.gates.at_least("auc", 0.9)])
    churn[2].promote("production", override=True, reason="incident 7")

    assert ticks(live) and served(live) == 2
