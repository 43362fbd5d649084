"""The shape of the package: who imports whom, what importing costs, how long a path is."""

import ast
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import modelversion as mv

PACKAGE = Path(mv.__file__).parent
REFERENCE = PACKAGE.parent / "docs" / "reference"

# A module imports modules of a lower rank only. The modules of a package share its rank.
RANKS = {
    "errors": -1,
    "secret": 0,
    "source": 0,
    "_json": 1,
    "query": 1,
    "redaction": 1,
    "refs": 1,
    "sameness": 1,
    "layout": 2,
    "merges": 3,
    "schema": 2,
    "place": 4,
    "checkpoint": 3,
    "records": 3,
    "reconstruct": 3,
    "environment": 4,
    "fingerprints": 4,
    "metrics": 4,
    "state": 4,
    "stages": 5,
    "decisions": 6,
    "gates": 5,
    "moments": 2,
    "nothing": 0,
    "policies": 6,
    "verdicts": 6,
    "events": 3,
    "storage": 4,
    "arguments": 5,
    "artifacts": 4,
    "code": 4,
    "files": 5,
    "journal": 5,
    "serializers": 5,
    "home": 6,
    "inspection": 6,
    "snapshot": 6,
    "versions": 7,
    "history": 8,
    "loading": 8,
    "saving": 8,
    "tracking": 16,
    "run": 15,
    "logbook": 7,
    "handle": 10,
    "progress": 3,
    "forms": 0,
    "graph": 5,
    "inputs": 7,
    "parts": 4,
    "signature": 5,
    "steps": 6,
    "notes": 5,
    "tabular": 0,
    "trail": 4,
    "mode": 1,
    "current": 0,
    "display": 2,
    "params": 3,
    "governing": 8,
    "judging": 9,
    "replay": 10,
    "proof": 11,
    "timeline": 11,
    "promotion": 12,
    "approving": 13,
    "rollback": 13,
    "verification": 12,
    "clearing": 14,
    "upkeep": 13,
    "version": 14,
    "compare": 13,
    "diff": 13,
    "lineage": 13,
    "observed": 5,
    "observing": 13,
    "differences": 5,
    "recorded": 13,
    "table": 15,
    "views": 13,
    "past": 15,
    "model": 16,
    "writing": 17,
    "oversight": 17,
    "registry": 18,
    "default": 19,
    "audit": 13,
    "auditing": 14,
    "phrases": 7,
    "stays": 8,
    "broken": 6,
    "commands": 19,
    "copying": 14,
    "feed": 8,
    "follow": 15,
    "hooks": 4,
    "testing": 19,
    "threads": 0,
    "modelversion": 20,
    "__main__": 21,
}

# Rules without I/O: values in, values out. They are leaves of the path of an operation.
PURE = {
    "code",
    "errors",
    "_json",
    "schema",
    "records",
    "refs",
    "layout",
    "merges",
    "metrics",
    "parts",
    "notes",
    "redaction",
    "secret",
    "signature",
    "state",
    "query",
    "events",
    "stages",
    "decisions",
    "gates",
    "verdicts",
    "phrases",
    "policies",
}
# Looking at code touches no storage and is read on its own; `source/capture.py` is where to begin.
BESIDE = {"source"}

