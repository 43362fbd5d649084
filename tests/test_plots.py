"""Plots: SVG of any numbers and texts, their data as tables, and the same by other libraries."""

import io
import xml.etree.ElementTree as ET
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modelversion as mv
from modelversion.compare import metric_picture
from modelversion.display import Picture, Section, plots
from modelversion.metrics import interval


@pytest.fixture
def registry(tmp_path, clock):
    """Two models whose plots are of every kind, with names that libraries could stumble over."""
    registry = mv.Registry(tmp_path / "registry", actor="ana@team", clock=clock)
    frame = pd.DataFrame({"age": [31, 44, 58]})
    for i, accuracy in enumerate([0.7, 0.9, 0.8], 1):
        with registry.run("churn", params={"C.x": i, "kind[0]": "ab"[i % 2], "$m$": i}) as run:
            run.log_data(train=frame)
            for step in range(5):
                run.log_metrics({"val.loss[0]": 1 / (step + 1) / i, "$lr$": i}, step=step)
            run.log_metrics({"test.accuracy": mv.metric(accuracy, n=100 * i), "f1.$x": accuracy})
            run.log_model({"w": i})
    registry.save("upsell", {"w": 1}, parents=["churn:2"])
    churn = registry["churn"]
    churn.set_alias("champion", 2)
    churn[1].promote("staging")
    churn[2].promote("production")
    churn[3].promote("production")
    churn[2].observe({"test.accuracy": 0.8}, n=50, window=("2026-10-01", "2026-10-02"))
    churn[2].observe({"test.accuracy": 0.7}, n=60, window=("2026-10-02", "2026-10-03"))
    return registry


def drawn(registry):
    """Give every display that has a plot."""
    churn = registry["churn"]
    yield churn[1]
    yield churn.compare(1, 2, 3)
    yield churn.evaluate(1, 2, X=[1], y=[1], scorer={"accuracy": lambda m, X, y: m["w"] / 3})
    yield churn[2].lineage()
    yield churn.history()
    yield churn.observations()
    yield registry.usage()


def pictures(blocks):
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Section):
            yield from pictures(block.blocks)


KINDS = {"bars", "dots", "graph", "intervals", "lanes", "lines", "parallel"}


def test_there_is_a_plot_of_every_kind(registry):
    """In the displays of this module."""
    found = {p.kind for shown in drawn(registry) for p in pictures(shown._page().blocks)}

    assert found == KINDS


def test_every_plot_has_its_data_as_a_table(registry):
    """As many rows as were drawn, folded below it in HTML, and in the text."""
    for shown in drawn(registry):
        assert "as a table" in shown._repr_html_()
        for picture in pictures(shown._page().blocks):
            assert picture.data.rows and picture.alt
            assert all(len(row) == len(picture.data.columns) for row in picture.data.rows)
            assert ET.fromstring(picture.svg).tag.endswith("svg")


# ---- other libraries draw the same


def test_matplotlib_draws_every_plot(registry):
    """An axis for each, in a figure that can be saved."""
    for shown in drawn(registry):
        figure = shown.plot()
        kept = list(pictures(shown._page().blocks))

        assert [axis.get_title() for axis in figure.axes] == [picture.name for picture in kept]
        figure.savefig(io.BytesIO())


def test_altair_draws_every_plot(registry):
    """As charts whose data are inside, and valid by altair's own schema."""
    for shown in drawn(registry):
        chart = shown.chart().to_dict()
        parts = chart.get("vconcat", [chart])
        kept = list(pictures(shown._page().blocks))

        assert [part["title"] for part in parts] == [picture.name for picture in kept]
        for part in parts:
            assert all(layer["data"]["values"] for layer in part.get("layer", [part]))


def axis_of(shown, name):
    return next(axis for axis in shown.plot().axes if axis.get_title() == name)


def chart_of(shown, name):
    chart = shown.chart().to_dict()
    return next(part for part in chart.get("vconcat", [chart]) if part["title"] == name)


