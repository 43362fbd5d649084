"""Lineage: from raw data over steps to the version, by digests only."""

import pickle
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

import modelversion as mv
from modelversion import fingerprints, history, logbook, steps, trail
from modelversion.errors import FingerprintError, InvalidValueError
from modelversion.graph import Steps
from modelversion.records import CodeRecord, DataRecord, StepRecord
from modelversion.schema import evolve

RAW = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40) % 3, "y": np.arange(40) % 2})


@pytest.fixture
def raw(tmp_path):
    """A CSV file."""
    RAW.to_csv(tmp_path / "raw.csv", index=False)
    return tmp_path / "raw.csv"


@mv.step
def cleaned(df, low=0):
    return df[df.a > low].reset_index(drop=True)


@mv.step
def split_xy(df):
    return df[["a", "b"]], df.y


@mv.step
def unrelated(df):
    return df * 7


def names(steps):
    return [step.name for step in steps]


def committed(registry, **data):
    """Give a version whose run used some data."""
    with registry.run("churn") as run:
        run.log_data(data)
        run.log_metrics(a=1)
    return run.version


# ---- what led to a version


def test_every_step_from_the_file_to_the_fit_is_there(registry, raw):
    """Taken in earlier cells, joined by digest; what led elsewhere is not among them."""
    frame = mv.data(raw, name="raw").read(pd.read_csv)
    unrelated(frame)
    X, y = split_xy(cleaned(frame, low=3))
    unrelated(X)
    X_train, _, y_train, _ = mv.step(train_test_split)(X, y, random_state=0)

    @registry.track("churn")
    def train(X, y):
        return LogisticRegression().fit(X, y)

    train(X_train, y_train)

    version = registry.get("churn")
    found = version.steps
    assert names(found) == ["read_csv", "cleaned", "split_xy", "train_test_split"]
    assert [(e.source, e.target, e.role) for e in found.edges] == [
        ("raw", 0, "raw"),
        (0, 1, "df"),
        (1, 2, "df"),
        (2, 3, "arrays[0]"),
        (2, 3, "arrays[1]"),
        (3, "X", "X"),
        (3, "y", "y"),
    ]
    assert version.data["raw"].place.url == str(raw)
    assert "X 27 x 2 from 3" in str(found)
    assert found.to_dict()["edges"][1]["source"] == 0
    assert "<table" in found._repr_html_() and "cleaned" in found.to_markdown()
    assert list(found.to_pandas()["took"])[1] == "df 40 x 3 from 0"
    assert registry.verify().ok


SAVES = {
    "save": lambda registry, df: registry.save("churn", {"w": 1}, data={"train": df}),
    "log_data": lambda registry, df: committed(registry, train=df),
    "argument": lambda registry, df: (
        mv.call(registry.track("churn")(lambda train: {"w": 1}), df).version
    ),
    "inside an argument": lambda registry, df: (
        mv.call(registry.track("churn")(lambda sets: {"w": 1}), {"train": [df]}).version
    ),
    "returned": lambda registry, df: (
        mv.call(
            registry.track("churn", returns=("model", "data"))(lambda: ({"w": 1}, {"train": df}))
        ).version
    ),
}


@pytest.mark.parametrize("how", SAVES)
def test_steps_join_however_the_data_is_given(registry, how):
    """To a save, a run or a tracked function."""
    version = SAVES[how](registry, cleaned(RAW))

    assert names(version.steps) == ["cleaned"]


def test_a_trail_that_forgets_joins_nothing(registry, monkeypatch):
    """The mutant: without what was remembered there are no steps."""
    frame = cleaned(RAW)
    assert names(committed(registry, train=frame).steps) == ["cleaned"]

    monkeypatch.setattr(trail, "TRAIL", trail.Trail())

    assert names(committed(registry, train=frame).steps) == []


def test_steps_in_a_run_are_linked_to_those_before_it(registry):
    """What a step of the run took is followed back, and what it gave is not asked for."""
    frame = cleaned(RAW)

    with registry.run("churn") as run:
        split_xy(frame)
        run.log_metrics(a=1)

    assert names(run.version.steps) == ["cleaned", "split_xy"]
    assert [(e.source, e.target) for e in run.version.steps.edges] == [(0, 1)]


COPIES = {
    "copy": lambda df: df.copy(),
    "polars": pl.from_pandas,
    "arrow": lambda df: pl.from_pandas(df).to_arrow(),
    "pickle": lambda df: pickle.loads(pickle.dumps(df)),
    "parquet": lambda df: (df.to_parquet("x.parquet"), pd.read_parquet("x.parquet"))[1],
    "concat": lambda df: pd.concat([df[:7], df[7:]]).reset_index(drop=True),
}


