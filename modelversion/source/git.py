"""The git repository around the code: commit, branch, remote, and what differs from the commit.

It is read in the background, from the start of a run, and joined at the commit. Programs that a
repository's configuration names (hooks, monitors, filters, drivers, pagers) are never run.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

SECONDS = 5.0
FRESH_SECONDS = 5.0
AFTER_TIMEOUT_SECONDS = 60.0
MAX_PATCH = 256 * 1024
MAX_FILE_PATCH = 64 * 1024
MAX_READ = 16 * MAX_PATCH
MAX_NAMES = 100
_HARMLESS = (
    "--no-pager",
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.quotePath=false"),
)
_PLAIN_DIFF = (
    "--no-ext-diff",
    "--no-textconv",
    "--no-color",
    "--no-renames",
    "--no-relative",
    "--ignore-submodules=dirty",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)
_DRIVER = re.compile(r"filter\.(.+)\.(clean|smudge|process|required)")


@attrs.frozen(kw_only=True)
class GitState:
    """What git told; the fields are those of the record, `patch` is the text, file by file."""

    commit: str | None = None
    branch: str | None = None
    remote: str | None = None
    dirty: bool | None = None
    patch: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    more: int | None = None
    problem: str | None = None


class _GitError(Exception):
    """Git did not tell, and why."""


# ---- in the background ---------------------------------------------------------------------------


class Reading:
    """The state of a repository, being read."""

    def __init__(self, top: Path) -> None:
        self.pid = os.getpid()
        self.stamp = _stamp(top)
        self.began = time.monotonic()
        self._top = top
        self._state: GitState | None = None
        self._thread = threading.Thread(target=self._read, name="modelversion-git", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as e:  # nor could a git that hangs be ended
            self._state = _by_hand(top, f"git was not asked: {e}")

    def _read(self) -> None:
        try:
            self._state = read(self._top, deadline=self.began + SECONDS)
        except (OSError, ValueError, subprocess.SubprocessError) as e:
            self._state = _by_hand(self._top, f"{type(e).__name__}: {e}"[:200])

    def result(self) -> GitState:
        """Wait for the state, at most until the deadline."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, self.began + SECONDS + 0.5 - time.monotonic()))
        return self._state or _by_hand(self._top, _too_slow())

    def holds(self, top: Path) -> bool:
        """Tell whether it may be taken again: the same commit and index, and read just now."""
        state = self._state
        slow = state is not None and state.problem == _too_slow()
        age = time.monotonic() - self.began
        young = age < (AFTER_TIMEOUT_SECONDS if slow else FRESH_SECONDS)
        return self.pid == os.getpid() and young and self.stamp == _stamp(top)


_READINGS: dict[Path, Reading] = {}


def start_reading(folder: str) -> Reading | None:
    """Begin to read the repository that a folder lies in; None if it lies in none.

    What was read in the last seconds is taken again unless the commit or the index changed.
    """
    top = _top(folder)
    if top is None:
        return None
    known = _READINGS.get(top)
    if known is None or not known.holds(top):
        known = _READINGS[top] = Reading(top)
    return known


def _top(folder: str) -> Path | None:
    """Find the working tree above a folder without asking git."""
    here = os.path.abspath(folder)
    while not os.path.lexists(os.path.join(here, ".git")):
        above = os.path.dirname(here)
        if above == here:
            return None
        here = above
    return Path(here)


def _stamp(top: Path) -> tuple[object, ...]:
    """Give what changes when the commit, the branch or the index does; a few stats."""
    git = _git_folder(top)
    if git is None:
        return ()
    head = _text(git / "HEAD")
    named = head.removeprefix("ref: ").strip()
    return (head, *(_status(f"{git}/{name}") for name in ("index", "logs/HEAD", named)))


def _status(place: str) -> tuple[int, ...]:
    try:
        found = os.stat(place)
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


# ---- without git ---------------------------------------------------------------------------------


def _git_folder(top: Path) -> Path | None:
    """Give a working tree's own git folder; in worktrees and submodules a file names it."""
    place = top / ".git"
    if os.path.isdir(place):
        return place
    named = _text(place)
    return top / named[8:].strip() if named.startswith("gitdir: ") else None


def _common(git: Path) -> Path:
    named = _text(git / "commondir").strip()
    return git / named if named else git


