"""Secrets planted in every place there is: none is found in any byte that is stored or printed."""

import contextlib
import copy
import hashlib
import io
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from planted import leaks, plant, run, secrets, used
from tokens import TOKENS

import modelversion as mv
from modelversion import notes, redaction, snapshot
from modelversion.redaction import Redaction

GONE = "(redacted)"
TOKEN = TOKENS["github-token"][0]

PROGRAM = '''
import argparse, dataclasses, os, warnings
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
import modelversion as mv

GLOBAL_API_KEY = "@in_global@"
key = "@in_global_key@"

@dataclasses.dataclass
class Config:
    db_password: str = "@in_dataclass@"
    size: int = 3

class Client(BaseEstimator):
    def __init__(self, api_key=None, tokenizer="bpe"):
        self.api_key, self.tokenizer = api_key, tokenizer

@mv.step
def features(x, *, service_token="@in_step_default@"):
    # @in_step_source@
    return x * 2

registry = mv.Registry("registry", actor="ana @in_actor@")

@registry.track("tracked")
def train(x, wrapped, config, space, client, *, password="@in_default@"):
    # @in_comment@
    api_key = "@in_body@"
    key = mv.Secret("@in_wrapped_literal@")
    private = """@in_key_file@"""
    used_by_sort = key
    options = dict(storage_options={"key": "@in_store_option@", "anon": False})
    filesystem = lambda kind, **given: (kind, given)
    store = filesystem("s3", key="@in_store_call@")
    mv.log_params(storage_options={"key": "@in_store_param@", "client_kwargs": {"a": 1}})
    mv.log_params(
        url=f"https://h/x?q={wrapped.reveal()}",
        login="postgresql://ana:@in_login@@db/x",
        query="https://h/x?a=1&access_token=@in_query@",
        text="use @in_text@ here",
        raw=b"raw @in_bytes@",
        credentials={"user": "ana", "keys": ["@below_credentials@"]},
        secret=("a", "@in_kept_tuple@"),
        line="--api-key @in_key_value@ --n 3",
        home=os.environ["SERVICE_PASSWORD"],
    )
    mv.log_params({"@in_key@": 1})
    log = "epoch 1: @in_artifact@"
    mv.log_artifact("train.log", log)
    mv.log_metrics(auc=0.9)
    return features(np.arange(5.0))

wrapped = mv.Secret("@in_secret_in_url@")
space = argparse.Namespace(hf_token="@in_namespace@", lr=0.1)
warnings.simplefilter("always")
train(np.arange(3), wrapped, Config(), space, Client("@in_estimator@"))
tracked = mv.last_version()
print(tracked, dict(tracked.params), tracked.redactions, tracked.data, tracked.steps, [wrapped])

saved = registry.save(
    "saved",
    {"key": mv.Secret("@in_secret@"), "weights": [1]},
    params={"secret": mv.Secret("@in_secret@"), "known": "a " + os.environ["SERVICE_TOKEN"]},
    tags={"api_key": "@in_tag@"},
    data={"https://ana:@in_data_name@@h/x.csv": np.arange(3)},
    description="made with @in_description@",
)
saved.tag(app_secret="@in_later_tag@")
saved.note("remember @in_note@")
saved.withdraw(reason="leaked @in_reason@")
saved.restore(reason="not leaked: @in_restore@")
saved.delete(reason="erase @in_delete@")
print(saved.tags, saved.notes, registry)

registry.save("lines", make_pipeline(FunctionTransformer(kw_args={"password": 1}), Client("x")))

for text in ("login failed: password=@in_message@", "x" * 990 + "@behind_the_cut@"):
    try:
        with registry.run("kept", on_error="keep") as going:
            going.log_metrics(auc=0.5)
            raise ValueError(text + os.environ["SERVICE_TOKEN"])
    except ValueError:
        pass

def refused(value, **more):
    try:
        registry.save("refused", value, **more)
    except mv.errors.ModelVersionError as e:
        print(type(e).__name__, e, repr(e), getattr(e, "spooled_at", None))
    else:
        raise AssertionError("it was saved")

inside = "@in_closure@"
refused({"steps": [("a", {"deep": "@in_object@"})]})
refused(lambda: inside)
refused(["x"] * 100_000 + ["see @in_object@"])
refused({"@in_object@": 1})
refused({"vault": ["@in_dotted_object@"]})
refused({"x": 1}, artifacts={"bot.txt": "token @in_telegram_file@ of the bot"})
refused({"x": os.environ["SERVICE_TOKEN"]})
refused({"x": 1}, artifacts={"a.txt": "@in_artifact@"})
refused({"x": 1}, tags={"a": object()}, params={"password": "@in_returned_text@"})

class Broken:
    def __reduce__(self):
        raise ValueError("no way to pickle @in_object@ password='@in_error@'")
refused(Broken())

@mv.track("text", registry=registry)
def gives_text():
    return "@in_model@"
gives_text()

from concurrent.futures import ProcessPoolExecutor
import multiprocessing

def work(handle):
    warnings.simplefilter("ignore")
    handle.log_params(api_key="@in_worker@", n=1)
    handle.log_artifact("worker.txt", "@in_worker_artifact@")
    handle.log_metrics(loss=1.0)

with registry.run("workers") as going:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        pool.submit(work, going.handle()).result()
print(going.version.redactions, [f.path for f in going.version.files])
try:
    mv.Registry("nowhere://ana:@in_registry_url@@host/x")
except mv.ModelVersionError as e:
    print(e)
'''