@pytest.mark.parametrize("how", COPIES)
def test_links_hold_over_copies(registry, how, tmp_path, monkeypatch):
    """Equal data is the same data, in whichever library or process."""
    monkeypatch.chdir(tmp_path)
    copy = COPIES[how](cleaned(RAW))

    assert names(committed(registry, train=copy).steps) == ["cleaned"]


def test_identity_is_never_trusted(registry):
    """The very frame that a step gave is another after a cell of it was changed."""
    frame = cleaned(RAW)
    frame.loc[3, "a"] = -1.0

    assert names(committed(registry, train=frame).steps) == []
    frame.loc[3, "a"] = cleaned(RAW).loc[3, "a"]
    assert names(committed(registry, train=frame).steps) == ["cleaned"]


def test_a_digest_kept_by_identity_would_lie(registry, monkeypatch):
    """The mutant: what was hashed once is not hashed again as long as it lives."""
    known, real = {}, fingerprints.describe

    def remembered(name, value, **how):
        found = known.setdefault(id(value), (value, real(name, value, **how)))[1]
        return evolve(found, name=name)

    for module in (steps, logbook):
        monkeypatch.setattr(module, "describe", remembered)
    frame = cleaned(RAW)
    frame.loc[3, "a"] = -1.0

    assert names(committed(registry, train=frame).steps) == ["cleaned"]


def test_what_is_changed_in_place_is_an_output(registry):
    """Where nothing comes back, or the shape is another."""

    @mv.step
    def add_square(df, other=None):
        df["square"] = df.a**2

    @mv.step
    def take_target(df):
        return df.pop("y")

    frame = RAW.copy()
    add_square(frame)
    take_target(frame)
    version = committed(registry, train=frame)

    assert [step.name.rpartition(".")[2] for step in version.steps] == ["add_square", "take_target"]
    assert [[o.name for o in step.outputs] for step in version.steps] == [["df"], ["result", "df"]]
    assert [(e.source, e.target) for e in version.steps.edges] == [(0, 1), (1, "train")]


def test_arrays_changed_in_place_are_outputs(registry):
    """A shuffle or a scaling of an array gives nothing back."""
    array = np.arange(10.0)
    mv.step(np.random.default_rng(0).shuffle)(array)

    version = committed(registry, train=array)

    assert version.steps[0].name.endswith("shuffle")
    assert version.steps[0].outputs[0].digest == version.data["train"].digest


def test_a_step_that_changes_nothing_is_passed_through(registry):
    """What it gave has the digest of what it took: the way goes on before it, and ends."""

    @mv.step
    def without_empty(df):
        return df.dropna()

    frame = without_empty(without_empty(cleaned(RAW)))
    version = committed(registry, train=frame)

    assert [name.rpartition(".")[2] for name in names(version.steps)] == [
        "cleaned",
        "without_empty",
    ]
    assert version.steps[1].count == 2
    assert [(e.source, e.target) for e in version.steps.edges] == [(0, 1), (1, "train")]


def test_a_cell_that_ran_again_is_there_once(registry):
    """The last call that gave the data counts."""
    for _ in range(5):
        frame = cleaned(RAW)
    first = committed(registry, train=frame)

    assert names(first.steps) == ["cleaned"]
    assert first.steps[0].count == 1


def test_inner_steps_come_with_the_outer(registry):
    """And the outer one is what the next is linked to."""

    @mv.step
    def prepared(df):
        return cleaned(cleaned(df, low=2), low=4)

    version = committed(registry, train=prepared(RAW))

    assert [name.rpartition(".")[2] for name in names(version.steps)] == [
        "prepared",
        "cleaned",
        "cleaned",
    ]
    assert [step.parent for step in version.steps] == [None, 0, 0]
    assert [(e.source, e.target) for e in version.steps.edges] == [(1, 2), (0, "train")]


def test_steps_of_an_inner_run_are_its_own(registry):
    """An outer tracked function has the inner's version as a parent, and not its steps."""

    @registry.track("inner")
    def inner(df):
        return {"n": len(cleaned(df))}

    @registry.track("outer")
    def outer():
        inner(RAW)
        unrelated(RAW)
        return {"o": 1}

    outer()

    assert names(registry.get("inner").steps) == ["cleaned"]
    assert names(registry.get("outer").steps) == ["unrelated"]
    assert registry.get("outer").parents == ("inner:1",)


def test_a_suspended_generator_has_given_already(registry):
    """What it yielded is used, and committed, before it has ended."""

    @mv.step
    def batches(df):
        for low in (1, 2, 3):
            yield df[df.a > low]

    drawn = batches(RAW)
    version = committed(registry, train=next(drawn))
    rest = list(drawn)

    assert names(version.steps)[0].endswith("batches")
    assert len(version.steps[0].outputs) == 1
    assert len(committed(registry, train=rest[-1]).steps[0].outputs) == 3


