"""A learner's copy: nothing of the answers in it, ready to run, and nobody's work overwritten."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import notebook_rules as rules
import pytest
import readme

from helpers import __main__ as command_line
from helpers.commands import refresh, workshop

ROOT = refresh.ROOT
FOUR = "notebooks/04_lost_updates.ipynb"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A copy to look at, in a folder whose name has a space and an umlaut."""
    folder = tmp_path_factory.mktemp("work") / "Übung 1"
    assert workshop.make(folder) > 100
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "mine"))


def notebooks(folder):
    return sorted((folder / "notebooks").glob("*.ipynb"))


def everything(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder): path.read_bytes()
        for path in files
        if "__pycache__" not in path.parts
    }


def work(path, text="# my work"):
    """Write into the last code cell of a notebook, and store an output, as JupyterLab would."""
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    code.source += text
    code.execution_count = 1
    code.outputs = [nbformat.v4.new_output("stream", text="1\n")]
    notebook.metadata["language_info"] = {"name": "python", "version": "3.11.7"}
    nbformat.write(notebook, path)
    return path.read_bytes()


def test_every_notebook_is_there_without_outputs_and_with_the_same_code(made):
    assert [path.name for path in notebooks(made)] == [path.name for path in notebooks(ROOT)]
    for path in notebooks(made):
        mine, course = (nbformat.read(p, 4) for p in (path, ROOT / "notebooks" / path.name))
        nbformat.validate(mine)
        code = [cell for cell in mine.cells if cell.cell_type == "code"]
        assert all(not cell.outputs and cell.execution_count is None for cell in code)
        assert [c.source for c in code] == [c.source for c in course.cells if c.cell_type == "code"]
        assert [c.get("metadata") for c in mine.cells] == [c.get("metadata") for c in course.cells]
        source = "\n".join(cell.source for cell in code)
        # The first would be a prediction made; the others are not in the copy.
        assert re.findall(r"\banswer=|\btests/|\bsolutions/", source) == []


def test_no_answers_are_in_it(made):
    names = {path.as_posix() for path in everything(made)}
    wrong = r"(^|/)(tests|solutions|teaching\.md|bank|\.git|template.*|.*\.pyc)(/|$)"
    assert [name for name in names if re.search(wrong, name)] == []
    for path in notebooks(made):
        text = path.read_text(encoding="utf-8")
        assert "solutions/" not in text
        assert "teaching.md" not in text


def test_no_cell_is_a_solution(made):
    answers = [
        cell.source
        for path in (ROOT / "notebooks" / "solutions").glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
        if "solution" in rules.tags(cell)
    ]
    assert len(answers) > 10
    theirs = {cell.source for path in notebooks(made) for cell in nbformat.read(path, 4).cells}
    assert [answer for answer in answers if answer in theirs] == []


def test_links_lead_somewhere(made):
    rules.anchors.cache_clear()
    for path in notebooks(made):
        notebook = nbformat.read(path, as_version=4)
        assert list(rules.linked(notebook, path)) == []
    for name in ("README.md", "CONTRIBUTING.md"):
        links, _ = rules.links_and_images((made / name).read_text(encoding="utf-8"))
        assert [link for link in links if rules.broken(link, made / name)] == []


def test_its_readme_starts_as_the_courses_does(made):
    blocks = (made / "README.md").read_text(encoding="utf-8").split("```bash\n")[1:]
    commands = [block.partition("```")[0].strip() for block in blocks]
    assert commands[0] == readme.commands()[0]
    assert "NN" not in commands[1]


def run_in(folder, *command):
    """A Python that finds the copy's `helpers` first, as `uv run` and `python -m` do there."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True,
        text=True, encoding="utf-8", timeout=300, check=False,
    )  # fmt: skip


def test_it_has_what_an_installation_needs(made):
    project = (made / "pyproject.toml").read_text(encoding="utf-8")
    for file in re.findall(r'(?:readme|file) = "(.+?)"', project):
        assert (made / file).is_file()


RUN = """
import sys
import nbformat
from helpers.commands import refresh, workshop
from pathlib import Path

