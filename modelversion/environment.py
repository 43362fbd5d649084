"""Where code runs: Python, platform, installed distributions; and who runs it."""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from modelversion.errors import InvalidNameError
from modelversion.records import Actor, EnvironmentRecord
from modelversion.redaction import masked, redact_url

_CI = (
    ("GITHUB_ACTIONS", "GITHUB_ACTOR", "github"),
    ("GITLAB_CI", "GITLAB_USER_LOGIN", "gitlab"),
    ("BUILDKITE", "BUILDKITE_BUILD_CREATOR", "buildkite"),
)


@functools.cache
def environment() -> EnvironmentRecord:
    """Give this process's environment, read once."""
    import platform

    return EnvironmentRecord(
        python=platform.python_version(),
        implementation=sys.implementation.name,
        platform=platform.platform(),
        packages=_packages(),
    )


def _packages() -> dict[str, str]:
    """Read name and version from the folder names of installed distributions.

    `importlib.metadata` opens each one's METADATA, which takes a thousand times as long; the
    folder name is `{name}-{version}.dist-info` by the specification of recorded projects.
    """
    found: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            if name.endswith(".dist-info"):
                project, _, version = name.removesuffix(".dist-info").rpartition("-")
                found.setdefault(project.lower().replace("_", "-"), version)
    return dict(sorted(found.items()))


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
