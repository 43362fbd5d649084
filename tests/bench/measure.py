"""What the benchmarks share: timing in alternation, child processes, tables, the machine."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs" / "reference" / "performance.md"


@dataclass
class Row:
    """A line of the result: what was measured, against what, and what is to be held."""

    what: str
    against: str
    measured: str
    hold: str = ""
    ok: bool | None = None

    def cells(self) -> list[str]:
        verdict = "" if self.ok is None else "yes" if self.ok else "**no**"
        return [self.what, self.against, self.measured, self.hold, verdict]


def timed(job: Callable[[], object]) -> float:
    """Give the seconds that a job takes."""
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def alternate(
    jobs: dict[str, Callable[[], object]],
    times: int,
    *,
    warm: int = 1,
    between: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Run jobs in turn, each round in the reverse order of the one before; give median seconds.

    Args:
        jobs: Name -> what is timed.
        times: Rounds that count.
        warm: Rounds before them that do not.
        between: Runs after each job and is not timed.
    """
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for i in range(warm + times):
        for name in list(jobs)[:: 1 if i % 2 else -1]:
            seconds = timed(jobs[name])
            between()
            if i >= warm:
                found[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def ms(seconds: float) -> str:
    """Print seconds as milliseconds to three digits."""
    value = seconds * 1e3
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def ratio_row(what: str, against: str, mine: float, theirs: float, limit: float) -> Row:
    """Judge a ratio."""
    ratio = mine / theirs
    shown = f"{ratio:.2f} × ({ms(mine)} / {ms(theirs)})"
    return Row(what, against, shown, f"≤ {limit:g} ×", ratio <= limit)


def time_row(what: str, seconds: float, limit: float | None = None) -> Row:
    """Judge a time; without a limit it is only shown."""
    if limit is None:
        return Row(what, "–", ms(seconds))
    return Row(what, "–", ms(seconds), f"< {limit * 1e3:g} ms", seconds < limit)


@contextlib.contextmanager
def scratch(base: str | None) -> Iterator[Path]:
    """Give a folder that is removed again; by default in the checkout, which is on a disk."""
    parent = Path(base) if base else ROOT / "build"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def child(script: str, *arguments: object) -> str:
    """Run a script of this folder in a process of its own and give what it printed."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def table(header: list[str], rows: list[list[str]]) -> str:
    """Give a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine(folder: Path) -> str:
    """Describe what the figures depend on; called before the work, so that the load is others'."""
    return (
        f"Machine: {_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{platform.system()}, {_filesystem(folder)}, {time.strftime('%Y-%m-%d', time.gmtime())}; "
        f"load before the run {_load()}."
    )


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


def _processor() -> str:
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return " ".join(re.sub(r"\((R|TM)\)", "", found[1]).split())
    return platform.processor() or platform.machine()


def _filesystem(folder: Path) -> str:
    with contextlib.suppress(OSError):
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        holding = [m for m in mounts if folder.resolve().is_relative_to(m[1])]
        return max(holding, key=lambda mount: len(mount[1]))[2]
    return "filesystem unknown"


def write_section(name: str, text: str) -> None:
    """Replace what stands between the page's markers of that name."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    page = PAGE.read_text(encoding="utf-8")
    before, found, rest = page.partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{PAGE} has no {start} ... {end}")
    PAGE.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")
    print(f"written to {PAGE.relative_to(ROOT)}")
