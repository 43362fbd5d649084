"""Actors: real operations, run against a script of answers up to the call that it lacks."""

import contextlib
import sys
import tempfile
import warnings
from datetime import UTC, datetime, timedelta
from unittest import mock

import attrs

from modelversion import (
    clearing,
    governing,
    journal,
    layout,
    merges,
    snapshot,
    state,
    upkeep,
    versions,
)
from modelversion.errors import ConflictError, InUseError, NotFoundError, OutcomeUnknownError
from modelversion.history import History
from modelversion.home import Home
from modelversion.model import Model
from modelversion.records import Actor as Name
from modelversion.records import EnvironmentRecord
from modelversion.snapshot import check_notes, take
from modelversion.storage.spool import Spool
from modelversion.verification import verify_line
from modelversion.versions import Line

from .store import SimulatedStore

MODEL = "m"
REGISTRY_ID = "0123456789abcdef" * 2
FACTS = layout.journal(MODEL, "journal")
DECISIONS = layout.journal(MODEL, "decisions")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_RUNNING = []


@contextlib.contextmanager
def simulated(merge=2):
    """Take chance, sleep and the machine out of the code, and let merges come early."""
    levels = (merge, merge**2, merge**3)
    here = EnvironmentRecord(python="3", implementation="cpython", platform="sim", packages={})
    with contextlib.ExitStack() as stack:

        def put(owner, name, value):
            stack.enter_context(mock.patch.object(owner, name, value))

        for name, module in list(sys.modules.items()):
            if name.startswith("modelversion.") and hasattr(module, "nonce"):
                put(module, "nonce", _nonce)
        put(layout, "MERGE", merge)
        put(layout, "LEVELS", levels)
        put(merges, "SIZES", dict(enumerate(levels, 1)))
        put(journal, "_WINDOW", merge + 1)
        put(journal, "_wait", lambda attempt, took: None)
        put(state, "MAX_RUNS", 2)
        put(snapshot, "environment", lambda: here)
        # Only messages ask how a name is spelt.
        put(Home, "spelling", lambda home, name: name)
        # Nothing here leaves temporary files, and the walk through it all is long.
        put(clearing, "_temporaries", lambda store, limit, dry_run: [])
        yield


def _nonce():
    return _RUNNING[-1].nonce()


class _Pause(BaseException):
    """The script has no answer to a call: the actor waits there."""


class Run:
    """One run of an actor: its script, its nonces, what it has acknowledged and started."""

    def __init__(self, actor, number, ask):
        self._ask = ask
        self._number = number
        self._nonces = 0
        self._heads = (0, 0)
        self.acks = []
        self.jobs = []
        self.agent = Agent(actor, self)

    def nonce(self):
        """Give 16 hex digits that no other actor has."""
        self._nonces += 1
        return f"{self._number:08x}{self._nonces:08x}"

    def is_own(self, nonce):
        """Tell whether this run made a nonce."""
        return int(nonce[:8], 16) == self._number

    def ask(self, request):
        """Pass a request on; the heads of an actor's handles never go back meanwhile."""
        self.check_heads()
        return self._ask(request)

    def check_heads(self):
        """Invariant 9."""
        heads = tuple(
            0 if journal._head is None else journal._head.position
            for journal in (self.agent.line.facts, self.agent.line.decisions)
        )
        assert all(map(int.__ge__, heads, self._heads)), "9: the head of a handle went back"
        self._heads = heads

    @contextlib.contextmanager
    def current(self):
        """Let nonces come from this run."""
        _RUNNING.append(self)
        try:
            yield
        finally:
            _RUNNING.pop()


@attrs.frozen(eq=False)
class Actor:
    """A name, what it does with an `Agent`, and how its clock is off, in seconds."""

    name: str
    work: object
    clock: int = 0
    merges: bool = False
    backwards: bool = False


def load_object(version):
    """Give the value in a version's object."""
    (value,) = version.load(allow_pickle=True)
    return value


def open_file(version):
    """Give the value in a version's artifact."""
    return version.open("artifacts/note").read().decode()


def download_files(version):
    """Give the value in a version's artifact, after all files were copied."""
    with tempfile.TemporaryDirectory() as folder:
        return (version.download(folder) / "artifacts/note").read_text()


