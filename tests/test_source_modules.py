"""Source of modules: whether an importable one is the one that was used, without running it."""

import importlib
import os
import sys

import pytest

from modelversion import source


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package on the path, whose inner module says when it is run."""
    folder = tmp_path / "shop_of_tests"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "models.py").write_text("class Model:\n    pass\n")
    (folder / "loud.py").write_text("raise RuntimeError('it was run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.startswith("shop_of_tests")]:
        del sys.modules[name]


def test_an_importable_module_is_the_one_that_was_imported(package):
    """Both digests are of the same files, whether it is imported or not."""
    before = source.importable_sources("shop_of_tests.models")

    importlib.import_module("shop_of_tests.models")

    assert source.module_sources("shop_of_tests.models") == before is not None


@pytest.mark.parametrize("changed", ["models.py", "__init__.py"])
def test_an_edit_makes_another_module(package, changed):
    """Also one in the package around it, which is run before the module."""
    before = source.importable_sources("shop_of_tests.models")

    (package / changed).write_text("x = 1\n")

    assert source.importable_sources("shop_of_tests.models") != before


def test_looking_runs_nothing(package):
    """Neither the module nor the packages around it."""
    (package / "__init__.py").write_text("raise RuntimeError('it was run')\n")

    assert source.importable_sources("shop_of_tests.loud") is not None
    assert "shop_of_tests" not in sys.modules


@pytest.mark.parametrize("name", ["shop_of_tests.absent", "shop_of_nowhere.models", "math", "sys"])
def test_what_has_no_source_has_no_digest(package, name):
    """A module that is not there, and one of machine code."""
    assert source.importable_sources(name) is None


@pytest.fixture
def namespace(tmp_path, package):
    """A module in a folder without a file of its own."""
    inner = tmp_path / "shop_of_tests_spread"
    inner.mkdir()
    (inner / "one.py").write_text("x = 1\n")
    importlib.invalidate_caches()
    return inner


def test_a_package_without_a_file_counts_by_what_lies_in_it(namespace):
    """A namespace runs nothing itself; its modules do."""
    before = source.importable_sources("shop_of_tests_spread.one")
    importlib.import_module("shop_of_tests_spread.one")

    assert source.module_sources("shop_of_tests_spread.one") == before is not None
    (namespace / "one.py").write_text("x = 2\n")
    assert source.importable_sources("shop_of_tests_spread.one") != before


def test_what_cannot_be_found_without_running_has_no_digest(package):
    """A folder without a file inside of a package wants the package imported first."""
    (package / "inner").mkdir()
    (package / "inner" / "one.py").write_text("x = 1\n")
    importlib.invalidate_caches()

    assert source.importable_sources("shop_of_tests.inner.one") is None
    assert "shop_of_tests" not in sys.modules


def test_a_finder_that_fails_is_no_failure(package, monkeypatch):
    """What other libraries hang into the import system may raise anything."""

    class Finder:
        def find_spec(self, name, path, target=None):
            raise RuntimeError("no idea")

    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])

    assert source.importable_sources("shop_of_tests.models") is None


def test_a_file_that_vanished_has_no_digest(package):
    """It is never taken for the one that was used."""
    importlib.import_module("shop_of_tests.models")
    os.remove(package / "models.py")

    assert source.module_sources("shop_of_tests.models") is None


def test_own_and_library_modules_are_told_apart(package):
    """By where they lie, and inside a package by the package."""
    import numpy.linalg

    importlib.import_module("shop_of_tests.models")

    assert source.is_own("shop_of_tests.models")
    assert "shop_of_tests.models" in {module.__name__ for module in source.own_modules()}
    assert not source.is_own(numpy.linalg.__name__)
    assert not source.is_own("json")
    assert not source.is_own("modelversion.errors")
    assert not source.is_own("shop_of_nowhere")
    assert source.is_compiled("numpy._core._multiarray_umath")
    assert not source.is_compiled("shop_of_tests.models")


def test_the_source_of_a_function_is_what_runs(package):
    """Where the file was edited since, there is none."""
    module = importlib.import_module("shop_of_tests.models")

    assert source.function_source(module.Model) == "class Model:\n    pass\n"
    assert source.function_source(len) is None
