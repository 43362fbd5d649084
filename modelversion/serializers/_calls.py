"""How names of the list may be used while a pickle is loaded: what calls them, with what state.

A name may run no code and still be called so that numpy takes bytes for pointers, or so that one
object is made to use another that is half made. So a name is called with numbers and texts, or
as its library's own pickles call it, which is written down here; state is given once, to what a
call made; items are put into containers. What is not understood is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from modelversion.serializers._arrays import (
    is_array_state,
    is_flat,
    is_shape,
    make_dtype,
    read_dtype,
)
from modelversion.serializers._standins import (
    BUFFER,
    LITERALS,
    Array,
    Dtype,
    Made,
    Named,
    Number,
    Pairs,
)
from modelversion.serializers._trusted import TRUSTED

Kind = Callable[[Any], bool]
Maker = Callable[[str, tuple[Any, ...]], Made | None]


# ---- what the stack machine asks


def is_free(name: str, given: Collection[str]) -> bool:
    """Tell whether a name is judged as a whole: it is not on the list, or the reader gave it."""
    return name not in TRUSTED or name in given


def is_free_value(value: Any) -> bool:
    """Tell whether a value is, or was made by, a name that is judged as a whole."""
    return isinstance(value, (Named, Made)) and value.free


def made_by(called: Any, args: Any) -> Made | None:
    """Give what a call makes, None if the name is not called so."""
    if is_free_value(called):
        return Made(called.name, free=True)
    if type(called) is not Named or type(args) is not tuple or not _give(args):
        return None
    return _MAKERS.get(called.name, _plain)(called.name, args)


def takes_state(made: Any, state: Any) -> bool:
    """Tell whether BUILD gives such a state to what a call made, and for the first time."""
    if is_free_value(made):
        return True
    if not isinstance(made, Made) or not made.fresh:
        return False
    made.fresh = False
    if type(made) is Dtype:
        return read_dtype(made, state)
    if type(made) is Array:
        return is_array_state(state)
    return _give([state]) if type(state) is Pairs else _is_tuple_state(state)


def takes_items(target: Any) -> bool:
    """Tell whether items may be appended to what a call made."""
    return is_free_value(target) or _made("collections:deque")(target)


def takes_pairs(target: Any) -> bool:
    """Tell whether keys and values may be put into what a call made, or into a dict."""
    return is_free_value(target) or _made(*_DICTS)(target)


def _is_tuple_state(state: Any) -> bool:
    """Tell a tuple for `__setstate__` from a dict and slots, which are set on any class."""
    if type(state) is not tuple or not _give(state):
        return False
    return len(state) != 2 or not (type(state[1]) is Pairs or takes_pairs(state[1]))


def _give(values: Iterable[Any]) -> bool:
    """Note that dicts go to one who may change them.

    False where numpy keeps one for its fields, or would yet give an array other memory.
    """
    for value in values:
        if type(value) is Pairs:
            value.given = True
            if value.kept:
                return False
        elif type(value) is Array and value.fresh:
            return False
    return True


# ---- kinds of arguments


def _is_literal(value: Any) -> bool:
    return type(value) in LITERALS


def _is_integer(value: Any) -> bool:
    return type(value) is int


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_container(value: Any) -> bool:
    return type(value) in (tuple, list, Pairs)


def _is_bytes(value: Any) -> bool:
    return type(value) is bytes


def _is_pairs(value: Any) -> bool:
    return type(value) is Pairs


def _is_array(value: Any) -> bool:
    return type(value) is Array and not value.fresh


def _is_buffer(value: Any) -> bool:
    return value is BUFFER or type(value) is bytes or _made("builtins:bytearray")(value)


def _is_clock(value: Any) -> bool:
    return type(value) is Dtype and value.kind in ("m", "M")


def _named(*names: str) -> Kind:
    """Give the kind of some names, and of those that the reader gave."""
    return lambda value: type(value) is Named and (value.free or value.name in names)


def _made(*names: str) -> Kind:
    """Give the kind of what some names make, and those that the reader gave."""
    return lambda value: isinstance(value, Made) and (value.free or value.name in names)


def _any(*kinds: Kind) -> Kind:
    return lambda value: any(kind(value) for kind in kinds)


def _equal(wanted: Any) -> Kind:
    return lambda value: type(value) is type(wanted) and value == wanted


def _is_of_pandas(value: Any) -> bool:
    """Tell what pandas' own makers are given: numbers, containers, arrays, and what they made."""
    if type(value) is Dtype:
        return is_flat(value) or value.kind == "O"
    own = isinstance(value, Made) and value.name.startswith("pandas")
    return own or _is_literal(value) or _is_container(value) or _is_array(value)


def _is_keyed(value: Any) -> bool:
    if type(value) is not Pairs:
        return False
    keys, values = value[::2], value[1::2]
    return all(map(_is_text, keys)) and all(map(_is_of_pandas, values))


