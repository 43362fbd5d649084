"""Journals: append, read, merge and hint at every size, and whatever may break in them."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import modelversion as mv
from modelversion import _json, layout
from modelversion.decisions import DECISIONS
from modelversion.errors import (
    InvalidValueError,
    JournalForkError,
    JournalGapError,
    JournalRewoundError,
    RecordError,
    UnknownEventError,
)
from modelversion.home import Home
from modelversion.inspection import problems
from modelversion.journal import MAX_ENTRY, Journal, in_background
from modelversion.records import (
    Actor,
    AliasSet,
    NoteAdded,
    TagsChanged,
    VersionCommitted,
    VersionRepeated,
)
from modelversion.schema import to_json
from modelversion.state import FACTS
from modelversion.storage import open_store
from modelversion.versions import Line

ANA = Actor(name="ana", source="given")
FOLDER = "models/churn/journal"
SIZES = [0, 1, 31, 32, 33, 1023, 1024, 1025, 2100]
MADE = [0, 1, 5, *SIZES[2:]]


REQUESTS = {"read", "read_many", "put_new", "put", "fill", "open", "list", "remove"}


class CountingStore:
    """Hands every call on to a store and counts requests: a key read or written is one."""

    def __init__(self, store):
        self._store = store
        self.calls = []

    def __getattr__(self, name):
        value = getattr(self._store, name)
        if name not in REQUESTS:
            return value

        def counted(*args, **kwargs):
            keys = args[0] if name == "read_many" else [args[0] if args else ""]
            self.calls.append((name, list(keys)))
            return value(*args, **kwargs)

        return counted

    @property
    def waves(self):
        """How many calls were made, one after the other."""
        return len(self.calls)

    @property
    def requests(self):
        """How many keys they were for."""
        return sum(len(keys) for _, keys in self.calls)

    def clear(self):
        self.calls = []


def commits(first, last):
    for number in range(first, last + 1):
        yield VersionCommitted(
            number=number,
            nonce=f"{number:016x}",
            size=100,
            sha256=f"{number:064x}",
            content=f"{number:064x}",
            summary={
                "created_at": "2026-11-01T12:00:00.000000Z",
                "metrics": {"auc": number / 1e5},
                "data": {"train": f"{number % 100:064x}"},
            },
        )


def now(job):
    """Run a merge before the append returns, so that tests know when it is done."""
    job()


def never(job):
    """Write no merges."""


def open_journal(place, clock, *, run=now, fold=FACTS, folder=FOLDER, registry_id="r"):
    store = place if hasattr(place, "read_many") else open_store(place)
    return Journal(store, folder, fold, registry_id=registry_id, clock=clock, run=run)


def append_all(journal, events):
    for event in events:
        journal.append(lambda _, event=event: event, actor=ANA, fresh=False)
    return journal.head()


def folded(journal):
    """Give the head as the entries alone say it, without merges and hints."""
    head, position = journal.start(), 1
    while True:
        data = journal._store.read_many([layout.entry(journal.folder, position)])[0]
        if data is None:
            return head
        head, position = journal._apply(head, data), position + 1


class Journals(dict):
    """Size -> key -> bytes; megabytes that no report should print."""

    def __repr__(self):
        return f"<journals of {list(self)}>"


@pytest.fixture(scope="module")
def full():
    """The keys and bytes of journals of every size, made once."""
    from fsspec.implementations.memory import MemoryFileSystem

    filesystem = MemoryFileSystem()
    root, made = "memory://full-journals", Journals()
    clock = TickingClock()
    journal = open_journal(root, clock)
    made[0] = {}
    for before, size in itertools.pairwise(MADE):
        append_all(journal, commits(before + 1, size))
        made[size] = {
            path.removeprefix("/full-journals/"): bytes(filesystem.cat_file(path))
            for path in filesystem.find("/full-journals")
        }
    return made


class TickingClock:
    def __init__(self):
        self._next = _json.parse_timestamp("2026-11-01T12:00:00.000000Z", "time")

    def __call__(self):
        self._next += timedelta(milliseconds=1)
        return self._next


@pytest.fixture
def copied(full):
    """What puts the journal of a size into a store under a URL."""

    def copy(size, url="memory://copied"):
        store = open_store(url)
        for key, data in full[size].items():
            store.put_new(key, data)
        return store

    return copy


# ---- reading and writing


@pytest.mark.parametrize("size", SIZES)
def test_a_journal_is_read_to_its_head(copied, clock, size):
    """At every size, a new handle finds the head and the state that the entries say."""
    journal = open_journal(copied(size), clock)

    head = journal.head()

    assert head == folded(journal)
    assert head.position == size
    assert len(head.state.committed) == size
    assert list(problems(journal)) == []


@pytest.mark.parametrize("size", SIZES)
def test_the_history_is_every_entry(copied, clock, size):
    """The history gives each entry once, in order, through merges or without them."""
    journal = open_journal(copied(size), clock)

    entries = list(journal.history(journal.start(), journal.head()))

    assert [entry["position"] for entry in entries] == list(range(1, size + 1))
    assert [entry["event"]["number"] for entry in entries] == list(range(1, size + 1))
    times = [entry["time"] for entry in entries]
    assert times == sorted(set(times))


@pytest.mark.parametrize("size", [1, 31, 32, 33, 1023, 1024, 1025])
def test_a_handle_reads_on_from_anywhere(copied, full, clock, size):
    """A handle that has seen an older head reads on to the newest."""
    store = copied(size)
    journal = open_journal(store, clock)
    before = journal.head()
    for key, data in full[2100].items():
        if key not in full[size]:
            store.put(key, data)

    after = journal.head()

    assert before.position == size
    assert after == folded(journal)
    assert after.position == 2100
    assert [e["position"] for e in journal.history(before, after)] == [*range(size + 1, 2101)]


@pytest.mark.parametrize("size", SIZES)
def test_the_next_entry_lands_behind_the_last(copied, clock, size):
    """An append by a new handle is entry size + 1, and is read by another one."""
    store = copied(size)
    other = open_journal(store, clock)
    other.head()

    head = append_all(open_journal(store, clock), commits(size + 1, size + 1))

    assert head.position == size + 1
    assert other.head() == head == open_journal(store, clock).head()


@pytest.mark.parametrize("size", [33, 100])
def test_both_places_hold_the_same_journal(place, clock, size):
    """Merges and hints are written and read alike in a folder and in memory."""
    journal = open_journal(place, clock)

    head = append_all(journal, commits(1, size))

    merged = [item.name for item in journal._store.list(f"{FOLDER}/s1")]
    hint = journal._store.read(layout.hint(FOLDER))
    assert merged == [f"{last:012d}.jsonl" for last in range(32, size + 1, 32)]
    assert json.loads(hint) == {"position": size // 32 * 32}
    assert open_journal(place, clock).head() == head


def test_a_merge_holds_the_very_bytes(copied):
    """A merge is its entries line by line, the state after them, and the sha256 of it all."""
    store = copied(1024)

    for level, size in ((1, 32), (2, 1024)):
        data = store.read(layout.merge(FOLDER, level, 1024))
        *lines, seal = data.split(b"\n")
        keys = [layout.entry(FOLDER, n) for n in range(1024 - size + 1, 1025)]
        assert lines[:-1] == store.read_many(keys)
        assert json.loads(lines[-1])["state"]["committed"] == [[1, 1024]]
        assert seal.decode() == hashlib.sha256(data[:-65]).hexdigest()


def test_merges_run_beside_the_caller(place, clock, merges):
    """By default a merge is written in the background, and is there when it has run."""
    journal = open_journal(place, clock, run=in_background)

    append_all(journal, commits(1, 32))
    merges()

    assert json.loads(journal._store.read(layout.hint(FOLDER))) == {"position": 32}


# ---- what may be lost, stale or torn


def derived(size, full):
    return sorted(key for key in full[size] if "/s" in key.removeprefix(FOLDER) or "head" in key)


def damage(files, key, how, other, part):
    if how == "lost":
        del files[key]
    else:
        kept = {"torn": files[key][: int(len(files[key]) * part)], "empty": b"", "noise": b"\xff{"}
        files[key] = files[other] if how == "other" else kept[how]


harm = st.tuples(
    st.integers(0, 99),
    st.sampled_from(["lost", "torn", "empty", "noise", "other"]),
    st.integers(0, 99),
    st.floats(0, 0.999),
)


@pytest.mark.parametrize("size", [33, 1025, 2100])
@settings(max_examples=25, phases=[Phase.generate])  # to shrink would take minutes
@given(st.lists(harm, max_size=12))
def test_merges_and_hints_decide_nothing(full, size, harms):
    """With any of them lost, torn, empty, or another's, the head is what the entries say."""
    files, keys = dict(full[size]), derived(size, full)
    for i, how, j, part in harms:
        key, other = keys[i % len(keys)], keys[j % len(keys)]
        if key in files and other in files:
            damage(files, key, how, other, part)

    journal = open_journal(fresh_store(files), TickingClock())
    head = journal.head()

    assert head == folded(journal)
    assert len(list(journal.history(journal.start(), head))) == size


