"""Every event is said in words, whatever it holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelversion.decisions import DECISIONS
from modelversion.observed import OBSERVATIONS
from modelversion.phrases import PHRASES, phrase
from modelversion.state import FACTS, MODELS

KINDS = sorted({**FACTS.rules, **MODELS.rules, **DECISIONS.rules, **OBSERVATIONS.rules})
FIELDS = [
    "alias",
    "copied_from",
    "number",
    "numbers",
    "policy",
    "removed",
    "replaces",
    "set",
    "stage",
    "stages",
    "until",
    "use_instead",
]
COPIED = {"model": "base", "number": 7, "registry": "ab"}


def said(**event):
    return phrase(event, lambda number: f"churn:{number}")


def test_every_kind_of_event_has_a_phrase():
    """One that nobody put into words would be shown by its name."""
    assert sorted(PHRASES) == KINDS


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"kind": "version.committed", "number": 3}, "saved churn:3"),
        (
            {"kind": "version.committed", "number": 3, "copied_from": COPIED},
            "copied churn:3 from base:7 of ab",
        ),
        (
            {"kind": "stage.promoted", "number": 3, "stage": "production", "replaces": [1, 2]},
            "promoted churn:3 to production instead of churn:1, churn:2",
        ),
        (
            {"kind": "stage.cleared", "stage": "s", "numbers": [1, 2]},
            "cleared s of churn:1, churn:2",
        ),
        ({"kind": "stage.frozen", "stage": "s"}, "froze s"),
        ({"kind": "stage.frozen", "stage": "s", "until": "2027"}, "froze s until 2027"),
        (
            {"kind": "version.tagged", "number": 3, "set": {"a": 1}, "removed": ["b"]},
            "tagged churn:3: a=1, no b",
        ),
        ({"kind": "version.withdrawn", "number": 3}, "withdrew churn:3"),
        (
            {"kind": "version.withdrawn", "number": 3, "use_instead": 4},
            "withdrew churn:3 in favour of churn:4",
        ),
        ({"kind": "stages.set", "stages": ["a", "b"]}, "set the stages: a, b"),
        (
            {"kind": "policy.set", "stage": "s", "policy": {"approvals": 2}},
            "set the policy of s: 2 approvals",
        ),
        (
            {"kind": "policy.set", "stage": "s", "policy": {}},
            "set the policy of s: nothing is asked",
        ),
        ({"kind": "version.noted", "number": 3, "text": "a\x1b[31m"}, "noted of churn:3: a [31m"),
        ({"kind": "future.remark", "text": "later"}, "future.remark"),
    ],
)
def test_a_phrase_says_what_was_done(event, expected):
    """To which version, with what else there is to tell."""
    assert said(**event) == expected


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"kind": "stage.promoted", "stage": "s"}, "promoted ? to s"),
        (
            {"kind": "stage.promoted", "number": 1, "stage": "s", "replaces": 5},
            "promoted churn:1 to s?",
        ),
        ({"kind": "policy.set", "stage": "s", "policy": {"gates": 1}}, "set the policy of s: ?"),
        ({"kind": "version.committed", "number": 1, "copied_from": 3}, "copied churn:1?"),
        ({}, "?"),
    ],
)
def test_what_an_event_lacks_is_a_question_mark(event, expected):
    """A forged event makes no sense, and does not keep the rest from being told."""
    assert said(**event) == expected


@given(
    st.sampled_from(KINDS),
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)
            ),
            max_leaves=5,
        ),
    ),
)
def test_no_event_raises(kind, fields):
    """Any JSON gives one printable line."""
    assert said(kind=kind, **fields).isprintable()