def test_what_another_thread_did_joins(registry):
    """The trail is that of the process."""
    found = []
    thread = threading.Thread(target=lambda: found.append(cleaned(RAW)))
    thread.start()
    thread.join()

    assert names(committed(registry, train=found[0]).steps) == ["cleaned"]


def test_a_step_of_a_loop_that_led_on_is_listed(registry):
    """One of 1,000 folded calls gave what was used: it stands for itself, and the rest add up."""
    with registry.run("churn") as run:
        for low in range(1000):
            frame = cleaned(RAW, low=low / 100)
            if low == 900:
                kept = frame
        run.log_data(train=kept)
        run.log_metrics(a=1)

    found = run.version.steps
    assert sum(step.count for step in found) == 1000
    (edge,) = [edge for edge in found.edges if edge.target == "train"]
    assert 9.0 <= found[edge.source].params["low"] < 10
    assert found[edge.source].outputs[0].digest == run.version.data["train"].digest


def test_a_long_trail_forgets_the_oldest(registry, monkeypatch):
    """A stated limit: beyond it the chain begins later, and nothing fails."""
    monkeypatch.setattr(trail, "TRAIL", trail.Trail(traces=3))
    frame = cleaned(RAW)
    X, _ = split_xy(frame)
    for i in range(2):
        unrelated(np.full(2, i))

    version = committed(registry, train=X)

    assert names(version.steps) == ["split_xy"]


def test_files_keep_their_names_apart(registry, raw):
    """An argument and a file of one name are two data sets of the version."""
    frame = mv.data(raw, name="train").read(pd.read_csv)
    version = committed(registry, train=frame)

    assert list(version.data) == ["train", "train.2"]
    assert version.data["train.2"].type == "file"


# ---- versions that a run builds on


def test_a_version_that_a_step_loads_is_a_parent(registry):
    """Loading inside a step of the run is loading inside the run."""
    registry.save("embedding", {"w": 2.0})

    @mv.step
    def embedded(df):
        return df * registry.load("embedding")["w"]

    with registry.run("churn") as run:
        embedded(RAW)
        run.log_metrics(a=1)

    assert run.version.parents == ("embedding:1",)


# ---- repeats


def test_time_does_not_make_another_version(registry, raw):
    """Neither seconds nor the time of a file: the same steps again are a repeat."""

    def run():
        frame = cleaned(mv.data(raw).read(pd.read_csv))
        return registry.save("churn", {"w": 1}, data={"train": frame})

    first = run()
    raw.touch()

    assert run() == first


def test_another_way_to_the_same_data_is_another_version(registry):
    """Steps are part of what a version is: their source, params and data."""

    @mv.step
    def same(df):
        return df[df.a > 0].reset_index(drop=True)

    def save(frame):
        return registry.save("churn", {"w": 1}, data={"train": frame}).number

    assert [
        save(cleaned(RAW)),
        save(cleaned(RAW)),
        save(same(RAW)),
        save(cleaned(RAW, low=0.5)),
    ] == [
        1,
        1,
        2,
        3,
    ]


# ---- who was trained on this?


@pytest.fixture
def trained(registry, raw):
    """Versions of two models: through steps from a file, directly from a frame, from nothing."""
    registry.save("direct", {"w": 2}, data={"all": RAW}, metrics={"auc": 0.8})
    registry.save("direct", {"w": 3}, metrics={"auc": 0.7})
    frame = mv.data(raw).read(pd.read_csv)
    X, _ = split_xy(cleaned(frame))
    registry.save("through", {"w": 1}, data={"train": X}, metrics={"auc": 0.9})
    return registry


def refs(found):
    return [version.ref for version in found]


def test_versions_are_found_by_their_data(trained, raw):
    """By a frame, a file, an open data set or a digest; directly or through a step."""
    through, both = ["through:1"], ["direct:1", "through:1"]
    record = trained.get("through").data["train"]

    assert refs(trained.search(data=raw)) == through
    assert refs(trained.search(data=mv.data(raw))) == through
    assert refs(trained.search(data=RAW)) == both
    assert refs(trained.search(data=pl.from_pandas(RAW))) == both
    assert refs(trained.search(data=record)) == through
    assert refs(trained.search(data=record.digest)) == through
    assert refs(trained.search(data=f"sha256:{record.digest}")) == through
    assert refs(trained.search(data=cleaned(RAW))) == through
    assert refs(trained.search(data=RAW, where="metrics.auc < 0.85")) == ["direct:1"]
    assert refs(trained.search(data=RAW, order_by="-metrics.auc", limit=1)) == through
    assert refs(trained.search(data=RAW * 2)) == []
    assert len(trained.search()) == 3


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ("raw.csv", InvalidValueError, r"found the text 'raw.csv'; give a file as pathlib"),
        ("ab" * 31, InvalidValueError, "64 hex digits"),
        (object(), FingerprintError, "no data hash"),
        (Path("no/such.csv"), FileNotFoundError, "no file"),
    ],
)
def test_what_has_no_digest_is_refused(trained, data, error, message):
    """A text is never taken for a path."""
    with pytest.raises(error, match=message):
        trained.search(data=data)


