"""JupyterLab, or Voila, in a browser for the tests: a server, and Chromium to look at it.

The server listens on loopback with a token, keeps its settings and workspaces in a folder
of the test, and is stopped together with its kernels whatever happens.
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import psutil
import pytest

if not os.environ.get("CI"):
    reason = "Playwright is not installed: uv run --extra test --extra browser pytest"
    pytest.importorskip("playwright", reason=reason)

from playwright.sync_api import Browser, Page, Playwright, Route, TimeoutError

ROOT = Path(__file__).resolve().parent.parent

#: Seconds for the server to answer, a notebook to be shown, all its cells to run.
SERVER, SHOWN, RUN = 60, 60, 240

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
#: The browser's own traffic is switched off; as root it cannot use its sandbox.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
]  # fmt: skip
VIEWPORT = {"width": 1200, "height": 1700}
TALLEST = 14000

#: Settings: no news, no questions, and every cell drawn, also those outside the view.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}

IS_SHOWN = """name => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.path === name && panel.context.isReady
        && panel.node.querySelector('.jp-Notebook .jp-Cell') !== null;
}"""

IS_OPEN = """path => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.path === path && panel.context.isReady;
}"""

RUN_ALL = """() => {
    const app = window.jupyterapp;
    app.shell.currentWidget.sessionContext.ready
        .then(() => app.commands.execute('notebook:run-all-cells'));
}"""

# The command's own promise is no help: it is settled at the first error, announced or not.
IS_FINISHED = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const code = panel.content.widgets.map(cell => cell.model)
        .filter(model => model.type === 'code' && model.sharedModel.getSource().trim());
    const stopped = code.some(model =>
        !(model.getMetadata('tags') || []).includes('raises-exception')
        && model.sharedModel.getOutputs().some(output => output.output_type === 'error'));
    return panel.sessionContext.session?.kernel?.status === 'idle'
        && (stopped || code.every(model => model.executionCount !== null));
}"""

CELLS = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code')
    .map(cell => ({
        source: cell.model.sharedModel.getSource(),
        tags: cell.model.getMetadata('tags') || [],
        count: cell.model.executionCount,
        errors: cell.model.sharedModel.getOutputs()
            .filter(output => output.output_type === 'error')
            .map(output => output.ename + ': ' + output.evalue),
    }))"""

HEIGHT = """() => Math.max(...window.jupyterapp.shell.currentWidget.content.widgets
    .map(cell => cell.node.offsetTop + cell.node.offsetHeight))"""


class LabError(Exception):
    """The server or a notebook did not come as far as it should."""


def find_chromium(playwright: Playwright) -> str | None:
    """A Chromium of this machine: on the PATH, or the one `playwright install` brought."""
    for name in CHROMIUM_NAMES:
        if found := shutil.which(name):
            return found
    own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def without_chromium(environment: Mapping[str, str]) -> None:
    """Say that the browser test is left out; where CI is set, fail instead."""
    words = f"no Chromium on this machine (looked for {', '.join(CHROMIUM_NAMES)} on the PATH)"
    if environment.get("CI"):
        pytest.fail(f"{words}: CI must have one")
    pytest.skip(f"{words}: the notebooks were not opened in a browser")


def launch(playwright: Playwright, executable: str) -> Browser:
    return playwright.chromium.launch(executable_path=executable, args=FLAGS)


@dataclass(frozen=True)
class Lab:
    """A running server."""

    url: str
    token: str
    process: psutil.Process

    def notebook_url(self, name: str) -> str:
        # A workspace of its own: the default one would open the notebook before it as well.
        workspace = quote(name.removesuffix(".ipynb"), safe="")
        return f"{self.url}/lab/workspaces/{workspace}/tree/{quote(name)}?token={self.token}"


@contextmanager
def running_lab(folder: Path, state: Path) -> Iterator[Lab]:
    """JupyterLab on the notebooks in `folder`, its settings and log in `state`."""
    command = [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder}", "--allow-root",
    ]  # fmt: skip
    with serving(command, state, state, {"PYTHONPATH": _with_course()}) as lab:
        yield lab


@contextmanager
def serving(
    command: list[str], folder: Path, state: Path, environment: Mapping[str, str]
) -> Iterator[Lab]:
    """What a command serves that starts JupyterLab in `folder`; settings and log in `state`."""
    token, port = secrets.token_hex(16), _free_port()
    options = [
        "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    url, environment = f"http://127.0.0.1:{port}", {**_environment(state, token), **environment}
    question = f"{url}/api?token={token}"
    with _answering(command + options, folder, state, environment, question) as process:
        yield Lab(url, token, process)


@contextmanager
def running_voila(notebook: Path, state: Path) -> Iterator[str]:
    """Voila on one notebook, its data and log in `state`: the address of the page."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "voila", str(notebook), "--no-browser", f"--port={port}",
        "--Voila.ip=127.0.0.1", "--Voila.port_retries=0",
    ]  # fmt: skip
    environment = {**_environment(state, ""), "PYTHONPATH": _with_course()}
    # It writes a secret there, and does not make the folder.
    Path(environment["JUPYTER_DATA_DIR"]).mkdir()
    question = f"{url}/voila/static/voila.js"
    with _answering(command, state, state, environment, question):
        yield url