@pytest.mark.parametrize("other", [416, 1024])
def test_a_merge_with_the_bytes_of_another_is_ignored(copied, clock, other):
    """What chains in itself and not to the entries around it is not used."""
    store = copied(2100)
    store.remove(layout.merge(FOLDER, 2, 2048))
    store.put(layout.merge(FOLDER, 1, 1888), store.read(layout.merge(FOLDER, 1, other)))

    journal = open_journal(store, clock)

    assert journal.head() == folded(journal)
    assert len(list(journal.history(journal.start(), journal.head()))) == 2100


def fresh_store(files):
    """Put files into a store of their own, and forget those of the examples before."""
    from fsspec.implementations.memory import MemoryFileSystem

    MemoryFileSystem.store.clear()
    store = open_store("memory://fresh")
    for key, data in files.items():
        store.put(key, data)
    return store


@pytest.mark.parametrize(
    "hint",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"position": null}',
        b'{"position": "32"}',
        b'{"position": -32}',
        b'{"position": 31}',
        b'{"position": 1e3}',
        b'{"position": true}',
        b'{"position": 4096}',
        b'{"position": 99999999999999999999}',
        b'{"position": 32',
        b"\xff",
    ],
)
@pytest.mark.parametrize("size", [0, 5, 64, 1025])
def test_a_wrong_hint_only_costs_requests(full, clock, hint, size):
    """Whatever the hint says, the head is found."""
    journal = open_journal(fresh_store(full.get(size, full[33] if size else {})), clock)
    journal._store.put(layout.hint(FOLDER), hint)

    assert journal.head() == folded(journal)