ENVIRON = {
    "SERVICE_TOKEN": "@in_environment@",
    "SERVICE_PASSWORD": "@in_param_of_environment@",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://ana:@in_ci_url@@github.com",
    "GITHUB_RUN_ID": "1",
}

# Ends before a commit, so that what was frozen and handed over stays where it lay.
KILLED = """
import os, warnings
import modelversion as mv

registry = mv.Registry("registry", actor="password='@in_actor_of_environment@'")
warnings.simplefilter("ignore")
going = registry.run("killed", params={"token": "@in_tag@"}).start()
big = [f"words and words {i}" for i in range(300_000)]
going.log_model({"big": big, "key": mv.Secret("@in_secret@")})
try:
    going.log_model({"big": [*big, "later", "@in_object@"]})
except mv.errors.SecretError as e:
    print(e)
going.log_artifact("big.txt", ("words " * 1_000_000) + "@in_text@")
handle = going.handle()
handle.log_params(password="@in_worker@", text="@in_comment@")
handle.log_artifact("kept.txt", "words " * 200_000)
handle.log_artifact("x.txt", ("words " * 1_000_000) + "@in_worker_artifact@")
os._exit(3)
"""

# No commit gets past a file where the folder of the versions should be.
FAILED = """
import os, shutil
import modelversion as mv

registry = mv.Registry("registry")
registry.save("churn", {"depth": 2})
shutil.rmtree("registry/models/churn/versions")
open("registry/models/churn/versions", "w").close()
try:
    registry.save("churn", {"key": mv.Secret("@in_secret@")}, params={"api_key": "@in_tag@"},
                  description=os.environ["SERVICE_TOKEN"])
except mv.SaveError as e:
    print(e, e.spooled_at)
    print(os.listdir(e.spooled_at), e.value)
    assert e.value["key"].reveal() == "@in_secret@"
"""

CELLS = [
    """import warnings
import modelversion as mv
registry = mv.Registry("registry")
db_password = "@in_cell_variable@"
""",
    """@registry.track("cells")
def train(n, password="@in_cell@"):
    # @in_comment@
    mv.log_metrics(auc=0.9)
    return {"n": n}
train(3)
""",
    """with registry.run("block") as run:
    run.log_params(url="https://ana:@in_login@@h/x", hf_token="@in_key@")
    run.log_metrics(auc=0.9)
print(run.version.redactions, mv.last_version().redactions)
run.version
""",
]


@pytest.fixture(scope="module")
def planted():
    """Secrets, drawn anew."""
    return secrets()


@pytest.fixture(scope="module")
def tracked(planted, tmp_path_factory):
    """A folder in which the program of all places has run, and what it printed."""
    folder = tmp_path_factory.mktemp("planted")
    return folder, run(PROGRAM, planted, folder=folder, **ENVIRON)


def test_no_planted_secret_is_stored_or_printed(planted, tracked):
    """Params, defaults, URLs, globals, environment, exceptions, source, remarks, workers, actors.

    Every byte of the registry, of temporary folders and of what was printed is searched, for the
    plain text and as JSON, repr, URLs and base64 hold it.
    """
    folder, _ = tracked

    assert leaks(folder, planted) == []
    assert len(used(PROGRAM, *ENVIRON.values())) >= 40


