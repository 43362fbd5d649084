"""The invariants, checked against an own reading of what is stored.

Numbers are those of the invariants of format 1:

1.  Acknowledged is present, digest-true, and stays so unless it is deleted.
2.  Reported failed never happens later.
3.  One claim a number; at most one commit a number, by the nonce of its claim.
4.  Committed and not deleted: every file is whole.
5.  Never both abandoned and committed; bytes go only after the entry that says so.
6.  What an alias names, or a stage holds, is committed, not deleted, and its files are there.
7.  Positions are contiguous and `previous` is true.
8.  Entries alone fold to what merges and entries fold to, whatever became of merges and hints.
9.  The head of a handle never goes back (`actors`).
10. After a policy was set, no promotion is judged by an older one.
12. Void events change nothing.
13. Time strictly increases.
14. Any prefix or holed copy reads as an older state or raises.

Of the others, 11 and 15 belong to filesystems and processes.
"""

import hashlib
import json
from collections import Counter

import attrs

from modelversion import layout
from modelversion.decisions import DECISIONS as DECISIONS_FOLD
from modelversion.errors import IntegrityError, JournalError, ModelVersionError
from modelversion.inspection import problems as journal_problems
from modelversion.journal import Journal
from modelversion.records import Entry
from modelversion.schema import from_json
from modelversion.state import FACTS as FACTS_FOLD

from .actors import DECISIONS, EPOCH, FACTS, MODEL, REGISTRY_ID, Actor, act
from .store import SimulatedStore, direct
from .world import is_fixed, is_merged

_FOLDS = {FACTS: FACTS_FOLD, DECISIONS: DECISIONS_FOLD}
_VERSIONS = layout.versions(MODEL)


def sha256(data):
    """Digest bytes without the code under test."""
    return hashlib.sha256(data).hexdigest()


# ---- an own reading ------------------------------------------------------------------------------


@attrs.define
class Truth:
    """What two journals say, folded here and not by the code under test."""

    committed: dict = attrs.field(factory=dict)
    values: dict = attrs.field(factory=dict)
    abandoned: set = attrs.field(factory=set)
    deleted: set = attrs.field(factory=set)
    aliases: dict = attrs.field(factory=dict)
    stages: dict = attrs.field(factory=dict)
    been: set = attrs.field(factory=set)
    adopted: int = 0
    ruled: int = 0
    withdrawn: set = attrs.field(factory=set)
    effects: dict = attrs.field(factory=dict)
    void: list = attrs.field(factory=list)

    def take(self, entry):
        """Apply one entry, or count it as void."""
        event = entry["event"]
        kind, number = event["kind"], event.get("number")
        if not _RULES[kind](self, {**event, "at": entry["position"]}):
            self.void.append((entry["actor"]["name"], kind, number))
            return
        what = (kind, event.get("alias", number))
        if kind != "policy.adopted":  # whoever comes first adopts, for all
            self.effects.setdefault(entry["actor"]["name"], []).append(what)

    def find(self, selector):
        """Give the number of a selector, None if there is no such live version."""
        if isinstance(selector, str) and selector != "latest":
            return self.stages.get(selector, self.aliases.get(selector))
        live = sorted(self.committed.keys() - self.deleted)
        if selector == "latest":
            return live[-1] if live else None
        return selector if selector in live else None


def _commit(truth, event):
    number = event["number"]
    if number in truth.committed or number in truth.abandoned:
        return False
    truth.committed[number] = event
    truth.values[number] = event["summary"]["params"]["value"]
    return True


def _add(name, *refusing):
    def rule(truth, event):
        number = event["number"]
        if any(number in getattr(truth, other) for other in (name, *refusing)):
            return False
        getattr(truth, name).add(number)
        return True

    return rule


def _alias(truth, event):
    if event["number"] in truth.deleted:
        return False
    truth.aliases[event["alias"]] = event["number"]
    return True


def _delete(truth, event):
    held = [*truth.aliases.values(), *truth.stages.values()]
    if event["number"] in truth.deleted or event["number"] in held:
        return False
    truth.deleted.add(event["number"])
    truth.withdrawn.discard(event["number"])
    return True


def _enter(truth, event):
    stage, number = event["stage"], event["number"]
    live = truth.stages.get(stage)
    seen = event.get("replaces", []) == ([] if live is None else [live])
    if not seen or live == number or number in truth.deleted or number in truth.withdrawn:
        return False
    truth.stages[stage] = number
    truth.been.add((stage, number))
    return True


def _promote(truth, event):
    if not _enter(truth, event):
        return False
    ruled = event["judged"]["ruled"]
    assert ruled == truth.ruled, f"10: promoted under {ruled}, in force was {truth.ruled}"
    return True


def _roll_back(truth, event):
    return (event["stage"], event["number"]) in truth.been and _enter(truth, event)


