"""Collect the names that pickles of stock objects import; print those that are not listed yet.

Each name that is added to `modelversion/serializers/trusted.txt` is reviewed by hand: called
with any arguments, and given any state, it must run no code, import no module and touch no file.
`python tests/data/make_trusted_globals.py` prints what a new release of a library needs.
"""

import datetime
import decimal
import fractions
import pickle
import uuid
import warnings
from collections import Counter, OrderedDict, defaultdict, deque

import cloudpickle
import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.utils import all_estimators

from modelversion.serializers._scan import pickle_globals
from modelversion.serializers._trusted import TRUSTED


def stock_objects():
    """Give (name, object) of what people save most: data, and every estimator, fitted."""
    yield from _plain()
    yield from _numpy()
    yield from _scipy()
    yield from _pandas()
    yield from fitted_estimators()


def _plain():
    yield "set", {1}
    yield "frozenset", frozenset([1])
    yield "complex", 1j
    yield "slice", slice(1)
    yield "range", range(3)
    yield "bytearray", bytearray(b"a")
    yield "date", datetime.date(2026, 1, 1)
    yield "datetime", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    yield "time", datetime.time(1)
    yield "timedelta", datetime.timedelta(1)
    yield "decimal", decimal.Decimal(1)
    yield "fraction", fractions.Fraction(1, 2)
    yield "uuid", uuid.UUID(int=1)
    yield "counter", Counter("aab")
    yield "ordered", OrderedDict(a=1)
    yield "defaultdict", defaultdict(list, a=[1])
    yield "deque", deque([1])


def _numpy():
    yield "datetime64", np.datetime64("2026-01-01")
    yield "timedelta64", np.timedelta64(1, "s")
    for code in "?bhilqBHILQefdgFDGSUOMm":
        name = code + ("8[s]" if code in "Mm" else "")
        yield f"array {code}", np.zeros(2, name)
    for kind in np.sctypeDict.values():
        if kind not in (np.void, np.object_, np.datetime64, np.timedelta64):
            yield f"scalar {kind.__name__}", kind(1)
    yield "masked", np.ma.array([1, 2], mask=[0, 1])
    yield "record", np.zeros(2, [("a", "i4"), ("b", "f8")])
    yield "random state", np.random.RandomState(0)
    for kind in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
        yield kind, np.random.Generator(getattr(np.random, kind)(0))
    for name in ("log", "log1p", "log2", "log10", "exp", "expm1", "sqrt", "square", "abs", "sign"):
        yield name, getattr(np, name)


def _scipy():
    for kind in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil"):
        yield f"{kind}_matrix", getattr(sp, f"{kind}_matrix")(np.eye(2))
        yield f"{kind}_array", getattr(sp, f"{kind}_array")(np.eye(2))


def _pandas():
    frame = pd.DataFrame(
        {
            "i": [1, 2],
            "f": [1.0, None],
            "s": ["a", "b"],
            "c": pd.Categorical(["a", "b"]),
            "t": pd.to_datetime(["2026-01-01", "2026-01-02"]),
            "z": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True),
            "d": pd.to_timedelta([1, 2], unit="s"),
            "I": pd.array([1, None], dtype="Int64"),
            "B": pd.array([True, None], dtype="boolean"),
            "F": pd.array([1.0, None], dtype="Float64"),
            "S": pd.array(["a", None], dtype="string"),
            "p": pd.period_range("2026-01", periods=2, freq="M"),
        }
    )
    yield "frame", frame
    yield "dates", frame.set_index("t")
    yield "levels", frame.set_index(["s", "i"])
    yield "series", frame["f"]
    yield "interval", pd.Series(pd.interval_range(0, 2))
    for name, value in frame.iloc[0].items():
        yield f"value {name}", value
    for value in (pd.NA, pd.NaT, pd.Timestamp(0), pd.Timedelta(1), pd.Interval(0, 1)):
        yield repr(value), value


def fitted_estimators():
    """Give (name, estimator) of every estimator that fits small data without being told more."""
    rng = np.random.RandomState(0)
    X = np.abs(rng.rand(40, 4))
    y = np.arange(40) % 2
    for name, cls in all_estimators():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator = _made(cls)
            try:
                estimator.fit(_words() if "Vectorizer" in name else X, y)
            except Exception:
                continue
        yield name, estimator


def _words():
    return ["red car", "blue bus"] * 20


def _made(cls):
    from sklearn.linear_model import LogisticRegression, Ridge

    for args in ((), (LogisticRegression(),), (Ridge(),), ([("a", LogisticRegression())],)):
        try:
            made = cls(*args)
            if getattr(made, "max_iter", None):
                made.set_params(max_iter=5)
            return made
        except Exception:
            continue
    return cls.__new__(cls)


def needed():
    """Give name of a global -> names of the objects that need it."""
    found = {}
    for name, value in stock_objects():
        data = cloudpickle.dumps(value, protocol=5)
        out = pickle.dumps(value, protocol=5, buffer_callback=lambda _: False)
        for one in {*pickle_globals(data), *pickle_globals(out)}:
            found.setdefault(one, []).append(name)
    return found


if __name__ == "__main__":
    for name, users in sorted(needed().items()):
        if name not in TRUSTED:
            print(f"{name}  # {', '.join(users[:3])}")