def test_a_stale_hint_is_only_a_start(copied, clock):
    """A hint of long ago is read on from."""
    store = copied(2100)
    store.put(layout.hint(FOLDER), b'{"position": 32}')

    assert open_journal(store, clock).head().position == 2100


def test_a_forged_merge_is_found(copied, clock):
    """A merge whose state is not that of its entries is named by `problems`."""
    store = copied(1025)
    key = layout.merge(FOLDER, 1, 64)
    data = store.read(key).replace(b'"committed":[[1,64]]', b'"committed":[[1,63]]')
    store.put(key, data)

    found = dict(problems(open_journal(store, clock)))

    assert list(found) == [key]
    assert "delete it" in found[key]


def test_a_merge_that_cannot_be_written_costs_only_speed(tmp_path, clock):
    """The append is acknowledged although the merge fails."""
    journal = open_journal(tmp_path, clock)
    append_all(journal, commits(1, 31))
    (tmp_path / FOLDER / "s1").write_text("a file where the folder should be")

    assert append_all(journal, commits(32, 40)).position == 40
    (tmp_path / FOLDER / "s1").unlink()
    assert open_journal(tmp_path, clock).head().position == 40


# ---- what is broken


def rewritten(store, position, change):
    key = layout.entry(FOLDER, position)
    value = json.loads(store.read(key))
    change(value)
    store.put(key, _json.dumps(value))
    return key


