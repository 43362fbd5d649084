"""Canonical JSON: what goes in comes out, and what cannot be said is refused by its path."""

import base64
import enum
import json
import math
import string
from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType

import numpy
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelversion import _json
from modelversion._json import MAX_DEPTH, decode, dumps, encode, loads, loads_strict
from modelversion.errors import InvalidValueError, RecordError

texts = st.text(st.characters(codec="utf-8"), max_size=8)
moments = st.datetimes(timezones=st.just(UTC) | st.none())
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary(max_size=8)
    | moments
    | st.dates()
)
keys = texts | st.sampled_from(
    ["$float", "$$float", "$int", "$tuple", "$bytes", "$time", "$", "$$"]
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=20,
)


def same(a, b):
    """Tell whether two values are equal and of one type, NaN and the sign of zero included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and str(a) == str(b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return a == b


def stored(value):
    return decode(loads(dumps(encode(value, "params")), "params"))


@given(values)
def test_a_value_comes_back_through_its_bytes(value):
    """Every value that is accepted comes back equal, with its type."""
    assert same(stored(value), value)


@given(values)
def test_the_bytes_are_standard_json(value):
    """The standard library reads what is written as orjson does."""
    data = dumps(encode(value, "params"))

    assert json.loads(data) == orjson.loads(data)
    assert b"NaN" not in data.replace(b'"NaN', b"") or "NaN" in repr(value)


@given(st.dictionaries(keys, leaves, max_size=5))
def test_bytes_do_not_depend_on_the_order_of_keys(value):
    """Two equal dicts have the same bytes."""
    turned = dict(reversed(value.items()))

    assert dumps(encode(turned, "params")) == dumps(encode(value, "params"))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float("nan"), {"$float": "nan"}),
        (float("inf"), {"$float": "inf"}),
        (float("-inf"), {"$float": "-inf"}),
        (2**53, 2**53),
        (-(2**53), -(2**53)),
        (2**53 + 1, {"$int": "9007199254740993"}),
        (-(2**53) - 1, {"$int": "-9007199254740993"}),
        (10**400, {"$int": "1" + "0" * 400}),
        ((1, (2,)), {"$tuple": [1, {"$tuple": [2]}]}),
        ((), {"$tuple": []}),
        (b"\0\xff", {"$bytes": "AP8="}),
        (date(2026, 11, 1), {"$time": "2026-11-01"}),
        (datetime(2026, 11, 1, 2, 3, 4, 5, UTC), {"$time": "2026-11-01T02:03:04.000005+00:00"}),
        ({"$float": 1}, {"$$float": 1}),
        ({"$$float": 1}, {"$$$float": 1}),
        ({"a$": 1}, {"a$": 1}),
        (-0.0, -0.0),
        (5e-324, 5e-324),
    ],
)
def test_what_json_cannot_say_is_tagged(value, written):
    """The tags are those that the format page lists."""
    assert same(encode(value, "params"), written)
    assert same(stored(value), value)


def test_a_time_zone_is_kept():
    """A time comes back with its own offset."""
    moment = datetime(2026, 11, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    assert stored(moment) == moment
    assert stored(moment).utcoffset() == timedelta(hours=5, minutes=30)


# ---- values that are nearly one of these


class Rate(float):
    pass


class Count(int):
    def __str__(self):
        return "many"


class Colour(enum.IntEnum):
    RED = 1


class Kind(str, enum.Enum):  # noqa: UP042 - how it was written before StrEnum
    TREE = "tree"


class Mode(enum.StrEnum):
    FAST = "fast"


class Loud(str):
    __slots__ = ()

    def __str__(self):
        return self.upper() + "!"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (Rate(0.5), 0.5),
        (Rate("nan"), float("nan")),
        (Count(3), 3),
        (Count(2**70), 2**70),
        (Colour.RED, 1),
        (Mode.FAST, "fast"),
        (Kind.TREE, "tree"),
        (Loud("a"), "a"),
        (numpy.int64(3), 3),
        (numpy.uint64(2**64 - 1), 2**64 - 1),
        (numpy.int8(-1), -1),
        (numpy.float16(0.5), 0.5),
        (numpy.float32(0.1), float(numpy.float32(0.1))),
        (numpy.float64(0.1), 0.1),
        (numpy.float64("nan"), float("nan")),
        (numpy.float32("-inf"), float("-inf")),
        (numpy.bool_(True), True),
        (numpy.str_("a"), "a"),
        (numpy.bytes_(b"a"), b"a"),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({Mode.FAST: 1}, {"fast": 1}),
        ({Kind.TREE: 1}, {"tree": 1}),
        ({Loud("a"): 1}, {"a": 1}),
    ],
)
def test_subclasses_and_numpy_scalars_become_the_plain_value(value, kept):
    """A subclass or a numpy scalar is stored as the built-in of the same value."""
    assert same(stored(value), kept)


Point = namedtuple("Point", "x y")


class Own(Mapping):
    def __getitem__(self, key):
        return {"a": 1}[key]

    def __iter__(self):
        return iter("a")

    def __len__(self):
        return 1


def test_any_mapping_is_a_dict():
    """A mapping of a user's own class is stored as a dict."""
    assert stored(Own()) == {"a": 1}


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        1 + 2j,
        Decimal("1.5"),
        range(3),
        Own,
        lambda: 1,
        numpy.complex64(1),
        numpy.arange(3),
        bytearray(b"a"),
        timedelta(1),
    ],
)
def test_other_types_are_refused_by_name(value):
    """What has no JSON is refused with its path and its type."""
    with pytest.raises(InvalidValueError) as refusal:
        encode({"a": [0, value]}, "params")

    assert str(refusal.value).startswith("params['a'][1] is a ")
    assert type(value).__name__ in str(refusal.value)


