"""What a run has recorded so far: params, metrics, data, steps and parents; any thread may add."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from modelversion import current
from modelversion._json import encode
from modelversion.arguments import owner_params, sort_arguments
from modelversion.errors import InvalidValueError
from modelversion.fingerprints import describe
from modelversion.metrics import check_key, check_metrics
from modelversion.params import encoded, params_of
from modelversion.records import DataRecord, MetricRecord
from modelversion.redaction import Redaction
from modelversion.schema import Json
from modelversion.snapshot import check_mapping, check_params, with_inputs, with_steps
from modelversion.trail import Trace, Traces


class Logbook:
    """The records of one run, checked and as JSON."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.params: Json = {}
        self.data: dict[str, DataRecord] = {}
        self.metrics: dict[str, MetricRecord] = {}
        self.series: list[Json] = []
        self.redacted: list[Redaction] = []
        self.parents: dict[str, None] = {}
        self.traces = Traces()

    def notes(self) -> dict[str, Any]:
        """Give what was recorded, by the fields of `Notes`, with the steps that led to it."""
        with self.lock:
            data, steps, sources = with_steps(self.data.values(), self.traces)
            return {
                "params": dict(self.params),
                "metrics": dict(self.metrics),
                "series": tuple(self.series),
                "data": data,
                "steps": steps,
                "step_sources": sources,
                "parents": tuple(self.parents),
                "redacted": tuple(self.redacted),
            }

    def values(self) -> dict[str, Any]:
        """Give the last value of each metric."""
        with self.lock:
            return {name: record.value for name, record in self.metrics.items()}

    # ---- what is logged

    def take_first(self, params: Mapping[str, Any] | None, parents: Iterable[str]) -> None:
        """Take what is known before the start."""
        self.params = check_params(check_mapping(params, "params"))
        self.parents = dict.fromkeys(parents)

    def add_params(self, params: Any, more: Mapping[str, Any]) -> None:
        """Add params, or those of an object that knows its own."""
        given = params if params is None or isinstance(params, Mapping) else params_of(params)
        found = {**check_mapping(given, "params"), **more}
        checked = {name: encoded(value, f"params[{name!r}]") for name, value in found.items()}
        with self.lock:
            self.params.update(checked)

    def add_metrics(self, metrics: Mapping[str, Any], step: int | None) -> None:
        """Add metrics, with a step to their series too."""
        if step is not None and (not isinstance(step, int) or isinstance(step, bool)):
            raise InvalidValueError(f"step must be an int, found {step!r:.80}")
        found = check_metrics(metrics)
        with self.lock:
            self.metrics.update(found)
            if step is not None:
                at = encode(step, "step")
                self.series += [
                    {"metric": name, "step": at, "value": m.value} for name, m in found.items()
                ]

    def add_data(self, data: Mapping[str, Any]) -> None:
        """Add data by role, and the versions that it was loaded from."""
        for role, value in data.items():
            record = describe(check_key(role, "data"), value)
            reference = current.origin(value)
            with self.lock:
                self.data[role] = record
                if reference is not None:
                    self.parents[reference] = None

    # ---- what is captured

    def add_parent(self, reference: str) -> None:
        """Note a version that the run builds on."""
        with self.lock:
            self.parents[reference] = None

    def add_step(self, trace: Trace) -> None:
        """Note a step of the run."""
        with self.lock:
            self.traces.add(trace)

    def add_input(self, record: DataRecord) -> None:
        """Note a file or folder of data that the run opened."""
        with self.lock:
            self.data = {item.name: item for item in with_inputs(self.data.values(), [record])}

    def add_redactions(self, found: Iterable[Redaction]) -> None:
        """Note what was redacted before it came here, in a worker."""
        with self.lock:
            self.redacted.extend(found)

    def bind_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Record bound arguments: plain values as params, all others as data.

        Capture never fails: what cannot be stored as a value is described.
        """
        kept = {}
        for name, value in arguments.items():
            reference = current.origin(value)
            if reference is None:
                kept[name] = value
            else:
                self.add_parent(reference)
        self.params, data = sort_arguments(kept)
        self.data = {n: describe(n, v, asked=False) for n, v in data.items()}

    def note_owner(self, owner: Any) -> None:
        """Record the params of the object that a tracked method belongs to, if it knows them."""
        self.params = {**owner_params(owner), **self.params}
