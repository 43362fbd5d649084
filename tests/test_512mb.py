"""512 MB of arrays: saved and loaded in fresh processes, without a second copy in memory."""

import json
import shutil
import sys

import fresh
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc"),
]

MIB = 2**20
EXTRA = 32 * MIB
# Linux keeps the highest resident size, and sets it back when 5 is written to clear_refs.
PEAK = """
import json, re, sys, time
import numpy as np
import modelversion as mv
import modelversion.registry, modelversion.serializers._pickle

def status(name):
    text = open("/proc/self/status").read()
    return int(re.search(name + r":\\s+(\\d+) kB", text)[1]) * 1024

def reset():
    open("/proc/self/clear_refs", "w").write("5")
    return status("VmRSS")
"""
SAVE = f"""{PEAK}
arrays = [np.full(8 * 2**20, i, dtype="f8") for i in range(8)]
registry = mv.Registry(sys.argv[1])
registry.save("warm", [np.zeros(200_000)])
before = reset()
version = registry.save("large", arrays)
extra = status("VmHWM") - before
record = version._open().record.object
print(json.dumps({{"extra": extra, "buffers": [b.size for b in record.buffers]}}))
"""
LOAD = f"""{PEAK}
registry = mv.Registry(sys.argv[1])
registry.load("warm")
mmap = sys.argv[2] == "mmap"
before = reset()
arrays = registry.load("large", mmap=mmap)
extra = status("VmHWM") - before
anonymous = status("RssAnon")
total = [float(a[0] + a[-1]) for a in arrays]
started = time.perf_counter()
again = registry.load("large", mmap=mmap)
seconds = time.perf_counter() - started
kinds = [a.flags.owndata or a.flags.writeable for a in arrays]
print(json.dumps({{
    "extra": extra, "anonymous": anonymous, "total": total, "seconds": seconds, "kinds": kinds,
}}))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A registry with eight arrays of 64 MB, and what saving them took."""
    folder = tmp_path_factory.mktemp("large")
    out = fresh.run(SAVE, folder / "registry", cwd=folder, isolated=True)
    yield folder / "registry", json.loads(out)
    shutil.rmtree(folder)  # pytest keeps the folders of the last three runs


def test_saving_takes_less_than_32_mb_more(large):
    """The arrays are written from where they are: no copy of one is ever held."""
    _, saved = large

    assert saved["buffers"] == [64 * MIB] * 8
    assert saved["extra"] < EXTRA


def test_loading_takes_the_arrays_and_less_than_32_mb_more(large, tmp_path):
    """A fresh process gets equal arrays, each once in memory."""
    registry, _ = large

    loaded = json.loads(fresh.run(LOAD, registry, "plain", cwd=tmp_path, isolated=True))

    assert loaded["total"] == [2.0 * i for i in range(8)]
    assert loaded["extra"] < 512 * MIB + EXTRA
    assert loaded["kinds"] == [True] * 8


def test_mapped_loading_takes_no_memory_of_its_own(large, tmp_path):
    """Mapped arrays are the files' pages, read-only; a second load hashes nothing again."""
    registry, _ = large

    mapped = json.loads(fresh.run(LOAD, registry, "mmap", cwd=tmp_path, isolated=True))

    assert mapped["total"] == [2.0 * i for i in range(8)]
    assert mapped["anonymous"] < 128 * MIB
    assert mapped["kinds"] == [False] * 8
    assert mapped["seconds"] < 0.25


# ---- with a limit that the kernel holds

LIMITED = """
import json, re, resource, sys
import numpy as np
import modelversion as mv
import modelversion.registry, modelversion.serializers._pickle

def used():
    return int(re.search(r"VmSize:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024

def limit(more):
    resource.setrlimit(resource.RLIMIT_AS, (used() + more, resource.RLIM_INFINITY))

registry = mv.Registry(sys.argv[1])
registry.save("warm", [np.zeros(200_000), np.zeros(200_000)])
registry.load("warm")
"""


def test_saving_works_in_an_address_space_that_has_no_room_for_a_copy(tmp_path):
    """With room for half of the arrays once more and threads' stacks, 512 MB are saved."""
    program = (
        LIMITED
        + """
arrays = [np.full(8 * 2**20, i, dtype="f8") for i in range(8)]
limit(256 * 2**20)
print(registry.save("large", arrays).number)
"""
    )

    assert fresh.run(program, tmp_path / "r", cwd=tmp_path, isolated=True).strip() == "1"


def test_a_load_without_the_memory_for_it_is_a_memory_error_and_leaves_the_registry(large):
    """Python's own error comes through; with the memory the same handle loads it."""
    program = (
        LIMITED
        + """
limit(128 * 2**20)
try:
    registry.load("large")
except MemoryError:
    print("told")
limit(1024 * 2**20)
print(sum(float(a[0]) for a in registry.load("large")))
"""
    )
    folder, _ = large

    found = fresh.run(program, folder, cwd=folder.parent, isolated=True).split()

    assert found == ["told", "28.0"]
