"""References and names: every form that is read, and every name that is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelversion.errors import InvalidNameError, InvalidReferenceError
from modelversion.refs import Ref, check_alias, check_name, parse

NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}"
names = st.from_regex(NAME, fullmatch=True).filter(
    lambda name: name.lower()[:3] not in ("con", "prn", "aux", "nul", "com", "lpt")
)


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("churn", Ref("churn")),
        ("churn:3", Ref("churn", 3)),
        ("churn:v3", Ref("churn", 3)),
        ("churn:V3", Ref("churn", 3)),
        ("churn:003", Ref("churn", 3)),
        ("churn:latest", Ref("churn", "latest")),
        ("churn:Latest", Ref("churn", "latest")),
        ("churn@latest", Ref("churn", "latest")),
        ("churn@champion", Ref("churn", "champion")),
        ("Churn@Champion", Ref("churn", "champion")),
        ("churn:champion", Ref("churn", "champion")),
        ("models:/churn", Ref("churn")),
        ("models:/churn/3", Ref("churn", 3)),
        ("models:/churn/v3", Ref("churn", 3)),
        ("models:/churn:3", Ref("churn", 3)),
        ("models:/churn/latest", Ref("churn", "latest")),
        ("models:/churn/champion", Ref("churn", "champion")),
        ("models:/churn/Production", Ref("churn", "production")),
        ("models:/churn@champion", Ref("churn", "champion")),
        ("churn.v2-q90_b@a.b", Ref("churn.v2-q90_b", "a.b")),
        ("models", Ref("models")),
        ("models:3", Ref("models", 3)),
    ],
)
def test_every_form_is_read(text, ref):
    """Each written form names a model and a version of it, case ignored."""
    assert parse(text) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "churn ",
        " churn",
        "churn:",
        "churn@",
        ":3",
        "@champion",
        "churn:3:4",
        "churn@a@b",
        "churn@a:3",
        "churn:-1",
        "churn:1.",
        "churn: 3",
        "churn:3 ",
        "churn:3\n",
        "churn/3",
        "models:/",
        "models:/churn/",
        "models:/churn/3/4",
        "models://churn/3",
        "models:/models:/churn",
        "churn:٣",
        "größe:3",
        "../churn:3",
        "churn..x",
        "con:3",
        "a" * 65,
        "churn@" + "a" * 65,
        "churn\0:3",
    ],
)
def test_anything_else_is_refused(text):
    """What is no reference is refused, with the text and the forms that there are."""
    with pytest.raises(InvalidReferenceError) as refusal:
        parse(text)

    assert "churn:3" in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("value", [None, 3, b"churn:3", ["churn:3"], Ref("churn")])
def test_a_reference_is_text(value):
    """Another type is refused as a reference, not as a missing attribute."""
    with pytest.raises(InvalidReferenceError, match="a reference is text such as churn"):
        parse(value)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text):
    """No text makes the parser raise anything else, and what is read reads the same again."""
    try:
        ref = parse(text)
    except InvalidReferenceError:
        return
    assert parse(str(ref)) == ref


@given(names, st.integers(1, 10**12 - 1))
def test_a_number_comes_back(name, number):
    """A printed reference reads as what it was, in either spelling."""
    ref = parse(f"{name}:{number}")

    assert ref == Ref(name.lower(), number)
    assert parse(str(ref)) == parse(f"models:/{name}/{number}") == parse(f"{name}:v{number}") == ref


@given(names, names)
def test_a_name_comes_back(name, alias):
    """An alias reads as what it was, behind `@` and behind `models:/`."""
    ref = parse(f"{name}@{alias}")

    assert ref == Ref(name.lower(), alias.lower())
    assert parse(str(ref)) == ref
    assert parse(f"models:/{name}@{alias}") == ref


@pytest.mark.parametrize(
    "name", ["a", "7", "Churn", "a.b", "a-b_c.D", "a" * 64, "console", "com", "lpt10", "nul-model"]
)
def test_names_are_lowered(name):
    """A valid name is compared and stored in lower case."""
    assert check_name(name, "model") == name.lower()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "1 to 64 letters"),
        ("a" * 65, "1 to 64 letters"),
        ("-a", "begin with a letter or digit"),
        (".a", "begin with a letter or digit"),
        ("_a", "begin with a letter or digit"),
        ("a b", "1 to 64 letters"),
        ("a/b", "1 to 64 letters"),
        ("a\\b", "1 to 64 letters"),
        ("a:b", "1 to 64 letters"),
        ("a\n", "1 to 64 letters"),
        ("größe", "1 to 64 letters"),
        ("\u212a", "1 to 64 letters"),  # the Kelvin sign is a k in lower case
        ("a..b", "must not contain '..'"),
        ("a.", "end with '.'"),
        ("con", "device name"),
        ("NUL", "device name"),
        ("com1", "device name"),
        ("lpt9.txt", "device name"),
        ("aux.model", "device name"),
    ],
)
def test_other_names_are_refused_by_rule(name, problem):
    """The error says what was named, the name and the rule."""
    with pytest.raises(InvalidNameError) as refusal:
        check_name(name, "model")

    assert str(refusal.value).startswith("model name ")
    assert problem in str(refusal.value)


@pytest.mark.parametrize("name", [None, 3, b"churn", ("churn",)])
def test_a_name_is_text(name):
    """Another type is refused, and the error says which."""
    with pytest.raises(
        InvalidNameError, match=f"model name must be str, found {type(name).__name__}"
    ):
        check_name(name, "model")


@pytest.mark.parametrize("alias", ["latest", "LATEST", "3", "v3", "V12", "007"])
def test_an_alias_does_not_read_as_a_version(alias):
    """What names a version by itself is no alias."""
    with pytest.raises(InvalidNameError, match="reads as a version"):
        check_alias(alias)


@pytest.mark.parametrize("alias", ["champion", "v3a", "3-days", "vv3", "v", "3.1"])
def test_other_names_are_aliases(alias):
    """An alias may look like a version number as long as it is none."""
    assert check_alias(alias) == alias