def _is_arrow(value: Any) -> bool:
    """Tell an array of pyarrow that has no others inside: type, three counts, buffers."""
    if type(value) is not tuple or len(value) != 7:
        return False
    alias, *counts, buffers, children, dictionary = value
    typed = _made("pyarrow.lib:type_for_alias")(alias) and all(map(_is_integer, counts))
    listed = type(buffers) is list and all(map(_is_arrow_buffer, buffers))
    return typed and listed and type(children) is list and not children and dictionary is None


def _is_arrow_buffer(value: Any) -> bool:
    return value is None or _made("pyarrow.lib:py_buffer")(value)


# ---- who is called with what


def _plain(name: str, args: tuple[Any, ...]) -> Made | None:
    return _fresh(name) if all(map(_is_literal, args)) else None


def _never(name: str, args: tuple[Any, ...]) -> Made | None:
    return None


def _fresh(name: str) -> Made:
    return Made(name, fresh=True)


def _fresh_array(name: str) -> Made:
    return Array(name, fresh=True)


def _with(*kinds: Kind, least: int | None = None, made: Callable[[str], Made] = _fresh) -> Maker:
    """Give a maker that is called with such arguments; those after the `least` may be left out."""
    fewest = len(kinds) if least is None else least

    def maker(name: str, args: tuple[Any, ...]) -> Made | None:
        if not fewest <= len(args) <= len(kinds):
            return None
        fit = all(kind(arg) for kind, arg in zip(kinds, args, strict=False))
        return made(name) if fit else None

    return maker


def _times(name: str, args: tuple[Any, ...]) -> Made | None:
    """Read an array of times, as `_reducers` sends it; with no other dtype is an array called."""
    made = _TIMES(name, args)
    if made is None:
        return None
    shape, *_, strides = args
    # numpy's own check that they stay inside the buffer does not see that they overflow.
    reach = sum(n * stride for n, stride in zip(shape, strides, strict=False))
    return made if len(shape) == len(strides) and reach < 2**62 else None


