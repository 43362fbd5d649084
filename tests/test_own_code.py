"""The user's own code: stored by value, and the importable class used where it is the same."""

import enum
import sys
import textwrap
import types

import fresh
import pytest

import modelversion as mv
from modelversion.errors import UnloadableError, UnpicklableError
from modelversion.sameness import class_digest

HELPERS = """
from factors import FACTOR

OFFSET = 1

class Model:
    scale = 10

    def predict(self, x):
        return shift(x * FACTOR * self.scale)

def shift(x):
    return x + OFFSET
"""
FACTORS = "FACTOR = 2\n"
SAVE = """
import sys
import modelversion as mv
from helpers import Model
mv.Registry(sys.argv[1]).save("m", Model())
"""
LOAD = """
import sys
import modelversion as mv
registry = mv.Registry(sys.argv[1])
loaded = [registry.load(f"m:{n}") for n in sys.argv[2:]]
print([m.predict(1) for m in loaded])
try:
    from helpers import Model
except ImportError:
    Model = ()
print([isinstance(m, Model) for m in loaded])
"""


@pytest.fixture
def project(tmp_path):
    """A folder with a module `helpers`, which uses a module `factors`."""
    return _project(tmp_path / "project")


@pytest.fixture
def elsewhere(tmp_path):
    """A folder without any module."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def _project(folder, helpers=HELPERS, factors=FACTORS):
    folder.mkdir()
    (folder / "helpers.py").write_text(helpers)
    (folder / "factors.py").write_text(factors)
    return folder


def _edit(file, before, after):
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def _loaded(registry, *numbers, cwd, path=(), code=LOAD):
    """What a fresh process predicts for 1, and whether its `helpers.Model` is the class."""
    numbers = numbers or (1,)
    lines = fresh.run(code, registry, *numbers, cwd=cwd, path=path).splitlines()
    predicted, same = (line.strip("[]").split(", ") for line in lines)
    return [int(p) for p in predicted], [s == "True" for s in same]


# ---- the importable class


def test_an_unchanged_module_gives_its_own_class(tmp_path, project, elsewhere):
    """Where the module's source is the same, the loaded object is an instance of its class."""
    registry = tmp_path / "registry"
    fresh.run(SAVE, registry, cwd=project)

    assert _loaded(registry, cwd=elsewhere, path=[project]) == ([21], [True])
    assert _loaded(registry, cwd=elsewhere) == ([21], [False])


def test_an_unchanged_package_gives_its_own_class(tmp_path, elsewhere):
    """The same holds for a module inside a package that is not imported yet."""
    registry = tmp_path / "registry"
    project = tmp_path / "packaged"
    project.mkdir()
    _project(project / "shop", HELPERS.replace("from factors", "from .factors"))
    (project / "shop" / "__init__.py").write_text("LOADED = True\n")
    fresh.run(SAVE.replace("helpers", "shop.helpers"), registry, cwd=project)

    read = LOAD.replace("from helpers", "from shop.helpers")

    assert _loaded(registry, cwd=elsewhere, path=[project], code=read) == ([21], [True])


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("helpers.py", "x * FACTOR", "x - FACTOR"),
        ("helpers.py", "OFFSET = 1", "OFFSET = 500"),
        ("helpers.py", "x + OFFSET", "x - OFFSET"),
        ("helpers.py", "scale = 10", "scale = 20"),
        ("factors.py", "FACTOR = 2", "FACTOR = 3"),
    ],
)
def test_an_edited_module_is_not_used(tmp_path, project, elsewhere, file, before, after):
    """After an edit of a method, a function, a constant or a module below, the saved code runs."""
    registry = tmp_path / "registry"
    fresh.run(SAVE, registry, cwd=project)
    _edit(project / file, before, after)

    assert _loaded(registry, cwd=elsewhere, path=[project]) == ([21], [False])


@pytest.mark.parametrize(
    ("before", "after"),
    [("x * FACTOR", "x - FACTOR"), ("OFFSET = 1", "OFFSET = 500"), ("scale = 10", "scale = 20")],
)
def test_an_edit_after_the_import_is_not_saved(tmp_path, project, elsewhere, before, after):
    """What is saved is the code that runs, not the file that was edited since."""
    registry = tmp_path / "registry"
    edit = f"""
        import pathlib
        file = pathlib.Path("helpers.py")
        file.write_text(file.read_text().replace({before!r}, {after!r}))
    """
    save = SAVE.replace("mv.Registry(", textwrap.dedent(edit) + "mv.Registry(")
    fresh.run(save, registry, cwd=project)

    assert after in (project / "helpers.py").read_text()
    assert _loaded(registry, cwd=elsewhere, path=[project]) == ([21], [False])


