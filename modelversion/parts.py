"""The parts of fitted scikit-learn pipelines, read from the object; nothing is run or refitted."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from modelversion.params import bound_params
from modelversion.records import CodeRecord, StepRecord
from modelversion.schema import evolve

MAX_PARTS = 200
MAX_NAMES = 1000
_MAX_DEPTH = 8
_MAX_HELD = 32
_LIKELY_GROWTH = 5


def parts_of(value: Any) -> tuple[StepRecord, ...]:
    """Give a step for each part of the pipelines in an object, outer ones before inner ones.

    Pipelines, column transformers, feature unions and the best estimator of a search are found
    where the object is one, or holds one in a dict, a list, a tuple or an attribute.
    """
    try:
        walk = _Walk()
        for name, found in _held(value):
            walk.visit(found, name, None, ())
    except Exception:  # noqa: BLE001 - a foreign object may raise anything, capture never
        return ()
    return tuple(walk.parts)


def _held(value: Any) -> Iterator[tuple[str, Any]]:
    """Give the pipelines of an object, with the names that it holds them under."""
    composites = _composites()
    if isinstance(value, composites):
        yield "", value
        return
    if isinstance(value, dict):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        items = [(f"[{i}]", item) for i, item in enumerate(value)]
    else:
        items = list(getattr(value, "__dict__", {}).items())
    for name, item in items[:_MAX_HELD]:
        if isinstance(item, composites):
            yield name, item


def _composites() -> tuple[type, ...]:
    found = (_class(module, name) for module, name in (_SEARCH, *_COMPOSITES))
    return tuple(kind for kind in found if kind is not None)


def _class(module: str, name: str) -> type | None:
    """Give a class, None while nothing has imported it: then no object is of it."""
    found: type | None = getattr(sys.modules.get(module), name, None)
    return found


def _is(value: Any, module: str, name: str) -> bool:
    kind = _class(module, name)
    return kind is not None and isinstance(value, kind)


_SEARCH = ("sklearn.model_selection._search", "BaseSearchCV")
_PIPELINE = ("sklearn.pipeline", "Pipeline")
_UNION = ("sklearn.pipeline", "FeatureUnion")
_COLUMNS = ("sklearn.compose", "ColumnTransformer")
_COMPOSITES = (_PIPELINE, _UNION, _COLUMNS)
_INNER = frozenset(["steps", "transformer_list", "transformers"])
Names = tuple[str, ...]


class _Walk:
    """Goes through a composite and notes each part, with the names of the features it gives."""

    def __init__(self) -> None:
        self.parts: list[StepRecord] = []

    def visit(self, value: Any, name: str, parent: int | None, taken: Names) -> Names:
        """Note a part and what is inside it; give the names of its features, none if unknown."""
        if len(self.parts) >= MAX_PARTS or name.count("/") > _MAX_DEPTH:
            return ()
        if _is(value, *_SEARCH):
            best = getattr(value, "best_estimator_", None)
            inner = f"{name}/best_estimator_" if name else "best_estimator_"
            return () if best is None else self.visit(best, inner, parent, taken)
        at = len(self.parts)
        self.parts.append(_part(value, name or type(value).__name__))
        self.parts[at] = evolve(self.parts[at], parent=parent)
        taken = _names(getattr(value, "feature_names_in_", ())) or taken
        before = f"{name}/" if name else ""
        if _is(value, *_PIPELINE):
            for inner, part in value.steps:
                taken = self._one(part, f"{before}{inner}", at, taken)
            given, width = taken, self.parts[-1].features_out
        else:
            self._inside(value, before, at, taken)
            width = self._width(value, at)
            given = _given(value, taken, width)
        self.parts[at] = evolve(
            self.parts[at],
            features_in=_count(value, "n_features_in_"),
            features_out=len(given) or width,
            feature_names=given,
        )
        return given

    def _inside(self, value: Any, before: str, at: int, taken: Names) -> None:
        if _is(value, *_UNION):
            for inner, part in value.transformer_list:
                self._one(part, f"{before}{inner}", at, taken)
        elif _is(value, *_COLUMNS):
            for inner, part, chosen in getattr(value, "transformers_", value.transformers):
                columns = _columns(chosen, taken)
                here = len(self.parts)
                self._one(part, f"{before}{inner}", at, columns if taken else ())
                if here < len(self.parts):
                    found = evolve(self.parts[here], columns=columns[:MAX_NAMES])
                    self.parts[here] = found

    def _width(self, value: Any, at: int) -> int | None:
        if not _is(value, *_UNION):
            return _width(value)
        widths = [part.features_out for part in self.parts[at + 1 :] if part.parent == at]
        return None if None in widths else sum(width or 0 for width in widths)

    def _one(self, part: Any, name: str, at: int, taken: Names) -> Names:
        if part is None or isinstance(part, str):
            if len(self.parts) < MAX_PARTS:
                code = CodeRecord(entry=str(part or "passthrough"))
                self.parts.append(StepRecord(name=name, form="part", code=code, parent=at))
            return () if part == "drop" else taken
        return self.visit(part, name, at, taken)


def _part(value: Any, name: str) -> StepRecord:
    kind = type(value)
    return StepRecord(
        name=name,
        form="part",
        code=CodeRecord(entry=f"{kind.__module__}:{kind.__qualname__}"),
        params=_own_params(value),
    )


def _own_params(value: Any) -> dict[str, Any]:
    try:
        found = value.get_params(deep=False)
        own = {str(name): item for name, item in found.items() if name not in _INNER}
        return bound_params(own)[0]
    except Exception:  # noqa: BLE001 - a foreign object may raise anything, capture never
        return {}


# ---- features ------------------------------------------------------------------------------------


def _count(value: Any, name: str) -> int | None:
    try:
        found = getattr(value, name, None)
        return None if found is None or callable(found) else int(found)
    except Exception:  # noqa: BLE001 - a foreign property may raise anything, capture never
        return None


def _width(value: Any) -> int | None:
    """Tell how many features a fitted transformer gives, where an attribute says so."""
    if not hasattr(type(value), "transform"):
        return None
    for read in _WIDTHS:
        try:
            found = read(value)
        except Exception:  # noqa: BLE001, S112 - not this kind of transformer
            continue
        if found is not None:
            return int(found)
    return None


_WIDTHS = (
    lambda value: max(place.stop for place in value.output_indices_.values()),
    lambda value: len(value.vocabulary_),
    lambda value: sum(value._n_features_outs),
    lambda value: value._n_features_out,
    lambda value: value.n_output_features_,
    lambda value: value.n_features_out_,
    lambda value: int(value.get_support().sum()),
    lambda value: value.n_features_in_ if _keeps_features(value) else None,
)


def _keeps_features(value: Any) -> bool:
    mixin = getattr(sys.modules.get("sklearn.base"), "OneToOneFeatureMixin", None)
    return mixin is not None and isinstance(value, mixin)


def _given(value: Any, taken: Names, width: int | None) -> Names:
    """Ask a fitted transformer for the names of its features, where they are few enough."""
    names = getattr(value, "get_feature_names_out", None)
    likely = width or (_count(value, "n_features_in_") or 0) * _LIKELY_GROWTH
    if names is None or not 0 < likely <= MAX_NAMES:
        return ()
    for given in ((list(taken),) if taken else (), ()):
        try:
            found = _names(names(*given))
        except Exception:  # noqa: BLE001, S112 - not fitted, or it knows other names
            continue
        # Numbers in the place of names are no names.
        return () if found == tuple(f"x{i}" for i in range(len(found))) else found
    return ()


def _names(values: Any) -> Names:
    try:
        if len(values) > MAX_NAMES:
            return ()
        return tuple(_text(value) for value in values)
    except TypeError:
        return ()


def _text(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _columns(chosen: Any, taken: Names) -> Names:
    """Give the names of the columns that a column transformer hands to one of its parts."""
    if isinstance(chosen, (str, int)):
        chosen = [chosen]
    elif isinstance(chosen, slice):
        chosen = _sliced(chosen, taken)
    if callable(chosen):
        return ()
    values = list(chosen)
    if values and all(type(value).__name__ in ("bool", "bool_") for value in values):
        values = [i for i, picked in enumerate(values) if picked]
    return tuple(_column(value, taken) for value in values)


def _sliced(chosen: slice, taken: Names) -> Sequence[Any]:
    if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
        first = 0 if chosen.start is None else taken.index(chosen.start)
        last = len(taken) if chosen.stop is None else taken.index(chosen.stop) + 1
        return taken[first:last]
    if taken:
        return taken[chosen]
    return range(*chosen.indices(chosen.stop)) if chosen.stop is not None else ()


def _column(value: Any, taken: Names) -> str:
    if not isinstance(value, str) and hasattr(value, "__index__"):
        place = value.__index__()
        return taken[place] if -len(taken) <= place < len(taken) else str(place)
    return _text(value)
