"""The public signatures as mypy and pyright see them; this file is checked, never run."""

from collections.abc import AsyncIterator, Generator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

import modelversion as mv
from modelversion.compare import Comparison, Evaluation
from modelversion.diff import Diff
from modelversion.lineage import Lineage
from modelversion.observing import Observation, Observations

registry = mv.Registry("somewhere", actor="ana@team", allow_pickle=True)
cache = mv.Cache("somewhere", max_bytes=10**9)
assert_type(cache.size, int)
mv.Registry("somewhere", cache=cache)
mv.Registry("somewhere", cache=False)
model = registry["churn"]
version = registry.save("churn", {"w": 1}, params={"C": 1.0}, metrics={"auc": mv.metric(0.9)})

assert_type(registry, mv.Registry)
assert_type(model, mv.Model)
assert_type(version, mv.Version)
assert_type(model[3], mv.Version)
assert_type(model.latest, mv.Version)
assert_type(model.best("auc"), mv.Version)
assert_type(model.versions(where="metrics.auc > 0.9", limit=10), mv.Versions)
assert_type(registry.search(order_by=["-metrics.auc"]), mv.Versions)
assert_type(model.versions()[0], mv.Version)
assert_type(model.versions()[:2], mv.Versions)
assert_type(model.aliases, dict[str, int])
assert_type(version.diff(model[1]), Diff)
assert_type(version.diff("production"), Diff)
assert_type(model.compare(1, "champion", version, metrics=["auc"]), Comparison)
assert_type(model.evaluate(1, version, X=[], y=[], scorer="accuracy"), Evaluation)
assert_type(version.lineage(), Lineage)
assert_type(model.observations("auc"), Observations)
assert_type(model.observations()[0], Observation)
version.observe({"auc": 0.87}, n=1200, window=("2026-11-01", "2026-11-08"), slice="EU")
assert_type(model.lineage(), Lineage)
assert_type(registry.search().lineage(), Lineage)
assert_type(registry.usage().to_html("usage.html"), Path)
assert_type(model.to_markdown(), str)
assert_type(version.to_dict(), dict[str, Any])
assert_type(version.number, int)
assert_type(version.metrics, mv.Metrics)
assert_type(version.params, Mapping[str, Any])
assert_type(mv.metric(0.9, higher_is_better=True, n=10), mv.Metric)
assert_type(mv.open_directory("x"), mv.Directory)
assert_type(mv.fingerprint([1, 2]), mv.Fingerprint)
assert_type(mv.fingerprint([1, 2]).shape, tuple[int, ...] | None)
assert_type(mv.open_directory("x").metrics, mv.Metrics)
assert_type(mv.open_directory("x").params, Mapping[str, Any])


@mv.track("churn")
def named(rows: list[int], *, C: float = 1.0) -> dict[str, float]:
    mv.log_metrics(auc=0.9)
    return {"C": C}


@mv.track
def churn_model(rows: list[int]) -> str:
    return "model"


@registry.track("churn")
def of_a_registry(rows: list[int]) -> bytes:
    return b""


class Trainer:
    """A tracked method keeps its type."""

    @mv.track("churn")
    def fit(self, rows: list[int]) -> float:
        return 1.0


assert_type(named([1], C=0.5), dict[str, float])
assert_type(churn_model([1]), str)
assert_type(of_a_registry([1]), bytes)
assert_type(Trainer().fit([1]), float)
assert_type(mv.call(named, [1]), mv.Call)
named("no rows")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

# ---- every form of @track


@mv.track("churn", ignore=["rows"], returns=("model", "metrics"), on_error="keep")
async def awaited(rows: list[int]) -> dict[str, int]:
    return {}


@mv.track("churn")
def steps(n: int) -> Generator[int, str, bytes]:
    yield n
    return b""


@mv.track("churn")
async def async_steps(n: int) -> AsyncIterator[int]:
    yield n


class Forms:
    @mv.track("churn")
    @classmethod
    def of_class(cls, n: int) -> str:
        return ""

    @staticmethod
    @mv.track("churn")
    def static(n: int) -> bytes:
        return b""


async def forms() -> None:
    assert_type(await awaited([1]), dict[str, int])
    assert_type(await mv.call(awaited, [1]), mv.Call)
    assert_type(steps(1), Generator[int, str, bytes])
    assert_type(async_steps(1), AsyncIterator[int])
    assert_type(Forms.of_class(1), str)
    assert_type(Forms().static(1), bytes)


