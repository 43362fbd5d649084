"""`make bench-hash`: what a fingerprint costs, against sha256 of the raw bytes.

Compared in the same run with joblib.hash, pandas.util.hash_pandas_object and the digest of
MLflow, for which it runs in `.venv-peers`; elsewhere the lines of MLflow are missing. `--write`
puts the table into docs/reference/performance.md.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
from measure import Row, alternate, child, machine, ms, ratio_row, table, time_row, write_section

import modelversion as mv
from modelversion.fingerprints import _core, describe

HEADER = ["what", "against", "measured", "hold", "held"]
MORE_MEMORY = 64 * 2**20


def sizes(quick: bool) -> tuple[int, int, int]:
    """Give the bytes of the float table, the rows of texts, and the rounds."""
    return (16 * 2**20, 100_000, 1) if quick else (2**30, 10_000_000, 5)


# ---- what is hashed


def floats(size: int, *, missing: float = 0.0) -> pd.DataFrame:
    """A table of 16 columns of floats."""
    random = np.random.default_rng(0)
    rows = size // 16 // 8
    columns = {f"c{i}": random.normal(size=rows) for i in range(16)}
    if missing:
        for values in columns.values():
            values[random.random(rows) < missing] = np.nan
    return pd.DataFrame(columns, copy=False)


def texts(rows: int) -> list[str]:
    random = np.random.default_rng(0)
    return [f"customer-{n:012d}" for n in random.integers(0, 10**12, rows)]


def objects_of(values: list[str]) -> pd.Series:
    """Keep texts as Python objects, which pandas 3 does only where it is asked to."""
    return pd.Series(values, dtype=object)


def raw_floats(frame: pd.DataFrame) -> Callable[[], str]:
    arrays = [np.asarray(frame[name]) for name in frame]

    def job() -> str:
        hasher = hashlib.sha256()
        for array in arrays:
            hasher.update(array)
        return hasher.hexdigest()

    return job


def raw_texts(column: pa.Array) -> Callable[[], str]:
    def job() -> str:
        hasher = hashlib.sha256()
        for buffer in column.buffers()[1:]:
            hasher.update(buffer)
        return hasher.hexdigest()

    return job


# ---- rows of the result


def float_tables(quick: bool) -> Iterator[Row]:
    size, _, rounds = sizes(quick)
    for what, missing, limit in (("floats", 0.0, 1.3), ("floats, 10 % NaN", 0.1, 1.6)):
        frame = floats(size, missing=missing)
        jobs = {
            "mv": lambda f=frame: mv.fingerprint(f),
            "one core": lambda f=frame: on_one_core(f),
            "raw": raw_floats(frame),
        }
        found = alternate(jobs, rounds)
        label = f"{size // 2**20:,} MB of {what}"
        against = "sha256 of the raw bytes"
        yield ratio_row(label, against, found["mv"], found["raw"], limit)
        yield shown(f"{label}, on one core", against, found["one core"], found["raw"])


def on_one_core(value: Any) -> None:
    cores, _core._cores = _core._cores, lambda: 1
    try:
        mv.fingerprint(value)
    finally:
        _core._cores = cores


def interleaved(quick: bool) -> Iterator[Row]:
    size, _, rounds = sizes(quick)
    array = np.random.default_rng(0).normal(size=(size // 16 // 8, 16))
    frame = pd.DataFrame(array, copy=False)
    jobs = {"mv": lambda: mv.fingerprint(frame), "raw": lambda: hashlib.sha256(array).digest()}
    found = alternate(jobs, rounds)
    label = f"{size // 2**20:,} MB of floats, rows together in memory"
    yield shown(label, "sha256 of the raw bytes", found["mv"], found["raw"])


def text_tables(quick: bool) -> Iterator[Row]:
    _, rows, rounds = sizes(quick)
    values = texts(rows)
    column = pa.array(values)
    arrow, objects = pa.table({"s": column}), pd.DataFrame({"s": objects_of(values)})
    raw = raw_texts(column)
    for what, value, limit in (("Arrow strings", arrow, 1.3), ("object strings", objects, 4)):
        found = alternate({"mv": lambda v=value: mv.fingerprint(v), "raw": raw}, rounds)
        against = "sha256 of Arrow's raw bytes"
        yield ratio_row(f"{rows:,} {what}", against, found["mv"], found["raw"], limit)


def peers(quick: bool) -> Iterator[Row]:
    size, rows, _ = sizes(quick)
    frames = {
        f"{size // 2**22:,} MB of floats": floats(size // 4),
        f"{rows // 10:,} object strings": pd.DataFrame({"s": objects_of(texts(rows // 10))}),
    }
    for what, frame in frames.items():
        ways = hashes()
        jobs = {name: lambda f=frame, way=way: way(f) for name, way in ways.items()}
        found = alternate(jobs, 1)
        for name in list(jobs)[1:]:
            yield shown(f"{what}: {name}", "mv.fingerprint", found[name], found["mv.fingerprint"])
    yield from noticed()


def hashes() -> dict[str, Callable[[pd.DataFrame], object]]:
    """Give each way to tell one table from another: name -> what gives an equal result."""
    ways: dict[str, Callable[[pd.DataFrame], object]] = {
        "mv.fingerprint": lambda frame: mv.fingerprint(frame).digest,
        "joblib.hash": joblib.hash,
        "pandas.util.hash_pandas_object": lambda frame: (
            pd.util.hash_pandas_object(frame).to_numpy().tobytes()
        ),
    }
    if importlib.util.find_spec("mlflow"):
        ways["MLflow's digest, of 10,000 rows"] = mlflow_digest
    return ways


def mlflow_digest(frame: pd.DataFrame) -> str:
    import mlflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that integers cannot say missing, and the like
        return str(mlflow.data.from_pandas(frame).digest)


def noticed() -> Iterator[Row]:
    """Show who is right about tables that differ, and about one that lies otherwise in memory."""
    frame = pd.DataFrame({"a": np.arange(20_000.0), "b": np.arange(20_000.0) % 7})
    changed = frame.copy()
    changed.loc[19_999, "b"] = -1.0
    cases = {
        "a cell changed in the last row of 20,000": (changed, False),
        "a column renamed": (frame.rename(columns={"b": "c"}), False),
        "int64 in place of float64": (frame.astype("int64"), False),
        "the same values in another memory layout": (
            pd.DataFrame(np.asfortranarray(frame.to_numpy()), columns=["a", "b"]),
            True,
        ),
    }
    for what, (other, same) in cases.items():
        right = [name for name, way in hashes().items() if (way(frame) == way(other)) == same]
        yield Row(what, "the table before", f"right: {', '.join(right)}")


def shown(what: str, against: str, mine: float, theirs: float) -> Row:
    """Show a ratio that is held to nothing."""
    return Row(what, against, f"{mine / theirs:.2f} × ({ms(mine)} / {ms(theirs)})")


def small(quick: bool) -> Iterator[Row]:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [1.5, None, 2], "s": ["x", "y", "z"]})
    seconds = alternate({"mv": lambda: describe("train", frame)}, 10 if quick else 200, warm=5)
    yield time_row("a table of 3 x 3 in capture, warm", seconds["mv"], 0.001)


def memory(quick: bool) -> Iterator[Row]:
    if not Path("/proc/self/clear_refs").exists():
        return
    size, rows, _ = sizes(quick)
    cases = {"floats": size, "floats with NaN": size, "Arrow strings": rows, "object strings": rows}
    for what, amount in cases.items():
        more = int(child("hashing.py", "--peak", what, "--amount", amount))
        label = f"memory for {'rows' if 'strings' in what else 'bytes'} of {what}: {amount:,}"
        yield Row(label, "–", f"{more / 2**20:.0f} MB", "< 64 MB", more < MORE_MEMORY)


def peak(what: str, amount: int) -> int:
    """Give by how many bytes the peak of this process grows while it hashes."""
    value: Any = {
        "floats": lambda: floats(amount),
        "floats with NaN": lambda: floats(amount, missing=0.1),
        "Arrow strings": lambda: pa.table({"s": pa.array(texts(amount))}),
        "object strings": lambda: pd.DataFrame({"s": objects_of(texts(amount))}),
    }[what]()
    mv.fingerprint(value[:10])
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    mv.fingerprint(value)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith(f"{field}:"))
    return int(found.split()[1]) * 1024


PARTS = (float_tables, interleaved, text_tables, small, memory, peers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the result into the docs")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--only", nargs="+", default=[], choices=[p.__name__ for p in PARTS])
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--amount", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peak:
        print(peak(given.peak, given.amount))
        return
    if given.write and (given.quick or given.only):
        parser.error("--write goes with a whole run")
    if given.write and "MLflow's digest, of 10,000 rows" not in hashes():
        parser.error("--write wants MLflow's lines too: run it by .venv-peers/bin/python")
    where, rows = machine(Path.cwd()), []
    for part in PARTS:
        if not given.only or part.__name__ in given.only:
            for row in part(given.quick):
                print(*row.cells(), sep=" | ", file=sys.stderr, flush=True)
                rows.append(row.cells())
    text = "\n".join([where, "", table(HEADER, rows)])
    print(text)
    if given.write:
        write_section("bench-hash", text)


if __name__ == "__main__":
    main()
