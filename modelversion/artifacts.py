"""Artifacts: what is given as one, as the files that a version keeps."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from modelversion import current, layout
from modelversion._json import encode
from modelversion.errors import InvalidPathError, InvalidValueError, TextArtifactWarning

_LONGEST_NAME = 4096

File = tuple[str, "bytes | Path"]


def artifact_files(artifacts: Mapping[str, Any]) -> Iterator[File]:
    """Give the files of artifacts: path in the version, and bytes or a file to copy.

    Args:
        artifacts: Path -> bytes, text, an `os.PathLike` of a file or folder, a matplotlib or
            plotly figure, or a table, in the format that the path's suffix names.

    Raises:
        InvalidPathError: A path is not allowed, or there is no file.
        InvalidValueError: The content is nothing that can be kept.
    """
    for path, content in artifacts.items():
        key = layout.artifact_path(path)
        if isinstance(content, bytes):
            yield key, content
        elif isinstance(content, str):
            encode(content, f"artifacts[{path!r}]")
            _warn_if_it_names_a_file(content, path)
            yield key, content.encode()
        elif isinstance(content, os.PathLike):
            yield from _files_at(Path(content), path, key)
        else:
            yield key, _written(content, path)


def _warn_if_it_names_a_file(text: str, path: str) -> None:
    # Text is never taken for a path; who meant one would miss the file only when it is gone.
    if len(text) < _LONGEST_NAME and os.path.isfile(text):
        warnings.warn(
            f"artifacts[{path!r}] is kept as text, and the text is the name of a file; to keep "
            "the file, pass a pathlib.Path",
            TextArtifactWarning,
            stacklevel=current.user_level(),
        )


def _files_at(source: Path, path: str, key: str) -> Iterator[tuple[str, Path]]:
    if source.is_file():
        yield key, source
        return
    if not source.is_dir():
        raise InvalidPathError(f"artifacts[{path!r}]: there is no file or folder {str(source)!r}")
    found = sorted(source.rglob("*"))
    for file in found:
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            raise InvalidPathError(
                f"artifacts[{path!r}]: {str(file)!r} is a link or no regular file; give what it "
                "points to as an artifact of its own"
            )
        if file.is_file():
            yield layout.artifact_path(f"{path}/{file.relative_to(source).as_posix()}"), file
    if not any(file.is_file() for file in found):
        raise InvalidPathError(f"artifacts[{path!r}]: the folder {str(source)!r} holds no file")


# ---- figures and tables --------------------------------------------------------------------------


def _written(content: Any, path: str) -> bytes:
    """Write a figure or a table in the format that the suffix names."""
    suffix = Path(path).suffix.lower()
    for module, name, writers in _KINDS:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(content, kind):
            writer = writers.get(suffix)
            if writer is None:
                raise InvalidPathError(
                    f"artifacts[{path!r}]: a {module} {name} is written as "
                    f"{', '.join(writers)}, not as {suffix or 'a file without a suffix'}"
                )
            return writer(content)
    raise InvalidValueError(
        f"artifacts[{path!r}] must be bytes, text, a pathlib.Path, a matplotlib or plotly figure "
        f"or a table, found {type(content).__name__}"
    )


def _figure(kind: str) -> Callable[[Any], bytes]:
    def write(figure: Any) -> bytes:
        file = io.BytesIO()
        # The time of writing would make equal figures differ.
        date = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(file, format=kind, bbox_inches="tight", metadata=date)
        return file.getvalue()

    return write


def _buffered(method: str, **options: Any) -> Callable[[Any], bytes]:
    def write(table: Any) -> bytes:
        file = io.BytesIO()
        getattr(table, method)(file, **options)
        return file.getvalue()

    return write


def _arrow(table: Any) -> bytes:
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


_FIGURE = {f".{kind}": _figure(kind) for kind in ("png", "svg", "pdf")}
_KINDS: tuple[tuple[str, str, dict[str, Callable[[Any], bytes]]], ...] = (
    ("matplotlib.figure", "Figure", _FIGURE),
    (
        "plotly.basedatatypes",
        "BaseFigure",
        {
            # A drawn id would make equal figures differ.
            ".html": lambda figure: str(
                figure.to_html(include_plotlyjs="cdn", div_id="figure")
            ).encode(),
            ".json": lambda figure: str(figure.to_json()).encode(),
        },
    ),
    (
        "pandas",
        "DataFrame",
        {
            ".parquet": _buffered("to_parquet"),
            ".csv": _buffered("to_csv"),
            ".html": lambda table: str(table.to_html()).encode(),
        },
    ),
    (
        "polars",
        "DataFrame",
        {".parquet": _buffered("write_parquet"), ".csv": _buffered("write_csv")},
    ),
    ("pyarrow", "Table", {".parquet": _arrow}),
)