def _each(module: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{module}:{name}" for name in names)


def _numpys(maker: Maker, module: str, name: str) -> dict[str, Maker]:
    """Give what a maker of numpy is called before numpy 2 and since."""
    return {f"numpy.{core}.{module}:{name}": maker for core in ("core", "_core")}


_DICTS = _each("collections", "Counter", "OrderedDict", "defaultdict")
_DICTS += ("sklearn.utils._bunch:Bunch",)
_NDARRAY = _named("numpy:ndarray")
_BIT_GENERATORS = _each("numpy.random._pcg64", "PCG64", "PCG64DXSM") + tuple(
    f"numpy.random._{kind.lower()}:{kind}" for kind in ("MT19937", "Philox", "SFC64")
)
_RANDOM = "numpy.random._pickle"
_MAKES_BITS = f"{_RANDOM}:__bit_generator_ctor"
_FROM_BITS = _with(_any(_is_text, _made(_MAKES_BITS)), _named(_MAKES_BITS), least=1)
_SEEDS = "numpy.random.bit_generator"
_MAKES_INDEX = "pandas.core.indexes"
_MAKES_TIME = "pandas._libs.tslibs"
_TIMES = _with(is_shape, _is_clock, _is_buffer, _equal(0), is_shape, made=Array)
_TIMEZONE = _any(_equal(None), _made("datetime:timezone"))
_TIME = _any(
    _is_literal,
    _made(f"{_MAKES_TIME}.timestamps:_unpickle_timestamp"),
    _made(f"{_MAKES_TIME}.timedeltas:_timedelta_unpickle"),
)
_OFFSET = _made(f"{_MAKES_TIME}.offsets:MonthEnd")
_PANDAS_BACKED = (
    "pandas:Categorical",
    *_each("pandas.arrays", "DatetimeArray", "PeriodArray", "TimedeltaArray"),
)
_CHECKSUMMED = (_is_integer, _equal(None))
_LISTED = _with(_is_container, _is_literal, least=0)

# A name that is not here is called with numbers and texts.
_MAKERS: dict[str, Maker] = {
    **_numpys(
        _with(_NDARRAY, _equal((0,)), _equal(b"b"), made=_fresh_array), "multiarray", "_reconstruct"
    ),
    **_numpys(_with(is_flat, _is_bytes, made=Number), "multiarray", "scalar"),
    **_numpys(
        _with(_is_buffer, is_flat, is_shape, _is_text, is_shape, least=4, made=Array),
        "numeric",
        "_frombuffer",
    ),
    "numpy.ma.core:_mareconstruct": _with(
        _named("numpy.ma:MaskedArray"), _NDARRAY, _equal((0,)), _equal("b"), made=_fresh_array
    ),
    "numpy:dtype": make_dtype,
    "numpy:ndarray": _times,
    _MAKES_BITS: _with(_any(_is_text, _named(*_BIT_GENERATORS))),
    **dict.fromkeys(_each(_RANDOM, "__generator_ctor", "__randomstate_ctor"), _FROM_BITS),
    f"{_SEEDS}:__pyx_unpickle_SeedSequence": _with(_named(f"{_SEEDS}:SeedSequence"), *_CHECKSUMMED),
    # Passed to those above or kept as a param, but never called.
    **dict.fromkeys(["numpy.ma:MaskedArray", f"{_SEEDS}:SeedSequence"], _never),
    **dict.fromkeys(
        _each(
            "numpy",
            *("absolute", "exp", "expm1", "log", "log10", "log1p", "log2", "sign", "sqrt"),
            *("square", "bool", "bool_", "bytes_", "complex128", "complex64", "datetime64"),
            *("float16", "float32", "float64", "int16", "int32", "int64", "int8", "object_"),
            *("str_", "timedelta64", "uint16", "uint32", "uint64", "uint8"),
        ),
        _never,
    ),
    **dict.fromkeys(
        (
            "pandas:NA",
            "scipy._lib.array_api_compat.numpy._aliases:asarray",
            "sklearn.cluster._kmeans:_kmeans_single_lloyd",
            "sklearn.metrics._classification:balanced_accuracy_score",
            *_each("sklearn.feature_selection._univariate_selection", "chi2", "f_classif"),
            "sklearn.feature_selection._univariate_selection:f_regression",
            *_each("sklearn.feature_selection._mutual_info", "mutual_info_classif"),
            "sklearn.feature_selection._mutual_info:mutual_info_regression",
        ),
        _never,
    ),
    # The standard library.
    **dict.fromkeys(_each("builtins", "set", "frozenset", "list", "dict"), _LISTED),
    "builtins:bytearray": _with(_is_bytes, least=0),
    **dict.fromkeys(_each("collections", "Counter", "deque"), _LISTED),
    "collections:OrderedDict": _LISTED,
    "collections:defaultdict": _with(
        _any(_equal(None), _named(*_each("builtins", "set", "list", "dict"))), least=0
    ),
    **dict.fromkeys(_each("datetime", "datetime", "time"), _with(_is_bytes, _TIMEZONE, least=1)),
    "datetime:timezone": _with(_made("datetime:timedelta"), _is_text, least=1),
    "copyreg:_reconstructor": _with(
        _named(*_each("scipy.sparse._dok", "dok_array", "dok_matrix")),
        *(_named("builtins:dict"), _is_pairs),
    ),
    # pandas and pyarrow.
    "pandas._libs.arrays:__pyx_unpickle_NDArrayBacked": _with(
        _named(*_PANDAS_BACKED), *_CHECKSUMMED
    ),
    "pandas._libs.interval:__pyx_unpickle_IntervalMixin": _with(
        _named("pandas.arrays:IntervalArray"), *_CHECKSUMMED
    ),
    "pandas._libs.internals:_unpickle_block": _with(
        _is_of_pandas, _any(_made("builtins:slice"), _is_array), _is_integer
    ),
    "pandas.core.internals.managers:BlockManager": _with(_is_container, _is_container, least=0),
    f"{_MAKES_INDEX}.base:_new_Index": _with(
        _named(*_each("pandas", "Index", "MultiIndex", "RangeIndex")), _is_keyed
    ),
    f"{_MAKES_INDEX}.datetimes:_new_DatetimeIndex": _with(
        _named("pandas:DatetimeIndex"), _is_keyed
    ),
    f"{_MAKES_TIME}.timestamps:_unpickle_timestamp": _with(
        *(_is_integer, _any(_equal(None), _OFFSET), _TIMEZONE, _is_integer), least=3
    ),
    "pandas:Interval": _with(_TIME, _TIME, _is_text),
    "pandas:Period": _with(_is_literal, _OFFSET, _is_integer),
    "pandas:StringDtype": _with(_is_text, _any(_is_literal, _named("pandas:NA")), least=0),
    "pyarrow.lib:_restore_array": _with(_is_arrow),
    "pyarrow.lib:py_buffer": _with(_is_buffer),
    # scikit-learn.
    "sklearn.tree._tree:Tree": _with(_is_integer, _is_array, _is_integer),
    "sklearn.gaussian_process.kernels:Hyperparameter": _with(
        *(_is_text, _is_text, _any(_is_text, _is_array), _is_integer, _is_literal)
    ),
    **{
        f"sklearn.{module}:newObj": _with(_named(f"sklearn.{module}:{name}"))
        for module, name in (
            ("metrics._dist_metrics", "EuclideanDistance64"),
            ("neighbors._ball_tree", "BallTree"),
            ("neighbors._kd_tree", "KDTree"),
        )
    },
}
