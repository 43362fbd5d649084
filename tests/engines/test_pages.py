"""Each page of an engine is a program that trains 40 times on four workers into one registry."""

import sys
from pathlib import Path

import pytest

import modelversion as mv

sys.path.insert(0, str(Path(__file__).parent.parent))

from test_docs import CHECKOUT, assert_page_holds

FOLDER = Path("docs/how-to/engines")
PAGES = sorted(page.stem for page in (CHECKOUT / FOLDER).glob("*.md") if page.stem != "index")


def test_every_page_is_listed():
    """So that none is left out of the run."""
    assert PAGES == [
        "dask",
        "joblib",
        "multiprocessing",
        "optuna",
        "ray",
        "spark",
        "torch-distributed",
    ]


@pytest.mark.parametrize("page", PAGES)
def test_forty_trainings_on_four_workers_make_forty_versions(page, tmp_path):
    """The program prints what the page says; every version loads, and all is verified."""
    folder = assert_page_holds(FOLDER / f"{page}.md", tmp_path)

    registry = mv.Registry(folder / "model-registry")
    (model,) = registry.models()
    assert [version.number for version in model] == list(range(1, 41))
    assert all(version.load() is not None for version in model)
    assert len({repr(dict(version.params)) for version in model}) == 40
    assert registry.verify()
