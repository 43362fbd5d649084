"""Objects of trusted names whose indices compiled code would follow anywhere: refused when loaded.

Each is an honest object with one thing changed.
"""

import contextlib
import copy
import faulthandler
import functools
import io
import os
import pickle
import signal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from scipy.interpolate import make_interp_spline
from sklearn.cluster import KMeans
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import BallTree, KDTree, KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree
from test_trust import load

from modelversion.errors import UntrustedPickleError
from modelversion.serializers import _indices
from modelversion.serializers._scan import scan
from modelversion.serializers._trusted import TRUSTED

# So far away that the address is none, whatever the size of what is pointed at.
FAR = 2**55
X = np.random.default_rng(0).random((40, 5))
Y = (X[:, 0] > 0.5).astype(int)


def dumped(value, cls=None, change=None):
    """Pickle a value; what objects of a class reduce to is changed first."""

    class Pickler(pickle.Pickler):
        def reducer_override(self, one):
            return change(*one.__reduce_ex__(5)) if type(one) is cls else NotImplemented

    file = io.BytesIO()
    Pickler(file, 5).dump(value)
    return file.getvalue()


def with_attributes(value, **changed):
    value = copy.deepcopy(value)
    vars(value).update(changed)
    return dumped(value)


def with_state(value, cls, key, change):
    """Pickle a value in which one part of the state of a class is another."""

    def changed(make, args, state, *more):
        kind = type(state)
        state = dict(state) if kind is dict else list(state)
        state[key] = change(state[key])
        return make, args, kind(state), *more

    return dumped(value, cls, changed)


def set_field(name, to):
    """Give what changes a field of the first of many records."""

    def change(records):
        records = np.array(records)
        records[name][0] = to
        return records

    return change


def cycle(records):
    records = np.array(records)
    records["left_child"][0] = records["right_child"][0] = 0
    return records


def moved(placed):
    """Give a frame one of whose blocks stands elsewhere."""
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    cls = type(frame._mgr.blocks[0])
    return dumped(frame, cls, lambda make, args: (make, (args[0], placed, args[2])))


def bits(cls, **changed):
    def change(make, args, state):
        told, *seed = state
        own = {**told["state"], **{k: v for k, v in changed.items() if k == "pos"}}
        return make, args, ({**told, **changed, "state": own}, *seed)

    return dumped(cls(0), cls, change)


def sparse(form, **changed):
    matrix = form(np.eye(3))
    return with_attributes(matrix, **{name: make(matrix) for name, make in changed.items()})


def far(attribute):
    return {attribute: lambda matrix: np.full_like(vars(matrix)[attribute], FAR, dtype="i8")}


def texts():
    offsets = np.array([0, FAR, FAR + 5]).tobytes()
    series = pd.Series(["a", "b"], dtype="string[pyarrow]")
    longest = max(b.size for b in series.array._pa_array.chunk(0).buffers() if b)
    return dumped(
        series,
        pa.Buffer,
        lambda make, args: (make, (offsets if memoryview(args[0]).nbytes == longest else args[0],)),
    )


def histograms():
    model = HistGradientBoostingClassifier(max_iter=1, early_stopping=False, min_samples_leaf=5)
    return model.fit(X, Y)


def in_histograms(**changed):
    model = histograms()
    model._bin_mapper.is_categorical_[:] = True
    (predictor,) = model._predictors[0]
    for name, to in changed.items():
        predictor.nodes[name][0] = to
    return dumped(model)


tree = DecisionTreeClassifier(random_state=0).fit(X, Y)
forest = RandomForestClassifier(2, random_state=0).fit(X, Y)
boosted = GradientBoostingClassifier(n_estimators=2).fit(X, Y)
near = {name: KNeighborsClassifier(algorithm=name).fit(X, Y) for name in ("kd_tree", "ball_tree")}
words = TfidfVectorizer().fit(["a bb cc", "dd"])
named = DictVectorizer().fit([{"a": 1, "b": 2}])

