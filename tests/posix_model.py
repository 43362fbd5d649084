"""A strict model of what POSIX promises of a filesystem across a power cut.

A file's bytes are durable after an fsync of that file and not before. A name in a folder (made
by open, link, mkdir, rename, or taken away by unlink, rmdir, rename) is durable after an fsync of
that folder and not before. A power cut may keep any subset of what was not synced, in any order.
Real filesystems promise more, and not the same: what holds here holds on each of them.
"""

import contextlib
import functools
import os
import threading
from pathlib import Path

import attrs

RECORDED = ("open", "write", "fsync", "close", "link", "rename", "replace", "unlink")
RECORDED += ("mkdir", "rmdir")


# ---- recording ---------------------------------------------------------------------------------


@attrs.frozen
class Event:
    """One call that succeeded: its paths, which opened file it used, and the bytes written."""

    call: str
    paths: tuple[str, ...] = ()
    file: int = 0
    data: bytes = attrs.field(default=b"", repr=lambda data: f"<{len(data)} bytes>")

    def __str__(self):
        return f"{self.call} {' -> '.join(self.paths)}"


class Recorder:
    """Records the calls below a folder, one after the other."""

    def __init__(self, base):
        self.events = []
        self._base = str(base)
        self._lock = threading.RLock()
        self._real = {name: getattr(os, name) for name in RECORDED}
        self._opened = {}
        self._files = 0

    @contextlib.contextmanager
    def recording(self):
        """Record while the block runs."""
        for name in RECORDED:
            setattr(os, name, functools.partial(getattr(self, f"_{name}", self._call), name))
        try:
            yield self
        finally:
            for name, real in self._real.items():
                setattr(os, name, real)

    def _inside(self, path):
        return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(self._base)

    def _call(self, name, *paths, **how):
        with self._lock:
            given = self._real[name](*paths, **how)
            if self._inside(paths[0]):
                taken = 2 if name in ("link", "rename", "replace") else 1
                self.events.append(Event(name, tuple(map(os.fspath, paths[:taken]))))
            return given

    def _open(self, name, path, flags, *how, **named):
        with self._lock:
            descriptor = self._real[name](path, flags, *how, **named)
            self._opened.pop(descriptor, None)
            if self._inside(path):
                self._files += 1
                self._opened[descriptor] = self._files, os.fspath(path)
                call = "create" if flags & os.O_CREAT else "open"
                self.events.append(Event(call, (os.fspath(path),), self._files))
            return descriptor

    def _write(self, name, descriptor, data):
        with self._lock:
            written = self._real[name](descriptor, data)
            self._note("write", descriptor, bytes(memoryview(data)[:written]))
            return written

    def _fsync(self, name, descriptor):
        with self._lock:
            self._real[name](descriptor)
            self._note("fsync", descriptor)

    def _close(self, name, descriptor):
        with self._lock:
            self._real[name](descriptor)
            self._opened.pop(descriptor, None)

    def _note(self, call, descriptor, data=b""):
        if descriptor in self._opened:
            file, path = self._opened[descriptor]
            self.events.append(Event(call, (path,), file, data))


# ---- the model ---------------------------------------------------------------------------------


@attrs.define(eq=False)
class File:
    """A file: its bytes as processes see them, and the bytes that a power cut leaves."""

    data: bytes = b""
    synced: bytes = b""

    def sync(self):
        """Make the bytes durable."""
        self.synced = self.data


@attrs.define(eq=False)
class Folder:
    """A folder: its names as processes see them, the durable ones, and the changes between."""

    names: dict = attrs.field(factory=dict)
    durable: dict = attrs.field(factory=dict)
    pending: list = attrs.field(factory=list)

    def change(self, **changes):
        """Change names at once: name -> file or folder, None to take it away."""
        self.pending.append(changes)
        _apply(self.names, changes)

    def sync(self):
        """Make the names durable."""
        self.durable = dict(self.names)
        self.pending = []