def test_an_edit_in_the_reader_after_its_import_is_not_believed(tmp_path, project, elsewhere):
    """A reader that imported older code uses the saved code, though the file now says the same."""
    registry = tmp_path / "registry"
    _edit(project / "helpers.py", "x + OFFSET", "x - OFFSET")
    fresh.run(SAVE, registry, cwd=project)
    _edit(project / "helpers.py", "x - OFFSET", "x + OFFSET")
    read = """
        import pathlib, helpers
        file = pathlib.Path(helpers.__file__)
        file.write_text(file.read_text().replace("x + OFFSET", "x - OFFSET"))
    """

    found = _loaded(registry, cwd=elsewhere, path=[project], code=textwrap.dedent(read) + LOAD)

    assert found == ([19], [False])


def test_reading_runs_no_module_whose_source_is_another(tmp_path, project, elsewhere):
    """A module of the reader with the same name is not imported unless its source is the same."""
    registry = tmp_path / "registry"
    fresh.run(SAVE, registry, cwd=project)
    (project / "helpers.py").write_text("raise SystemExit('helpers was imported')\n")
    read = LOAD.replace("from helpers import Model", "raise ImportError")

    assert _loaded(registry, cwd=elsewhere, path=[project], code=read) == ([21], [False])


# ---- side by side


def test_helpers_of_one_name_load_side_by_side(tmp_path, elsewhere):
    """Two versions whose helper modules share a name keep each its own code in one process."""
    registry = tmp_path / "registry"
    fresh.run(SAVE, registry, cwd=_project(tmp_path / "one"))
    other = HELPERS.replace("x + OFFSET", "x - OFFSET").replace("scale = 10", "scale = 100")
    fresh.run(SAVE, registry, cwd=_project(tmp_path / "two", other, "FACTOR = 7\n"))

    assert _loaded(registry, 1, 2, 1, cwd=elsewhere)[0] == [21, 699, 21]
    assert _loaded(registry, 2, 1, 2, cwd=elsewhere)[0] == [699, 21, 699]


def test_classes_changed_between_two_saves_load_side_by_side(tmp_path, project, elsewhere):
    """A class patched, and then redefined, in one process is kept as it was at each save."""
    registry = tmp_path / "registry"
    save = """
import sys
import modelversion as mv
import helpers
registry = mv.Registry(sys.argv[1])
registry.save("m", helpers.Model())
helpers.Model.predict = lambda self, x: x + 1000
registry.save("m", helpers.Model())
helpers.Model.predict = lambda self, x: self.scale
registry.save("m", helpers.Model())
helpers.Model.scale = 77
registry.save("m", helpers.Model())
helpers.Model = type("Model", (), {"predict": lambda self, x: x - 5, "__module__": "helpers"})
registry.save("m", helpers.Model())
assert [registry.load(f"m:{n}").predict(1) for n in range(1, 6)] == [21, 1001, 10, 77, -4]
assert helpers.Model().predict(1) == -4
"""
    fresh.run(save, registry, cwd=project)

    backwards = _loaded(registry, 5, 4, 3, 2, 1, 5, cwd=elsewhere)
    beside_the_module = _loaded(registry, 1, 2, 3, 4, 5, 1, cwd=elsewhere, path=[project])

    assert backwards[0] == [-4, 77, 10, 1001, 21, -4]
    assert beside_the_module == ([21, 1001, 10, 77, -4, 21], [True, *[False] * 4, True])


def test_loading_leaves_the_classes_of_this_process_alone(registry, monkeypatch):
    """Loading an old version does not put its code into the class that has changed since."""

    class Model:
        def predict(self):
            return 1

    Model.__qualname__ = "Model"
    monkeypatch.setattr(sys.modules[__name__], "Model", Model, raising=False)
    registry.save("m", Model())
    assert type(registry.load("m")) is Model
    Model.predict = lambda self: 2

    assert registry.load("m").predict() == 1
    assert Model().predict() == 2


