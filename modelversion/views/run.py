"""What a run shows while it goes on, and after it."""

from __future__ import annotations

from typing import Any

import attrs

from modelversion._json import decode
from modelversion.code import joined
from modelversion.display import Cell, Facts, Page, Section, Table, Text, Tone, size, without_empty
from modelversion.metrics import is_number
from modelversion.notes import Notes, without_secrets
from modelversion.redaction import known_secrets
from modelversion.source.capture import Look
from modelversion.storage import Blob
from modelversion.views.version import data_blocks, seconds

_TONES: dict[str, Tone] = {"committed": "good", "running": "", "discarded": "warn"}


def run_page(
    noted: Notes, blobs: tuple[Blob, ...], *, model: str, state: str | None, version: str | None
) -> Page:
    """Describe a run: how it stands, and what was recorded so far, without its secrets."""
    # What git tells is not waited for.
    noted = attrs.evolve(noted, look=Look(noted.look.code))
    notes, *_ = without_secrets(noted, (), None, known_secrets())
    code = notes.look.code
    state = state or "not started"
    says = f"committed as {version}" if version and not notes.failed else state
    tone = "bad" if notes.failed else _TONES.get(state, "")
    duration = notes.duration_seconds if state == "running" else None
    params = Table("params", ("param", "value"), rows=list(decode(notes.params).items()))
    return Page(
        f"run of {model}",
        f"failed: {notes.failed}" if notes.failed else says,
        tone=tone,
        blocks=[
            Facts(
                {
                    "kept as": version if notes.failed else None,
                    "so far": seconds(duration),
                    "entry": None if code is None else code.entry.name,
                    "made from": ", ".join(notes.parents),
                }
            ),
            _metrics(notes),
            params,
            *data_blocks(notes.data),
            Table("artifacts", ("file", "size"), rows=[(b.path, size(b.size)) for b in blobs]),
            Section("Source", [Text("source", "" if code is None else joined(code.pieces)[0])]),
        ],
    )


def _metrics(notes: Notes) -> Table:
    drawn: dict[str, list[Any]] = {}
    for line in notes.series:
        drawn.setdefault(line["metric"], []).append(decode(line["value"]))
    rows = []
    for name, metric in notes.metrics.items():
        values = [value for value in drawn.get(name, ()) if is_number(value)]
        shown = Cell(decode(metric.value), spark=values if len(values) > 1 else ())
        rows.append((name, shown, len(drawn.get(name, ())) or None, metric.n))
    return without_empty(Table("metrics", ("metric", "value", "steps", "n"), rows=rows))
