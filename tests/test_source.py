"""The code of a version: what is kept of it, what it reaches, and that it is what ran."""

import functools
import importlib
import linecache
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import fresh
import pytest

import modelversion as mv
from modelversion.code import MAX_INLINE
from modelversion.errors import ArtifactNotFoundError
from modelversion.source import _places, _reach, _texts, capture, function_source

HELPERS = """
FACTOR = 2
UNUSED = "nothing reads this"

def shift(x, by=1):
    return inner(x) * FACTOR + by

def inner(x):
    return x

def idle():
    return 0

class Scaler:
    scale = 10

    def fit(self, x):
        return later(x) * self.scale

def later(x):
    return x
"""
TRAIN = """
import sys
import modelversion as mv
import helpers
from helpers import Scaler

registry = mv.Registry(sys.argv[1])

@mv.track("churn", registry=registry)
def train(C=1.0):
    Scaler().fit(1)
    return {"w": helpers.shift(C)}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder on the path, from which modules are imported and forgotten afterwards."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def module(folder, name, text):
    """Write a module and import it."""
    file = folder.joinpath(*name.split(".")).with_suffix(".py")
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(textwrap.dedent(text))
    importlib.invalidate_caches()
    return importlib.import_module(name)


def edit(file, before, after):
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def code_of(registry, function, *args):
    return mv.call(registry.track("m")(function), *args).version.code


# ---- what a function reaches


def test_helpers_are_kept_wherever_they_are(tmp_path):
    """Functions and classes of own modules, by attribute and by name, and what these reach."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "helpers.py").write_text(HELPERS)
    fresh.run(TRAIN + "train(C=2.0)\n", tmp_path / "registry", cwd=folder)

    code = mv.Registry(tmp_path / "registry").get("churn").code

    assert code.entry == "__main__:train"
    assert code.names[0] == "__main__:train"
    assert set(code.names[1:]) == {
        "helpers:shift",
        "helpers:inner",
        "helpers:Scaler",
        "helpers:later",
    }
    assert code.source("train").startswith('@mv.track("churn", registry=registry)\ndef train(')
    assert code.source("shift") == "def shift(x, by=1):\n    return inner(x) * FACTOR + by\n"
    assert "def fit" in code.source("helpers:Scaler")
    assert "idle" not in code.source()
    assert dict(code.globals) == {"helpers:FACTOR": 2}
    assert dict(code.missing) == {}
    compile(code.source(), "entry.py", "exec")
    assert "helpers:shift (helpers.py, line 5)" in str(code)
    with pytest.raises(ArtifactNotFoundError, match="no source of 'idle'; there are: __main__"):
        code.source("idle")


def test_libraries_are_only_named(registry):
    """Their source is not kept, and the standard library is not even named."""
    import json

    import numpy as np

    def train():
        json.dumps([])
        return {"w": np.zeros(2).tolist()}

    code = code_of(registry, train)

    assert code.libraries == ("numpy",)
    assert len(code.names) == 1


def test_closures_are_followed(registry):
    """Functions of a closure are helpers, and its plain values are recorded."""

    def make(rate):
        def helper():
            return rate

        def train():
            return {"w": helper()}

        return train

    code = code_of(registry, make(0.25))

    assert code.source(code.names[0]).startswith("def train():")
    assert any("return rate" in code.source(name) for name in code.names[1:])
    assert 0.25 in code.globals.values()


def test_cycles_and_helpers_defined_later_are_found(project, registry):
    """What is bound when the function is called counts, not what was when it was decorated."""
    work = module(project, "cyclic", "def train():\n    return {'w': even(4)}\n")
    tracked = registry.track("m")(work.train)
    later = module(
        project,
        "later",
        """
        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)
        """,
    )
    work.even = later.even

    code = mv.call(tracked).version.code

    assert code.names == ("cyclic:train", "later:even", "later:odd")


def test_imports_inside_functions_are_followed(project, registry):
    """Also where the module is first imported by the call."""
    (project / "pack").mkdir()
    (project / "pack" / "__init__.py").write_text("")
    (project / "pack" / "deep.py").write_text("def help():\n    return 1\n")
    (project / "pack" / "near.py").write_text("def help():\n    return 2\n")
    train = module(
        project,
        "pack.entry",
        """
        def train():
            from .deep import help as h
            from . import near
            return {"w": h() + near.help()}
        """,
    ).train

    code = code_of(registry, train)

    assert set(code.names) == {"pack.entry:train", "pack.deep:help", "pack.near:help"}
    assert "(pack/deep.py)" in code.source()


