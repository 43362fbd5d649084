"""Objects of every kind, loaded by a process that shares nothing with the one that saved."""

import warnings

import fresh
import numpy as np
import pytest

import modelversion as mv

_METHODS = ("predict", "predict_proba", "decision_function", "transform", "kneighbors_graph")
_FITTED = ("labels_", "embedding_", "support_", "location_", "x_scores_", "cluster_centers_")


@pytest.fixture
def elsewhere(tmp_path):
    """An empty folder that is nobody's project."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


# ---- scikit-learn


def _fitted(estimator, X, targets):
    for y in targets:
        try:
            return estimator.fit(X, y)
        except Exception:  # an estimator that wants other data
            continue
    return None


def _calls(estimator, X):
    """What the reader asks of an estimator, with the answers of the one that was saved."""
    calls = []
    for name in _METHODS:
        try:
            calls.append((name, X, getattr(estimator, name)(X)))
        except Exception:  # it has no such method, or not with these parameters
            continue
    if not calls:
        fitted = [name for name in _FITTED if hasattr(estimator, name)]
        calls = [(name, None, getattr(estimator, name)) for name in fitted]
    return calls


def _estimators():
    from sklearn.utils import all_estimators

    rng = np.random.default_rng(7)
    X = np.abs(rng.normal(size=(60, 4))) + 0.1
    y = np.repeat([0, 1, 2], 20)
    X[y == 1] += 2
    targets = (y, y.astype(float) + 1, np.column_stack([y, y]).astype(float), X[:, 0])
    for name, cls in all_estimators():
        try:
            estimator = cls()
        except TypeError:
            continue
        for data in (X, X[:, 0], [" ".join("ab"[int(v) % 2] for v in row) for row in X]):
            fitted = _fitted(estimator, data, targets)
            calls = [] if fitted is None else _calls(fitted, data)
            if calls:
                yield name, {"model": fitted, "calls": calls}
                break


@pytest.mark.slow
def test_every_estimator_predicts_the_same(tmp_path, elsewhere):
    """A fresh process gets equal predictions of each estimator that fits with its defaults."""
    import sklearn.ensemble  # noqa: F401 - its threads can be limited once it is there
    import threadpoolctl

    registry = mv.Registry(tmp_path / "registry")
    # Threads that wait for each other take a minute on a busy machine.
    with warnings.catch_warnings(), threadpoolctl.threadpool_limits(1):
        warnings.simplefilter("ignore")
        saved = [
            registry.save("sklearn", held, tags={"estimator": name}) for name, held in _estimators()
        ]

    count, problems = fresh.read_all(registry.url, "sklearn", cwd=elsewhere)

    assert problems == {}
    assert count == len(saved) >= 160


# ---- scripts and notebooks

HELPERS = '''
"""A module beside the script."""
import math
import logging

FACTOR = 3
log = logging.getLogger(__name__)

def triple(x):
    return _inner(x) * FACTOR

def _inner(x):
    return x + math.floor(0.5)

class Base:
    unit = "m"
    def __init__(self, slope):
        self.slope = slope
    def predict(self, X):
        return self.slope * triple(X)

class Derived(Base):
    def predict(self, X):
        return super().predict(X) + 1
'''
SHOP = {
    "__init__.py": "from . import features, scaling\nVERSION = 2\n",
    "features.py": """
import shop
from . import scaling
from .deep import far

class Net:
    @property
    def version(self):
        return shop.VERSION
    @classmethod
    def make(cls):
        return cls()
    @staticmethod
    def add(x):
        return x + 1
    def predict(self, X):
        return far.away(scaling.scale(self.add(X))) * self.version
""",
    "scaling.py": """
from . import features
def scale(X):
    return X / 4 if features.Net is not None else X
""",
    "deep/__init__.py": "",
    "deep/far.py": "def away(X):\n    return X - 5\n",
}
# A package without __init__.py.
SPACE = {"tools.py": "OFFSET = 11\ndef shift(X):\n    return X + OFFSET\n"}

SCRIPT = """
import abc, collections, dataclasses, enum, functools, sys, typing
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
import modelversion as mv
import helpers
import space.tools
from helpers import Derived
from shop.features import Net

