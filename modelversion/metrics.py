"""Metrics: their numbers, and which way is better."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from modelversion._json import decode, encode, loads, numpy_scalar
from modelversion.display import Cell, Page, Shown, Table, Tone
from modelversion.errors import InvalidNameError, InvalidValueError, MetricNotFoundError
from modelversion.records import MetricRecord

MAX_KEY = 200
_LARGEST = sys.float_info.max
_HIGHER_WORDS = """
    acc accuracy auc auroc auprc roc f1 fbeta precision recall sensitivity specificity r2 score
    ap map ndcg mrr iou dice jaccard bleu rouge meteor mcc kappa likelihood silhouette lift gini
    psnr ssim reward throughput
"""
_LOWER_WORDS = """
    loss err error errors mse rmse rmsle mae mape smape mad logloss nll perplexity ppl brier ece
    fpr fnr wer cer fid latency seconds ms time bytes deviance regret hinge divergence kl
"""
_HIGHER = frozenset(_HIGHER_WORDS.split())
_LOWER = frozenset(_LOWER_WORDS.split())


@attrs.frozen
class Metric:
    """A metric's number with its direction and sample size; `metric` makes one."""

    value: int | float
    higher_is_better: bool | None = None
    n: int | None = None


class Metrics(Mapping[str, Any], Shown):
    """The metrics of a version: name -> last value, and the series of those logged by step."""

    def __init__(self, values: Mapping[str, Any], read_series: Callable[[], bytes]) -> None:
        self._values = values
        self._read_series = read_series

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values) or "none"
            raise MetricNotFoundError(f"no metric {name!r}; metrics: {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self._values))

    def _page(self) -> Page:
        series = series_of(self._read_series())
        drawn = {name: [value for _, value in points] for name, points in series.items()}
        rows = [(name, Cell(v, spark=drawn.get(name, ()))) for name, v in self._values.items()]
        table = Table("values", ("metric", "value"), rows=rows)
        return Page("metrics", "" if rows else "none", blocks=[table])

    def to_dict(self) -> dict[str, Any]:
        """Give the last values as a plain dict."""
        return dict(self._values)

    def series(self, name: str) -> list[tuple[int, Any]]:
        """Give the values of a metric that were logged with a step: (step, value), as logged.

        Raises:
            MetricNotFoundError: The version has no metric of that name.
            IntegrityError: The series are not the committed ones.
        """
        self[name]
        return series_of(self._read_series()).get(name, [])


def series_of(data: bytes) -> dict[str, list[tuple[int, Any]]]:
    """Give the series that a version's file of series holds: name -> (step, value), as logged."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for text in data.splitlines():
        line = loads(text, "series")
        found.setdefault(line["metric"], []).append((decode(line["step"]), decode(line["value"])))
    return found


def metric(value: Any, *, higher_is_better: bool | None = None, n: int | None = None) -> Metric:
    """Give a metric its direction and the number of samples that it was measured on.

    Args:
        value: A number; NaN and infinities are kept.
        higher_is_better: True or False; None leaves it to the metric's name.
        n: Number of samples, at least 1.

    Raises:
        InvalidValueError: The value is no number, or `n` is no positive integer.

    >>> metric(0.89, higher_is_better=True, n=5000)
    Metric(value=0.89, higher_is_better=True, n=5000)
    """
    higher_is_better, n = _plain(higher_is_better), check_count(n)
    if higher_is_better is not None and not isinstance(higher_is_better, bool):
        raise InvalidValueError(
            f"higher_is_better must be True or False, found {higher_is_better!r}"
        )
    return Metric(_number(value, "value"), higher_is_better, n)


def _plain(value: Any) -> Any:
    """Give the Python value of a numpy scalar, and anything else as it is."""
    number = numpy_scalar(value)
    return value if number is None else number


def check_count(n: Any) -> int | None:
    """Give a number of samples, or refuse what is none.

    Raises:
        InvalidValueError: It is no int above 0.
    """
    n = _plain(n)
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise InvalidValueError(f"n must be the number of samples, at least 1; found {n!r:.80}")
    return n


def check_metrics(metrics: Mapping[str, Any]) -> dict[str, MetricRecord]:
    """Give metrics as records, or refuse the first that is not one.

    Raises:
        InvalidNameError: A name is empty, too long or not printable.
        InvalidValueError: A value is no number.
    """
    if not isinstance(metrics, Mapping):
        raise InvalidValueError(
            f"metrics must map names to numbers, found {type(metrics).__name__}"
        )
    return {check_key(name, "metric"): _record(name, value) for name, value in metrics.items()}


def _record(name: str, value: Any) -> MetricRecord:
    if not isinstance(value, Metric):
        value = Metric(_number(value, f"metrics[{name!r}]"))
    return MetricRecord(
        value=encode(value.value, f"metrics[{name!r}]"),
        higher_is_better=value.higher_is_better,
        n=value.n,
    )


def check_word(word: Any, what: str) -> str:
    """Refuse what is no text as the name of a metric or a tag.

    Raises:
        InvalidNameError: It is none.
    """
    if not isinstance(word, str):
        raise InvalidNameError(f"{what} name must be str, found {type(word).__name__} {word!r}")
    return word


def check_key(key: Any, what: str) -> str:
    """Give the name of a metric or a tag, or refuse it.

    Raises:
        InvalidNameError: It is no text of 1 to 200 printable characters, or it has backquotes.
    """
    name = check_word(key, what)
    if (
        not 0 < len(name) <= MAX_KEY
        or not name.isprintable()
        or "`" in name
        or name != name.strip()
    ):
        raise InvalidNameError(
            f"{what} name {name[:80]!r} must be 1 to {MAX_KEY} printable characters, without "
            "backquotes or white space at its ends"
        )
    return name


def _number(value: Any, what: str) -> int | float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    number = numpy_scalar(value)
    if number is None and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        # An array or tensor without axes; what is masked would be 0.
        number = None if getattr(value, "mask", False) else value.item()
    if not isinstance(number, (int, float)) or isinstance(number, bool):
        raise InvalidValueError(
            f"{what} must be a number, found {type(value).__name__} {value!r:.60}"
        )
    return number


def direction(name: str) -> bool | None:
    """Tell from a metric's name whether higher is better; None if the name does not say.

    >>> direction("val/auc"), direction("log_loss"), direction("depth")
    (True, False, None)
    """
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if words & _LOWER:
        # scikit-learn's scorers negate errors and say so: neg_log_loss.
        return bool(words & {"neg", "negative"})
    return True if words & _HIGHER else None


_TESTS = frozenset({"test", "testing", "holdout", "val", "valid", "validation", "eval"})


def is_test(name: str) -> bool:
    """Tell from the name of a data set whether metrics are measured on it.

    >>> is_test("X_test"), is_test("validation"), is_test("train")
    (True, True, False)
    """
    return not _TESTS.isdisjoint(re.split(r"[^a-z0-9]+", name.lower()))


def is_number(value: Any) -> bool:
    """Tell whether a metric is a number that another can be subtracted from."""
    return isinstance(value, (int, float)) and abs(value) <= _LARGEST


_SHARES = frozenset({"acc", "accuracy"})
_Z = 1.959964  # the normal's 97.5 % quantile


def interval(name: str, value: Any, n: int | None) -> tuple[float, float] | None:
    """Give the 95 % interval of a metric that is a share of its samples, None of any other.

    That is Wilson's score interval (1927, JASA 22, p. 209). Only of accuracies does the name say
    that they are shares of all samples.

    >>> low, high = interval("val/accuracy", 0.9, 100)
    >>> round(low, 3), round(high, 3)
    (0.826, 0.945)
    >>> interval("auc", 0.9, 100)
    """
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    if not words & _SHARES or "balanced" in words or not n:
        return None
    if not is_number(value) or not 0 <= value <= 1:
        return None
    middle = value + _Z**2 / (2 * n)
    spread = _Z * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n * n))
    scale = 1 + _Z**2 / n
    return max((middle - spread) / scale, 0.0), min((middle + spread) / scale, 1.0)


def change(by: float, higher: bool | None) -> tuple[str, Tone]:
    """Give a difference in words, with what it means where the direction is known.

    >>> change(0.02, True), change(0.5, False), change(0, True), change(-1, None)
    (('+0.02 better', 'good'), ('+0.5 worse', 'bad'), ('same', ''), ('-1', ''))
    """
    if by == 0:
        return "same", ""
    if higher is None:
        return f"{by:+.3g}", ""
    better = (by > 0) == higher
    return (f"{by:+.3g} better", "good") if better else (f"{by:+.3g} worse", "bad")


def moved(before: Any, after: Any, *, higher: bool | None) -> Cell:
    """Tell how a metric changed, in words; nothing where one of the two is no number."""
    if not (is_number(before) and is_number(after)):
        return Cell(None)
    said, tone = change(after - before, higher)
    return Cell(after - before, said, tone=tone)