class Agent:
    """A process that has opened the registry: real operations, and what they acknowledged."""

    def __init__(self, actor, run):
        now = EPOCH + timedelta(seconds=actor.clock)
        self._run = run
        self.store = SimulatedStore(run.ask, backwards=actor.backwards)
        self.home = Home(self.store, Name(name=actor.name, source="given"), lambda: now)
        self.home.journal = self._without_merges(self.home.journal)
        self.line = Line(self.home, MODEL, REGISTRY_ID)
        for handle in (self.line.facts, self.line.decisions):
            handle._run = run.jobs.append if actor.merges else lambda job: None
        self.model = Model(History(self.line))

    @staticmethod
    def _without_merges(made):
        """Let no journal start a thread; those of the model are told what to do with merges."""

        def journal(*args, **more):
            found = made(*args, **more)
            found._run = lambda job: None
            return found

        return journal

    def _ack(self, *what):
        self._run.check_heads()
        self._run.acks.append(what)

    @contextlib.contextmanager
    def _outcome(self, what, *refusals):
        """Note an operation that was refused, or whose outcome is unknown."""
        try:
            with warnings.catch_warnings():
                # That another came first, or that it is live, is no fault here.
                warnings.simplefilter("ignore")
                yield
        except OutcomeUnknownError:
            self._ack("unknown", *what)
        except refusals as e:
            self._ack("refused", *what, type(e).__name__)

    def create(self, name):
        """Make the registry and a model, where they are not there."""
        self.home.create_model(name.lower(), name)
        self._ack("created", self.home.id(), name.lower())

    def save(self, value, *, new=False):
        """Save a small object; no save is ever refused here."""
        notes = check_notes(params={"value": value})
        with Spool(self.store.spool) as spool:
            frozen = take(spool, notes, value=[value], artifacts={"note": value})
        with self._outcome(("save", value)):
            held = versions.commit(self.line, frozen, new=new)
            kind = "saved" if self._run.is_own(held.nonce) else "repeated"
            self._ack(kind, held.number, held.nonce, held.sha256)

    def delete(self, selector):
        """Delete a version."""
        with self._outcome(("delete", selector), InUseError, NotFoundError):
            held = self.model[selector]._pointer
            upkeep.delete(self.line, held, reason="test")
            self._ack("deleted", held.number)

    def alias(self, name, selector):
        """Let an alias name a version."""
        with self._outcome(("alias", name, selector), NotFoundError):
            self.model.set_alias(name, selector)
            self._ack("aliased", name)

    def unalias(self, name):
        """Delete an alias."""
        with self._outcome(("unalias", name), NotFoundError):
            self.model.delete_alias(name)
            self._ack("unaliased", name)

    def promote(self, stage, number, **more):
        """Promote a version; what was live already is the decision of another."""
        with self._outcome(("promote", stage, number), NotFoundError, ConflictError):
            decision = self.model[number].promote(stage, **more)
            if decision.actor.name == self.home.actor.name:
                self._ack("promoted", number)

    def rollback(self, stage):
        """Roll a stage back."""
        with self._outcome(("rollback", stage), ConflictError):
            self._ack("rolled", self.model.rollback(stage, reason="test").number)

    def rule(self, stage, **asked):
        """Set the policy of a stage for the one model that there is."""
        nothing = {"after": None, "soak": None, "approvals": 0, "gates": ()}
        given = {**nothing, "reason_required": False, "allow_override": True, **asked}
        with self._outcome(("rule", stage)):
            governing.set_policy(self.home, lambda: [self.line], stage, given)
            self._ack("ruled", self.home.policies().seen().position)

    def tag(self, number, value):
        """Tag a version."""
        with self._outcome(("tag", number), NotFoundError):
            self.model[number].tag(by=value)
            self._ack("tagged", number)

    def claim(self):
        """Claim a number, and do no more."""
        versions.claim_number(self.line)

    def withdraw(self, number):
        """Withdraw a version."""
        with self._outcome(("withdraw", number), NotFoundError):
            upkeep.withdraw(self.line, number, reason="test", use_instead=None)
            self._ack("withdrawn", number)

    def gc(self):
        """Clear up, however young the claims are."""
        with self._outcome(("gc",)):
            report = self.model.gc(older_than=timedelta(0))
            self._ack("swept", *(int(ref.rpartition(":")[2]) for ref in report.abandoned))

    def load(self, selector, how=load_object):
        """Load a version's object; a refusal must have been true at some moment of the call."""
        before = self._run.ask(("count", FACTS, DECISIONS))
        found = None
        try:
            found = self.model[selector]
            value = how(found)
        except NotFoundError:
            number = None if found is None else found.number
            self._ack("absent", selector, before, self._now(), number)
        else:
            self._ack("loaded", selector, before, self._now(), (found.number, value))

    def _now(self):
        return self._run.ask(("now", FACTS, DECISIONS))

    def verify(self):
        """Verify; nothing that another actor does may look like damage."""
        report = verify_line(self.line)
        assert report.ok, f"verify took the work of others for damage: {report}"
        self._ack("verified")


