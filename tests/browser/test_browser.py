"""Displays in JupyterLab: readable in both themes, by keyboard, untrusted; running nothing."""

import json
import sys

import nbformat
import pytest
from conftest import ROOT
from gallery import HOSTILE, gallery
from nbclient import NotebookClient

START = "from gallery import *\nthings = gallery('memory://{place}', {word})"
NAMES = list(gallery("memory://names"))
SHOW = [f"things[{name!r}]" for name in NAMES]


@pytest.fixture(scope="module")
def shown(lab, chromium, write):
    """The gallery, run, in one page that the tests share."""
    from conftest import Notebook

    name = write("gallery", START.format(place="gallery", word="'plan'"), *SHOW)
    page = chromium.new_context(viewport={"width": 1280, "height": 2400}).new_page()
    return Notebook(page, lab[1]).open(name).run()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_display_is_readable_in_both_themes(shown, theme):
    """axe finds nothing in any display, and has checked the contrast of many texts."""
    shown.theme(theme)

    violations, checked = shown.axe()
    shown.pictures(NAMES, theme)

    assert violations == []
    assert checked > 60


def test_what_is_covered_counts_as_unread(shown):
    """The mutant with something in front of everything has no text whose contrast is known."""
    shown.page.evaluate(
        """() => document.body.insertAdjacentHTML('beforeend',
            '<p id="cover" style="position:absolute;inset:0;margin:0;background:#fff"></p>')"""
    )

    _, checked = shown.axe()
    shown.page.evaluate("() => document.querySelector('#cover').remove()")

    assert checked == 0


def test_every_display_is_there(shown):
    """Each cell has one output, which is HTML of ours and no traceback."""
    outputs = shown.page.query_selector_all(".jp-RenderedHTML")

    assert len(outputs) == len(NAMES)
    for output in outputs:
        assert "cannot be shown" not in output.text_content()


def test_a_trusted_page_loads_nothing_and_runs_nothing(shown):
    """Not even a font."""
    assert shown.outside() == [] and shown.dialogs == []


def test_every_section_opens_by_keyboard(shown):
    """Enter opens what is folded and closes what is open."""
    shown.page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = false)")
    folded = shown.page.query_selector_all(".jp-RenderedHTML details")
    for details in folded:
        summary = details.query_selector("summary")
        summary.scroll_into_view_if_needed()
        if not summary.is_visible():
            continue
        summary.focus()
        shown.page.keyboard.press("Enter")
        assert details.evaluate("d => d.open")

    assert len(folded) > 20
    assert all(details.evaluate("d => d.open") for details in folded)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ('things["registry"]["', ["churn", "upsell"]),
        ('things["model"]["', ["production", "champion", "challenger", "latest"]),
    ],
)
def test_tab_completes_names_stages_and_aliases(shown, typed, offered):
    """Models of a registry; stages that hold a version, aliases and `latest` of a model."""
    page = shown.page
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:insert-cell-below')")
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:enter-edit-mode')")
    page.keyboard.type(typed)
    page.keyboard.press("Tab")

    for name in offered:
        page.wait_for_selector(f".jp-Completer-item:has-text('{name}')")
    page.keyboard.press("Escape")


# ---- hostile texts


def test_hostile_texts_run_nothing_and_load_nothing(notebook, write):
    """In every field of every display of a trusted notebook."""
    notebook.open(write("hostile", START.format(place="hostile", word="HOSTILE"), *SHOW)).run()

    assert notebook.page.evaluate("() => window.hit") is None
    assert notebook.outside() == [] and notebook.dialogs == []
    assert "onerror" in notebook.page.text_content(".jp-Notebook")


def test_unescaped_texts_would_run(notebook, write):
    """The mutant without escaping loads the image and runs its handler."""
    mutant = "from modelversion.display import _tags\n_tags.escape = lambda text: text"
    notebook.open(write("unescaped", mutant, START.format(place="un", word="HOSTILE"), *SHOW)).run()

    notebook.page.wait_for_function("() => window.hit")
    assert any("evil.example" in url for url in notebook.outside())


def test_pale_texts_would_be_found(notebook, write):
    """The mutant with too little contrast fails axe's check."""
    mutant = (
        "from modelversion.display import _tags, _as_html\n"
        "pale = str(_tags.SHEET).replace('--f:#1f2328', '--f:#c9d1d9')\n"
        "_as_html.SHEET = _tags.Html(pale)"
    )
    notebook.open(write("pale", mutant, START.format(place="pale", word="'x'"), *SHOW[:2])).run()
    notebook.theme("light")

    violations, _ = notebook.axe()

    assert "color-contrast" in [rule for rule, *_ in violations]


# ---- a notebook that is not trusted


@pytest.fixture(scope="module")
def untrusted(lab):
    """A notebook that came from elsewhere, with its outputs, hostile texts in them."""
    path = f"import sys\nsys.path[:0] = {sys.path!r}"
    cells = [path, START.format(place="untrusted", word="'plan'"), *SHOW]
    cells += [START.format(place="untrusted2", word="HOSTILE"), *SHOW]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    NotebookClient(book, timeout=300, kernel_name="python3").execute()
    nbformat.write(book, lab[0] / "untrusted.ipynb")
    return "untrusted.ipynb"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_untrusted_notebook_is_readable_and_does_nothing(notebook, untrusted, theme):
    """The sheet is dropped; tables, sections, pictures and contrast are still there."""
    notebook.open(untrusted).theme(theme)
    page = notebook.page
    page.wait_for_function(
        f"() => document.querySelectorAll('.jp-RenderedHTML').length === {2 * len(NAMES)}"
    )

    violations, checked = notebook.axe()
    notebook.pictures([*NAMES, *(f"hostile-{name}" for name in NAMES)], f"untrusted-{theme}")

    assert page.query_selector_all(".jp-RenderedHTML style") == []
    assert len(page.query_selector_all(".jp-RenderedHTML img")) > 20
    assert len(page.query_selector_all(".jp-RenderedHTML details")) > 20
    assert [rule for rule, *_ in violations if rule == "color-contrast"] == [], violations
    assert checked > 60
    assert page.evaluate("() => window.hit") is None
    assert notebook.outside() == [] and notebook.dialogs == []
    assert "lab/tree" in page.url and HOSTILE[:10] in page.text_content(".jp-Notebook")


def test_saved_outputs_are_html_and_text(untrusted, lab):
    """Both are in the file, so that any host finds something to show."""
    book = json.loads((lab[0] / untrusted).read_text("utf-8"))
    found = [set(o["data"]) for cell in book["cells"] for o in cell["outputs"] if "data" in o]

    assert found and all(kinds == {"text/html", "text/plain"} for kinds in found)


# ---- the tour


def test_the_tour_runs(notebook, lab, write):
    """From the first to the last cell, without an error, outside of nothing."""
    book = nbformat.read(ROOT / "notebooks" / "01-tour.ipynb", as_version=4)
    cells = [cell.source for cell in book.cells if cell.cell_type == "code"]

    notebook.open(write("tour", *cells)).run()
    notebook.pictures([f"tour-{i}" for i in range(5)], "light")

    text = notebook.page.text_content(".jp-Notebook")
    assert "Traceback" not in text and "cannot be shown" not in text
    assert len(notebook.page.query_selector_all(".jp-RenderedHTML")) == 5
    assert notebook.outside() == []
