"""The search: every state that schedules, crashes, lost replies and late requests lead to."""

import attrs

from modelversion.errors import ModelVersionError

from .actors import Cast
from .judges import Judge
from .world import TAKEN, UNKNOWN, WRITES, Disk, disk, is_fixed, is_merged


class ViolationError(AssertionError):
    """An invariant does not hold; the message is the schedule that leads there."""


@attrs.frozen(kw_only=True)
class Limits:
    """How much may go wrong in one schedule, and how many states are entered at most.

    Attributes:
        faults: Lost replies and late requests.
        crashes: Actors that stop for ever. Every state is one in which any actor may have
            crashed, as it need not be given another step; a crash by name also ends its part.
        switches: How often an actor that could go on may be left for another; None is always.
        states: Where the search ends even if it is not done.
    """

    faults: int = 1
    crashes: int = 1
    switches: int | None = None
    states: int = 1_000_000


@attrs.frozen(kw_only=True)
class Report:
    """What was explored.

    Attributes:
        states: Different states entered.
        disks: Different contents of the storage.
        histories: Different histories of single actors: runs of the real code.
        ends: States in which every actor has ended or crashed.
        complete: Whether the search ended by itself.
    """

    states: int
    disks: int
    histories: int
    ends: int
    complete: bool


@attrs.frozen
class Ended:
    """An actor that has ended or crashed, or whose merge has; only what it acknowledged counts."""

    id: int
    name: str
    acks: tuple
    crashed: bool


@attrs.frozen(eq=False)
class State:
    """One state: what is stored, where each actor is, what is under way, what may go wrong yet."""

    disk: Disk
    slots: tuple
    late: frozenset
    faults: int
    crashes: int
    last: int
    switches: int

    def key(self):
        """Give what equal states have in common."""
        places = tuple(slot.id for slot in self.slots)
        budget = (self.faults, self.crashes, self.last, self.switches)
        return self.disk.id, places, self.late, budget


def explore(scenario, limits=None):
    """Explore a scenario.

    Raises:
        ViolationError: An invariant does not hold.
    """
    return _Search(scenario, limits or scenario.limits).run()