def test_versions_with_one_class_share_it(tmp_path, project, elsewhere):
    """Two versions with the same class give instances of one class, so that they compare."""
    registry = tmp_path / "registry"
    save = """
import dataclasses, enum, sys
import modelversion as mv
class Mode(enum.Enum):
    FAST = 1
@dataclasses.dataclass
class Settings:
    rate: float
    mode: Mode = Mode.FAST
registry = mv.Registry(sys.argv[1])
first = registry.save("m", Settings(0.5))
registry.save("m", [Settings(0.5)])
loaded = first.load()
assert type(loaded) is Settings and loaded.mode is Mode.FAST
"""
    read = """
import sys
import modelversion as mv
registry = mv.Registry(sys.argv[1])
first, second = registry.load("m:1"), registry.load("m:2")[0]
assert first == second and first.mode is second.mode
assert registry.load("m:1") == first
"""
    fresh.run(save, registry, cwd=project)
    fresh.run(save, registry, cwd=project)

    fresh.run(read, registry, cwd=elsewhere, isolated=True)


def test_saving_again_in_another_process_is_a_repeat(tmp_path, project):
    """The same script run twice gives the same bytes, and so no second version."""
    registry = tmp_path / "registry"
    for _ in range(2):
        fresh.run(SAVE, registry, cwd=project)

    assert len(mv.Registry(registry)["m"]) == 1


# ---- what makes two classes the same


def _class(source, name="C"):
    module = types.ModuleType("made")
    exec(textwrap.dedent(source), vars(module))
    return getattr(module, name)


BASE = """
import functools, enum
K = {"a": [1, 2]}
def helper(x, y=1): return [x for _ in range(y)]
class C:
    '''Docs.'''
    limits = frozenset(["a", "b", "c"])
    def run(self, *, k=2): return helper(K["a"][0]) if k in {"x", "y"} else None
    @functools.cached_property
    def slow(self): return 1
    @property
    def fast(self): return self.slow
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Docs.", "Other docs."),
        ("class C:", "\n# a comment\nclass C:"),
        ('["a", "b", "c"]', '["c", "b", "a"]'),
        ("import functools, enum", "import functools\nUNUSED = 1"),
    ],
)
def test_what_does_not_run_does_not_count(before, after):
    """Docstrings, comments, lines, the order of sets and unused globals change no digest."""
    assert before in BASE
    assert class_digest(_class(BASE.replace(before, after))) == class_digest(_class(BASE))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[1, 2]", "[1, 3]"),
        ("y=1", "y=2"),
        ("[x for", "[-x for"),
        ("k=2", "k=3"),
        ('"c"]', '"d"]'),
        ('{"x", "y"}', '{"x", "z"}'),
        ("return 1", "return 2"),
        ("return self.slow", "return self.slow + 1"),
        ("class C:", "class C(dict):"),
        ("class C:", "class C(metaclass=type('M', (type,), {})):"),
        ("@property", "@staticmethod"),
        ("limits =", "borders ="),
        ("K = {", "K = {'b': 0, "),
    ],
)
def test_whatever_runs_counts(before, after):
    """A changed global, default, constant, body, base, metaclass or decorator is another class."""
    assert before in BASE
    changed = class_digest(_class(BASE.replace(before, after)))

    assert changed is not None
    assert changed != class_digest(_class(BASE))


def test_digests_are_the_same_in_other_processes(elsewhere):
    """The digest of a class does not depend on the process, its hash seed or its memory."""
    code = f"""
