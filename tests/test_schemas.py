"""The published JSON Schemas are those of the records, and real files meet them."""

import copy
import importlib
import importlib.util
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from processes import with_driver

import modelversion as mv
from modelversion import observed

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "data" / "format-1"
NAMES = {"registry.json": "registry", "claim.json": "claim", "version.json": "version"}


def load_generator():
    spec = importlib.util.spec_from_file_location("schemas", ROOT / "docs" / "schemas.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()
VALIDATORS = {
    file.name.removesuffix(".schema.json"): jsonschema.Draft202012Validator(
        json.loads(file.read_text("utf-8"))
    )
    for file in GENERATOR.TARGET.glob("*.json")
}


def schema_of(file):
    """Name the schema that a stored file has to meet."""
    if file.parent.name == "forks":
        return "fork"
    return NAMES.get(file.name, "hint" if file.name == "head.json" else "entry")


def stored(folder):
    """Give (schema, JSON) of everything in a registry's folder that has a schema."""
    for file in sorted(folder.rglob("*.json")):
        if "artifacts" not in file.parts:
            yield schema_of(file), json.loads(file.read_bytes())
    for merge in sorted(folder.rglob("s[123]/*.jsonl")):
        *lines, last, _ = merge.read_bytes().split(b"\n")
        yield from (("entry", json.loads(line)) for line in lines)
        yield "merge", json.loads(last)
    for series in sorted(folder.rglob("series.jsonl")):
        yield from (("series", json.loads(line)) for line in series.read_bytes().splitlines())


def check(found):
    """Hold each against its schema; what must be understood has one of its own."""
    kinds = {event.kind for event in GENERATOR.events()}
    for name, value in found:
        VALIDATORS[name].validate(value)
        if name == "entry" and value["event"]["must_understand"]:
            assert value["event"]["kind"] in kinds


def test_the_published_schemas_are_those_of_the_records():
    """`make schemas` would change nothing."""
    expected = {f"{n}.schema.json": GENERATOR.text(s) for n, s in GENERATOR.schemas().items()}

    found = {file.name: file.read_text("utf-8") for file in GENERATOR.TARGET.glob("*.json")}
    assert found == expected, "run `make schemas`"


@pytest.mark.parametrize("name", sorted(VALIDATORS))
def test_a_schema_is_one(name):
    """By the meta-schema of its dialect."""
    validator = VALIDATORS[name]

    validator.check_schema(validator.schema)


def defined():
    """Give the kind of every event that the package defines, wherever it stands."""
    for module in pkgutil.walk_packages(mv.__path__, "modelversion."):
        driven = with_driver(module.name)
        for value in vars(driven).values() if driven else ():
            if isinstance(getattr(value, "must_understand", None), bool):
                yield value.kind


def test_every_event_has_a_schema():
    """Each that the package defines, and no other."""
    published = [event.kind for event in GENERATOR.events()]

    assert published == sorted(set(published)) == sorted(set(defined()))
    told = VALIDATORS["entry"].schema["properties"]["event"]["allOf"]
    assert [rule["if"]["properties"]["kind"]["const"] for rule in told] == published


def test_an_event_without_a_schema_is_noticed(monkeypatch):
    """One that no journal is read with is not published, and the test above fails."""
    monkeypatch.delitem(observed.OBSERVATIONS.rules, "observation.added")

    with pytest.raises(AssertionError, match=r"observation\.added"):
        test_every_event_has_a_schema()


def test_what_is_written_now_meets_them(tmp_path):
    """A registry on which everything was done by this release."""
    script = GOLDEN.parent / "make_format_1.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "registry")], check=True)

    found = list(stored(tmp_path / "registry"))

    assert {name for name, _ in found} == set(VALIDATORS)
    kinds = {value["event"]["kind"] for name, value in found if name == "entry"}
    assert kinds == {"future.remark", *(event.kind for event in GENERATOR.events())}
    check(found)


def first_of(name):
    return next(value for kind, value in stored(GOLDEN) if kind == name)


@pytest.mark.parametrize("name", sorted(VALIDATORS))
def test_a_field_that_is_missing_is_found(name):
    """Each that the schema requires."""
    for field in VALIDATORS[name].schema["required"]:
        broken = {key: value for key, value in first_of(name).items() if key != field}

        assert not VALIDATORS[name].is_valid(broken), field


@pytest.mark.parametrize("name", sorted(VALIDATORS))
def test_a_field_of_another_type_is_found(name):
    """Every typed field that the golden file has; unknown fields are welcome."""
    whole = first_of(name)
    for field, rule in VALIDATORS[name].schema["properties"].items():
        if field in whole and "type" in rule:
            wrong = 1.5 if rule["type"] != "number" else "text"
            assert not VALIDATORS[name].is_valid({**whole, field: wrong}), field
    VALIDATORS[name].validate({**whole, "of a newer release": [1]})


def test_an_event_is_judged_by_its_kind():
    """A commit without its number is found, an event of an unknown kind is not judged."""
    entry = copy.deepcopy(first_of("entry"))
    entry["event"] = {"kind": "version.committed", "must_understand": True}
    assert not VALIDATORS["entry"].is_valid(entry)

    entry["event"]["kind"] = "version.praised"
    assert VALIDATORS["entry"].is_valid(entry)