registry = mv.Registry(sys.argv[1])
x = np.arange(12.0)
X = np.random.default_rng(0).normal(size=(40, 3))
y = (X[:, 0] > 0).astype(int)
T = typing.TypeVar("T")

def hold(name, model, *calls):
    calls = calls or [("predict", x)]
    held = [(m, given, getattr(model, m)(given)) for m, given in calls]
    registry.save("script", {"model": model, "calls": held}, tags={"what": name})

class Mode(enum.Enum):
    FAST = 2
    SLOW = 3
    def times(self, v):
        return v * self.value

class Level(enum.IntFlag):
    LOW = 1
    HIGH = 4

@dataclasses.dataclass(frozen=True, order=True)
class Settings:
    rate: float = 0.5
    modes: tuple = (Mode.FAST, Mode.SLOW)
    extra: dict = dataclasses.field(default_factory=dict)

class Abstract(abc.ABC):
    @abc.abstractmethod
    def predict(self, X): ...

class Slotted:
    __slots__ = ("a", "__weakref__")
    def __init__(self, a):
        self.a = a

class Everything(Abstract, typing.Generic[T]):
    registry = {"k": Level.LOW | Level.HIGH}
    def __init__(self):
        self.settings = Settings(extra={"me": self})
        self.slotted = Slotted(4)
        self.point = Point(1, 2)
    @property
    def rate(self):
        return self.settings.rate
    @rate.setter
    def rate(self, value):
        raise TypeError
    @functools.cached_property
    def cached(self):
        return 7
    @classmethod
    def offset(cls):
        return int(cls.registry["k"])
    def predict(self, X):
        modes = sum(mode.times(1) for mode in self.settings.modes)
        return X * self.rate + self.offset() + self.slotted.a + self.point.y + modes + self.cached

Point = collections.namedtuple("Point", "x y")

class Child(Everything):
    def predict(self, X):
        return super().predict(X) - 1

def closure(power):
    cache = {}
    def predict(X):
        return cache.setdefault(len(X), X ** power)
    return predict

def even(n):
    return n == 0 or odd(n - 1)

def odd(n):
    return n != 0 and even(n - 1)

class Called:
    def __init__(self, function):
        self.function = function
    def predict(self, X):
        return self.function(X)

class Scale(BaseEstimator, TransformerMixin):
    def __init__(self, by=helpers.FACTOR):
        self.by = by
    def fit(self, X, y=None):
        return self
    def transform(self, X):
        return X * self.by

hold("everything", Everything())
hold("child", Child())
hold("derived", Derived(2))
hold("module function", Called(helpers.triple))
hold("module attribute", Called(lambda X: helpers.triple(X) + helpers.FACTOR))
hold("module itself", Called(lambda X, h=helpers: h.triple(X)))
hold("namespace package", Called(lambda X: space.tools.shift(X)))
hold("package", Net())
hold("package's method", Called(Net().predict))
hold("closure", Called(closure(3)))
hold("partial", Called(functools.partial(np.power, 2)))
hold("recursion", Called(lambda X: [even(int(v)) for v in X]))
hold("lru_cache", Called(functools.lru_cache(lambda X: len(X))), ("predict", tuple(x)))
hold("class as value", Called(lambda X, cls=Settings: cls(rate=X).rate))
hold("generator function", Called(lambda X: sum(v for v in X)))
hold(
    "pipeline",
    make_pipeline(FunctionTransformer(lambda X: X ** 2), Scale(), StandardScaler(),
                  LogisticRegression()).fit(X, y),
    ("predict", X), ("predict_proba", X),
)
frame = pd.DataFrame(X, columns=["a", "b", "c"])
frame["word"] = np.where(y, "yes", "no")
columns = ColumnTransformer([
    ("numbers", FunctionTransformer(lambda f: f * helpers.FACTOR), ["a", "b"]),
    ("words", FunctionTransformer(lambda f: f.map(len) if hasattr(f, "map") else f), ["word"]),
])
hold(
    "columns",
    Pipeline([("c", columns), ("m", LogisticRegression())]).fit(frame, y),
    ("predict", frame), ("predict_proba", frame),
)
"""

CELLS = [
    "import sys, numpy as np, modelversion as mv\nSHIFT = 2",
    """
