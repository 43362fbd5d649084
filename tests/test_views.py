"""What registries, models, versions, tables and runs show, in every form and at any size."""

import html
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_display import ATTRIBUTES, HOSTILE, TAGS, Reader

import modelversion as mv
from modelversion.display import Shown, _tags
from modelversion.history import History
from modelversion.views import model as views_model


@pytest.fixture
def trained(registry, clock):
    """A model of three runs with series, data, tags, a champion, a note, and one withdrawn."""
    registry = mv.Registry(registry.url, actor="ana@team", clock=clock)
    frame = pd.DataFrame({"age": [30, 41, 55], "plan": ["a", "b", "a"]})
    for i, auc in enumerate([0.7, 0.9, 0.8], 1):
        with registry.run("churn", params={"C": i, "kind": "logistic"}) as run:
            run.log_data(train=frame)
            for step in range(5):
                run.log_metrics({"val/loss": 1 / (step + 1) / i}, step=step)
            run.log_metrics(auc=mv.metric(auc, n=300), depth=3)
            run.log_artifact("report.txt", "fine")
            run.log_model({"w": np.zeros(3)})
    churn = registry["churn"]
    churn.set_alias("champion", 2)
    churn[1].withdraw(reason="bad labels", use_instead=2)
    churn[3].tag(team="risk")
    mv.Registry(registry.url, actor="bo@team", clock=clock)["churn"][3].note("looks good")
    return registry


def shown(thing):
    """Everything that a display says, as a reader of the HTML sees it."""
    return " ".join(Reader(thing._repr_html_()).text.split())


def forms(thing):
    """The HTML, the text and the Markdown of a thing, without what each escapes."""
    yield shown(thing)
    yield str(thing)
    yield html.unescape(re.sub(r"\\(.)|\u200b", r"\1", thing.to_markdown()))


# ---- what each display answers


def test_a_model_tells_what_is_best_and_what_changed_last_and_by_whom(trained):
    """And which version each alias names, in every form."""
    for said in forms(trained["churn"]):
        assert "3 versions, latest churn:3" in said
        assert re.search(r"alias champion\W+churn:2", said)
        assert re.search(r"best auc\W+[▁-█ ]*churn:2 with 0.9", said)
        assert re.search(r"best val/loss\W+[▁-█ ]*churn:3 with 0.0666667", said)
        assert re.search(r"last change\W+bo@team noted of churn:3: looks good, 2026", said)
        assert re.search(r"churn:1\W+withdrawn", said)


def test_a_model_tells_its_last_changes(trained):
    """The newest first, of both journals, with reasons."""
    rows = trained["churn"].to_dict()["last_changes"]["changes"]

    # A model's first decision may be preceded by the rules that it adopts.
    said = [row["what"] for row in rows if not row["what"].startswith("adopted")]
    assert said[:6] == [
        "noted of churn:3: looks good",
        "tagged churn:3: team=risk",
        "withdrew churn:1 in favour of churn:2",
        "let champion name churn:2",
        "saved churn:3",
        "saved churn:2",
    ]
    assert rows[2]["why"] == "bad labels" and rows[2]["who"] == "ana@team"


def test_a_version_tells_what_it_is_made_from(trained):
    """Metrics with direction and size, params, data, files, environment, history, how to load."""
    for said in forms(trained.get("churn:2")):
        assert "champion, best auc" in said
        assert re.search(r"by\W+ana@team \(self-declared\)", said)
        assert re.search(r"auc\W+0.9\W+higher\W+300", said)
        assert re.search(r"val/loss\W+[▁-█ ]*0.1\W+lower", said)
        assert re.search(r"kind\W+logistic", said)
        assert re.search(r"train\W+pandas.DataFrame\W+3 × 2", said)
        assert re.search(r"age\W+int64", said)
        assert re.search(r"artifacts/report.txt\W+4 bytes", said)
        assert "Python 3." in said
        assert "saved churn:2" in said
        assert "registry.load('churn:2')" in said


def test_a_withdrawn_and_a_failed_version_say_so_first(trained):
    """The reason, and what to use instead, stand in the headline."""
    with pytest.raises(ZeroDivisionError), trained.run("churn", on_error="keep") as run:
        run.log_metrics(auc=0.1)
        _ = 1 / 0

    first, failed = trained.get("churn:1"), trained["churn"].latest
    assert str(first).startswith("churn:1: withdrawn: bad labels; use churn:2\n")
    assert str(failed).startswith("churn:4: a failed run: ZeroDivisionError: division by zero\n")


