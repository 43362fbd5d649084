"""Displays: one description as HTML, text, Markdown and data; escaped, bounded, never raising."""

import json
import re
from html import unescape
from html.parser import HTMLParser

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelversion.display import (
    Cell,
    Facts,
    Note,
    Page,
    Picture,
    Section,
    Shown,
    Table,
    Text,
    _as_markdown,
    _svg,
    _tags,
    digest,
    size,
    when,
)

_TAGS = """
    body br caption details div head html img main meta p pre progress span strong style summary
    table td th title tr wbr
"""
TAGS = set(_TAGS.split())
ATTRIBUTES = {"class", "style", "alt", "src", "title", "scope", "value", "max", "aria-label"}
TAGS_OF_A_FILE = {"lang", "charset", "http-equiv", "content", "name"}
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "</title><script>",
    "javascript:alert(1)",
    "&lt;b&gt; &#60;script&#62;",
    "]]><!--",
    "\x1b[31mred\x07\x00",
    "\u202eevil\u2066",
    "\ud800",
    "![x](http://evil.example/x.png)",
    "[x](javascript:alert(1))",
    "a|b\n|---|---|",
    "@everyone #1 www.evil.example https://evil.example",
    "```\n# heading\n- item",
]


class Of(Shown):
    """Something with a page."""

    def __init__(self, page):
        self.page = page

    def _page(self):
        return self.page() if callable(self.page) else self.page


