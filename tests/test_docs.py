"""The documentation: its code runs and prints what it says, its links lead somewhere."""

import doctest
import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from processes import with_driver

import modelversion as mv
from modelversion.display import Shown

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

    module = with_driver(name) or pytest.skip("its driver is not of the extra `test`")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)

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


# No page is asked for here: a site that is down is no fault of a page. A host that is not
# listed is either misspelt, or new and to be opened by whoever adds it.
HOSTS = {"filesystem-spec.readthedocs.io", "keepachangelog.com", "semver.org"}


def broken_links(page, text):
    """List the links of a page that lead nowhere: to no file, heading or known host."""
    broken = []
    for link in LINK.findall(OUTSIDE.sub("", text)):
        if ":" in link:
            address = urlsplit(link)
            if address.scheme != "https" or address.hostname not in HOSTS or address.username:
                broken.append(link)
            continue
        path, _, anchor = link.partition("#")
        target = (CHECKOUT / page).parent / path
        if not target.exists() or (
            anchor and anchor not in anchors(target.read_text("utf-8") if path else text)
        ):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page):
    """A link names a file of the checkout and a heading of it, or a page of a known host."""
    assert broken_links(page, (CHECKOUT / page).read_text("utf-8")) == []


BOOKS = sorted(path.relative_to(CHECKOUT) for path in CHECKOUT.glob("notebooks/*.ipynb"))


@pytest.mark.parametrize("book", BOOKS, ids=str)
def test_every_link_of_a_notebook_leads_somewhere(book):
    """In its texts."""
    cells = json.loads((CHECKOUT / book).read_text("utf-8"))["cells"]
    text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")

    assert broken_links(book, text) == []


@pytest.mark.parametrize(
    "link",
    [
        "no-such-page.md",
        "glossary.md#no-such-term",
        "#no-such-heading",
        "pictures/no-such.png",
        "http://semver.org/",
        "https://semver.example/",
        "https://user@semver.org/",
        "https:/semver.org",
        "javascript:alert",
        "file:///etc/passwd",
    ],
)
def test_a_dead_link_would_be_found(link):
    """Files, headings and addresses; what is good is not reported."""
    text = f"# Here\n\n[good](glossary.md), [too](#here), [x]({link}), [y](https://semver.org/)"

    assert broken_links(Path("docs/index.md"), text) == [link]


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


# ---- the gallery


def gallery(word="plan"):
    """Give the gallery of the browser tests: name -> display."""
    path = CHECKOUT / "tests" / "browser" / "gallery.py"
    spec = importlib.util.spec_from_file_location("gallery", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.gallery(f"memory://gallery{len(word)}", word)


def test_the_gallery_shows_every_display():
    """A picture of each, and no picture that no page shows."""
    text = (CHECKOUT / "docs" / "gallery.md").read_text("utf-8")
    pictures = {path.name for path in (CHECKOUT / "docs" / "pictures").iterdir()}

    shown = set(re.findall(r"!\[[^\]]{5,}\]\(pictures/([\w-]+\.png)\)", text))

    assert {f"{name}-light.png" for name in gallery()} <= shown
    assert shown == pictures


def test_every_class_with_a_display_is_in_the_gallery():
    """A class that is shown and is not there would be looked at by no browser.

    A class as it was before attrs gave it slots is a subclass too until it is collected; the one
    that its module names is the one that is shown.
    """
    for module in MODULES:
        if not module.startswith(("modelversion.fingerprints._", "modelversion.__main__")):
            with_driver(module)
    classes = {
        cls
        for cls in Shown.__subclasses__()
        if cls.__module__.startswith("modelversion.")
        and not cls.__name__.startswith("_")
        and getattr(sys.modules[cls.__module__], cls.__name__) is cls
    }

    seen = {type(display) for display in gallery().values()}

    assert classes - seen == set()
    assert seen <= classes


@pytest.mark.parametrize("word", ["plan", "<script>alert(1)</script>" * 8], ids=["plain", "long"])
def test_every_display_has_three_forms_of_at_most_20_kb(word):
    """HTML, text and Markdown, as data too; and looking again gives the same."""
    for name, display in gallery(word).items():
        forms = [display._repr_html_(), str(display), display.to_markdown()]
        assert all(form and len(form.encode()) <= 20_000 for form in forms), name
        assert not any("cannot be shown" in form for form in forms), name
        assert forms[0] == display._repr_html_() and forms[2] == display.to_markdown(), name
        assert display.to_dict() is not None, name
