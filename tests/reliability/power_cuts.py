"""Cut the power of an ext4 disk while a registry is written; run as root.

`python power_cuts.py FOLDER EVERY` mounts a disk in a file, in a mount namespace of its own, and
lets a writer do one of every operation on it. Before each call that changes the filesystem the
writer stops, and the disk's file is copied: that is what a machine finds which lost its power
there. Each copy is mounted, which replays ext4's journal, and the registry on it is judged.

Two ways of mounting: `data=ordered`, and `data=writeback`, where names may be durable before the
bytes they name. In half of the runs another file is synced right before the cut, so that the
kernel has written whatever of the metadata it may write early.
The last line printed is JSON: cuts by kind, and what was found wrong.
"""

import contextlib
import functools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import operations
from crash_worker import check_cleared, check_next_save, start, wait_for_merges

import modelversion as mv
from modelversion import upkeep

MEGABYTES = 32
CHANGING = ("fsync", "link", "mkdir", "open", "rename", "replace", "rmdir", "unlink", "write")
NAMESPACE = "MODELVERSION_TEST_NAMESPACE"


def sh(*command):
    """Run a command; its error is ours."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")


@contextlib.contextmanager
def mounted(image, folder, mode):
    """Mount a disk."""
    folder.mkdir(exist_ok=True)
    # Nothing is committed by the mere passing of time: what is durable was asked for.
    sh("mount", "-o", f"loop,noatime,commit=300,data={mode}", image, folder)
    try:
        yield folder
    finally:
        sh("umount", folder)


# ---- the writer: stops before each call that changes the filesystem ----------------------------


def stop_before_calls():
    """Stop this process before each call that changes the filesystem, until it is continued."""

    def wrap(name, real):
        @functools.wraps(real)
        def stopping(*args, **kwargs):
            if name != "open" or (len(args) > 1 and args[1] & os.O_CREAT):
                os.kill(os.getpid(), signal.SIGSTOP)
            return real(*args, **kwargs)

        return stopping

    for name in CHANGING:
        setattr(os, name, wrap(name, getattr(os, name)))


def write_all(root, progress):
    """Do every operation; count the acknowledged ones in a file outside of the disk."""
    real_write = os.write
    stop_before_calls()
    for operation in operations.OPERATIONS.values():
        operation(root)
        wait_for_merges()
        real_write(progress, b".")
        os.kill(os.getpid(), signal.SIGSTOP)


def stops(pid):
    """Continue a process from stop to stop; ends when it does."""
    while True:
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            yield
            os.kill(pid, signal.SIGCONT)
            continue
        if status:
            raise AssertionError("the writer failed; see its traceback above")
        return


# ---- guards taken away -------------------------------------------------------------------------


def no_sync_of_files():
    """Sync folders only."""
    real = os.fsync

    def sync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            real(descriptor)

    os.fsync = sync


def no_sync_of_folders():
    """Sync files only."""
    real = os.fsync

    def sync(descriptor):
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            real(descriptor)

    os.fsync = sync


def no_sync():
    """Sync nothing."""
    os.fsync = lambda descriptor: None


def bytes_before_the_tombstone():
    """Remove what is deleted before the journal says so."""
    real = upkeep.delete

    def delete(line, version, *, reason):
        upkeep.sweep(line, version.number)
        real(line, version, reason=reason)

    upkeep.delete = delete


MUTANTS = {
    mutant.__name__: mutant
    for mutant in (no_sync_of_files, no_sync_of_folders, no_sync, bytes_before_the_tombstone)
}


# ---- cutting -----------------------------------------------------------------------------------


def cut_all(folder, mode, early, every):
    """Give (copy of the disk, acknowledged operations) for each cut of one run."""
    image = folder / "disk"
    with image.open("wb") as file:
        file.truncate(MEGABYTES * 2**20)
    sh("mkfs.ext4", "-q", "-F", "-b", "1024", "-J", "size=4", image)
    progress = os.open(folder / "progress", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    with mounted(image, folder / "mnt", mode) as disk:
        pid = start(functools.partial(write_all, str(disk / "registry"), progress))
        for number, _ in enumerate(stops(pid)):
            if number % every:
                continue
            if early:
                sync_another(disk)
            cut = folder / f"cut-{number}"
            sh("cp", "--sparse=always", image, cut)
            yield cut, os.fstat(progress).st_size
    os.close(progress)


def sync_another(disk):
    """Sync a file that has nothing to do with the registry: the metadata so far goes with it."""
    file = os.open(disk / "another", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(file, b"x")
    os.fsync(file)
    os.close(file)


def judge(cut, folder, mode, states, done):
    """Mount what is left after a cut and give what is wrong with it, None if nothing is."""
    with mounted(cut, folder / "after", mode) as disk:
        root = str(disk / "registry")
        try:
            problem = operations.problem_after(root, states, done)
            if problem is None:
                check_next_save(root)
                check_cleared(root)
        except Exception as e:
            problem = f"{type(e).__name__} {e}"
    return problem


def main(folder, every, mutant=None):
    """Run both mounts with and without an early sync, perhaps with a guard taken away."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    states = operations.expected(str(folder / "unharmed"))
    if mutant:
        MUTANTS[mutant]()
    cuts, problems = {}, []
    for mode in ("ordered", "writeback"):
        for early in (False, True):
            kind = f"data={mode}{', metadata early' * early}"
            place = folder / f"{mode}-{early}"
            place.mkdir()
            for cut, done in cut_all(place, mode, early, every):
                problem = judge(cut, place, mode, states, done)
                cuts[kind] = cuts.get(kind, 0) + 1
                if problem:
                    problems.append(f"{kind}, {cut.name}: {problem}")
                cut.unlink()
            shutil.rmtree(place)
    print(json.dumps({"cuts": cuts, "problems": problems}))


if __name__ == "__main__":
    if NAMESPACE not in os.environ:
        command = ["unshare", "-m", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe("unshare", command, {**os.environ, NAMESPACE: "1"})
    mv.Registry("memory://warm").save("warm", 1)  # imports are not part of what is cut
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
