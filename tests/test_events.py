"""What happened: told to hooks as it happens, and read as a feed with a cursor."""

import base64
import pickle
import shutil
import threading
import zlib
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_journal import CountingStore

import modelversion as mv
from modelversion import _json, hooks
from modelversion.errors import (
    BrokenJournalWarning,
    HookFailedWarning,
    InvalidInputError,
)


@pytest.fixture
def told():
    """What a hook has heard."""
    return []


def kinds(events):
    return [event.kind for event in events]


# ---- hooks


def test_a_hook_hears_what_happens(registry, told):
    """Every kind of event of every model, in order, with who, what and when."""
    registry.on("*", told.append)
    version = registry.save("Churn", {"w": 1})
    version.tag(team="risk")
    registry["churn"].set_alias("champion", 1)

    assert [(e.kind, e.model, e.number, e.ref) for e in told] == [
        ("model.created", "churn", None, "churn"),
        ("version.committed", "churn", 1, "churn:1"),
        ("version.tagged", "churn", 1, "churn:1"),
        ("policy.adopted", "churn", None, "churn"),
        ("alias.set", "churn", 1, "churn:1"),
    ]
    assert {str(e.actor) for e in told} == {"ana@team"}
    assert told[-1].journal == "models/churn/decisions" and told[-1].position == 2
    assert told[-1].data["alias"] == "champion"
    assert str(told[-1]) == f"{told[-1].time} ana@team alias.set churn:1 champion"
    assert told[-1].to_dict()["actor"] == {"name": "ana@team", "source": "given"}


def test_a_hook_hears_only_its_kind(registry, told):
    """As a decorator too, until it is taken off."""

    @registry.on("alias.set")
    def hear(event):
        told.append(event)

    registry.save("churn", 1)
    registry["churn"].set_alias("a", 1)
    registry.off(hear)
    registry.off(hear)
    registry["churn"].set_alias("b", 1)

    assert [event.data["alias"] for event in told] == ["a"]


def test_a_hook_hears_after_it_is_durable(registry):
    """What it is told of can be read, also by another handle."""
    found = []
    registry.on("version.committed", lambda e: found.append(mv.Registry(registry.url).load(e.ref)))

    registry.save("churn", {"w": 1})

    assert found == [{"w": 1}]


def test_a_hook_may_act(registry):
    """It can write to the registry, for instance move an alias."""
    registry.on("version.committed", lambda e: registry[e.model].set_alias("newest", e.number))
    for i in range(3):
        registry.save("churn", {"w": i})

    assert registry["churn"].aliases == {"newest": 3}
    assert registry.verify()


def test_a_hook_that_fails_breaks_nothing(registry, told):
    """The save is done and returned, later hooks are called, and a warning says what failed."""
    registry.on("version.committed", lambda e: 1 / 0)
    registry.on("version.committed", told.append)

    with pytest.warns(HookFailedWarning, match=r"version.committed of churn:1 failed: ZeroDivis"):
        version = registry.save("churn", {"w": 1})

    assert version.load() == {"w": 1} and len(told) == 1


def test_a_warning_made_an_error_breaks_nothing_either(registry):
    """Under `-W error`, which these tests run with, what is done is not undone by a hook."""
    registry.on("version.committed", lambda e: 1 / 0)

    assert registry.save("churn", {"w": 1}).ref == "churn:1"