def _adopt(truth, event):
    if event["position"] <= truth.adopted:
        return False
    truth.adopted, truth.ruled = event["position"], event["at"]
    return True


def _unalias(truth, event):
    return truth.aliases.pop(event["alias"], None) is not None


def _about(truth, event):
    return event["number"] in truth.committed


_RULES = {
    "version.committed": _commit,
    "version.abandoned": _add("abandoned", "committed"),
    "version.repeated": _about,
    "version.tagged": _about,
    "alias.set": _alias,
    "alias.deleted": _unalias,
    "version.withdrawn": _add("withdrawn", "deleted"),
    "version.deleted": _delete,
    "stage.promoted": _promote,
    "stage.rolled_back": _roll_back,
    "policy.adopted": _adopt,
}


def chain(content, folder, registry_id=REGISTRY_ID):
    """Give a journal's entries, checked for 7 and 13."""
    keys = sorted(k for k in content if is_fixed(k) and k.rpartition("/")[0] == folder)
    previous, time, entries = sha256(f"{registry_id}\n{folder}".encode()), "", []
    for position, key in enumerate(keys, 1):
        entry = json.loads(content[key])
        assert key == layout.entry(folder, position), f"7: {key} stands behind a hole"
        assert entry["position"] == position, f"7: {key} says {entry['position']}"
        assert entry["previous"] == previous, f"7: {key} does not continue the one before"
        assert entry["time"] > time, f"13: the time of {key} does not increase"
        previous, time = sha256(content[key]), entry["time"]
        entries.append(entry)
    return entries


# ---- the judge -----------------------------------------------------------------------------------


class Judge:
    """Checks writes, states and ends; remembers what it has checked."""

    def __init__(self, base):
        self._base = base
        self._truths = {}
        self._acks = set()
        self._ends = set()
        self._journals = set()
        self._tolerated = Counter(self.truth(base).void)

    def truth(self, content, facts=None, decisions=None):
        """Fold the first entries of both journals, all of them if not told."""
        truth = Truth()
        for folder, count in ((FACTS, facts), (DECISIONS, decisions)):
            for entry in chain(content, folder)[:count]:
                truth.take(entry)
        return truth

    # ---- one write

    def write(self, call, before, after):
        """Check what one request did to the disk: 1, 5."""
        if call[0] == "put":
            assert is_merged(call[1]), f"1: {call[1]} was written over"
        if call[0] != "remove":
            return
        key = call[1]
        assert not is_fixed(key), f"1: {key} was removed"
        if key.startswith(f"{_VERSIONS}/"):
            number = int(key.removeprefix(f"{_VERSIONS}/").partition("/")[0])
            truth = self._truth(before)
            gone = number in truth.abandoned or number in truth.deleted
            assert gone, f"5: {key} was removed before the entry"

    def _truth(self, disk):
        if disk.id not in self._truths:
            self._truths[disk.id] = self._checked(disk.content)
        return self._truths[disk.id]

    # ---- one state

    def state(self, state):
        """Check a state: every invariant of what is stored, and what each actor was told."""
        truth = self._truth(state.disk)
        for slot in state.slots:
            error = getattr(slot, "error", None)
            assert error is None, f"{slot.root.name}: {type(error).__name__}: {error}"
            done = None if hasattr(slot, "call") else not slot.crashed
            name = slot.root.name if done is None else slot.name
            key = (state.disk.id, name, slot.acks, done)
            if (slot.acks or done) and key not in self._acks:
                self._told(state.disk.content, truth, name, slot.acks, done)
                self._acks.add(key)

    def _checked(self, content):
        truth = self.truth(content)
        models = _models(content)
        assert len(models) == len(set(models)), f"12: models were created twice: {models}"
        assert Counter(truth.void) == self._tolerated, f"12: void: {truth.void}"
        both = truth.committed.keys() & truth.abandoned
        assert not both, f"5: {both} are abandoned and committed"
        for number in truth.committed.keys() | truth.abandoned:
            key = f"{_VERSIONS}/{number}/claim.json"
            assert key in content, f"3: {number} has no claim"
        for number, event in truth.committed.items():
            claim = json.loads(content[f"{_VERSIONS}/{number}/claim.json"])
            assert claim["nonce"] == event["nonce"], f"3: {number} was committed by another"
            if number not in truth.deleted:
                _whole(content, number, event)
        for alias, number in (*truth.aliases.items(), *truth.stages.items()):
            alive = number in truth.committed and number not in truth.deleted
            assert alive, f"6: {alias} names {number}"
        for folder, fold in _FOLDS.items():
            part = {k: v for k, v in content.items() if k.startswith(f"{folder}/")}
            key = frozenset(part.items())
            if key not in self._journals:
                _Reading(part, folder, fold).check(truth)
                self._journals.add(key)
        return truth

    # ---- what actors were told

    def _told(self, content, truth, name, acks, done):
        effects = Counter(truth.effects.get(name, ()))
        promised = Counter(effect for ack in acks for effect in _EFFECTS[ack[0]](*ack[1:]))
        missing = promised - effects
        assert not missing, f"1: {name} was told of {dict(missing)}"
        if done and not any(ack[0] == "unknown" for ack in acks):
            more = effects - promised
            assert not more, f"2: {name} was not told of {dict(more)}"
        for ack in acks:
            if ack[0] in ("saved", "repeated"):
                event = truth.committed[ack[1]]
                assert (event["nonce"], event["sha256"]) == ack[2:], f"1: {name}: {ack}"
            if ack[0] == "created":
                made = json.loads(content[layout.REGISTRY])["id"]
                assert ack[1] == made and ack[2] in _models(content), f"1: {name}: {ack}"
            if ack[0] == "ruled":
                assert truth.adopted >= ack[1], f"10: {name} was told of {ack}"
            if ack[0] in ("loaded", "absent"):
                self._seen(content, truth, *ack)

    def _seen(self, content, now, kind, selector, before, after, found):
        """Check that a reader got what was true at some moment of its call."""
        moments = [
            self.truth(content, facts, decisions).find(selector)
            for facts in range(before[0], after[0] + 1)
            for decisions in range(before[1], after[1] + 1)
        ]
        number = found[0] if kind == "loaded" else found
        if kind == "loaded":
            assert now.values[number] == found[1], f"1: {number} was loaded as {found[1]}"
        elif number is not None:
            deleted = self.truth(content, *after).deleted
            assert number in deleted, f"1: {number} was refused and is there"
        assert number in moments, f"1: {selector} was read as {number}, and was {moments}"

    # ---- the end

    def end(self, disk):
        """Check that whoever comes after all have ended or crashed finds and leaves order."""
        if disk.id in self._ends:
            return
        self._ends.add(disk.id)
        content = dict(disk.content)
        _, *more = act(content, Actor("heir", _inherit, clock=3600), 0xFFFF)
        truth = self._checked(content)
        assert more[0] == ("verified",), f"the heir found {more}"
        known = truth.committed.keys() | truth.abandoned
        for key in content:
            if key.startswith(f"{_VERSIONS}/"):
                number, _, path = key.removeprefix(f"{_VERSIONS}/").partition("/")
                kept = truth.committed.keys() - truth.deleted
                assert int(number) in known, f"gc left {key} undecided"
                assert path == "claim.json" or int(number) in kept, f"gc left {key}"
        _, number, _, _ = more[1]
        assert number == max(known), f"the heir saved {number} of {known}"