def test_lines_are_those_of_the_series(registry):
    """Each with its name and its points; one that was not measured at a step has no point."""
    version = registry["churn"][2]
    axis = axis_of(version, "Values")
    churn = registry["churn"]
    churn[2].observe({"f1": 1}, window=("2026-10-03", "2026-10-04"))
    churn[2].observe({"f1": 2}, window=("2026-10-04", "2026-10-05"))

    assert [line.get_label() for line in axis.lines] == ["val.loss[0]", "$lr$"]
    assert list(axis.lines[0].get_ydata()) == [v for _, v in version.metrics.series("val.loss[0]")]
    values = chart_of(churn.observations(), "Over time")["data"]["values"]
    assert [row["value"] for row in values if row["series"] == "f1"] == [1, 2]
    assert len(values) == 4


def test_points_intervals_and_bars_are_those_of_the_table(registry):
    """Names, values and ends."""
    comparison = registry["churn"].compare(1, 2, 3)
    (errors,) = axis_of(comparison, "test.accuracy").containers
    dots = chart_of(comparison, "test.accuracy")["layer"][1]["data"]["values"]
    points = axis_of(comparison, "f1.$x against test.accuracy")
    bars = axis_of(registry.usage(), "Who holds how much").patches
    held = chart_of(registry.usage(), "Who holds how much")["data"]["values"]

    assert list(errors.lines[0].get_xdata()) == [0.7, 0.9, 0.7, 0.8]
    assert [row["name"] for row in dots] == ["churn:1", "churn:2", "churn:2 observed", "churn:3"]
    assert all(row["low"] < row["value"] < row["high"] for row in dots)
    assert {text.get_text() for text in points.texts} == {"churn:1", "churn:2", "churn:3"}
    assert [bar.get_width() for bar in bars] == [row["value"] for row in held]
    assert sum(row["value"] for row in held) == registry.usage().bytes


def test_stretches_end_where_the_next_begins(registry):
    """And what is there still goes on."""
    rows = chart_of(registry["churn"].history(), "Stages over time")["data"]["values"]
    bars = axis_of(registry["churn"].history(), "Stages over time").patches

    found = {row["what"]: (row["since"], row["until"]) for row in rows}
    assert found["churn:2"][1] == found["churn:3"][0]
    assert found["churn:1"][1] == found["churn:3"][1] > found["churn:3"][0]
    assert len(bars) == 3


def test_a_graph_goes_from_the_left_to_the_right(registry):
    """What was made of something stands behind it."""
    layers = chart_of(registry["churn"][2].lineage(), "From data to stages")["layer"]
    arrows = layers[0]["data"]["values"]
    nodes = {row["name"]: row for row in layers[1]["data"]["values"]}

    assert {"train", "churn:2", "upsell:1", "churn@champion"} <= {*nodes}
    assert all(arrow["x"] < arrow["x2"] for arrow in arrows)


def test_parallel_lines_go_through_numbers_and_words(registry):
    """Each axis from its lowest to its highest; a value that is missing has no place."""
    registry.save("churn", {"w": 4}, params={"C.x": 9}, metrics={"test.accuracy": 0.5})
    comparison = registry["churn"].compare(1, 2, 3, 4)
    rows = chart_of(comparison, "Params")["data"]["values"]
    lines = axis_of(comparison, "Params").lines

    heights = {(row["name"], row["axis"]): row["height"] for row in rows}
    assert [heights[f"churn:{i}", "C.x"] for i in (1, 2, 3, 4)] == [0, 0.125, 0.25, 1]
    assert heights["churn:1", "kind[0]"] == 1 and heights["churn:2", "kind[0]"] == 0
    assert ("churn:4", "kind[0]") not in heights
    assert len(lines) == 4


def test_what_has_no_plot_says_so(registry):
    """Instead of an empty figure."""
    upsell = registry["upsell"]
    for draw in (upsell.latest.plot, upsell.observations().chart, registry.plot):
        with pytest.raises(mv.ModelVersionError, match="has no plot"):
            draw()


