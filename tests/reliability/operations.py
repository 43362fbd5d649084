"""One of every writing operation, in an order, and what a registry says after each.

A writer that is stopped, cut off or hit by an error while it does operation i leaves a registry
that says what it said before, or what it says after it; nothing else is whole.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import modelversion as mv
from modelversion.errors import OutcomeUnknownError

SMALL = {"weights": [1.0, 2.0]}


def large(seed):
    """Two arrays that each get a file of their own, and one that shares a file."""
    return {"a": np.full(2**17, seed, "float64"), "b": np.full(1000, seed, "float64")}


def _churn(root):
    return mv.Registry(root)["churn"]


OPERATIONS = {
    "first save": lambda root: mv.Registry(root).save("churn", SMALL, metrics={"auc": 0.9}),
    "save": lambda root: mv.Registry(root).save("churn", "two", artifacts={"a.txt": "text"}),
    "large save": lambda root: mv.Registry(root).save("churn", large(1)),
    "shared save": lambda root: mv.Registry(root).save("churn", large(1), tags={"again": True}),
    "repeat": lambda root: mv.Registry(root).save("churn", large(1), tags={"again": True}),
    "save of a new model": lambda root: mv.Registry(root).save("other", [1, 2]),
    "alias": lambda root: _churn(root).set_alias("champion", 2),
    "alias moved": lambda root: _churn(root).set_alias("champion", 3),
    "tag": lambda root: _churn(root)[1].tag(team="risk"),
    "note": lambda root: _churn(root)[1].note("looked at"),
    "withdrawal": lambda root: _churn(root)[1].withdraw(reason="bad labels", use_instead=3),
    "restoration": lambda root: _churn(root)[1].restore(reason="they were good"),
    "deletion": lambda root: _churn(root)[2].delete(reason="too old"),
    "alias deleted": lambda root: _churn(root).delete_alias("champion"),
    "gc": lambda root: mv.Registry(root).gc(),
}


def said(root):
    """Give what a registry says: of each model its versions with all that can change, aliases."""
    registry = mv.Registry(root)
    return {
        model.name: {
            "aliases": model.aliases,
            "versions": {version.number: _version(version) for version in model},
        }
        for model in registry.models()
        if len(model)  # a name without versions is what a save has done halfway
    }


def _version(version):
    value = version.load() if version.withdrawn is None else None
    if isinstance(value, dict):
        value = {name: np.asarray(part).tobytes() for name, part in value.items()}
    notes = [note["text"] for note in version.notes]
    files = {file.path: version.open(file.path).read() for file in version.files}
    text = files.get("artifacts/a.txt")
    return repr((value, dict(version.tags), notes, version.withdrawn, text))


def expected(root):
    """Do all operations and give what the registry says before the first and after each."""
    states = [said(root)]
    for operation in OPERATIONS.values():
        operation(root)
        states.append(said(root))
    return states


def unknown(error):
    """Tell whether an error says that the outcome is open."""
    return isinstance(error, OutcomeUnknownError) or isinstance(
        error.__cause__, OutcomeUnknownError
    )


def problem_after(root, states, done, *, under_way=True):
    """Give what is wrong with a registry after so many operations, None if nothing is.

    Args:
        root: The registry's folder.
        states: What it should say after each operation.
        done: How many were acknowledged.
        under_way: The next one may have happened.
    """
    allowed = states[done : done + 1 + under_way]
    found = said(root)
    if found not in allowed:
        return f"after {done} operations it says {str(found)[:600]}, expected {str(allowed)[:600]}"
    report = mv.Registry(root).verify()
    return None if report else f"verify: {report}"