@pytest.mark.parametrize("size", [5, 33])
def test_a_gap_is_an_error(copied, clock, size):
    """An absent entry below a present one is refused, and named."""
    store = copied(33)
    store.remove(layout.hint(FOLDER))
    store.remove(layout.merge(FOLDER, 1, 32))
    store.remove(layout.entry(FOLDER, size - 1))

    with pytest.raises(JournalGapError, match=f"entry {size - 1} is missing"):
        open_journal(store, clock).head()
    found = dict(problems(open_journal(store, clock)))
    assert layout.entry(FOLDER, size) in found


def test_a_missing_end_reads_as_an_older_state(copied, clock):
    """A copy that lacks the last entries is an older journal; nothing in it can tell."""
    store = copied(33)
    store.remove(layout.entry(FOLDER, 33))

    assert open_journal(store, clock).head().position == 32


def test_a_replaced_entry_is_a_fork(copied, clock):
    """An entry that is another than the next one continues is refused."""
    store = copied(5)
    rewritten(store, 3, lambda value: value["event"].update(size=101))

    with pytest.raises(JournalForkError, match="entry 4 does not continue entry 3"):
        open_journal(store, clock).head()
    assert list(dict(problems(open_journal(store, clock)))) == [layout.entry(FOLDER, 4)]


def test_a_replaced_entry_below_a_merge_is_found(copied, clock):
    """What a merge hides from a quick look, `problems` finds."""
    store = copied(1025)
    rewritten(store, 3, lambda value: value["event"].update(size=101))

    found = dict(problems(open_journal(store, clock)))

    assert layout.entry(FOLDER, 4) in found


def test_a_moved_entry_is_refused(copied, clock):
    """An entry says where it belongs."""
    store = copied(5)
    store.put_new(layout.entry(FOLDER, 6), store.read(layout.entry(FOLDER, 5)))

    with pytest.raises(JournalForkError, match="says that it is entry 5; it was moved"):
        open_journal(store, clock).head()


@pytest.mark.parametrize("registry_id", ["other", ""])
def test_a_journal_of_another_registry_is_refused(copied, clock, registry_id):
    """The first entry is bound to the registry and the model."""
    store = copied(33)

    journal = open_journal(store, clock, registry_id=registry_id)

    with pytest.raises(JournalForkError):
        list(journal.history(journal.start(), journal.head()))
    assert list(problems(journal))


def test_a_journal_of_another_model_is_refused(copied, clock):
    """Entries copied to another model's folder are not its journal."""
    store = copied(5)
    for position in range(1, 6):
        data = store.read(layout.entry(FOLDER, position))
        store.put_new(layout.entry("models/other/journal", position), data)

    with pytest.raises(JournalForkError, match="entry 1 does not continue"):
        open_journal(store, clock, folder="models/other/journal").head()


def test_a_handle_does_not_go_back(copied, clock):
    """A handle that has seen a head refuses a journal that lost it."""
    store = copied(5)
    journal = open_journal(store, clock)
    journal.head()
    store.remove(layout.entry(FOLDER, 5))

    with pytest.raises(JournalRewoundError, match="entry 5 is gone since this handle read it"):
        journal.head()
    assert journal.seen().position == 5


def test_a_handle_refuses_another_history(copied, clock):
    """A handle refuses an entry that took the place of one that it has read."""
    store = copied(5)
    journal = open_journal(store, clock)
    journal.head()
    rewritten(store, 5, lambda value: value.update(nonce="other"))

    with pytest.raises(JournalRewoundError, match="entry 5 is another since this handle read it"):
        journal.head()


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"position": 6}', b"\xff\xfe", b"{} {}"]
)
def test_a_torn_entry_is_a_record_error(copied, clock, data):
    """An entry that does not parse is refused with its journal and position."""
    store = copied(5)
    store.put_new(layout.entry(FOLDER, 6), data)

    with pytest.raises(RecordError, match=f"^{FOLDER} entry 6"):
        open_journal(store, clock).head()
    assert layout.entry(FOLDER, 6) in dict(problems(open_journal(store, clock)))