@pytest.mark.parametrize(
    ("imported", "used"),
    [
        ("import pack.near", "pack.near.help(x)"),
        ("import pack.near as n", "n.help(x)"),
        ("import pack.near as n", "1 + n.FACTOR + n.help(x)"),
        ("from pack import near", "near.help(x)"),
        ("from pack import near as n", "int(x, n.help(x))"),
        ("import pack.other, pack.near; n = pack.near", "pack.near.help(x)"),
        ("import pack.near as n", "[n.help(y) for y in (x,)]"),
        ("import pack.near as n", "(lambda: n.help(x))()"),
        (
            "try:\n        import absent as n\n"
            "    except ImportError:\n        import pack.near as n",
            "n.help(x)",
        ),
    ],
)
def test_a_module_imported_inside_is_followed_whatever_it_is_called(project, imported, used):
    """Its helpers are reached through any local name, also from functions and loops inside."""
    module(project, "pack.__init__", "")
    module(project, "pack.other", "")
    module(project, "pack.near", "FACTOR = 2\n\ndef help(x):\n    return x * FACTOR\n")
    text = f"def train(x):\n    {imported}\n    return {used}\n"
    train = module(project, "entry", text).train

    reached = _reach.reach([train])

    assert [d.value.__qualname__ for d in reached.definitions] == ["train", "help"]
    assert reached.values == {"pack.near:FACTOR": 2}


def test_helpers_are_reached_from_code_of_very_many_names(project):
    """A long script reads more names than one byte counts."""
    module(project, "near", "def help(x):\n    return x\n")
    many = "".join(f"    n{i} = a{i}.b{i}\n" for i in range(200))
    text = f"def train(x):\n{many}    import near\n    return near.help(x) + far.help(x)\n"
    entry = module(project, "entry", text)
    module(project, "far", "def help(x):\n    return x\n")
    entry.far = sys.modules["far"]

    reached = _reach.reach([entry.train])

    assert {d.module for d in reached.definitions} == {"entry", "near", "far"}


def retrying(times):
    def decorate(function):
        @functools.wraps(function)
        def again(*args):
            return [function(*args) for _ in range(times)][-1]

        return again

    return decorate


@retrying(times=2)
def decorated():
    return {"w": decorated_helper()}


def decorated_helper():
    return 1


class Trainer:
    base = 3

    def __init__(self, rate=1):
        self.rate = rate

    def fit(self):
        return {"w": self.step() * self.rate}

    def step(self):
        return decorated_helper()

    def __call__(self):
        return {"w": self.step()}

    @classmethod
    def make(cls):
        return {"w": cls.base}


double = lambda x: {"w": x * 2}  # noqa: E731


def test_decorators_are_seen_through(registry):
    """The entry is the function itself, and the decorator is a helper."""
    code = code_of(registry, decorated)

    assert code.source(code.names[0]).startswith("@retrying(times=2)\ndef decorated():")
    assert f"{__name__}:retrying.<locals>.decorate.<locals>.again" in code.names
    assert "def retrying(times):" in code.source()
    assert f"{__name__}:decorated_helper" in code.names


def test_methods_bring_their_class(registry):
    """Whichever methods it calls on itself."""
    bound = type("Tracked", (Trainer,), {"fit": registry.track("m")(Trainer.fit)})()

    code = mv.call(bound.fit).version.code

    assert code.entry == f"{__name__}:Trainer.fit"
    assert code.source(code.names[0]).startswith("class Trainer:")
    assert "def step(self)" in code.source()
    assert f"{__name__}:decorated_helper" in code.names