import types
from modelversion.sameness import class_digest
module = types.ModuleType("made")
exec({BASE!r}, vars(module))
print(class_digest(module.C))
"""
    outputs = {fresh.run(code, cwd=elsewhere).strip() for _ in range(3)}

    assert outputs == {class_digest(_class(BASE))}


def test_a_class_that_cannot_be_told_has_no_digest():
    """A class that uses what has no content, such as a generator, is never taken for another."""

    class Model:
        rows = (i for i in range(3))

    assert class_digest(Model) is None


# ---- what is the user's own


def test_own_is_what_lies_outside_the_libraries():
    """This test module is own; no library is, nor a module that a C library made by hand."""
    import sklearn.linear_model  # noqa: F401
    import torch  # noqa: F401

    from modelversion import source

    own = [module.__name__ for module in source.own_modules()]

    assert __name__ in own
    libraries = ("torch", "sklearn", "numpy", "pyexpat", "xml", "cython", "_cython", "modelversion")
    assert [name for name in own if name.startswith((*libraries, "__main__", "pytest"))] == []
    assert len(own) == len(set(own))


# ---- code that cannot go by value


@pytest.fixture
def extension(tmp_path, monkeypatch):
    """A module of the user's own that is compiled, with a function and a class."""
    import importlib
    import subprocess
    import sysconfig

    source = """
#include <Python.h>
static PyObject *twice(PyObject *self, PyObject *x) { return PyNumber_Add(x, x); }
static PyMethodDef methods[] = {{"twice", twice, METH_O, ""}, {0}};
static PyTypeObject Thing = {
    PyVarObject_HEAD_INIT(NULL, 0) .tp_name = "compiled.Thing",
    .tp_basicsize = sizeof(PyObject), .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew, .tp_methods = methods};
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "compiled", "", -1, methods};
PyMODINIT_FUNC PyInit_compiled(void) {
    PyObject *m = PyModule_Create(&def);
    PyType_Ready(&Thing);
    PyModule_AddObject(m, "Thing", (PyObject *)&Thing);
    return m;
}
"""
    (tmp_path / "compiled.c").write_text(source)
    target = tmp_path / f"compiled{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = sysconfig.get_paths()["include"]
    flags = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    command = ["cc", "-shared", "-fPIC", *flags, f"-I{include}", str(tmp_path / "compiled.c")]
    try:
        subprocess.run([*command, "-o", str(target)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as e:
        pytest.skip(f"no C compiler or headers here: {e}")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("compiled")
    sys.modules.pop("compiled", None)


def test_compiled_own_code_is_refused(registry, extension):
    """A function, a class, an instance or the module of an own C extension is refused by name."""

    def uses(x):
        return extension.twice(x) + 1

    for value in (extension.twice, extension.Thing, extension.Thing(), [extension], uses):
        with pytest.raises(UnpicklableError, match="compiled"):
            registry.save("m", value)

    assert "m" not in registry


def test_a_module_without_source_goes_by_value(tmp_path, elsewhere):
    """A module of which only the bytecode is there is stored as that."""
    import py_compile

    project = _project(tmp_path / "project")
    for name in ("helpers", "factors"):
        py_compile.compile(str(project / f"{name}.py"), cfile=str(project / f"{name}.pyc"))
        (project / f"{name}.py").unlink()
    registry = tmp_path / "registry"
    fresh.run(SAVE, registry, cwd=project)

    assert _loaded(registry, cwd=elsewhere) == ([21], [False])


def test_modules_made_by_hand_go_by_value(tmp_path, elsewhere):
    """Classes of modules that were never files, and modules under two names, load elsewhere."""
    registry = tmp_path / "registry"
    save = """
import sys, types
import modelversion as mv
made = types.ModuleType("made")
exec("class Model:\\n    def predict(self, x):\\n        return f(x)\\ndef f(x): return x + 4",
     vars(made))
sys.modules["made"] = sys.modules["made.again"] = made
sys.modules["no.module"] = object()
mv.Registry(sys.argv[1]).save("m", made.Model())
"""
    fresh.run(save, registry, cwd=elsewhere)

    assert _loaded(registry, cwd=elsewhere)[0] == [5]


def test_cached_functions_of_own_code_load_elsewhere(tmp_path, elsewhere):
    """`lru_cache`, also on a function that calls itself, is rebuilt with an empty cache."""
    registry = tmp_path / "registry"
    save = """
import functools, sys
import modelversion as mv
@functools.lru_cache(maxsize=7, typed=True)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
class Model:
    @functools.cache
    def predict(self, x):
        return fib(50)
mv.Registry(sys.argv[1]).save("m", Model())
mv.Registry(sys.argv[1]).save("fib", fib)
"""
    read = """
import sys
import modelversion as mv
fib = mv.Registry(sys.argv[1]).load("fib")
assert fib(50) == 12586269025 and fib.cache_info().maxsize == 7 and fib.cache_parameters()["typed"]
"""
    fresh.run(save, registry, cwd=elsewhere)

    assert _loaded(registry, cwd=elsewhere)[0] == [12586269025]
    fresh.run(read, registry, cwd=elsewhere, isolated=True)


# ---- proof before the commit


class Stubborn:
    """Pickles, and refuses to be filled in a process that did not make it."""

    def __setstate__(self, state):
        raise RuntimeError("not in this process")

    def __getstate__(self):
        return {"a": 1}


class Colour(enum.Enum):
    RED = 1


def test_verify_load_refuses_what_does_not_load(registry, tmp_path):
    """An object that pickles and does not load is refused, and nothing is committed."""
    with pytest.raises(UnloadableError, match="not in this process") as caught:
        registry.save("m", Stubborn(), verify="load")

    assert isinstance(caught.value.value, Stubborn)
    assert "m" not in registry
    assert not list((tmp_path / "registry").rglob(".tmp-*"))
    assert not list((tmp_path / "registry").rglob("version.json"))


@pytest.mark.parametrize("value", [{"a": [1]}, Colour.RED, lambda x: x + 1, Colour])
def test_verify_load_passes_what_loads(registry, value):
    """What a fresh process can load is committed."""
    assert registry.save("m", value, verify="load").number == 1
