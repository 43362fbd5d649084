"""Model versioning in a folder or a bucket: save, load, compare, audit; no server.

>>> import modelversion as mv
>>> registry = mv.Registry("memory://readme")
>>> version = registry.save("churn", {"weights": [0.1, 0.7]}, metrics={"auc": 0.91})
>>> version.ref
'churn:1'
>>> registry.load("churn:1")
{'weights': [0.1, 0.7]}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelversion import errors, gates
    from modelversion.checkpoint import Checkpoint
    from modelversion.code import Code
    from modelversion.default import load, track
    from modelversion.errors import ModelVersionError, SaveError
    from modelversion.fingerprints import Fingerprint, fingerprint
    from modelversion.follow import Live
    from modelversion.graph import Steps
    from modelversion.handle import RunHandle
    from modelversion.inputs import Data, data
    from modelversion.loading import Directory, open_directory
    from modelversion.metrics import Metric, Metrics, metric
    from modelversion.mode import disabled
    from modelversion.model import Model
    from modelversion.registry import Registry
    from modelversion.run import Run
    from modelversion.secret import Secret
    from modelversion.steps import step
    from modelversion.storage.cache import Cache
    from modelversion.table import Versions
    from modelversion.tracking import (
        Call,
        call,
        last_version,
        log_artifact,
        log_data,
        log_metric,
        log_metrics,
        log_model,
        log_param,
        log_params,
    )
    from modelversion.version import Version

__version__ = "0.1.0.dev0"

_HOMES = {
    "Cache": "storage.cache",
    "Call": "tracking",
    "Checkpoint": "checkpoint",
    "Code": "code",
    "Data": "inputs",
    "Directory": "loading",
    "Fingerprint": "fingerprints",
    "Live": "follow",
    "Metric": "metrics",
    "Metrics": "metrics",
    "Model": "model",
    "ModelVersionError": "errors",
    "Registry": "registry",
    "Run": "run",
    "RunHandle": "handle",
    "SaveError": "errors",
    "Secret": "secret",
    "Steps": "graph",
    "Version": "version",
    "Versions": "table",
    "call": "tracking",
    "data": "inputs",
    "disabled": "mode",
    "fingerprint": "fingerprints",
    "last_version": "tracking",
    "load": "default",
    "log_artifact": "tracking",
    "log_data": "tracking",
    "log_metric": "tracking",
    "log_metrics": "tracking",
    "log_model": "tracking",
    "log_param": "tracking",
    "log_params": "tracking",
    "metric": "metrics",
    "open_directory": "loading",
    "step": "steps",
    "track": "default",
}

__all__ = [
    "Cache",
    "Call",
    "Checkpoint",
    "Code",
    "Data",
    "Directory",
    "Fingerprint",
    "Live",
    "Metric",
    "Metrics",
    "Model",
    "ModelVersionError",
    "Registry",
    "Run",
    "RunHandle",
    "SaveError",
    "Secret",
    "Steps",
    "Version",
    "Versions",
    "call",
    "data",
    "disabled",
    "errors",
    "fingerprint",
    "gates",
    "last_version",
    "load",
    "log_artifact",
    "log_data",
    "log_metric",
    "log_metrics",
    "log_model",
    "log_param",
    "log_params",
    "metric",
    "open_directory",
    "step",
    "track",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("errors", "gates"):
        return import_module(f"modelversion.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'modelversion' has no attribute {name!r}")
    value = getattr(import_module(f"modelversion.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
