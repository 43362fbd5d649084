"""What the actors do at once, and on what they begin."""

from unittest import mock

import attrs

from modelversion import upkeep
from modelversion.records import AliasSet, VersionCommitted

from .actors import Actor, act, download_files, load_object, open_file
from .search import Limits


def _three_versions(agent):
    for value in ("a", "b", "c"):
        agent.save(value)


def _two_versions(agent):
    agent.save("a")
    agent.save("b")


def _one_version(agent):
    agent.save("a")


def _held(agent):
    _two_versions(agent)
    agent.alias("prod", 1)


def _live(agent):
    """Two versions that were live one after the other, and one that was not."""
    _three_versions(agent)
    agent.promote("production", 1)
    agent.promote("production", 2)


def _ruled(agent):
    """A registry with a policy, and a model that has adopted it."""
    agent.create("m")
    _two_versions(agent)
    agent.rule("production", reason_required=True)


def _claimed(agent):
    """One version, one that was saved and crashed half-way, one deleted half-way."""
    _two_versions(agent)
    agent.claim()
    with mock.patch.object(upkeep, "sweep", lambda line, number: None):
        agent.delete(1)


def _nothing(agent):
    pass


def _with_void(agent):
    """A careless writer commits a number again, and sets an alias on what is deleted."""
    _two_versions(agent)
    agent.delete(1)
    line = agent.line
    held = line.facts.head().state.newest
    same = {"nonce": held.nonce, "size": held.size, "sha256": held.sha256}
    again = VersionCommitted(number=2, content="", summary={"params": {"value": "b"}}, **same)
    line.facts.append(lambda _: again, actor=agent.home.actor)
    line.decisions.append(
        lambda _: AliasSet(alias="prod", number=1, **same), actor=agent.home.actor
    )


@attrs.frozen(kw_only=True)
class Scenario:
    """Actors, what stood there before them, the limits within a test, and its least states."""

    actors: tuple
    before: object = _one_version
    limits: Limits = attrs.field(factory=Limits)
    least: int = 300

    def base(self):
        """Give what is stored before the actors begin."""
        content = {}
        act(content, Actor("setup", self.before, merges=any(a.merges for a in self.actors)))
        return content


def create(spelling):
    """Make the registry and a model."""
    return Actor(f"create {spelling}", lambda agent: agent.create(spelling))


def save(value, name=None, **more):
    """Save a value."""
    return Actor(name or f"save {value}", lambda agent: agent.save(value), **more)


def resave(value, name):
    """Save a value as a new version even if it is the latest one's."""
    return Actor(name, lambda agent: agent.save(value, new=True))


def delete(selector, name="delete", **more):
    """Delete a version."""
    return Actor(name, lambda agent: agent.delete(selector), **more)


def alias(label, selector, name="alias", **more):
    """Set an alias."""
    return Actor(name, lambda agent: agent.alias(label, selector), **more)


def promote(number, name="promote", stage="production", **more):
    """Promote a version."""
    return Actor(name, lambda agent: agent.promote(stage, number, **more))


def rollback(name="rollback"):
    """Roll production back."""
    return Actor(name, lambda agent: agent.rollback("production"))


def rule(name="rule", **asked):
    """Set the policy of production."""
    return Actor(name, lambda agent: agent.rule("production", **asked))


def unalias(label):
    """Delete an alias."""
    return Actor("unalias", lambda agent: agent.unalias(label))


def tag(number, name, times=1, **more):
    """Tag a version, some times with one handle."""

    def work(agent):
        for i in range(times):
            agent.tag(number, f"{name} {i}")

    return Actor(name, work, **more)


def load(selector, times=1, how=load_object, **more):
    """Load a version, some times with one handle."""

    def work(agent):
        for _ in range(times):
            agent.load(selector, how)

    return Actor("reader", work, **more)


def _withdraw(agent):
    agent.withdraw(1)


def _save_and_load(agent):
    agent.save("b")
    agent.load("latest")


def _save_and_alias(agent):
    agent.save("b")
    agent.alias("prod", "latest")


# A clock ahead of the claims, so that gc takes them for old.
GC = Actor("gc", lambda agent: agent.gc(), clock=60)
VERIFY = Actor("verify", lambda agent: agent.verify())

