"""Checkpoints: three lines that say how far every journal of a registry had got.

Pure: text in, values out. A journal's last digest covers all before it, so a position and a
digest pin the whole of it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import attrs

from modelversion import _json, layout
from modelversion.errors import InvalidInputError, NewerFormatError, RecordError
from modelversion.refs import check_name

_FIRST = re.compile(r"modelversion checkpoint (\d+), registry ([0-9a-f]{1,64}), (\S+)")
_HEAD = re.compile(r"([^\s=]+)=([1-9]\d{0,11}):([0-9a-f]{64})")
_THIRD = re.compile(r"sha256 ([0-9a-f]{64})")
_LARGEST = 64 * 2**20
VERSION = 1


@attrs.frozen
class Pin:
    """The end of a journal: position and sha256 of its last entry."""

    position: int
    digest: str


@attrs.frozen(kw_only=True, repr=False)
class Checkpoint:
    """What the journals of a registry said at some time; `str` gives its three lines.

    Attributes:
        registry: The registry's id.
        time: When it was taken, by the clock of who took it.
        heads: Folder of each journal that has entries -> where it ended.
    """

    registry: str
    time: str
    heads: dict[str, Pin]

    @property
    def digest(self) -> str:
        """The sha256 of the first two lines, which is the third: it covers every journal."""
        return _json.digest("\n".join(_lines(self)).encode())

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the three lines again.

        Raises:
            InvalidInputError: It is no checkpoint, or was changed since it was printed.
            NewerFormatError: A newer release printed it.
        """
        lines = _three_lines(text)
        first, third = _FIRST.fullmatch(lines[0]), _THIRD.fullmatch(lines[2])
        if first and int(first[1]) > VERSION:
            raise NewerFormatError(
                f"the checkpoint is of kind {first[1]}; this modelversion reads up to {VERSION}: "
                "install a newer release"
            )
        if not first or not third or not lines[1].startswith("journals"):
            raise _no_checkpoint(text)
        if third[1] != _json.digest(f"{lines[0]}\n{lines[1]}".encode()):
            raise InvalidInputError(
                "the checkpoint's third line is not the sha256 of the first two: its text was "
                "changed; take it again from where it was pinned"
            )
        return cls(registry=first[2], time=_time(first[3]), heads=_heads(lines[1]))

    def __str__(self) -> str:
        return "\n".join([*_lines(self), f"sha256 {self.digest}", ""])

    def __repr__(self) -> str:
        return f"<Checkpoint of {len(self.heads)} journals at {self.time}, sha256 {self.digest}>"


def _lines(checkpoint: Checkpoint) -> tuple[str, str]:
    heads = (
        f" {folder.removeprefix(_MODELS)}={pin.position}:{pin.digest}"
        for folder, pin in sorted(checkpoint.heads.items(), key=_policies_first)
    )
    return (
        f"modelversion checkpoint {VERSION}, registry {checkpoint.registry}, {checkpoint.time}",
        "journals" + "".join(heads),
    )


_MODELS = f"{layout.MODELS}/"


def _policies_first(item: tuple[str, Any]) -> tuple[bool, str]:
    return item[0] != layout.POLICIES, item[0]


def _three_lines(text: Any) -> list[str]:
    if not isinstance(text, str) or len(text) > _LARGEST:
        raise _no_checkpoint(text)
    # Git and editors may have changed how lines end.
    lines = text.strip().splitlines()
    if len(lines) != 3:
        raise _no_checkpoint(text)
    return lines


def _no_checkpoint(found: Any) -> InvalidInputError:
    shown = repr(found[:60]) if isinstance(found, str) else type(found).__name__
    return InvalidInputError(
        f"a checkpoint is the three lines that str(registry.checkpoint()) gives, found {shown}; "
        "the path of a file that holds them is given as a pathlib.Path"
    )


def _time(text: str) -> str:
    try:
        _json.parse_timestamp(text, "the checkpoint's time")
    except RecordError as e:
        raise InvalidInputError(str(e)) from e
    return text


def _heads(line: str) -> dict[str, Pin]:
    heads: dict[str, Pin] = {}
    for part in line.split(" ")[1:]:
        found = _HEAD.fullmatch(part)
        if not found:
            raise InvalidInputError(f"the checkpoint's second line holds {part[:60]!r}")
        heads[_folder(found[1])] = Pin(int(found[2]), found[3])
    return heads


def _folder(name: str) -> str:
    """Give a journal's folder; it is built from checked parts, whatever the text says."""
    if name == layout.POLICIES:
        return name
    model, _, journal = name.partition("/")
    if not re.fullmatch(r"[a-z]{1,20}", journal) or check_name(model, "model") != model:
        raise InvalidInputError(f"the checkpoint names the journal {name[:80]!r}, which is none")
    return layout.journal(model, journal)


def read_checkpoint(given: Any) -> Checkpoint:
    """Give the checkpoint that was passed as one, as its text, or as the path of its file.

    Raises:
        InvalidInputError: It is none of these.
    """
    if isinstance(given, Checkpoint):
        return given
    if not isinstance(given, os.PathLike):
        return Checkpoint.parse(given)
    try:
        return Checkpoint.parse(Path(given).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as e:
        raise InvalidInputError(f"no checkpoint can be read from {os.fspath(given)}: {e}") from e