def _apply(names, changes):
    for name, inode in changes.items():
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


class Disk:
    """A tree of folders and files below a base folder that is durable itself."""

    def __init__(self, base):
        """Take what is on the disk now; all of it is durable."""
        self._base = str(base)
        self.root = self._read(Path(base))
        self._opened = {}

    def _read(self, path):
        if path.is_file():
            data = path.read_bytes()
            return File(data, data)
        folder = Folder({p.name: self._read(p) for p in path.iterdir()})
        folder.sync()
        return folder

    def parts(self, path):
        """Split a path below the base."""
        return [part for part in path.removeprefix(self._base).split("/") if part]

    def find(self, path):
        """Give the file or folder of a path as processes see it, None if there is none."""
        inode = self.root
        for part in self.parts(path):
            if not isinstance(inode, Folder) or part not in inode.names:
                return None
            inode = inode.names[part]
        return inode

    def _parent(self, path):
        *_, name = self.parts(path)
        return self.find(os.path.dirname(path)), name

    def run(self, event):
        """Do what an event did."""
        getattr(self, f"_run_{event.call}")(event)

    def _run_create(self, event):
        folder, name = self._parent(event.paths[0])
        if name not in folder.names:
            folder.change(**{name: File()})
        self._run_open(event)

    def _run_open(self, event):
        self._opened[event.file] = self.find(event.paths[0])

    def _run_write(self, event):
        self._opened[event.file].data += event.data

    def _run_fsync(self, event):
        self._opened[event.file].sync()

    def _run_mkdir(self, event):
        folder, name = self._parent(event.paths[0])
        folder.change(**{name: Folder()})

    def _run_link(self, event):
        folder, name = self._parent(event.paths[1])
        folder.change(**{name: self.find(event.paths[0])})

    def _run_rename(self, event):
        inode = self.find(event.paths[0])
        before, old = self._parent(event.paths[0])
        after, new = self._parent(event.paths[1])
        if before is after:
            before.change(**{old: None, new: inode})
        else:
            after.change(**{new: inode})
            before.change(**{old: None})

    _run_replace = _run_rename

    def _run_unlink(self, event):
        folder, name = self._parent(event.paths[0])
        folder.change(**{name: None})

    _run_rmdir = _run_unlink

    # ---- what a power cut leaves

    def lost(self, path):
        """Say what of a path a power cut may take away, None if it is durable."""
        folder, at = self.root, []
        for part in self.parts(path):
            at.append(part)
            where = "/".join(at)
            if part not in folder.names:
                return f"{where} is not there"
            touched = any(part in changes for changes in folder.pending)
            if touched or folder.durable.get(part) is not folder.names[part]:
                return f"the name {where} is not synced"
            folder = folder.names[part]
        if isinstance(folder, File) and folder.synced != folder.data:
            return f"the bytes of {where} are not synced"
        return None

    def as_seen(self):
        """Give the tree (name -> bytes or tree) that processes see."""
        return self.after_a_cut(lambda: True)

    def after_a_cut(self, keep):
        """Give a tree (name -> bytes or tree) that a power cut may leave.

        Args:
            keep: Called for each change that was not synced; true keeps it.
        """
        return _survivors(self.root, keep)


def _survivors(inode, keep):
    if isinstance(inode, File):
        if inode.synced == inode.data or keep():
            return inode.data
        return inode.synced if keep() else inode.synced + bytes(len(inode.data) // 2)
    kept = [changes for changes in inode.pending if keep()]
    names = dict(inode.durable)
    for changes in kept:
        _apply(names, changes)
    return {name: _survivors(child, keep) for name, child in names.items()}


def materialise(tree, place):
    """Write a tree into a new folder."""
    place.mkdir(exist_ok=True)
    for name, inode in tree.items():
        if isinstance(inode, bytes):
            (place / name).write_bytes(inode)
        else:
            materialise(inode, place / name)
