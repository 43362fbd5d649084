"""Stages, used in any way through two handles at once, are what a plain model says they are."""

import warnings
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from machines import TwoHandles, handles, picks, run

import modelversion as mv
from modelversion._json import parse_timestamp
from modelversion.errors import (
    ApprovalError,
    ConflictError,
    GateFailedError,
    InUseError,
    RollbackError,
    StageMovedError,
)

STAGES = ["staging", "production"]
ACTORS = ["ana", "bob"]
stage_names = st.sampled_from(STAGES)


class Clock:
    """A clock that stands still until it is set, also backwards."""

    def __init__(self):
        self.now = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def __call__(self):
        return self.now


class Line:
    """A stage as plain Python has it."""

    def __init__(self):
        self.live = None
        self.stack = []
        self.been = set()
        self.left = set()
        self.frozen = None
        self.said = {}
        self.stays = {}
        self.policy = {"after": None, "soak": 0, "approvals": 0, "auc": None, "override": True}

    def enter(self, number, time):
        self.leave(time)
        if number in self.stack:
            self.stack.remove(number)
        self.stack.append(number)
        self.live = number
        self.been.add(number)
        self.left.discard(number)
        self.stays.setdefault(number, []).append([time, None])
        self.said = {key: yes for key, yes in self.said.items() if not yes}

    def leave(self, time):
        if self.live is not None:
            self.stays[self.live][-1][1] = time
        self.live = None

    def seconds(self, number, now):
        total = timedelta(0)
        for begin, end in self.stays.get(number, ()):
            total += max(timedelta(0), (end or now) - begin)
        return total.total_seconds()


class Version:
    """A version as plain Python has it."""

    def __init__(self, author, auc):
        self.author = author
        self.auc = auc
        self.withdrawn = False
        self.deleted = False


