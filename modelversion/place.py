"""Where the default registry is: an environment variable, a setting, a folder above, or here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelversion.errors import InvalidInputError
from modelversion.layout import REGISTRY

VARIABLE = "MODELVERSION_REGISTRY"
FOLDER = "model-registry"


def default_url(start: Path | None = None) -> str:
    """Give the place of the default registry.

    The first of: `$MODELVERSION_REGISTRY`; `registry` under `[tool.modelversion]` of the
    nearest pyproject.toml that has it, relative to that file; the nearest `model-registry/`
    above that is a registry; `model-registry` in the current folder.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return named
    here = (start or Path.cwd()).resolve()
    for folder in _upwards(here):
        configured = _configured(folder / "pyproject.toml")
        if configured is not None:
            return configured
        if (folder / FOLDER / REGISTRY).is_file():
            return str(folder / FOLDER)
    return str(here / FOLDER)


def _upwards(folder: Path) -> Iterator[Path]:
    yield folder
    yield from folder.parents


def _configured(file: Path) -> str | None:
    if not file.is_file():
        return None
    import tomllib

    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
        return None  # a project file that is being edited is not ours to complain about
    url: Any = settings
    for name in ("tool", "modelversion", "registry"):
        if not isinstance(url, dict):
            raise InvalidInputError(f"{file}: {name!r} stands in no table; found {url!r:.60}")
        url = url.get(name, None if name == "registry" else {})
    if url is None:
        return None
    if not isinstance(url, str) or not url:
        raise InvalidInputError(
            f"{file}: [tool.modelversion] registry must be a path or URL, found {url!r}"
        )
    return url if "://" in url or "::" in url else str(file.parent / Path(url).expanduser())


def announce(url: str, folder: str | None) -> None:
    """Say once where a default registry was made; keep one that is a folder out of git."""
    if folder is not None and not (Path(folder) / ".gitignore").exists():
        (Path(folder) / ".gitignore").write_text("*\n", encoding="utf-8")
    sys.stderr.write(f"modelversion: a new registry was made in {url}\n")