# Inside a package: what each module may import of its siblings. A package whose modules import
# it may import them inside functions only.
SIBLINGS = {
    "display": {
        "display": {"_as_html", "_as_markdown", "_as_text", "_page", "drawing"},
        "_as_html": {"_page", "_svg", "_tags"},
        "_as_markdown": {"_as_text", "_page"},
        "_as_text": {"_page", "_svg"},
        "_chart": {"_page", "_series"},
        "_figure": {"_page", "_series"},
        "_page": set(),
        "_series": {"_page"},
        "_svg": set(),
        "_tags": set(),
        "drawing": {"_chart", "_figure", "_page"},
        "plots": {"_page", "_svg"},
    },
    "fingerprints": {
        "_arrow": {"_core", "_numpy", "_result", "_tables", "_texts"},
        "_containers": {"_decimals", "_families", "_result"},
        "_core": set(),
        "_dask": {"_engine", "_result"},
        "_datasets": {"_arrow", "_result", "_tables"},
        "_decimals": set(),
        "_describe": {"_families", "_result"},
        "_families": {"_result"},
        "_engine": {"_core", "_result"},
        "_files": {"_result"},
        "_numpy": {"_core", "_objects", "_result", "_texts"},
        "_objects": {"_containers", "_core", "_texts"},
        "_pandas": {"_arrow", "_core", "_numpy", "_objects", "_result", "_tables"},
        "_polars": {"_arrow", "_result", "_tables"},
        "_ray": {"_engine", "_result"},
        "_result": {"_core"},
        "_sparse": {"_core", "_numpy", "_result"},
        "_spark": {"_engine", "_result"},
        "_tables": {"_containers", "_core", "_result"},
        "_texts": {"_decimals"},
        "_torch": {"_core", "_numpy", "_result"},
    },
    "environment": {
        "environment": {"_machine", "_packages"},
        "_machine": set(),
        "_packages": set(),
    },
    "records": {
        "records": {"_made_by", "_signature"},
        "_made_by": set(),
        "_signature": set(),
    },
    "query": {
        "query": {"_tree", "_parse", "_evaluate"},
        "_evaluate": {"_tree"},
        "_parse": {"_tree"},
        "_tree": set(),
    },
    "redaction": {
        "redaction": {"_bytes", "_known", "_names", "_process", "_text", "_values"},
        "_bytes": {"_known", "_tokens"},
        "_formats": set(),
        "_keys": set(),
        "_known": {"_names"},
        "_names": set(),
        "_process": {"_bytes", "_known", "_text"},
        "_text": {"_formats", "_keys", "_known", "_names"},
        "_tokens": {"_formats"},
        "_values": {"_bytes", "_keys", "_known", "_names", "_text"},
    },
    "serializers": {
        "_arrays": {"_standins"},
        "_calls": {"_arrays", "_standins", "_trusted"},
        "_pickle": {"_indices", "_reducers", "_scan", "_trusted"},
        "_reducers": set(),
        "_scan": {"_calls", "_standins"},
        "_standins": set(),
        "_indices": set(),
        "_trusted": set(),
    },
    "source": {
        "_notebook": set(),
        "_places": {"_notebook", "_reach", "_texts"},
        "_reach": {"_texts"},
        "_texts": {"_notebook"},
        "_randomness": set(),
        "capture": {"_notebook", "_places", "_randomness", "_reach", "_texts", "git"},
        "git": set(),
    },
    "storage": {
        "_explain": set(),
        "_gcs": set(),
        "_link": {"_explain"},
        "_local": set(),
        "_memory": set(),
        "_object": {"_explain", "_gcs", "_link", "_proof"},
        "_other": set(),
        "_proof": {"_explain"},
        "_published": {"_explain", "_link"},
        "_sftp": {"_explain", "_link", "_proof", "_sftp_files"},
        "_sftp_files": {"_explain"},
        "cache": set(),
        "elsewhere": {"_explain", "_link", "_object", "_sftp", "_sftp_files"},
        "spool": {"_local"},
    },
    "views": {
        "views": set(),
        "changes": set(),
        "model": {"changes"},
        "run": {"version"},
        "version": {"changes", "model"},
    },
}


def module_names():
    found = pkgutil.walk_packages([str(PACKAGE)], "modelversion.")
    return ["modelversion", *sorted(info.name for info in found)]


def source_of(module):
    path = PACKAGE.parent.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8")


def imports(module):
    """Give (imported module, whether at the top) of every import of ours, lazy ones too."""
    tree = ast.parse(source_of(module))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            names = [_target(node.module, alias.name) for alias in node.names]
        else:
            continue
        for name in names:
            if name == "modelversion" or name.startswith("modelversion."):
                yield name, id(node) in top


def _target(module, name):
    inner = f"{module}.{name}"
    return inner if inner in module_names() else module


def unit(module):
    """Give the name that has a rank: the module, or the package that it is in."""
    return module.split(".")[1] if "." in module else module


def test_every_module_has_a_rank_and_every_rank_a_module():
    """A new module is given its place in the order before anything else."""
    assert {unit(module) for module in module_names()} == set(RANKS)


