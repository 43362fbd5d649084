"""Places to put registries in, and an environment that says nothing about this machine."""

import os
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings

import modelversion as mv
from modelversion import trail

# Time limits of single examples only measure how busy the machine is.
settings.register_profile(
    "modelversion", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("modelversion")

_TELLING = ("MODELVERSION_", "GITHUB_", "GITLAB_", "BUILDKITE", "CI_")


class Clock:
    """A clock that goes on by a second each time it is read, and can be set."""

    def __init__(self, now=datetime(2026, 11, 1, 12, tzinfo=UTC)):
        self.now = now

    def __call__(self):
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """An environment without settings of ours and without a CI."""
    for name in list(os.environ):
        if name.startswith(_TELLING) and not name.startswith("MODELVERSION_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MODELVERSION_CACHE", "off")
    return monkeypatch


@pytest.fixture(autouse=True)
def no_bytecode(monkeypatch):
    """Modules are read from their sources.

    Python believes byte code of an earlier text where an edit kept the second and the size.
    """
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


@pytest.fixture(autouse=True)
def memory():
    """The empty store behind `memory://`, emptied again after the test."""
    wait_for_merges()
    store = _emptied()
    yield store
    wait_for_merges()
    _emptied()


@pytest.fixture(autouse=True)
def workers():
    """No pool of joblib's is left to the next test: its workers end by themselves when idle."""
    yield
    loky = sys.modules.get("joblib.externals.loky.reusable_executor")
    if loky is not None and loky._executor is not None:
        loky._executor.shutdown(wait=True, kill_workers=True)


def _emptied():
    module = sys.modules.get("fsspec.implementations.memory")
    if module is None:
        return {}
    filesystem = module.MemoryFileSystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    return filesystem.store


def wait_for_merges():
    """Wait until no merge of a journal is being written in the background."""
    for thread in threading.enumerate():
        if thread.name == "modelversion":
            thread.join()


@pytest.fixture(autouse=True)
def empty_trail(monkeypatch):
    """A process that has taken no steps yet."""
    monkeypatch.setattr(trail, "TRAIL", trail.Trail())
    return trail.TRAIL


@pytest.fixture
def merges():
    """What waits for the merges that run in the background."""
    return wait_for_merges


@pytest.fixture
def clock():
    """A clock that the test sets."""
    return Clock()


@pytest.fixture(params=["local", "memory"])
def place(request, tmp_path):
    """The URL of an empty place, once a folder and once in memory."""
    if request.param == "local":
        return str(tmp_path / "registry")
    return f"memory://{tmp_path.name}"


@pytest.fixture
def registry(tmp_path):
    """An empty registry in a local folder."""
    return mv.Registry(tmp_path / "registry", actor="ana@team")


@pytest.fixture
def churn(registry):
    """A model of three versions: auc 0.7, 0.9 and 0.8, C 1, 2 and 3."""
    for i, auc in enumerate([0.7, 0.9, 0.8], 1):
        registry.save("churn", {"weights": [i]}, params={"C": i}, metrics={"auc": auc})
    return registry["churn"]
