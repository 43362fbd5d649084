"""Where code runs: Python, machine, installed distributions, lock files; and who runs it."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from modelversion.environment import _machine, _packages
from modelversion.errors import InvalidNameError
from modelversion.records import Actor, EnvironmentRecord, LockRecord
from modelversion.redaction import masked, redact_url
from modelversion.schema import Json, evolve

_CI = (
    ("GITHUB_ACTIONS", "GITHUB_ACTOR", "github"),
    ("GITLAB_CI", "GITLAB_USER_LOGIN", "gitlab"),
    ("BUILDKITE", "BUILDKITE_BUILD_CREATOR", "buildkite"),
)
_SEED = re.compile(r"(?:^|[_./-])(?:seeds?|random_?state|random_?seed|rng_?seed)$", re.IGNORECASE)


def environment() -> EnvironmentRecord:
    """Give this process's environment.

    It is read once; distributions again when a folder of them has changed, lock files when they
    have.
    """
    gpus = _machine.gpus()
    return evolve(
        _standing(_stamps(sys.path)),
        lock_files=_lock_files(os.getcwd()),
        peak_memory_bytes=_machine.peak_memory_bytes(),
        variables={name: masked(value) for name, value in _machine.variables().items()},
        gpus=gpus.names,
        gpu_driver=gpus.driver,
        cuda=gpus.cuda,
    )


def _stamps(places: list[str]) -> tuple[tuple[str, int], ...]:
    """Give what changes when something is installed, removed or replaced; a stat each."""
    found = []
    for place in places:
        try:
            found.append((place, os.stat(place or ".").st_mtime_ns))
        except (OSError, ValueError, TypeError):
            continue
    return tuple(found)


@functools.lru_cache(maxsize=1)
def _standing(folders: tuple[tuple[str, int], ...]) -> EnvironmentRecord:
    import platform
    import socket

    versions, origins = _packages.distributions([folder for folder, _ in folders])
    return EnvironmentRecord(
        python=platform.python_version(),
        implementation=sys.implementation.name,
        platform=_machine.platform_name(),
        packages=versions,
        installed_from=origins,
        host=_printable(socket.gethostname()),
        cpu=_machine.cpu(),
        cores=_machine.cores(),
        memory_bytes=_machine.memory_bytes(),
    )


def _lock_files(start: str) -> tuple[LockRecord, ...]:
    folders = _lock_folders(start)
    places = _lock_places(_stamps(folders))
    return _lock_records(start, _stamps(places))


# A lock file is looked for when a folder has changed, and read when it has itself.
_lock_folders = functools.lru_cache(maxsize=8)(_packages.lock_folders)


@functools.lru_cache(maxsize=8)
def _lock_places(folders: tuple[tuple[str, int], ...]) -> list[str]:
    return _packages.lock_places([folder for folder, _ in folders])


@functools.lru_cache(maxsize=8)
def _lock_records(start: str, places: tuple[tuple[str, int], ...]) -> tuple[LockRecord, ...]:
    found = (_packages.lock_record(place, start) for place, _ in places)
    return tuple(record for record in found if record is not None)


def seeds(params: Mapping[str, Any]) -> Json:
    """Give the params that are named as seeds: numbers, also those one level down."""
    nested = {
        f"{name}.{inner}": value
        for name, values in params.items()
        if isinstance(values, Mapping)
        for inner, value in values.items()
    }
    return {n: v for n, v in {**params, **nested}.items() if _SEED.search(n) and _is_seed(v)}


def _is_seed(value: Any) -> bool:
    values = value if isinstance(value, list) and len(value) <= 10 else [value]
    return all(isinstance(v, int) and not isinstance(v, bool) for v in values) and bool(values)


# ---- who acts ------------------------------------------------------------------------------------


def find_actor(given: str | None) -> Actor:
    """Tell who acts: the name given, `$MODELVERSION_ACTOR`, the CI's actor, or user@host.

    All of these are self-declared; nothing proves them.
    """
    if given is not None:
        return Actor(name=masked(_check_actor(given)), source="given")
    named = os.environ.get("MODELVERSION_ACTOR")
    if named:
        return Actor(name=masked(_check_actor(named)), source="env")
    return _ci_actor() or Actor(name=_user_at_host(), source="os")


def _check_actor(name: Any) -> str:
    """Refuse a name that a journal could not hold.

    Raises:
        InvalidNameError: It is no text of 1 to 200 printable characters.
    """
    if not isinstance(name, str) or not 0 < len(name.strip()) <= 200 or not name.isprintable():
        raise InvalidNameError(
            f"actor must be 1 to 200 printable characters, found {name!r:.80}; give "
            "Registry(actor=...) or set MODELVERSION_ACTOR"
        )
    return name


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:200] or "unknown"


def _ci_actor() -> Actor | None:
    for mark, actor, service in _CI:
        if os.environ.get(mark):
            name = masked(_printable(os.environ.get(actor) or service))
            return Actor(name=name, source="ci", run_url=_run_url())
    return None


def _run_url() -> str | None:
    url = _ci_url()
    return url and masked(redact_url(url)[0])


def _ci_url() -> str | None:
    env = os.environ
    if env.get("GITHUB_RUN_ID"):
        repository = f"{env.get('GITHUB_SERVER_URL', '')}/{env.get('GITHUB_REPOSITORY', '')}"
        return f"{repository}/actions/runs/{env['GITHUB_RUN_ID']}"
    return env.get("CI_JOB_URL") or env.get("BUILDKITE_BUILD_URL")


@functools.cache
def _user_at_host() -> str:
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid{os.getuid()}" if hasattr(os, "getuid") else "unknown"
    return _printable(f"{user}@{socket.gethostname()}")