def test_without_the_guard_a_hook_would_break_a_save(registry, monkeypatch):
    """What catches a hook's error is the guard around it."""

    def bare(self, folder, entry):
        for _, hook in self.active:
            hook(None)

    monkeypatch.setattr(hooks.Hooks, "tell", bare)
    registry.on("version.committed", lambda e: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        registry.save("churn", {"w": 1})


def test_a_hook_without_end_is_stopped(registry):
    """A hook that causes what it hears of ends in a warning, and the registry is sound."""
    registry.on("version.tagged", lambda e: registry.get(e.ref).tag(n=1))
    version = registry.save("churn", 1)

    with pytest.warns(HookFailedWarning, match="RecursionError"):
        version.tag(n=0)
    assert registry.verify()


def test_hooks_are_of_this_handle_and_process(registry, told):
    """Another handle, and a pickled one, has none."""
    registry.on("*", told.append)

    mv.Registry(registry.url).save("churn", 1)
    pickle.loads(pickle.dumps(registry)).save("churn", 2)

    assert told == []


def test_a_hook_hears_decisions(registry, told):
    """Promotions and policies are events like any other."""
    registry.save("churn", {"w": 1})
    registry.on("*", told.append)
    registry["churn"][1].promote("staging", reason="first")
    registry.set_policy("production", after="staging")

    assert kinds(told) == ["policy.adopted", "stage.promoted", "policy.set", "policy.adopted"]
    assert told[1].data["stage"] == "staging" and told[1].data["reason"] == "first"
    assert told[2].model is None and told[2].ref is None


def test_what_production_measures_is_an_event(registry, told):
    """A third journal of a model, told like the others."""
    version = registry.save("churn", {"w": 1}, metrics={"auc": 0.9})
    cursor = registry.events().cursor
    registry.on("observation.added", told.append)
    version.observe({"auc": 0.87}, n=1200)

    assert [event.ref for event in told] == ["churn:1"]
    assert list(registry.events(since=cursor)) == told
    assert registry.audit().rows[-1].what == "measured churn:1 where it serves"


@pytest.mark.parametrize("kind", ["version.saved", "", None, 7, "version.*"])
def test_an_unknown_kind_of_event_is_refused(registry, kind):
    """The message lists what there is."""
    with pytest.raises(InvalidInputError, match=r"alias\.set.*version\.committed.*'\*' for all"):
        registry.on(kind, print)


def test_what_cannot_be_called_is_no_hook(registry):
    """It would fail at the first event otherwise."""
    with pytest.raises(InvalidInputError, match="a hook must be callable"):
        registry.on("*", "print")


# ---- the feed


@pytest.fixture
def busy(registry):
    """Two models with facts and decisions."""
    registry.save("churn", {"w": 1})
    registry.save("fraud", {"w": 2})
    registry["churn"].set_alias("champion", 1)
    registry.get("fraud:1").note("hm")
    registry["churn"][1].promote("staging", reason="first")
    return registry


ALL = [
    "model.created",
    "version.committed",
    "model.created",
    "version.committed",
    "policy.adopted",
    "alias.set",
    "version.noted",
    "stage.promoted",
]


def test_the_feed_tells_everything_in_order(busy):
    """All journals, the registry's own too, by time."""
    events = busy.events()

    assert kinds(events) == ALL
    assert [e.time for e in events] == sorted(e.time for e in events)
    assert events[1].ref == "churn:1" and events[:2] == [events[0], events[1]]
    assert repr(events) == f"<Events of {busy.url}: 8>"


def test_the_feed_goes_on_where_it_ended(busy):
    """Each event is told once for each cursor, whoever asks, and new models are in it."""
    first = busy.events()
    busy.save("late", {"w": 3})
    busy["churn"].set_alias("champion", 1)

    later = mv.Registry(busy.url).events(since=first.cursor)

    assert kinds(later) == ["model.created", "version.committed", "alias.set"]
    assert busy.events(since=later.cursor).cursor == later.cursor
    assert len(busy.events(since=later.cursor)) == 0
    assert "nothing happened" in str(busy.events(since=later.cursor))


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
def test_the_feed_can_be_read_in_pieces(busy, limit):
    """Any limit gives the same events, in the same order, each once."""
    found, cursor = [], None
    while batch := busy.events(since=cursor, limit=limit):
        assert len(batch) <= limit
        found += batch
        cursor = batch.cursor

    assert found == list(busy.events())


def test_the_feed_can_begin_now(busy):
    """A job that is set up today wants to hear of tomorrow."""
    begin = busy.events(since="now")
    busy.get("churn:1").note("later")

    assert len(begin) == 0
    assert kinds(busy.events(since=begin.cursor)) == ["version.noted"]


def test_the_feed_can_begin_at_a_time(tmp_path, clock):
    """A time, or the beginning of a day in UTC; its cursor then counts as any other."""
    registry = mv.Registry(tmp_path / "r", clock=clock)
    registry.save("churn", {"w": 1})
    clock.now = datetime(2026, 11, 2, 12, tzinfo=UTC)
    registry.save("churn", {"w": 2})

    for since in ("2026-11-02", date(2026, 11, 2), datetime(2026, 11, 2, 11, tzinfo=UTC)):
        events = registry.events(since=since)
        assert [event.ref for event in events] == ["churn:2"]
        assert len(registry.events(since=events.cursor)) == 0
    assert len(registry.events(since="2026-11-03")) == 0


def test_clocks_that_disagree_lose_nothing(tmp_path):
    """An event of a clock that is behind comes in the call after, and exactly once."""
    now = datetime(2026, 11, 2, 12, tzinfo=UTC)
    registry = mv.Registry(tmp_path / "r", clock=lambda: now)
    registry.save("churn", {"w": 1})
    behind = mv.Registry(tmp_path / "r", clock=lambda: now - timedelta(days=1))
    first = registry.events()
    behind["churn"].set_alias("champion", 1)

    later = registry.events(since=first.cursor)

    assert kinds(later) == ["policy.adopted", "alias.set"]
    assert later[-1].time < first[-1].time
    assert len(registry.events(since=later.cursor)) == 0


def test_every_event_is_told_once_while_others_write(registry):
    """A poller that reads while many write misses nothing and hears nothing twice."""
    registry.save("churn", {"w": 0})
    cursor, found = None, []

    def write(i):
        own = mv.Registry(registry.url)
        for n in range(8):
            own.get("churn:1").note(f"{i} {n}")

    writers = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for writer in writers:
        writer.start()
    while True:
        alive = any(writer.is_alive() for writer in writers)
        batch = registry.events(since=cursor, limit=5)
        found += batch
        cursor = batch.cursor
        if not alive and not batch:
            break

    texts = [event.data["text"] for event in found if event.kind == "version.noted"]
    assert sorted(texts) == sorted(f"{i} {n}" for i in range(3) for n in range(8))


def test_a_long_history_is_read_by_its_merges(registry, merges):
    """The first look at a thousand entries takes few requests, and the next one very few."""
    registry.save("churn", {"w": 0})
    for i in range(1060):
        registry.get("churn:1").note(str(i))
    merges()
    fresh = mv.Registry(registry.url)
    store = fresh._home.store = CountingStore(fresh._home.store)

    events = fresh.events()
    first = store.requests
    store.clear()
    again = mv.Registry(registry.url)
    again._home.store = CountingStore(again._home.store)
    again.events(since=events.cursor)

    assert len(events) == 1062
    assert first < 300
    assert again._home.store.requests < 120


def test_an_empty_registry_has_no_events(registry):
    """Its cursor is good for what comes."""
    cursor = registry.events().cursor
    registry.save("churn", 1)

    assert kinds(registry.events(since=cursor)) == ["model.created", "version.committed"]


# ---- cursors


def test_a_cursor_is_small(memory):
    """A text for a file or a variable: under 12 kB for 1,000 models, short for a few."""
    registry = mv.Registry("memory://many")
    for i in range(20):
        registry.save(f"model-{i}", i)

    assert len(registry.events().cursor) < 300
    assert registry.events().cursor.isascii() and registry.events().cursor.isprintable()


def test_a_journal_that_was_cut_off_is_not_passed_over(busy, tmp_path):
    """The cursor has read more than there is: that is told, and the cursor stays as it is."""
    cursor = busy.events().cursor
    last = sorted((tmp_path / "registry/models/churn/decisions").glob("*.json"))[-1]
    last.unlink()

    says = "models/churn/decisions.*verify it, then begin without a cursor"
    with pytest.warns(BrokenJournalWarning, match=says):
        events = mv.Registry(busy.url).events(since=cursor)

    assert not events and events.cursor == cursor and len(events.problems) == 1


def test_a_cursor_of_another_registry_is_refused(busy, tmp_path):
    """Positions there mean nothing here."""
    other = mv.Registry(tmp_path / "other")
    other.save("churn", 1)

    with pytest.raises(InvalidInputError, match="the cursor is of the registry"):
        other.events(since=busy.events().cursor)
    shutil.rmtree(tmp_path / "other")
    with pytest.raises(InvalidInputError, match="the cursor is of the registry"):
        mv.Registry(tmp_path / "other").events(since=busy.events().cursor)


def packed(value):
    data = value if isinstance(value, bytes) else _json.dumps(value)
    return "mv1." + base64.urlsafe_b64encode(zlib.compress(data)).decode().rstrip("=")


@pytest.mark.parametrize(
    "since",
    [
        "mv1.",
        "mv1.!!!",
        "mv1.abcd",
        packed(b"no json"),
        packed([]),
        packed({"registry": "r"}),
        packed({"registry": "r", "read": []}),
        packed({"registry": "r", "read": {"policies": -1}}),
        packed({"registry": "r", "read": {"policies": True}}),
        packed({"registry": "r", "read": {"policies": "1"}}),
        packed(b" " * 2**25),
        "yesterday",
        "",
        7,
        True,
        ["now"],
        b"now",
    ],
)
def test_what_is_no_cursor_is_refused(busy, since):
    """Nor is it read without bounds."""
    with pytest.raises(InvalidInputError, match=r"cursor|since"):
        busy.events(since=since)


@given(st.text(max_size=40))
def test_any_text_is_a_cursor_or_refused(text):
    """Whatever stands in a file, one error says that it is none."""
    registry = mv.Registry("memory://cursors")

    with pytest.raises(InvalidInputError):
        registry.events(since="mv1." + text)


@pytest.mark.parametrize("limit", [-1, 1.5, "3", True])
def test_a_limit_is_a_number(busy, limit):
    """The message shows what was found."""
    with pytest.raises(InvalidInputError, match="limit must be a number of events"):
        busy.events(limit=limit)