# What is forged, and what is said of it.
FORGED = {
    "a child of a tree": (
        lambda: with_state(tree, Tree, "nodes", set_field("left_child", FAR)),
        "children lie outside",
    ),
    "a child of a tree in a forest": (
        lambda: with_state(forest, Tree, "nodes", set_field("right_child", FAR)),
        "children lie outside",
    ),
    "a tree without an end": (
        lambda: with_state(tree, Tree, "nodes", cycle),
        "a child comes before its parent",
    ),
    "a feature of a tree": (
        lambda: with_state(tree, Tree, "nodes", set_field("feature", FAR)),
        "features lie outside 5",
    ),
    "a tree of more features": (
        lambda: with_attributes(tree, n_features_in_=1),
        "a tree is not of 1 features",
    ),
    "boosted trees of more features": (
        lambda: with_attributes(boosted, n_features_in_=1),
        "a tree is not of 1 features",
    ),
    "more boosted trees than are counted": (
        lambda: with_attributes(boosted, estimators_=np.tile(boosted.estimators_, 1000)),
        "estimators_ are too many",
    ),
    "a child of a histogram tree": (lambda: in_histograms(left=2**32 - 1), "children lie outside"),
    "a feature of a histogram tree": (
        lambda: in_histograms(feature_idx=FAR),
        "features lie outside 5",
    ),
    "categories of a histogram tree": (
        lambda: in_histograms(is_categorical=1, bitset_idx=2**32 - 1),
        "bitsets lie outside",
    ),
    "a feature that has no categories": (
        lambda: with_state(histograms(), TreePredictor, "nodes", set_field("is_categorical", 1)),
        "a feature is not categorical",
    ),
    "columns of rows": (lambda: sparse(sp.csr_matrix, **far("indices")), "indices lie outside 3"),
    "ends of rows": (
        lambda: sparse(sp.csr_array, indptr=lambda m: np.array([0, FAR, FAR, FAR])),
        "indptr lie outside 4",
    ),
    "rows of columns": (lambda: sparse(sp.csc_array, **far("indices")), "indices lie outside 3"),
    "columns of blocks": (lambda: sparse(sp.bsr_array, **far("indices")), "indices lie outside"),
    "coordinates": (
        lambda: sparse(sp.coo_array, coords=lambda m: (m.coords[0], m.coords[1] + np.int64(FAR))),
        "coords lie outside 3",
    ),
    "more diagonals than data": (
        lambda: sparse(sp.dia_array, offsets=lambda m: np.zeros(9, "i4")),
        "offsets are not of its data",
    ),
    "columns of lists": (
        lambda: sparse(sp.lil_array, rows=lambda m: np.array([[FAR], [1], [2], []], "O")[:3]),
        "columns lie outside 3",
    ),
    "more data than columns": (
        lambda: sparse(
            sp.lil_array, data=lambda m: np.array([[1.0] * 9, [1.0], [1.0], []], "O")[:3]
        ),
        "a row has not as many columns",
    ),
    "the order of a k-d tree": (
        lambda: with_state(near["kd_tree"], KDTree, 1, lambda order: order + FAR),
        "its order lie outside 40",
    ),
    "a leaf of a k-d tree": (
        lambda: with_state(near["kd_tree"], KDTree, 2, set_field("is_leaf", 0)),
        "children lie outside",
    ),
    "the end of a node of a ball tree": (
        lambda: with_state(near["ball_tree"], BallTree, 2, set_field("idx_end", FAR)),
        "ends lie outside 41",
    ),
    "neighbours of fewer columns": (
        lambda: with_attributes(near["kd_tree"], _fit_X=X[:, :1].copy()),
        "_fit_X is not of 5 features",
    ),
    "centres of fewer columns": (
        lambda: with_attributes(
            KMeans(2, n_init=1, max_iter=1).fit(X), cluster_centers_=np.ones((2, 1))
        ),
        "cluster_centers_ is not of 5 features",
    ),
    "knots of a spline": (
        lambda: with_attributes(make_interp_spline(range(9), range(9)), k=2**20),
        "t has too few knots",
    ),
    "the column of a word": (
        lambda: with_attributes(words, vocabulary_={**words.vocabulary_, "bb": FAR}),
        "columns of words lie outside 3",
    ),
    "the column of a name": (
        lambda: with_attributes(named, vocabulary_={"a": FAR, "b": 1}),
        "columns of words lie outside 2",
    ),
    "the position of a generator": (lambda: bits(np.random.MT19937, pos=2**28), "pos lies outside"),
    "the position in a buffer": (
        lambda: bits(np.random.Philox, buffer_pos=-(2**28)),
        "buffer_pos lies outside",
    ),
    "the columns of a block": (lambda: moved(np.array([FAR, 1])), "blocks lie outside"),
    "a slice of columns": (lambda: moved(slice(FAR, FAR + 2, 1)), "blocks lie outside"),
    "where a text begins": (texts, "ChunkedArray"),
}


@functools.cache
def stream_of(name):
    return FORGED[name][0]()


