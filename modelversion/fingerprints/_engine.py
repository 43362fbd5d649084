"""Tables in pieces on a distributed engine: each piece is hashed where it lies.

Only digests and profiles travel. The pieces count: the same rows in other pieces are another
table of this kind, since no engine cuts them as the blocks of a table are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from modelversion.errors import FingerprintError
from modelversion.fingerprints._core import root
from modelversion.fingerprints._result import ColumnPrint, Fingerprint, Profile

Piece = dict[str, Any]


def piece(table: Any) -> Piece:
    """Hash one piece, on the engine."""
    from modelversion.fingerprints import fingerprint

    return fingerprint(table).to_dict()


def combined(kind: str, name: str, pieces: Sequence[Piece]) -> Fingerprint:
    """Put the pieces together, in their order; empty ones do not count.

    Raises:
        FingerprintError: The pieces have not the same columns.
    """
    found = [made for made in pieces if made["shape"][0]] or list(pieces[:1])
    names = [list(made["columns"]) for made in found]
    if any(other != names[0] for other in names):
        raise FingerprintError(f"the partitions of a {name} do not have the same columns")
    labels = names[0] if names else []
    return Fingerprint(
        kind,
        name,
        root([kind, [made["digest"] for made in found]]),
        (sum(made["shape"][0] for made in found), len(labels)),
        columns=MappingProxyType({label: _column(label, found) for label in labels}),
        profile=MappingProxyType({label: _profile(label, found) for label in labels}),
    )


def _column(label: str, pieces: Sequence[Piece]) -> ColumnPrint:
    columns = [made["columns"][label] for made in pieces]
    kinds = list(dict.fromkeys(column["type"] for column in columns))
    return ColumnPrint(
        " or ".join(kinds), root(["pieces", [column["digest"] for column in columns]])
    )


def _profile(label: str, pieces: Sequence[Piece]) -> Profile:
    parts = [made["profile"][label] for made in pieces]
    known = [part for part in parts if part.get("mean") is not None]
    count = sum(part["rows"] - part["nulls"] for part in known)
    total = sum(part["mean"] * (part["rows"] - part["nulls"]) for part in known)
    return Profile(
        sum(part["rows"] for part in parts),
        sum(part["nulls"] for part in parts),
        min((part["min"] for part in parts if "min" in part), default=None),
        max((part["max"] for part in parts if "max" in part), default=None),
        total / count if count else None,
    )
