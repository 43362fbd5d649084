"""The sources of steps: kept once each, in the record, or together in one file."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import modelversion as mv
from modelversion import code
from modelversion.errors import ArtifactNotFoundError, IntegrityError


@mv.step
def doubled(x, times=2):
    """Make it larger."""
    return x * times


@mv.step
def shifted(x):
    return x + 1


def trained(registry, name="churn", *, calls=2):
    """Save a version whose data went through `doubled`, some times, and through `shifted`."""
    with registry.run(name) as run:
        x = np.arange(10.0)
        for i in range(calls):
            x = doubled(x, i + 2)
        shifted(x)
        run.log_metrics(auc=0.9)
    return run.version


def test_a_source_stands_once_in_the_record(registry):
    """Steps cost a save no file, and a step that ran again no second copy."""
    version = trained(registry, calls=3)

    kept = [step.code.source is not None for step in version.steps]
    assert kept == [True, False, False, True]
    assert not [file.path for file in version.files if "step" in file.path]
    for place, step in enumerate(version.steps):
        text = version.steps.source(place)
        assert f"def {step.name}(x" in text
        assert hashlib.sha256(text.encode()).hexdigest() == step.code.sha256
    assert "Make it larger" in version.steps.source(-2)


def test_long_sources_are_one_file(registry, monkeypatch):
    """However many functions there are, a save writes and flushes one file more."""
    monkeypatch.setattr(code, "MAX_INLINE", 80)

    version = trained(registry)

    paths = [file.path for file in version.files if "step" in file.path]
    assert paths == ["source/steps.py"]
    assert version.steps.source(0) == version.steps.source(1)
    for place in (0, 2):
        text = version.steps.source(place)
        assert hashlib.sha256(text.encode()).hexdigest() == version.steps[place].code.sha256
    assert registry.verify().ok
    again = trained(registry)
    assert again.number == version.number, "the same content, wherever its text stands"


def test_a_file_that_was_changed_is_refused(registry, monkeypatch):
    """A step's source is verified before it is shown."""
    monkeypatch.setattr(code, "MAX_INLINE", 80)
    version = trained(registry)
    file = Path(registry.url, "models/churn/versions/1/source/steps.py")
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"times=2", b"times=3"))

    with pytest.raises(IntegrityError):
        registry.get("churn:1").steps.source(0)
    assert version.steps[0].code.sha256


def test_the_first_form_is_still_read(registry, monkeypatch):
    """A directory with a file for each step, as the first versions have them, tells the same."""
    monkeypatch.setattr(code, "MAX_INLINE", 80)
    version = trained(registry)
    texts = [version.steps.source(place) for place in range(len(version.steps))]
    folder = Path(registry.url, "models/churn/versions/1")
    as_it_was(folder, texts)

    old = mv.open_directory(folder)
    steps = mv.Steps(old.record.steps, read=lambda path: old.open(path).read())

    assert [steps.source(place) for place in range(len(steps))] == texts
    assert all(step.code.path for step in steps)


def as_it_was(folder, texts):
    """Rewrite a directory as the first versions were written: a file for each text."""
    stored = json.loads((folder / "version.json").read_bytes())
    files = {}
    for step, text in zip(stored["steps"], texts, strict=True):
        digest = hashlib.sha256(text.encode()).hexdigest()
        files[f"source/step-{digest[:16]}.py"] = text.encode()
        entry = step["code"]["entry"]
        path = f"source/step-{digest[:16]}.py"
        step["code"] = {"entry": entry, "sha256": digest, "path": path}
    stored["files"] = [file for file in stored["files"] if "step" not in file["path"]] + [
        {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for path, data in files.items()
    ]
    for path, data in files.items():
        (folder / path).write_bytes(data)
    target = folder / "version.json"
    target.chmod(0o644)
    target.write_text(json.dumps(stored, sort_keys=True))


def test_steps_alone_do_not_guess_a_file(registry, monkeypatch):
    """A list of steps without its version says that the file is not at hand."""
    monkeypatch.setattr(code, "MAX_INLINE", 80)
    version = trained(registry)

    alone = mv.Steps(tuple(version.steps))

    with pytest.raises(ArtifactNotFoundError, match=r"source/steps\.py"):
        alone.source(0)
    with pytest.raises(IndexError):
        alone.source(99)


def test_a_difference_names_what_changed_and_not_where_it_stands(registry, monkeypatch):
    """Two versions of the same steps do not differ by the place of their texts."""
    with monkeypatch.context() as patch:
        patch.setattr(code, "MAX_INLINE", 80)
        one = trained(registry)
    other = trained(registry, "other")

    assert other.diff(one).steps == ()