def _text(place: Path) -> str:
    try:
        with open(place, "rb", buffering=0) as file:
            return file.read(2**20).decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _by_hand(top: Path, problem: str) -> GitState:
    """Read the commit and the branch from the files, where git tells nothing."""
    git = _git_folder(top)
    head = "" if git is None else _text(git / "HEAD").strip()
    if git is None or not head.startswith("ref: "):
        return GitState(commit=_commit(head), problem=problem)
    name = head.removeprefix("ref: ")
    commit = _commit(_text(_common(git) / name)) or _packed(_common(git), name)
    return GitState(commit=commit, branch=name.removeprefix("refs/heads/"), problem=problem)


def _commit(text: str) -> str | None:
    return text.strip() if re.fullmatch(r"[0-9a-f]{40,64}", text.strip()) else None


def _packed(common: Path, name: str) -> str | None:
    lines = (line.split(" ") for line in _text(common / "packed-refs").splitlines())
    return next((_commit(line[0]) for line in lines if line[1:] == [name]), None)


# ---- with git ------------------------------------------------------------------------------------


def read(top: Path, *, deadline: float) -> GitState:
    """Ask git for the state of a working tree."""
    git = _Git(top, deadline)
    try:
        settings = _settings(git)
        git.off = tuple(_switched_off(settings))
        status = git.ask("status", *_STATUS)
        return _state(git, settings, status)
    except _GitError as e:
        return _by_hand(top, str(e))


_STATUS = (
    "--porcelain=v2",
    "--branch",
    "-z",
    "--untracked-files=normal",
    "--ignore-submodules=dirty",
    "--no-renames",
)


@attrs.define
class _Git:
    """Runs git in a working tree, until a deadline; `off` are further settings."""

    top: Path
    deadline: float
    off: tuple[str, ...] = ()

    def ask(self, *command: str, most: int = MAX_READ) -> str:
        """Give what git prints.

        Raises:
            _GitError: There is no git, it refuses the repository, fails, or takes too long.
        """
        output, errors, code = self._run(command, most)
        if code not in (0, None):
            raise _GitError(_refusal(errors, code))
        return output.decode("utf-8", "surrogateescape")

    def _run(self, command: tuple[str, ...], most: int) -> tuple[bytes, str, int | None]:
        try:
            running = subprocess.Popen(
                ["git", *_HARMLESS, *self.off, *command],
                cwd=self.top,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError) as e:
            raise _GitError("git is not installed") from e
        with running, _killed_after(running, self.deadline) as late:
            assert running.stdout is not None and running.stderr is not None
            output = running.stdout.read(most + 1)
            if len(output) > most:
                _kill(running)
                return output[:most], "", None
            errors = running.stderr.read(2000).decode("utf-8", "replace")
            code = running.wait()
        if late.is_set():
            raise _GitError(_too_slow())
        return output, errors, code


@contextlib.contextmanager
def _killed_after(running: subprocess.Popen[bytes], deadline: float) -> Iterator[threading.Event]:
    """Kill a process, and all that it started, at the deadline."""
    late = threading.Event()

    def kill() -> None:
        late.set()
        _kill(running)

    timer = threading.Timer(max(0.0, deadline - time.monotonic()), kill)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


def _kill(running: subprocess.Popen[bytes]) -> None:
    if running.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(running.pid, signal.SIGKILL)
        else:
            running.kill()


