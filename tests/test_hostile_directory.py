"""A version directory that somebody else wrote: it is read or refused, and nobody waits for it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import modelversion as mv
from modelversion.errors import RecordError, StorageError

BUFFER = "object/buffer-0.bin"


@pytest.fixture
def folder(registry, tmp_path):
    """A copy of a version with a large array."""
    version = registry.save("churn", {"w": np.zeros(200_000)})
    return version.download(tmp_path / "copy")


LOAD = """
import sys, modelversion as mv
try:
    mv.open_directory(sys.argv[1]).load(mmap=sys.argv[2] == "mmap")
except mv.errors.IntegrityError as e:
    print(type(e).__name__)
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("how", ["read", "mmap"])
@pytest.mark.parametrize("path", [BUFFER, "object/object.pkl"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder, path, how):
    """It has not the bytes that were committed, and says so at once."""
    (folder / path).unlink()
    os.mkfifo(folder / path)

    command = [sys.executable, "-c", LOAD, str(folder), how]
    ran = subprocess.run(command, check=True, capture_output=True, timeout=60)

    assert ran.stdout.decode().strip() == "SizeMismatchError"


@pytest.mark.parametrize("size", [-1, 2**63])
def test_a_size_that_no_file_has_is_refused(folder, size):
    """No memory is taken for it, and the error names the file."""
    record = json.loads((folder / "version.json").read_text("utf-8"))
    next(file for file in record["files"] if file["path"] == BUFFER)["size"] = size
    (folder / "version.json").write_text(json.dumps(record), "utf-8")

    with pytest.raises(RecordError, match=rf"'object/buffer-0.bin' with {size} bytes"):
        mv.open_directory(folder)


def folder_there(path):
    path.mkdir()


def pipe_there(path):
    os.mkfifo(path)


def link_there(path):
    path.symlink_to("/dev/zero")


def hole_there(path):
    with path.open("wb") as file:
        file.truncate(2**40)


THERE = [folder_there, pipe_there, link_there, hole_there]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
@pytest.mark.parametrize("put", THERE, ids=[put.__name__.partition("_")[0] for put in THERE])
def test_what_stands_in_the_place_of_the_record_is_refused_at_once(folder, put):
    """Nobody waits for it, it takes no memory, and no descriptor of it stays open."""
    (folder / "version.json").unlink()
    put(folder / "version.json")
    files = len(os.listdir("/dev/fd"))

    with pytest.raises((RecordError, StorageError), match=r"version\.json"):
        mv.open_directory(folder)

    assert len(os.listdir("/dev/fd")) == files