def test_the_search_finds_what_is_there(planted, tracked):
    """Each secret is found where it was planted: in the program itself."""
    folder, _ = tracked

    found = {name for name, _ in leaks(folder / "code", planted)}
    assert used(PROGRAM) <= found


def test_each_redaction_is_listed(planted, tracked):
    """A version says what was redacted, where, and by which rule."""
    folder, _ = tracked
    registry = mv.Registry(folder / "registry")
    version = registry["tracked"].latest

    found = {(r.path, r.rule) for r in version.redactions}
    assert {
        ("params.password", "name"),
        ("params.wrapped", "mv.Secret"),
        ("params.url", "mv.Secret"),
        ("params.login", "url"),
        ("params.query", "url"),
        ("params.text", "github-token"),
        ("params.raw", "npm-token"),
        ("params.credentials.keys[0]", "name"),
        ("params.secret[1]", "name"),
        ("params.line", "name"),
        ("params.home", "environment:SERVICE_PASSWORD"),
        ("params.config.db_password", "name"),
        ("params.space.hf_token", "name"),
        ("params.client.api_key", "name"),
        ("params.storage_options.key", "name"),
        ("a key of params", "hugging-face-token"),
        ("source/entry.py", "aws-access-key"),
        ("source/entry.py", "name"),
        ("source/entry.py", "private-key"),
    } <= found
    assert version.params["client"]["tokenizer"] == "bpe"
    assert version.params["config"]["size"] == 3
    assert registry.verify().ok


def test_the_program_was_told_what_was_left_out(tracked):
    """Files of a run that hold a secret are left out with a warning; errors name the place."""
    folder, _ = tracked
    said = (folder / "printed.txt").read_text("utf-8")

    assert "artifacts/train.log was left out of the run of 'tracked'" in said
    assert "object['steps'][0][1]['deep'] holds a secret (github-token)" in said
    assert "object.<global inside> holds a secret (shopify-token)" in said
    assert "object[100000] holds a secret (github-token)" in said
    assert "object['x'] holds a secret (environment:SERVICE_TOKEN)" in said
    assert "artifacts/a.txt holds a secret (json-web-token)" in said
    assert "Secret(redacted)" in said


def test_a_killed_run_leaves_no_secret_behind(planted, tmp_path):
    """What was frozen, spooled and handed over before the commit has none either."""
    run(KILLED, planted, folder=tmp_path, code=3)

    left = [path for path in tmp_path.rglob("*") if path.is_file() and "code" not in path.parts]
    assert sum(path.stat().st_size for path in left) > 1_000_000
    assert leaks(tmp_path, planted) == []


def test_a_failed_save_keeps_no_secret_on_the_disk(planted, tmp_path):
    """Its bytes are redacted as a commit's; the live object in the error is the one given."""
    run(FAILED, planted, folder=tmp_path, SERVICE_TOKEN="@in_environment@")

    assert [*(tmp_path / "tmp").rglob("version.json")]
    assert leaks(tmp_path, planted) == []


