"""Print how many bytes of memory a save needs besides its object.

`python peak.py modelversion|joblib FOLDER BYTES PARTS`

A process of its own, so that the peak is that of one save. Linux counts it (VmHWM) from the
moment at which 5 is written to clear_refs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import joblib  # noqa: F401 - both ways start with the same modules
from run import arrays, dump_synced

import modelversion as mv


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


def main(how: str, folder: str, size: str, parts: str) -> None:
    place = Path(folder)
    place.mkdir()
    registry = mv.Registry(place / "registry")
    ways = {
        "modelversion": lambda value: registry.save("big", value),
        "joblib": lambda value: dump_synced(value, place / "big.joblib"),
    }
    ways[how](arrays(2**20, 1))
    value = arrays(int(size), int(parts))
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    ways[how](value)
    print(_status("VmHWM") - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