with registry.run("churn", params={"lr": 0.1}, on_error="keep") as run:
    assert_type(run, mv.Run)
    assert_type(run.bind(len)([1]), int)
    assert_type(run.handle(), mv.RunHandle)
    for epoch in run.progress(range(3)):
        assert_type(epoch, int)
    run.log_metrics({"val/loss": 0.1}, step=1, auc=0.9)
    run.log_model({}, model="sibling")
assert_type(run.version, mv.Version | None)
assert_type(registry.run("churn").start().commit(), mv.Version | None)
assert_type(version.metrics.series("loss"), list[tuple[int, Any]])
assert_type(version.failed, str | None)
assert_type(mv.Secret("text").reveal(), str)
assert_type(version.redactions[0].path, str)
registry.save("churn", {}, not_secret=["params.token_kind"], allow_secrets=True)
registry.run("churn", not_secret=("params.token_kind",), allow_secrets=True)
registry.track("churn", not_secret=["params.token_kind"], allow_secrets=True)
mv.track("churn", not_secret=["params.token_kind"], allow_secrets=True)

# ---- steps and data


@mv.step
def features(rows: list[int], *, low: int = 0) -> tuple[list[int], str]:
    return rows, ""


@mv.step
async def awaited_step(rows: list[int]) -> bytes:
    return b""


@mv.step
def yielding_step(n: int) -> Generator[int, str, bytes]:
    yield n
    return b""


class Cleaner:
    @mv.step
    def clean(self, rows: list[int]) -> float:
        return 1.0


def read_rows(path: str, *, sep: str = ",") -> list[int]:
    return []


async def use_steps() -> None:
    assert_type(await awaited_step([1]), bytes)


assert_type(features([1], low=2), tuple[list[int], str])
assert_type(yielding_step(1), Generator[int, str, bytes])
assert_type(Cleaner().clean([1]), float)
assert_type(mv.step(read_rows)("x", sep=";"), list[int])
features("no rows")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
assert_type(mv.data("s3://raw/churn.parquet", name="train"), mv.Data)
assert_type(mv.data(Path("raw.csv"), storage_options={}).read(read_rows, sep=";"), list[int])
assert_type(mv.data("raw.csv").digest, str)
assert_type(mv.data("raw.csv").path, str)
assert_type(version.steps, mv.Steps)
assert_type(version.steps[0].name, str)
assert_type(version.steps.source(0), str | None)
assert_type(version.code, mv.Code | None)
assert version.code is not None
assert_type(version.code.entry, str)
assert_type(version.code.source("train"), str | None)
assert_type(version.code.names, tuple[str, ...])
assert_type(version.code.cells(), str | None)
assert_type(version.code.patch(), str | None)
assert_type(registry.search(data=Path("raw.csv")), mv.Versions)

# ---- everything else that is public

assert_type(registry.get("churn@champion"), mv.Version)
assert_type(registry.models(), list[mv.Model])
assert_type(list(registry), list[str])
assert_type(list(model), list[mv.Version])
assert_type(len(registry), int)
assert_type("churn" in registry, bool)
assert_type(registry.url, str)
assert_type(registry.id, str | None)
assert_type(model.name, str)
assert_type(version.ref, str)
assert_type(version.digest, str)
assert_type(version.created_at, str)
assert_type(version.type, str | None)
if version.signature is not None:
    assert_type(version.signature.features, int | None)
    assert_type(version.signature.feature_names, tuple[str, ...])
assert_type(version.description, str | None)
assert_type(version.withdrawn, str | None)
assert_type(version.higher_is_better("auc"), bool | None)
assert_type(version.parents, tuple[str, ...])
assert_type(version.tags, Mapping[str, Any])
assert_type(version.aliases, list[str])
assert_type(version.notes, list[Mapping[str, str]])
assert_type(version.open("roc.png").read(), bytes)
assert_type(version.download("here"), Path)
assert_type(version.verify().ok, bool)
assert_type(bool(registry.verify()), bool)
assert_type(registry.checkpoint(), mv.Checkpoint)
live = model.follow("champion", every=30, on_change=lambda value, version: version.number)
assert_type(live, mv.Live)
assert_type(live.get(), tuple[Any, mv.Version])
assert_type(live.version, mv.Version)
assert_type(live.status.problem, str | None)
assert_type(mv.Checkpoint.parse("text").digest, str)
registry.verify(since=registry.checkpoint())
registry.verify(since=Path("checkpoint.txt"))
assert_type(registry.copy("churn:3", to=registry), mv.Version)
assert_type(registry.copy(version, to=registry), mv.Version)
assert_type(registry.copy(model, to=registry), list[mv.Version])
assert_type(registry.copy(["churn:3", version], to=registry), list[mv.Version])
assert_type(registry.fork(reason="a sandbox"), str)
assert_type(registry.adopt(version), mv.Version)
version.promote("production", to=registry, reason="release")
assert_type(registry.events(since="now", limit=10).cursor, str)
for happened in registry.events():
    assert_type(happened.kind, str)
    assert_type(happened.number, int | None)
