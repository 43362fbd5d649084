"""The environment: distributions, machine, lock files, seeds; nothing that is secret or slow."""

import ctypes
import importlib.metadata
import json
import os
import platform
import random
import subprocess
import sys
import time
from pathlib import Path

import fresh
import numpy as np
import pytest
import torch

import modelversion as mv
from modelversion import environment as environments
from modelversion.environment import _machine, _packages, environment, seeds
from modelversion.records import EnvironmentRecord, InstalledFrom
from modelversion.source._randomness import random_states


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the path, into which distributions can be put."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def install(name, version, url=None, **more):
        place = folder / f"{name}-{version}.dist-info"
        place.mkdir()
        (place / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        if url:
            (place / "direct_url.json").write_text(json.dumps({"url": url, **more}))
        return place

    install.folder = folder
    return install


# ---- distributions


def test_every_distribution_is_listed():
    """As importlib.metadata lists them, which takes a hundred times as long."""
    expected = {
        _packages.normal(found.metadata["Name"]): found.version
        for found in reversed(list(importlib.metadata.distributions()))
    }

    assert environment().packages == expected


def test_an_installation_is_noticed(site):
    """In the middle of a session, as in a notebook; so is what was removed."""
    before = environment().packages
    place = site("Some_Thing.else", "1.2")

    assert "some-thing-else" not in before
    assert environment().packages["some-thing-else"] == "1.2"
    (place / "METADATA").unlink()
    place.rmdir()
    assert "some-thing-else" not in environment().packages


def test_without_the_look_at_the_folders_it_would_be_missed(site, monkeypatch):
    """A mutant of the check whether a folder has changed."""
    monkeypatch.setattr(environments, "_stamps", lambda places: tuple((p, 0) for p in places))
    environment()
    site("late", "1.0")

    assert "late" not in environment().packages


def test_what_was_installed_from_elsewhere_says_so(site):
    """By PEP 610: editable folders, commits of repositories, without passwords; nothing else."""
    site("edited", "0.1", "file:///home/ana/edited", dir_info={"editable": True})
    site("pinned", "0.2", "https://ana:pw@example.org/p.git", vcs_info={"commit_id": "c0ffee"})
    site("odd", "0.3", 3)
    (site("broken", "0.4", "x") / "direct_url.json").write_text("{")
    site("list", "0.5", "https://example.org/a.whl", vcs_info=[], dir_info={"editable": "yes"})

    found = environment()

    assert found.installed_from["edited"] == InstalledFrom(
        url="file:///home/ana/edited", editable=True
    )
    assert found.installed_from["pinned"] == InstalledFrom(
        url="https://example.org/p.git", commit="c0ffee"
    )
    assert found.installed_from["list"] == InstalledFrom(url="https://example.org/a.whl")
    assert not {"odd", "broken"} & set(found.installed_from)
    assert {"odd", "broken"} <= set(found.packages)


def test_eggs_are_listed_too(site):
    """Of old tools: a folder or a file, with the version in its name or inside."""
    (site.folder / "named-1.5-py3.11.egg-info").write_text("Version: 9\n")
    (site.folder / "inside.egg-info").mkdir()
    (site.folder / "inside.egg-info" / "PKG-INFO").write_text("Name: inside\nVersion: 2.5\n")
    (site.folder / "none.egg-info").write_text("")
    (site.folder / "-1.dist-info").mkdir()

    found = environment().packages

    assert (found["named"], found["inside"], found["none"]) == ("1.5", "2.5", "0")


def test_the_first_on_the_path_counts(site, tmp_path, monkeypatch):
    """As it does for imports."""
    site("twice", "1.0")
    other = tmp_path / "other"
    (other / "twice-2.0.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(other)

    assert environment().packages["twice"] == "2.0"


REQUIREMENTS = """
from modelversion.environment import environment
print(environment().requirements())
"""


def test_requirements_can_be_installed_again(tmp_path):
    """What cannot be fetched is a comment; the rest is what pip takes."""
    record = EnvironmentRecord(
        python="3.11.7",
        implementation="cpython",
        platform="Linux",
        packages={"edited": "0.1", "numpy": "2.0.0", "pinned": "0.2", "wheel-of": "0.5"},
        installed_from={
            "edited": InstalledFrom(url="file:///home/ana/edited", editable=True),
            "pinned": InstalledFrom(url="https://example.org/p.git", commit="c0ffee"),
            "wheel-of": InstalledFrom(url="https://example.org/a.whl"),
        },
    )

    assert record.requirements() == (
        "# Python 3.11.7\n"
        "# edited==0.1 was installed from file:///home/ana/edited\n"
        "numpy==2.0.0\n"
        "pinned @ git+https://example.org/p.git@c0ffee\n"
        "wheel-of @ https://example.org/a.whl\n"
    )
    own = tmp_path / "requirements.txt"
    # Of a process of its own: a library that was imported here may bring a folder of others along.
    own.write_text(fresh.run(REQUIREMENTS, cwd=tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index", "-r", own],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- lock files


def lock(folder, name="uv.lock", text="x"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def found(monkeypatch, folder):
    monkeypatch.chdir(folder)
    return [file.path for file in environment().lock_files]


def test_lock_files_up_to_the_top_of_the_repository(tmp_path, monkeypatch):
    """With digest and size; none above it, and nothing of another name."""
    lock(tmp_path, "requirements.txt")
    lock(tmp_path / "repo", "uv.lock", "version = 1\n")
    lock(tmp_path / "repo" / ".git", "poetry.lock")
    lock(tmp_path / "repo" / "work", "requirements-dev.txt")
    lock(tmp_path / "repo" / "work", "readme.txt")
    (tmp_path / "repo" / "work" / "poetry.lock").mkdir()

    assert found(monkeypatch, tmp_path / "repo" / "work") == ["requirements-dev.txt", "../uv.lock"]
    record = environment().lock_files[1]
    assert record.size == 12
    assert (
        record.sha256
        == (
            subprocess.run(["sha256sum", "../uv.lock"], capture_output=True, text=True, check=True)
        ).stdout[:64]
    )


def test_outside_of_a_repository_the_nearest_folder_counts(tmp_path, monkeypatch):
    """Not what happens to lie in a home."""
    lock(tmp_path, "Pipfile.lock")
    lock(tmp_path / "a", "environment.yml")
    (tmp_path / "a" / "b").mkdir()

    assert found(monkeypatch, tmp_path / "a" / "b") == ["../environment.yml"]


@pytest.mark.parametrize(
    "name",
    [
        "uv.lock",
        "poetry.lock",
        "pdm.lock",
        "pixi.lock",
        "Pipfile.lock",
        "pylock.toml",
        "pylock.gpu.toml",
        "conda-lock.yml",
        "gpu.conda-lock.yml",
        "environment.yaml",
        "requirements.lock",
    ],
)
def test_every_kind_of_lock_file_is_known(tmp_path, monkeypatch, name):
    """By its name."""
    lock(tmp_path, name)

    assert found(monkeypatch, tmp_path) == [name]


def test_a_lock_file_that_changes_is_read_again(tmp_path, monkeypatch):
    """Written in place, new, or gone; one that is too large or unreadable is left out."""
    lock(tmp_path)
    (tmp_path / ".git").mkdir()
    first = found(monkeypatch, tmp_path) and environment().lock_files[0].sha256
    time.sleep(0.02)
    lock(tmp_path, text="y")

    assert environment().lock_files[0].sha256 != first
    time.sleep(0.02)
    lock(tmp_path, "pdm.lock")
    assert len(environment().lock_files) == 2
    (tmp_path / "uv.lock").unlink()
    assert [file.path for file in environment().lock_files] == ["pdm.lock"]
    monkeypatch.setattr(_packages, "MAX_LOCK", 0)
    time.sleep(0.02)
    lock(tmp_path, "pdm.lock", "zz")
    assert environment().lock_files == ()


# ---- the machine


def test_the_machine_is_described():
    """What this one says of itself."""
    told = environment()

    assert told.cpu
    assert told.cores == len(os.sched_getaffinity(0))
    assert told.memory_bytes > 2**28
    assert told.peak_memory_bytes > 2**24
    assert told.host
    assert told.platform == platform.platform()
    assert told.python.startswith("3.")


def test_gpus_come_from_the_drivers_files(tmp_path, monkeypatch):
    """Names and the driver's version, without starting anything."""
    monkeypatch.setattr(_machine, "_PROC", str(tmp_path))
    for i, name in enumerate(["NVIDIA A100-SXM4-80GB", "NVIDIA A100-SXM4-80GB"]):
        (tmp_path / "gpus" / f"0000:0{i}").mkdir(parents=True)
        (tmp_path / "gpus" / f"0000:0{i}" / "information").write_text(f"Model: \t\t {name}\nIRQ: 1")
    text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19\n"
    (tmp_path / "version").write_text(text)

    assert _machine._of_machine.__wrapped__() == _machine.Gpus(
        names=("NVIDIA A100-SXM4-80GB",) * 2, driver="535.129.03"
    )


def test_other_gpus_come_from_the_kernel(tmp_path, monkeypatch):
    """By the name of the product."""
    monkeypatch.setattr(_machine, "_PROC", str(tmp_path / "none"))
    monkeypatch.setattr(_machine, "_SYS", str(tmp_path))
    (tmp_path / "card0" / "device").mkdir(parents=True)
    (tmp_path / "card0" / "device" / "product_name").write_text("Instinct MI300X\n")

    assert _machine._of_machine.__wrapped__().names == ("Instinct MI300X",)


class Nvml:
    """NVIDIA's library as its manual describes it."""

    def __init__(self, *, works=True):
        self.works, self.open = works, 0

    def nvmlInit_v2(self):
        self.open += self.works
        return 0 if self.works else 9

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = 1

    def nvmlSystemGetCudaDriverVersion_v2(self, version):
        version._obj.value = 12040

    def nvmlSystemGetDriverVersion(self, buffer, size):
        buffer.value = b"550.54"

    def nvmlDeviceGetHandleByIndex_v2(self, i, device):
        device._obj.value = 77

    def nvmlDeviceGetName(self, device, buffer, size):
        buffer.value = b"NVIDIA L4" if device.value == 77 else b"?"


@pytest.mark.parametrize("works", [True, False])
def test_gpus_come_from_nvidias_library(tmp_path, monkeypatch, works):
    """Where the driver has no files, as under WSL; it is closed again."""
    library = Nvml(works=works)
    monkeypatch.setattr(_machine, "_PROC", str(tmp_path))
    monkeypatch.setattr(_machine, "_SYS", str(tmp_path))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)

    told = _machine._of_machine.__wrapped__()

    expected = _machine.Gpus(names=("NVIDIA L4",), driver="550.54", cuda="12.4")
    assert told == (expected if works else _machine.Gpus())
    assert library.open == 0


def test_the_cuda_of_torch_counts(monkeypatch):
    """What was compiled for is what is used."""
    monkeypatch.setattr(torch.version, "cuda", "12.1")

    assert environment().cuda == "12.1"


def test_only_variables_of_the_list_are_recorded(registry, monkeypatch):
    """No other is looked at, however it is named."""
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    private = "very-private-" + str(41)  # not as it stands in this file, which is stored
    monkeypatch.setenv("MY_SETTING", private)

    version = registry.save("m", {"w": 1})

    assert version.environment.variables["OMP_NUM_THREADS"] == "4"
    stored = b"".join(p.read_bytes() for p in Path(registry.url).rglob("*") if p.is_file())
    assert private.encode() not in stored


def test_reading_the_environment_imports_no_framework(tmp_path):
    """And starts no process."""
    code = """
        import subprocess, sys, os
        subprocess.Popen = os.fork = None
        from modelversion.environment import environment
        environment()
        print(*{"torch", "numpy", "pandas", "importlib.metadata"} & set(sys.modules))
    """

    assert fresh.run(code, cwd=tmp_path).strip() == ""


# ---- seeds


def test_params_that_are_seeds_are_found():
    """By the end of their name, also in an estimator's params; only numbers."""
    params = {
        "seed": 1,
        "random_state": None,
        "opt/rng_seed": 3,
        "model": {"random_state": 4, "C": 1.0},
        "seeds": [1, 2],
        "seedling": 5,
        "use_seed": True,
        "np-seed": "6",
    }

    assert seeds(params) == {
        "seed": 1,
        "opt/rng_seed": 3,
        "model.random_state": 4,
        "seeds": [1, 2],
    }


def test_a_run_records_seeds_and_states(registry):
    """At its start, so that two runs that drew the same numbers can be told."""

    @registry.track("m")
    def train(seed=7):
        return {"w": [random.random(), float(np.random.rand()), float(torch.rand(1))]}

    def seeded(seed):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        return mv.call(train).version

    one, other = seeded(1), seeded(2)
    states = [version.environment.random_states for version in (one, other)]

    assert one.environment.seeds == {"seed": 7}
    assert states[0]["torch"] == {"seed": 1}
    for name in ("random", "numpy.random"):
        assert states[0][name].startswith("sha256:")
        assert states[0][name] != states[1][name]
    assert seeded(1) != one
    assert seeded(2).environment.random_states == states[1]


def test_looking_draws_nothing():
    """The state after it is the state before, in every generator."""
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())

    first = random_states()

    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert before == after
    assert random_states() == first
    random.random()
    assert random_states()["random"] != first["random"]


def test_a_save_records_no_states(registry):
    """After the training they say nothing about it."""
    version = registry.save("m", {"w": 1}, params={"random_state": 3})

    assert version.environment.random_states == {}
    assert version.environment.seeds == {"random_state": 3}


def test_the_environment_is_no_part_of_a_repeat(registry, site):
    """Neither packages nor states nor memory."""

    @registry.track("m")
    def train():
        return {"w": 1}

    train()
    site("new", "1.0")
    random.random()
    train()

    assert len(registry["m"]) == 1


# ---- what it costs


def test_a_warm_look_lists_nothing(monkeypatch):
    """Folders are only asked when they changed."""
    environment()
    monkeypatch.setattr(os, "listdir", lambda *_: pytest.fail("a folder was listed"))
    monkeypatch.setattr(os, "scandir", lambda *_: pytest.fail("a folder was listed"))

    assert environment().packages