SCENARIOS = {
    "save|save": Scenario(actors=(save("b"), save("c", clock=-5)), least=3000),
    "create|create": Scenario(
        actors=(create("Churn"), create("churn")), before=_nothing, least=3000
    ),
    "first|first": Scenario(actors=(save("b"), save("c")), before=_nothing),
    "same|same": Scenario(actors=(save("b", "one"), save("b", "two"))),
    "save|gc": Scenario(actors=(save("b"), GC), least=20_000),
    "save|delete": Scenario(actors=(save("c"), delete(2)), before=_two_versions),
    "repeat|delete": Scenario(actors=(save("b"), delete(2)), before=_two_versions),
    "resave|delete": Scenario(actors=(resave("b", "resave"), delete(2)), before=_two_versions),
    "alias|delete": Scenario(actors=(alias("prod", 2), delete(2)), before=_held),
    "alias|delete latest": Scenario(
        actors=(alias("prod", "latest"), delete("latest")), before=_two_versions
    ),
    "alias|alias": Scenario(
        actors=(alias("prod", 1, "one"), alias("prod", 2, "two")), before=_two_versions
    ),
    "unalias|delete": Scenario(actors=(unalias("prod"), delete(1)), before=_held),
    "withdraw|delete": Scenario(
        actors=(Actor("withdraw", _withdraw), delete(1)), before=_two_versions
    ),
    "promote|delete": Scenario(actors=(promote(3), delete(3)), before=_live),
    "promote|promote": Scenario(
        actors=(promote(1, "one"), promote(2, "two")), before=_two_versions
    ),
    "promote if|promote if": Scenario(
        actors=(promote(3, "one", if_current=2), promote(1, "two", if_current=2)),
        before=_live,
        limits=Limits(faults=1, crashes=0),
    ),
    "rollback|delete": Scenario(actors=(rollback(), delete(1)), before=_live),
    "rollback|promote": Scenario(
        actors=(rollback(), promote(3)), before=_live, limits=Limits(faults=1, crashes=0)
    ),
    "rollback|withdraw": Scenario(
        actors=(rollback(), Actor("withdraw", _withdraw)),
        before=_live,
        limits=Limits(faults=1, crashes=0),
    ),
    "withdraw|promote": Scenario(
        actors=(Actor("withdraw", _withdraw), promote(1)), before=_two_versions
    ),
    "promote|reader": Scenario(
        actors=(promote(3), load("production", 2)),
        before=_live,
        limits=Limits(faults=1, crashes=0),
    ),
    "promote|rule": Scenario(
        actors=(promote(1, reason="r"), rule(approvals=1)),
        before=_ruled,
        limits=Limits(faults=1, crashes=1),
    ),
    "promote|rule open": Scenario(
        actors=(promote(1, reason="r"), rule()),
        before=_ruled,
        limits=Limits(faults=1, crashes=0),
    ),
    "rule|rule": Scenario(
        actors=(rule("one", approvals=1), rule("two", approvals=2)),
        before=_ruled,
        limits=Limits(faults=1, crashes=0),
    ),
    "verify|promote": Scenario(
        actors=(VERIFY, promote(3)), before=_live, limits=Limits(faults=0, crashes=1)
    ),
    "delete|delete": Scenario(actors=(delete(1, "one"), delete(1, "two")), before=_two_versions),
    "delete|gc": Scenario(actors=(delete(1), GC), before=_two_versions),
    "gc|gc": Scenario(
        actors=(GC, Actor("other gc", lambda agent: agent.gc(), clock=60)),
        before=_claimed,
        limits=Limits(faults=0, crashes=1),
        least=20_000,
    ),
    "save|reader": Scenario(
        actors=(Actor("save", _save_and_load), load("latest", 2)), least=10_000
    ),
    "backwards": Scenario(
        actors=(save("b", backwards=True), load("latest", 2, backwards=True)), before=_two_versions
    ),
    "delete|reader": Scenario(actors=(delete("latest"), load("latest")), before=_three_versions),
    "delete|open": Scenario(
        actors=(delete("latest"), load("latest", how=open_file)), before=_two_versions
    ),
    "delete|download": Scenario(
        actors=(delete("latest"), load("latest", how=download_files)), before=_two_versions
    ),
    "alias|reader": Scenario(actors=(alias("prod", 2), load("prod", 2)), before=_held),
    "tag|tag": Scenario(actors=(tag(1, "one", 2), tag(1, "two", 2, clock=9)), least=10_000),
    "save|tag": Scenario(actors=(save("b"), tag(1, "tag"))),
    "void": Scenario(actors=(save("c"), alias("prod", 2)), before=_with_void),
    "merge": Scenario(
        actors=(save("d", merges=True), save("e", merges=True)),
        before=_three_versions,
        least=15_000,
    ),
    "merge|merge": Scenario(
        actors=(tag(1, "one", 2, merges=True), tag(1, "two", merges=True)),
        limits=Limits(faults=1, crashes=0),
        least=10_000,
    ),
    "merge alias": Scenario(
        actors=(alias("prod", 1, "one", merges=True), alias("prod", 2, "two", merges=True)),
        before=_held,
    ),
    "merge|reader": Scenario(
        actors=(tag(1, "tag", 2, merges=True), load("latest", merges=True)),
        before=_three_versions,
        least=15_000,
    ),
    "verify|tag": Scenario(actors=(VERIFY, tag(1, "tag", 2))),
    "verify|delete": Scenario(actors=(VERIFY, delete(1)), before=_two_versions),
    "verify|gc": Scenario(actors=(VERIFY, GC), before=_claimed, least=5000),
    "verify|alias": Scenario(actors=(VERIFY, Actor("save", _save_and_alias))),
    "verify|save": Scenario(actors=(VERIFY, save("b"))),
    "save|save|gc": Scenario(
        actors=(save("b"), save("c"), GC),
        limits=Limits(faults=0, crashes=0, switches=2),
        least=4000,
    ),
    "save|alias|delete": Scenario(
        actors=(save("c"), alias("prod", "latest"), delete(2)),
        before=_two_versions,
        limits=Limits(faults=1, crashes=0),
        least=10_000,
    ),
}