def test_a_failed_run_makes_no_param_differ(trained):
    """It may have ended before it logged any; what all others have alike is left out."""
    with pytest.raises(ZeroDivisionError), trained.run("churn", on_error="keep"):
        _ = 1 / 0

    columns = trained["churn"].to_dict()["versions"][0]
    assert "C" in columns and "kind" not in columns


def test_a_table_of_versions_draws_series_and_shows_what_differs(trained):
    """Params that are the same everywhere are left out; metrics by step are drawn."""
    table = trained["churn"].versions()
    columns = str(table).splitlines()[2].split()

    assert columns == ["version", "is", "auc", "depth", "val/loss", "C", "saved", "by"]
    assert str(table).count("█▄▂▁▁") == 3
    assert table._repr_html_().count("<img") == 3


def test_versions_of_several_models_are_shown_together(trained):
    """Each is measured against the live version of its own model."""
    trained.save("fraud", metrics={"auc": 0.5})

    assert "fraud:1" in str(trained.search()) and "4 versions" in shown(trained.search())


def test_a_registry_tells_its_models(trained):
    """How many versions each has, its latest, and what changed last and by whom."""
    for said in forms(trained):
        assert "1 model" in said
        assert re.search(r"churn\W+3\W+churn:3\W+2026-\S+ \S+ UTC noted of churn:3", said)
    assert "no models yet" in str(mv.Registry("memory://nothing"))


def test_metrics_are_shown_with_their_series(trained):
    """And given as a plain dict, or as the one line that they always were."""
    metrics = trained.get("churn:2").metrics

    assert "val/loss  █▄▂▁▁ 0.1" in str(metrics)
    assert metrics.to_dict() == dict(metrics)
    assert repr(metrics) == repr(dict(metrics))
    assert metrics.to_pandas()["value"].tolist() == [0.9, 3, 0.1]


# ---- runs


def test_a_live_run_tells_what_was_recorded_so_far(registry):
    """Before its start, while it goes on, and after its commit."""
    run = registry.run("churn", params={"lr": 0.1})
    assert str(run).startswith("run of churn: not started\n")

    with run:
        run.log_data(train=np.zeros((4, 2)))
        run.log_artifact("a.txt", "abc")
        for step in range(3):
            run.log_metrics(loss=3.0 - step, step=step)
        for said in forms(run):
            assert "running" in said and "so far" in said
            assert re.search(r"loss\W+[▁-█ ]*1\W+3", said)
            assert re.search(r"lr\W+0.1", said) and "4 × 2" in said and "3 bytes" in said

    assert str(run).startswith("run of churn: committed as churn:1\n")


def test_a_failed_run_tells_what_stopped_it(registry):
    """Whether it was kept or not."""
    for on_error in ("keep", "discard"):
        with pytest.raises(KeyError), registry.run("churn", on_error=on_error) as run:
            run.log_metrics(auc=0.5)
            raise KeyError("<b>column</b>")

        assert run.failed == "KeyError: '<b>column</b>'"
        assert "failed: KeyError: '<b>column</b>'" in shown(run)
        assert ("kept as" in shown(run)) == (on_error == "keep")


# ---- bounds


def everything(registry):
    """Every object of a registry that has a display."""
    yield registry
    for model in registry.models():
        yield model
        yield model.versions()
        for version in list(model)[-2:]:
            yield version
            yield version.metrics
            yield version.verify()
        yield model.prune(keep=1, dry_run=True)
    yield from (registry.verify(), registry.usage(), registry.gc(dry_run=True))


def test_whatever_is_large_is_shown_in_20_kb(registry):
    """Long texts, many params, metrics, columns, files and tags."""
    many = {f"name{i:03}": f"{'value ' * 9}{i}" for i in range(300)}
    numbers = {f"m{i:03}": float(i) for i in range(300)}
    frame = pd.DataFrame(np.zeros((1, 500)), columns=[f"column number {i}" for i in range(500)])
    files = {f"a/{i:03}.txt": b"x" for i in range(100)}
    for _ in range(3):
        with registry.run("churn", params=many, tags=many, description="word " * 1900) as run:
            run.log_data({f"data{i}": frame for i in range(6)})
            for step in range(50):
                run.log_metrics(numbers, step=step)
            for path, content in files.items():
                run.log_artifact(path, content)
        assert len(run._repr_html_().encode()) <= 20_000

    for thing in everything(registry):
        assert isinstance(thing, Shown)
        assert len(thing._repr_html_().encode()) <= 20_000
        assert len(str(thing).encode()) <= 20_000
        assert "cannot be shown" not in str(thing)