DECORATED = """
    import contextlib
    import functools
    import dataclasses
    from typing import NamedTuple

    import attrs
    import modelversion as mv
    from retries import again

    class Trainer:
        @mv.track("m")
        def fit(self):
            with self.quiet():
                return {"w": self.step()}

        @contextlib.contextmanager
        def quiet(self):
            yield

        @again
        def step(self):
            return 1

    @dataclasses.dataclass
    class Rate:
        x: int = 1
        def get(self):
            return self.x

    @dataclasses.dataclass(slots=True, frozen=True, order=True)
    class Slim:
        x: int = 1

    @attrs.define
    class Made:
        x: int = 1

    @functools.total_ordering
    class Rank:
        @again
        def __lt__(self, other):
            return True

    class Pair(NamedTuple):
        x: int = 1

    def train():
        return Rate, Slim, Made, Rank, Pair, Trainer
    """


@pytest.fixture
def decorated_classes(project):
    """A module of classes with decorators on them, and on their methods."""
    module(
        project,
        "retries",
        """
        import functools
        def again(function):
            @functools.wraps(function)
            def inner(*args):
                return function(*args)
            return inner
        """,
    )
    return module(project, "entry", DECORATED)


def test_a_class_is_whole_whatever_is_above_its_methods(decorated_classes):
    """A decorator bears the name of the method, and its code stands in another file."""
    found = capture.capture(
        capture.Entry("entry:Trainer.fit", decorated_classes.Trainer.fit, decorated_classes.Trainer)
    )

    assert [p.name for p in found.pieces] == ["entry:Trainer.fit", "retries:again.<locals>.inner"]
    assert found.pieces[0].text.startswith("class Trainer:\n    @mv.track")
    assert "    def step(self):" in found.pieces[0].text
    assert found.missing == {}


def test_methods_that_a_decorator_of_the_class_made_are_not_missing(decorated_classes):
    """Dataclasses and their like make methods by exec; the text of the class says it all."""
    found = capture.capture(capture.Entry("entry:train", decorated_classes.train))

    names = [piece.name.partition(":")[2] for piece in found.pieces]
    assert names[:7] == ["train", "Rate", "Slim", "Made", "Rank", "Pair", "Trainer"]
    assert found.missing == {}


@pytest.mark.parametrize(
    ("function", "shown"),
    [
        (functools.partial(double, 4), "double = lambda x:"),
        (double, "double = lambda x:"),
        (Trainer(), "class Trainer:"),
        (Trainer.make, "def make(cls):"),
        (functools.lru_cache(decorated_helper), "def decorated_helper"),
    ],
)
def test_all_that_can_be_called_has_a_source(function, shown):
    """Partials, lambdas, callable objects, classmethods, cached functions."""
    found = capture.capture(capture.Entry("m:f", function))

    assert shown in found.pieces[0].text
    assert found.missing == {}
    assert shown in function_source(function)


def test_a_class_is_a_source_too():
    """With its decorators."""
    assert function_source(Trainer).startswith("class Trainer:\n    base = 3\n")


# ---- it is what ran


def test_an_edit_after_the_import_is_not_taken(project, registry):
    """The text is that of the import, or there is none: never the edited one."""
    work = module(project, "edited", HELPERS + "\ndef train():\n    return {'w': shift(1)}\n")
    edit(project / "edited.py", "inner(x) * FACTOR", "inner(x) + FACTOR")
    edit(project / "edited.py", "return {'w': shift(1)}", "return {'w': shift(100)}")

    code = code_of(registry, work.train)

    assert dict(code.missing) == {
        "edited:train": "edited since import",
        "edited:shift": "edited since import",
    }
    assert code.names == ("edited:inner",)
    with pytest.raises(ArtifactNotFoundError, match="edited since import"):
        code.source("shift")


def test_an_edit_after_the_decoration_does_no_harm(project, registry):
    """The file was read when the function was decorated."""
    work = module(project, "early", HELPERS + "\ndef train():\n    return {'w': shift(1)}\n")
    tracked = registry.track("m")(work.train)
    edit(project / "early.py", "inner(x) * FACTOR", "inner(x) + FACTOR")
    edit(project / "early.py", "return {'w': shift(1)}", "return {'w': shift(100)}")

    code = mv.call(tracked).version.code

    assert dict(code.missing) == {}
    assert "shift(1)" in code.source()
    assert "inner(x) * FACTOR" in code.source()


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ("by=1", "by=2", "shift"),
        ("scale = 10", "scale = 20", "Scaler"),
        ("later(x) * self", "later(x) - self", "Scaler"),
    ],
)
def test_defaults_and_class_attributes_are_compared_too(project, before, after, name):
    """They are no part of a function's code object."""
    work = module(project, f"compared_{len(after)}_{name.lower()}", HELPERS)
    edit(Path(work.__file__), before, after)

    assert function_source(getattr(work, name)) is None
    assert function_source(work.inner) == "def inner(x):\n    return x\n"


