"""JupyterLab with notebooks of ours, and a Chromium that looks at it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PICTURES = Path(os.environ.get("MODELVERSION_TEST_PICTURES", HERE / "pictures"))
AXE = HERE / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE = 240  # seconds: the machine may be busy
# JupyterLab hides everything, and fades a splash over it, while it starts and changes its theme;
# HTML comes into an output some time after the output does.
SETTLED = """() => {
    const shell = document.querySelector('.jp-LabShell');
    const outputs = [...document.querySelectorAll('.jp-RenderedHTML')];
    return shell && shell.checkVisibility() && !document.querySelector('#jupyterlab-splash')
        && outputs.every(output => output.firstElementChild && output.checkVisibility());
}"""


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab in a folder of its own; gives the folder and the address."""
    home = tmp_path_factory.mktemp("lab")
    work = home / "work"
    work.mkdir()
    settings = home / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    # Cells that are out of sight are otherwise not in the page.
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir()
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {
        **os.environ,
        **{f"JUPYTER_{n}_DIR": str(home / n.lower()) for n in ("CONFIG", "DATA", "RUNTIME")},
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
    }
    options = [
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        "--no-browser",
        "--allow-root",
        "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
    ]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            cwd=work,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(lambda: _answers(f"{address}/api"), home / "lab.log")
        yield work, address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def _answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def _wait_for(ready, log):
    end = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.5)


@pytest.fixture(scope="session")
def chromium():
    """A headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox"],
        )
        yield browser
        browser.close()


class Notebook:
    """A notebook in JupyterLab: what it shows, and what the page asked for or ran.

    Whatever changes what there is to see returns when it can be seen.
    """

    def __init__(self, page, address):
        self.page = page
        self.address = address
        self.requests, self.dialogs = [], []
        page.set_default_timeout(PATIENCE * 1000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))

    def open(self, name):
        self.page.goto(f"{self.address}/lab/tree/{name}?reset")
        self.page.wait_for_function(
            "() => window.jupyterapp && window.jupyterapp.shell.currentWidget"
        )
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        return self._settled()

    def _settled(self):
        self.page.wait_for_function(SETTLED)
        return self

    def run(self):
        """Run all cells and wait until the last one has printed its end."""
        self.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"
            " === 'idle'"
        )
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(
            "() => [...document.querySelectorAll('.jp-OutputArea-output')]"
            ".some(output => output.textContent.includes('the-very-end'))"
        )
        return self._settled()

    def theme(self, name):
        """Change between light and dark."""
        light = "true" if name == "light" else "false"
        theme = f"JupyterLab {name.title()}"
        self.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
        )
        self.page.wait_for_selector(f'body[data-jp-theme-light="{light}"]', state="attached")
        return self._settled()

    def axe(self):
        """Give axe's violations in our displays, and how many nodes' contrast it has checked.

        A text whose contrast axe could not tell is a violation, as one that is too pale.
        """
        # Inside JupyterLab's scrolling panels axe judges no contrast at all.
        self.page.add_style_tag(content="body{overflow:visible!important}")
        self.page.add_script_tag(content=AXE.read_text("utf-8"))
        found = self.page.evaluate(
            """async () => {
                document.querySelectorAll('details').forEach(d => d.open = true);
                const result = await axe.run({include: [['.jp-RenderedHTML']]});
                const checked = result.passes.filter(rule => rule.id === 'color-contrast')
                    .flatMap(rule => rule.nodes).length;
                const unclear = result.incomplete.filter(rule => rule.id === 'color-contrast');
                return {checked, violations: [...result.violations, ...unclear].map(rule =>
                    [rule.id, rule.nodes.length, rule.nodes[0].html.slice(0, 200)])};
            }"""
        )
        return found["violations"], found["checked"]

    def pictures(self, names, suffix):
        """Keep a picture of each display as it is at first, by its name."""
        PICTURES.mkdir(exist_ok=True)
        self.page.evaluate(
            "() => document.querySelectorAll('details').forEach(d => d.open = false)"
        )
        outputs = self.page.query_selector_all(".jp-RenderedHTML")
        for name, output in zip(names, outputs, strict=True):
            output.scroll_into_view_if_needed()
            output.screenshot(path=PICTURES / f"{name}-{suffix}.png")

    def outside(self):
        """Give what the page asked of others than the server."""
        own = (self.address, "data:", "blob:", self.address.replace("http", "ws"))
        return [url for url in self.requests if not url.startswith(own)]


@pytest.fixture
def notebook(lab, chromium):
    """Opens notebooks in a page of its own."""
    context = chromium.new_context(viewport={"width": 1280, "height": 2400})
    yield Notebook(context.new_page(), lab[1])
    context.close()


@pytest.fixture(scope="session")
def write(lab):
    """Writes a notebook of cells into JupyterLab's folder, and gives its name."""

    def written(name, *cells):
        book = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in (*cells, "print('the-very-end')")],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(book, lab[0] / f"{name}.ipynb")
        return f"{name}.ipynb"

    return written