class Reader(HTMLParser):
    """Collects tags, attributes and text, and sees to it that what is opened is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text, self.said = [], set(), set(), "", ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.text += "" if tag in ("span", "wbr") else " "
        self.attributes |= {name for name, _ in attrs}
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        for name, value in attrs:
            if name == "src":
                assert value.startswith("data:image/svg+xml;base64,")
        if tag not in ("br", "img", "meta", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def handle_comment(self, data):
        raise AssertionError("a comment")

    def unknown_decl(self, data):
        raise AssertionError("a declaration")


def page_of(texts):
    """A page that has the texts in every place where a text can stand."""
    t = (texts * 20)[:20]
    return Page(
        t[0],
        t[1],
        tone="bad",
        blocks=[
            Facts({t[2]: t[3], f"{t[4]}2": Cell(t[5], t[6], tone="good", spark=[1, 2])}),
            Table(t[7], (t[8], "b"), rows=[(t[9], Cell(t[10], below=t[12])), (t[11], 1.5)], more=3),
            Table(t[12], ("a",), rows=[], empty=t[13]),
            Section(t[14], [Text(t[15], t[16]), Note(t[17], "warn")], says=t[18]),
            Picture(
                "curve",
                _svg.spark([1, 2]),
                kind="bars",
                alt=t[19],
                data=Table(t[0], (t[1],), rows=[(t[2],)]),
            ),
            None,
        ],
    )


texts = st.lists(
    st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60), st.characters()),
    min_size=1,
    max_size=20,
)


# ---- escaped by construction


def check_html(texts):
    """Read what is made of any texts; only our tags and attributes are in it."""
    read = Reader(Of(page_of(texts))._repr_html_())
    assert read.tags <= TAGS
    assert read.attributes <= ATTRIBUTES


@pytest.mark.parametrize(
    ("word", "most"),
    [("optimizer/learning_rate_of_the_head", 14), ("f" * 64, 20), ("exp.2026-11-28T10:11:12", 20)],
)
def test_long_words_may_break_where_their_parts_end(word, most):
    """In headings and cells, so that no name makes a table wider than its notebook."""
    html = Of(Page("t", blocks=[Table("x", (word, "y"), rows=[(word, 1)])]))._repr_html_()

    for tag in ("td", "th"):
        (found,) = re.findall(rf"<{tag}[^>]*>([^<]*<wbr>.*?)</{tag}>", html)
        assert found.replace("<wbr>", "") == word
        assert max(map(len, found.split("<wbr>"))) <= most
    assert (
        "<wbr>" not in Of(Page("t", blocks=[Facts({"short": "words of a sentence"})]))._repr_html_()
    )


@given(texts)
def test_any_texts_give_well_formed_html(texts):
    """No tag and no attribute is made of what stands in a field."""
    check_html(texts)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_texts_are_shown_as_text(hostile, tmp_path):
    """In a notebook and in a file, what was written there can be read there, and does nothing."""
    shown = Of(page_of([hostile]))

    check_html([hostile])
    read = Reader(shown.to_html(tmp_path / "page.html").read_text("utf-8"))
    assert read.tags <= TAGS
    assert read.attributes <= ATTRIBUTES | TAGS_OF_A_FILE
    visible = "".join(c for c in hostile if c.isalnum() and c.isascii())
    assert visible in "".join(c for c in read.text if c.isalnum() and c.isascii())


def test_unescaped_html_would_be_found(monkeypatch):
    """The mutant without escaping fails the check."""
    monkeypatch.setattr(_tags, "escape", lambda text: text)

    with pytest.raises(AssertionError):
        check_html(["<script>alert(1)</script>"])
    with pytest.raises(AssertionError):
        check_html(["</p><i>"])


@given(texts)
def test_text_can_be_printed_anywhere(texts):
    """No control character, no surrogate and no change of direction reaches a terminal."""
    told = str(Of(page_of(texts)))

    assert all(c.isprintable() or c == "\n" for c in told)
    told.encode("utf-8")


def check_markdown(texts):
    """Read Markdown as a code host does: entities and escapes first, then tags and links."""
    made = Of(page_of(texts)).to_markdown()
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", made, flags=re.MULTILINE | re.DOTALL)
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", outside)
    assert set(re.findall(r"</?([a-zA-Z]+)", bare)) <= {"details", "summary", "b"}
    assert not re.search(r"\]\(|(?<!\\)`|@\w|#\d(?!\d*;)|\w://|www\.", bare)
    rows = [line for line in bare.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} <= {2, 3}


@given(texts)
@settings(max_examples=200)
def test_markdown_of_any_texts_is_only_ours(texts):
    """No link, image, mention, tag or further column is made of what stands in a field."""
    check_markdown(texts)


@pytest.mark.parametrize("hostile", ["@everyone", "<img src=x>", "a|b", "[x](http://x)"])
def test_unescaped_markdown_would_be_found(monkeypatch, hostile):
    """The mutant without escaping fails the check."""
    monkeypatch.setattr(_as_markdown, "escaped", lambda text, chars: text)

    with pytest.raises(AssertionError):
        check_markdown([hostile])


def test_a_fence_is_not_closed_by_what_it_holds():
    """A text with fences of its own stays inside of one that is longer."""
    made = Of(Page("x", blocks=[Text("code", "````\n# no heading\n````")])).to_markdown()

    assert "`````text\n````\n# no heading\n````\n`````" in made


# ---- bounded, deterministic, never raising


@given(
    st.integers(0, 400),
    st.integers(1, 40),
    st.sampled_from(["x" * 5000, "<" * 5000, "é" * 999, "\n" * 9000, "ab cd\n" * 2000]),
)
@settings(max_examples=20)
def test_a_display_is_at_most_20_kb(rows, columns, text):
    """However much there is, HTML, text and Markdown say as much as fits."""
    table = Table(text, [text] * columns, rows=[[text] * columns] * rows, empty=text)
    facts = Facts({f"{text}{i}": text for i in range(rows)})
    inner = Section(text, [Text(text, text), facts, table], says=text)
    shown = Of(Page(text, text, blocks=[table, facts, *([inner] * (rows % 30))]))

    for made in (shown._repr_html_(), str(shown), shown.to_markdown()):
        assert len(made.encode()) <= 20_000
    Reader(shown._repr_html_())


def test_without_the_bound_a_display_is_larger(monkeypatch):
    """The mutant that takes the first rendering fails the test above."""
    monkeypatch.setattr("modelversion.display.MAX_BYTES", 10**9)
    shown = Of(Page("x", blocks=[Table("t", ["c"] * 9, rows=[["x" * 5000] * 9] * 99)]))

    assert len(shown._repr_html_().encode()) > 20_000


def test_what_is_left_out_is_counted():
    """Rows, columns, lines and blocks that are not shown are told of."""
    wide = Table("wide", [f"c{i}" for i in range(12)], rows=[range(12)])
    shown = Of(
        Page(
            "x",
            blocks=[
                Table("long", ("n",), rows=[(i,) for i in range(30)], more=9970),
                wide,
                Text("code", "line\n" * 100),
                Facts({f"f{i}": i for i in range(50)}),
                *[Note("a note")] * 20,
            ],
        )
    )

    for made in (str(shown), Reader(shown._repr_html_()).text, shown.to_markdown()):
        assert "... 9980 more" in made
        assert "not shown: c10, c11" in made
        assert "... 20 more lines" in made
        assert "... 10 more" in made
        assert "... 8 more parts" in made


def test_a_page_that_never_fits_says_so(monkeypatch):
    """The last resort is a sentence."""
    monkeypatch.setattr("modelversion.display.MAX_BYTES", 10)

    assert "too much to show here" in str(Of(Page("x", blocks=[Note("n" * 100)])))


def test_the_same_page_gives_the_same_display():
    """Nothing in it is random, counted or timed."""
    one, two = (Of(page_of(["a", "b", "<c>"])) for _ in range(2))

    assert one._repr_mimebundle_() == two._repr_mimebundle_()
    assert one.to_markdown() == two.to_markdown()


def test_a_display_that_cannot_be_made_says_why():
    """A notebook shows one line, and no traceback."""

    def broken():
        raise ValueError("<b>the disk is gone</b>\nand more")

    shown = Of(broken)

    line = "Of cannot be shown: ValueError: <b>the disk is gone</b> and more"
    assert str(shown) == line
    assert Reader(shown._repr_html_()).text.strip() == line
    assert shown._repr_mimebundle_()["text/plain"] == line


def test_values_that_cannot_be_printed_do_not_stop_a_display():
    """An integer of many digits, NaN, bytes and odd objects are shown as what they are."""

    class Odd:
        def __str__(self):
            raise RuntimeError("no")

    values = {"huge": 10**5000, "nan": float("nan"), "bytes": b"\x00" * 9, "none": None}
    told = str(Of(Page("x", blocks=[Facts({**values, "yes": True, "small": 0.1 + 0.2})])))
    assert re.findall(r"  (\w+) +(.+)", told) == [
        ("huge", "an integer of 16610 bits"),
        ("nan", "NaN"),
        ("bytes", "9 bytes"),
        ("yes", "yes"),
        ("small", "0.3"),
    ]
    assert str(Of(Page("x", blocks=[Facts({"odd": Odd()})]))).endswith("RuntimeError: no")


# ---- one description, every form


@pytest.fixture
def report():
    """A page as a gate would have it."""
    rows = [("auc ≥ 0.85", 0.9, Cell(True, "passed", tone="good")), ("fresh", None, False)]
    return Of(
        Page(
            "churn:4 for production",
            "1 of 2 gates passed",
            tone="bad",
            blocks=[
                Facts(
                    {
                        "Judged at": when("2026-11-01T12:00:00.123456Z"),
                        "digest": digest("ab" * 32),
                        "size": size(1_500_000),
                        "none": None,
                        "loss": Cell(0.2, spark=[3, 2, float("nan"), 1]),
                        "done": Cell(3, "3 of 4", share=0.75),
                    }
                ),
                Table("gates", ("gate", "found", "passed"), rows=rows, more=2),
                Section("Patch", [Text("patch", "-a\n+b")], says="2 lines"),
                Section("More", [Note("a note"), Facts({"k": 1})]),
            ],
        )
    )


def test_text_says_what_html_says(report):
    """Every word of the HTML stands in the text, and in the Markdown."""
    words = Reader(report._repr_html_()).text
    seen = set(re.findall(r"[\w.:-]+", words))
    said = set(re.findall(r"[\w.:-]+", str(report)))

    assert {w.strip(".:") for w in seen} <= {w.strip(".:") for w in said}
    plain = re.sub(r"\\(.)", r"\1", report.to_markdown())
    assert {w.strip(".:") for w in seen} <= {w.strip(".:") for w in re.findall(r"[\w.:-]+", plain)}


def test_a_remark_stands_below_its_value_or_in_brackets_behind_it():
    """On a line of its own where there are lines, and it is no data."""
    told = Table("metrics", ("auc",), rows=[(Cell(0.9, below="+0.02 better"),)])
    shown = Of(Page("churn:4", blocks=[told]))

    assert "0.9<br>+0.02 better</td>" in shown._repr_html_()
    assert "0.9 (+0.02 better)" in str(shown)
    assert r"0.9 \(+0.02 better\)" in shown.to_markdown()
    assert shown.to_dict()["metrics"] == [{"auc": 0.9}]


def test_the_text_of_a_page(report):
    """Facts stand below each other, tables in columns, sections are indented."""
    assert str(report) == "\n".join(
        [
            "churn:4 for production: 1 of 2 gates passed",
            "  Judged at  2026-11-01 12:00:00 UTC",
            "  digest     abababababab",
            "  size       1.5 MB",
            "  loss       █▅▁ 0.2",
            "  done       ███████████████░░░░░ 3 of 4",
            "gates:",
            "  gate        found  passed",
            "  auc ≥ 0.85    0.9  passed",
            "  fresh              no",
            "  ... 2 more",
            "Patch (2 lines):",
            "  patch:",
            "    -a",
            "    +b",
            "More:",
            "  a note",
            "    k  1",
        ]
    )


def test_the_data_of_a_page(report):
    """Facts and tables go by name, values are what they were, and JSON takes them."""
    data = report.to_dict()

    assert data["says"] == "1 of 2 gates passed"
    assert data["judged_at"] == "2026-11-01T12:00:00.123456Z"
    assert data["digest"] == "ab" * 32
    assert data["size"] == 1_500_000
    assert data["none"] is None
    assert data["gates"][0] == {"gate": "auc ≥ 0.85", "found": 0.9, "passed": True}
    assert data["patch"] == "-a\n+b"
    assert data["more"] == {"k": 1}
    assert data["notes"] == ["a note"]
    json.dumps(data)


def test_the_table_of_a_page(report):
    """pandas gets the first table, wherever it stands; a page without one gives an empty frame."""
    frame = report.to_pandas()

    assert list(frame.columns) == ["gate", "found", "passed"]
    assert frame["passed"].tolist() == [True, False]
    inner = Of(Page("x", blocks=[Section("s", [Table("t", ("a",), rows=[(1,)])])]))
    assert inner.to_pandas()["a"].tolist() == [1]
    picture = Picture("p", "<svg/>", kind="bars", alt="a", data=Table("t", ("b",), rows=[(2,)]))
    assert Of(Page("x", blocks=[picture])).to_pandas()["b"].tolist() == [2]
    assert isinstance(Of(Page("x")).to_pandas(), pandas.DataFrame)


def test_a_file_has_every_row_and_loads_nothing(tmp_path):
    """It stands by itself: no script, no address, a policy that forbids both."""
    shown = Of(Page("x", blocks=[Table("t", ("n",), rows=[(f"row{i}",) for i in range(500)])]))

    path = shown.to_html(tmp_path / "x.html")

    text = path.read_text("utf-8")
    assert text.count("row") >= 500 and "more" not in text
    assert "default-src 'none'" in unescape(text)
    assert "http://" not in text and "https://" not in text and "<script" not in text


def test_a_display_says_what_was_asked_for(report):
    """A front end that wants one form gets one."""
    assert set(report._repr_mimebundle_()) == {"text/html", "text/plain"}
    assert set(report._repr_mimebundle_(include={"text/plain"})) == {"text/plain"}
    assert set(report._repr_mimebundle_(exclude={"text/plain"})) == {"text/html"}


def test_the_sheet_names_itself():
    """A rule holds for the displays of its own release only: each begins with the sheet's hash."""
    rules = re.sub(r"<[^>]*>", "", str(_tags.SHEET))

    for selectors in re.findall(r"([^{}]+)\{", rules):
        for selector in selectors.split(","):
            assert f".{_tags.SCOPE}.{_tags.SCOPE}" in selector


# ---- sizes


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1_234_567, "1.23 MB"),
        (5e15, "5e+03 TB"),
    ],
)
def test_a_size_is_shown_in_a_unit_that_fits(count, said):
    """Three digits are enough to look at; data keep all."""
    assert size(int(count)).text == said
    assert size(int(count)).value == count


@pytest.mark.parametrize(
    "values", [[], [1], [2, 2], [1e308, -1e308], [float("nan")], [float("inf"), 1], range(999)]
)
def test_a_line_is_drawn_of_any_numbers(values):
    """None, one, equal, huge and no numbers draw something, of few points."""
    drawn = _svg.spark(list(values))

    assert drawn.startswith("<svg ") and drawn.endswith("</svg>")
    assert "nan" not in drawn and "inf" not in drawn
    assert len(drawn) < 700