def test_an_event_of_a_newer_release_stops_reading_and_writing(copied, clock):
    """What must be understood and is not stops both; what need not be is skipped."""
    for must, error in ((True, UnknownEventError), (False, None)):
        store = copied(5, f"memory://newer-{must}")
        journal = open_journal(store, clock)
        head = journal.head()
        entry = to_json(journal._entry(head, VersionRepeated(number=1), ANA))
        entry["event"] = {"kind": "version.praised", "must_understand": must}
        store.put_new(layout.entry(FOLDER, 6), _json.dumps(entry))
        if error is None:
            assert journal.head().state == head.state
            continue
        with pytest.raises(error, match=r"entry 6 is a 'version\.praised'"):
            journal.head()
        with pytest.raises(error):
            append_all(journal, commits(6, 6))
        assert store.read_many([layout.entry(FOLDER, 7)]) == [None]


# ---- the size of an entry


def test_an_entry_of_64_kib_is_the_largest(place, clock):
    """A larger event is refused before anything is written, and the journal goes on."""
    journal = open_journal(place, clock)
    append_all(journal, commits(1, 1))
    size = len(_json.dumps(to_json(journal._entry(journal.head(), note(""), ANA))))

    append_all(journal, [note("x" * (MAX_ENTRY - size))])
    with pytest.raises(InvalidValueError, match=r"a version\.noted of 65537 bytes is too large"):
        append_all(journal, [note("x" * (MAX_ENTRY - size + 1))])

    assert journal.head().position == 2
    assert open_journal(place, clock).head().position == 2
    assert append_all(journal, commits(2, 2)).position == 3


def note(text):
    return NoteAdded(number=1, text=text)


def test_a_larger_entry_is_not_read(copied, clock):
    """What nobody of this format wrote is refused without being parsed."""
    store = copied(5)
    store.put_new(layout.entry(FOLDER, 6), b"[" * (MAX_ENTRY + 1))

    with pytest.raises(RecordError, match="an entry has at most 65536"):
        open_journal(store, clock).head()


def test_large_entries_make_no_large_merge(clock):
    """A merge over 16 MiB is left out, and the head is found without it."""
    journal = open_journal("memory://large", clock)
    append_all(journal, commits(1, 1))

    text = "x" * 65_000
    append_all(journal, [note(text)] * 1023)

    assert journal._store.read_many([layout.merge(FOLDER, 2, 1024)]) == [None]
    assert len(journal._store.list(f"{FOLDER}/s1")) == 32
    assert open_journal("memory://large", clock).head() == journal.head()


# ---- several writers


def test_a_decision_is_asked_again_when_another_was_faster(place, clock):
    """`decide` sees the state that its event is appended to."""
    journal, other = open_journal(place, clock), open_journal(place, clock)
    journal.head()
    append_all(other, commits(1, 2))
    seen = []

    def decide(state):
        seen.append(len(state.committed))
        return next(commits(len(state.committed) + 1, len(state.committed) + 1))

    head = journal.append(decide, actor=ANA, fresh=False)

    assert seen == [0, 2]
    assert list(head.state.committed) == [1, 2, 3]


def test_a_refusal_appends_nothing(place, clock):
    """What `decide` raises reaches the caller, and the journal is as it was."""
    journal = open_journal(place, clock)
    append_all(journal, commits(1, 1))

    def refuse(state):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        journal.append(refuse, actor=ANA)
    assert open_journal(place, clock).head().position == 1


def test_threads_with_one_handle_all_append(place, clock):
    """A handle may be shared by threads: each append lands once."""
    journal = open_journal(place, clock)
    append_all(journal, commits(1, 1))

    def work(i):
        for j in range(10):
            append_all(journal, [TagsChanged(number=1, set={f"{i}-{j}": True})])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    entries = list(journal.history(journal.start(), journal.head()))
    tags = [name for entry in entries[1:] for name in entry["event"]["set"]]
    assert sorted(tags) == sorted(f"{i}-{j}" for i in range(4) for j in range(10))
    assert open_journal(place, clock).head() == journal.head()