def test_the_error_is_a_value_error_and_a_type_error():
    """Callers catch it as what Python would raise."""
    with pytest.raises(TypeError):
        encode(object(), "params")
    with pytest.raises(ValueError):
        encode(object(), "params")


@pytest.mark.parametrize("key", [1, None, b"a", ("a",), 1.5, True])
def test_keys_are_text(key):
    """A key that is not text is refused, for it would come back as text."""
    with pytest.raises(InvalidValueError, match=r"params\['a'\] has the key .* keys must be str"):
        encode({"a": {key: 1}}, "params")


@pytest.mark.parametrize("value", ["\ud800", "a\udfffb", {"\ud800": 1}, [{"a": "\udcff"}]])
def test_lone_surrogates_are_refused(value):
    """Text that is not Unicode is refused, not written as something else."""
    with pytest.raises(InvalidValueError, match="not Unicode"):
        encode(value, "params")


def test_a_cycle_is_refused():
    """A list or a dict that contains itself ends in an error with a short message."""
    ring, loop = [], {}
    ring.append(ring)
    loop["a"] = (loop,)

    for value in (ring, loop):
        with pytest.raises(InvalidValueError, match="contains itself") as refusal:
            encode(value, "params")
        assert len(str(refusal.value)) < 400


def nested(depth, wrap):
    value = 1
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: {"a": v}])
def test_depth_is_limited(wrap):
    """64 levels are stored, 65 are refused."""
    deepest = nested(MAX_DEPTH, wrap)

    assert stored(deepest) == deepest
    with pytest.raises(InvalidValueError, match="nested deeper than 64 levels"):
        encode(nested(MAX_DEPTH + 1, wrap), "params")


def json_depth(value):
    children = value.values() if isinstance(value, dict) else value
    return 1 + max(map(json_depth, children), default=0) if isinstance(value, (dict, list)) else 0


