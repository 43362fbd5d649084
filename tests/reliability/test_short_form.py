"""A part of the sweeps of `make reliability`, and what they find when a guard is taken away."""

from pathlib import Path

import pytest
from processes import report_of

HERE = Path(__file__).parent


def run(sweep, *arguments):
    """Run a sweep and give its report."""
    return report_of(HERE / sweep, *arguments, timeout=900)


def test_a_cut_of_the_power_leaves_what_was_acknowledged(tmp_path):
    """Each operation is whole or has not happened, on two kinds of mounts."""
    report = run("power_cuts.py", tmp_path / "cuts", 29)

    assert report["problems"] == []
    assert sum(report["cuts"].values()) >= 60


@pytest.mark.parametrize(
    ("mutant", "every"),
    [
        ("no_sync", 58),
        ("no_sync_of_files", 58),
        ("no_sync_of_folders", 58),
        ("bytes_before_the_tombstone", 7),  # it shows in a few calls of one operation only
    ],
)
def test_a_cut_finds_what_is_not_guarded(mutant, every, tmp_path):
    """Sync nothing, sync no file, sync no folder, remove bytes first: each loses something."""
    report = run("power_cuts.py", tmp_path / "cuts", every, mutant)

    assert report["problems"]


def test_an_operation_whose_system_call_fails_tells_the_truth(tmp_path):
    """Acknowledged is there, failed has not happened, unknown is either; a retry works."""
    report = run("syscalls.py", tmp_path / "calls", 9, "fsync,link")

    assert report["problems"] == []
    assert sum(report["faults"].values()) >= 100
    assert set(report["endings"]) >= {"failed", "unknown"}


def test_a_fault_finds_what_is_not_guarded(tmp_path):
    """An error of link that is passed over is an acknowledgement that is not kept."""
    report = run("syscalls.py", tmp_path / "calls", 30, "link", "deaf")

    assert report["problems"]