class Model:
    shift = 1
    def predict(self, X):
        return helper(X) + self.shift
""",
    "def helper(X):\n    return X * SHIFT",
    """
x = np.arange(5.0)
registry = mv.Registry(URL)
def hold(model):
    value = {"model": model, "calls": [("predict", x, model.predict(x))]}
    return registry.save("notebook", value)
first = hold(Model())
""",
    "class Model(Model):\n    def predict(self, X):\n        return super().predict(X) * 10",
    "second = hold(Model())",
    """
# Loading in the notebook that saved gives its own classes back, and leaves them alone.
assert type(second.load()["model"]) is Model
old = first.load()["model"]
assert list(old.predict(x)) == list(x * 2 + 1)
assert list(Model().predict(x)) == list((x * 2 + 1) * 10)
""",
]
NOTEBOOK = """
import json, sys
import nbclient, nbformat

cells = [f"URL = {sys.argv[1]!r}", *json.load(open("cells.json"))]
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
nbclient.NotebookClient(book, kernel_name="python3", timeout=120).execute()
"""


def _write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def project(tmp_path):
    """A folder with a module, a package and a namespace package, as users have them."""
    folder = tmp_path / "project"
    _write(folder, {"helpers.py": HELPERS})
    _write(folder / "shop", SHOP)
    _write(folder / "space", SPACE)
    return folder


def test_what_a_script_defines_loads_elsewhere(tmp_path, project, elsewhere):
    """Classes and functions of `__main__` and of local modules work where none of them exists."""
    url = tmp_path / "registry"
    fresh.run(SCRIPT, url, cwd=project)

    count, problems = fresh.read_all(url, "script", cwd=elsewhere)

    assert problems == {}
    assert count == 17


def test_what_a_notebook_defines_loads_elsewhere(tmp_path, elsewhere):
    """Classes of notebook cells work in a fresh process, each version with its own code."""
    import json

    url = tmp_path / "registry"
    (tmp_path / "cells.json").write_text(json.dumps(CELLS))
    fresh.run(NOTEBOOK, url, cwd=tmp_path)

    count, problems = fresh.read_all(url, "notebook", cwd=elsewhere)

    assert problems == {}
    assert count == 2


# ---- torch

TORCH_READER = """
import sys
import numpy as np, torch
import modelversion as mv

registry = mv.Registry(sys.argv[1])
held = registry.load("net")
net, x, expected = held["net"], held["x"], held["expected"]
assert torch.equal(net(x), expected)
assert type(net).__name__ == "Net" and all(p.requires_grad for p in net.parameters())
net(x).sum().backward()

t = registry.load("tensors")
assert t["view"].untyped_storage().data_ptr() == t["base"].untyped_storage().data_ptr()
t["base"][3] = 99
assert t["view"][1] == 99 and t["view"].storage_offset() == 2
assert t["half"].dtype == torch.bfloat16 and t["half"].sum() == 1000
assert t["turned"].stride() == (1, 3) and not t["turned"].is_contiguous()
assert t["leaf"].requires_grad and t["leaf"].is_leaf
assert t["tied"].weight is t["tied_again"]
assert t["empty"].shape == (0, 3) and t["scalar"].item() == 2.5
assert t["sparse"].to_dense().sum() == 3
assert torch.equal(t["bools"], torch.tensor([True, False]))
assert t["complex"].dtype == torch.complex64

