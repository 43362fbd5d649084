"""The core of data hash v1: streams, blocks of rows, columns and roots.

It knows no library. A family of data gives a `Source` for each column; what is hashed, in which
order and by how many threads is decided here. Format: docs/reference/data-hash.md.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import attrs

from modelversion._json import dumps
from modelversion.threads import each

BLOCK = 2**20
# Rows at a time: what is worked on stays in the processor's second-level cache.
STEP = 2**15
# Less is hashed before a thread has started.
_THREADED = 8 * 2**20
_MAX_WORKERS = 4

Type = str | list[Any]


@attrs.frozen
class Part:
    """A block: its digest, and what it adds to the profile.

    `kind` is the type of a block whose column knows its type only from its values.
    """

    digest: bytes
    rows: int
    nulls: int = 0
    low: Any = None
    high: Any = None
    total: Any = None
    kind: Type | None = None


class Kernel(Protocol):
    """What hashes one block of a column, some rows at a time."""

    def feed(self, start: int, stop: int) -> None:
        """Take the rows from start to stop."""

    def finish(self) -> Part:
        """Give the block."""


class Source(Protocol):
    """A column that can be hashed.

    Attributes:
        rows: Number of rows.
        nbytes: About how much there is to hash.
        group: Equal for columns whose memory is interleaved, None for one by itself.
        step: Rows that are taken at a time.
    """

    rows: int
    nbytes: int
    group: Any
    step: int

    def kernel(self) -> Kernel:
        """Give what hashes the next block."""

    def column(self, parts: Sequence[Part]) -> Column:
        """Put the blocks together."""


@attrs.frozen(kw_only=True)
class Column:
    """A column: type, digest, and its profile."""

    type: Type
    digest: str
    rows: int
    nulls: int = 0
    low: Any = None
    high: Any = None
    mean: Any = None


def hash_columns(sources: Sequence[Source]) -> list[Column]:
    """Hash columns block by block, on several cores if there is enough to do."""
    jobs = [
        (members, start, min(start + BLOCK, sources[members[0]].rows))
        for members in _groups(sources)
        for start in range(0, sources[members[0]].rows, BLOCK)
    ]
    parts: list[list[Part]] = [[] for _ in sources]
    found = _map(lambda job: _block([sources[i] for i in job[0]], job[1], job[2]), jobs, sources)
    for (members, _, _), made in zip(jobs, found, strict=True):
        for i, part in zip(members, made, strict=True):
            parts[i].append(part)
    return [source.column(own) for source, own in zip(sources, parts, strict=True)]


def _groups(sources: Sequence[Source]) -> Iterable[list[int]]:
    groups: dict[Any, list[int]] = {}
    for i, source in enumerate(sources):
        groups.setdefault(("alone", i) if source.group is None else source.group, []).append(i)
    return groups.values()


def _block(sources: Sequence[Source], start: int, stop: int) -> list[Part]:
    kernels = [source.kernel() for source in sources]
    step = min(source.step for source in sources)
    for low in range(start, stop, step):
        for kernel in kernels:
            kernel.feed(low, min(low + step, stop))
    return [kernel.finish() for kernel in kernels]


def _map(do: Callable[[Any], Any], jobs: Sequence[Any], sources: Sequence[Source]) -> Iterable[Any]:
    workers = min(_cores(), _MAX_WORKERS, len(jobs))
    if workers < 2 or sum(source.nbytes for source in sources) < _THREADED:
        return map(do, jobs)
    return each(do, jobs, workers=workers)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# ---- what is digested


def stream(data: bytes = b"") -> bytes:
    """Give the digest of a stream whose bytes are all here."""
    return hashlib.sha256(data).digest()


def block_digest(validity: bytes, streams: Iterable[bytes], *, rows: int, nulls: int) -> bytes:
    """Digest a block: its validity and the digests of its streams.

    A block in which nothing is valid has no streams, so that it is the same in any type: a
    column of objects may show its type only in a later block.

    Args:
        validity: A bit for each row, the lowest first, 1 for a value; empty without nulls.
        streams: Digests of the value streams.
        rows: Rows of the block.
        nulls: Rows without a value.
    """
    parts = [] if rows and nulls == rows else streams
    return stream(b"".join([stream(validity if nulls else b""), *parts]))


def column_digest(kind: Type, rows: int, blocks: Iterable[bytes], categories: str = "") -> str:
    """Digest a column: type, number of rows and blocks, and its categories if it has any."""
    parts = ["column", kind, rows, [block.hex() for block in blocks]]
    return root([*parts, categories] if categories else parts)


def root(parts: list[Any]) -> str:
    """Digest a canonical list: JSON without white space."""
    return hashlib.sha256(dumps(parts)).hexdigest()


def column_of(kind: Type, rows: int, parts: Sequence[Part], categories: str = "") -> Column:
    """Put blocks of one type together."""
    nulls = sum(part.nulls for part in parts)
    totals = [part.total for part in parts if part.total is not None]
    return Column(
        type=kind,
        digest=column_digest(kind, rows, (part.digest for part in parts), categories),
        rows=rows,
        nulls=nulls,
        low=min((part.low for part in parts if part.low is not None), default=None),
        high=max((part.high for part in parts if part.high is not None), default=None),
        mean=_mean(totals, rows - nulls) if totals else None,
    )


def _mean(totals: list[Any], count: int) -> float | None:
    try:
        return float(sum(totals) / count)
    except (OverflowError, ZeroDivisionError):
        return None


class Validity:
    """The bits that say where a block has values, gathered until all of it was seen."""

    def __init__(self) -> None:
        self.nulls = 0
        self.rows = 0
        self._pieces: list[Any] = []

    def add(self, rows: int, missing: Any = None) -> None:
        """Take the next rows; `missing` is a numpy array of bools, None where all have values."""
        self._pieces.append((rows, missing))
        self.rows += rows
        if missing is not None:
            self.nulls += int(missing.sum())

    def bits(self) -> bytes:
        """Give the bitmap, empty where nothing is missing."""
        if not self.nulls:
            return b""
        import numpy as np

        pieces = [np.zeros(n, bool) if missing is None else missing for n, missing in self._pieces]
        bits: bytes = np.packbits(~np.concatenate(pieces), bitorder="little").tobytes()
        return bits
