"""Metrics: what counts as a number, which names there are, and which way is better."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelversion as mv
from modelversion._json import decode
from modelversion.errors import InvalidInputError, InvalidNameError, InvalidValueError
from modelversion.metrics import MAX_KEY, check_key, check_metrics, direction
from modelversion.records import MetricRecord
from modelversion.schema import from_json, stored, to_json


def kept(value):
    """Give what is stored of a metric, as it is read back."""
    record = check_metrics({"m": value})["m"]
    return decode(from_json(MetricRecord, to_json(record), "metric").value)


@given(st.integers() | st.floats(allow_nan=False))
def test_a_number_is_kept(value):
    """Every Python number comes back as what it was, huge integers and infinities included."""
    assert kept(value) == value
    assert type(kept(value)) is type(value)


def test_nan_is_kept():
    """A metric that is not a number says so."""
    assert math.isnan(kept(float("nan")))
    assert math.isnan(kept(numpy.float32("nan")))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (numpy.float64(0.5), 0.5),
        (numpy.float32(0.25), 0.25),
        (numpy.float16(0.5), 0.5),
        (numpy.int64(7), 7),
        (numpy.uint8(7), 7),
        (numpy.array(0.5), 0.5),
        (numpy.array(3), 3),
        (mv.metric(0.5), 0.5),
        (mv.metric(numpy.float32(0.5)), 0.5),
    ],
)
def test_numpy_numbers_are_numbers(value, number):
    """A scalar or an array without axes is kept as the Python number."""
    assert kept(value) == number
    assert type(kept(value)) is type(number)


def test_tensors_without_axes_are_numbers():
    """A loss as torch gives it is kept as a number."""
    import torch

    assert kept(torch.tensor(0.5)) == 0.5
    assert kept(torch.tensor(3)) == 3
    with pytest.raises(InvalidValueError):
        kept(torch.tensor([0.5, 1.0]))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        numpy.bool_(True),
        numpy.array(True),
        "0.9",
        b"1",
        [0.9],
        (0.9,),
        {"value": 0.9},
        numpy.array([0.9]),
        1 + 0j,
        numpy.complex128(1),
        Decimal("0.9"),
        Fraction(1, 2),
        object(),
    ],
)
def test_other_values_are_refused_by_name(value):
    """What is no number is refused; the error names the metric and the type."""
    with pytest.raises(
        InvalidValueError, match=r"metrics\['m'\] must be a number, found"
    ) as refusal:
        check_metrics({"m": value})

    assert type(value).__name__ in str(refusal.value)


@pytest.mark.parametrize("metrics", [0.9, [("auc", 0.9)], "auc", {"auc"}])
def test_metrics_map_names_to_numbers(metrics):
    """Another container is refused as such."""
    with pytest.raises(InvalidValueError, match="metrics must map names to numbers, found"):
        check_metrics(metrics)


# ---- names


@pytest.mark.parametrize(
    "name", ["auc", "val/auc", "AUC (test)", "größe", "a.b", "a" * MAX_KEY, "$loss", "日本"]
)
def test_a_name_is_any_line_of_text(name):
    """Names as training code has them are kept as they are."""
    assert check_key(name, "metric") == name


@pytest.mark.parametrize(
    "name", ["", " ", " auc", "auc ", "a\nb", "a\tb", "a\0", "`auc`", "a" * 201, "\ud800", "\u200b"]
)
def test_other_names_are_refused(name):
    """A name that cannot be shown or queried is refused by its rule."""
    with pytest.raises(InvalidNameError, match=r"metric name .* must be 1 to 200 printable"):
        check_metrics({name: 1})


@pytest.mark.parametrize("name", [1, None, ("auc",), b"auc"])
def test_a_name_is_text(name):
    """Another type is refused, and the error says which."""
    with pytest.raises(
        InvalidNameError, match=f"metric name must be str, found {type(name).__name__}"
    ):
        check_metrics({name: 1})


# ---- direction and sample size


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        ("auc", True),
        ("val/auc", True),
        ("Test-Accuracy", True),
        ("f1_macro", True),
        ("r2", True),
        ("log_loss", False),
        ("rmse", False),
        ("val_error", False),
        ("latency_ms", False),
        ("score_time", False),
        ("n_estimators", None),
        ("depth", None),
        ("", None),
    ],
)
def test_known_names_have_a_direction(name, higher):
    """A word that is known says which way is better; other names say nothing."""
    assert direction(name) is higher


@pytest.mark.parametrize("name", ["neg_mean_squared_error", "neg_log_loss", "val/neg_rmse"])
def test_a_negated_error_is_not_better_when_it_is_lower(name):
    """scikit-learn's `neg_...` scorers turn the sign around: higher is better, or unknown."""
    assert direction(name) is not False


def test_a_metric_says_its_direction():
    """What `metric` is told goes before what the name says."""
    metric = mv.metric(0.2, higher_is_better=True, n=100)
    record = check_metrics({"loss": metric})["loss"]

    assert (metric.value, metric.higher_is_better, metric.n) == (0.2, True, 100)
    assert (record.higher_is_better, record.n) == (True, 100)
    assert repr(metric) == "Metric(value=0.2, higher_is_better=True, n=100)"


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "10", float("nan")])
def test_a_sample_size_is_a_positive_integer(n):
    """Anything else is refused."""
    with pytest.raises(InvalidValueError, match="n must be the number of samples, at least 1"):
        mv.metric(0.9, n=n)


def test_a_sample_size_may_come_from_numpy():
    """A count as `mask.sum()` gives it is a count."""
    metric = mv.metric(0.9, n=numpy.int64(5))

    assert metric.n == 5
    assert type(metric.n) is int


@pytest.mark.parametrize("word", ["yes", 2, "max", 0.5])
def test_a_direction_is_true_or_false(word):
    """Anything else is refused."""
    with pytest.raises(InvalidValueError, match="higher_is_better must be True or False, found"):
        mv.metric(0.9, higher_is_better=word)


@pytest.mark.parametrize("word", [1, 0, 1.0, numpy.bool_(True)])
def test_a_direction_that_is_nearly_a_bool_can_be_read_back(word):
    """A direction that equals True or False is stored as that, or refused."""
    try:
        metric = mv.metric(0.9, higher_is_better=word)
    except InvalidInputError:
        return
    record = check_metrics({"m": metric})["m"]
    assert record.higher_is_better is bool(word)
    assert stored(from_json(MetricRecord, to_json(record), "metric")) == stored(record)


@pytest.mark.parametrize("value", ["0.9", None, True, [1], numpy.ma.masked])
def test_a_metric_is_a_number(value):
    """`metric` refuses what is none at once, where it is written."""
    with pytest.raises(InvalidValueError, match="value must be a number, found"):
        mv.metric(value)