@pytest.mark.parametrize(
    ("wrap", "leaf"),
    [(lambda v: (v,), 1), (lambda v: (v,), b"a"), (lambda v: [v], b"a"), (lambda v: {"a": v}, ())],
)
def test_what_is_stored_is_never_deeper_than_the_limit(wrap, leaf):
    """Tags count as levels: the JSON that is written has at most 64."""
    for depth in range(MAX_DEPTH + 2):
        value = leaf
        for _ in range(depth):
            value = wrap(value)
        try:
            written = encode(value, "params")
        except InvalidValueError:
            break
        assert json_depth(written) <= MAX_DEPTH
        assert stored(value) == value
    assert depth > 20


def test_an_integer_of_too_many_digits_is_refused_by_its_path():
    """Python refuses to print it; the error says where it is."""
    with pytest.raises(InvalidValueError, match=r"^params\['n'\] is an integer of too many digits"):
        encode({"n": 10**5000}, "params")


# ---- reading


@given(st.binary(max_size=40))
def test_any_bytes_are_json_or_a_record_error(data):
    """No bytes make the reader raise anything else."""
    try:
        value = loads(data, "version.json")
    except RecordError as e:
        assert str(e).startswith("version.json is not JSON")
    else:
        assert value == orjson.loads(data)


@pytest.mark.parametrize(
    "data",
    [b'{"a":1,"a":1}', b'{"a":1, "a":2}', b'[{"b":{"a":1,"a":2}}]', b'{"\\u0061":1,"a":2}'],
)
def test_duplicate_keys_are_refused(data):
    """Two equal keys in one object are refused, however they are spelt."""
    loads(data, "version.json")

    with pytest.raises(RecordError, match=r"version\.json holds the key 'a' twice"):
        loads_strict(data, "version.json")


@pytest.mark.parametrize("data", [b'{"b":1, "a":[1.50]}', b'{"a":1.0e3}', b' {"a":1}\n'])
def test_other_spellings_are_read(data):
    """What another program wrote is read, if it says one thing."""
    assert loads_strict(data, "version.json") == json.loads(data)


@given(values)
def test_strict_reading_reads_what_is_written(value):
    """Strict reading accepts every file that we write."""
    written = encode(value, "params")

    assert loads_strict(dumps(written), "params") == written


@pytest.mark.parametrize(
    "value",
    [
        {"$float": "huge"},
        {"$float": 1},
        {"$int": "x"},
        {"$int": [1]},
        {"$bytes": "*"},
        {"$bytes": 1},
        {"$tuple": 1},
        {"$time": "noon"},
        {"$time": 1},
    ],
)
def test_a_tag_that_was_edited_is_a_record_error(value):
    """A tag with something that its type cannot be is refused as an edited record."""
    with pytest.raises(RecordError):
        decode({"a": value})


def test_an_unknown_tag_is_kept():
    """A tag of a newer release stays as it is, and so does an object with more keys."""
    assert decode({"$complex": "1+2j"}) == {"$complex": "1+2j"}
    assert decode({"$float": "nan", "a": 1}) == {"$float": "nan", "a": 1}


# ---- times and digests


@given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)))
def test_timestamps_sort_as_times_do(moment):
    """A time is printed in UTC with six places, and read back."""
    moment = moment.replace(tzinfo=UTC)
    text = _json.timestamp(moment)

    assert len(text) == 27
    assert text.endswith("Z")
    assert _json.parse_timestamp(text, "time") == moment
    assert _json.timestamp(moment + timedelta(microseconds=1)) > text


def test_timestamps_are_in_utc():
    """A time of another zone is converted."""
    moment = datetime(2026, 11, 1, 1, tzinfo=timezone(timedelta(hours=2)))

    assert _json.timestamp(moment) == "2026-10-31T23:00:00.000000Z"


def test_the_digest_is_that_of_sha256sum():
    """The digest of nothing is the well-known one."""
    assert _json.digest(b"").startswith("e3b0c44298fc1c149afbf4c8996fb924")
    assert set(_json.digest(b"a")) <= set(string.hexdigits.lower())


def test_bytes_are_standard_base64():
    """Bytes can be read without this library."""
    assert encode(b"\xfb\xff", "params") == {"$bytes": base64.b64encode(b"\xfb\xff").decode()}
