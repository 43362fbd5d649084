"""Keys of the format, and the paths of artifacts."""

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelversion import layout
from modelversion.errors import InvalidPathError
from modelversion.layout import artifact_path, check_distinct


def test_keys_are_those_of_the_format():
    """The keys are spelt as the format page spells them."""
    folder = layout.journal("churn", "decisions")

    assert folder == "models/churn/decisions"
    assert layout.entry(folder, 7) == "models/churn/decisions/000000000007.json"
    assert layout.merge(folder, 2, 1024) == "models/churn/decisions/s2/000000001024.jsonl"
    assert layout.hint(folder) == "models/churn/decisions/head.json"
    assert layout.version("churn", 12) == "models/churn/versions/12"
    assert layout.LEVELS == (32, 1024, 32768)


@given(st.integers(1, 10**12 - 1), st.integers(1, 10**12 - 1))
def test_entries_sort_as_their_positions(a, b):
    """A listing by name is a listing by position."""
    assert (layout.entry("j", a) < layout.entry("j", b)) == (a < b)


@pytest.mark.parametrize(
    "path", ["roc.png", "plots/roc.png", "a b/c d.txt", "größe.csv", "日本/x", ".hidden", "a" * 255]
)
def test_an_artifact_path_is_kept(path):
    """A relative path is kept below `artifacts/`."""
    assert artifact_path(path) == f"artifacts/{path}"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is empty"),
        ("a//b", "is empty"),
        ("a/", "is empty"),
        (".", "is empty, '.' or '..'"),
        ("../a", "is empty, '.' or '..'"),
        ("a/../b", "is empty, '.' or '..'"),
        ("a/./b", "is empty, '.' or '..'"),
        ("a\\b", "backslash"),
        ("C:/a", "colon"),
        ("a:stream", "colon"),
        ("a\nb", "control character"),
        ("a\0", "control character"),
        ("a\x7f", "control character"),
        ("a\x85b", "control character"),
        ("a.", "ends with a dot or a space"),
        ("a /b", "ends with a dot or a space"),
        (".tmp-a", "begins with '.tmp-'"),
        ("a/.tmp-", "begins with '.tmp-'"),
        ("cafe\u0301", "NFC"),
        ("a" * 256, "longer than 255 bytes"),
        ("é" * 128, "longer than 255 bytes"),
        ("a\ud800", ""),
    ],
)
def test_other_paths_are_refused_by_rule(path, problem):
    """The error names the path, the part and the rule."""
    with pytest.raises(InvalidPathError) as refusal:
        artifact_path(path)

    assert str(refusal.value).startswith("artifact path ")
    assert problem in str(refusal.value)


@pytest.mark.parametrize("path", ["con", "nul.txt", "a/COM1", "plots/aux.png"])
def test_device_names_are_refused(path):
    """A path that Windows cannot hold is refused everywhere, so that a registry can be copied."""
    with pytest.raises(InvalidPathError, match="device name"):
        artifact_path(path)


@pytest.mark.parametrize("path", [None, 3, b"a", PurePosixPath("a")])
def test_an_artifact_path_is_text(path):
    """Another type is refused, and the error says which."""
    with pytest.raises(InvalidPathError, match="artifact path must be str, found"):
        artifact_path(path)


@given(st.text(max_size=30))
def test_any_text_stays_inside(path):
    """Whatever is accepted lies below `artifacts/`, in a form that every system keeps."""
    try:
        key = artifact_path(path)
    except InvalidPathError:
        return
    parts = key.split("/")
    assert parts[0] == "artifacts"
    assert not {"", ".", ".."} & set(parts)
    assert unicodedata.is_normalized("NFC", key)
    assert key.encode().decode() == key


@pytest.mark.parametrize(
    "paths", [["a", "A"], ["a/B", "A/b"], ["straße", "STRASSE"], ["a", "b", "A"], ["é", "É"]]
)
def test_paths_differ_in_more_than_case(paths):
    """Two paths that one filesystem may take for one are refused, and both are named."""
    with pytest.raises(InvalidPathError, match="one path where case is ignored"):
        check_distinct(paths)


@pytest.mark.parametrize("paths", [["a", "a/b"], ["A/b/c", "a/B"], ["a/b/c", "x", "a"]])
def test_a_path_is_a_file_or_a_folder(paths):
    """A path inside another path is refused."""
    with pytest.raises(InvalidPathError, match="lies inside a path that is a file"):
        check_distinct(paths)


def test_other_paths_stand_together():
    """Paths with common folders and beginnings are no conflict."""
    check_distinct(["a/b", "a/c", "ab", "a.b/c", "a/b.c"])
