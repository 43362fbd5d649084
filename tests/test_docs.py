"""The documentation: its code runs and prints what it says, its links lead somewhere."""

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import modelversion as mv

CHECKOUT = Path(mv.__file__).parent.parent
PAGES = sorted(
    page.relative_to(CHECKOUT)
    for page in [*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")]
    if "_build" not in page.parts
)
MODULES = [module.name for module in pkgutil.walk_packages(mv.__path__, prefix=f"{mv.__name__}.")]
MARK = "\N{SYMBOL FOR RECORD SEPARATOR}"
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTSIDE = re.compile(r"```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(text):
    """Give (language, code, line of the first line of code) of every fenced block."""
    for found in FENCE.finditer(text):
        yield found[1], found[2], text.count("\n", 0, found.start()) + 2


def script(text):
    """Give a page as a program whose line numbers are the page's."""
    lines = [""] * (text.count("\n") + 2)
    for i, (_, code, first) in enumerate(b for b in blocks(text) if b[0] == "python"):
        code_lines = code.splitlines()
        lines[first - 1 : first - 1 + len(code_lines)] = code_lines
        # A worker that imports the program prints none.
        lines[first - 1 + len(code_lines)] = (
            f"if __name__ == '__main__': print({MARK + str(i)!r}, flush=True)"
        )
    return "\n".join(lines) + "\n"


def expected(text):
    """Give (number of the Python block, line, output) of every output that a page shows."""
    python = -1
    for language, code, first in blocks(text):
        python += language == "python"
        if language == "output":
            yield python, first, code


def quiet():
    """Give an environment that says nothing about this machine."""
    telling = ("MODELVERSION_", "GITHUB_", "GITLAB_", "BUILDKITE", "CI_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(telling)}
    return {**kept, "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}


def run(file, folder):
    """Run a program in a folder and give what it printed."""
    done = subprocess.run(
        [sys.executable, str(file)],
        cwd=folder,
        env=quiet(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def with_code():
    """List the pages with a program; those of engines need more, and have tests of their own."""
    found = [page for page in PAGES if "```python\n" in (CHECKOUT / page).read_text("utf-8")]
    return [page for page in found if page.parent.name != "engines"]


@pytest.mark.parametrize("page", with_code(), ids=str)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page, tmp_path):
    """All Python of a page is one program, in an empty folder; an `output` block is its output."""
    assert_page_holds(page, tmp_path)


def assert_page_holds(page, tmp_path):
    """Run the program of a page and compare what it prints; give the folder that it ran in."""
    text = (CHECKOUT / page).read_text("utf-8")
    program = tmp_path / f"{page.stem.replace('-', '_')}_page.py"
    folder = tmp_path / "empty"
    program.write_text(script(text), "utf-8")
    folder.mkdir()

    printed = re.split(f"{MARK}\\d+\n", run(program, folder))

    checker = doctest.OutputChecker()
    for number, line, wanted in expected(text):
        assert checker.check_output(wanted, printed[number], doctest.ELLIPSIS), (
            f"{page}:{line} shows\n{wanted}\nand what is printed is\n{printed[number]}"
        )
    return folder


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_block_says_what_it_is(page):
    """A block without a language, or of one that is not run or known, is a slip."""
    known = {"python", "output", "text", "console", "toml", "yaml", "json", "toctree"}

    languages = {language for language, _, _ in blocks((CHECKOUT / page).read_text("utf-8"))}

    # A directive such as {toctree} has no word here.
    assert languages <= known | {""}


@pytest.mark.parametrize("name", [mv.__name__, *MODULES])
def test_the_examples_of_docstrings_hold(name, tmp_path, monkeypatch):
    """What a docstring shows is what happens."""
    monkeypatch.chdir(tmp_path)

    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)

    assert result.failed == 0


def test_the_quickstart_runs_twice(tmp_path):
    """The second run finds what the first one made, and makes no version."""
    example = tmp_path / "docs" / "examples" / "quickstart.py"
    example.parent.mkdir(parents=True)
    example.write_bytes((CHECKOUT / "docs" / "examples" / "quickstart.py").read_bytes())

    first = run(example, tmp_path)
    after_first = sorted((tmp_path / "model-registry" / "models").glob("*/versions/*"))
    second = run(example, tmp_path)

    assert "the same as here" in first and "5 versions verified, all good" in first
    assert "the same as here" in second and "5 versions verified, all good" in second
    assert sorted((tmp_path / "model-registry" / "models").glob("*/versions/*")) == after_first
    assert len(after_first) == 5


def test_what_the_quickstart_writes_is_ignored_by_git():
    """A run in the checkout leaves nothing to commit."""
    assert "model-registry/" in (CHECKOUT / ".gitignore").read_text("utf-8").splitlines()


# ---- links


def anchors(text):
    """Give the anchors of a page's headings, as code hosts and the site make them."""
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_relative_link_leads_somewhere(page):
    """A link names a file of the checkout, and a heading of it where it names one."""
    links = LINK.findall(OUTSIDE.sub("", (CHECKOUT / page).read_text("utf-8")))
    broken = []
    for link in links:
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (CHECKOUT / page).parent / path if path else CHECKOUT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(link)

    assert broken == []


def test_every_page_is_in_a_table_of_contents():
    """No page of the site can be reached by its address only."""
    listed = {Path("docs/index.md")}
    for page in PAGES:
        text = (CHECKOUT / page).read_text("utf-8")
        for body in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL):
            names = [line for line in body.split() if not line.startswith(":")]
            listed |= {page.parent / f"{name}.md" for name in names}

    assert {page for page in PAGES if page.parts[0] == "docs"} == listed


def test_every_error_is_explained():
    """The page of errors has a line for each class, and for no other."""
    page = (CHECKOUT / "docs" / "reference" / "errors.md").read_text("utf-8")

    rows = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))

    classes = {
        name
        for name, value in vars(mv.errors).items()
        if inspect.isclass(value) and value.__module__ == mv.errors.__name__
    }
    assert rows == classes