@pytest.mark.parametrize(
    ("guard", "off"),
    [("_fits", lambda *_: True), ("_has_defaults", lambda *_: True)],
)
def test_without_the_comparison_the_wrong_text_would_be_given(project, monkeypatch, guard, off):
    """A mutant: each half of the comparison is needed."""
    monkeypatch.setattr(_texts, guard, off)
    work = module(project, f"mutant{guard}", HELPERS)
    edit(Path(work.__file__), "by=1", "by=2")

    assert "by=2" in function_source(work.shift)


def test_without_the_class_comparison_the_wrong_text_would_be_given(project, monkeypatch):
    """A mutant of the comparison of class attributes."""
    monkeypatch.setattr(_places, "_has_attributes", lambda *_: True)
    work = module(project, "mutant_class", HELPERS)
    edit(Path(work.__file__), "scale = 10", "scale = 20")

    assert "scale = 20" in function_source(work.Scaler)


def test_a_reloaded_module_shows_its_new_text(project, registry):
    """Old functions keep the old text, new ones have the new."""
    work = module(project, "again", "def f():\n    return 1\n")
    old = work.f
    assert function_source(old) == "def f():\n    return 1\n"
    (project / "again.py").write_text("# longer than before\ndef f():\n    return 22\n")
    importlib.reload(work)

    assert function_source(work.f) == "def f():\n    return 22\n"
    assert function_source(old) == "def f():\n    return 1\n"


def test_code_of_exec_has_no_source(registry):
    """It is said so, also where it bears the name of a real file."""
    made, lying = {}, {}
    exec("def train():\n    return {'w': 1}\n", made)
    exec(compile("def train():\n    return {'w': 2}\n", __file__, "exec"), lying)

    code, wrong = code_of(registry, made["train"]), code_of(registry, lying["train"])

    assert list(code.missing.values()) == ["made by exec or typed in"]
    assert code.source() is None
    assert list(wrong.missing.values()) == ["edited since import"]
    assert "source not available" in str(code)


def test_code_of_exec_is_not_taken_for_the_program_on_the_command_line(registry, monkeypatch):
    """Both are named `<string>`; the text of `python -c` is listed there, as Python 3.13 does."""
    program = ("import modelversion\n",)
    monkeypatch.setitem(linecache.cache, "<string>", (20, None, [*program], "<string>"))
    made = {}
    exec("def train():\n    return {'w': 3}\n", made)

    assert list(code_of(registry, made["train"]).missing.values()) == ["made by exec or typed in"]


def test_a_module_in_an_archive_has_its_source(project):
    """The importer gives the text of what is no file."""
    import zipfile

    with zipfile.ZipFile(project / "packed.zip", "w") as archive:
        archive.writestr("packed.py", "def f():\n    return 'packed'\n")
    sys.path.insert(0, str(project / "packed.zip"))
    try:
        work = importlib.import_module("packed")
        assert function_source(work.f) == "def f():\n    return 'packed'\n"
    finally:
        sys.path.remove(str(project / "packed.zip"))


@pytest.mark.parametrize("text", ["def f(:\n", "\x00", "# coding: nonsense\n"])
def test_a_file_that_does_not_parse_any_more_is_no_error(project, text):
    """It is being edited."""
    work = module(project, f"broken{len(text)}", "def f():\n    return 1\n")
    Path(work.__file__).write_text(text)

    assert function_source(work.f) is None


def test_the_script_may_be_edited_while_it_runs(tmp_path):
    """It was read when the registry was opened."""
    script = """
        import sys
        import modelversion as mv
        registry = mv.Registry(sys.argv[1])
        text = open(__file__).read()
        with open(__file__, "w") as file:
            file.write(text.replace("SEED = 1", "SEED = 2"))
        SEED = 1
        registry.save("churn", {"w": SEED})
    """
    fresh.run(script, tmp_path / "registry", cwd=tmp_path)

    code = mv.Registry(tmp_path / "registry").get("churn").code

    assert "SEED = 1\n" in code.source()
    assert "SEED = 2\n" in (tmp_path / "script.py").read_text()