class StagesMachine(TwoHandles):
    """Two people with a handle each on one place."""

    @initialize()
    def open(self):
        self.clock = Clock()
        place = self.new_place()
        self.handles = [mv.Registry(place, actor=a, clock=self.clock) for a in ACTORS]
        self.versions, self.aliases = {}, {}
        self.lines = {stage: Line() for stage in STAGES}
        self.seen = []
        for h in (0, 1, 0):
            self.save(h, 5)

    # ---- helpers

    def churn(self, h):
        return self.handles[h]["churn"]

    def pick(self, i):
        return self.one_of(self.versions, i)

    def now(self):
        time = self.churn(0)._line.decisions.head().time
        return max(self.clock.now, parse_timestamp(time, "time")) if time else self.clock.now

    def decided(self):
        """Note the state at the time of the last decision."""
        head = self.churn(0)._line.decisions.head()
        self.seen.append((head.time, self.snapshot()))
        return parse_timestamp(head.time, "time")

    def snapshot(self):
        stages = {
            name: [] if line.live is None else [line.live] for name, line in self.lines.items()
        }
        return {"development": [], **stages}, dict(self.aliases), sorted(self.withdrawn())

    def withdrawn(self):
        return {n for n, v in self.versions.items() if v.withdrawn and not v.deleted}

    def version(self, h, number):
        return self.found(self.churn(h), number, self.versions[number].deleted)

    def failing(self, number, stage):
        """Name what a promotion does not meet, hard stops first."""
        line, policy, version = self.lines[stage], self.lines[stage].policy, self.versions[number]
        now = self.now()
        by = {a for (n, a), yes in line.said.items() if n == number and yes}
        objects = [a for (n, a), yes in line.said.items() if n == number and not yes]
        after = None if policy["after"] is None else self.lines[policy["after"]]
        checks = {
            "not_withdrawn": not version.withdrawn,
            "not_frozen": line.frozen is None or now >= line.frozen,
            "not_rolled_back": number not in line.left,
            "after": after is None
            or (number in after.been and after.seconds(number, now) >= policy["soak"]),
            "approvals": not objects and len(by - {version.author}) >= policy["approvals"],
            "at_least": policy["auc"] is None or version.auc >= policy["auc"],
        }
        return [name for name, passed in checks.items() if not passed]

    # ---- rules

    @rule(seconds=st.sampled_from([-4000, -1, 0, 1, 30, 4000]))
    def step(self, seconds):
        self.clock.now += timedelta(seconds=seconds)

    @rule(h=handles, auc=st.integers(0, 9))
    def save(self, h, auc):
        version = self.handles[h].save(
            "churn", {"n": len(self.versions)}, metrics={"auc": auc}, new=True
        )
        self.versions[version.number] = Version(ACTORS[h], auc)

    @rule(h=handles, i=picks, stage=stage_names, override=st.booleans(), expect=st.none() | picks)
    def promote(self, h, i, stage, override, expect):
        number = self.pick(i)
        version = self.version(h, number)
        if version is None:
            return
        line = self.lines[stage]
        wanted = ... if expect is None else (self.pick(expect) if expect % 3 else line.live)
        failing = self.failing(number, stage)
        hard = {"not_withdrawn", "not_frozen"} & {*failing}
        lifted = override and not hard and line.policy["override"]

        def act():
            return version.promote(stage, reason="r", override=override, if_current=wanted)

        if wanted is not ... and wanted != line.live:
            with pytest.raises(StageMovedError):
                act()
        elif line.live == number:
            before = len(self.churn(h).history())
            assert act().number == number
            assert len(self.churn(h).history()) == before
        elif failing and not lifted:
            report = version.check(stage)
            with pytest.raises(GateFailedError) as refusal:
                act()
            kinds = {v.gate.kind for v in refusal.value.report.failed}
            assert kinds == {*failing} == {v.gate.kind for v in report.failed}
        else:
            assert version.check(stage).passed is not bool(failing)
            assert act().override is bool(failing)
            line.enter(number, self.now())
            assert self.decided() == self.now()

    @rule(h=handles, stage=stage_names, dry_run=st.booleans())
    def rollback(self, h, stage, dry_run):
        line = self.lines[stage]
        live = line.live
        before = line.stack[: line.stack.index(live)] if live is not None else line.stack
        fit = [
            n
            for n in before
            if not self.versions[n].deleted
            and not self.versions[n].withdrawn
            and n not in line.left
        ]
        if not fit:
            with pytest.raises(RollbackError):
                self.churn(h).rollback(stage, reason="r", dry_run=dry_run)
            return
        report = self.churn(h).rollback(stage, reason="r", dry_run=dry_run)
        assert report.number == fit[-1]
        assert len(report.skipped) == len(before) - before.index(fit[-1]) - 1
        if not dry_run:
            self.back(line, fit[-1], live)

    def back(self, line, target, live):
        if target in line.stack:
            del line.stack[line.stack.index(target) :]
        line.enter(target, self.now())
        if live is not None:
            line.left.add(live)
        self.decided()

    @rule(h=handles, stage=stage_names, i=picks)
    def rollback_to(self, h, stage, i):
        line, number = self.lines[stage], self.pick(i)
        version = self.versions[number]
        if version.deleted:
            return
        if number not in line.been or number == line.live or version.withdrawn:
            with pytest.raises(RollbackError):
                self.churn(h).rollback(stage, reason="r", to=number)
        else:
            live = line.live
            self.churn(h).rollback(stage, reason="r", to=number)
            self.back(line, number, live)

    @rule(h=handles, stage=stage_names)
    def clear(self, h, stage):
        line = self.lines[stage]
        if line.live is None:
            with pytest.raises(ConflictError):
                self.churn(h).clear_stage(stage, reason="r")
            return
        self.churn(h).clear_stage(stage, reason="r")
        line.leave(self.now())
        line.said = {key: yes for key, yes in line.said.items() if not yes}
        self.decided()

    @rule(h=handles, stage=stage_names, hours=st.integers(1, 3))
    def freeze(self, h, stage, hours):
        until = self.now() + timedelta(hours=hours)
        self.churn(h).freeze(stage, reason="r", until=until)
        self.lines[stage].frozen = until
        self.decided()

    @rule(h=handles, stage=stage_names)
    def unfreeze(self, h, stage):
        line = self.lines[stage]
        if line.frozen is None or self.now() >= line.frozen:
            with pytest.raises(ConflictError):
                self.churn(h).unfreeze(stage, reason="r")
            return
        self.churn(h).unfreeze(stage, reason="r")
        line.frozen = None
        self.decided()

    @rule(h=handles, i=picks, stage=stage_names, yes=st.booleans())
    def say(self, h, i, stage, yes):
        number = self.pick(i)
        version, line = self.version(h, number), self.lines[stage]
        if version is None:
            return
        key = (number, ACTORS[h])
        act = version.approve if yes else version.reject
        own = yes and self.versions[number].author == ACTORS[h]
        if own or line.said.get(key) is yes:
            with pytest.raises(ApprovalError):
                act(stage, reason="r")
            return
        act(stage, reason="r")
        line.said[key] = yes
        self.decided()

    @rule(h=handles, i=picks, stage=stage_names)
    def unsay(self, h, i, stage):
        number = self.pick(i)
        version, line = self.version(h, number), self.lines[stage]
        if version is None:
            return
        if (number, ACTORS[h]) not in line.said:
            with pytest.raises(ApprovalError):
                version.withdraw_approval(stage, reason="r")
            return
        version.withdraw_approval(stage, reason="r")
        del line.said[number, ACTORS[h]]
        self.decided()

    @rule(
        h=handles,
        stage=stage_names,
        after=st.booleans(),
        soak=st.sampled_from([0, 40]),
        approvals=st.integers(0, 1),
        auc=st.none() | st.integers(0, 6),
        override=st.booleans(),
    )
    def set_policy(self, h, stage, after, soak, approvals, auc, override):
        first = "staging" if after and stage == "production" else None
        gates = [] if auc is None else [mv.gates.at_least("auc", auc)]
        self.handles[h].set_policy(
            stage,
            after=first,
            soak=timedelta(seconds=soak) if first else None,
            approvals=approvals,
            gates=gates,
            allow_override=override,
        )
        self.lines[stage].policy = {
            "after": first,
            "soak": soak,
            "approvals": approvals,
            "auc": auc,
            "override": override,
        }

    @rule(h=handles, i=picks)
    def withdraw(self, h, i):
        number = self.pick(i)
        version = self.version(h, number)
        if version is None:
            return
        if self.versions[number].withdrawn:
            version.restore(reason="r")
        else:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                version.withdraw(reason="r")
            live = [name for name, line in self.lines.items() if line.live == number]
            assert len(caught) == bool(live)
        self.versions[number].withdrawn = not self.versions[number].withdrawn
        self.decided()

    @rule(h=handles, i=picks)
    def delete(self, h, i):
        number = self.pick(i)
        version = self.version(h, number)
        if version is None:
            return
        held = number in self.aliases.values() or any(
            line.live == number for line in self.lines.values()
        )
        if held:
            with pytest.raises(InUseError):
                version.delete(reason="r")
            return
        version.delete(reason="r")
        self.versions[number].deleted = True
        for line in self.lines.values():
            line.said = {key: yes for key, yes in line.said.items() if key[0] != number}
        self.decided()

    @rule(h=handles, i=picks)
    def alias(self, h, i):
        number = self.pick(i)
        if self.versions[number].deleted:
            return
        self.churn(h).set_alias("champion", number)
        self.aliases["champion"] = number
        self.decided()

    @rule(h=handles, keep=st.integers(0, 3))
    def prune(self, h, keep):
        staged = set().union(*(line.been for line in self.lines.values()))
        alive = [n for n, v in self.versions.items() if not v.deleted]
        kept = {*alive[len(alive) - keep :], *staged, *self.aliases.values()}
        report = self.churn(h).prune(keep=keep)
        assert set(report.deleted) == set(alive) - kept
        for number in report.deleted:
            self.versions[number].deleted = True
            for line in self.lines.values():
                line.said = {key: yes for key, yes in line.said.items() if key[0] != number}
        if report.deleted:
            self.decided()

    @rule(h=handles)
    def reopen(self, h):
        self.handles[h] = mv.Registry(self.place, actor=ACTORS[h], clock=self.clock)

    # ---- what always holds

    @invariant()
    def both_handles_say_what_the_model_says(self):
        for h, _ in enumerate(getattr(self, "handles", ())):
            churn = self.churn(h)
            stages, aliases, withdrawn = self.snapshot()
            assert churn.stages == stages
            assert churn.aliases == aliases
            for name, line in self.lines.items():
                if line.live is not None:
                    assert churn[name].number == line.live
            for version in churn:
                assert (version.withdrawn is not None) == (version.number in withdrawn)

    def at_the_end(self):
        fresh = mv.Registry(self.place)
        churn = fresh["churn"]
        for time, (stages, aliases, withdrawn) in self.seen:
            past = churn.at(time)
            assert past.stages == stages, time
            assert past.aliases == aliases, time
            assert sorted(past.withdrawn) == withdrawn, time
        times = [decision.time for decision in churn.history()]
        assert times == sorted(set(times))
        log = churn.history()._log
        assert all(log.explain(position) for position in range(1, len(times) + 1))
        assert churn._line.decisions.head().state.void == 0
        for name, line in self.lines.items():
            open_ = [s.number for s in churn.history(name).intervals() if s.until is None]
            assert open_ == ([] if line.live is None else [line.live])
        report = fresh.verify()
        assert report.ok, str(report)


@pytest.mark.parametrize(("in_memory", "examples"), [(True, 60), (False, 8)])
def test_stages_are_what_a_plain_model_says(in_memory, examples):
    """Whatever is done through two handles, with clocks that step back, they agree with it."""
    run(StagesMachine, in_memory=in_memory, examples=examples)


def test_stages_are_so_however_little_a_state_remembers(monkeypatch):
    """With two versions a stage, what was before comes from the journal; nothing is different."""
    monkeypatch.setattr("modelversion.stages.MAX_TENURES", 2)
    monkeypatch.setattr("modelversion.decisions.MAX_TENURES", 2)

    run(StagesMachine, in_memory=True, examples=40)