folder = Path.cwd() / "notebooks"
assert Path(workshop.__file__).is_relative_to(folder.parent), workshop.__file__
notebook = nbformat.read(folder / sys.argv[1], 4)
refresh.execute(notebook, folder)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "00_start_here.ipynb",  # its first cells are those of `doctor`
        "03_threading_modes.ipynb",
        "19_capstone.ipynb",
    ],
)
def test_its_notebooks_run(made, name):
    ended = run_in(made, "-c", RUN, name)
    assert ended.returncode == 0, ended.stderr


def test_made_again_it_is_the_same(copy):
    before = everything(copy)
    workshop.make(copy)
    assert everything(copy) == before


def test_work_is_not_overwritten_and_named(copy, capsys):
    work(copy / FOUR)
    (copy / "notebooks" / "applications" / "inventory.py").write_text("mine")
    (copy / "notebooks" / "01_one_connection_many_threads.ipynb").write_text("half a noteb")
    before = everything(copy)
    assert command_line.main(["workshop", str(copy)]) == 1
    said = capsys.readouterr().err
    assert re.findall(r"^  (\S+)$", said, re.MULTILINE) == [
        "notebooks/applications/inventory.py",
        "notebooks/01_one_connection_many_threads.ipynb",
        FOUR,
    ]
    assert everything(copy) == before


def test_outputs_are_no_work_and_a_newer_course_comes_in(copy, tmp_path):
    """What the learner has run only, what is missing, what they added."""
    work(copy / FOUR, "")
    (copy / "helpers" / "history.py").unlink()
    (copy / "notebooks" / "my_inventory.py").write_text("mine")
    newer = tmp_path / "course"
    parts = [*workshop.PARTS, "README.md", "CONTRIBUTING.md"]
    for part in parts:
        (newer / part).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, newer / part)
    for path in notebooks(ROOT):
        shutil.copy(path, newer / "notebooks")
    work(newer / FOUR, "# newer")
    workshop.make(copy, newer)
    assert b"# newer" in (copy / FOUR).read_bytes()
    assert not nbformat.read(copy / FOUR, 4).cells[-1].get("outputs")
    assert (copy / "helpers" / "history.py").exists()
    assert (copy / "notebooks" / "my_inventory.py").read_text() == "mine"
    workshop.make(copy, newer)


def test_a_file_of_the_learners_in_the_way_is_work(copy, tmp_path, monkeypatch):
    """A newer course brings a file under a name that the learner has given already."""
    files = workshop.contents(ROOT)
    (copy / "notebooks" / "my_notes.md").write_text("mine")
    coming = {**files, "notebooks/my_notes.md": b"theirs"}
    monkeypatch.setattr(workshop, "contents", lambda root: coming)
    with pytest.raises(workshop.WorkshopError, match="notebooks/my_notes"):
        workshop.make(copy)


@pytest.mark.parametrize("breaks", [1, 2, 150, 180, -1])
def test_a_copy_that_was_interrupted_can_be_made_again(tmp_path, monkeypatch, breaks):
    write, count = workshop._write, len(everything_to_write())
    calls = []

    def stops(path, content):
        calls.append(path)
        if len(calls) == breaks % count + 1:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(workshop, "_write", stops)
    with pytest.raises(KeyboardInterrupt):
        workshop.make(tmp_path / "copy")
    monkeypatch.setattr(workshop, "_write", write)
    workshop.make(tmp_path / "copy")
    assert workshop.reset(tmp_path / "copy", "04")


def everything_to_write():
    """The files of a copy, its notebooks twice, and the list of them at the start and the end."""
    files = workshop.contents(ROOT)
    return [*files, *(name for name in files if workshop.NOTEBOOK.fullmatch(name)), "", ""]


@pytest.mark.parametrize(
    "place", [".", "notebooks", "helpers/commands", "tests", "notebooks/learners", ".."]
)
def test_the_course_is_no_place_for_a_copy(place):
    with pytest.raises(workshop.WorkshopError, match="belongs to the course: give another folder"):
        workshop.make(ROOT / place)