# ---- SVG of anything

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(2**1100), 2**1100)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(max_size=30)
VALUES = st.one_of(st.none(), st.booleans(), NUMBERS, NAMES)


def read(svg):
    """Parse a drawing and check that it says nothing but shapes and texts."""
    tags = {element.tag.rsplit("}")[-1] for element in ET.fromstring(svg).iter()}
    assert tags <= {"svg", "line", "circle", "rect", "polyline", "polygon", "text"}
    assert "nan" not in svg.replace("</text>", "<").split("<text")[0]
    return svg


@given(st.lists(st.tuples(NAMES, st.floats(0, 1e300), NAMES), max_size=40))
def test_bars_of_anything_are_drawn(rows):
    """With names that could be markup."""
    assert len(read(plots.bars(rows))) < 12_000


@given(st.lists(st.tuples(NAMES, NUMBERS, st.none() | NUMBERS, st.none() | NUMBERS), max_size=40))
def test_intervals_of_anything_are_drawn(rows):
    """What has no place on an axis is left out."""
    assert len(read(plots.intervals(rows))) < 16_000


@given(st.dictionaries(NAMES, st.lists(st.tuples(NUMBERS, NUMBERS), max_size=100), max_size=9))
def test_lines_of_anything_are_drawn(series):
    """At most six, of at most sixty points each."""
    assert len(read(plots.lines(series, axis="step"))) < 16_000


@given(st.lists(st.tuples(NAMES, NUMBERS, NUMBERS, st.booleans()), max_size=60), NAMES)
def test_dots_of_anything_are_drawn(points, axis):
    """With the names of those that stand out."""
    read(plots.dots(points, axes=(axis, axis)))


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.tuples(*[VALUES] * n), max_size=12)), NAMES)
def test_parallel_lines_of_anything_are_drawn(rows, name):
    """Numbers, words, and what is missing."""
    axes = [name] * len(rows[0]) if rows else []

    read(plots.parallel([(name, *row) for row in rows], axes=axes))


@given(st.lists(st.tuples(NAMES, st.lists(st.tuples(FINITE, FINITE, NAMES), max_size=9))))
def test_lanes_of_anything_are_drawn(rows):
    """Whatever the times."""
    read(plots.lanes(rows))


@given(st.lists(st.lists(NAMES, max_size=12), max_size=9), st.lists(st.tuples(NAMES, NAMES)))
def test_a_graph_of_anything_is_drawn(layers, edges):
    """Arrows to nodes that are not there are left out."""
    read(plots.graph(layers, edges))


LONG = "a-long-name-that-goes-on-and-on-to-the-sixty-fourth-character:12"


@pytest.mark.parametrize(
    "svg",
    [
        plots.bars([(LONG, 1.0, "12.3 MB")]),
        plots.intervals([(LONG, -0.155314, None, None), ("b:1", -1.55314e-05, None, None)]),
        plots.lines({LONG: [(0, -0.155314), (1, 2)]}, axis=LONG),
        plots.dots([(LONG, 1, 2, True), ("b:1", 2, 3, True)], axes=(LONG, LONG)),
        plots.parallel([(LONG, 0.25, LONG), ("b:1", 0.5, "x")], axes=(LONG, LONG)),
        plots.parallel([(LONG, *range(8)), ("b:1", *range(8))], axes=(LONG,) * 8),
        plots.lanes([(LONG, [(0, 1, LONG), (1, 1.1, LONG)])]),
        plots.graph([[LONG], [LONG + "3"]], []),
    ],
)
def test_texts_stay_inside_their_drawing(svg):
    """Of however many characters, each some 6.6 wide, a name is or a number has."""
    drawing = ET.fromstring(svg)
    for text in drawing.iter("{http://www.w3.org/2000/svg}text"):
        before = {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "start")]
        begin = float(text.get("x")) - before * 6.6 * len(text.text)
        assert begin >= 0, text.text
        assert begin + 6.6 * len(text.text) <= float(drawing.get("width")), text.text