@pytest.mark.parametrize("name", FORGED)
def test_it_is_refused_before_anybody_has_it(name):
    """Its pickle imports trusted names only; the object is refused, with the line to write."""
    stream, why = stream_of(name), FORGED[name][1]
    assert set(scan(stream).globals) <= TRUSTED

    with pytest.raises(UntrustedPickleError, match=why) as caught:
        load(stream, None, False)

    refused = list(caught.value.globals)
    assert f"allow_pickle={refused}" in str(caught.value)
    load(stream, None, refused)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("a child of a tree", lambda model: model.predict(X)),
        ("a tree without an end", lambda model: model.predict(X)),
        ("columns of rows", lambda matrix: matrix @ np.ones(3)),
        ("the order of a k-d tree", lambda model: model._tree.query(X)),
        ("the columns of a block", lambda frame: frame._mgr.blknos),
    ],
)
def test_what_compiled_code_does_with_it(name, use):
    """It ends the process that uses it, or goes on for ever."""
    stream = stream_of(name)

    assert os.WIFSIGNALED(in_child(lambda: use(pickle.loads(stream))))


def in_child(work):
    """Give how a child ends that may use a fifth of a second of the processor."""
    pid = os.fork()
    if pid == 0:
        faulthandler.disable()
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.2)
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def test_every_check_has_its_forgery(monkeypatch):
    """Each check refuses one of the above, and without them all are loaded."""
    refused = set()

    def watched(check):
        def watching(part):
            try:
                check(part)
            except Exception:
                refused.add(check)
                raise

        return watching

    checks = dict(_indices._CHECKS)
    monkeypatch.setattr(_indices, "_CHECKS", {name: watched(c) for name, c in checks.items()})
    for name in FORGED:
        with pytest.raises(UntrustedPickleError):
            load(stream_of(name), None, False)
    assert refused == set(checks.values())

    monkeypatch.setattr(_indices, "_CHECKS", {})
    for name in FORGED:
        load(stream_of(name), None, False)


HONEST = {
    "an empty matrix": lambda: sp.csr_matrix((0, 0)),
    "a matrix without entries": lambda: sp.lil_array((3, 4)),
    "a vector": lambda: sp.csr_array(np.eye(1)[0]) if hasattr(sp.coo_array, "coords") else 0,
    "blocks": lambda: sp.bsr_array(np.kron(np.eye(2), np.ones((2, 3)))),
    "a diagonal beside it": lambda: sp.dia_array(([[1.0, 2.0]], [5]), shape=(2, 2)),
    "a frame without rows": lambda: pd.DataFrame({"a": [], "b": pd.Series([], dtype="str")}),
    "a frame without columns": lambda: pd.DataFrame(index=[1, 2]),
    "a frame of many types": lambda: pd.DataFrame(
        {"a": [1, 2], "b": ["x", "y"], "c": pd.array([1, None], dtype="Int64"), "d": [3, 4]}
    ).assign(e=pd.Categorical(["u", "v"])),
    "a turned frame": lambda: pd.DataFrame({"a": [1, 2, 3], "b": [4, 5, 6]}).T,
    "columns turned round": lambda: pd.DataFrame({"a": [1], "x": ["u"], "b": [2]})[["b", "x", "a"]],
    "columns of every second": lambda: pd.DataFrame(np.eye(6)).assign(x=1).iloc[:, ::-2],
    "a stump": lambda: DecisionTreeClassifier(max_depth=1, max_leaf_nodes=2).fit(X, Y),
    "one leaf": lambda: DecisionTreeClassifier().fit(X, Y * 0),
    "pruned": lambda: DecisionTreeClassifier(ccp_alpha=0.05).fit(X, X[:, 1] > 0.4),
    "not fitted": lambda: [
        GradientBoostingClassifier(),
        HistGradientBoostingClassifier(),
        KNeighborsClassifier(),
        TfidfVectorizer(),
        KMeans(),
    ],
    "stopped early": lambda: HistGradientBoostingClassifier(
        max_iter=2, early_stopping=True, validation_fraction=0.3
    ).fit(X, Y),
    "fitted on sparse rows": lambda: KNeighborsClassifier().fit(sp.csr_matrix(X), Y),
    "a generator in use": lambda: np.random.RandomState(1),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_libraries_make_is_not_refused(name):
    """Empty, unfitted and odd objects load as before."""
    load(dumped(HONEST[name]()), None, False)


def test_objects_in_arrays_and_others_are_found():
    """However deep it lies: in an array of objects, a dict, an attribute."""
    matrix = sp.csr_array(np.eye(3))
    matrix.indices = np.full(3, FAR)
    held = np.empty(2, "O")
    held[:] = [1, {"x": (matrix,)}]

    with pytest.raises(UntrustedPickleError, match="csr_array"):
        load(dumped([held]), None, False)
