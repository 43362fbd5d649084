"""A model: a named line of versions, the aliases that point into it, and its upkeep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import attrs

from modelversion import upkeep
from modelversion.display import Page, Shown
from modelversion.errors import (
    AliasNotFoundError,
    InvalidInputError,
    InvalidNameError,
    ModelVersionError,
    NotFoundError,
    VersionNotFoundError,
)
from modelversion.governing import append, rules_of
from modelversion.history import History
from modelversion.moments import moment
from modelversion.records import AliasDeleted, AliasSet
from modelversion.refs import LATEST, check_alias, check_selector
from modelversion.serializers import Allow
from modelversion.stages import Decisions
from modelversion.table import Versions, best, select, warn_of_tests
from modelversion.verification import VerifyReport, verify_line
from modelversion.version import Version
from modelversion.versions import Line, resolve

if TYPE_CHECKING:
    from modelversion.clearing import GcReport
    from modelversion.compare import Comparison, Evaluation
    from modelversion.follow import Live
    from modelversion.lineage import Lineage
    from modelversion.observing import Observations
    from modelversion.past import ModelAt
    from modelversion.rollback import RollbackReport
    from modelversion.timeline import Decision, Timeline


class Model(Shown):
    """A model's versions: `churn[3]`, `churn[-1]`, `churn["champion"]`, `churn.latest`."""

    def __init__(self, history: History, allow: Allow | None = None) -> None:
        self._history = history
        self._line: Line = history.line
        self._allow = allow

    @property
    def name(self) -> str:
        """The model's name in its first spelling."""
        return self._line.display

    def __repr__(self) -> str:
        try:
            numbers = self._line.live()
        except ModelVersionError as e:  # a repr never raises
            return f"<Model {self.name} ({type(e).__name__})>"
        latest = f", latest {self._line.ref(numbers[-1])}" if numbers else ""
        plural = "" if len(numbers) == 1 else "s"
        return f"<Model {self.name}: {len(numbers)} version{plural}{latest}>"

    def _page(self) -> Page:
        from modelversion.views.model import model_page

        return model_page(self._history, self._line.home.store.url)

    def to_pandas(self) -> Any:
        """Give all versions as a pandas DataFrame; needs pandas."""
        return self.versions().to_pandas()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[str, str]:
        return self._line.registry_id, self._line.name

    # ---- versions

    def __getitem__(self, selector: int | str) -> Version:
        """Give a version by number, by place from the end, by stage or by alias.

        Raises:
            VersionNotFoundError: There is no such version, it was deleted, or the stage is empty.
            AliasNotFoundError: There is no such stage or alias.
        """
        chosen = check_selector(selector, f"{self.name}[...]")
        return Version(self._history, resolve(self._line, chosen), self._allow)

    def __len__(self) -> int:
        return len(self._line.live())

    def __iter__(self) -> Iterator[Version]:
        return iter(self.versions())

    def __contains__(self, selector: object) -> bool:
        if isinstance(selector, Version):
            return selector._key()[:2] == self._key() and selector.number in self._line.live()
        if isinstance(selector, bool) or not isinstance(selector, (int, str)):
            return False
        try:
            self[selector]
        except NotFoundError:
            return False
        return True

    def _ipython_key_completions_(self) -> list[Any]:
        state: Decisions = self._line.decisions.head().state
        filled = [name for name in state.stage_names() if state.stage(name).live]
        return [*filled, *sorted(state.aliases), LATEST, *self._line.live()]

    @property
    def latest(self) -> Version:
        """The version of the highest number that is not deleted."""
        return self[LATEST]

    def versions(
        self,
        *,
        where: str | None = None,
        order_by: str | Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Versions:
        """Give the versions that meet a condition, oldest first or in an order.

        Args:
            where: Such as ``metrics.auc > 0.9 and tags.team = 'risk' and params.`opt/lr` < 1``.
            order_by: Such as `-metrics.auc`; several are separated by commas.
            limit: How many at most.

        Raises:
            QueryError: `where` or `order_by` does not parse; the message points at the place.
        """
        rows = select([self._history], where=where, order_by=order_by, limit=limit)
        return Versions(rows, self._allow)

    def best(
        self, metric: str, *, where: str | None = None, higher_is_better: bool | None = None
    ) -> Version:
        """Give the version with the best value of a metric.

        Versions that are withdrawn, runs that failed and were kept, and NaN are left out.
        It warns where test data, known by a name such as `test` or `X_val`, are not the same in
        all of them: such metrics do not compare, `evaluate` makes some that do.

        Args:
            metric: The metric's name.
            where: Only among these.
            higher_is_better: The direction, where neither saves nor the name say it.

        Raises:
            VersionNotFoundError: No version that counts has the metric.
            InvalidInputError: Nothing says which way is better.
        """
        rows = select([self._history], where=where, order_by=None, limit=None)
        ranked = best(rows, metric, name=self.name, higher=higher_is_better)
        warn_of_tests(ranked, metric)
        return Versions(ranked[:1], self._allow)[0]

    def compare(
        self, *versions: int | str | Version, metrics: Sequence[str] | None = None
    ) -> Comparison:
        """Put versions side by side, of other models too: `churn.compare(3, 4, "champion")`.

        A table, the best by each metric in words, params that differ, and which versions no
        other beats in two metrics at once.

        Args:
            versions: Numbers, aliases or versions; changes are told against the first.
            metrics: Only these.

        Raises:
            InvalidInputError: There are fewer than two, or no version has a metric.
        """
        from modelversion.compare import compare, compared

        chosen = [self._chosen(version) for version in versions]
        sides = [compared(v._history.refresh(), v.number, v._open().record) for v in chosen]
        return compare(sides, metrics)

    def observations(self, metric: str | None = None) -> Observations:
        """Give what was measured of its versions in production, oldest first.

        Args:
            metric: Only this one.

        Raises:
            MetricNotFoundError: The metric was never observed.
        """
        from modelversion.observing import observations

        return observations(self._history, metric)

    def lineage(self) -> Lineage:
        """Give what all its versions were made from, and what was made from them, in any model."""
        from modelversion.lineage import Family, lineage

        family = Family(upkeep.whole_registry(self._history), of=[self._line.name])
        keys = [(self._line.name, number) for number in self._history.refresh().numbers()]
        return lineage(family, keys, of=self.name)

    def evaluate(self, *versions: int | str | Version, X: Any, y: Any, scorer: Any) -> Evaluation:
        """Load versions one after the other and score each on the same data.

        Args:
            versions: Numbers, aliases or versions, of other models too.
            X: What each is given, as its scorer expects it.
            y: What is true.
            scorer: A function of (model, X, y), a name that scikit-learn knows such as
                `"roc_auc"`, or a list or dict of these.

        Raises:
            InvalidInputError: The scorer is none of these.
        """
        from modelversion.compare import evaluate

        loads = {v.ref: v.load for v in map(self._chosen, versions)}
        return evaluate(loads, X, y, scorer=scorer)

    def _chosen(self, version: int | str | Version) -> Version:
        return version if isinstance(version, Version) else self[version]

    # ---- aliases

    @property
    def aliases(self) -> dict[str, int]:
        """The aliases: name -> number."""
        held = self._line.decisions.head().state.aliases
        return {alias: held[alias].number for alias in sorted(held)}

    def set_alias(self, alias: str, version: int | str | Version) -> None:
        """Let an alias name a version, whatever it named before.

        Args:
            alias: The alias; case is ignored.
            version: A number, another alias, or a version of this model.

        Raises:
            InvalidNameError: The alias is no name, reads as a version, or is a stage.
            VersionNotFoundError: There is no such version, or it was deleted.
        """
        name = check_alias(alias)
        held = self[self._selector(version)]._pointer
        event = AliasSet(
            alias=name,
            number=held.number,
            nonce=held.nonce,
            size=held.size,
            sha256=held.sha256,
        )

        def decide(state: Decisions) -> AliasSet:
            if name in state.rules.stages:
                raise InvalidNameError(f"alias name {alias!r} is taken: it is a stage")
            if held.number in state.deleted:
                raise VersionNotFoundError(f"{self._line.ref(held.number)} was deleted")
            return event

        # The commit may be visible and not durable yet, if its writer was killed.
        self._line.home.store.settle(self._line.facts.folder)
        # Resolving the version has just read to the head.
        append(self._line, decide)

    def follow(
        self,
        name: str,
        *,
        every: float = 30,
        on_change: Callable[[Any, Version], object] | None = None,
        mmap: bool = False,
        allow_pickle: Allow | None = None,
    ) -> Live:
        """Serve what a name means, and swap to another version in the background.

        `model, version = live.get()` never waits. While nothing changes, storage is asked one
        small question an interval. When the storage is away, or a new version does not verify,
        the last good one stays and `live.status` says why; the name never goes back to what an
        older copy of the journal says.

        Args:
            name: An alias, a stage, or `latest`.
            every: Seconds between two looks; up to a tenth more, so that a fleet spreads out.
            on_change: Called with the new object and its version after a swap, in the thread that
                swapped; what it raises is logged.
            mmap: As in `Version.load`.
            allow_pickle: As in `Version.load`.

        Raises:
            NotFoundError: The name means no version yet.
            InvalidInputError: It is a number, which never moves, or `every` is no interval.
        """
        from modelversion.follow import How, follow

        how = How(mmap, allow_pickle, on_change)
        return follow(self._history, name, self._allow, every=every, how=how)

    def delete_alias(self, alias: str) -> None:
        """Delete an alias; the version stays.

        Raises:
            AliasNotFoundError: There is no such alias.
        """
        name = check_alias(alias)

        def decide(state: Decisions) -> AliasDeleted:
            if name not in state.aliases:
                known = ", ".join(sorted(state.aliases)) or "none"
                raise AliasNotFoundError(f"{self.name} has no alias {alias!r}; aliases: {known}")
            return AliasDeleted(alias=name)

        append(self._line, decide)

    def _selector(self, version: Any) -> Any:
        """Give what a version is selected by; the number of another model's says nothing here."""
        if not isinstance(version, Version):
            return version
        if version._key()[:2] != self._key():
            raise VersionNotFoundError(f"{version.ref} is no version of {self.name}")
        return version.number

    # ---- stages

    @property
    def stages(self) -> dict[str, list[int]]:
        """The stages in their order: name -> the versions in it, the one that counts last."""
        state: Decisions = self._line.decisions.head().state
        known = state if state.adopted else attrs.evolve(state, rules=rules_of(self._line))
        return {name: list(known.stage(name).live) for name in known.stage_names()}

    def rollback(
        self,
        stage: str,
        *,
        reason: str,
        to: int | Version | None = None,
        if_current: int | EllipsisType | None = ...,
        dry_run: bool = False,
    ) -> RollbackReport:
        """Put back what was in a stage before; again goes further back. No gate is asked.

        The target is the last good version before what is live: not withdrawn, not deleted, not
        one that was rolled back from before, and with every file as committed. What is left
        behind is marked, and only an override promotes it to the stage again.

        Args:
            stage: The stage.
            reason: Why.
            to: A version that was in the stage at some time, instead of the last good one.
            if_current: Refuse unless this number is in the stage now; None is for an empty one.
            dry_run: Only tell what would be done.

        Raises:
            RollbackError: There is no such version.
            StageMovedError: Another version is there than `if_current` names, or somebody else
                was faster: it is not gone back twice because two were called.
            VersionNotFoundError: `to` is a version of another model.
            IntegrityError: The version that `to` names is damaged.
        """
        from modelversion.rollback import rollback

        number = None if to is None else self._selector(to)
        if type(number) is int and number < 1:
            raise InvalidInputError(f"to must be the number of a version, found {number!r:.60}")
        number = None if number is None else self[number].number
        return rollback(
            self._history, stage, reason=reason, to=number, if_current=if_current, dry_run=dry_run
        )

    def clear_stage(
        self, stage: str, *, reason: str, version: int | Version | None = None
    ) -> Decision:
        """Take what is in a stage out of it.

        Args:
            stage: The stage.
            reason: Why.
            version: Only this one, where the stage is shared by several.

        Raises:
            ConflictError: Nothing is there, or not that version.
        """
        from modelversion.promotion import clear_stage

        number = None if version is None else self._selector(version)
        return clear_stage(self._history, stage, reason=reason, number=number)

    def freeze(
        self, stage: str, *, reason: str, until: str | date | datetime | None = None
    ) -> Decision:
        """Let nothing be promoted to a stage; a roll-back still works.

        Args:
            stage: The stage.
            reason: Why.
            until: When it ends: a time, or the beginning of a day, in UTC; None is until
                `unfreeze`.

        Raises:
            InvalidInputError: `until` is no time, or over.
        """
        from modelversion.approving import freeze

        return freeze(self._history, stage, until=until, reason=reason)

    def unfreeze(self, stage: str, *, reason: str) -> Decision:
        """Lift a freeze.

        Raises:
            ConflictError: The stage is not frozen.
        """
        from modelversion.approving import unfreeze

        return unfreeze(self._history, stage, reason=reason)

    def history(self, stage: str | None = None) -> Timeline:
        """Give what was decided, oldest first: all of it, or what concerns one stage.

        Raises:
            StageNotFoundError: There is no such stage.
        """
        from modelversion.timeline import timeline

        return timeline(self._history, stage)

    def at(self, when: str | date | datetime) -> ModelAt:
        """Give the model as it was: `churn.at("2026-11-01")["production"]`.

        Args:
            when: A time, or a day, which counts to its end; in UTC where no zone is said.

        Raises:
            InvalidInputError: It is none.
        """
        from modelversion.past import ModelAt

        return ModelAt(self._history, moment(when, "when", end=True), self._allow)

    # ---- upkeep

    def verify(self) -> VerifyReport:
        """Check both journals and every file of every version."""
        return verify_line(self._line)

    def prune(
        self,
        *,
        keep: int,
        keep_best: tuple[str, int] | None = None,
        dry_run: bool = False,
    ) -> upkeep.PruneReport:
        """Delete old versions, but never one that an alias holds.

        Args:
            keep: How many of the newest to keep.
            keep_best: A metric and how many of its best to keep besides.
            dry_run: Only tell what would be deleted.

        Raises:
            InvalidInputError: A count is negative, or the metric has no direction.
        """
        if not isinstance(keep, int) or isinstance(keep, bool) or keep < 0:
            raise InvalidInputError(f"keep must be a number of versions, found {keep!r}")
        top: list[int] = []
        if keep_best is not None:
            metric, count = _check_best(keep_best)
            rows = select([self._history], where=None, order_by=None, limit=None)
            ranked = best(rows, metric, name=self.name, higher=None)
            top = [number for _, number in ranked[:count]]
        reason = f"prune(keep={keep}, keep_best={keep_best})"
        return upkeep.prune(self._history, keep=keep, best=top, dry_run=dry_run, reason=reason)

    def gc(self, *, older_than: timedelta = timedelta(days=1), dry_run: bool = False) -> GcReport:
        """Clear what crashed saves of this model left; see `Registry.gc`."""
        from modelversion.clearing import gc

        return gc(self._line.home, [self._line], older_than=older_than, dry_run=dry_run)


def _check_best(keep_best: Any) -> tuple[str, int]:
    match keep_best:
        case (str() as metric, int() as count) if not isinstance(count, bool) and count >= 0:
            return metric, count
    raise InvalidInputError(
        "keep_best must be a metric and a number of versions, such as ('auc', 5); found "
        f"{keep_best!r:.80}"
    )