# ---- histories -----------------------------------------------------------------------------------


class Node:
    """What an actor has been answered so far, and so what it does next.

    `call` is the request that waits for an answer, None at the end. `acks` is what it has
    acknowledged, `started` the merges that it started with its last step, `error` what it raised.
    """

    __slots__ = ("acks", "answer", "call", "children", "error", "id", "parent", "root", "started")

    def __init__(self, parent, root, answer):
        self.parent = parent
        self.root = root
        self.answer = answer
        self.children = {}
        self.call = self.error = None
        self.acks = self.started = ()

    def path(self):
        """Give the nodes from the root to here."""
        nodes = []
        node = self
        while node is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]


class Root:
    """An actor's tree of histories, or that of a merge which one of its histories started."""

    def __init__(self, cast, actor, number, origin=None, job=0):
        self._cast = cast
        self._actor = actor
        self._number = number
        self._origin = origin
        self._job = job
        self.id = len(cast.roots)
        self.name = actor.name if origin is None else f"{actor.name}'s merge"
        self.is_merge = origin is not None
        cast.roots.append(self)
        self.node = self._grow(None, None)

    def next(self, node, answer):
        """Give the history that an answer leads to; the actor is run only if it is a new one."""
        if answer not in node.children:
            node.children[answer] = self._grow(node, answer)
        return node.children[answer]

    def _grow(self, parent, answer):
        node = Node(parent, self, answer)
        node.id = self._cast.count()
        path = node.path()
        run, script = self._run(path)
        with run.current():
            try:
                if self._origin is not None:
                    self._started(run, script)()
                else:
                    self._actor.work(run.agent)
                    run.check_heads()
            except _Pause as pause:
                node.call = pause.args[0]
            except Exception as e:
                node.error = e
        self._note(node, run)
        return node

    def _run(self, path):
        script = Script(path)
        if self._origin is not None:
            script = Script([*self._origin.path(), None])
            script.then = Script(path)
        return Run(self._actor, self._number, script.answer), script

    def _started(self, run, script):
        """Repeat what the actor did up to the start of the merge, and give the merge."""
        with contextlib.suppress(_Pause):
            self._actor.work(run.agent)
        script.take_over()
        return run.jobs[self._job]

    def _note(self, node, run):
        if self._origin is not None:
            return
        node.acks = tuple(run.acks)
        before = sum(len(n.started) for n in node.path()[:-1])
        node.started = tuple(self._cast.merge(self, node, k) for k in range(before, len(run.jobs)))

    def started_by(self, node, job):
        """Give the tree of a merge that this actor started."""
        return Root(self._cast, self._actor, self._number, node, job)


class Script:
    """The answers of a history, given in order to an actor that must ask the same again."""

    def __init__(self, path):
        self._path = path
        self._at = 0
        self.then = None

    def answer(self, request):
        """Give the next answer, or stop the actor."""
        self._at += 1
        if self._at >= len(self._path) or self._path[self._at] is None:
            raise _Pause(request)
        asked = self._path[self._at - 1].call
        assert asked == request, f"an actor is not deterministic: {asked} became {request}"
        return self._path[self._at].answer

    def take_over(self):
        """Go on with the script of the merge."""
        self._path, self._at = self.then._path, 0


class Cast:
    """All actors of a scenario and their histories."""

    def __init__(self, actors):
        self.roots = []
        self.histories = 0
        self._merges = {}
        self.actors = [Root(self, actor, i) for i, actor in enumerate(actors, 1)]

    def count(self):
        """Number a history."""
        self.histories += 1
        return self.histories

    def merge(self, root, node, job):
        """Give the tree of a merge."""
        key = (node.id, job)
        if key not in self._merges:
            self._merges[key] = root.started_by(node, job)
        return self._merges[key]


def act(content, actor, number=0):
    """Let an actor work alone on a dict; give what it acknowledged."""
    from .store import direct

    run = Run(actor, number, direct(content))
    with run.current():
        actor.work(run.agent)
        for job in run.jobs:
            job()
    return run.acks