def test_time_goes_on_when_the_clock_does_not(place):
    """Entries are a microsecond apart at least, and say what the clock said."""
    stopped = _json.parse_timestamp("2026-11-01T12:00:00.000000Z", "time")
    journal = open_journal(place, lambda: stopped)

    append_all(journal, commits(1, 3))

    entries = list(journal.history(journal.start(), journal.head()))
    assert [entry["time"][19:] for entry in entries] == [".000000Z", ".000001Z", ".000002Z"]
    assert {entry["clock"] for entry in entries} == {"2026-11-01T12:00:00.000000Z"}


def test_the_hint_may_vanish_between_appends(place, clock):
    """Nothing depends on a hint that was there a moment ago."""
    journal = open_journal(place, clock)
    append_all(journal, commits(1, 40))
    journal._store.remove(layout.hint(FOLDER))

    assert append_all(journal, commits(41, 70)).position == 70
    assert open_journal(place, clock).head().position == 70


# ---- requests


def log32(n):
    levels, size = 0, 32
    while size <= n:
        levels, size = levels + 1, size * 32
    return levels


def table_bound(n):
    """31 merges or entries a level, and the look beyond the head: both waves of a fold."""
    return 31 * (log32(n) + 1) + 2 * 32 + 8


def registry_of(versions):
    """Make a registry in memory whose model has so many versions, the last one saved for real."""
    url = f"memory://counted-{versions}"
    clock = TickingClock()
    registry = mv.Registry(url, clock=clock)
    registry.save("churn", {"weights": [0]}, metrics={"auc": 0.5})
    line = registry["churn"]._line
    line.facts._run = now
    for event in commits(2, versions):
        line.facts.append(lambda _, event=event: event, actor=ANA, fresh=False)
    saved = registry.save("churn", {"weights": [1]}, metrics={"auc": 0.6})
    registry["churn"].set_alias("champion", saved)
    return url


def handle_on(url):
    """Open a registry anew, and count what it asks of its store."""
    registry = mv.Registry(url, clock=TickingClock())
    home = registry._home
    store = CountingStore(home.store)
    registry._home = Home(store, home.actor, home.clock)
    return registry, store


def counted(url, name="churn"):
    """Give (waves, requests) of each operation; the registry grows by two versions."""
    found = {}

    def count(what, operation):
        store.clear()
        operation()
        found[what] = (store.waves, store.requests)

    registry, store = handle_on(url)
    count("load by alias, cold", lambda: registry.load(f"{name}@champion"))
    count("load by alias, warm", lambda: registry.load(f"{name}@champion"))
    registry, store = handle_on(url)
    count("load the latest, cold", lambda: registry.load(name))
    count("load the latest, warm", lambda: registry.load(name))
    registry, store = handle_on(url)
    count("save, cold", lambda: registry.save(name, {"weights": [2]}))
    count("save, warm", lambda: registry.save(name, {"weights": [3]}))
    model = registry[name]
    count("alias, warm", lambda: model.set_alias("champion", 1))
    count("alias, again", lambda: model.set_alias("champion", 2))
    count("promote", lambda: model[1].promote("staging", reason="first"))
    count("promote, again", lambda: model[2].promote("staging", reason="second"))
    registry, store = handle_on(url)
    count("open a model", lambda: registry[name])
    model = registry[name]
    count("table, cold", lambda: model.versions().to_dict())
    count("table, warm", lambda: registry[name].versions().to_dict())
    return found


def counted_searches(url):
    """Give (waves, requests) of a search by data, cold and warm."""
    registry, store = handle_on(url)
    found = {}
    for what in ("search by data, cold", "search by data, warm"):
        store.clear()
        used_by(registry, 7)
        found[what] = (store.waves, store.requests)
    return found


def used_by(registry, number):
    """Find the versions that were made from some data: every hundredth of them."""
    found = registry.search(data=f"{number:064x}")
    assert {version.number % 100 for version in found} == {number}


