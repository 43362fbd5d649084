"""Records: each comes back from its JSON, and keeps what it does not know."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelversion import records
from modelversion._json import dumps, loads
from modelversion.errors import NewerFormatError, RecordError
from modelversion.records import (
    Actor,
    Entry,
    FileRecord,
    MetricRecord,
    VersionCommitted,
    VersionDeleted,
    VersionRecord,
    check_format,
    event_json,
)
from modelversion.schema import from_json, stored, to_json

CLASSES = sorted(
    (
        c
        for c in vars(records).values()
        if attrs.has(c) and c.__module__.startswith(records.__name__)
    ),
    key=lambda c: c.__name__,
)
EVENTS = [c for c in CLASSES if isinstance(getattr(c, "kind", None), str)]

texts = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.integers(-(2**53), 2**53)
scalars = (
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | texts
)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(texts, plain, max_size=3)
BY_TYPE = {
    str: texts,
    int: numbers,
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
    dict: objects,
    object: plain,
    list: st.lists(plain, max_size=3),
    # A tuple that JSON gives back is a list, so fields that take either are drawn as lists.
    tuple: st.nothing(),
}
some = settings(max_examples=25)


def record(cls):
    """Draw a record of a class with any of its fields, and with unknown ones."""
    known = {}
    for field in attrs.fields(cls):
        if field.name != "extra":
            known[field.name] = _field(field)
    names = {field.name for field in attrs.fields(cls)} | {"kind", "must_understand"}
    unknown = st.dictionaries(texts.filter(lambda name: name not in names), plain, max_size=2)
    return st.builds(cls, **known, extra=unknown)


def _says(value):
    return value is not None


def _field(field):
    ((kind, nested),) = field.metadata.items()
    if field.name in ("event", "value"):  # never empty where it is required
        return objects.filter(bool) if field.name == "event" else plain.filter(_says)
    if kind == "one":
        return record(nested) if field.default is attrs.NOTHING else st.none() | record(nested)
    if kind == "many":
        return st.lists(record(nested), max_size=2)
    if kind == "by_name":
        return st.dictionaries(texts, record(nested), max_size=2)
    kinds = nested if isinstance(nested, tuple) else (nested,)
    return st.one_of([BY_TYPE[k] for k in kinds])


@pytest.mark.parametrize("cls", CLASSES)
@some
@given(st.data())
def test_a_record_comes_back_from_its_bytes(cls, data):
    """Every record, with every mix of its fields and of unknown ones, comes back equal."""
    given_record = data.draw(record(cls))

    back = from_json(cls, loads(stored(given_record), "record"), "record")

    assert to_json(back) == to_json(given_record)
    assert stored(back) == stored(given_record)


@pytest.mark.parametrize("cls", CLASSES)
@some
@given(st.data())
def test_unknown_fields_are_kept(cls, data):
    """Fields of a newer release are there after a reading and a writing."""
    value = to_json(data.draw(record(cls))) | {"of_a_newer_release": {"a": [1]}}

    back = from_json(cls, value, "record")

    assert back.extra["of_a_newer_release"] == {"a": [1]}
    assert to_json(back)["of_a_newer_release"] == {"a": [1]}


@pytest.mark.parametrize("cls", CLASSES)
@some
@given(st.data())
def test_any_json_is_a_record_or_a_record_error(cls, data):
    """A field of another type, or none, never raises anything but a RecordError with its path."""
    value = to_json(data.draw(record(cls)))
    name = data.draw(st.sampled_from([f.name for f in attrs.fields(cls) if f.name != "extra"]))
    value[name] = data.draw(plain)

    try:
        back = from_json(cls, value, "record")
    except RecordError as e:
        assert str(e).startswith(f"record.{name}")
    else:
        assert dumps(to_json(back)) is not None


def required_of(cls):
    return [field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING]


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if required_of(cls)])
def test_a_missing_field_is_named(cls):
    """The first required field is named with its path where a record is empty."""
    required = required_of(cls)

    with pytest.raises(RecordError, match=rf"^record\.{required[0]} is missing"):
        from_json(cls, {}, "record")


@pytest.mark.parametrize("value", [None, [], "a", 1, True])
def test_a_record_is_an_object(value):
    """Anything but a JSON object is refused, and shown."""
    with pytest.raises(RecordError, match=r"^version\.json must be an object, found"):
        from_json(VersionRecord, value, "version.json")


def test_the_path_leads_to_the_field():
    """The error carries the path through lists and objects."""
    files = [{"path": "a", "size": 1, "sha256": "0"}, {"path": "b", "size": "1", "sha256": "0"}]
    value = {"number": 1, "reason": "r", "sha256": "0", "files": files}

    with pytest.raises(RecordError, match=r"^event\.files\[1\]\.size must be int, found str '1'"):
        from_json(VersionDeleted, value, "event")


@pytest.mark.parametrize(
    ("name", "value"), [("position", True), ("position", 1.0), ("event", []), ("actor", "ana")]
)
def test_a_field_of_another_type_is_refused(name, value):
    """True is no number and a number with a point is no integer, as in the format."""
    actor = {"name": "ana", "source": "given"}
    entry = {"position": 1, "event": {}, "actor": actor}
    entry |= dict.fromkeys(["previous", "nonce", "time", "clock"], "")

    with pytest.raises(RecordError, match=rf"^entry\.{name} must be"):
        from_json(Entry, entry | {name: value}, "entry")


def test_a_null_is_left_out_where_none_is_the_default():
    """Fields that say nothing take no bytes, and an explicit null is read as that."""
    actor = Actor(name="ana", source="given")

    assert to_json(actor) == {"name": "ana", "source": "given"}
    assert from_json(Actor, to_json(actor) | {"run_url": None}, "actor") == actor


def test_a_long_value_is_cut_in_the_message():
    """A message stays short whatever stands in the file."""
    with pytest.raises(RecordError) as refusal:
        from_json(FileRecord, {"path": ["x" * 10_000]}, "file")

    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("value", [0, 0.0, False, None, "", [], {}, {"$float": "nan"}])
def test_a_metric_keeps_any_value(value):
    """What is false is not what is absent: zero, too, is written."""
    metric = MetricRecord(value=value)

    if value is not None:
        assert to_json(metric) == {"value": value}
        assert from_json(MetricRecord, to_json(metric), "metric") == metric


# ---- events


@pytest.mark.parametrize("cls", EVENTS)
@some
@given(st.data())
def test_an_event_says_its_kind(cls, data):
    """An entry's event names its kind and whether it must be understood."""
    event = data.draw(record(cls))

    value = event_json(event)
    assert (value["kind"], value["must_understand"]) == (cls.kind, cls.must_understand)


def test_kinds_are_distinct_and_documented():
    """No two events share a kind."""
    kinds = [cls.kind for cls in EVENTS]

    assert len(set(kinds)) == len(kinds)


# ---- formats


@pytest.mark.parametrize("value", [{"format": 1}, {"format": 0}, {}, [], None, {"format": "2"}])
def test_a_format_that_is_not_newer_is_left_to_the_fields(value):
    """Only a higher number is a newer format; the rest is judged field by field."""
    check_format(value, "version.json")


@pytest.mark.parametrize("number", [2, 10**9])
def test_a_newer_format_is_refused(number):
    """The error says which format was found and what to install."""
    with pytest.raises(NewerFormatError, match=rf"version\.json has format {number}; .* up to 1"):
        check_format({"format": number, "unheard": "of"}, "version.json")


def test_records_are_frozen():
    """A record that was read cannot be changed."""
    event = VersionCommitted(number=1, nonce="a", size=1, sha256="b", content="c")

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.number = 2