def test_a_display_reads_a_bounded_number_of_files(tmp_path, monkeypatch):
    """A model of 200 versions costs as many reads to show as one of 100, once it was read."""
    counts = []
    for n in (100, 200):
        registry = mv.Registry(tmp_path / str(n))
        for i in range(n):
            registry.save("churn", metrics={"auc": i / n})
        registry["churn"].versions().to_dict()
        counts.append([reads(monkeypatch, thing) for thing in (registry["churn"], registry)])

    assert counts[0] == counts[1]
    assert max(counts[0]) < 100


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory):
    """A registry whose model has 10,000 versions, as the benchmarks make it."""
    place = tmp_path_factory.mktemp("large") / "registry"
    script = Path(__file__).parent / "bench" / "build.py"
    subprocess.run([sys.executable, script, "entries", place, "10000"], check=True)
    return place


def test_a_first_look_at_10_000_versions_reads_merges(ten_thousand, monkeypatch):
    """A hundred keys, none of them a version's file, and at most 20 kB in every form."""
    found = keys(monkeypatch, mv.Registry(ten_thousand)["many"])

    assert len(found) < 120
    assert not [key for key in found if "/versions/" in key]
    many = mv.Registry(ten_thousand)["many"]
    assert "10000 versions, latest many:10000" in shown(many)
    assert all(len(form.encode()) <= 20_000 for form in (many._repr_html_(), *forms(many)))


def looked_through(monkeypatch, model):
    """Count how often all versions are looked through for two looks in a notebook."""
    found = []
    original = views_model.Standing._best
    with monkeypatch.context() as patch:
        patch.setattr(views_model.Standing, "_best", lambda self: found.append(1) or original(self))
        model._repr_mimebundle_()
        model._repr_mimebundle_()
    return len(found)


def test_all_versions_are_looked_through_once(ten_thousand, monkeypatch):
    """For HTML and text, and for the next look, as long as nothing was added."""
    assert looked_through(monkeypatch, mv.Registry(ten_thousand)["many"]) == 1


def test_mutant_each_form_looks_through_all_versions(ten_thousand, monkeypatch):
    """Without what is kept, it is done four times."""
    monkeypatch.setattr(History, "kept", lambda self, make: make(self))

    assert looked_through(monkeypatch, mv.Registry(ten_thousand)["many"]) == 4


def test_what_is_kept_is_made_again_when_a_journal_grew(trained):
    """Versions and decisions that came since are seen."""
    churn = trained["churn"]
    assert "3 versions" in str(churn)
    trained.save("churn", {"w": 9}, metrics={"auc": 0.99})
    churn.set_alias("challenger", 3)

    assert "best auc" in str(churn) and "churn:4 with 0.99" in str(churn)
    assert re.search(r"churn:3 .*challenger", str(churn))


def reads(monkeypatch, thing):
    """Count the keys that a display reads."""
    return len(keys(monkeypatch, thing))


def keys(monkeypatch, thing):
    """List the keys that a display reads."""
    store = type((thing._line.home if isinstance(thing, mv.Model) else thing._home).store)
    found = []
    with monkeypatch.context() as patch:
        one, many = store.read, store.read_many
        patch.setattr(store, "read", lambda self, key: found.append(key) or one(self, key))
        patch.setattr(store, "read_many", lambda self, keys: found.extend(keys) or many(self, keys))
        thing._repr_html_()
    return found


def test_displays_are_the_same_each_time(trained):
    """Looking changes nothing."""
    for thing in everything(trained):
        assert thing._repr_html_() == thing._repr_html_()
        assert thing.to_markdown() == thing.to_markdown()


