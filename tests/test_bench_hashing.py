"""The benchmark of the data hash runs; how fast is judged by `make bench-hash`."""

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent / "bench" / "hashing.py"
PARTS = (
    "of floats |",
    "of floats, 10 % NaN |",
    "on one core",
    "rows together in memory",
    "Arrow strings",
    "object strings",
    "in capture, warm",
    "joblib.hash",
    "pandas.util.hash_pandas_object",
    "a cell changed in the last row",
    "in another memory layout",
)


def test_every_line_is_printed():
    """A run with tiny sizes prints each part and the machine."""
    done = subprocess.run(
        [sys.executable, str(BENCH), "--quick"], text=True, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert [part for part in PARTS if part not in done.stdout] == []
    assert "Machine: " in done.stdout


def test_a_quick_run_is_not_written_into_the_docs():
    """Figures of tiny sizes never reach the page."""
    command = [sys.executable, str(BENCH), "--quick", "--write"]
    done = subprocess.run(command, text=True, capture_output=True, check=False)

    assert done.returncode == 2
    assert "--write goes with a whole run" in done.stderr