class _Search:
    def __init__(self, scenario, limits):
        self._cast = Cast(scenario.actors)
        self._merges = any(actor.merges for actor in scenario.actors)
        self._limits = limits
        self._disks = {}
        self._ended = {}
        self._parents = {}
        self._stack = []
        self._left = None
        self._ends = 0
        self._base = disk(scenario.base(), self._disks)
        self._judge = Judge(self._base.content)

    def run(self):
        limits = self._limits
        slots = tuple(root.node for root in self._cast.actors)
        switches = -1 if limits.switches is None else limits.switches
        start = State(self._base, (), frozenset(), limits.faults, limits.crashes, 0, switches)
        self._enter("start", attrs.evolve(start, slots=self._settled(slots)))
        while self._stack and len(self._parents) < limits.states:
            state = self._stack.pop()
            self._left = state.key()
            self._expand(state)
        return Report(
            states=len(self._parents),
            disks=len(self._disks),
            histories=self._cast.histories,
            ends=self._ends,
            complete=not self._stack,
        )

    # ---- entering a state

    def _enter(self, label, state):
        key = state.key()
        if key in self._parents:
            return
        self._parents[key] = (self._left, label)
        try:
            self._judge.state(state)
            if all(type(slot) is Ended for slot in state.slots):
                self._ends += 1
                self._judge.end(state.disk)
        except (AssertionError, ModelVersionError) as e:
            raise ViolationError(f"{e}\n{self._trace(key)}") from e
        self._stack.append(state)

    def _trace(self, key):
        labels = []
        while key is not None:
            key, label = self._parents[key]
            labels.append(label)
        return "\n".join(f"{i:4} {label}" for i, label in enumerate(reversed(labels)))

    def _settled(self, slots):
        """Put what ended into its short form; merges that ended are forgotten."""
        settled = [self._short(slot) for slot in slots]
        kept = [slot for slot in settled if slot is not None]
        actors = [slot for slot in kept if not _is_merge(slot)]
        merges = sorted((slot for slot in kept if _is_merge(slot)), key=lambda slot: slot.root.id)
        return (*actors, *merges)

    def _short(self, slot):
        if type(slot) is Ended or slot.call is not None or slot.error is not None:
            return slot
        return None if slot.root.is_merge else self._end(slot, crashed=False)

    def _end(self, node, *, crashed):
        key = (node.root.id, node.acks, crashed)
        if key not in self._ended:
            # Below zero, so that it is no history's number.
            number = -1 - len(self._ended)
            self._ended[key] = Ended(number, node.root.name, node.acks, crashed)
        return self._ended[key]

    # ---- leaving it

    def _expand(self, state):
        running = [i for i, slot in enumerate(state.slots) if type(slot) is not Ended]
        for i in running:
            if self._is_certain(state, state.slots[i].call):
                self._step(state, i, *state.disk.apply(state.slots[i].call), "")
                return
        for call in state.late:
            after, answer = state.disk.apply(call)
            label = f"a late request arrives: {_said(call)}: {_said(answer)}"
            self._enter(label, attrs.evolve(state, disk=after, late=state.late - {call}))
        for i in running:
            held = self._held(state, i)
            if held is not None:
                self._steps(held, i)

    def _held(self, state, i):
        """Count the switch to another actor; None if there are none left."""
        last, root = state.last, state.slots[i].root.id
        if state.switches < 0 or last == root:
            return state
        could = any(type(s) is not Ended and s.root.id == last for s in state.slots)
        if could and state.switches == 0:
            return None
        return attrs.evolve(state, last=root, switches=state.switches - could)

    def _is_certain(self, state, call):
        """Tell whether a call has the same answer whatever others do, and does nothing to them.

        Then no schedule is lost if it is answered at once.
        """
        if call[0] == "get":
            key = call[1]
            if key in state.disk.content:
                return is_fixed(key)
            return is_merged(key) and not self._merges
        if call[0] == "create":
            return not state.faults and is_fixed(call[1]) and call[1] in state.disk.content
        return call[0] == "now"

    def _steps(self, state, i):
        call = state.slots[i].call
        after, answer = state.disk.apply(call)
        self._step(state, i, after, answer, "")
        if call[0] in ("create", "put") and state.faults:
            less = attrs.evolve(state, faults=state.faults - 1)
            self._step(less, i, after, UNKNOWN, ", the reply is lost")
            if answer != TAKEN:
                late = attrs.evolve(less, late=less.late | {call})
                self._step(late, i, state.disk, UNKNOWN, ", no reply and under way")
                self._crash(late, i, state.disk, "crashes with it under way")
        if state.crashes:
            self._crash(state, i, state.disk, "crashes before it")
            if call[0] in WRITES and answer != TAKEN:
                self._crash(state, i, after, "crashes after it")

    def _step(self, state, i, after, answer, what):
        node = state.slots[i]
        if after is not state.disk:
            self._check_write(state.disk, node, after, what)
        new = node.root.next(node, answer)
        merges = [root.node for root in new.started]
        slots = self._settled((*state.slots[:i], new, *state.slots[i + 1 :], *merges))
        label = f"{node.root.name}: {_said(node.call)}{what}: {_said(answer)}"
        self._enter(label, attrs.evolve(state, disk=after, slots=slots))

    def _crash(self, state, i, after, what):
        if not state.crashes:
            return
        node = state.slots[i]
        if after is not state.disk:
            self._check_write(state.disk, node, after, what)
        ended = () if node.root.is_merge else (self._end(node, crashed=True),)
        slots = (*state.slots[:i], *ended, *state.slots[i + 1 :])
        crashed = attrs.evolve(state, disk=after, slots=slots, crashes=state.crashes - 1)
        self._enter(f"{node.root.name}: {_said(node.call)} {what}", crashed)

    def _check_write(self, before, node, after, what):
        try:
            self._judge.write(node.call, before, after)
        except AssertionError as e:
            last = f"     {node.root.name}: {_said(node.call)}{what}"
            raise ViolationError(f"{e}\n{self._trace(self._left)}\n{last}") from e


def _is_merge(slot):
    return type(slot) is not Ended and slot.root.is_merge


def _said(value):
    """Print a request or an answer on one line."""
    if type(value) is bytes:
        return f"{len(value)} bytes"
    if type(value) is tuple:
        return " ".join(getattr(item, "name", None) or _said(item) for item in value) or "nothing"
    return "absent" if value is None else str(value)
