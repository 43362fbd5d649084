"""`make bench`: what modelversion costs, against what one would write by hand.

Every ratio is of medians of one run, measured in alternation, so that what else the machine
does meets both sides alike. `--write` puts the table into docs/reference/performance.md.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from measure import (
    Row,
    alternate,
    child,
    machine,
    ms,
    ratio_row,
    scratch,
    table,
    time_row,
    timed,
    write_section,
)
from training import Fitted, by_hand, saver

import modelversion as mv
from modelversion import _json
from modelversion.serializers._pickle import CloudpickleSerializer

HEADER = ["what", "against", "measured", "hold", "held"]
MORE_MEMORY = 32 * 2**20


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    few: int = 10
    many: int = 10_000
    saves: int = 60
    big: int = 512 * 2**20
    bigs: int = 9
    big_saves: int = 25  # the speed of a disk varies more than that of memory
    reads: int = 200
    small_table: int = 1_000
    large_table: int = 100_000
    tables: int = 5
    imports: int = 15


QUICK = Sizes(
    few=2, many=40, saves=3, big=16 * 2**20, bigs=1, big_saves=1, reads=3, large_table=2_000
)
QUICK = Sizes(**{**vars(QUICK), "small_table": 100, "tables": 1, "imports": 1})


# ---- small saves


def small_saves(folder: Path, sizes: Sizes) -> Iterator[Row]:
    for count in (sizes.few, sizes.many):
        place = folder / f"small-{count}"
        child("build.py", "versions", place / "registry", count)
        for i in range(count):
            (place / "hand" / f"before-{i}").mkdir(parents=True)
        fitted, registry = Fitted(), mv.Registry(place / "registry")
        jobs = {
            "mv": saver(registry, "many", fitted),
            "hand": lambda p=place, f=fitted: by_hand(p / "hand", f),
        }
        if count == sizes.few:
            jobs["long"] = saver_of_long_script(registry, fitted)
        found = alternate(jobs, sizes.saves, warm=2)
        what = f"small durable save, {count:,} versions before it"
        yield ratio_row(what, "pickle + fsync of two files", found["mv"], found["hand"], 4)
        if "long" in found:
            yield time_row("the same from a script of 400 lines, which is kept", found["long"])


def saver_of_long_script(registry: mv.Registry, fitted: Fitted) -> Callable[[], mv.Version]:
    """Save from this file, which is longer than most that train."""
    return lambda: registry.save("long", fitted.next(), params={"C": 1.0}, metrics={"auc": 0.9})


# ---- where the time of a small save goes


@contextmanager
def wrapped(owner: Any, name: str, spent: list[float]) -> Iterator[None]:
    """Add the time of every call of `owner.name` to a list."""
    original = getattr(owner, name)

    def measured(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            spent.append(time.perf_counter() - started)

    setattr(owner, name, measured)
    try:
        yield
    finally:
        setattr(owner, name, original)


class _Orjson:
    """orjson with its two functions as attributes that can be wrapped."""

    def __init__(self, module: Any) -> None:
        self.__dict__.update(vars(module))


def where_it_goes(folder: Path, sizes: Sizes) -> str:
    save = saver(mv.Registry(folder / "where"), "clf", Fitted())
    save()
    shares = [_one_save(save) for _ in range(sizes.saves)]
    total, syncs, count, pickling, text = map(statistics.median, zip(*shares, strict=True))
    rest = total - syncs - pickling - text
    return (
        f"Where the time of a small save goes: {ms(total)}, of which {count:.0f} fsyncs "
        f"{ms(syncs)}, pickling and reading the pickle's globals {ms(pickling)}, "
        f"JSON {ms(text)}, all the rest (hashing, records, other system calls) {ms(rest)}."
    )


def _one_save(save: Callable[[], object]) -> tuple[float, float, int, float, float]:
    syncs: list[float] = []
    pickling: list[float] = []
    text: list[float] = []
    original, _json.orjson = _json.orjson, _Orjson(_json.orjson)
    try:
        with (
            wrapped(os, "fsync", syncs),
            wrapped(CloudpickleSerializer, "dump", pickling),
            wrapped(_json.orjson, "dumps", text),
            wrapped(_json.orjson, "loads", text),
        ):
            total = timed(save)
    finally:
        _json.orjson = original
    return total, sum(syncs), len(syncs), sum(pickling), sum(text)


# ---- 512 MB


def arrays(total: int, parts: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.normal(size=total // parts // 8) for _ in range(parts)]


def dump_synced(value: Any, path: Path) -> None:
    with path.open("wb") as file:
        joblib.dump(value, file)
        file.flush()
        os.fsync(file.fileno())


def load_checked(path: Path, digest: str) -> Any:
    """Load with joblib what was checked first, as one would by hand."""
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ValueError(f"{path} was changed")
    return joblib.load(path)


def shapes(sizes: Sizes) -> Iterator[tuple[str, int]]:
    mib = sizes.big // 2**20
    yield f"{mib} MB in one array", 1
    yield f"{mib} MB in 8 arrays", 8


def big_saves(folder: Path, sizes: Sizes) -> Iterator[Row]:
    for shape, parts in shapes(sizes):
        sides = BigSaves(folder / f"big-save-{parts}", arrays(sizes.big, parts))
        jobs = {"mv": sides.save, "joblib": sides.dump}
        found = alternate(jobs, sizes.big_saves, between=sides.renew)
        what = f"{shape} saved, with digests"
        yield ratio_row(what, "joblib.dump + fsync", found["mv"], found["joblib"], 1.3)


class BigSaves:
    """Both sides write to a new folder each time, and what they wrote is gone before the next.

    What a filesystem gives back to the disk is slower to write to again; a side that wrote over
    its own file, or whose files stayed, would meet another disk than the other.
    """

    def __init__(self, folder: Path, value: list[np.ndarray]) -> None:
        self.folder, self.value = folder, value
        self.renew()

    def renew(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.registry = mv.Registry(self.folder)
        self.registry.save("big", {"small": 1})
        os.sync()  # what the disk still has to do for one side must not be the other's time

    def save(self) -> None:
        self._change()
        self.registry.save("big", self.value)

    def dump(self) -> None:
        self._change()
        dump_synced(self.value, self.folder / "big.joblib")

    def _change(self) -> None:
        for array in self.value:
            array[0] += 1


def memory(folder: Path, sizes: Sizes) -> Iterator[Row]:
    if not Path("/proc/self/clear_refs").exists():
        return
    for shape, parts in shapes(sizes):
        more = {
            how: int(child("peak.py", how, folder / f"peak-{how}-{parts}", sizes.big, parts))
            for how in ("modelversion", "joblib")
        }
        shown = f"{more['modelversion'] / 2**20:.0f} MB (joblib {more['joblib'] / 2**20:.0f} MB)"
        what = f"{shape} saved: memory beyond the object"
        yield Row(what, "–", shown, "< 32 MB", more["modelversion"] < MORE_MEMORY)


def big_loads(folder: Path, sizes: Sizes) -> Iterator[Row]:
    for shape, parts in shapes(sizes):
        value, path = arrays(sizes.big, parts), folder / "big.joblib"
        registry = mv.Registry(folder / f"big-load-{parts}")
        registry.save("big", value)
        dump_synced(value, path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        del value
        jobs = {
            "mv": lambda r=registry: r.load("big:1"),
            "joblib": lambda p=path, d=digest: load_checked(p, d),
        }
        found = alternate(jobs, sizes.bigs)
        against = "joblib.load + hashlib.file_digest"
        yield ratio_row(f"{shape} loaded, verified", against, found["mv"], found["joblib"], 1.1)
        mapped = alternate({"mapped": lambda r=registry: r.load("big:1", mmap=True)}, sizes.reads)
        yield time_row(f"{shape} mapped, verified before", mapped["mapped"], 0.001)


# ---- reading


def aliases(folder: Path, sizes: Sizes) -> Iterator[Row]:
    registry = mv.Registry(folder / "aliases")
    for _ in range(3):
        version = registry.save("clf", Fitted().next(), new=True)
    registry["clf"].set_alias("champion", version.number)
    jobs = {
        "found": lambda: registry.get("clf@champion"),
        "loaded": lambda: registry.load("clf@champion"),
    }
    found = alternate(jobs, sizes.reads, warm=3)
    yield time_row("alias looked up, warm", found["found"], 0.001)
    yield time_row("small model loaded by alias, warm", found["loaded"])


def tables(folder: Path, sizes: Sizes) -> Iterator[Row]:
    import pandas as pd

    pd.DataFrame({"warm": ["up"]})
    limits = {sizes.small_table: (None, 0.02), sizes.large_table: (3.0, 0.5)}
    for count, (cold_limit, warm_limit) in limits.items():
        place = folder / f"table-{count}"
        child("build.py", "entries", place, count)
        cold = _table_seconds(lambda p=place: mv.Registry(p), count, sizes.tables)
        yield time_row(f"table of {count:,} as DataFrame, cold", cold, cold_limit)
        kept = mv.Registry(place)
        _frame(kept)
        warm = _table_seconds(lambda r=kept: r, count, sizes.tables)
        yield time_row(f"table of {count:,} as DataFrame, warm", warm, warm_limit)


def searches(folder: Path, sizes: Sizes) -> Iterator[Row]:
    place = folder / "searched"
    child("build.py", "searched", place, sizes.many)

    def search(registry: mv.Registry) -> None:
        found = len(registry.search(data=f"{7:064x}"))
        if not 0 < found <= sizes.many / 100 + 1:
            raise AssertionError(f"{found} versions were found")

    kept = mv.Registry(place)
    jobs = {"cold": lambda: search(mv.Registry(place)), "warm": lambda: search(kept)}
    seconds = alternate(jobs, sizes.tables)
    for name in jobs:
        yield time_row(f"search by data over {sizes.many:,} versions, {name}", seconds[name])


def _frame(registry: mv.Registry) -> Any:
    return registry["many"].versions().to_pandas()


def _table_seconds(opened: Callable[[], mv.Registry], count: int, times: int) -> float:
    seconds = []
    for _ in range(times):
        registry = opened()
        started = time.perf_counter()
        frame = _frame(registry)
        seconds.append(time.perf_counter() - started)
        if len(frame) != count:
            raise AssertionError(f"the table has {len(frame)} rows of {count}")
        del frame, registry
    return statistics.median(seconds)


def displays(folder: Path, sizes: Sizes) -> Iterator[Row]:
    place = folder / "displayed"
    child("build.py", "entries", place, sizes.many)
    looks: list[list[float]] = [[], []]
    for _ in range(2 * sizes.tables + 1):
        model = mv.Registry(place)["many"]
        for found in looks:
            started = time.perf_counter()
            model._repr_mimebundle_()
            found.append(time.perf_counter() - started)
    # The very first one has imported what displays need.
    first, again = (statistics.median(found[1:]) for found in looks)
    what = f"display of a model of {sizes.many:,} versions"
    yield time_row(f"{what}, cold", first, 0.2)
    yield time_row(f"{what}, warm", again)


# ---- what one pays once, and under the decorator


def imports(folder: Path, sizes: Sizes) -> Iterator[Row]:
    # Both sides run from byte code, as installed packages do, whatever this shell says.
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def process(code: str) -> Callable[[], object]:
        command = [sys.executable, "-c", code]
        return lambda: subprocess.run(command, check=True, cwd=folder, env=environment)

    jobs = {
        "mv": process("import modelversion as mv; mv.Registry; mv.track"),
        "opened": process("import modelversion as mv; mv.Registry('registry'); mv.track"),
        "attrs": process("import attrs, orjson"),
    }
    found = alternate(jobs, sizes.imports, warm=2)
    what = "import, after touching `mv.Registry` and `mv.track` (whole process)"
    yield ratio_row(what, "`import attrs, orjson`", found["mv"], found["attrs"], 2)
    yield time_row("import, and a registry opened (whole process)", found["opened"])


def tracking(folder: Path, sizes: Sizes) -> Iterator[Row]:
    registry, numbers = mv.Registry(folder / "tracked"), itertools.count()

    @mv.track("tracked", registry=registry)
    def train(C: float, penalty: str = "l2") -> dict[str, float]:
        mv.log_metrics(auc=0.9)
        return {"weight": C}

    def untracked() -> None:
        C = float(next(numbers))
        params = {"C": C, "penalty": "l2"}
        registry.save("saved", {"weight": C}, params=params, metrics={"auc": 0.9})

    jobs = {"tracked": lambda: train(float(next(numbers))), "saved": untracked}
    found = alternate(jobs, sizes.saves, warm=2)
    besides = max(found["tracked"] - found["saved"], 0.0)
    yield time_row("`@track` besides the save, warm", besides, 0.005)


PARTS = (
    small_saves,
    big_saves,
    memory,
    big_loads,
    aliases,
    tables,
    searches,
    displays,
    imports,
    tracking,
)


def measure(folder: Path, sizes: Sizes, only: set[str]) -> str:
    """Run the parts and give the text for the page."""
    where, rows = machine(folder), []
    for part in PARTS:
        if not only or part.__name__ in only:
            for row in part(folder, sizes):
                print(*row.cells(), sep=" | ", file=sys.stderr, flush=True)
                rows.append(row.cells())
    lines = [where, "", table(HEADER, rows)]
    if not only:
        lines += ["", where_it_goes(folder, sizes)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the result into the docs")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--dir", help="where to work; the filesystem decides much")
    names = [part.__name__ for part in PARTS]
    parser.add_argument("--only", nargs="+", default=[], choices=names, help="some parts only")
    given = parser.parse_args()
    if given.write and (given.quick or given.only):
        parser.error("--write goes with a whole run")
    with scratch(given.dir) as folder:
        text = measure(folder, QUICK if given.quick else Sizes(), set(given.only))
    print(text)
    if given.write:
        write_section("bench", text)


if __name__ == "__main__":
    main()
