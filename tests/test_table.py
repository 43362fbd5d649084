"""Tables of versions: rows, columns, text, pandas and polars."""

import gc
import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import pandas
import polars
import pytest

import modelversion as mv


@pytest.fixture
def zoo(registry, clock):
    """Two models with versions of several kinds, saved a second apart."""
    registry = mv.Registry(registry.url, actor="ana@team", clock=clock)
    registry.save("churn", {"a": 1}, params={"C": 1, "layers": [1, 2]}, metrics={"auc": 0.9})
    registry.save("churn", {"a": 2}, params={"C": 0.5}, metrics={"auc": 0.95}, description="best")
    registry.save("Fraud", params={"C": "auto"}, tags={"team": "risk"}, metrics={"n": 10})
    registry["churn"].set_alias("champion", 2)
    registry["churn"].set_alias("best", 2)
    registry["churn"][1].withdraw(reason="r")
    return registry


# ---- rows


def test_versions_are_a_sequence(churn):
    """They are indexed, sliced, counted, turned around and compared."""
    versions = churn.versions()

    assert isinstance(versions, mv.Versions)
    assert isinstance(versions, Sequence)
    assert len(versions) == 3
    assert versions[0] == churn[1] and versions[-1] == churn[3]
    assert list(versions[1:]) == [churn[2], churn[3]]
    assert isinstance(versions[1:], mv.Versions)
    assert list(reversed(versions)) == [churn[3], churn[2], churn[1]]
    assert churn[2] in versions
    assert versions.index(churn[2]) == 1
    assert versions and not churn.versions(limit=0)
    with pytest.raises(IndexError):
        _ = versions[3]


def test_rows_can_be_loaded(churn):
    """What a table gives are versions."""
    assert [version.load()["weights"] for version in churn.versions()] == [[1], [2], [3]]


def test_a_table_stays_as_it_was(churn, registry):
    """Versions that come later are not in it."""
    versions = churn.versions()

    registry.save("churn", {"weights": [4]})

    assert len(versions) == len(versions.to_dict()["number"]) == 3


# ---- columns


def test_columns_are_named_after_what_they_hold(zoo):
    """Plain fields first, then metrics, params and tags; what a row lacks is None."""
    columns = zoo.search().to_dict()

    assert columns == {
        "model": ["churn", "churn", "Fraud"],
        "number": [1, 2, 1],
        "created_at": columns["created_at"],
        "actor": ["ana@team"] * 3,
        "type": ["builtins.dict", "builtins.dict", None],
        "description": [None, "best", None],
        "stages": ["", "", ""],
        "aliases": ["", "best, champion", ""],
        "withdrawn": [True, False, False],
        "metrics.auc": [0.9, 0.95, None],
        "metrics.n": [None, None, 10],
        "params.C": [1, 0.5, "auto"],
        "params.layers": [[1, 2], None, None],
        "tags.team": [None, None, "risk"],
    }
    assert all(datetime.fromisoformat(t).tzinfo is not None for t in columns["created_at"])


def test_rows_of_models_may_be_mixed(zoo):
    """Columns follow the order of the rows, whichever model they are of."""
    columns = zoo.search(order_by="created_at").to_dict()
    mixed = zoo.search(order_by="-params.C").to_dict()

    assert columns["model"] == ["churn", "churn", "Fraud"]
    assert mixed["model"] == ["Fraud", "churn", "churn"]
    assert mixed["params.C"] == ["auto", 1, 0.5]
    assert mixed["metrics.n"] == [10, None, None]


def test_columns_hold_any_value(registry):
    """What was tagged in storage is what it was."""
    params = {"nan": math.nan, "huge": 2**80, "t": (1, 2), "d": date(2026, 1, 1), "b": b"x"}
    registry.save("churn", params=params, metrics={"inf": math.inf})

    columns = registry["churn"].versions().to_dict()

    assert math.isnan(columns["params.nan"][0])
    assert columns["params.huge"] == [2**80]
    assert columns["params.t"] == [(1, 2)]
    assert columns["params.d"] == [date(2026, 1, 1)]
    assert columns["params.b"] == [b"x"]
    assert columns["metrics.inf"] == [math.inf]


