"""Texts, bytes and decimals as the two streams of a column: lengths, and all of the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from modelversion.fingerprints._decimals import canonical


def encode_texts(rows: list[str]) -> tuple[Any, bytes]:
    """Give the lengths and the UTF-8 of texts; raises TypeError if one is no text."""
    joined = "".join(rows)
    if joined.isascii():
        return lengths_of(rows), joined.encode("ascii")
    encoded = [row.encode("utf-8", "surrogatepass") for row in rows]
    return lengths_of(encoded), b"".join(encoded)


def lengths_of(rows: list[Any]) -> Any:
    """Give lengths as the stream has them."""
    return np.fromiter(map(len, rows), dtype="<u4", count=len(rows))


def encode_decimals(rows: Sequence[Decimal | None]) -> tuple[Any, bytes]:
    """Give the lengths and the canonical texts of decimals; a missing one has none."""
    encoded = [b"" if row is None else canonical(row) for row in rows]
    return lengths_of(encoded), b"".join(encoded)
