"""Write the JSON Schemas of format 1, made from the records that the library itself reads with.

`make schemas` writes them into `docs/reference/schemas`; the tests compare, and hold the files of
real registries against them. Dialect: JSON Schema 2020-12.
"""

import inspect
import json
import sys
from pathlib import Path

import attrs

from modelversion import records
from modelversion.decisions import DECISIONS
from modelversion.events import PolicyAdopted, PolicySet, Promoted
from modelversion.observed import OBSERVATIONS
from modelversion.policies import PolicyRecord
from modelversion.schema import _fields
from modelversion.state import FACTS, MODELS

TARGET = Path(__file__).parent / "reference" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILES = {
    "registry": records.RegistryRecord,
    "fork": records.ForkRecord,
    "claim": records.Claim,
    "version": records.VersionRecord,
    "entry": records.Entry,
}
TYPES = {
    str: "string",
    int: "integer",
    bool: "boolean",
    float: "number",
    dict: "object",
    list: "array",
    tuple: "array",
    type(None): "null",
}
# Of these no record is made.
HINT = {
    "description": "A position that is a multiple of 32, and nothing else; it may be stale.",
    "type": "object",
    "required": ["position"],
    "properties": {"position": {"type": "integer", "minimum": 0}},
}
MERGE = {
    "description": "The last line but one of a merge: the last entry, and the state after it.",
    "type": "object",
    "required": ["digest", "position", "state", "time"],
    "properties": {
        "digest": {"type": "string"},
        "position": {"type": "integer", "multipleOf": 32},
        "state": {"type": "object"},
        "time": {"type": "string"},
    },
}
SERIES = {
    "description": "A line of `series.jsonl`: a metric that was logged with a step (tagged JSON).",
    "type": "object",
    "required": ["metric", "step", "value"],
    "properties": {"metric": {"type": "string"}, "step": {}, "value": {}},
}
VERDICT = {
    "type": "object",
    "required": ["gate", "passed", "seen"],
    "properties": {
        "gate": {"type": "string"},
        "passed": {"type": "boolean"},
        "seen": {"type": "object"},
    },
}
PIN = {
    "type": "object",
    "required": ["digest", "position"],
    "properties": {"digest": {"type": "string"}, "position": {"type": "integer"}},
}
PLACE = {
    "type": "object",
    "required": ["digest", "position"],
    "properties": {"digest": {"type": "string"}, "position": {"type": "integer"}},
}
JUDGED = {
    "type": "object",
    "required": ["at", "facts", "ruled", "verdicts"],
    "properties": {
        "at": {"type": "string"},
        "facts": PIN,
        "observations": PIN,
        "ruled": {"type": "integer"},
        "verdicts": {"type": "array", "items": VERDICT},
    },
}


def schemas():
    """Give the schemas: name of the file without its ending -> schema."""
    found = {name: _object(record) for name, record in FILES.items()}
    found["entry"]["properties"]["event"] = {
        "type": "object",
        "required": ["kind", "must_understand"],
        "properties": {"kind": {"type": "string"}, "must_understand": {"type": "boolean"}},
        "allOf": [_event(event) for event in events()],
    }
    found |= {"hint": HINT, "merge": MERGE, "series": SERIES}
    return {name: {**_head(name), **schema} for name, schema in found.items()}


def events():
    """List the record classes of events, by kind: those that a journal can be read with."""
    rules = FACTS.rules | MODELS.rules | DECISIONS.rules | OBSERVATIONS.rules
    return [rules[kind][0] for kind in sorted(rules)]


def _head(name):
    return {"$schema": DIALECT, "$id": f"urn:modelversion:format:1:{name}", "title": name}


def _event(event):
    """Say what an event of one kind holds; events of other kinds are not judged by it."""
    schema = _object(event)
    if event is PolicySet:
        schema["properties"]["policy"] = _object(PolicyRecord)
    elif event is PolicyAdopted:
        each = {"type": "object", "additionalProperties": _object(PolicyRecord)}
        schema["properties"]["policies"] = each
    elif event is Promoted:
        schema["properties"]["judged"] = JUDGED
    return {"if": {"properties": {"kind": {"const": event.kind}}}, "then": schema}


def _object(record):
    fields = {field.name: field for field in record.__attrs_attrs__}
    required = [name for name, _, _ in _fields(record) if fields[name].default is attrs.NOTHING]
    return {
        "description": " ".join(inspect.getdoc(record).split()),
        "type": "object",
        "properties": {name: _value(kind, of) for name, kind, of in _fields(record)},
        **({"required": required} if required else {}),
    }


def _value(kind, of):
    if kind == "one":
        return _object(of)
    if kind == "many":
        return {"type": "array", "items": _object(of)}
    if kind == "by_name":
        return {"type": "object", "additionalProperties": _object(of)}
    kinds = of if isinstance(of, tuple) else (of,)
    names = list(dict.fromkeys(TYPES[kind] for kind in kinds if kind is not object))
    if not names:
        return {}
    return {"type": names[0] if len(names) == 1 else names}


def text(schema):
    """Give a schema as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main():
    """Write every schema, and remove those that are none any more."""
    TARGET.mkdir(exist_ok=True)
    found = {f"{name}.schema.json": text(schema) for name, schema in schemas().items()}
    for old in TARGET.glob("*.json"):
        if old.name not in found:
            old.unlink()
    for name, content in found.items():
        (TARGET / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