def _models(content):
    """Name the models of the registry's own journal, which continues its own id."""
    if layout.REGISTRY not in content:
        return []
    registry_id = json.loads(content[layout.REGISTRY])["id"]
    events = [entry["event"] for entry in chain(content, layout.POLICIES, registry_id)]
    return [event["model"] for event in events if event["kind"] == "model.created"]


def _inherit(agent):
    agent.gc()
    agent.verify()
    agent.save("heir", new=True)


def _whole(content, number, event):
    """4: every file of a version is what was committed."""
    folder = f"{_VERSIONS}/{number}"
    data = content.get(f"{folder}/version.json", b"")
    assert sha256(data) == event["sha256"], f"4: {folder}/version.json is not the committed one"
    for file in json.loads(data)["files"]:
        found = sha256(content.get(f"{folder}/{file['path']}", b""))
        assert found == file["sha256"], f"4: {folder}/{file['path']} is not the committed one"


_EFFECTS = {
    "saved": lambda number, *rest: [("version.committed", number)],
    "repeated": lambda number, *rest: [("version.repeated", number)],
    "deleted": lambda number: [("version.deleted", number)],
    "aliased": lambda name: [("alias.set", name)],
    "unaliased": lambda name: [("alias.deleted", name)],
    "tagged": lambda number: [("version.tagged", number)],
    "withdrawn": lambda number: [("version.withdrawn", number)],
    "promoted": lambda number: [("stage.promoted", number)],
    "rolled": lambda number: [("stage.rolled_back", number)],
    "ruled": lambda position: [],
    "created": lambda registry_id, name: [],
    "swept": lambda *numbers: [("version.abandoned", number) for number in numbers],
    "loaded": lambda *rest: [],
    "absent": lambda *rest: [],
    "verified": lambda: [],
    "refused": lambda *rest: [],
    "unknown": lambda *rest: [],
}


# ---- what readers make of a journal --------------------------------------------------------------


