"""What a learner sees: JupyterLab opens a notebook, and Run All reaches its end.

The notebooks are copied and stripped of their outputs, so that an output in the copy was
made in this run. Pictures are kept in `tests/output/`. No request may leave loopback.
"""

import shutil
import sys
from pathlib import Path

import browsing
import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

OUTPUT = Path(__file__).resolve().parent.parent / "output"
FOLDER = browsing.ROOT / "notebooks"
NOTEBOOKS = [path.name for path in sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))]


@pytest.fixture(scope="module")
def course_lab(tmp_path_factory):
    """A server on a copy of the notebooks, without their outputs."""
    folder = tmp_path_factory.mktemp("course") / "notebooks"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for path in folder.rglob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, path)
    with browsing.running_lab(folder, tmp_path_factory.mktemp("state")) as lab:
        yield lab


#: The first belongs to every run; a browser takes ten times as long as nbval.
EACH = [
    pytest.param(name, id=name, marks=pytest.mark.slow if number else ())
    for number, name in enumerate(NOTEBOOKS)
]


@pytest.mark.parametrize("name", EACH)
def test_notebook_runs_to_its_end(browser, course_lab, name):
    picture = OUTPUT / f"browser-{Path(name).stem}.png"
    visit = browsing.run_all(browser, course_lab, name, picture)
    assert visit.problems() == []
    assert visit.strangers == set()
    assert picture.stat().st_size > 10_000


SMALL = {
    "good.ipynb": [
        ("import ipywidgets\nipywidgets.IntSlider()", []),
        ("1 / 0", ["raises-exception"]),
        ("import time\ntime.sleep(1)", []),
        ("print('after the error')", []),
    ],
    "failing.ipynb": [("1 / 0", []), ("print('never')", [])],
    "stranger.ipynb": [
        (
            "from IPython.display import HTML\nHTML('<img src=\"http://stranger.invalid/a.png\">')",
            [],
        )
    ],
}


@pytest.fixture(scope="module")
def small(browser, tmp_path_factory):
    """Small notebooks run by a server that then meets an exception: visits, and processes."""
    folder = tmp_path_factory.mktemp("small")
    for name, cells in SMALL.items():
        notebook = new_notebook()
        notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        for source, tags in cells:
            notebook.cells.append(new_code_cell(source, metadata={"tags": tags}))
        nbformat.write(notebook, folder / name)
    visits, family = {}, []

    def use(lab):
        for name in SMALL:
            picture = tmp_path_factory.mktemp("pictures") / "page.png"
            visits[name] = browsing.run_all(browser, lab, name, picture)
        family.extend([lab.process, *lab.process.children(recursive=True)])
        raise KeyboardInterrupt

    lab = browsing.running_lab(folder, tmp_path_factory.mktemp("state"))
    with pytest.raises(KeyboardInterrupt), lab as running:
        use(running)
    return visits, family


def test_run_all_passes_an_error_that_a_tag_announces(small):
    visit = small[0]["good.ipynb"]
    assert visit.problems() == []
    assert [cell["errors"] for cell in visit.cells] == [
        [],
        ["ZeroDivisionError: division by zero"],
        [],
        [],
    ]
    assert visit.strangers == set()


def test_widgets_are_drawn(small):
    assert small[0]["good.ipynb"].widgets > 0
    assert small[0]["failing.ipynb"].widgets == 0


def test_an_error_that_no_tag_announces_is_reported(small):
    assert small[0]["failing.ipynb"].problems() == [
        "code cell 1: ZeroDivisionError: division by zero",
        "code cell 2 was not run",
    ]


def test_a_request_that_leaves_loopback_is_noticed(small):
    assert small[0]["stranger.ipynb"].strangers == {"stranger.invalid"}


def test_the_server_and_its_kernels_are_stopped_after_a_failure(small):
    family = small[1]
    assert len(family) > len(SMALL)
    assert [member for member in family if member.is_running()] == []


def test_a_server_that_does_not_start_is_reported(tmp_path):
    missing = tmp_path / "not there"
    with (
        pytest.raises(browsing.LabError, match="The server ended with"),
        browsing.running_lab(missing, tmp_path),
    ):
        pass


def test_a_process_that_ignores_the_signal_is_stopped_too():
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); input()"
    process = psutil.Popen([sys.executable, "-c", deaf], stdin=-1, stdout=-1)
    with process.stdin, process.stdout:
        process.stdout.readline()
        browsing.stop(process, patience=0.2)
        assert not process.is_running()


def test_where_there_is_no_chromium_ci_fails_and_others_say_so():
    with pytest.raises(pytest.fail.Exception, match="CI must have one"):
        browsing.without_chromium({"CI": "true"})
    with pytest.raises(pytest.skip.Exception, match="not opened in a browser"):
        browsing.without_chromium({})