def _environment() -> dict[str, str]:
    """Give git an environment in which it finds the repository by folder and asks nobody."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith("GIT_") or _is_config(n)}
    return {
        **kept,
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C",
    }


def _is_config(name: str) -> bool:
    """Tell whether a variable carries settings: CI says there which folders are safe."""
    return name.startswith(("GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_"))


def _refusal(errors: str, code: int | None) -> str:
    if "dubious ownership" in errors:
        return "git refuses the repository: it belongs to another user (dubious ownership)"
    first = (errors.strip().splitlines() or ["without a word"])[0]
    return f"git ended with {code}: {first[:200]}"


def _too_slow() -> str:
    return f"git did not answer within {SECONDS:g} s"


def _settings(git: _Git) -> list[tuple[str, str]]:
    """List the settings that matter here: remotes, and which programs are filters."""
    try:
        text = git.ask("config", "--null", "--get-regexp", r"^(remote|branch|filter)\.")
    except _GitError as e:
        if str(e).startswith("git ended with 1:"):
            return []  # there are none
        raise
    pairs = (item.partition("\n") for item in text.split("\0") if item)
    return [(name, value) for name, _, value in pairs]


def _switched_off(settings: list[tuple[str, str]]) -> Iterator[str]:
    """Give the options under which no filter of the configuration runs."""
    for name, _ in settings:
        found = _DRIVER.fullmatch(name)
        if found is None:
            continue
        if "=" in name:
            raise _GitError(f"the repository has a filter that cannot be switched off: {name[:99]}")
        off = "false" if found[2] == "required" else ""
        yield from ("-c", f"filter.{found[1]}.{found[2]}={off}")


def _state(git: _Git, settings: list[tuple[str, str]], status: str) -> GitState:
    head: dict[str, str] = {}
    changed, untracked = [], []
    for line in status.split("\0"):
        if line.startswith("# "):
            name, _, value = line[2:].partition(" ")
            head[name] = value
        elif line.startswith("? "):
            untracked.append(_clean(line[2:]))
        elif line:
            changed.append(_clean(line.split(" ", 10 if line[0] == "u" else 8)[-1]))
    commit, branch = _commit(head.get("branch.oid", "")), head.get("branch.head")
    branch = None if branch == "(detached)" else branch
    patch, left_out = ((), changed) if commit is None else _patch(git, changed)
    more = sum(max(0, len(names) - MAX_NAMES) for names in (changed, untracked))
    return GitState(
        commit=commit,
        branch=branch,
        remote=_remote(dict(settings), branch),
        dirty=bool(changed),
        patch=patch,
        changed=tuple(changed[:MAX_NAMES]),
        left_out=tuple(left_out[:MAX_NAMES]),
        untracked=tuple(untracked[:MAX_NAMES]),
        more=more or None,
    )


def _clean(name: str) -> str:
    """Give a file name as text that can be stored, whatever its bytes are."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _remote(settings: dict[str, str], branch: str | None) -> str | None:
    name = settings.get(f"branch.{branch}.remote", "origin")
    named = settings.get(f"remote.{name}.url")
    urls = [value for key, value in settings.items() if re.fullmatch(r"remote\..+\.url", key)]
    url = named or (urls[0] if len(urls) == 1 else None)
    return None if url is None else without_user(url)


def without_user(url: str) -> str:
    """Take user, password, query and fragment out of a URL, or the user out of `user@host:path`."""
    address = re.match(r"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)([^?#]*)", url)
    if address is None:
        return re.sub(r"^[^/@:]+@(?=[^/]*:)", "", url)
    return address[1] + address[2].rpartition("@")[2] + address[3]


# ---- the patch -----------------------------------------------------------------------------------


def _patch(git: _Git, changed: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Give the changes against the commit, and the files whose changes are too much or binary."""
    if not changed:
        return (), []
    parts = _parts(git)
    kept, size = [], 0
    for part in parts:
        if _is_kept(part) and size + len(part) <= MAX_PATCH:
            kept.append(part)
            size += len(part)
    shown = {_path(part) for part in kept}
    left_out = [name for name in changed if name not in shown]
    return tuple(_clean(part) for part in kept), left_out


def _parts(git: _Git, without: tuple[str, ...] = (), *, more: int = 5) -> list[str]:
    """Give the patch file by file; where it was cut, again without the files that filled it."""
    outside = [f":(top,exclude,literal){name}" for name in without]
    text = git.ask("diff", *_PLAIN_DIFF, "HEAD", "--", *outside)
    parts = re.split(r"^(?=diff --git )", text, flags=re.MULTILINE)[1:]
    if len(text.encode("utf-8", "surrogateescape")) < MAX_READ:
        return parts
    too_long = tuple(_path(part) for part in parts if len(part) > MAX_FILE_PATCH)
    parts = parts[:-1]  # it was cut in the middle of one
    if too_long and more:
        with contextlib.suppress(_GitError):
            return _parts(git, (*without, *too_long), more=more - 1)
    return parts


def _is_kept(part: str) -> bool:
    binary = re.search(r"^Binary files .* differ$", part, re.MULTILINE)
    return len(part) <= MAX_FILE_PATCH and binary is None


def _path(part: str) -> str:
    """Give the file that a part of a patch changes."""
    for line in part.splitlines():
        for mark in ("+++ ", "--- "):
            name = _unquoted(line[4:].rstrip("\t")) if line.startswith(mark) else ""
            if name.startswith(("a/", "b/")):
                return _clean(name[2:])
    first = part.split("\n", 1)[0].removeprefix("diff --git ")
    return _clean(_unquoted(first[: (len(first) - 1) // 2])[2:])


def _unquoted(name: str) -> str:
    r"""Undo the quotes that git puts around a name with a control character: `"b/a\tb"`."""
    if not name.startswith('"'):
        return name
    raw, _ = codecs.escape_decode(name[1:-1].encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")
