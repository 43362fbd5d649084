"""The notebooks run from the first to the last cell, and only the tour keeps its outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from modelversion.display._tags import SCOPE

FOLDER = Path(__file__).parent.parent / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))
WITH_OUTPUTS = {"01-tour.ipynb"}


@pytest.mark.slow
@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    """In an empty folder, without an error, and each display is one."""
    book = nbformat.read(path, as_version=4)
    client = NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}})

    client.execute()

    shown = [o["data"] for cell in book.cells for o in cell.get("outputs", ()) if "data" in o]
    assert any("text/html" in data for data in shown)
    assert not any("cannot be shown" in data.get("text/html", "") for data in shown)


def test_there_are_ten():
    """Numbered, so that they have an order."""
    assert [path.name[:3] for path in BOOKS] == [f"{i:02}-" for i in range(1, 11)]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_texts_have_lines(path):
    """A line break that was escaped once too often is none."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c["cell_type"] == "markdown"]

    assert cells[0].source.startswith("# ")
    assert not [cell.source for cell in cells if "\\n" in cell.source]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
    """A change of a notebook is a change of its code; the tour is there to be looked at."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c["cell_type"] == "code"]

    kept = [cell for cell in cells if cell["outputs"] or cell["execution_count"]]
    assert bool(kept) == (path.name in WITH_OUTPUTS)


def test_the_kept_outputs_are_of_the_displays_as_they_are_now():
    """To renew them: jupyter nbconvert --to notebook --execute --inplace, of the notebook."""
    for name in WITH_OUTPUTS:
        cells = nbformat.read(FOLDER / name, as_version=4).cells
        kept = [o["data"] for c in cells for o in c.get("outputs", ()) if "data" in o]
        shown = [data["text/html"] for data in kept if "text/html" in data]

        assert shown and all(SCOPE in html for html in shown)