# Calls of the store, one after the other, however many versions there are.
LIMITS = {
    "load by alias, cold": 4,
    "load by alias, warm": 2,
    "load the latest, cold": 5,
    "load the latest, warm": 2,
    "save, cold": 8,
    "save, warm": 3,
    "alias, warm": 3,
    "alias, again": 3,
    "promote": 6,
    "promote, again": 6,
    "open a model": 2,
    "table, cold": 5,
    "table, warm": 1,
    "search by data, cold": 5,
    "search by data, warm": 2,
}
# What reads all of a journal.
WHOLE = ("table, cold", "search by data, cold")
# Keys that they read or write: a cold handle reads a merge's worth of entries a journal.
MOST = {name: 200 if "cold" in name else 10 for name in LIMITS} | {
    "alias, warm": 50,
    "promote": 20,
    "promote, again": 20,
}


@pytest.fixture(scope="module")
def counts():
    """What each operation asks of its store, at 10 and at 10,000 versions."""
    urls = {versions: registry_of(versions) for versions in (10, 10_000)}
    found = {versions: counted(url) | counted_searches(url) for versions, url in urls.items()}
    if os.environ.get("MODELVERSION_TEST_COUNTS"):
        Path(os.environ["MODELVERSION_TEST_COUNTS"]).write_text(json.dumps(found, indent=1))
    return found


@pytest.mark.parametrize("versions", [10, 10_000])
@pytest.mark.parametrize("name", LIMITS)
def test_requests_are_limited(counts, name, versions):
    """An operation makes no more requests than is said here, at 10,000 versions as at 10."""
    waves, requests = counts[versions][name]

    assert waves <= LIMITS[name]
    assert requests <= (2 * table_bound(versions) if name in WHOLE else MOST[name])


@pytest.mark.parametrize("name", [name for name in LIMITS if name not in WHOLE])
def test_requests_do_not_grow_with_the_versions(counts, name):
    """Only the first look at a table does, by the merges that it reads."""
    waves, requests = counts[10][name]
    # Behind a merge stand up to 32 entries, and a first look asks for half of them.
    assert counts[10_000][name][0] <= waves + 1
    assert counts[10_000][name][1] <= requests + 16


def test_a_table_of_10000_versions_is_60_requests():
    """Of a model that was opened; opening it is 7 more in an empty handle."""
    registry, store = handle_on(registry_of(9_999))
    model = registry["churn"]
    assert store.requests <= 7
    store.clear()

    table = model.versions().to_dict()

    assert table["number"] == list(range(1, 10_001))
    assert store.requests <= 60
    assert store.waves <= 4


@pytest.mark.slow
def test_a_model_of_100000_versions_costs_what_one_of_10_does(tmp_path):
    """Save, resolve, load, alias and promote make the same requests, give or take half a merge."""
    few = counted(registry_of(10))
    build = Path(__file__).parent / "bench" / "build.py"
    folder = tmp_path / "registry"
    subprocess.run([sys.executable, build, "entries", folder, "100000"], check=True)
    model = mv.Registry(folder, clock=TickingClock())["many"]
    model.set_alias("champion", mv.Registry(folder, clock=TickingClock()).save("many", [1]))

    many = counted(str(folder), "many")

    for name in few:
        if name not in WHOLE:
            assert many[name][0] <= few[name][0] + 1, name
            assert many[name][1] <= few[name][1] + 48, name
    assert many["table, cold"][1] <= 2 * table_bound(100_000)


def test_decisions_are_folded_from_their_own_journal(place, clock):
    """The other fold merges and reads as the first does."""
    journal = open_journal(place, clock, fold=DECISIONS, folder="models/churn/decisions")
    events = (
        AliasSet(alias=f"a{i % 3}", number=i, nonce="n", size=1, sha256="s") for i in range(1, 65)
    )

    head = append_all(journal, events)

    other = open_journal(place, clock, fold=DECISIONS, folder="models/churn/decisions")
    assert other.head() == head
    assert {name: held.number for name, held in head.state.aliases.items()} == {
        "a0": 63,
        "a1": 64,
        "a2": 62,
    }


def test_a_line_keeps_two_journals(registry):
    """Facts and decisions of a model stand apart."""
    version = registry.save("churn", {"a": 1})
    registry["churn"].set_alias("champion", version)
    line = registry["churn"]._line

    assert isinstance(line, Line)
    assert line.facts.head().position == 1
    assert line.decisions.head().position == 2  # the registry's rules were adopted first
