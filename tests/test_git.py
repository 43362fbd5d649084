"""Git around the code: what is recorded, in every kind of repository, and what is never run."""

import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import modelversion as mv
from modelversion.source import git

WHO = ["-c", "user.name=ana", "-c", "user.email=ana@team", "-c", "init.defaultBranch=main"]


def run(folder, *command, **more):
    """Run git as a user would."""
    done = subprocess.run(
        ["git", *WHO, *command], cwd=folder, capture_output=True, text=True, check=True, **more
    )
    return done.stdout.strip()


def commit(folder, **files):
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    run(folder, "add", "-A")
    run(folder, "commit", "-q", "-m", "change")
    return run(folder, "rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home without settings, and no readings of other tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(git, "_READINGS", {})


@pytest.fixture
def repo(tmp_path):
    """A repository with one commit of train.py."""
    folder = tmp_path / "repo"
    folder.mkdir()
    run(folder, "init", "-q")
    commit(folder, train__py="rate = 1\n")
    return folder


def state(folder):
    return git.read(folder, deadline=time.monotonic() + 60)


# ---- what is recorded


def test_a_clean_repository(repo):
    """Commit and branch, and nothing that differs."""
    found = state(repo)

    assert found.commit == run(repo, "rev-parse", "HEAD")
    assert found.branch == "main"
    assert found.dirty is False
    assert found.patch == ()
    assert found.remote is None
    assert found.problem is None


def test_changes_are_a_patch_that_applies(repo, tmp_path):
    """Staged and not staged, new, removed, of names with spaces and umlauts; others by name."""
    commit(repo, **{"old__py": "old\n", "with space__py": "a\n", "größe__py": "a\n"})
    (repo / "train.py").write_text("rate = 2\n")
    (repo / "größe.py").write_text("b\n")
    (repo / "with space.py").write_text("b\n")
    (repo / "tab\there.py").write_text("new\n")
    run(repo, "add", "-A")
    (repo / "old.py").unlink()
    (repo / "notes.txt").write_text("untracked\n")

    found = state(repo)

    assert found.dirty is True
    assert set(found.changed) == {
        "train.py",
        "größe.py",
        "with space.py",
        "old.py",
        "tab\there.py",
    }
    assert found.left_out == ()
    assert found.untracked == ("notes.txt",)
    clone = tmp_path / "clone"
    run(tmp_path, "clone", "-q", str(repo), str(clone))
    run(clone, "apply", "-", input="".join(found.patch))
    assert (clone / "train.py").read_text() == "rate = 2\n"
    assert (clone / "größe.py").read_text() == "b\n"
    assert not (clone / "old.py").exists()


def test_what_is_too_large_or_binary_is_left_out_by_name(repo, monkeypatch):
    """And the rest is still there and applies."""
    (repo / "data.bin").write_bytes(bytes(range(256)) * 40)
    (repo / "large.txt").write_text("line\n" * 100_000)
    (repo / "small.txt").write_text("small\n")
    run(repo, "add", "-A")

    found = state(repo)

    assert found.left_out == ("data.bin", "large.txt")
    assert found.changed == ("data.bin", "large.txt", "small.txt")
    assert "+small\n" in "".join(found.patch)
    assert len("".join(found.patch)) < 1000
    monkeypatch.setattr(git, "MAX_READ", 200_000)
    assert "data.bin" not in "".join(state(repo).patch)
    assert set(state(repo).left_out) >= {"data.bin", "large.txt"}
    monkeypatch.setattr(git, "MAX_NAMES", 2)
    assert state(repo).more == 1


def test_files_that_are_too_large_crowd_out_no_others(repo, monkeypatch):
    """Git tells them in the order of their names, and is read only so far."""
    monkeypatch.setattr(git, "MAX_READ", 200_000)
    for name in ("a.csv", "b.csv", "c.csv"):
        (repo / name).write_text("1,2,3\n" * 100_000)
    (repo / "train.py").write_text("rate = 2\n")
    run(repo, "add", "-A")

    found = state(repo)

    assert found.left_out == ("a.csv", "b.csv", "c.csv")
    assert "+rate = 2\n" in "".join(found.patch)


def test_a_detached_head(repo):
    """There is a commit and no branch."""
    run(repo, "checkout", "-q", "--detach")

    assert state(repo).branch is None
    assert state(repo).commit == run(repo, "rev-parse", "HEAD")


def test_a_repository_without_a_commit(tmp_path):
    """What is staged is named, and there is nothing to compare with."""
    run(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("a\n")
    run(tmp_path, "add", "a.py")

    found = state(tmp_path)

    assert (found.commit, found.branch) == (None, "main")
    assert found.changed == found.left_out == ("a.py",)


def test_an_unmerged_file_is_changed(repo):
    """In the middle of a merge."""
    run(repo, "checkout", "-q", "-b", "other")
    commit(repo, train__py="rate = 2\n")
    run(repo, "checkout", "-q", "main")
    commit(repo, train__py="rate = 3\n")
    with pytest.raises(subprocess.CalledProcessError):
        run(repo, "merge", "other")

    assert state(repo).changed == ("train.py",)


def test_worktrees_and_submodules(repo, tmp_path):
    """The nearest one counts; what changed inside a submodule is the submodule's."""
    tree = tmp_path / "tree"
    run(repo, "worktree", "add", "-q", "-b", "side", str(tree))
    outer = tmp_path / "outer"
    outer.mkdir()
    run(outer, "init", "-q")
    run(outer, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(repo), "sub")
    run(outer, "commit", "-q", "-m", "sub")
    (outer / "sub" / "train.py").write_text("rate = 9\n")

    side = git.start_reading(str(tree)).result()
    inner = git.start_reading(str(outer / "sub")).result()
    around = git.start_reading(str(outer)).result()

    assert (side.branch, side.dirty, side.problem) == ("side", False, None)
    assert inner.changed == ("train.py",)
    assert inner.commit == run(repo, "rev-parse", "main")
    assert around.dirty is False
    run(outer / "sub", "checkout", "-q", "-f", "--detach")
    commit(outer / "sub", train__py="rate = 10\n")
    assert "Subproject commit" in "".join(state(outer).patch)


@pytest.mark.parametrize("bare", [True, False])
def test_no_repository_is_nothing_to_record(tmp_path, bare):
    """Also in a bare one, which has no files that code could be in."""
    if bare:
        run(tmp_path, "init", "-q", "--bare")

    assert git.start_reading(str(tmp_path)) is None


def test_the_remote_of_the_branch_counts(repo):
    """Else the one named origin, else the only one."""
    run(repo, "remote", "add", "up", "https://example.org/up.git")
    assert state(repo).remote == "https://example.org/up.git"
    run(repo, "remote", "add", "origin", "https://example.org/origin.git")
    assert state(repo).remote == "https://example.org/origin.git"
    run(repo, "config", "branch.main.remote", "up")

    assert state(repo).remote == "https://example.org/up.git"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ana:s3cr3t@example.org/a.git", "https://example.org/a.git"),
        ("https://ghp_token@example.org:8443/a.git?token=x#y", "https://example.org:8443/a.git"),
        ("ssh://git@example.org/a.git", "ssh://example.org/a.git"),
        ("git@example.org:team/a.git", "example.org:team/a.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
        ("https://[::1]:bad@@/x", "https:///x"),
    ],
)
def test_a_remote_has_no_secrets(repo, url, shown):
    """User, password and query are no part of what is recorded."""
    run(repo, "remote", "add", "origin", url)

    assert state(repo).remote == shown


def test_a_version_records_it(repo, tmp_path):
    """Commit, branch and patch are read back; the patch is no part of a repeat."""
    script = """
        import sys
        import modelversion as mv
        registry = mv.Registry(sys.argv[1])
        @mv.track("churn", registry=registry)
        def train():
            return {"w": 1}
        train()
    """
    (repo / "train.py").write_text(textwrap.dedent(script))
    registry = mv.Registry(tmp_path / "registry")

    def ran():
        subprocess.run([sys.executable, "train.py", registry.url], cwd=repo, check=True)
        return registry.get("churn").code

    code = ran()
    (repo / "other.txt").write_text("x")
    run(repo, "add", "-A")
    again = ran()

    assert code.git.commit == run(repo, "rev-parse", "HEAD")
    assert code.git.changed == ("train.py",)
    assert "-rate = 1" in code.patch()
    assert again.record == code.record
    assert len(registry["churn"]) == 1
    assert "1 changed" in str(code)


# ---- when git does not tell


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Puts a program named git before all others; `$REAL` in it is the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(text):
        (folder / "git").write_text(f"#!/bin/sh\nREAL={shutil.which('git')}\n{text}\n")
        (folder / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return make


def test_a_hanging_git_is_killed_and_recorded(repo, fake, monkeypatch, tmp_path):
    """With all that it started; commit and branch come from the files, and git is left alone."""
    head = run(repo, "rev-parse", "HEAD")
    monkeypatch.setattr(git, "SECONDS", 0.5)
    fake(f"echo x >> {tmp_path}/asked; sleep 61.25 & sleep 61.25")

    before = time.monotonic()
    found = git.start_reading(str(repo)).result()

    assert time.monotonic() - before < 20
    assert found.problem == "git did not answer within 0.5 s"
    assert (found.commit, found.branch, found.dirty) == (head, "main", None)
    git.start_reading(str(repo)).result()
    assert (tmp_path / "asked").read_text() == "x\n"
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"61.25" in _cmdline(p)]
    assert left == []


def _cmdline(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_hanging_git_delays_no_save(repo, fake, monkeypatch, tmp_path):
    """Longer than the bound."""
    monkeypatch.setattr(git, "SECONDS", 0.5)
    fake("sleep 61.5")
    script = repo / "train.py"
    script.write_text(
        "import sys, modelversion as mv\nfrom modelversion.source import git\ngit.SECONDS = 0.5\n"
        "mv.Registry(sys.argv[1]).save('m', {'w': 1})\n"
    )

    subprocess.run([sys.executable, str(script), str(tmp_path / "r")], check=True, timeout=55)

    assert "did not answer" in mv.Registry(tmp_path / "r").get("m").code.git.problem


def test_without_git_the_files_tell(repo, monkeypatch, tmp_path):
    """Commit and branch, loose or packed; what differs is not known."""
    head = run(repo, "rev-parse", "HEAD")
    tree = tmp_path / "tree"
    run(repo, "worktree", "add", "-q", "-b", "side", str(tree))
    run(repo, "pack-refs", "--all")
    monkeypatch.setenv("PATH", str(tmp_path))

    for folder, branch in ((repo, "main"), (tree, "side")):
        found = state(folder)
        assert (found.commit, found.branch, found.dirty) == (head, branch, None)
        assert found.problem == "git is not installed"


def test_a_child_that_cannot_say_why_it_did_not_start_is_recorded(repo, monkeypatch):
    """As when the system fails its last write: no exception in a thread that nobody waits for."""
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)

    def broken(*args, **kwargs):
        raise subprocess.SubprocessError("Bad exception data from child")

    monkeypatch.setattr(git.subprocess, "Popen", broken)
    state = git.start_reading(str(repo)).result()

    assert raised == [] and "Bad exception data" in state.problem and state.commit


def test_dubious_ownership_is_said(repo, fake):
    """Git refuses a repository of another user, and that is recorded."""
    fake('GIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec $REAL "$@"')

    found = state(repo)

    assert "dubious ownership" in found.problem
    assert found.branch == "main"
    assert found.commit is not None


def test_a_broken_repository_is_said(repo):
    """With git's own first line."""
    (repo / ".git" / "objects").rename(repo / ".git" / "gone")

    assert state(repo).problem.startswith("git ended with")
    (repo / ".git" / "HEAD").write_text("nonsense")
    assert state(repo).commit is None
    (repo / ".git").rename(repo / "away")
    (repo / ".git").write_text("gitdir: nowhere")
    assert state(repo).problem
    (repo / ".git").write_text("nonsense")
    assert state(repo).problem
    assert git.start_reading(str(repo)).result().problem


# ---- what is never run

MARKER = 'touch "$(dirname "$0")/ran-$(basename "$0")"; cat; true'
SETTINGS = {
    "core.fsmonitor": "monitor",
    "core.pager": "pager",
    "pager.status": "pager",
    "pager.diff": "pager",
    "diff.external": "external",
    "diff.odd.command": "driver",
    "diff.odd.textconv": "textconv",
    "filter.odd.clean": "clean",
    "filter.odd.process": "process",
    "filter.odd.required": "true",
}


@pytest.fixture
def armed(repo, tmp_path):
    """A repository that names programs wherever it can, and a folder where they say they ran."""
    folder = tmp_path / "armed"
    folder.mkdir()
    commit(repo, **{"__gitattributes": "*.py diff=odd filter=odd\n"})
    for name in {*SETTINGS.values(), "post-index-change"} - {"true"}:
        (folder / name).write_text(f"#!/bin/sh\n{MARKER}\n")
        (folder / name).chmod(0o755)
    for setting, name in SETTINGS.items():
        run(repo, "config", setting, name if name == "true" else str(folder / name))
    run(repo, "config", "core.hooksPath", str(folder))
    (repo / "train.py").write_text("rate = 2\n")
    return repo, folder


def ran(folder):
    return sorted(p.name for p in folder.glob("ran-*"))


def test_no_program_of_the_repository_is_run(armed):
    """Monitors, hooks, pagers, drivers, converters, filters: none of them."""
    repo, folder = armed
    before = (repo / ".git" / "index").read_bytes()

    found = state(repo)

    assert ran(folder) == []
    assert found.problem is None
    assert "+rate = 2" in "".join(found.patch)
    assert (repo / ".git" / "index").read_bytes() == before


MUTANTS = {
    "_HARMLESS": ("ran-monitor",),
    "_PLAIN_DIFF": ("ran-external", "ran-driver"),
    "_DRIVER": ("ran-clean", "ran-process"),
}


@pytest.mark.parametrize("guard", MUTANTS)
def test_without_the_guards_they_would_run(armed, monkeypatch, guard):
    """Mutants: each guard switched off lets a program of the repository run."""
    repo, folder = armed
    off = git.re.compile("never") if guard == "_DRIVER" else ()
    monkeypatch.setattr(git, guard, off)

    state(repo)

    assert set(ran(folder)) & set(MUTANTS[guard])


def test_a_filter_that_cannot_be_switched_off_is_refused(armed):
    """Its name would be read as another setting."""
    repo, folder = armed
    run(repo, "config", "filter.a=b.clean", str(folder / "clean"))
    (repo / ".gitattributes").write_text("*.py filter=a=b\n")

    assert "cannot be switched off" in state(repo).problem
    assert ran(folder) == []


def test_variables_of_git_do_not_lead_elsewhere(repo, tmp_path, monkeypatch):
    """As they are set in hooks."""
    other = tmp_path / "other"
    other.mkdir()
    run(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")

    assert state(repo).commit is not None


# ---- how long it is believed


def test_a_commit_is_noticed_at_once_and_an_edit_soon(repo, monkeypatch):
    """What was read is taken again for seconds only, and never over a commit or a checkout."""
    first = git.start_reading(str(repo))
    first.result()
    assert git.start_reading(str(repo)) is first
    head = commit(repo, train__py="rate = 2\n")

    assert git.start_reading(str(repo)).result().commit == head
    run(repo, "checkout", "-q", "-b", "next")
    assert git.start_reading(str(repo)).result().branch == "next"
    (repo / "train.py").write_text("rate = 3\n")
    monkeypatch.setattr(git, "FRESH_SECONDS", 0)
    assert git.start_reading(str(repo)).result().changed == ("train.py",)


def test_a_forked_child_reads_for_itself(repo):
    """A thread does not go along into it."""
    git.start_reading(str(repo))
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, (git.start_reading(str(repo)).result().branch or "?").encode())
        os._exit(0)
    os.waitpid(pid, 0)

    assert os.read(reader, 100) == b"main"


def test_it_is_read_beside_the_run(repo, fake, tmp_path):
    """The start of a run does not wait for git."""
    fake('sleep 0.5; exec $REAL "$@"')

    before = time.monotonic()
    reading = git.start_reading(str(repo))
    took = time.monotonic() - before

    assert took < 0.5
    assert any(t.name == "modelversion-git" for t in threading.enumerate())
    assert reading.result().branch == "main"


# ---- secrets

TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


def test_no_secret_of_the_code_is_stored(repo, tmp_path):
    """Neither from source, globals, patch nor names of files."""
    script = f"""
        import sys
        import modelversion as mv
        registry = mv.Registry(sys.argv[1])
        API_KEY = "{TOKEN}"
        password = "correct-horse-9"
        def helper():
            return "{TOKEN}" and None
        @registry.track("churn")
        def train():
            helper()
            return {{"w": len(API_KEY + password)}}
        train()
        registry.save("saved", {{"w": 1}})
    """
    (repo / "train.py").write_text(textwrap.dedent(script))
    (repo / f"{TOKEN}.txt").write_text("x")
    subprocess.run([sys.executable, "train.py", str(tmp_path / "r")], cwd=repo, check=True)

    stored = b"".join(p.read_bytes() for p in (tmp_path / "r").rglob("*") if p.is_file())
    assert TOKEN.encode() not in stored
    assert b"correct-horse-9" not in stored
    registry = mv.Registry(tmp_path / "r")
    found = {redaction.path for redaction in registry.get("churn").redactions}
    assert {"source/entry.py", "source/git.patch", "code.git.names"} <= found
    assert any(path.startswith("code.globals") for path in found)
    assert "def helper():" in registry.get("churn").code.source()
    assert "+def helper():" in registry.get("churn").code.patch()