@pytest.mark.parametrize("name", ["$a", "$float", "$$x", "a.b", "größe"])
def test_columns_keep_their_names(registry, name):
    """A column is called as the param, metric or tag is."""
    registry.save("churn", params={name: 1}, metrics={name: 2}, tags={name: 3})

    columns = registry["churn"].versions().to_dict()

    assert columns[f"params.{name}"] == [1]
    assert columns[f"metrics.{name}"] == [2]
    assert columns[f"tags.{name}"] == [3]


def test_an_empty_table_has_no_rows(registry):
    """Whatever it is turned into."""
    registry.save("churn", 1.5)
    for versions in (mv.Registry("memory://none").search(), registry.search(where="number = 9")):
        assert all(values == [] for values in versions.to_dict().values())
        assert len(versions.to_pandas()) == 0
        assert len(versions.to_polars()) == 0
        assert str(versions) == "versions: 0 versions"
        assert repr(versions) == "<Versions: 0 rows>"


def test_an_empty_table_has_its_columns(churn):
    """Code that reads a column works where nothing was found."""
    versions = churn.versions(where="number = 99")

    assert list(versions.to_dict())[:2] == ["model", "number"]
    assert list(versions.to_pandas()["number"]) == []
    assert versions.to_polars()["created_at"].to_list() == []


# ---- frames


def test_a_table_is_a_pandas_frame(zoo):
    """Times are times, numbers are numbers."""
    frame = zoo.search().to_pandas()

    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(zoo.search().to_dict())
    assert isinstance(frame["created_at"].dtype, pandas.DatetimeTZDtype)
    assert frame["created_at"].iloc[0].tzinfo is not None
    assert frame["metrics.auc"].tolist()[:2] == [0.9, 0.95]
    assert math.isnan(frame["metrics.auc"][2])
    assert frame["params.C"].tolist() == [1, 0.5, "auto"]
    assert frame.sort_values("metrics.auc", ascending=False)["number"].iloc[0] == 2


def test_a_table_is_a_polars_frame(zoo):
    """Times are times, numbers are numbers, columns of mixed types hold objects."""
    frame = zoo.search().to_polars()

    assert isinstance(frame, polars.DataFrame)
    assert frame.columns == list(zoo.search().to_dict())
    assert frame.schema["created_at"] == polars.Datetime("us", "UTC")
    assert frame["created_at"][0].replace(tzinfo=UTC) >= datetime(2026, 11, 1, tzinfo=UTC)
    assert frame["metrics.auc"].to_list() == [0.9, 0.95, None]
    assert frame["params.C"].to_list() == [1, 0.5, "auto"]
    assert frame["number"].dtype.is_integer()


@pytest.mark.parametrize(
    "values",
    [
        [1, 2],
        [1, 0.5],
        [1, True],
        [True, False],
        [None, None],
        ["a", 1],
        [2**80, 1],
        [2**63, 1],
        [2**80, 0.5],
        [math.nan, 1.0],
        [math.inf, -math.inf],
        [10**400, 0.5],
        [date(2026, 1, 1), None],
        [datetime(2026, 1, 1, tzinfo=UTC), None],
        [b"x", None],
        [[1], [1, 2]],
        [[1], ["a"]],
        [[], None],
        [(1, 2), None],
        [{"a": 1}, {"b": 2}],
        [{}, None],
        [{"a": [1, {"b": None}]}, 5],
    ],
    ids=lambda values: str(values)[:40],
)
def test_frames_take_any_column(registry, values):
    """No mix of values keeps a table from becoming a frame, and none is lost."""
    for i, value in enumerate(values):
        registry.save("churn", {"i": i}, params={} if value is None else {"p": value})
    versions = registry["churn"].versions()

    if any(value is not None for value in values):
        for frame in (versions.to_pandas(), versions.to_polars()):
            back = (
                frame["params.p"].to_list()
                if hasattr(frame, "to_dicts")
                else list(frame["params.p"])
            )
            assert len(back) == len(values)
            for kept, value in zip(back, values, strict=True):
                if isinstance(value, (int, float, str)):
                    assert kept == value or math.isnan(value)