def test_a_notebook_leaves_no_secret(planted, tmp_path, monkeypatch):
    """Cells with a default, a comment, a variable and a login, run as Jupyter runs them."""
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    cells = [nbformat.v4.new_code_cell(plant(cell, planted)) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ipykernel
        NotebookClient(notebook, timeout=300, kernel_name="python3").execute()

    out = io.StringIO()
    for cell in notebook.cells:
        print(cell.outputs, file=out)
    assert "aws-access-key" in out.getvalue()
    (tmp_path / "out.txt").write_text(out.getvalue())
    assert leaks(tmp_path, planted) == []
    assert (tmp_path / "registry/models/cells").is_dir()


# ---- what is lifted, and what is not -------------------------------------------------------------


def test_a_lifted_path_is_stored_as_it_is(registry):
    """`not_secret` takes the paths that `redactions` gives, on a save, a run and a tracked call."""
    paths = ["params.token_kind", "tags.token"]
    saved = registry.save(
        "churn",
        {},
        params={"token_kind": "bpe", "token": "x1"},
        tags={"token": "t"},
        not_secret=paths,
    )
    with registry.run("run", params={"token_kind": "bpe"}, not_secret=paths) as run:
        run.log_metrics(auc=1)
        run.handle().log_params(token_kind="wordpiece")

    @registry.track("tracked", not_secret=paths)
    def train(token_kind="bpe"):
        return [1]

    train()

    assert saved.params == {"token_kind": "bpe", "token": GONE}
    assert saved.tags["token"] == "t"
    told = [r for r in saved.redactions if r.path.startswith(("params", "tags"))]
    assert told == [Redaction("params.token", "name")]
    assert run.version.params == {"token_kind": "wordpiece"}
    assert mv.last_version().params == {"token_kind": "bpe"}


@pytest.mark.parametrize("given", ["params.token", ["token"]])
def test_a_path_that_is_none_is_refused_before_anything_is_written(registry, given):
    """On a save, a run and at decoration."""
    for call in (
        lambda: registry.save("churn", {}, not_secret=given),
        lambda: registry.run("churn", not_secret=given),
        lambda: registry.track("churn", not_secret=given),
        lambda: mv.track("churn", not_secret=given),
        lambda: registry.save("churn", {}, allow_secrets="yes"),
    ):
        with pytest.raises(mv.errors.InvalidValueError, match=r"not_secret|allow_secrets"):
            call()
    assert len(registry) == 0


def test_allowed_secrets_are_stored(registry):
    """`allow_secrets` stores object and files as they are; params stay redacted."""
    given = {"key": TOKEN}
    saved = registry.save(
        "churn", given, params=given, artifacts={"a.txt": TOKEN}, allow_secrets=True
    )
    with registry.run("run", allow_secrets=True) as run:
        run.log_model(given)
        run.log_artifact("a.txt", TOKEN)
        run.handle().log_artifact("b.txt", TOKEN)

    @registry.track("tracked", allow_secrets=True)
    def train():
        return given

    train()
    for version in (saved, run.version, mv.last_version()):
        assert version.load() == given
    assert saved.params == {"key": GONE}
    assert saved.open("a.txt").read() == TOKEN.encode()
    assert run.version.open("b.txt").read() == run.version.open("a.txt").read() == TOKEN.encode()


def test_a_refused_object_is_in_the_error_and_nothing_is_stored(registry):
    """The result of the training is not lost: the error holds it, and says path and rule."""
    result = {"model": [1, {"key": TOKEN}]}

    @registry.track("tracked")
    def train():
        return result

    with pytest.raises(mv.errors.SecretError) as e:
        train()
    assert e.value.value is result
    assert (e.value.path, e.value.rule) == ("object['model'][1]['key']", "github-token")
    assert e.value.spooled_at is None
    assert TOKEN not in str(e.value)
    assert isinstance(e.value, mv.SaveError) and isinstance(e.value, ValueError)
    assert "tracked" not in registry


def test_a_file_with_a_secret_is_left_out_of_a_run(registry, tmp_path):
    """The run goes on and commits; a folder loses only the file in question."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "good.txt").write_text("good")
    (folder / "bad.txt").write_text(f"token {TOKEN}")

    with registry.run("churn") as run:
        with pytest.warns(mv.errors.SecretWarning, match=r"artifacts/files/bad.txt was left out"):
            run.log_artifact("files", folder)
        run.log_metrics(auc=0.9)

    assert [f.path for f in run.version.files] == ["artifacts/files/good.txt"]
    assert Redaction("artifacts/files/bad.txt", "github-token") in run.version.redactions


def test_a_worker_leaves_a_file_with_a_secret_out(registry):
    """It is told so, and the version of the run lists it."""
    with registry.run("churn") as run:
        handle = run.handle()
        with pytest.warns(mv.errors.SecretWarning, match=r"artifacts/bad.txt was left out"):
            handle.log_artifact("bad.txt", TOKEN)
        handle.log_artifact("good.txt", "good")
        handle.log_params(api_key="x1")

    assert [f.path for f in run.version.files] == ["artifacts/good.txt"]
    # This file, which the run keeps as its source, is full of examples.
    found = [r for r in run.version.redactions if not r.path.startswith(("code.", "source/"))]
    assert found == [
        Redaction("artifacts/bad.txt", "github-token"),
        Redaction("params.api_key", "name"),
    ]


def test_a_secret_is_compared_copied_and_lost_by_pickling():
    """A pickle holds a placeholder that refuses to reveal; copies in the process are the same."""
    key = mv.Secret("open sesame 1")

    stored = pickle.dumps({"key": key})
    back = pickle.loads(stored)["key"]

    assert b"sesame" not in stored
    assert copy.deepcopy([key])[0] is copy.copy(key) is key
    assert back != key and not back and key
    assert back == pickle.loads(stored)["key"]
    with pytest.raises(mv.errors.SecretError, match="was unpickled"):
        back.reveal()


def test_a_version_with_a_secret_loads_in_a_fresh_process(registry):
    """The model is there, its key is not."""
    version = registry.save("churn", {"key": mv.Secret("open sesame 2"), "w": 1}, verify="load")

    loaded = version.load()
    assert loaded["w"] == 1 and not loaded["key"]


def test_a_changed_secret_is_a_repeat(registry):
    """The content is that of what is stored: another password makes no other version."""
    first = registry.save("churn", {}, params={"password": "x1"})
    second = registry.save("churn", {}, params={"password": "x2"})

    assert first == second


def test_what_was_wrapped_is_known_wherever_it_appears(registry):
    """Also after the wrapper is gone; in a text, a URL, a message and a pickle."""
    text = mv.Secret("swordfish and more").reveal()

    version = registry.save("churn", {}, params={"note": f"say {text}!"}, description=text)

    assert version.params == {"note": f"say {GONE}!"} and version.description == GONE
    with pytest.raises(mv.errors.SecretError, match=r"object\[0\] holds a secret \(mv.Secret\)"):
        registry.save("churn", [text])


@pytest.mark.parametrize("length", range(20, 60))
def test_the_length_of_a_text_in_a_pickle_hides_no_token(registry, length):
    """The byte before a text is its length, which may look like a letter of it."""
    token = "ghp_" + "a1B2" * 9
    with pytest.raises(mv.errors.SecretError):
        registry.save("churn", [token.ljust(length)])


def test_a_step_loses_its_secrets(registry):
    """Its params and its source; path and digest of the source are those of what is stored."""

    @mv.step
    def features(x, *, api_key="sesame-12345"):
        if x is None:
            raise ValueError(api_key)
        return x * 2

    @registry.track("churn")
    def train():
        features(np.arange(3.0))
        with contextlib.suppress(ValueError):
            features(None)
        mv.log_metrics(auc=0.9)

    train()

    version = mv.last_version()
    done = next(step for step in version.steps if step.failed is None)
    source = version.steps.source(0)
    assert {step.params["api_key"] for step in version.steps} == {GONE}
    assert hashlib.sha256(source.encode()).hexdigest() == done.code.sha256
    assert b"sesame" not in stored(registry)
    assert {r.rule for r in version.redactions} == {"name"}
    assert registry.verify().ok


def test_source_is_lifted_by_its_path(registry):
    """Who says that a literal in the code is no secret keeps it there."""

    @registry.track("churn", not_secret=["source", "params"])
    def train(password="no-secret-1"):
        return [1]

    train()

    version = mv.last_version()
    assert version.redactions == () and version.params == {"password": "no-secret-1"}
    assert "no-secret-1" in version.code.source("train")


# ---- mutants: without a guard the secret is there ------------------------------------------------


def stored(registry):
    return b"".join(p.read_bytes() for p in Path(registry.url).rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("module", "name", "mutant", "given"),
    [
        (
            snapshot,
            "without_secrets",
            lambda n, p, s, known: (n, p, s, {}),
            {"params": True},
        ),
        (notes.Redactor, "value", lambda self, value, path, names=True: value, {"params": True}),
        (notes.Redactor, "text", lambda self, text, path, code=False: text, {"description": True}),
        (redaction.Watch, "__call__", lambda self, piece: None, {"object": True}),
        (snapshot, "masked", lambda text: text, {"note": True}),
    ],
)
def test_without_a_guard_the_secret_is_stored(registry, monkeypatch, module, name, mutant, given):
    """Each guard is the one that keeps its secret out."""
    monkeypatch.setattr(module, name, mutant)

    version = registry.save(
        "churn",
        [TOKEN] if "object" in given else [],
        params={"password": TOKEN} if "params" in given else {},
        description=TOKEN if "description" in given else None,
    )
    if "note" in given:
        version.note(TOKEN)
    assert TOKEN.encode() in stored(registry)


def test_with_every_guard_the_secret_is_not_stored(registry):
    """The same without a mutant."""
    version = registry.save("churn", [], params={"password": TOKEN}, description=f"a {TOKEN}")
    version.note(TOKEN)

    assert TOKEN.encode() not in stored(registry)
