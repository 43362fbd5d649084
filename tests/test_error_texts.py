"""What errors echo: never a secret that was given in the wrong place."""

import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from tokens import ALNUM, draw

import modelversion as mv
from modelversion import errors, redaction

TOKEN = "ghp_" + draw(ALNUM, 36, seed=9)
LOGIN = f"https://ana:{draw(ALNUM, 12)}@example.org/x"
VALUE = "pl4nted-in-the-environment"


@pytest.fixture
def churn(registry, monkeypatch):
    """A model with one version, where a variable of the environment is secret."""
    monkeypatch.setenv("SERVICE_TOKEN", VALUE)
    registry.save("churn", {"w": 1}, metrics={"auc": 0.9})
    return registry["churn"]


def in_run(work):
    def call(registry, model, text):
        with registry.run("churn"):
            work(text)

    return call


WRONG = {
    "a model": lambda registry, model, text: registry[text],
    "a new model": lambda registry, model, text: registry.save(text + "!", {"w": 2}),
    "a reference": lambda registry, model, text: registry.get(f"churn@{text}"),
    "a load": lambda registry, model, text: registry.load(text),
    "a stage": lambda registry, model, text: model[1].promote(text),
    "an alias": lambda registry, model, text: model.set_alias("champion", text),
    "no alias": lambda registry, model, text: model.delete_alias(text),
    "a selector": lambda registry, model, text: model[(text,)],
    "a metric": lambda registry, model, text: registry.save("churn", {}, metrics={"auc": text}),
    "a metric's name": lambda registry, model, text: registry.save(
        "churn", {}, metrics={text: "x"}
    ),
    "a tag": lambda registry, model, text: registry.save("churn", {}, tags={"a": [text]}),
    "params": lambda registry, model, text: registry.save("churn", {}, params=text),
    "a param": lambda registry, model, text: registry.save("churn", {}, params={text: object()}),
    "parents": lambda registry, model, text: registry.save("churn", {}, parents=text),
    "an artifact": lambda registry, model, text: registry.save(
        "churn", {}, artifacts={"a": [text]}
    ),
    "its path": lambda registry, model, text: registry.save(
        "churn", {}, artifacts={f"/{text}": b""}
    ),
    "data": lambda registry, model, text: registry.search(data=text),
    "a query": lambda registry, model, text: registry.search(where=f"metrics.auc > {text}"),
    "a query's text": lambda registry, model, text: registry.search(where=f"'{text}"),
    "an order": lambda registry, model, text: registry.search(order_by=f"-{text}!"),
    "a limit": lambda registry, model, text: registry.search(limit=text),
    "a file": lambda registry, model, text: model[1].open(text),
    "a place": lambda registry, model, text: mv.data("nowhere://" + text.removeprefix("https://")),
    "a place that is none": lambda registry, model, text: mv.data([text]),
    "a registry": lambda registry, model, text: mv.Registry(
        "nowhere://" + text.removeprefix("https://")
    ).save("a", 1),
    "a registry that is none": lambda registry, model, text: mv.Registry([text]).models(),
    "allow_pickle": lambda registry, model, text: model[1].load(allow_pickle=[1, text]),
    "not_secret": lambda registry, model, text: registry.save("churn", {}, not_secret=[text]),
    "a gate": lambda registry, model, text: registry.set_policy("production", gates=[text]),
    "a step": in_run(lambda text: mv.log_metric("a", 1, step=text)),
    "a logged metric": in_run(lambda text: mv.log_metric("a", text)),
    "logged data": in_run(lambda text: mv.fingerprint({text: object()})),
    "ignore": lambda registry, model, text: mv.track("churn", ignore=text),
    "returns": lambda registry, model, text: mv.track("churn", returns=(text, 1)),
    "a decorated text": lambda registry, model, text: mv.step(text),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("text", [TOKEN, LOGIN, VALUE], ids=["token", "login", "environment"])
def test_no_error_echoes_a_secret(registry, churn, what, text):
    """A token, a login and the value of a secret variable, given where something else belongs."""
    secret = text.partition("ana:")[2].partition("@")[0] or text

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(Exception) as caught:
            WRONG[what](registry, churn, text)

    e = caught.value
    assert isinstance(e, mv.ModelVersionError)
    for said in (str(e), repr(e)):
        assert secret not in said


def test_without_the_mask_errors_would_echo(registry, churn, monkeypatch):
    """The mask is what keeps a token out of a message."""
    monkeypatch.setattr(redaction, "masked", str)

    with pytest.raises(errors.ModelNotFoundError, match=TOKEN.lower()):
        registry[TOKEN]


def test_messages_without_a_secret_stay(registry, churn):
    """What was asked, what was found, what to do."""
    with pytest.raises(errors.ModelNotFoundError, match=r"no model 'chrun'.*churn") as caught:
        registry["chrun"]

    assert repr(caught.value) == f"ModelNotFoundError({str(caught.value)!r})"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_errors_need_no_rules():
    """An error that is raised before the rules were loaded says what it says."""
    code = (
        "import sys; from modelversion.errors import InvalidNameError\n"
        "e = InvalidNameError('x is no name'); print(e, repr(e), InvalidNameError())\n"
        "assert 'modelversion.redaction' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )

    assert done.stdout == "x is no name InvalidNameError('x is no name') InvalidNameError\n"


def test_arrays_in_messages_are_short():
    """A wrong value is shown by its beginning only."""
    with pytest.raises(mv.ModelVersionError) as caught:
        mv.metric(np.arange(10_000))

    assert len(str(caught.value)) < 300
