"""Every schedule of two actors, and many of three, with crashes, lost replies and late requests.

`python -m tests.explorer --deep` goes further than there is time for here.
"""

import json

import attrs
import pytest
from explorer import SCENARIOS, ViolationError, explore, simulated
from explorer.store import SimulatedStore

from modelversion import (
    decisions,
    governing,
    journal,
    loading,
    merges,
    promotion,
    state,
    upkeep,
    version,
    versions,
)
from modelversion.journal import Journal
from modelversion.stages import Decisions
from modelversion.state import Ranges
from modelversion.storage import KeyTaken
from modelversion.verification import walk


@pytest.fixture(autouse=True)
def simulation():
    """The real code, without chance, sleep and this machine."""
    with simulated():
        yield


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_schedule_breaks_an_invariant(name):
    """All states are explored, more than a few, and every invariant holds in each."""
    report = explore(SCENARIOS[name])

    print(name, report)
    assert report.complete
    assert report.states >= SCENARIOS[name].least
    assert report.disks > 1
    assert report.ends > 1


def test_the_search_is_repeatable():
    """The same scenario gives the same states, so that a violation can be looked at again."""
    first, second = (explore(SCENARIOS["alias|delete"]) for _ in range(2))

    assert first == second


# ---- mutants: each guard is taken out, and a schedule is found that needs it ---------------------


def _violation(name, match):
    with pytest.raises(ViolationError, match=match) as caught:
        explore(SCENARIOS[name])
    return str(caught.value)


def test_a_violation_names_the_schedule(monkeypatch):
    """The message lists every step from the start to the broken state."""
    monkeypatch.setattr(journal, "_TICK", journal._TICK * 0)

    lines = _violation("save|save", "13: the time").splitlines()

    assert lines[1].split() == ["0", "start"]
    assert any("save b: create models/m/versions/2/claim.json" in line for line in lines)


def test_mutant_delete_removes_bytes_first(monkeypatch):
    """A delete that sweeps before its entry is there is found."""
    delete = upkeep.delete

    def mutant(line, version, *, reason):
        upkeep.sweep(line, version.number)
        delete(line, version, reason=reason)

    monkeypatch.setattr(upkeep, "delete", mutant)

    _violation("alias|delete", "5: .* was removed before the entry")


def test_mutant_gc_removes_bytes_first(monkeypatch):
    """A gc that sweeps a claim before it has abandoned it is found."""
    abandon = upkeep.abandon

    def mutant(line, number, reason):
        upkeep.sweep(line, number)
        return abandon(line, number, reason)

    monkeypatch.setattr(upkeep, "abandon", mutant)

    _violation("save|gc", "5: .* was removed before the entry")


def test_mutant_sweep_takes_the_claim_too(monkeypatch):
    """A sweep that gives a number free again is found."""

    def mutant(line, number):
        for key, _ in list(walk(line.home.store, line.folder(number))):
            line.home.store.remove(key)

    monkeypatch.setattr(upkeep, "sweep", mutant)

    _violation("delete|gc", "1: .*claim.json was removed")


def test_mutant_commit_of_an_abandoned_number(monkeypatch):
    """A commit that does not ask whether its number was abandoned is found."""
    monkeypatch.setattr(versions, "unless_abandoned", lambda event: lambda state: event)

    _violation("save|gc", r"12: void: .*version\.committed")


@pytest.mark.parametrize(
    ("actor", "blind", "found"),
    [
        ("alias", {"deleted": Ranges()}, "alias.set"),
        ("delete", {"aliases": {}}, "version.deleted"),
    ],
)
def test_mutant_decision_without_a_look_at_the_state(monkeypatch, actor, blind, found):
    """An alias that overlooks deletions, and a delete that overlooks aliases, are found."""
    append = Journal.append

    def mutant(self, decide, **more):
        def blinded(known):
            sees = more["actor"].name != actor or not isinstance(known, Decisions)
            return decide(known if sees else attrs.evolve(known, **blind))

        return append(self, blinded, **more)

    monkeypatch.setattr(Journal, "append", mutant)

    _violation("alias|delete", f"12: void: .*{found}")


@pytest.mark.parametrize(
    ("actor", "blind", "found"),
    [
        ("promote", {"deleted": Ranges()}, r"stage\.promoted"),
        ("promote", {"stages": {}}, r"stage\.promoted"),
        ("delete", {"stages": {}}, r"version\.deleted"),
    ],
)
def test_mutant_stage_without_a_look_at_the_state(monkeypatch, actor, blind, found):
    """A promotion that overlooks deletions or what is live, and a delete that overlooks stages."""
    append = Journal.append

    def mutant(self, decide, **more):
        def blinded(known):
            sees = more["actor"].name != actor or not isinstance(known, Decisions)
            return decide(known if sees else attrs.evolve(known, **blind))

        return append(self, blinded, **more)

    monkeypatch.setattr(Journal, "append", mutant)

    _violation("promote|delete", f"12: void: .*{found}")


def test_mutant_policy_is_not_adopted(monkeypatch):
    """A setter that returns before the model has adopted its policy is found."""
    monkeypatch.setattr(governing, "adopt", lambda line: None)

    _violation("promote|rule", "10: rule was told of")


def test_mutant_promotion_by_the_policy_as_first_seen(monkeypatch):
    """A promotion that is judged by the policy that it saw first is found."""
    judged, first = promotion._judged, {}

    def mutant(candidate, name, state, wish):
        event = judged(candidate, name, state, wish)
        ruled = first.setdefault(id(candidate), event.judged["ruled"])
        return attrs.evolve(event, judged={**event.judged, "ruled": ruled})

    monkeypatch.setattr(promotion, "_judged", mutant)

    _violation("promote|rule open", "10: promoted under")