registry.off(registry.on("version.committed", lambda event: event.ref))
report = registry.audit(models=["churn"], since="2026-03-01", until="2026-03-31")
assert_type(report.to_html("march.html"), Path)
assert_type(report.to_csv(), str)
assert_type(len(report.overrides), int)
assert_type(report.checkpoint, mv.Checkpoint)
assert_type(registry.usage().bytes, int)
assert_type(registry.gc(older_than=timedelta(1), dry_run=True).removed, tuple[str, ...])
assert_type(model.prune(keep=3, keep_best=("auc", 1)).deleted, tuple[int, ...])
assert_type(model.versions().to_dict(), dict[str, list[Any]])
assert_type(mv.call(named, [1]).version, mv.Version | None)
assert_type(mv.last_version(), mv.Version | None)

# ---- stages, policies and gates

gate = mv.gates.not_worse_than("production", "auc", by=0.002)
gate = mv.gates.observed("auc", at_least=0.8, n=100, max_age=timedelta(days=7), slice="EU")
assert_type(gate, mv.gates.Gate)
assert_type(mv.gates.any_of(gate, "acme.gates:is_fair"), mv.gates.Gate)
policy = registry.set_policy(
    "production", after="staging", soak=timedelta(1), gates=[gate, "a:b"], allow_override=False
)
assert_type(policy.approvals, int)
assert_type(registry.policies["production"].after, str | None)
assert_type(registry.stages, tuple[str, ...])
registry.set_stages(["lab", "live"], shared=["lab"])
assert_type(model.stages, dict[str, list[int]])
assert_type(version.stages, list[str])
checked = version.check("production")
assert_type(checked.passed, bool)
assert_type(checked.failed[0].says, str)
decision = version.promote("production", reason="r", if_current=None, override=True)
assert_type(decision.position, int)
assert_type(decision.override, bool)
assert_type(decision.explain().agrees, bool)
version.approve("production", reason="r")
version.reject("production", reason="r")
version.withdraw_approval("production", reason="r")
assert_type(model.rollback("production", reason="r", to=version, dry_run=True).number, int)
model.clear_stage("production", reason="r", version=3)
model.freeze("production", reason="r", until="2026-12-01")
model.unfreeze("production", reason="r")
assert_type(model.history("production").intervals()[0].until, str | None)
assert_type(model.at("2026-11-01")["production"], mv.Version)
assert_type(registry.at("2026-11-01")["churn"].aliases, dict[str, int])
version.promote("production", if_current="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.rollback("production")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

save_error: mv.ModelVersionError = mv.SaveError("failed", value=1)
assert_type(mv.SaveError("failed").spooled_at, str | None)
assert_type(mv.errors.UntrustedPickleError("no").globals, tuple[str, ...])


@mv.track("churn")
async def asynchronous(rows: list[int]) -> dict[str, float]:
    return {}


class Other:
    """Tracked methods of each kind, bare and by name."""

    @mv.track
    def churn_model(self, rows: list[int]) -> float:
        return 1.0

    @classmethod
    @mv.track("churn")
    def of_class(cls, rows: list[int]) -> str:
        return ""

    @staticmethod
    @registry.track("churn")
    def of_none(rows: list[int]) -> bytes:
        return b""


async def use() -> None:
    """Await what is tracked as one awaits the function."""
    assert_type(await asynchronous([1]), dict[str, float])


assert_type(Other().churn_model([1]), float)
assert_type(Other.of_class([1]), str)
assert_type(Other.of_none([1]), bytes)

mv.Registry(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
registry.save("churn", 1, metrics=[1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
model.versions(limit="3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
version.withdraw()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
mv.track(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
version.number = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
