"""What loads without `allow_pickle`: stock objects, and nothing that could run code."""

import functools
import importlib
import inspect
import io
import os
import pickle
import re
import subprocess
import warnings
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

import modelversion as mv
from modelversion.errors import PickleWarning, UntrustedPickleError
from modelversion.layout import OBJECT
from modelversion.records import ObjectRecord
from modelversion.serializers import _pickle
from modelversion.serializers._pickle import STREAM, CloudpickleSerializer, check_allowed, untrusted
from modelversion.serializers._scan import Scanned, pickle_globals, scan
from modelversion.serializers._trusted import TRUSTED
from modelversion.storage.spool import Spool

# Libraries whose names may stand on the list, and of the standard library what holds data.
LIBRARIES = {"numpy", "scipy", "pandas", "pyarrow", "sklearn"}
STANDARD = {"builtins", "collections", "copyreg", "datetime", "decimal", "fractions", "uuid"}


# ---- the list


def test_the_list_is_exact_names_of_known_libraries():
    """Every line is one `module:name` of a library that was looked at, once, in order."""
    text = _trusted_text()

    assert text == sorted(set(text))
    assert all(re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name) for name in text)
    assert {name.split(":")[0].split(".")[0] for name in text} <= LIBRARIES | STANDARD


def _trusted_text():
    from importlib.resources import files

    return files("modelversion.serializers").joinpath("trusted.txt").read_text("ascii").split()


CALLS = re.compile(r"\b(eval|exec|compile|open|__import__|import_module|loads?)\(")
MADE_BY = ("__new__", "__init__", "__setstate__")


def test_nothing_on_the_list_executes_text_when_it_is_made():
    """No constructor and no `__setstate__` in Python source evaluates, imports, opens or loads."""
    found = []
    for name in sorted(TRUSTED):
        value = _value(name)
        if not inspect.isclass(value) or value.__module__ == "datetime":
            continue
        for method in MADE_BY:
            function = getattr(value, method, None)
            if inspect.isfunction(function) and not _is_generated(function):
                calls = set(CALLS.findall(inspect.getsource(function)))
                found += [(name, function.__qualname__, calls)] if calls else []
    assert found == []


def _is_generated(function):
    """Tell a method that `dataclasses` made; it only assigns."""
    return function.__code__.co_filename.startswith("<")


def _value(name):
    """Give what a name stands for, None where this release of the library has no such name."""
    module, _, attribute = name.partition(":")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return None


# Reviewed one by one: what they do to any arguments is arithmetic on arrays, or make an instance.
FUNCTIONS = re.compile(
    r"(_reconstruct|_reconstructor|_frombuffer|scalar|_mareconstruct|newObj|asarray|py_buffer|"
    r"_restore_array|type_for_alias|_new_\w+|__pyx_unpickle_\w+|_\w*unpickle\w*|"
    r"__(bit_generator|generator|randomstate)_ctor|_kmeans_single_lloyd|"
    r"balanced_accuracy_score|f_classif|f_regression|chi2|mutual_info_\w+|NA)"
)


def test_functions_on_the_list_are_those_that_were_reviewed():
    """What is no class is a numpy ufunc, or stands in the list of reviewed functions here."""
    others = [
        name
        for name in sorted(TRUSTED)
        if (value := _value(name)) is not None
        and not inspect.isclass(value)
        and not isinstance(value, np.ufunc)
        and not FUNCTIONS.fullmatch(name.partition(":")[2])
    ]
    assert others == []


# What these do with files and named attributes, they do when they are used, and the record of the
# decision says so.
ON_USE = {
    r"\bopen\(": {"CountVectorizer", "HashingVectorizer", "TfidfVectorizer"},
    r"\bcheck_memory\(": {
        "AgglomerativeClustering",
        "FeatureAgglomeration",
        "OPTICS",
        "Pipeline",
    },
    r"\battrgetter\(|\b_get_feature_importances\(": {"RFE", "RFECV", "SelectFromModel"},
    r"\b(eval|exec|__import__|import_module|subprocess|os\.system)\(": set(),
}


