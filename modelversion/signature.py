"""What an object takes and gives, read from what its library keeps in it.

No code of the user's runs: attributes are looked up where instances keep them, past properties
and `__getattr__`, and a library is asked only if it made the object. Nothing is imported.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from modelversion._json import digest, dumps, encode
from modelversion.parts import _class
from modelversion.records import SignatureRecord
from modelversion.schema import Json, from_json

MAX_LISTED = 1000
MAX_CHARS = 2**16
MAX_COUNTED = 100_000
_MAX_DEPTH = 8
_MAX_MODULES = 10_000
_PLAIN = frozenset([dict, list, tuple, set, str, bytes, int, float, bool, type(None)])
_LABELS = frozenset([str, int, float, bool])
_TEXT = frozenset([str])
_WITH_LISTS = ("numpy", "pandas")
Own = Mapping[str, Any]


def signature_of(value: Any) -> SignatureRecord | None:
    """Give what an object takes and gives, None where it does not tell.

    Estimators in the manner of scikit-learn, boosters of xgboost and lightgbm, modules of torch,
    and plain functions tell it.
    """
    if type(value) in _PLAIN:
        return None
    try:
        return _read(value)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything, capture never
        return None


def _read(value: Any) -> SignatureRecord | None:
    kind = type(value)
    if kind is types.FunctionType:
        return SignatureRecord(kind="function", call=_call(value))
    for (module, name), read in _LIBRARIES.items():
        known = _class(module, name)
        if known is not None and known in kind.__mro__:
            return read(value)
    return _estimator(value)


def _made(
    kind: str, lists: Mapping[str, Sequence[Any] | None], **counts: int | None
) -> SignatureRecord | None:
    """Make the record, None of nothing; of lists that are too long only the digest is kept."""
    known: Json = {name: count for name, count in counts.items() if count is not None}
    left_out = {}
    for name, values in lists.items():
        if values and _is_short(values):
            known[name] = _as_json(values, name)
        elif values:
            left_out[name] = _counted(values, name)
    if not known and not left_out:
        return None
    return from_json(SignatureRecord, {"kind": kind, "left_out": left_out, **known}, "signature")


def _is_short(values: Sequence[Any]) -> bool:
    if len(values) > MAX_LISTED:
        return False
    return len("".join([value for value in values if type(value) is str])) <= MAX_CHARS


def _as_json(values: Sequence[Any], name: str) -> list[Any]:
    found = list(values)
    # Of texts, which are sound, there is nothing to encode.
    return found if _TEXT.issuperset(map(type, found)) else encode(found, name)


def _counted(values: Sequence[Any], name: str) -> Json:
    known: Json = {"count": len(values)}
    if len(values) <= MAX_COUNTED:
        known["sha256"] = digest(dumps(_as_json(values, name)))
    return known


# ---- what instances keep -------------------------------------------------------------------------


def _own(value: Any) -> Own:
    """Give the attributes that an instance keeps itself."""
    try:
        found = object.__getattribute__(value, "__dict__")
    except AttributeError:
        return {}
    return found if type(found) is dict else {}


def _count(value: Any) -> int | None:
    if type(value) is int:
        return value
    return int(value) if _is_scalar(value) else None


def _is_scalar(value: Any) -> bool:
    return _class("numpy", "generic") in type(value).__mro__


def _names(values: Any) -> list[str] | None:
    found = _labels(values)
    return found if found and _TEXT.issuperset(map(type, found)) else None


def _labels(values: Any) -> list[Any] | None:
    """Give a list of texts, numbers and bools as it is in plain Python, None of anything else."""
    kind = type(values)
    if kind not in (list, tuple):
        if kind.__module__.partition(".")[0] not in _WITH_LISTS:
            return None
        values = values.tolist()
    if type(values) not in (list, tuple):
        return None
    if not _LABELS.issuperset(map(type, values)):
        values = [_label(item) for item in values]
    if not _LABELS.issuperset(map(type, values)):
        return None
    if _TEXT.issuperset(map(type, values)) and "".join(values).isascii():
        return list(values)
    return [_sound(item) if type(item) is str else item for item in values]


def _label(value: Any) -> Any:
    if type(value) in _LABELS:
        return value
    if _is_scalar(value):
        return value.item()
    return str.__str__(value) if str in type(value).__mro__ else None


def _sound(text: str) -> str:
    """Give a text without halves of characters, which no JSON has."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# ---- estimators ----------------------------------------------------------------------------------

# Where a composite keeps what it takes from, or gives by, where it has no count of its own.
_TAKES = ("best_estimator_", "estimators_", "estimator_", "regressor_")
_GIVES = ("best_estimator_", "estimator_", "label_binarizer_")
_PARTS = ("steps", "transformer_list")


def _estimator(value: Any) -> SignatureRecord | None:
    lists = {
        "feature_names": _first(value, _takes, lambda own: _names(own.get("feature_names_in_"))),
        "classes": _first(value, _gives, lambda own: _labels(own.get("classes_"))),
    }
    features = _first(value, _takes, lambda own: _count(own.get("n_features_in_")))
    outputs = _first(value, _gives, lambda own: _count(own.get("n_outputs_")))
    return _made("estimator", lists, features=features, outputs=outputs)


def _first(value: Any, follow: Callable[[Own, type], Any], read: Callable[[Own], Any]) -> Any:
    """Give what an object says, or what it holds says for it."""
    for _ in range(_MAX_DEPTH):
        own = _own(value)
        found = read(own)
        if found is not None or not own:
            return found
        value = follow(own, type(value))
    return None