def test_pandas_and_polars_are_needed_only_for_frames(zoo):
    """`to_dict` and text need neither."""
    import subprocess
    import sys

    program = (
        "import sys, modelversion as mv; t = mv.Registry(sys.argv[1]).search(order_by='number');"
        "t.to_dict(); str(t); print({'pandas', 'polars', 'numpy'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, zoo.url], capture_output=True, text=True, check=True
    )

    assert done.stdout == "set()\n"


# ---- text


def test_a_table_prints_as_text(zoo):
    """One line a version, below the names of what there is to see."""
    lines = str(zoo["churn"].versions()).splitlines()

    columns = ["version", "is", "auc", "C", "layers", "saved", "by", "description"]
    assert lines[2].split() == columns
    assert lines[3].split()[:2] == ["churn:1", "withdrawn"]
    assert "best, champion, best auc" in lines[4]
    assert len(lines) == 5
    assert all(line == line.rstrip() for line in lines)


def test_a_long_table_is_cut(registry):
    """Twenty rows are shown, and how many more there are."""
    for i in range(23):
        registry.save("churn", {"i": i})

    lines = str(registry["churn"].versions()).splitlines()

    assert len(lines) == 24
    assert lines[-1] == "  ... 3 more"


def test_a_row_is_one_line(registry):
    """Line breaks, control characters and long texts do not break a table."""
    registry.save(
        "churn", 1.5, description="a\nb\r\x1b[31m", params={"p": "x\ny" * 50, "l": ["\n"]}
    )
    registry.save("churn", 1.5)

    lines = str(registry["churn"].versions()).splitlines()

    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 200


def test_numbers_are_short_in_text(registry):
    """Six digits are enough to look at."""
    registry.save("churn", metrics={"auc": 0.123456789, "huge": 10**400, "nan": math.nan})

    text = str(registry["churn"].versions())

    assert "0.123457" in text
    assert "0.12345678" not in text
    assert "NaN" in text
    assert "an integer of 1329 bits" in text


def test_a_repr_is_one_line(churn):
    """It counts the rows."""
    assert repr(churn.versions()) == "<Versions: 3 rows>"
    assert repr(churn.versions(limit=1)) == "<Versions: 1 row>"


def test_everything_has_the_order_that_was_asked_for(churn):
    """Columns, frames, text and rows agree."""
    versions = churn.versions(order_by="-metrics.auc")

    assert [v.number for v in versions] == versions.to_dict()["number"] == [2, 3, 1]
    assert versions.to_pandas()["number"].tolist() == versions.to_polars()["number"].to_list()
    assert re.findall(r"churn:(\d)", str(versions)) == ["2", "3", "1"]


def test_reading_a_table_leaves_the_garbage_collector_as_it_was(registry):
    """It rests while rows are made: on or off, it is afterwards what it was."""
    registry.save("churn", 1)
    for switch, wanted in ((gc.enable, True), (gc.disable, False)):
        switch()
        try:
            mv.Registry(registry.url)["churn"].versions()
            assert gc.isenabled() is wanted
        finally:
            gc.enable()


def test_a_table_is_shown_though_a_version_of_it_is_broken(registry):
    """Its row is that of the journal; the drawing of its series is left out."""
    with registry.run("m") as run:
        run.log_metrics({"loss": 0.5}, step=1)
    registry.save("m", 2)
    folder = Path(registry.url) / "models/m/versions/1"
    (folder / "version.json").unlink()

    shown = str(mv.Registry(registry.url)["m"].versions())

    assert "m:1" in shown and "m:2" in shown