# ---- scripts


def test_a_save_keeps_the_script_that_calls(tmp_path):
    """The whole file, and the helpers that it reaches elsewhere."""
    (tmp_path / "helpers.py").write_text(HELPERS)
    script = """
        import sys
        import modelversion as mv
        from helpers import shift

        def main():
            registry = mv.Registry(sys.argv[1])
            registry.save("saved", {"w": shift(1)})
            with registry.run("ran") as run:
                run.log_model({"w": 2})

        if __name__ == "__main__":
            main()
    """
    fresh.run(script, tmp_path / "registry", cwd=tmp_path)
    registry = mv.Registry(tmp_path / "registry")

    for code in (registry.get("saved").code, registry.get("ran").code):
        assert code.entry == "script.py"
        assert code.source("script.py") == textwrap.dedent(script)
        assert set(code.names) == {"script.py", "helpers:shift", "helpers:inner"}


def test_a_comment_in_a_helper_makes_a_version_and_one_beside_it_does_not(tmp_path):
    """Code is part of what makes a repeat; where it stands in its file is not."""
    (tmp_path / "helpers.py").write_text(HELPERS)

    def number():
        fresh.run(TRAIN + "train(C=2.0)\n", tmp_path / "registry", cwd=tmp_path)
        return mv.Registry(tmp_path / "registry").get("churn").number

    assert [number(), number()] == [1, 1]
    edit(tmp_path / "helpers.py", "def idle", "# of no use to train\ndef idle")
    assert number() == 1
    edit(tmp_path / "helpers.py", "inner(x) * FACTOR", "inner(x) * FACTOR * 1")
    assert number() == 2
    edit(tmp_path / "helpers.py", "FACTOR = 2", "FACTOR = 2.0")
    assert number() == 3