def texts(svg):
    return [t.text for t in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_name_that_is_cut_keeps_its_number():
    """Else all versions of a model with a long name would be called the same."""
    assert "a-long-name-that-g…:12" in texts(plots.intervals([(LONG, 1.0, None, None)]))


def test_what_has_no_room_in_a_lane_has_no_name():
    """A letter and three dots over the next name would tell nothing."""
    svg = plots.lanes([("production", [(0, 1, "churn:1"), (1, 20, "churn:2")])])

    assert texts(svg) == ["production", "churn:2"]


def test_lines_that_begin_alike_have_their_names():
    """Each of its own, one below the other."""
    svg = plots.parallel([(f"a:{i}", 1, i) for i in range(5)], axes=("C", "depth"))

    assert {f"a:{i}" for i in range(5)} <= {*texts(svg)}
    named = list(ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"))
    ys = sorted(float(t.get("y")) for t in named if t.text.startswith("a:"))
    assert all(b - a >= 12 for a, b in pairwise(ys)) and ys[-1] < 160


def test_a_number_that_is_missing_leaves_a_gap():
    """NaN, infinities and None are no categories among numbers, and stand nowhere."""
    nothing = (None, float("nan"), float("inf"))
    rows = [("a:1", 1, 5, 9), *((f"a:{i}", 2, v, 10) for i, v in enumerate(nothing, 2))]

    svg = plots.parallel(rows, axes=("x", "y", "z"))

    assert svg.count("<polyline") == 1 + len(nothing) and svg.count("<circle") == len(nothing)
    assert not {"nan", "NaN", "None", "inf"} & {*texts(svg)}


def test_mutant_unescaped_names_would_be_found(monkeypatch):
    """Without escaping, a name is markup."""
    monkeypatch.setattr(plots, "escape", lambda text: text)

    with pytest.raises((AssertionError, ET.ParseError)):
        read(plots.bars([("<script>x</script>", 1.0, "")]))


# ---- intervals


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_is_wilsons(counts):
    """As scipy has it."""
    from scipy.stats import binomtest

    k, n = counts

    low, high = interval("test_accuracy", k / n, n)

    wilson = binomtest(k, n).proportion_ci(method="wilson")
    assert low == pytest.approx(wilson.low, abs=1e-6)
    assert high == pytest.approx(wilson.high, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "n"),
    [
        ("auc", 0.9, 100),
        ("balanced_accuracy", 0.9, 100),
        ("accuracy", 0.9, None),
        ("accuracy", 90, 100),
        ("accuracy", -0.1, 100),
        ("accuracy", float("nan"), 100),
        ("accuracy", "0.9", 100),
        ("accuracy", None, 100),
    ],
)
def test_what_is_no_share_of_its_samples_has_no_interval(name, value, n):
    """Nothing is made up."""
    assert interval(name, value, n) is None


def test_a_comparison_draws_what_was_recorded_and_observed(registry):
    """Each with its interval, as far as the samples are known."""
    comparison = registry["churn"].compare(1, 2, 3)

    picture = next(pictures(comparison._page().blocks))

    assert picture.kind == "intervals" and picture.name == "test.accuracy"
    assert picture.data.columns == ("version", "test.accuracy", "low", "high", "n")
    assert [row[0] for row in picture.data.rows][1:3] == ["churn:2", "churn:2 observed"]
    assert "with 95 % intervals" in picture.alt


def test_without_intervals_there_are_dots_and_no_promise():
    """The text says nothing of intervals; one value alone is not drawn."""
    rows = [("a:1", 0.5, None, None, 10), ("a:2", 0.6, None, None, None)]

    picture = metric_picture("auc", rows)

    assert "interval" not in picture.alt
    assert metric_picture("auc", rows[:1]) is None
    assert metric_picture("auc", [*rows[:1], ("a:3", float("nan"), None, None, 3)]) is None