@pytest.mark.parametrize(
    "name", ["alias|delete", "save|gc", "delete|delete", "withdraw|delete", "promote|promote"]
)
def test_mutant_decision_is_not_made_again(monkeypatch, name):
    """A writer that was overtaken and appends what it decided before is found."""
    append = Journal.append

    def mutant(self, decide, **more):
        decided = []

        def once(state):
            decided[:] = decided or [decide(state)]
            return decided[0]

        return append(self, once, **more)

    monkeypatch.setattr(Journal, "append", mutant)

    _violation(name, "12: void")


def test_mutant_claim_without_a_nonce(monkeypatch):
    """Two claimers who take one claim for theirs are found."""
    put_new = SimulatedStore.put_new

    def mutant(self, key, data):
        try:
            put_new(self, key, data)
        except KeyTaken:
            found = self.read(key)
            if not key.endswith("claim.json") or _nameless(found) != _nameless(data):
                raise

    monkeypatch.setattr(SimulatedStore, "put_new", mutant)

    _violation("save|save", "3: 2 was committed by another")


def _nameless(claim):
    """What two claims of one number have in common but for nonce, time and actor."""
    value = json.loads(claim)
    return value["registry"], value["model"], value["number"]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("save|save", "12: void: .*version.committed|every number keeps its claim"),
        ("delete|delete", "2: .* was not told of"),
        ("alias|alias", "2: .* was not told of"),
        ("tag|tag", "2: .* was not told of"),
    ],
)
def test_mutant_lost_reply_and_absent_is_taken_for_lost(monkeypatch, name, match):
    """A writer that does not put again, and whose request arrives later, is found."""

    def mutant(self, key, data, answer):
        if self.read_many([key])[0] == data:
            return True
        raise KeyTaken(key)

    monkeypatch.setattr(SimulatedStore, "_is_ours", mutant)

    _violation(name, match)


def test_mutant_lost_reply_is_taken_for_done(monkeypatch):
    """A writer that takes no reply for success is found."""
    monkeypatch.setattr(SimulatedStore, "_is_ours", lambda self, key, data, answer: True)

    _violation("alias|alias", "1: .* was told of")


def test_mutant_lost_reply_is_taken_for_lost(monkeypatch):
    """A writer that does not read back, and does all again, is found."""

    def mutant(self, key, data, answer):
        raise KeyTaken(key)

    monkeypatch.setattr(SimulatedStore, "_is_ours", mutant)

    _violation("delete|delete", r"2: .* was not told of")


def test_mutant_put_new_writes_over(monkeypatch):
    """A filesystem where both of two creators win is found."""
    monkeypatch.setattr(SimulatedStore, "put_new", SimulatedStore.put)

    _violation("save|save", "1: .* was written over")


def test_mutant_merge_with_another_state(monkeypatch):
    """A merge that does not hold the state after its entries is found."""
    merge = Journal.merge

    def mutant(self, head):
        merge(self, attrs.evolve(head, state=self._fold.initial))

    monkeypatch.setattr(Journal, "merge", mutant)

    _violation("merge", "8: ")


def test_mutant_merge_is_believed_unchecked(monkeypatch):
    """A reader that takes a torn merge for a whole one is found."""
    monkeypatch.setattr(merges, "lines", lambda data, count: data.split(b"\n")[:-2])
    monkeypatch.setattr(Journal, "_block", _believing)

    _violation("merge", "8: |14: ")


def _believing(self, data, start, last, before):
    lines = merges.lines(data or b"", last - start)
    head = before or self._start
    for position, line in enumerate(lines, start + 1):
        entry = self.parse(line, position)
        head = self._next(head, entry, line)
    return head if lines else None


def test_mutant_merge_without_a_seal(monkeypatch):
    """A reader that believes a merge of the right number of lines is found."""
    monkeypatch.setattr(merges, "lines", _unsealed)

    _violation("merge", "8: a merge or a hint changed the state")


def _unsealed(data, count):
    lines = data.split(b"\n")
    return lines[:-2] if len(lines) == count + 2 else None


def test_mutant_chain_is_not_checked(monkeypatch):
    """A reader that goes on behind a hole is found."""

    def mutant(self, head, entries):
        for data in entries:
            if data is not None:
                position = json.loads(data)["position"]
                head = self._next(head, self.parse(data, position), data)
        return head
        yield

    monkeypatch.setattr(Journal, "_follow", mutant)

    _violation("tag|tag", "14: |7: ")


def test_mutant_void_event_is_applied(monkeypatch):
    """A fold that lets an alias name a deleted version is found."""
    kind, _ = decisions.DECISIONS.rules["alias.set"]

    def rule(found, event, entry):
        return attrs.evolve(found, aliases={**found.aliases, event.alias: state.pointer(event)})

    monkeypatch.setitem(decisions.DECISIONS.rules, "alias.set", (kind, rule))

    _violation("void", "12: the fold gives")


def test_mutant_reader_takes_a_deletion_for_damage(monkeypatch):
    """A reader that does not look again when a file has vanished is found."""
    for module in (loading, version, versions):
        monkeypatch.setattr(module, "refuse_deleted", lambda line, number: None)

    _violation("delete|reader", "FileMissingError")


def test_mutant_latest_is_not_the_highest(monkeypatch):
    """A reader that finds another version than the latest of its time is found."""
    monkeypatch.setattr(versions, "live_numbers", lambda facts, decided: iter(facts.committed))

    _violation("save|reader", "1: latest was read as 1")