def _takes(own: Own, kind: type) -> Any:
    for name in _PARTS:
        parts = _parts(own.get(name))
        if parts:
            return next((part for part in parts if type(part) not in (str, type(None))), None)
    found = next((own[name] for name in _TAKES if name in own), None)
    return found[0] if type(found) is list and found else found


def _gives(own: Own, kind: type) -> Any:
    parts = _parts(own.get("steps"))
    if parts:
        return parts[-1]
    # What only selects features does not give the classes of the estimator that it asked.
    predicts = any("predict" in part.__dict__ for part in kind.__mro__)
    return next((own[name] for name in _GIVES if name in own), None) if predicts else None


def _parts(found: Any) -> list[Any]:
    """Give the parts of a pipeline, which are named pairs."""
    if type(found) is not list or not all(type(item) is tuple and len(item) > 1 for item in found):
        return []
    return [item[1] for item in found]


# ---- boosters ------------------------------------------------------------------------------------


def _xgboost_booster(
    value: Any, kind: str = "booster", classes: Sequence[Any] | None = None
) -> SignatureRecord | None:
    # Asked of the class: a subclass may have put something of its own in the place of its methods.
    library: Any = _class("xgboost.core", "Booster")
    if library not in type(value).__mro__:
        return None
    names = library.feature_names.fget(value)
    lists = {"feature_names": _names(names), "classes": classes}
    return _made(kind, lists, features=library.num_features(value))


def _xgboost_model(value: Any) -> SignatureRecord | None:
    own = _own(value)
    count = _count(own.get("n_classes_"))
    classes = None if count is None else range(count)
    return _xgboost_booster(own.get("_Booster"), "estimator", classes)


def _lightgbm_booster(
    value: Any, kind: str = "booster", classes: Sequence[Any] | None = None
) -> SignatureRecord | None:
    library: Any = _class("lightgbm.basic", "Booster")
    if library not in type(value).__mro__:
        return None
    names = _names(library.feature_name(value)) or []
    if names == [f"Column_{i}" for i in range(len(names))]:
        names = []  # numbers in the place of names are no names
    lists = {"feature_names": names, "classes": classes}
    return _made(kind, lists, features=library.num_feature(value))


def _lightgbm_model(value: Any) -> SignatureRecord | None:
    own = _own(value)
    return _lightgbm_booster(own.get("_Booster"), "estimator", _labels(own.get("_classes")))


# ---- modules -------------------------------------------------------------------------------------


def _module(value: Any) -> SignatureRecord | None:
    return _made("module", {"parameters": list(_parameters(value))})


def _parameters(module: Any) -> Iterator[str]:
    """Name each parameter of a module with its type and shape, in order, each once."""
    waiting = [("", module)]
    seen: set[int] = set()
    while waiting and len(seen) < _MAX_MODULES:
        before, module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        own = _own(module)
        for name, found in _items(own.get("_parameters")):
            # A subclass of a tensor may be the user's, and then runs code when it is asked.
            if type(found).__module__.partition(".")[0] == "torch" and id(found) not in seen:
                seen.add(id(found))
                yield _sound(f"{before}{name} {_tensor(found)}")
        inner = [(f"{before}{name}.", part) for name, part in _items(own.get("_modules"))]
        waiting.extend(reversed(inner))


def _items(found: Any) -> Iterator[tuple[str, Any]]:
    if dict in type(found).__mro__:
        yield from ((name, item) for name, item in dict.items(found) if type(name) is str)


def _tensor(found: Any) -> str:
    kind = str(found.dtype).removeprefix("torch.")
    try:
        return f"{kind}[{', '.join(map(str, found.shape))}]"
    except RuntimeError:  # a lazy one, whose shape its first input will tell
        return kind


# ---- functions -----------------------------------------------------------------------------------


def _call(function: types.FunctionType) -> str:
    """Print how a function is called: its arguments with their plain defaults.

    Annotations are left out: they may be code that has not run yet.
    """
    code, defaults = function.__code__, dict(function.__kwdefaults__ or {})
    count, names = code.co_argcount, list(code.co_varnames)
    given = function.__defaults__ or ()
    defaults |= zip(names[count - len(given) : count], given, strict=True)
    keywords = [names.pop(count) for _ in range(code.co_kwonlyargcount)]
    said = [_argument(name, defaults) for name in names[:count]]
    if code.co_posonlyargcount:
        said.insert(code.co_posonlyargcount, "/")
    if code.co_flags & inspect.CO_VARARGS:
        said.append(f"*{names.pop(count)}")
    elif keywords:
        said.append("*")
    said += [_argument(name, defaults) for name in keywords]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        said.append(f"**{names.pop(count)}")
    return _sound(f"({', '.join(said)})"[:MAX_CHARS])


def _argument(name: str, defaults: Mapping[str, Any]) -> str:
    return f"{name}={_default(defaults[name])}" if name in defaults else name


def _default(value: Any) -> str:
    if value is None or type(value) in (bool, float):
        return repr(value)
    if type(value) is int and value.bit_length() <= _MAX_DEFAULT:
        return repr(value)
    if type(value) in (str, bytes) and len(value) <= _MAX_DEFAULT:
        return repr(value)
    return "..."


_MAX_DEFAULT = 200
_LIBRARIES: dict[tuple[str, str], Callable[[Any], SignatureRecord | None]] = {
    ("xgboost.core", "Booster"): _xgboost_booster,
    ("xgboost.sklearn", "XGBModel"): _xgboost_model,
    ("lightgbm.basic", "Booster"): _lightgbm_booster,
    ("lightgbm.sklearn", "LGBMModel"): _lightgbm_model,
    ("torch.nn.modules.module", "Module"): _module,
}