def test_a_damaged_registry_is_shown_in_a_line(trained, tmp_path):
    """A display never raises, whatever happened to the files."""
    version, churn = trained.get("churn:2"), trained["churn"]
    versions = churn.versions()
    for path in (tmp_path / "registry/models/churn").rglob("*.json*"):
        path.write_bytes(b"[]")
    fresh = mv.Registry(trained.url)

    assert "models/churn/journal  " in str(fresh) and "no models yet" not in str(fresh)
    # A table was read before; only the curves of its versions are not to be had.
    assert "churn:1" in str(versions) and "churn:1" in shown(versions)
    for thing in (version, churn):
        assert re.match(r"\w+ cannot be shown: \w+Error: ", str(thing)), str(thing)
        assert "cannot be shown" in shown(thing)


# ---- escaped


def hostile_registry(place, text):
    """A registry that has a text wherever a user can put one."""
    name = "".join(c for c in text if c.isprintable() and c not in "`\ud800").strip()[:100] or "x"
    registry = mv.Registry(place, actor=name)
    clean = text.encode("utf-8", "replace").decode()
    frame = pd.DataFrame({clean: [1]})
    with (
        pytest.raises(ValueError),
        registry.run(
            "churn",
            params={clean: clean},
            tags={name: clean[:900]},
            description=clean if clean.strip() else "x",
            on_error="keep",
        ) as run,
    ):
        run.log_metrics({name: 1.0, "auc": 0.5}, step=1)
        run.log_metrics({name: 2.0, "auc": 0.7}, step=2)
        run.log_data({name: frame})
        run.log_model({clean: clean})
        raise ValueError(text)
    version = run.version
    version.note(clean if clean.strip() else "x")
    version.withdraw(reason=clean if clean.strip() else "x")
    return registry, run


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_in_every_field_do_nothing(tmp_path, text):
    """They are read as text wherever they can be seen."""
    registry, run = hostile_registry(tmp_path, text)

    for thing in [*everything(registry), run]:
        read = Reader(thing._repr_html_())
        assert read.tags <= TAGS and read.attributes <= ATTRIBUTES
        assert "cannot be shown" not in read.text
        assert all(c.isprintable() or c == "\n" for c in str(thing))


@given(st.text(min_size=1, max_size=40))
@settings(max_examples=25)
def test_any_text_in_every_field_gives_well_formed_html(tmp_path_factory, text):
    """No tag and no attribute is made of it."""
    registry, run = hostile_registry(tmp_path_factory.mktemp("registry"), text)

    for thing in [*everything(registry), run]:
        read = Reader(thing._repr_html_())
        assert read.tags <= TAGS and read.attributes <= ATTRIBUTES


def test_an_unescaped_version_would_be_found(tmp_path, monkeypatch):
    """The mutant without escaping shows a tag of the user's."""
    monkeypatch.setattr(_tags, "escape", lambda text: text)
    _, run = hostile_registry(tmp_path, "<script>1</script>")

    assert "script" in Reader(run.version._repr_html_()).tags


def test_a_live_run_shows_no_secret(registry):
    """What is redacted at the commit is redacted on the screen too."""
    with registry.run("churn", params={"api_key": "sk-very-secret-1234", "lr": 1}) as run:
        run.log_metrics(auc=0.5)

        assert "sk-very" not in str(run) + run._repr_html_() + run.to_markdown()
        assert "lr" in str(run)


def test_a_fingerprint_shows_the_profile_of_its_columns():
    """What the data are, and what each column is like, in every form."""
    frame = pd.DataFrame({"age": [1.0, 3.0, None], "plan": ["x", "y", "z"]})

    found = mv.fingerprint(frame)

    for said in forms(found):
        assert "fingerprint of a table" in said and found.digest in said
        assert re.search(r"age\W+float64\W+1\W+1\W+3\W+2\W", said)
    assert repr(found).startswith("<Fingerprint table 3 x 2 sha256:")
    assert found.to_pandas()["column"].tolist() == ["age", "plan"]


def test_a_version_shows_the_profile_of_its_data(registry):
    """The columns of a data set, as they were fingerprinted."""
    frame = pd.DataFrame({"age": [1.0, 3.0, None]})

    version = registry.save("churn", {"a": 1}, data={"train": frame})

    (row,) = version.to_dict()["columns_of_train"]["columns"]
    assert (row["nulls"], row["min"], row["max"], row["mean"]) == (1, 1.0, 3.0, 2.0)
    assert row["digest"] == version.data["train"].digests["age"]


