"""What is recorded beside an object, and the same without what is secret in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from modelversion._json import digest
from modelversion.code import CELLS, ENTRY, PATCH, STEPS, encoded_values
from modelversion.records import DataRecord, MetricRecord, SignatureRecord, StepRecord
from modelversion.redaction import NOTHING_LIFTED, Known, Lifted, Redaction, Redactor
from modelversion.schema import Json, evolve, from_json, to_json
from modelversion.source.capture import Capture, Entry, Look
from modelversion.source.git import GitState

MAX_FAILED = 1000


@attrs.frozen(kw_only=True)
class Setting:
    """What a run is of, as far as it is known before it starts."""

    model: str
    code: Entry | None = None
    keep_failed: bool = False
    lifted: Lifted = NOTHING_LIFTED
    tags: Json = attrs.field(factory=dict)
    description: str | None = None


@attrs.frozen(kw_only=True)
class Notes:
    """What is recorded beside an object, checked and as JSON.

    `redacted` is what a worker redacted before it came here.
    """

    params: Json
    metrics: dict[str, MetricRecord]
    data: tuple[DataRecord, ...]
    tags: Json
    description: str | None = None
    parents: tuple[str, ...] = ()
    look: Look = attrs.field(factory=Look)
    duration_seconds: float | None = None
    series: tuple[Json, ...] = ()
    failed: str | None = None
    steps: tuple[StepRecord, ...] = ()
    step_sources: Mapping[str, str] = attrs.field(factory=dict)
    lifted: Lifted = NOTHING_LIFTED
    redacted: tuple[Redaction, ...] = ()


def without_secrets(
    notes: Notes, parts: Iterable[StepRecord], signature: SignatureRecord | None, known: Known
) -> tuple[Notes, tuple[StepRecord, ...], SignatureRecord | None, Json]:
    """Redact everything that is recorded, at one place, so that nothing can be forgotten.

    Args:
        notes: What was recorded.
        parts: The parts of the object, which stand behind the steps.
        signature: What the object takes and gives.
        known: What is secret in this process.

    Returns:
        Notes, parts and signature without their secrets, and the rules that found some, by path.
    """
    redactor = Redactor(known, notes.lifted.paths, found=notes.redacted)
    # Values come first: what is secret by its name there is looked for in the texts.
    params, tags = redactor.value(notes.params, "params"), redactor.value(notes.tags, "tags")
    every = [_step(step, i, redactor) for i, step in enumerate((*notes.steps, *parts))]
    sources = {
        sha256: redactor.text(text, STEPS, code=True) for sha256, text in notes.step_sources.items()
    }
    known_as = {sha256: _digest(text) for sha256, text in sources.items()}
    steps = [_with_digest(step, known_as) for step in every]
    redacted = attrs.evolve(
        notes,
        params=params,
        tags=tags,
        data=tuple(_data(item, redactor) for item in notes.data),
        description=notes.description and redactor.text(notes.description, "description"),
        look=_look(notes.look, redactor),
        # Cut last: half a token is not recognised.
        failed=notes.failed and redactor.text(notes.failed, "failed")[:MAX_FAILED],
        steps=tuple(steps[: len(notes.steps)]),
        step_sources={known_as[sha256]: text for sha256, text in sources.items()},
    )
    signature = signature and _signature(signature, redactor)
    return redacted, tuple(steps[len(notes.steps) :]), signature, redactor.rules()


def _digest(text: str) -> str:
    """Digest a step's source as it is stored."""
    return digest(text.encode("utf-8", "replace"))


def _with_digest(step: StepRecord, known_as: Mapping[str, str]) -> StepRecord:
    sha256 = known_as.get(step.code.sha256 or "")
    return step if sha256 is None else evolve(step, code=evolve(step.code, sha256=sha256))


def _step(step: StepRecord, i: int, redactor: Redactor) -> StepRecord:
    path = f"steps[{i}]"
    return evolve(
        step,
        params=redactor.value(step.params, f"{path}.params"),
        inputs=tuple(_data(item, redactor, f"{path}.inputs") for item in step.inputs),
        outputs=tuple(_data(item, redactor, f"{path}.outputs") for item in step.outputs),
        failed=step.failed and redactor.text(step.failed, f"{path}.failed"),
    )


def _signature(signature: SignatureRecord, redactor: Redactor) -> SignatureRecord:
    # Most have nothing secret, and a record is not made anew for that.
    changed: Json = {}
    for name in ("feature_names", "classes", "parameters"):
        found = redactor.listed(getattr(signature, name), f"signature.{name}")
        if found != getattr(signature, name):
            changed[name] = found
    call = signature.call and redactor.text(signature.call, "signature.call", code=True)
    if call != signature.call:
        changed["call"] = call
    return evolve(signature, **changed) if changed else signature


def _look(look: Look, redactor: Redactor) -> Look:
    state = look.told()
    return attrs.evolve(
        look,
        code=None if look.code is None else _code(look.code, redactor),
        git=None if state is None else _git(state, redactor),
    )


def _code(code: Capture, redactor: Redactor) -> Capture:
    # First: what is secret by its name may stand in the text too.
    values = redactor.value(encoded_values(code.values), "code.globals")
    pieces = (
        attrs.evolve(piece, text=redactor.text(piece.text, ENTRY, code=True))
        for piece in code.pieces
    )
    cells = code.cells
    if cells is not None:
        every = (redactor.text(cell, CELLS, code=True) for cell in cells.cells)
        cells = attrs.evolve(cells, cells=tuple(every))
    return attrs.evolve(code, pieces=tuple(pieces), cells=cells, values=values)


def _git(state: GitState, redactor: Redactor) -> GitState:
    return attrs.evolve(
        state,
        changed=_names(state.changed, redactor),
        left_out=_names(state.left_out, redactor),
        untracked=_names(state.untracked, redactor),
        branch=state.branch and redactor.text(state.branch, "code.git.branch"),
        remote=state.remote and redactor.text(state.remote, "code.git.remote"),
        patch=tuple(redactor.text(part, PATCH, code=True) for part in state.patch),
        problem=state.problem and redactor.text(state.problem, "code.git.problem"),
    )


def _names(names: tuple[str, ...], redactor: Redactor) -> tuple[str, ...]:
    return tuple(redactor.text(name, "code.git.names", code=True) for name in names)


def _data(item: DataRecord, redactor: Redactor, path: str = "data") -> DataRecord:
    # A column may be called "password"; what stands beside it is its type.
    name = redactor.text(item.name, path)
    found = redactor.value({**to_json(item), "name": name}, f"{path}.{name}", names=False)
    return from_json(DataRecord, found, path)