@pytest.mark.parametrize("calls", ON_USE)
def test_what_estimators_do_with_files_when_they_are_used_is_known(calls):
    """No class on the list has more in its source, or in that of a base, than is written down."""
    found = {
        value.__name__
        for name in TRUSTED
        if inspect.isclass(value := _value(name)) and name.startswith("sklearn.")
        for base in value.__mro__
        if base.__module__.startswith("sklearn.") and re.search(calls, _source(base))
    }

    assert found == ON_USE[calls]
    decision = Path(__file__).parent.parent / "docs" / "adr" / "0023-trusted-names.md"
    text = decision.read_text("utf-8")
    assert all(name in text or name.endswith("Vectorizer") for name in found)


@functools.cache
def _source(cls):
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):  # compiled
        return ""


@pytest.mark.parametrize(
    "name",
    [
        "builtins:eval",
        "builtins:exec",
        "builtins:getattr",
        "builtins:__import__",
        "builtins:open",
        "codecs:decode",
        "functools:partial",
        "functools:reduce",
        "importlib:import_module",
        "joblib.memory:Memory",
        "numpy:load",
        "numpy:memmap",
        "numpy.f2py.crackfortran:getlincoef",
        "numpy.testing._private.utils:runstring",
        "operator:attrgetter",
        "operator:methodcaller",
        "os:system",
        "pandas:read_pickle",
        "pandas.core.computation.eval:eval",
        "pickle:loads",
        "posix:system",
        "scipy.stats._continuous_distns:norm_gen",
        "scipy.stats._distn_infrastructure:rv_frozen",
        "sklearn.datasets._base:load_files",
        "subprocess:Popen",
        "types:CodeType",
        "types:FunctionType",
    ],
)
def test_what_calls_or_looks_up_is_not_on_the_list(name):
    """Known ways from data to code stay off the list."""
    assert name not in TRUSTED
    with pytest.raises(UntrustedPickleError, match=re.escape(name)):
        check_allowed(Scanned((name,), ()), ())


# ---- stock objects


def stock():
    import sys

    sys.path.insert(0, str(Path(__file__).parent / "data"))
    try:
        import make_trusted_globals
    finally:
        sys.path.pop(0)
    return make_trusted_globals


def test_data_and_stock_estimators_load_without_allow_pickle():
    """Arrays, frames and every estimator of scikit-learn that fits small data need no more."""
    refused = {}
    fitted = 0
    for name, value in stock().stock_objects():
        saved = io.BytesIO()
        _pickle._pickle(value, saved, [])
        names = pickle_globals(pickle.dumps(value, protocol=5))
        assert scan(pickle.dumps(value, protocol=5)).misused == (), name
        assert scan(saved.getvalue()).misused == (), name
        fitted += hasattr(value, "get_params")
        if untrusted(names):
            refused[name] = untrusted(names)

    # Means of columns and two odd estimators name functions that were not admitted.
    assert set(refused) <= {"FunctionTransformer", "SpectralEmbedding", "KNeighborsTransformer"} | {
        name for name, missing in refused.items() if missing == ("numpy:mean",)
    }
    assert fitted > 150


