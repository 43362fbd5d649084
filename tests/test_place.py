"""Where the default registry is, and what is said when it is made."""

from pathlib import Path

import pytest

import modelversion as mv
from modelversion import place
from modelversion.errors import InvalidInputError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder three deep, in which the process is."""
    folder = tmp_path / "project" / "src" / "deep"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return tmp_path / "project"


def configure(folder, text):
    (folder / "pyproject.toml").write_text(text)


def test_by_default_it_is_here(project):
    """A folder `model-registry` in the current one."""
    assert mv.Registry().url == str(project / "src/deep/model-registry")


def test_a_variable_names_it(project, monkeypatch):
    """It goes before all else, and may be any URL."""
    configure(project, '[tool.modelversion]\nregistry = "elsewhere"')

    monkeypatch.setenv("MODELVERSION_REGISTRY", "memory://named")
    assert mv.Registry().url == "memory://named"
    monkeypatch.setenv("MODELVERSION_REGISTRY", "relative")
    assert mv.Registry().url == str(project / "src/deep/relative")
    monkeypatch.setenv("MODELVERSION_REGISTRY", "")
    assert mv.Registry().url == str(project / "elsewhere")


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("models", "{project}/models"),
        ("../models", "{project}/../models"),
        ("/abs/models", "/abs/models"),
        ("~/models", "{home}/models"),
        ("memory://set", "memory://set"),
    ],
)
def test_a_setting_names_it(project, monkeypatch, setting, url):
    """The nearest pyproject.toml that has it; a relative path is relative to that file."""
    monkeypatch.setenv("HOME", str(project / "home"))
    configure(project, f'[tool.modelversion]\nregistry = "{setting}"')

    found = mv.Registry().url

    wanted = url.format(project=project, home=project / "home")
    assert found == wanted if "://" in wanted else Path(found) == Path(wanted).resolve()


def test_the_nearest_setting_counts(project):
    """A project inside a project has its own; one that says nothing is passed over."""
    configure(project, '[tool.modelversion]\nregistry = "outer"')
    configure(project / "src", "[tool.other]\nregistry = 'no'")
    assert mv.Registry().url == str(project / "outer")

    configure(project / "src", '[tool.modelversion]\nregistry = "inner"')
    assert mv.Registry().url == str(project / "src/inner")


@pytest.mark.parametrize("value", ["5", "[]", "''", "true", "{a = 1}"])
def test_a_setting_is_a_path_or_a_url(project, value):
    """Anything else is refused, with the file."""
    configure(project, f"[tool.modelversion]\nregistry = {value}")

    with pytest.raises(InvalidInputError, match=r"pyproject\.toml: .* must be a path or URL"):
        mv.Registry()


@pytest.mark.parametrize("text", ["tool = 5", "[tool]\nmodelversion = 5", "tool.modelversion = []"])
def test_a_strange_table_is_refused(project, text):
    """A table that is none is one of our errors, with the file."""
    configure(project, text)

    with pytest.raises(InvalidInputError, match=r"pyproject\.toml"):
        mv.Registry()


@pytest.mark.parametrize("text", ["[tool.modelver", "\xff", "[tool.modelversion]", ""])
def test_a_file_that_says_nothing_is_passed_over(project, text):
    """One that does not parse is being edited; one without the setting has none."""
    (project / "pyproject.toml").write_bytes(text.encode("latin-1"))

    assert mv.Registry().url == str(project / "src/deep/model-registry")


def test_an_existing_one_above_is_found(project):
    """A folder of that name that is a registry; a folder that is none is passed over."""
    (project / "src/model-registry").mkdir()
    assert mv.Registry().url == str(project / "src/deep/model-registry")

    mv.Registry(project / "model-registry").save("churn", 1.5)
    assert mv.Registry().url == str(project / "model-registry")
    assert mv.load("churn") == 1.5


def test_the_nearer_of_setting_and_folder_counts(project):
    """They are looked for folder by folder, upwards."""
    mv.Registry(project / "src/model-registry").save("churn", 1.5)
    configure(project, '[tool.modelversion]\nregistry = "outer"')

    assert mv.Registry().url == str(project / "src/model-registry")


def test_a_start_can_be_given(tmp_path):
    """The search goes upwards from there."""
    assert place.default_url(tmp_path) == str(tmp_path / "model-registry")


def test_a_new_default_registry_says_where(project, capsys):
    """Once, when it is made, on the error stream; and git does not see it."""
    registry = mv.Registry()
    assert capsys.readouterr() == ("", "")

    registry.save("churn", 1.5)
    said = capsys.readouterr()
    registry.save("churn", 2.5)
    mv.Registry().save("churn", 3.5)

    assert said.out == ""
    assert said.err == f"modelversion: a new registry was made in {registry.url}\n"
    assert capsys.readouterr() == ("", "")
    assert Path(registry.url, ".gitignore").read_text() == "*\n"
    assert registry.verify().ok


def test_a_named_registry_says_nothing(project, capsys):
    """Who names a place knows where it is."""
    registry = mv.Registry("named")
    registry.save("churn", 1.5)

    assert capsys.readouterr() == ("", "")
    assert not Path(registry.url, ".gitignore").exists()


@pytest.mark.parametrize("url", ["memory://default", "file://{project}/there"])
def test_a_default_registry_may_be_anywhere(project, monkeypatch, capsys, url):
    """What the variable names need not be a folder, and nothing is written beside it."""
    monkeypatch.setenv("MODELVERSION_REGISTRY", url.format(project=project))

    registry = mv.Registry()
    assert registry.save("churn", 1.5).ref == "churn:1"
    assert registry.url in capsys.readouterr().err
    assert sorted(path.name for path in (project / "src/deep").iterdir()) == []


def test_a_gitignore_that_is_there_stays(project):
    """What a user wrote is not replaced."""
    (project / "src/deep/model-registry").mkdir()
    ignore = project / "src/deep/model-registry/.gitignore"
    ignore.write_text("*.tmp\n")

    mv.Registry().save("churn", 1.5)

    assert ignore.read_text() == "*.tmp\n"