@pytest.mark.parametrize("module", module_names())
def test_imports_go_down(module):
    """Every import, at the top or inside a function, is of a lower rank or of a sibling."""
    here = unit(module)

    wrong = [
        other
        for other, _ in imports(module)
        if unit(other) != here and RANKS[unit(other)] >= RANKS[here]
    ]
    assert wrong == []


@pytest.mark.parametrize("module", module_names())
def test_siblings_import_one_way(module):
    """Inside a package imports go one way."""
    here = unit(module)
    own = module.rpartition(".")[2]

    for other, at_top in imports(module):
        if unit(other) != here or here not in SIBLINGS or other == module:
            continue
        if module == f"modelversion.{here}" and module.rpartition(".")[2] not in SIBLINGS[here]:
            back = {name for name, _ in imports(other)}
            assert module not in back or not at_top, f"{module} and {other} import each other"
        elif other != f"modelversion.{here}":
            assert other.rpartition(".")[2] in SIBLINGS[here][own]


def test_no_module_is_long():
    """A module holds one concept, in at most 500 lines."""
    lengths = {module: len(source_of(module).splitlines()) for module in module_names()}

    assert {m: n for m, n in lengths.items() if n > 500} == {}


# ---- what importing costs


def modules_after(code):
    """Give the modules that a fresh interpreter has loaded after some code."""
    program = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import modelversion",
        "import modelversion as mv; mv.Registry; mv.track",
        "import modelversion as mv; mv.Registry('somewhere'); mv.track('churn')",
        "import modelversion as mv; [getattr(mv, name) for name in mv.__all__]",
    ],
)
def test_importing_loads_no_framework(code):
    """Import, and touching what everybody touches, load neither drivers nor frameworks."""
    heavy = {"fsspec", "cloudpickle", "numpy", "pandas", "polars", "sklearn", "torch"}

    assert not heavy & modules_after(code)


def test_importing_alone_loads_none_of_our_modules():
    """Names are imported at their first use."""
    ours = {
        name for name in modules_after("import modelversion") if name.startswith("modelversion")
    }

    assert ours == {"modelversion"}


def test_touching_the_registry_and_track_loads_few_of_our_modules():
    """What they work with comes when a registry is opened or a function is tracked."""
    working = {"records", "journal", "storage", "snapshot", "redaction", "source.capture", "state"}
    loaded = modules_after("import modelversion as mv; mv.Registry; mv.track")

    assert not {f"modelversion.{name}" for name in working} & loaded


def test_every_public_name_is_there():
    """`__all__` is sorted, lists what `dir` lists, and every name gives what it says."""
    assert list(mv.__all__) == sorted(mv.__all__)
    assert set(mv.__all__) <= set(dir(mv))
    for name in mv.__all__:
        assert getattr(mv, name).__name__.rpartition(".")[2] == name


def test_an_unknown_name_is_an_attribute_error():
    """A name that is not there is refused as by any module."""
    with pytest.raises(AttributeError, match="no attribute 'Regisrty'"):
        _ = mv.Regisrty


# ---- documentation


def public_parts():
    """Give (name, object) of every public name, of public classes' methods, and every error."""
    for name in mv.__all__:
        value = getattr(mv, name)
        yield name, value
        if inspect.isclass(value):
            yield from _members(name, value)
    for name, value in vars(mv.errors).items():
        if inspect.isclass(value) and value.__module__ == "modelversion.errors":
            yield f"errors.{name}", value


def _members(name, cls):
    inherited = [base for base in cls.__mro__ if base.__module__.startswith("modelversion.")]
    for part, value in {n: v for base in inherited for n, v in vars(base).items()}.items():
        inner = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if not part.startswith("_") and (callable(inner) or isinstance(value, property)):
            yield f"{name}.{part}", inner


@pytest.mark.parametrize(("name", "value"), [pytest.param(n, v, id=n) for n, v in public_parts()])
def test_every_public_name_has_a_docstring(name, value):
    """A public name says in its first line, of at most 100 characters, what it gives."""
    text = inspect.getdoc(value)

    assert text, name
    first = text.splitlines()[0]
    assert first.endswith(".") and len(first) < 100