mapped = registry.load("tensors", mmap=True)
assert mapped["base"][3] == 3
"""


def test_torch_modules_and_tensors_load_elsewhere(tmp_path, elsewhere):
    """Modules predict the same, and tensors keep type, strides, gradients and shared memory."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU())
            self.register_buffer("scale", torch.ones(8))

        def forward(self, x):
            return self.layers(x) * self.scale

    torch.manual_seed(0)
    net, x = Net(), torch.randn(5, 4)
    base = torch.arange(2000)
    tied = torch.nn.Linear(50, 50)
    tensors = {
        "base": base,
        "view": base[2:1999],
        "half": torch.ones(1000, dtype=torch.bfloat16),
        "turned": torch.arange(3000.0).view(1000, 3).T,
        "leaf": torch.ones(2000, requires_grad=True),
        "tied": tied,
        "tied_again": tied.weight,
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        "sparse": torch.eye(3).to_sparse(),
        "bools": torch.tensor([True, False]),
        "complex": torch.ones(3, dtype=torch.complex64),
    }

    registry = mv.Registry(tmp_path / "registry")
    registry.save("net", {"net": net, "x": x, "expected": net(x).detach()})
    registry.save("tensors", tensors)

    fresh.run(TORCH_READER, registry.url, cwd=elsewhere, isolated=True)


# ---- frames and arrays


