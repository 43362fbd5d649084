"""Notebooks: what was run, cell by cell, and the notebook's name where it can be known."""

from __future__ import annotations

import os
import sys
from typing import Any

import attrs

MAX_CELLS = 500
MAX_BYTES = 512 * 1024


@attrs.frozen
class Cell:
    """A cell as it was typed, and the text that it was compiled from."""

    number: int
    typed: str
    compiled: str


def shell() -> Any:
    """Give the running IPython shell, None outside of one."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def cells() -> list[Cell]:
    """Give the cells of this session, oldest first, the one that runs included."""
    history = getattr(shell(), "history_manager", None)
    typed = list(getattr(history, "input_hist_raw", ()))
    compiled = list(getattr(history, "input_hist_parsed", ()))
    pairs = list(zip(typed, compiled, strict=False))
    return [Cell(i, *pair) for i, pair in enumerate(pairs) if i and pair[0].strip()]


def cell_number(text: str) -> int | None:
    """Give the number of the last cell that was compiled from a text."""
    history = getattr(shell(), "history_manager", None)
    compiled = list(getattr(history, "input_hist_parsed", ()))
    wanted = text.strip()
    found = (i for i in range(len(compiled) - 1, 0, -1) if compiled[i].strip() == wanted)
    return next(found, None)


def current_number() -> int:
    """Give the number of the cell that runs, 0 outside of a notebook."""
    history = getattr(shell(), "history_manager", None)
    return max(0, len(getattr(history, "input_hist_raw", ())) - 1)


@attrs.frozen
class Transcript:
    """Cells in the percent format; `left_out` of the oldest are not in it."""

    cells: tuple[str, ...]
    left_out: int

    @property
    def text(self) -> str:
        """The cells as one text."""
        return "\n".join(self.cells)


def transcript(found: list[Cell]) -> Transcript:
    """Write cells one below the other, as far as they are kept."""
    kept: list[str] = []
    size = 0
    for cell in reversed(found[-MAX_CELLS:]):
        text = f"# %% In [{cell.number}]\n{cell.typed.rstrip()}\n"
        size += len(text)
        if size > MAX_BYTES:
            break
        kept.append(text)
    return Transcript(tuple(reversed(kept)), len(found) - len(kept))


def notebook_name(scope: dict[str, Any]) -> str | None:
    """Give the file name of the notebook that runs, None where nobody says it.

    VS Code puts the path into the notebook's globals; a Jupyter server that starts kernels by
    path puts it into the kernel's environment.
    """
    if shell() is None:
        return None
    path = scope.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    name = os.path.basename(str(path or "").replace("\\", "/"))
    return name if name.endswith(".ipynb") and name.isprintable() else None
