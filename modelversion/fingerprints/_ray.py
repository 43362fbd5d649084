"""Datasets of Ray, hashed by its workers, block by block."""

from __future__ import annotations

import sys
from typing import Any

import ray

from modelversion.fingerprints._engine import combined, piece
from modelversion.fingerprints._result import Fingerprint, type_name


def accepts(value: Any) -> bool:
    """Tell whether it is a dataset of Ray."""
    data = sys.modules.get("ray.data")
    return data is not None and isinstance(value, data.Dataset)


def fingerprint(value: Any) -> Fingerprint:
    """Fingerprint a dataset by its blocks, in their order; they stay in the object store."""
    hashed = ray.remote(piece)
    made = ray.get([hashed.remote(block) for block in value.to_arrow_refs()])
    return combined("ray", type_name(value), made)
