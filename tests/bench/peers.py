"""`make bench-peers`: the same work by mlflow, pins and bentoml, in alternation with modelversion.

Each saves a fitted scikit-learn model the way its own manual shows, with versions, into a local
folder. None of them syncs to the disk or checks digests when it loads; modelversion does both.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any, Protocol

# Telemetry off, before the first import.
os.environ.update(BENTOML_DO_NOT_TRACK="True", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="1")

import numpy as np
from measure import alternate, machine, ms, scratch, table, write_section
from training import Fitted

import modelversion as mv

MODEL = "clf"
METRICS = {"auc": 0.9}


class Peer(Protocol):
    """A model registry: the four things that are compared."""

    name: str

    def save(self, model: Any) -> None: ...
    def load(self) -> Any: ...
    def latest(self) -> object: ...
    def list(self) -> int: ...


class ModelVersion:
    name = "modelversion"

    def __init__(self, folder: Path) -> None:
        self.registry = mv.Registry(folder)

    def save(self, model: Any) -> None:
        self.registry.save(MODEL, model, params={"C": model.C}, metrics=METRICS)

    def load(self) -> Any:
        return self.registry.load(MODEL)

    def latest(self) -> object:
        return self.registry[MODEL].latest

    def list(self) -> int:
        return len(self.registry[MODEL].versions().to_pandas())


class Pins:
    name = "pins"

    def __init__(self, folder: Path) -> None:
        import pins

        folder.mkdir()
        self.board = pins.board_folder(str(folder), allow_pickle_read=True)

    def save(self, model: Any) -> None:
        self.board.pin_write(
            model,
            MODEL,
            type="joblib",
            metadata={"C": model.C, **METRICS},
            force_identical_write=True,
        )

    def load(self) -> Any:
        return self.board.pin_read(MODEL)

    def latest(self) -> object:
        return self.board.pin_meta(MODEL)

    def list(self) -> int:
        return len(self.board.pin_versions(MODEL))


class BentoML:
    name = "bentoml"

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        os.environ["BENTOML_HOME"] = str(folder)
        import bentoml

        self.models = bentoml.models

    def save(self, model: Any) -> None:
        import joblib

        with self.models.create(MODEL, metadata={"C": model.C, **METRICS}) as kept:
            joblib.dump(model, kept.path_of("model.joblib"))

    def load(self) -> Any:
        import joblib

        return joblib.load(self.models.get(f"{MODEL}:latest").path_of("model.joblib"))

    def latest(self) -> object:
        return self.models.get(f"{MODEL}:latest")

    def list(self) -> int:
        return len(self.models.list(MODEL))


class MLflow:
    name = "mlflow"

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        import mlflow
        import mlflow.sklearn

        mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
        mlflow.create_experiment("bench", artifact_location=(folder / "artifacts").as_uri())
        mlflow.set_experiment("bench")
        self.mlflow = mlflow
        self.client = mlflow.MlflowClient()

    def save(self, model: Any) -> None:
        with self.mlflow.start_run():
            self.mlflow.log_param("C", model.C)
            self.mlflow.log_metrics(METRICS)
            self.mlflow.sklearn.log_model(
                model,
                name="model",
                registered_model_name=MODEL,
                serialization_format="cloudpickle",
                # Without these it starts a process that finds them out, for seconds.
                pip_requirements=["scikit-learn"],
            )

    def load(self) -> Any:
        return self.mlflow.sklearn.load_model(f"models:/{MODEL}/latest")

    def latest(self) -> object:
        return self.client.get_latest_versions(MODEL, stages=["None"])[0]

    def list(self) -> int:
        return len(self.client.search_model_versions(f"name='{MODEL}'", max_results=10_000))


KINDS: tuple[Callable[[Path], Peer], ...] = (ModelVersion, MLflow, Pins, BentoML)


@dataclass(frozen=True)
class Sizes:
    saves: int = 30
    big: int = 512 * 2**20
    bigs: int = 3
    count: int = 1_000
    reads: int = 20


QUICK = Sizes(saves=2, big=8 * 2**20, bigs=1, count=10, reads=2)


def small(folder: Path, sizes: Sizes) -> Iterator[list[str]]:
    """Small saves; then, with `count` versions, the latest and the list of all."""
    peers = [kind(folder / f"small-{kind.__name__}") for kind in KINDS]
    fitted = Fitted()
    jobs = {peer.name: lambda p=peer: p.save(fitted.next()) for peer in peers}
    yield line("small save", alternate(jobs, sizes.saves, warm=2))
    for peer in peers:
        for _ in range(sizes.count - peer.list()):
            peer.save(fitted.next())
    jobs = {peer.name: peer.latest for peer in peers}
    yield line(f"latest of {sizes.count:,}", alternate(jobs, sizes.reads))
    jobs = {peer.name: peer.list for peer in peers}
    yield line(f"list of {sizes.count:,}", alternate(jobs, max(sizes.reads // 4, 1)))


def large(folder: Path, sizes: Sizes) -> Iterator[list[str]]:
    """A model with one large array."""
    peers = [kind(folder / f"large-{kind.__name__}") for kind in KINDS]
    model = Fitted().next()
    for peer in peers:
        peer.save(model)
    model.coef_ = np.random.default_rng(0).normal(size=(1, sizes.big // 8))
    mib = sizes.big // 2**20
    saves = {peer.name: lambda p=peer: _save_large(p, model) for peer in peers}
    found = alternate(saves, sizes.bigs, warm=0)
    yield line(f"model of {mib} MB saved", found)
    loads = {peer.name: peer.load for peer in peers}
    yield line(f"model of {mib} MB loaded", alternate(loads, sizes.bigs))


def _save_large(peer: Peer, model: Any) -> None:
    model.coef_[0, 0] += 1
    peer.save(model)


def line(what: str, found: dict[str, float]) -> list[str]:
    """Give absolute times, the others' with their ratio to ours."""
    mine = found["modelversion"]
    others = [
        f"{ms(seconds)} ({times(seconds / mine)})"
        for name, seconds in found.items()
        if name != "modelversion"
    ]
    print(what, *others, sep=" | ", flush=True)
    return [what, ms(mine), *others]


def times(ratio: float) -> str:
    return f"{ratio:,.0f} ×" if ratio >= 10 else f"{ratio:.2g} ×"


def measure(folder: Path, sizes: Sizes) -> str:
    where = machine(folder)
    rows = [*small(folder, sizes), *large(folder, sizes)]
    names = ["mlflow", "pins", "bentoml"]
    header = ["", "modelversion", *(f"{name} {installed(name)}" for name in names)]
    return "\n".join([where, "", table(header, rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the result into the docs")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--dir", help="where to work")
    given = parser.parse_args()
    if given.write and given.quick:
        parser.error("--write goes with a whole run")
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    quiet = contextlib.redirect_stderr(io.StringIO())  # two of them tell of every save
    with scratch(given.dir) as folder, contextlib.chdir(folder), quiet:
        text = measure(folder, QUICK if given.quick else Sizes())
    print(text)
    if given.write:
        write_section("peers", text)


if __name__ == "__main__":
    main()