def test_long_sources_are_files(registry):
    """Above a bound the text is a file of the version."""
    long = "\n".join(f"    x{i} = {i}" for i in range(MAX_INLINE // 10))
    made = {"__name__": "__main__"}
    text = f"def train():\n{long}\n    return {{'w': 1}}\n"
    import linecache

    name = "<long>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), made)

    version = mv.call(registry.track("m")(made["train"])).version

    assert "source/entry.py" in [file.path for file in version.files]
    assert version.code.source() == text
    assert registry.verify().ok


def test_what_is_too_much_is_named(project, registry, monkeypatch):
    """The number of definitions and their bytes are bounded."""
    monkeypatch.setattr(capture, "MAX_BYTES", 200)
    work = module(
        project,
        "much",
        "\n".join(f"def f{i}():\n    return {i}\n" for i in range(20))
        + "\ndef train():\n    return {'w': "
        + " + ".join(f"f{i}()" for i in range(20))
        + "}\n",
    )

    code = code_of(registry, work.train)

    assert 0 < len(code.record.left_out) < 21
    assert len(code.names) + len(code.record.left_out) == 21
    monkeypatch.undo()
    monkeypatch.setattr("modelversion.source._reach.MAX_DEFINITIONS", 5)
    found = capture.capture(capture.of_function(work.train, "much:train"))
    assert found.left_out == ("...",)


class Hostile:
    """Raises whatever one does with it."""

    def __getattribute__(self, name):
        raise RuntimeError("hostile")

    __class__ = property(lambda self: 1 / 0)
    __hash__ = None


HOSTILE = Hostile()


def test_capture_never_fails(registry, monkeypatch):
    """Neither on hostile objects nor on a mistake of ours."""

    def train():
        return {"w": HOSTILE is None}

    assert code_of(registry, train).source("train")
    monkeypatch.setattr(capture, "reach", lambda roots: 1 / 0)
    assert list(code_of(registry, train).missing.values()) == ["ZeroDivisionError while looking"]
    assert function_source(HOSTILE) is None


CONFIG = {"lr": 0.1, "layers": [64, 32], "nested": {"a": (1, 2)}}
TABLE = list(range(10_000))
BAD_KEYS = {1: "a"}
SURROGATE = "\ud800"


def test_plain_globals_are_recorded_and_bounded(registry):
    """Small plain values with their types; large ones and what JSON cannot say are not."""

    def train():
        return {"w": [CONFIG, len(TABLE), BAD_KEYS, len(SURROGATE)]}

    assert dict(code_of(registry, train).globals) == {f"{__name__}:CONFIG": CONFIG}


# ---- what it costs


def test_a_warm_look_reads_no_file(project, monkeypatch):
    """Texts are kept with the code objects."""
    work = module(project, "warm", HELPERS + "\ndef train():\n    return {'w': shift(1)}\n")
    entry = capture.of_function(work.train, "warm:train")
    first = capture.capture(entry)
    monkeypatch.setattr(_texts, "_file", lambda name: pytest.fail(f"{name} was read"))

    again = capture.capture(entry)

    assert [p.text for p in again.pieces] == [p.text for p in first.pieces]


# ---- notebooks

CELLS = [
    """
    import modelversion as mv
    registry = mv.Registry({registry!r})
    RATE = 3
    """,
    """
    %time x = 1
    def helper(x):
        return x * RATE
    """,
    """
    # first version
    @mv.track("churn", registry=registry)
    def train(n=2):
        return {{"w": helper(n)}}
    """,
    "train()",
    "train()",
    """
    def helper(x):
        return x * RATE + 1
    """,
    "train()",
    """
    class Net:
        width = 3
        def fit(self):
            return helper(self.width)
    registry.save("saved", {{"w": Net().fit()}})
    """,
    'run = registry.run("cells").start()',
    "run.log_model({{'w': helper(1)}})",
    "run.commit()",
]


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The registry of a notebook that was run."""
    import nbclient
    import nbformat

    folder = tmp_path_factory.mktemp("notebook")
    place = str(folder / "registry")
    cells = [textwrap.dedent(c).strip("\n").format(registry=place) for c in CELLS]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    os.environ["JPY_SESSION_NAME"] = str(folder / "churn.ipynb")
    try:
        nbclient.NotebookClient(
            book, kernel_name="python3", timeout=300, resources={"metadata": {"path": str(folder)}}
        ).execute()
    finally:
        del os.environ["JPY_SESSION_NAME"]
    return mv.Registry(place)


def test_a_function_of_a_cell_has_its_source(notebook):
    """And that of helpers in other cells, as they were when it ran, with the cells' numbers."""
    first, second = notebook["churn"][1].code, notebook["churn"][2].code

    assert first.entry == "__main__:train"
    assert first.source("train").startswith("@mv.track")
    assert first.source("helper") == "def helper(x):\n    return x * RATE\n"
    assert second.source("helper") == "def helper(x):\n    return x * RATE + 1\n"
    assert [piece.cell for piece in first.record.pieces] == [3, 2]
    assert [piece.cell for piece in second.record.pieces] == [3, 6]
    assert first.globals["__main__:RATE"] == 3
    assert first.record.notebook == "churn.ipynb"


def test_a_cell_that_is_run_again_makes_no_version(notebook):
    """The same code, params and result."""
    assert len(notebook["churn"]) == 2


def test_the_cells_so_far_are_kept_as_typed(notebook):
    """In order of execution, with magics, up to the one that saves."""
    cells = notebook["churn"][1].code.cells()

    assert cells.startswith("# %% In [1]\nimport modelversion as mv\n")
    assert "# %% In [2]\n%time x = 1\n" in cells
    assert cells.rstrip().endswith("# %% In [4]\ntrain()")


def test_a_save_in_a_notebook_keeps_its_cell(notebook):
    """The cell is the entry, and what it reaches in other cells is there."""
    code = notebook["saved"][1].code

    assert code.entry == "churn.ipynb"
    assert code.names == ("churn.ipynb[8]", "__main__:helper")
    assert code.source("churn.ipynb[8]").startswith("class Net:")


def test_a_run_over_cells_keeps_all_of_them(notebook):
    """From its start to its commit."""
    code = notebook["cells"][1].code

    assert [p.cell for p in code.record.pieces][:3] == [9, 10, 11]
    assert "run.commit()" in code.source()
    assert "def helper(x):\n    return x * RATE + 1\n" in code.source()


@pytest.fixture
def shell(tmp_path, monkeypatch):
    """An IPython shell in this process, gone again afterwards."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    main, hook = sys.modules["__main__"], sys.displayhook
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    running = InteractiveShell.instance(config=config)

    def run(cell):
        done = running.run_cell(textwrap.dedent(cell).strip("\n"), store_history=True)
        assert done.success, done
        return running.user_ns

    run.shell = running
    yield run
    InteractiveShell.clear_instance()
    sys.modules["__main__"], sys.displayhook = main, hook


def test_cells_are_looked_at_in_this_process_too(shell, registry, monkeypatch):
    """Classes without methods, a session that is too long, a name that nobody tells."""
    shell("class Plain:\n    width = 3\n")
    names = shell("def train():\n    return {'w': Plain.width}\n")

    code = code_of(registry, names["train"])

    assert code.names == ("__main__:train", "__main__:Plain")
    assert code.source("Plain") == "class Plain:\n    width = 3\n"
    assert code.record.notebook is None
    assert "# %% In [2]\ndef train():" in code.cells()

    monkeypatch.setattr("modelversion.source._notebook.MAX_BYTES", 60)
    shell.shell.user_ns.update(registry=registry, __vsc_ipynb_file__="/home/ana/deep.ipynb")
    shell("registry.save('saved', Plain.width, new=True)")
    shell("run = registry.run('cells').start()")
    shell("run.log_metrics(a=helper() if 'helper' in globals() else 1)")
    shell("run.commit()")
    saved, cells = registry.get("saved").code, registry.get("cells").code
    assert saved.entry == "deep.ipynb"
    assert saved.names == ("deep.ipynb[3]", "__main__:Plain")
    assert saved.record.cells_left_out == 2
    assert [piece.cell for piece in cells.record.pieces] == [4, 5, 6]


def test_cells_of_magics_are_seen_through(shell, registry):
    """What `%%time` and its like run is code too, also in the middle of a run."""
    shell("def one(x=1):\n    return x\n")
    shell("def two(x=1):\n    return x\n")
    shell("def three(x=1):\n    return x\n")
    shell.shell.user_ns.update(registry=registry)
    shell("%%capture\nregistry.save('saved', {'w': one()})")
    shell("run = registry.run('cells').start()")
    shell("%%capture\nwarm = two()")
    shell("%time run.log_metrics(a=three())")
    shell("run.commit()")

    assert registry.get("saved").code.names[1:] == ("__main__:one",)
    assert registry.get("cells").code.names[4:] == ("__main__:two", "__main__:three")


def test_a_function_has_its_source_where_its_cell_imports_what_it_calls(shell, registry):
    """A shell compiles statement by statement, and a call of `math.sqrt` is then another one."""
    names = shell("import math\n\ndef train(x=4):\n    return {'w': math.sqrt(x)}\n")

    code = code_of(registry, names["train"])

    assert code.missing == {}
    assert code.source("train") == "def train(x=4):\n    return {'w': math.sqrt(x)}\n"


def test_rewritten_cells_are_believed(shell, registry):
    """A cell cannot be edited, also where a shell's transformer changes what it compiles to."""
    import ast

    class Double(ast.NodeTransformer):
        def visit_Constant(self, node):
            return ast.Constant(node.value * 2) if isinstance(node.value, int) else node

    shell.shell.ast_transformers.append(Double())
    names = shell("def train():\n    return {'w': 21}\n")

    code = code_of(registry, names["train"])

    assert names["train"]() == {"w": 42}
    assert code.source("train") == "def train():\n    return {'w': 21}\n"


def test_a_console_has_its_lines(tmp_path):
    """From Python 3.13 on what is typed in is kept; before, it is said that it is not."""
    program = textwrap.dedent(
        f"""
        import modelversion as mv
        registry = mv.Registry({str(tmp_path / "registry")!r})
        def train():
            return {{"w": 1}}

        train = registry.track("m")(train)
        train()
        """
    )
    subprocess.run(
        [sys.executable, "-i", "-q"],
        check=False,
        input=program,
        text=True,
        capture_output=True,
        timeout=120,
    )

    code = mv.Registry(tmp_path / "registry").get("m").code

    assert code.entry == "__main__:train"
    assert code.missing or "def train" in code.source()