def test_a_pipeline_is_loaded_from_a_registry_that_runs_no_pickles(tmp_path):
    """A usual pipeline saves with `data_only` and predicts the same when read with False."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    X = np.array([[0.0, 1], [1, 0], [2, 1], [3, 0]])
    columns = ColumnTransformer([("s", StandardScaler(), [0]), ("o", OneHotEncoder(), [1])])
    model = make_pipeline(columns, LogisticRegression()).fit(X, [0, 0, 1, 1])
    version = mv.Registry(tmp_path / "r").save("churn", model)

    loaded = mv.Registry(tmp_path / "r", allow_pickle=False).load("churn")
    assert (loaded.predict(X) == model.predict(X)).all()
    assert version._open().record.object.data_only is True


# ---- hostile pickles


class Gadget:
    """Calls something when it is unpickled."""

    def __init__(self, call, *args):
        self.reduced = call, args

    def __reduce__(self):
        return self.reduced


def gadgets(path):
    from functools import partial, reduce
    from operator import attrgetter, methodcaller

    command = f"touch {path}"
    yield "os.system", Gadget(os.system, command)
    yield "eval", Gadget(eval, f"__import__('os').system({command!r})")
    yield "exec", Gadget(exec, f"import os; os.system({command!r})")
    yield "Popen", Gadget(subprocess.Popen, ["touch", str(path)])
    yield "getattr", Gadget(getattr, Gadget(__import__, "os"), "system")
    yield "partial", Gadget(partial(os.system, command))
    yield "reduce", Gadget(reduce, os.system, [command])
    yield "methodcaller", Gadget(methodcaller("system", command), os)
    yield "attrgetter", Gadget(attrgetter("system"), os)
    yield "np.load", Gadget(np.load, str(path), None, True)
    yield "memmap", Gadget(np.memmap, str(path), "uint8", "w+", 0, (1,))
    yield "open", Gadget(open, str(path), "w")


NAMES = [name for name, _ in gadgets("x")]


@pytest.mark.parametrize("name", NAMES)
def test_a_gadget_is_refused_before_it_runs(name, tmp_path):
    """The globals are named, and nothing of the stream has run."""
    target = tmp_path / "touched"
    stream = cloudpickle.dumps(dict(gadgets(target))[name], protocol=5)

    with pytest.raises(UntrustedPickleError) as caught:
        load(stream, tmp_path, False)

    assert not target.exists()
    assert caught.value.globals
    assert "allow_pickle=" in str(caught.value)


def load(stream, folder, allow):
    """Load a stream as a version's object would be."""
    source = _Source({STREAM: stream})
    record = ObjectRecord(serializer="cloudpickle", type="x", stream=STREAM)
    return CloudpickleSerializer().load(record, source, mmap=False, allow=allow)


class _Source:
    def __init__(self, files):
        self.files = files

    def read(self, path):
        return bytearray(self.files[path])

    def views(self, paths, *, mmap):
        return {path: memoryview(self.files[path]) for path in paths}


def test_mutant_everything_is_trusted(monkeypatch, tmp_path):
    """Without the list a gadget runs: the tests above would see it."""
    target = tmp_path / "touched"
    stream = cloudpickle.dumps(Gadget(os.system, f"touch {target}"), protocol=5)
    monkeypatch.setattr(_pickle, "untrusted", lambda names: ())

    load(stream, tmp_path, False)

    assert target.exists()


def test_a_refusal_has_the_line_that_allows_it(tmp_path):
    """The names of the message, given as allow_pickle, load the object."""
    stream = cloudpickle.dumps(Gadget(os.getcwd), protocol=5)
    with pytest.raises(UntrustedPickleError) as caught:
        load(stream, tmp_path, False)

    assert load(stream, tmp_path, list(caught.value.globals)) == os.getcwd()


def test_a_save_says_whether_it_loads_without_allow_pickle():
    """The record tells it; own functions and records of objects do not load without."""
    records = np.zeros(1, [("a", "O")])
    for value, wanted in (({"w": np.arange(3)}, True), (lambda x: x, False), (records, False)):
        with Spool(lambda: None) as spool:
            record = CloudpickleSerializer().dump(value, spool)
        assert record.data_only is wanted
        assert record.stream.startswith(OBJECT)


def test_a_save_to_a_remote_registry_warns_about_pickles(monkeypatch, registry):
    """Where others read, one is told at once that they will need allow_pickle; locally not."""
    registry.save("churn", lambda x: x)
    monkeypatch.setattr(type(registry._home.store), "remote", True)
    registry.save("churn", {"w": np.arange(3)})

    with pytest.warns(PickleWarning, match=r"churn:3 loads .* what its refusal tells"):
        registry.save("churn", np.zeros(1, [("a", "O")]))
    with pytest.warns(PickleWarning, match=r"churn:4 loads .* cloudpickle\.cloudpickle:") as seen:
        registry.save("churn", lambda x: x + 1)
    assert seen[0].filename == __file__