def test_a_search_opens_no_version(trained, monkeypatch):
    """The journal's summaries tell, so that it is as fast over 10,000 versions."""
    monkeypatch.setattr(history, "fetch", lambda *_: pytest.fail("a version was opened"))
    fresh = mv.Registry(trained.url)

    assert refs(fresh.search(data=RAW)) == ["direct:1", "through:1"]


def test_what_a_summary_left_out_is_read(registry):
    """A version of very many steps: its digests do not fit, and it is found all the same."""
    with registry.run("churn", params={"text": "x" * 12_000}) as run:
        for i in range(40):
            f = mv.step(lambda a: tuple(a + j for j in range(20)))
            f.__modelversion__.function.__name__ = str(i)
            f(np.arange(3.0) + 100 * i)
        run.log_metrics(a=1)

    row = registry["churn"].latest._history.refresh()._rows[1]
    assert row["left_out"] == ["passed"]
    assert row["params"]["text"] == "x" * 12_000
    fresh = mv.Registry(registry.url)
    assert refs(fresh.search(data=np.arange(3.0) + 100 * 7 + 19)) == ["churn:1"]
    assert refs(fresh.search(data=np.arange(3.0) + 0.5)) == []


# ---- the graph


@settings(max_examples=60)
@given(st.data())
def test_exactly_what_leads_to_data_is_found(data):
    """Random graphs of steps: those reached backwards from the data, and no others."""
    made = trail.TRAIL = trail.Trail()
    values, parents = [np.array([-1.0])], {0: set()}
    for i in range(1, data.draw(st.integers(1, 12))):
        taken = data.draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=3, unique=True))
        values.append(mv.step(lambda *_, i=i: np.array([float(i)]))(*[values[t] for t in taken]))
        parents[i] = set(taken)
    wanted = data.draw(st.integers(0, len(values) - 1))

    reached, ahead = set(), [wanted]
    while ahead:
        at = ahead.pop()
        if at and at not in reached:
            reached.add(at)
            ahead += parents[at]
    digest = mv.fingerprint(values[wanted]).digest
    found = {trace.record.params["i"] for trace in made.leading_to([digest])}
    assert found == reached


def step(name, takes=(), gives=(), parent=None):
    def flows(digests):
        return [DataRecord(name=d, type="t", digest=d) for d in digests]

    return StepRecord(
        name=name,
        form="call",
        code=CodeRecord(entry="m:f"),
        inputs=flows(takes),
        outputs=flows(gives),
        parent=parent,
    )


def edges(*taken, data=()):
    return [(e.source, e.target) for e in Steps(taken, data).edges]


def test_edges_follow_rules():
    """The last maker before it; of nested ones the outermost; never one around it."""
    data = [DataRecord(name="raw", type="t", digest="r")]

    assert edges(step("a", "r", "x"), step("b", "x"), data=data) == [("raw", 0), (0, 1)]
    assert edges(step("a", "", "x"), step("b", "", "x"), step("c", "x")) == [(1, 2)]
    assert edges(step("a", "", "x"), step("i", "", "x", 0), step("c", "x")) == [(0, 2)]
    assert edges(step("a", "x", "x"), step("i", "x", "x", 0)) == []
    assert edges(step("o"), step("i", "", "x", 0), step("j", "x", "", 0)) == [(1, 2)]
    assert edges(step("a", "x", "y"), step("b", "y", "x")) == [(0, 1)]


def test_a_graph_of_edited_records_is_still_shown():
    """Parents that name nothing, themselves or each other, and names that do not print."""
    odd = [
        step("a", parent=5),
        step("b", parent=1),
        step("c\n\x1b", parent=0),
        step("d", parent=-3),
    ]
    shown = Steps(odd, [])

    assert [shown.depth(i) for i in range(4)] == [0, 0, 1, 0]
    assert "c??" in str(shown)
    assert repr(shown) == "<Steps: a, b, c??, d>"
    assert shown[1:] == tuple(odd[1:])
    assert str(Steps([])) == "no steps" and repr(Steps([])) == "<Steps: none>"
    many = Steps([step(f"s{i}") for i in range(60)])
    assert str(many).count("\n") == 59 and "... 1 more of s59" in str(many)