def _frames():
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    n = 2000
    frame = pd.DataFrame(
        {
            "number": np.arange(float(n)),
            "word": [f"w{i % 7}" for i in range(n)],
            "time": pd.date_range("2026-01-01", periods=n, freq="h"),
            "zoned": pd.date_range("2026-01-01", periods=n, freq="h", tz="Europe/Rome"),
            "kind": pd.Categorical(["a", "b"] * (n // 2)),
            "maybe": pd.array([1, None] * (n // 2), dtype="Int64"),
            "object": [(i,) for i in range(n)],
        }
    )
    yield "pandas", frame
    yield "pandas index", frame.set_index(["word", "time"])
    yield "pandas series", frame["zoned"]
    plain = frame.drop(columns="object")
    yield (
        "polars",
        pl.from_pandas(plain).with_columns(
            pl.col("word").cast(pl.Enum([f"w{i}" for i in range(7)]))
        ),
    )
    yield "polars series", pl.Series("s", ["x", None, "y"])
    yield "polars lists", pl.DataFrame({"l": [[1], [2, 3]], "s": [{"a": 1}, {"a": 2}]})
    yield "arrow", pa.Table.from_pandas(plain)
    yield "arrow array", pa.chunked_array([[1, None], [3]])


def _arrays():
    fields = [("a", "i4"), ("b", "f8", (2,)), ("t", "M8[s]"), ("s", "U3")]
    base = np.arange(24.0).reshape(4, 6)
    yield "fortran", np.asfortranarray(np.arange(6000.0).reshape(60, 100))
    yield "strided", np.arange(10000.0)[::3]
    yield "reversed", np.arange(3000)[::-1]
    yield "times", np.arange(5000).astype("M8[us]")
    yield "fortran times", np.asfortranarray(np.arange(5000).reshape(50, 100).astype("M8[ns]"))
    yield "strided times", np.arange(5000).astype("M8[D]")[::2]
    yield "spans", np.arange(5000).astype("m8[ms]")
    yield "big-endian times", np.arange(5000).astype(">M8[s]")
    yield "no times", np.array([], dtype="M8[D]")
    yield "one time", np.array("2026-01-01", dtype="M8[D]")
    yield "not a time", np.array(["NaT", "2026-01-01"] * 1000, dtype="M8[D]")
    yield "structured", np.zeros(1000, dtype=fields)
    yield "objects", np.array([{"a": 1}, None, [2], "x"] * 500, dtype=object)
    yield "texts", np.array(["abc", "de"] * 2000)
    yield "bytes", np.array([b"abc", b"de"] * 2000)
    yield "long texts", np.array(["a" * 30, "b"] * 500, dtype=np.dtypes.StringDType())
    yield "big-endian", np.arange(3000, dtype=">f8")
    yield "half", np.arange(3000, dtype="f2")
    yield "complex", np.arange(3000, dtype="c16")
    yield "bools", np.arange(9000) % 2 == 0
    yield "empty", np.empty((0, 5))
    yield "scalar", np.float32(1.5)
    yield "zero-dimensional", np.array(7)
    yield "masked", np.ma.masked_greater(np.arange(3000), 10)
    yield "matrix of views", [base, base.T, base[1:3]]


def _equal(found, expected):
    kind = type(expected).__module__.split(".")[0]
    if isinstance(expected, list):
        return all(_equal(a, b) for a, b in zip(found, expected, strict=True))
    if kind == "numpy":
        same_layout = getattr(found, "strides", ()) == getattr(expected, "strides", ())
        contiguous = isinstance(expected, np.ndarray) and expected.flags.forc
        np.testing.assert_array_equal(found, expected)
        # A plain pickle swaps the bytes of big-endian arrays.
        same_type = found.dtype.str[1:] == expected.dtype.str[1:]
        return same_type and (same_layout or not contiguous)
    return found.equals(expected) and type(found) is type(expected)


DATA_READER = """
import pickle, sys
import modelversion as mv

sys.path.append(sys.argv[3])
from test_objects import _equal

registry = mv.Registry(sys.argv[1])
expected = pickle.load(open(sys.argv[2], "rb"))
for mmap in (False, True):
    for name, value in expected.items():
        found = registry.get("data@" + name.replace(" ", "-")).load(mmap=mmap)
        assert _equal(found, value), (name, found, value)
"""


def test_frames_and_arrays_load_elsewhere(tmp_path, elsewhere):
    """Every dtype, layout and kind of frame is what a plain pickle of it gives."""
    import os
    import pickle

    registry = mv.Registry(tmp_path / "registry")
    expected = dict([*_frames(), *_arrays()])
    for name, value in expected.items():
        version = registry.save("data", value)
        registry["data"].set_alias(name.replace(" ", "-"), version)
    (tmp_path / "expected.pkl").write_bytes(pickle.dumps(expected))

    fresh.run(
        DATA_READER,
        registry.url,
        tmp_path / "expected.pkl",
        os.path.dirname(__file__),
        cwd=elsewhere,
        isolated=True,
    )

    assert len(registry["data"]) == len(expected) == 33


# ---- odd objects


def test_recursive_objects_keep_their_cycles(registry):
    """A list in itself, a dict in itself and two objects that hold each other come back so."""
    cycle = [1]
    cycle.append(cycle)
    table = {"cycle": cycle}
    table["self"] = table

    found = registry.save("odd", table).load()

    assert found["self"] is found
    assert found["cycle"][1] is found["cycle"]


def test_empty_closure_cells_stay_empty(registry):
    """A function whose closure has a cell that was never filled is saved as it is."""

    def outer():
        def inner():
            return later

        if not inner:
            later = 1
        return inner

    found = registry.save("odd", outer()).load()

    with pytest.raises(NameError):
        found()


def test_globals_of_functions_saved_together_stay_shared(registry):
    """Two functions of one module see one set of globals after loading, too."""
    namespace = {"__name__": "made_by_hand", "count": 0}
    exec("def add():\n global count\n count += 1\ndef get():\n return count", namespace)

    found = registry.save("odd", [namespace["add"], namespace["get"]]).load()
    found[0]()

    assert found[1]() == 1


@pytest.mark.parametrize("value", [None, 0, "", (), [], {}, b"x", float, len, ..., 1 + 2j])
def test_small_values_come_back(registry, value):
    """None, numbers, texts, empty containers, types and built-ins are objects like others."""
    assert registry.save("small", value).load() == value


def test_deep_nesting_is_refused_or_loads(registry):
    """A list nested deeper than Python can recurse is refused with a typed error."""
    deep = []
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(mv.errors.UnpicklableError):
        registry.save("deep", deep)
