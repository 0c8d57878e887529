"""The README's first command, as a stranger gives it: in a fresh copy of the course, whose path
has a space and an umlaut, as root where the tests run as root, and as a user without rights.

The project's folder is JupyterLab's root, `/` leads to notebook 00, and from there links lead
to the other notebooks and to the modules of `helpers`.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import browsing
import nbformat
import notebook_rules as rules
import pytest
import readme

START = "notebooks/00_start_here.ipynb"
IGNORED = shutil.ignore_patterns(".venv*", ".git", ".*_cache", "__pycache__", "output")
SCRIPTS = sysconfig.get_path("scripts")
#: A user without rights, who may only read all files: Python may be in root's own folder.
NOBODY = 65534
AS_NOBODY = [
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
]  # fmt: skip
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def first_command() -> list[str]:
    """Without `uv run`, which would install into the copy: as in an environment that is set up."""
    uv, run, jupyter, *arguments = shlex.split(readme.commands()[0])
    assert [uv, run, jupyter] == ["uv", "run", "jupyter"]
    return [sys.executable, "-m", jupyter, *arguments]


def become_nobody(*folders: Path) -> list[str]:
    """Give the folders to a user without rights, and the words before a command of theirs."""
    if shutil.which("setpriv") is None:
        pytest.skip("there is no setpriv on this machine to run a command as another user")
    look = ["test", "-x", f"{SCRIPTS}/jupyter-lab"]
    if subprocess.run([*AS_NOBODY, *look], capture_output=True).returncode != 0:
        pytest.skip(f"another user cannot run what is in {SCRIPTS}")
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    return AS_NOBODY


def first_link_to_helpers() -> tuple[str, str]:
    """A notebook, and the first link in it to a module, as it is written there."""
    for path in sorted((browsing.ROOT / "notebooks").glob("*.ipynb")):
        for _, cell in rules.cells(nbformat.read(path, as_version=4), "markdown"):
            for link in rules.links_and_images(cell.source)[0]:
                if link.startswith("../helpers/"):
                    return path.name, link
    raise AssertionError("no notebook links to a module in helpers")


USERS = ["this user", "nobody"] if IS_ROOT else ["this user"]


@pytest.fixture(scope="module", params=USERS)
def lab(request):
    # Not in pytest's own folder, which only its user may enter.
    with tempfile.TemporaryDirectory(prefix="a stranger ") as parent:
        os.chmod(parent, 0o755)
        folder, state = Path(parent, "SQLite für alle"), Path(parent, "state")
        shutil.copytree(browsing.ROOT, folder, ignore=IGNORED)
        state.mkdir()
        before = become_nobody(folder, state) if request.param == "nobody" else []
        # `jupyter lab` looks for `jupyter-lab` on the PATH.
        path = os.pathsep.join([SCRIPTS, os.environ["PATH"]])
        environment = {"HOME": str(state), "PATH": path}
        with browsing.serving([*before, *first_command()], folder, state, environment) as lab:
            yield lab


def test_the_project_is_the_root_and_its_notebooks_can_be_saved(lab):
    for path in ("README.md", START):
        answer = json.loads(browsing.ask(f"{lab.url}/api/contents/{path}?token={lab.token}"))
        assert (answer["path"], answer["writable"], bool(answer["content"])) == (path, True, True)


@pytest.mark.parametrize("lab", ["this user"], indirect=True)
def test_notebook_00_is_in_front_and_links_lead_to_modules(lab, browser):
    notebook, link = first_link_to_helpers()
    wait = {"timeout": browsing.SHOWN * 1000}
    with browser.new_page(viewport=browsing.VIEWPORT) as page:
        page.goto(f"{lab.url}/?token={lab.token}", **wait)
        page.wait_for_function(browsing.IS_SHOWN, arg=START, **wait)
        page.locator(f".jp-RenderedMarkdown a[href*='{notebook}']").first.click(**wait)
        page.wait_for_function(browsing.IS_SHOWN, arg=f"notebooks/{notebook}", **wait)
        module = link.removeprefix("../")
        page.locator(f".jp-RenderedMarkdown a[href*='{module}']").first.click(**wait)
        page.wait_for_function(browsing.IS_OPEN, arg=module, **wait)