class _Reading:
    """Reads a journal, and damaged copies of it, with the real code: 8, 12, 14."""

    def __init__(self, content, folder, fold):
        self._content = content
        self._folder = folder
        self._fold = fold
        self._keys = sorted(key for key in content if is_fixed(key))
        self._merged = [key for key in content if is_merged(key)]
        self._values = [json.loads(content[key]) for key in self._keys]
        self._entries = [from_json(Entry, value, "entry") for value in self._values]
        self._states = [fold.initial]
        for entry in self._entries:
            self._states.append(fold.step(self._states[-1], entry))

    def check(self, truth):
        self._agrees(truth)
        self._void_changes_nothing()
        for copy in self._without_help():
            self._reads_the_same(copy)
        for key in self._merged:
            if not key.endswith("head.json"):
                self._forged(key)
        for copy in self._damaged():
            self._older_or_raises(copy)
        for length in range(len(self._keys)):
            self._rewound(length)

    def _journal(self, content):
        return Journal(
            SimulatedStore(direct(content)),
            self._folder,
            self._fold,
            registry_id=REGISTRY_ID,
            clock=lambda: EPOCH,
        )

    def _head(self, content):
        return self._journal(content).head().state

    def _agrees(self, truth):
        """The code folds entries as the judge does."""
        state = self._states[-1]
        if self._fold is FACTS_FOLD:
            found = (set(state.committed), set(state.abandoned))
            expected = (set(truth.committed), truth.abandoned)
        else:
            found = ({a: p.number for a, p in state.aliases.items()}, set(state.deleted))
            live = {name: stage.live[-1] for name, stage in state.stages.items() if stage.live}
            found = (*found, set(state.withdrawn), live, state.adopted, state.ruled)
            expected = (truth.aliases, truth.deleted, truth.withdrawn)
            expected = (*expected, truth.stages, truth.adopted, truth.ruled)
        assert found == expected, f"12: the fold gives {found}, the entries say {expected}"

    def _reads_the_same(self, copy):
        journal = self._journal(copy)
        try:
            head = journal.head()
            history = journal.history(journal.start(), head)
        except ModelVersionError as e:
            raise AssertionError(f"8: a merge or a hint broke a sound journal: {e}") from e
        assert head.state == self._states[-1], "8: a merge or a hint changed the state"
        assert history == self._values, "8: a merge or a hint changed the history"

    def _void_changes_nothing(self):
        state = self._fold.initial
        for i, entry in enumerate(self._entries):
            if self._states[i + 1].void == self._states[i].void:
                state = self._fold.step(state, entry)
        same = attrs.evolve(state, void=self._states[-1].void)
        assert same == self._states[-1], "12: a void event changed the state"

    def _without_help(self):
        """Give copies with merges and hints lost, torn or stale; entries are whole."""
        yield self._content
        yield {k: v for k, v in self._content.items() if k not in self._merged}
        for key in self._merged:
            data = self._content[key]
            yield {k: v for k, v in self._content.items() if k != key}
            changed = data.replace(b'"void":0', b'"void":7')
            for torn in (b"", data[: len(data) // 2], data[:-1], data + b"\n", changed):
                yield {**self._content, key: torn}
        for position in range(0, len(self._keys) + 2 * layout.MERGE, layout.MERGE):
            hint = b'{"position":%d}' % position
            yield {**self._content, layout.hint(self._folder): hint}

    def _forged(self, key):
        """A merge that lies about the state is found by verify."""
        *lines, last, _ = self._content[key].split(b"\n")
        value = json.loads(last)
        value["state"]["void"] += 1
        body = b"\n".join([*lines, json.dumps(value).encode()])
        forged = body + b"\n" + sha256(body).encode()
        problems = list(journal_problems(self._journal({**self._content, key: forged})))
        assert [name for name, _ in problems] == [key], f"8: verify finds {problems}"
        assert not list(journal_problems(self._journal(self._content))), (
            "8: verify takes truth for a lie"
        )

    def _damaged(self):
        """Give prefixes and copies with one hole, each with and without merges and hints."""
        bare = {k: v for k, v in self._content.items() if k not in self._merged}
        for content in (self._content, bare) if self._merged else (bare,):
            for i, key in enumerate(self._keys):
                later = self._keys[i:]
                yield {k: v for k, v in content.items() if k not in later}
                yield {k: v for k, v in content.items() if k != key}

    def _older_or_raises(self, copy):
        try:
            state = self._head(copy)
        except IntegrityError:
            return
        assert state in self._states, "14: a damaged copy reads as a state that never was"

    def _rewound(self, length):
        """A handle refuses a journal that ends before what it has seen."""
        content = dict(self._content)
        journal = self._journal(content)
        seen = journal.head()
        for key in self._keys[length:]:
            del content[key]
        try:
            head = journal.head()
        except JournalError:
            return
        assert head.position >= seen.position, "9: a handle went back to a shorter journal"