def test_a_folder_with_something_else_in_it_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert command_line.main(["workshop", str(tmp_path)]) == 1
    assert "is not empty, and no learner's copy: give a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(workshop.WorkshopError, match="is not empty"):
        workshop.make(tmp_path / "thesis.txt")


def test_a_copy_makes_no_copies(copy, tmp_path):
    with pytest.raises(workshop.WorkshopError, match="is itself a learner's copy"):
        workshop.make(tmp_path / "another", copy)


def test_a_folder_or_a_number_is_needed(capsys):
    assert command_line.main(["workshop"]) == 1
    assert "give the folder for the learner's copy" in capsys.readouterr().err


def test_a_reset_brings_it_back_and_keeps_the_learners(copy, capsys, monkeypatch):
    original = (copy / FOUR).read_bytes()
    monkeypatch.chdir(copy / "notebooks")
    for number in (1, 2):
        mine = work(copy / FOUR, f"# attempt {number}")
        assert command_line.main(["workshop", "--reset", "04"]) == 0
        kept = f"04_lost_updates.mine-{number}.ipynb"
        assert capsys.readouterr().out.splitlines()[0] == (
            f"04_lost_updates.ipynb is as it was; yours is now {kept}."
        )
        assert (copy / FOUR).read_bytes() == original
        assert (copy / "notebooks" / kept).read_bytes() == mine


def test_a_reset_of_several_and_of_one_that_is_missing_or_only_ran(copy, capsys):
    original = everything(copy)
    work(copy / FOUR, "")
    (copy / "notebooks" / "09_wal.ipynb").unlink()
    assert command_line.main(["workshop", str(copy), "--reset", "04", "--reset", "09"]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "04_lost_updates.ipynb had no change in its cells; its outputs are gone.",
        "09_wal.ipynb was missing, and is back.",
    ]
    assert workshop.reset(copy, "04") == "04_lost_updates.ipynb is as it was: nothing to do"
    assert everything(copy) == original


@pytest.mark.parametrize("change", ["delete", "move", "add", "turn into prose"])
def test_every_change_of_a_cell_is_work(copy, change):
    notebook = nbformat.read(copy / FOUR, as_version=4)
    cells = notebook.cells
    if change == "delete":
        del cells[5]
    elif change == "move":
        cells[3], cells[5] = cells[5], cells[3]
    elif change == "add":
        cells.insert(7, nbformat.v4.new_markdown_cell("my note"))
    else:
        code = next(cell for cell in cells if cell.cell_type == "code")
        cells[cells.index(code)] = nbformat.v4.new_markdown_cell(code.source)
    nbformat.write(notebook, copy / FOUR)
    assert "yours is now 04_lost_updates.mine-1.ipynb" in workshop.reset(copy, "04")


def test_an_unknown_number_and_a_folder_that_is_no_copy(copy, tmp_path, capsys):
    assert command_line.main(["workshop", str(copy), "--reset", "44"]) == 1
    assert "there is no notebook '44': give one of 00, 01, 02" in capsys.readouterr().err
    assert command_line.main(["workshop", str(tmp_path), "--reset", "04"]) == 1
    assert "is not in a learner's copy: give the copy's folder" in capsys.readouterr().err


def test_no_git_is_needed(made, tmp_path, monkeypatch):
    """From an unpacked zip file, without git on the path."""
    monkeypatch.setenv("PATH", str(tmp_path))
    course = tmp_path / "course"
    ignored = shutil.ignore_patterns(".*", "tests", "__pycache__", "output")
    shutil.copytree(ROOT, course, ignore=ignored)
    for name in (".devcontainer", ".gitattributes", ".gitignore"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, course / name)
    workshop.make(tmp_path / "copy", course)
    assert everything(tmp_path / "copy") == everything(made)


def test_the_list_of_files_is_the_truth(made):
    listed = json.loads((made / workshop.NOTES / workshop.MANIFEST).read_text(encoding="utf-8"))
    ours = {str(name.as_posix()) for name in everything(made) if workshop.NOTES not in name.parts}
    assert ours == set(listed)
