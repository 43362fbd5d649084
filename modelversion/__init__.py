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
    from modelversion.errors import ModelVersionError, SaveError
    from modelversion.loading import Directory, open_directory
    from modelversion.metrics import Metric, metric
    from modelversion.model import Model
    from modelversion.registry import Registry
    from modelversion.table import Versions
    from modelversion.tracking import Call, call, last_version, log_metrics, track
    from modelversion.version import Version

__version__ = "0.1.0.dev0"

_HOMES = {
    "Call": "tracking",
    "Directory": "loading",
    "Metric": "metrics",
    "Model": "model",
    "ModelVersionError": "errors",
    "Registry": "registry",
    "SaveError": "errors",
    "Version": "version",
    "Versions": "table",
    "call": "tracking",
    "last_version": "tracking",
    "log_metrics": "tracking",
    "metric": "metrics",
    "open_directory": "loading",
    "track": "tracking",
}

__all__ = [
    "Call",
    "Directory",
    "Metric",
    "Model",
    "ModelVersionError",
    "Registry",
    "SaveError",
    "Version",
    "Versions",
    "call",
    "errors",
    "last_version",
    "load",
    "log_metrics",
    "metric",
    "open_directory",
    "track",
]


def load(reference: str, *, mmap: bool = False, allow_pickle: Any = None) -> Any:
    """Load the object that a reference names from the default registry; see `Registry.load`."""
    from modelversion.registry import Registry

    return Registry().load(reference, mmap=mmap, allow_pickle=allow_pickle)


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "errors":
        return import_module("modelversion.errors")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'modelversion' has no attribute {name!r}")
    value = getattr(import_module(f"modelversion.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
