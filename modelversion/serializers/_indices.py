"""Check the indices that compiled code believes, in what was loaded without being trusted.

The trees of scikit-learn, scipy's sparse matrices and their like are arrays that point into each
other, and are followed without a look at where they lead: a forged one reads or writes memory
that is not its own. They load harmlessly, so the loaded object is walked before anybody has it.
What cannot be checked is refused, whatever the reason.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

Check = Callable[[Any], None]

_BELIEVING = ("numpy.random", "pandas", "pyarrow", "scipy", "sklearn")
_PLAIN = frozenset([type(None), bool, int, float, complex, str, bytes])
_CODE = (type, ModuleType, FunctionType, BuiltinFunctionType)


class MisledError(Exception):
    """Objects would lead compiled code astray.

    Attributes:
        names: Their classes, as pickles name them.
    """

    def __init__(self, found: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in found.items()))
        self.names = tuple(sorted(found))


def check_indices(value: Any, names: Collection[str], given: Collection[str]) -> None:
    """Refuse an object in which an index leads out of what it points into.

    Args:
        value: What was loaded.
        names: What its pickle imports; where nothing of it believes indices, nothing is walked.
        given: Names whose objects the reader trusts.

    Raises:
        MisledError: One does; all are named.
    """
    if not any(name.startswith(_BELIEVING) for name in names):
        return
    found: dict[str, str] = {}
    checks = _Checks(given)
    for part in _parts(value):
        check = checks[type(part)]
        if check is None:
            continue
        try:
            check(part)
        except Exception as e:  # noqa: BLE001 - forged attributes raise anything, and are refused
            found[_name(type(part))] = str(e)
    if found:
        raise MisledError(found)


class _Checks(dict[type, Check | None]):
    """The check of each class that was met."""

    def __init__(self, given: Collection[str]) -> None:
        self._given = given

    def __missing__(self, cls: type) -> Check | None:
        names = [_name(base) for base in cls.__mro__]
        found = next((_CHECKS[name] for name in names if name in _CHECKS), None)
        self[cls] = None if names[0] in self._given else found
        return self[cls]


def _name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _parts(value: Any) -> Iterator[Any]:
    """Give an object and all that it holds, each once; no code of theirs runs."""
    import numpy as np

    seen: dict[int, Any] = {}  # keeps what numpy lists alive, and so its id its own
    todo = [value]
    while todo:
        part = todo.pop()
        cls = type(part)
        if id(part) in seen or issubclass(cls, _CODE) or cls.__name__.startswith("cython_function"):
            continue
        seen[id(part)] = part
        yield part
        held = gc.get_referents(part)
        if issubclass(cls, np.ndarray) and part.dtype == object:
            held += part.view(np.ndarray).ravel().tolist()
        todo += [one for one in held if type(one) not in _PLAIN]


# ---- what is asked


def _need(condition: Any, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _all_within(indices: Any, size: Any, what: str, *, least: int = 0) -> None:
    _need(indices.dtype.kind in "iu", f"{what} are no integers")
    inside = not indices.size or (indices.min() >= least and indices.max() < size)
    _need(inside, f"{what} lie outside {size}")


def _array(value: Any, dimensions: int, what: str) -> Any:
    import numpy as np

    _need(type(value) is np.ndarray and value.ndim == dimensions, f"{what} are no such array")
    return value


def _whole(number: Any, what: str) -> int:
    import numpy as np

    _need(type(number) is int or isinstance(number, np.integer), f"{what} is no integer")
    return int(number)


def _shape(matrix: Any) -> tuple[int, ...]:
    shape = tuple(_whole(n, "a side") for n in vars(matrix)["_shape"])
    _need(min(shape) >= 0, "a side is negative")
    return shape


# ---- scipy.sparse


def _check_rows(matrix: Any) -> None:
    rows, columns = (1, *_shape(matrix))[-2:]
    _check_compressed(matrix, rows, columns)


def _check_columns(matrix: Any) -> None:
    rows, columns = _shape(matrix)
    _check_compressed(matrix, columns, rows)


def _check_blocks(matrix: Any) -> None:
    rows, columns = _shape(matrix)
    _, height, width = vars(matrix)["data"].shape
    _need(rows % height == columns % width == 0, "blocks do not fill it")
    _check_compressed(matrix, rows // height, columns // width, dimensions=3)


def _check_compressed(matrix: Any, major: int, minor: int, *, dimensions: int = 1) -> None:
    """Check rows of a sparse matrix, or its columns or rows of blocks."""
    import numpy as np

    held = vars(matrix)
    data = _array(held["data"], dimensions, "data")
    indices, ends = _array(held["indices"], 1, "indices"), _array(held["indptr"], 1, "indptr")
    _need(len(ends) == major + 1 and ends[0] == 0, f"indptr is not of {major} rows")
    _need(bool(np.all(ends[:-1] <= ends[1:])), "indptr decreases")
    _all_within(ends, min(len(indices), len(data)) + 1, "indptr")
    _all_within(indices[: ends[-1]], minor, "indices")


def _check_coordinates(matrix: Any) -> None:
    held = vars(matrix)
    axes = held["coords"] if "coords" in held else (held["row"], held["col"])
    data, shape = _array(held["data"], 1, "data"), _shape(matrix)
    _need(type(axes) is tuple and len(axes) == len(shape), "coords are not of its axes")
    for axis, size in zip(axes, shape, strict=True):
        _need(len(_array(axis, 1, "coords")) == len(data), "coords are not as many as data")
        _all_within(axis, size, "coords")


def _check_diagonals(matrix: Any) -> None:
    held = vars(matrix)
    data, offsets = _array(held["data"], 2, "data"), _array(held["offsets"], 1, "offsets")
    _need(offsets.dtype.kind == "i" and len(offsets) == len(data), "offsets are not of its data")
    _need(len(_shape(matrix)) == 2, "it has no two sides")


def _check_lists(matrix: Any) -> None:
    import numpy as np

    n_rows, n_columns = _shape(matrix)
    rows, data = (_array(vars(matrix)[name], 1, name) for name in ("rows", "data"))
    _need(len(rows) == len(data) == n_rows, f"rows are not {n_rows}")
    for columns, values in zip(rows.tolist(), data.tolist(), strict=True):
        _need(type(columns) is list and type(values) is list, "a row is no list")
        _need(len(columns) == len(values), "a row has not as many columns as data")
        _all_within(np.array(columns or [0]), n_columns or 1, "columns")


def _check_spline(spline: Any) -> None:
    degree = _whole(spline.k, "k")
    knots = _array(spline.t, 1, "t")
    wanted = len(knots) - degree - 1
    _need(degree >= 0 and wanted > degree, "t has too few knots")
    _need(spline.c.shape[0] >= wanted, f"c is not of {wanted} coefficients")


# ---- scikit-learn


def _check_children(left: Any, right: Any, inner: Any) -> None:
    """Trees are written parents first, so that a walk through one ends."""
    import numpy as np

    own = np.arange(len(inner))[inner]
    for children in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        _need(bool(np.all(children > own)), "a child comes before its parent")
        _all_within(children, len(inner), "children")


def _check_tree(tree: Any) -> None:
    _need(1 <= tree.node_count <= tree.capacity, "it has not so many nodes")
    _need(tree.n_outputs >= 1 and bool((tree.n_classes >= 1).all()), "it has no outputs")
    inner = tree.children_left != -1
    _check_children(tree.children_left, tree.children_right, inner)
    _all_within(tree.feature[inner], tree.n_features, "features")


def _check_tree_estimator(estimator: Any) -> None:
    if "tree_" in vars(estimator):
        _check_features(estimator, vars(estimator)["tree_"])


def _check_features(estimator: Any, tree: Any) -> None:
    from sklearn.tree._tree import Tree

    known = _whole(vars(estimator)["n_features_in_"], "n_features_in_")
    _need(type(tree) is Tree and tree.n_features == known, f"a tree is not of {known} features")


def _check_boosted(estimator: Any) -> None:
    held = vars(estimator)
    if "estimators_" not in held:
        return
    trees = _array(held["estimators_"], 2, "estimators_")
    _need(trees.shape[1] == held["n_trees_per_iteration_"], "estimators_ are too many")
    for one in trees.ravel():
        _check_features(estimator, vars(one)["tree_"])


def _check_predictor(predictor: Any) -> None:
    nodes = _array(predictor.nodes, 1, "nodes")
    _need(len(nodes) > 0, "it has no nodes")
    inner = nodes["is_leaf"] == 0
    _check_children(nodes["left"], nodes["right"], inner)
    sets = nodes["bitset_idx"][inner & (nodes["is_categorical"] != 0)]
    for bits in (predictor.raw_left_cat_bitsets, predictor.binned_left_cat_bitsets):
        _all_within(sets, len(_array(bits, 2, "bitsets")), "bitsets")
        _need(bits.shape[1] == 8, "bitsets are not of 256 bits")


def _check_histograms(estimator: Any) -> None:
    import numpy as np

    held = vars(estimator)
    if "_predictors" not in held:
        return
    known = _whole(held["n_features_in_"], "n_features_in_")
    categorical = np.asarray(vars(held["_bin_mapper"])["is_categorical_"])
    _need(categorical.shape == (known,), f"is_categorical_ is not of {known} features")
    for predictor in (one for step in held["_predictors"] for one in step):
        inner = predictor.nodes[predictor.nodes["is_leaf"] == 0]
        _all_within(inner["feature_idx"], known, "features")
        by_sets = inner["feature_idx"][inner["is_categorical"] != 0]
        _need(bool(categorical[by_sets].all()), "a feature is not categorical")


def _check_ball_tree(tree: Any) -> None:
    from sklearn.metrics import DistanceMetric

    data, order, nodes, bounds, *_, metric, weights = tree.__getstate__()
    (rows, columns), sides = data.shape, 2 if type(tree).__name__.startswith("KD") else 1
    _need(rows > 0 and order.shape == (rows,), f"its order is not of {rows} rows")
    _all_within(order, rows, "its order")
    _need(bounds.shape == (sides, len(nodes), columns), "bounds are not of its nodes")
    _need(isinstance(metric, DistanceMetric), "it has no metric")
    _need(weights is None or weights.shape == (rows,), f"weights are not of {rows} rows")
    starts, ends = nodes["idx_start"], nodes["idx_end"]
    _need(bool(((starts >= 0) & (starts <= ends)).all()), "starts lie behind ends")
    _all_within(ends, rows + 1, "ends")
    (inner,) = (nodes["is_leaf"] == 0).nonzero()
    _need(len(nodes) > 0, "it has no nodes")
    _all_within(2 * inner + 2, len(nodes), "children")


def _check_width(attribute: str) -> Check:
    """Give the check that what is compared with rows is as wide as they are."""

    def check(estimator: Any) -> None:
        held = vars(estimator)
        if held.get(attribute) is not None:
            known = _whole(held["n_features_in_"], "n_features_in_")
            _need(held[attribute].shape[1] == known, f"{attribute} is not of {known} features")

    return check


def _check_vocabulary(vectorizer: Any) -> None:
    import numpy as np

    words = vars(vectorizer).get("vocabulary_")
    if words is not None:
        _need(isinstance(words, dict), "vocabulary_ is no dict")
        _all_within(np.array(list(words.values()) or [0]), len(words) or 1, "columns of words")


# ---- numpy, pandas, pyarrow


def _check_bits(generator: Any) -> None:
    state = generator.state
    own = state["state"]
    position = own.get("pos", 0) if isinstance(own, dict) else 0
    _need(0 <= position <= 624, "pos lies outside its key")
    _need(0 <= state.get("buffer_pos", 0) <= 4, "buffer_pos lies outside its buffer")


def _check_frame(manager: Any) -> None:
    import numpy as np

    n_columns, n_rows = (len(axis) for axis in manager.axes)
    counts = [len(block.mgr_locs) for block in manager.blocks]
    _need(sum(counts) == n_columns, "blocks are not of all columns")
    for count, block in zip(counts, manager.blocks, strict=True):
        shape = block.values.shape
        fits = shape == (count, n_rows) or (count == 1 and shape == (n_rows,))
        _need(fits, "a block is not of its columns")
    places = [np.arange(0), *(block.mgr_locs.as_array for block in manager.blocks)]
    own = np.array_equal(np.sort(np.concatenate(places)), np.arange(n_columns))
    _need(own, "blocks lie outside its columns")


def _check_arrow(array: Any) -> None:
    array.validate(full=True)


_CHECKS: dict[str, Check] = {
    **{
        f"scipy.sparse._{kind}:{kind}_{form}": check
        for form in ("array", "matrix")
        for kind, check in (
            ("bsr", _check_blocks),
            ("coo", _check_coordinates),
            ("csc", _check_columns),
            ("csr", _check_rows),
            ("dia", _check_diagonals),
            ("lil", _check_lists),
        )
    },
    "scipy.interpolate._bsplines:BSpline": _check_spline,
    "scipy.interpolate._bsplines:_BSpline": _check_spline,
    "sklearn.tree._tree:Tree": _check_tree,
    "sklearn.tree._classes:BaseDecisionTree": _check_tree_estimator,
    "sklearn.ensemble._gb:BaseGradientBoosting": _check_boosted,
    "sklearn.ensemble._hist_gradient_boosting.predictor:TreePredictor": _check_predictor,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting:BaseHistGradientBoosting": (
        _check_histograms
    ),
    "sklearn.neighbors._ball_tree:BallTree": _check_ball_tree,
    "sklearn.neighbors._kd_tree:KDTree": _check_ball_tree,
    "sklearn.neighbors._base:NeighborsBase": _check_width("_fit_X"),
    "sklearn.cluster._kmeans:_BaseKMeans": _check_width("cluster_centers_"),
    "sklearn.feature_extraction.text:CountVectorizer": _check_vocabulary,
    "sklearn.feature_extraction._dict_vectorizer:DictVectorizer": _check_vocabulary,
    "numpy.random.bit_generator:BitGenerator": _check_bits,
    "pandas.core.internals.managers:BlockManager": _check_frame,
    "pyarrow.lib:Array": _check_arrow,
    "pyarrow.lib:ChunkedArray": _check_arrow,
}