def test_every_public_name_stands_in_the_reference():
    """The reference takes every name of `__all__` and every error from its docstring."""
    pages = "\n".join(page.read_text("utf-8") for page in sorted(REFERENCE.glob("*.md")))

    assert "modelversion.errors" in _modules_of(pages)
    assert undocumented(pages) == []


def undocumented(pages):
    """List the public names that no page of the reference takes in."""
    modules = _modules_of(pages)
    named = re.findall(r"\.\. auto(?:class|function|exception):: modelversion\.(\S+)", pages)
    missing = [
        name
        for name in mv.__all__
        if name not in (*named, "errors", "gates")
        and getattr(getattr(mv, name), "__module__", None) not in modules
    ]
    (listed,) = re.findall(r"automodule:: modelversion\.gates\n   :members: (.*)", pages) or [""]
    builders = {*mv.gates._BUILDERS, "all_of", "any_of"}
    return missing + sorted(f"gates.{name}" for name in builders - {*listed.split(", ")})


def _modules_of(pages):
    return re.findall(r"\.\. automodule:: (\S+)\n(?:   :.*\n)*?   :members:", pages)


@pytest.mark.parametrize("name", ["Registry", "track", "gates.observed"])
def test_an_undocumented_name_would_be_found(name):
    """Without its line, the reference is not complete."""
    pages = "\n".join(page.read_text("utf-8") for page in sorted(REFERENCE.glob("*.md")))
    line = rf"auto\w+:: modelversion\.{name}\n"
    without = re.sub(r"observed, " if "." in name else line, "", pages)

    assert undocumented(without) == [name]


def test_every_class_of_the_reference_lists_its_methods():
    """A public class stands there with all of its public methods."""
    pages = "\n".join(page.read_text("utf-8") for page in sorted(REFERENCE.glob("*.md")))

    found = re.findall(r"\.\. autoclass:: modelversion\.(\w+)\n(   :members:\n)?", pages)
    bare = {name for name, members in found if not members}
    assert [name for name in mv.__all__ if name in bare and [*methods(getattr(mv, name))]] == []


def methods(cls):
    return [name for name, value in vars(cls).items() if name[0] != "_" and callable(value)]


# ---- the path of one operation

MAX_DEEP = 7
MAX_WIDE = 10


def path_of(operation):
    """Give how many frames of ours were on the stack at once, and the modules entered."""
    deepest, modules = [], set()

    def look(frame, event, arg):
        if event == "call" and ours(frame):
            modules.add(place_of(frame))
            stack = []
            while frame:
                if ours(frame):
                    stack.append(frame.f_code.co_qualname)
                frame = frame.f_back
            if len(stack) > len(deepest):
                deepest[:] = stack[::-1]

    def ours(frame):
        # A comprehension is a frame in Python 3.11 and none later.
        code = frame.f_code
        inside = code.co_filename.startswith(f"{PACKAGE}{os.sep}")
        return (
            inside and not code.co_name.endswith("comp>") and place_of(frame) not in PURE | BESIDE
        )

    def place_of(frame):
        return Path(frame.f_code.co_filename).relative_to(PACKAGE).parts[0].removesuffix(".py")

    sys.setprofile(look)
    try:
        operation()
    finally:
        sys.setprofile(None)
    return deepest, sorted(modules)


def warm_registry(place):
    registry = mv.Registry(place)
    for i in range(3):
        registry.save("churn", {"weights": [i]}, metrics={"auc": 0.9})
        registry.load("churn")
    return registry


def test_the_path_of_a_save_is_short(place):
    """A warm save is at most 7 frames deep and 10 modules or packages wide, pure rules apart."""
    registry = warm_registry(place)

    deepest, modules = path_of(lambda: registry.save("churn", {"weights": [3]}, params={"C": 1}))

    assert len(deepest) <= MAX_DEEP, " > ".join(deepest)
    assert len(modules) <= MAX_WIDE, modules


def test_the_path_of_a_load_is_short(place):
    """A warm load is at most 7 frames deep and 10 modules or packages wide, pure rules apart."""
    registry = warm_registry(place)

    deepest, modules = path_of(lambda: registry.load("churn:2"))

    assert len(deepest) <= MAX_DEEP, " > ".join(deepest)
    assert len(modules) <= MAX_WIDE, modules
