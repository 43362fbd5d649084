"""The benchmarks run; how fast is judged by `make bench`, never by a test."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parent / "bench"
PARTS = (
    "small durable save",
    "saved, with digests",
    "memory beyond the object",
    "loaded, verified",
    "mapped, verified before",
    "alias looked up",
    "loaded by alias",
    "as DataFrame, cold",
    "as DataFrame, warm",
    "search by data over",
    "display of a model",
    "import, after touching",
    "`@track` besides the save",
)


@pytest.fixture
def measure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure", BENCH / "measure.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure"] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules["measure"]


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(BENCH / "run.py"), *arguments]
    return subprocess.run(command, text=True, capture_output=True, check=False, timeout=300)


def test_bench_prints_every_line(tmp_path):
    """A run with tiny sizes prints each part, the machine and where the time goes."""
    done = run("--quick", "--dir", str(tmp_path))

    assert done.returncode == 0, done.stderr
    memory_is_counted = Path("/proc/self/clear_refs").exists()
    expected = [part for part in PARTS if memory_is_counted or "memory" not in part]
    assert [part for part in expected if part not in done.stdout] == []
    assert "Machine: " in done.stdout
    assert "Where the time of a small save goes: " in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_quick_run_is_not_written_into_the_docs():
    """Figures of tiny sizes never reach the page."""
    done = run("--quick", "--write")

    assert done.returncode == 2
    assert "--write goes with a whole run" in done.stderr


def test_jobs_take_turns(measure):
    """Each round runs every job once, in the reverse order of the round before."""
    order = []
    jobs = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}

    found = measure.alternate(jobs, 2, warm=1)

    assert "".join(order) in ("abbaab", "baabba")
    assert set(found) == {"a", "b"}


def test_the_page_is_rewritten_between_its_markers(measure, tmp_path, monkeypatch):
    """What stands before and behind the markers stays, and the other table too."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a:start -->\nold\n<!-- a:end -->\n<!-- b:start --><!-- b:end -->")
    monkeypatch.setattr(measure, "PAGE", page)
    monkeypatch.setattr(measure, "ROOT", tmp_path)

    measure.write_section("a", "new")

    assert page.read_text() == (
        "before\n<!-- a:start -->\nnew\n<!-- a:end -->\n<!-- b:start --><!-- b:end -->"
    )
    with pytest.raises(SystemExit, match="no <!-- c:start -->"):
        measure.write_section("c", "new")
