"""What stands for no object, where None is one."""

from __future__ import annotations

from typing import Any

NOTHING: Any = type("Nothing", (), {"__repr__": lambda self: "NOTHING"})()