@contextmanager
def _answering(
    command: list[str], folder: Path, state: Path, environment: Mapping[str, str], question: str
) -> Iterator[psutil.Process]:
    """A server that is started in `folder`, answers a question, and is stopped in the end."""
    log = state / "server.log"
    with open(log, "wb") as output:
        process = psutil.Popen(
            command, cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        _wait_until_it_answers(question, process, log)
        yield process
    finally:
        stop(process)


def stop(process: psutil.Process, patience: float = 10) -> None:
    """End a process and all that it started: kernels are in process groups of their own."""
    family = [process]
    # It may have ended by itself.
    with suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
        process.terminate()
    psutil.wait_procs([process], timeout=patience)
    _, alive = psutil.wait_procs(family, timeout=1)
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=10)


def _environment(state: Path, token: str) -> dict[str, str]:
    """Nobody's configuration and data, and the settings above."""
    settings = state / "settings"
    for plugin, values in SETTINGS.items():
        file = settings / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    return {
        **os.environ,
        "JUPYTER_TOKEN": token,
        "JUPYTER_CONFIG_DIR": str(state / "config"),
        "JUPYTER_DATA_DIR": str(state / "data"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(state / "workspaces"),
        # Nobody's progress either: a notebook in a browser looks as if a person ran it.
        "SQLITE_UNDER_THREADS_PROGRESS": str(state / "progress.sqlite"),
    }


def _with_course() -> str:
    """Where Python looks for modules, with the course's own."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(url: str) -> bytes:
    """What a server on loopback answers, whatever proxies the environment names."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=5) as answer:
        return answer.read()


def _wait_until_it_answers(url: str, process: psutil.Popen, log: Path) -> None:
    for _ in range(SERVER * 5):
        try:
            ask(url)
            return
        except (urllib.error.URLError, OSError):
            try:
                # The interval between two tries, cut short if the server ends.
                status = process.wait(timeout=0.2)
            except psutil.TimeoutExpired:
                continue
            raise LabError(f"The server ended with {status}:\n{log.read_text()}") from None
    raise LabError(f"The server did not answer within {SERVER} s:\n{log.read_text()}")


@dataclass
class Visit:
    """One notebook opened and run in the browser."""

    cells: list[dict] = field(default_factory=list)
    #: How many widgets were drawn.
    widgets: int = 0
    #: Hosts other than loopback that the page asked for anything.
    strangers: set[str] = field(default_factory=set)

    def problems(self) -> list[str]:
        """Cells that were not run, and errors that no tag announces."""
        found = []
        for number, cell in enumerate(self.cells, 1):
            if cell["errors"] and "raises-exception" not in cell["tags"]:
                found.append(f"code cell {number}: {cell['errors'][0]}")
            elif cell["count"] is None and cell["source"].strip():
                found.append(f"code cell {number} was not run")
        return found


def run_all(browser: Browser, lab: Lab, name: str, screenshot: Path) -> Visit:
    """Open a notebook, run all its cells, keep a picture of the whole.

    Raises:
        LabError: if it is not shown, or does not come to its end in time.
    """
    visit = Visit()
    screenshot.parent.mkdir(parents=True, exist_ok=True)
    with browser.new_page(viewport=VIEWPORT) as page:
        page.on("request", lambda request: _note(request.url, visit))
        page.on("websocket", lambda web_socket: _note(web_socket.url, visit))
        try:
            page.goto(lab.notebook_url(name), timeout=SHOWN * 1000)
            page.wait_for_function(IS_SHOWN, arg=name, timeout=SHOWN * 1000)
            page.evaluate(RUN_ALL)
            page.wait_for_function(IS_FINISHED, timeout=RUN * 1000)
        except TimeoutError as error:
            page.screenshot(path=screenshot)
            raise LabError(f"{name} was not shown or did not end: {error.message}") from error
        visit.cells = page.evaluate(CELLS)
        visit.widgets = page.locator(".jupyter-widgets").count()
        _picture(page, screenshot)
    return visit


def grave(page: Page, within: str = "html") -> list[tuple[str, str, str]]:
    """Serious and critical rules of axe that a page breaks: rule, element, what is wrong.

    Raises:
        LabError: if axe has found nothing to look at.
    """
    # An extra: a reader's own run of the tests may be without it.
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context={"include": [[within]]}).response
    if not any(rule["id"] == "color-contrast" for rule in found["passes"]):
        raise LabError(f"axe has compared no colours within {within}: {found['incomplete']}")
    return [
        (rule["id"], str(node["target"]), node["failureSummary"])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def on_loopback(route: Route) -> None:
    """Let the page have what this machine serves: Voila's page asks a CDN for icons, too."""
    if urlsplit(route.request.url).hostname == "127.0.0.1":
        route.continue_()
    else:
        route.abort()


def _note(url: str, visit: Visit) -> None:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1":
        visit.strangers.add(parts.hostname or url)


def _picture(page: Page, path: Path) -> None:
    height = min(TALLEST, int(page.evaluate(HEIGHT)) + 300)
    page.set_viewport_size({**VIEWPORT, "height": max(VIEWPORT["height"], height)})
    page.evaluate("window.jupyterapp.shell.currentWidget.content.scrollToItem(0)")
    page.wait_for_function(
        "[...document.querySelectorAll('.jp-Notebook img')].every(image => image.complete)"
    )
    page.screenshot(path=path)