# ---- stages


@pytest.fixture
def staged(trained):
    """churn:2 was in production, then churn:3, and was rolled back to; churn:3 is in staging."""
    churn = trained["churn"]
    trained.set_policy("production", gates=[mv.gates.at_least("auc", 0.75)])
    churn[2].promote("production", reason="CR-1")
    churn[3].promote("staging", reason="sweep")
    churn[3].promote("production", reason="CR-2")
    churn.rollback("production", reason="latency")
    return churn


def test_a_model_tells_which_version_is_live_since_when(staged):
    """In the headline, in the facts, in the table, and how to load it."""
    for said in forms(staged):
        assert "production churn:2; staging churn:3" in said
        assert re.search(r"in production\W+churn:2, since 2026", said)
        assert re.search(
            r"last change\W+ana@team rolled production back to churn:2 instead of churn:3: latency",
            said,
        )
        assert re.search(r"churn:2\W+production, champion, best auc", said)
        assert 'registry.load("churn@production")' in said


def test_metrics_are_told_against_what_is_live(staged, trained):
    """In the table, and on each version."""
    assert "0.8 (-0.1 worse)" in str(staged.versions())
    assert "against churn:2" in str(staged[3]) and "-0.1 worse" in str(staged[3])
    assert "against churn:2" not in str(staged[2])
    assert re.search(r"production churn:2, staging churn:3", str(trained))


def test_a_live_version_that_was_withdrawn_is_told(staged):
    """Where it says what is live, not only in the table."""
    with pytest.warns(mv.errors.LiveVersionWarning):
        staged[2].withdraw(reason="bad labels")

    for said in forms(staged):
        assert re.search(r"in production\W+churn:2, since [-:0-9 ]+ UTC, withdrawn", said)


def test_only_what_can_be_loaded_is_told_how(registry):
    """Not a version without an object, and not a failed run."""
    registry.save("m", {"w": 1}, metrics={"auc": 0.8})
    registry.save("m", metrics={"auc": 0.9})
    with pytest.raises(ZeroDivisionError), registry.run("m", on_error="keep") as run:
        run.log_model({"w": 2})
        _ = 1 / 0

    model = registry["m"]
    assert [line for line in str(model).splitlines() if "load(" in line] == [
        '    registry.load("m:1")'
    ]
    assert "registry.load" in str(model[1]) and "registry.load" not in str(model[2])
    assert "1 entry, the newest first" in str(model[2])


def test_a_stage_that_was_cleared_is_told(staged):
    """Nothing is there any more; a stage that never held one is not named."""
    staged.clear_stage("production", reason="end")

    assert re.search(r"in production\W+nothing any more", str(staged))
    assert "in development" not in str(staged)


def test_what_was_observed_in_production_stands_on_the_model(staged):
    """With how many samples, and until when."""
    staged["production"].observe({"auc": 0.88}, n=1200, window=("2026-11-01", "2026-11-08"))

    for said in forms(staged):
        assert re.search(r"observed auc\W+0.88 on 1,200 of churn:2, until 2026-11-08", said)


def test_a_history_draws_which_version_was_in_which_stage(staged):
    """Swimlanes with their intervals as a table, and every decision, the newest first."""
    history = staged.history()
    data = history._page()

    read = Reader(history._repr_html_())
    assert "rolled production back to churn:2 instead of churn:3" in read.text
    assert read.tags <= TAGS and "img" in read.tags
    picture = data.blocks[0]
    assert [row[:2] for row in picture.data.rows] == [
        ("production", "churn:2"),
        ("staging", "churn:3"),
        ("production", "churn:3"),
        ("production", "churn:2"),
    ]
    assert "latency" in history.to_markdown()


def test_gates_rollbacks_and_explanations_are_shown(staged):
    """What was asked, how it came out, and what was found."""
    report = staged[1].check("production")
    rolled = staged.rollback("production", to=3, reason="again", dry_run=True)
    explained = staged.history("production")[-1].explain()

    assert "FAILED" in shown(report) and "auc is 0.7" in shown(report)
    assert "| auc at least 0.75 | FAILED | auc is 0.7" in report.to_markdown()
    assert report.to_pandas()["verdict"].tolist().count(False) >= 1
    assert "would be rolled back to churn:3" in shown(rolled)
    assert "the replay agrees" in shown(explained)
