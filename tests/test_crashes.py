"""Writers that are killed: between any two calls, inside writes, at random moments."""

from pathlib import Path

import pytest
from processes import report_of

WORKER = Path(__file__).with_name("crash_worker.py")

# Scenario -> the fewest kills that it must come to, so that none is emptied by accident.
SCENARIOS = {
    "first-save": 60,
    "save": 40,
    "save-new-model": 50,
    "save-large": 60,
    "save-shared": 60,
    "repeat": 45,
    "alias": 10,
    "tag-and-merge": 20,
    "delete": 15,
    "gc": 25,
    "random": 100,
    "huge": 5,
}


def test_the_kills_are_more_than_three_hundred():
    """The scenarios together come to at least 300 kills."""
    assert sum(SCENARIOS.values()) >= 300


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_kill_leaves_nothing_half_done(scenario, tmp_path):
    """Readers see whole versions, the next save works, gc clears the rest, gaps are explained."""
    report = report_of(WORKER, scenario, tmp_path / "crashes")

    assert report["problems"] == [], "\n".join(report["problems"])
    assert report["kills"] >= SCENARIOS[scenario]


MUTANTS = {
    "save": """
from modelversion.storage._local import LocalStore
fill, put_new, late = LocalStore.fill, LocalStore.put_new, []
def fill_later(self, *given):
    late.append(given)
def commit_first(self, key, data):
    put_new(self, key, data)
    while late and "/journal/" in key:
        fill(self, *late.pop())
LocalStore.fill, LocalStore.put_new = fill_later, commit_first
""",
    "delete": """
import json, pathlib
from modelversion.storage._local import LocalStore
put_new = LocalStore.put_new
def bytes_first(self, key, data):
    if "/decisions/" in key and b"version.deleted" in data:
        event = json.loads(data)["event"]
        for path in pathlib.Path(self.url).glob(f"models/*/versions/{event['number']}/object/*"):
            path.unlink()
    put_new(self, key, data)
LocalStore.put_new = bytes_first
""",
    "alias": """
import os
from modelversion.storage import KeyTaken
from modelversion.storage._local import LocalStore
def in_place(self, key, data):
    path = os.path.join(self.url, key)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        raise KeyTaken(key) from None
    os.write(descriptor, data)
    os.fsync(descriptor)
    os.close(descriptor)
LocalStore.put_new = in_place
""",
}


@pytest.mark.parametrize("scenario", MUTANTS)
def test_mutants_are_caught_by_the_kills(scenario, tmp_path):
    """Commit before the files, bytes before the tombstone, entries in place: each shows."""
    script = f"{MUTANTS[scenario]}\nimport sys, crash_worker\ncrash_worker.main(*sys.argv[1:])"
    report = report_of("-c", script, scenario, tmp_path / "crashes", cwd=WORKER.parent)

    assert report["problems"]
