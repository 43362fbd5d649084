"""The public signatures as mypy and pyright see them; this file is checked, never run."""

from collections.abc import Mapping
from typing import Any, assert_type

import modelversion as mv

registry = mv.Registry("somewhere", actor="ana@team", allow_pickle=True)
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
assert_type(version.number, int)
assert_type(version.metrics, Mapping[str, float])
assert_type(version.params, Mapping[str, Any])
assert_type(mv.metric(0.9, higher_is_better=True, n=10), mv.Metric)
assert_type(mv.open_directory("x"), mv.Directory)


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
