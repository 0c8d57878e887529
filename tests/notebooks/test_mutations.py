"""Every claim of a notebook goes red when `helpers` no longer bears it out.

The harness itself is tried on a course of one module and one notebook.
"""

import re
import shutil
from dataclasses import replace

import mutations
import nbformat
import nbval.kernel
import nbval.plugin
import pytest
from mutated import MUTATIONS
from mutations import Mutation, MutationError
from nbformat.v4 import new_code_cell, new_notebook, new_output

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_notebook_notices(mutation):
    assert mutations.problems(mutation) == []


#: Notebooks that run servers and processes; the others run in such a copy in `.ci/run`.
SERVING = sorted({m.notebook for m in MUTATIONS if re.match(r"notebooks/1[1-689]_", m.notebook)})


@pytest.mark.parametrize("notebook", SERVING)
def test_a_copy_without_a_mutation_is_green_and_leaves_nothing(notebook, tmp_path, monkeypatch):
    """No thread, no process, no file."""
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path))
    assert mutations.without_a_change(notebook, watched=True) == []
    # Dask's workers on one machine share this folder; Dask leaves it, with its lock files.
    shutil.rmtree(tmp_path / "dask-scratch-space", ignore_errors=True)
    assert [file.name for file in tmp_path.iterdir()] == []


def test_every_claim_has_a_mutation():
    claims = {
        (path.relative_to(mutations.ROOT).as_posix(), claim)
        for path in (mutations.ROOT / "notebooks").rglob("*.ipynb")
        if ".ipynb_checkpoints" not in path.parts
        for claim in mutations.claimed(path)
    }
    assert claims == {(m.notebook, claim) for m in MUTATIONS for claim in m.claims}


def test_every_old_text_stands_once():
    texts = {m: (mutations.ROOT / m.file).read_text(encoding="utf-8") for m in MUTATIONS}
    assert [m.name for m, text in texts.items() if text.count(m.old) != 1] == []


def test_names_are_unique():
    names = [mutation.name for mutation in MUTATIONS]
    assert len(names) == len(set(names))


SOUND = Mutation(
    name="halved",
    claims=("doubling",),
    notebook="notebooks/00_tiny.ipynb",
    file="helpers/tiny.py",
    old="2 * number",
    new="number / 2",
)
CELLS = [
    ("from helpers import tiny", None, []),
    ("tiny.double(4)", "8", ["claim:doubling"]),
    ("tiny.double(2) > 2 and tiny.NAME", "'doubling'", ["claim:growing"]),
    ("tiny.NAME", "'doubling'", []),
    ("assert tiny.double(4) == 8\neight = 8", None, ["claim:eight"]),
    ("eight", "8", ["claim:consequence"]),
]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course of one module and one notebook, with this course's pytest settings."""
    root = tmp_path_factory.mktemp("course")
    for folder in ("helpers", "data", "tests", "notebooks/applications"):
        (root / folder).mkdir(parents=True)
    for file in ("pyproject.toml", "tests/sanitize.cfg"):
        shutil.copy(mutations.ROOT / file, root / file)
    (root / "helpers" / "__init__.py").write_text("")
    (root / "helpers" / "tiny.py").write_text(
        "NAME = 'doubling'\n\n\ndef double(number):\n    return 2 * number\n"
    )
    notebook = new_notebook()
    for count, (source, result, tags) in enumerate(CELLS, 1):
        cell = new_code_cell(source, execution_count=count, metadata={"tags": tags})
        if result is not None:
            data = {"text/plain": result}
            cell.outputs = [new_output("execute_result", data, execution_count=count)]
        notebook.cells.append(cell)
    nbformat.write(notebook, root / SOUND.notebook)
    return root


def test_a_sound_mutation_is_noticed_at_its_claim_and_leaves_the_course_alone(course):
    before = (course / SOUND.file).read_text()
    assert mutations.problems(SOUND, course) == []
    assert (course / SOUND.file).read_text() == before


def test_a_change_that_breaks_no_claim_is_reported(course):
    harmless = replace(SOUND, name="turned", new="number * 2")
    assert mutations.problems(harmless, course) == [
        "claim:doubling stays green with the change turned"
    ]


def test_several_claims_at_once_and_a_mere_consequence(course):
    several = replace(SOUND, claims=("growing", "eight", "consequence"))
    assert mutations.problems(several, course) == [
        "claim:consequence is red only because a cell before it failed"
    ]


def test_a_change_that_breaks_the_import_proves_nothing(course):
    broken = replace(SOUND, new="2 number")
    assert mutations.problems(broken, course) == [
        "red before any claim: Cell 0",
        "claim:doubling is red only because a cell before it failed",
    ]


@pytest.mark.parametrize(("old", "times"), [("3 * number", 0), ("doub", 2)])
def test_the_old_text_must_stand_once(course, old, times):
    with pytest.raises(MutationError, match=f"stands {times} times in helpers/tiny.py"):
        mutations.problems(replace(SOUND, old=old), course)


def test_an_unknown_claim_is_reported(course):
    found = mutations.problems(replace(SOUND, claims=("halving",)), course)
    assert found == ["notebooks/00_tiny.ipynb has no cell tagged claim:halving"]


def test_a_notebook_that_is_red_anyway_is_reported(course):
    notebook = nbformat.read(course / SOUND.notebook, as_version=4)
    notebook.cells[3].outputs[0].data["text/plain"] = "'tripling'"
    nbformat.write(notebook, course / "notebooks" / "01_red.ipynb")
    found = mutations.without_a_change("notebooks/01_red.ipynb", course)
    assert found == ["red without the change: Cell 3"]
    assert mutations.without_a_change(SOUND.notebook, course) == []


def test_a_notebook_that_leaves_a_thread_behind_is_reported(course):
    notebook = nbformat.read(course / SOUND.notebook, as_version=4)
    line = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    notebook.cells.append(new_code_cell(line, execution_count=len(notebook.cells) + 1))
    nbformat.write(notebook, course / "notebooks" / "01_left.ipynb")
    found = mutations.without_a_change("notebooks/01_left.ipynb", course, watched=True)
    assert found == [f"red without the change: Cell {len(notebook.cells)}"]


def test_a_kernel_that_dies_at_its_start_is_started_again(course, monkeypatch):
    start, deaths = nbval.plugin.RunningKernel, ["Kernel died before replying to kernel_info"]

    def dies_once(*args, **options):
        if deaths:
            raise RuntimeError(deaths.pop())
        return start(*args, **options)

    monkeypatch.setattr(nbval.plugin, "RunningKernel", dies_once)
    assert mutations.without_a_change(SOUND.notebook, course) == []
    assert deaths == []


def test_a_red_notebook_leaves_no_file_open(course, monkeypatch):
    start, files = nbval.kernel.start_new_kernel, []

    def noted(*arguments, stderr, **options):
        files.append(stderr)
        return start(*arguments, stderr=stderr, **options)

    monkeypatch.setattr(nbval.kernel, "start_new_kernel", noted)
    assert mutations.problems(SOUND, course) == []
    assert [file.closed for file in files] == [True]


def test_a_notebook_that_cannot_be_run_is_an_error(course):
    nbformat.write(new_notebook(), course / "notebooks" / "02_empty.ipynb")
    with pytest.raises(MutationError, match="was not run"):
        mutations.failed_cells(course, "notebooks/02_empty.ipynb")
