"""The published JSON Schemas are those of the records, and real files meet them."""

import copy
import importlib.util
import json
from pathlib import Path

import jsonschema
import pytest

import modelversion as mv
from modelversion import decisions, state

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
    return NAMES.get(file.name, "hint" if file.name == "head.json" else "entry")


def stored(folder):
    """Give (schema, JSON) of every file of a registry's folder that has a schema."""
    for file in sorted(folder.rglob("*.json")):
        if "artifacts" not in file.parts:
            yield schema_of(file), json.loads(file.read_bytes())
    for merge in sorted(folder.rglob("s[123]/*.jsonl")):
        for line in merge.read_bytes().split(b"\n")[:-2]:
            yield "entry", json.loads(line)


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


def test_every_event_has_a_schema():
    """Each kind that a fold knows, and no other."""
    values = [*vars(state).values(), *vars(decisions).values()]
    folds = [value for value in values if isinstance(value, state.Fold)]
    known = {kind for fold in folds for kind in fold.rules}

    assert {event.kind for event in GENERATOR.events()} == known


def test_stored_files_of_the_first_release_meet_them():
    """The registry that is kept for ever."""
    found = [*stored(GOLDEN), *stored(GOLDEN.parent / "format-1-stages")]

    assert {name for name, _ in found} == set(VALIDATORS)
    for name, value in found:
        VALIDATORS[name].validate(value)


def test_what_is_written_now_meets_them(registry, merges):
    """A registry with one of everything."""
    for i in range(40):
        registry.save("churn", {"w": [i]}, params={"C": i}, metrics={"auc": mv.metric(0.9, n=3)})
    churn = registry["churn"]
    churn.set_alias("champion", 1)
    churn.delete_alias("champion")
    churn[2].tag(team="risk")
    churn[2].untag("team")
    churn[2].note("good")
    churn[2].withdraw(reason="bad labels", use_instead=3)
    churn[2].restore(reason="they were good")
    churn[4].delete(reason="erasure")
    merges()

    found = list(stored(Path(registry.url)))

    assert len(found) > 150
    for name, value in found:
        VALIDATORS[name].validate(value)


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
