"""`python -m helpers new`: what it writes keeps every rule and is green; what it refuses."""

import shutil

import mutations
import nbformat
import notebook_rules as rules
import pytest
import test_architecture
from nbformat.v4 import new_markdown_cell, new_notebook

from helpers import __main__ as command_line
from helpers.commands import new, refresh

pytestmark = pytest.mark.slow

NAME = "07_what_is_new"
BESIDE = {"03_before.ipynb": "# 03 · Before", "11_after.ipynb": "# 11 · After"}


def course(folder):
    """A folder of two notebooks, and room between them."""
    folder.mkdir()
    for name, title in BESIDE.items():
        nbformat.write(new_notebook(cells=[new_markdown_cell(title)]), folder / name)
    return folder


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A course to which a notebook was added."""
    folder = course(tmp_path_factory.mktemp("new") / "notebooks")
    assert new.new(NAME, folder) == [folder / f"{NAME}.ipynb", folder / f"solutions/{NAME}.ipynb"]
    return folder


@pytest.fixture(params=[f"{NAME}.ipynb", f"solutions/{NAME}.ipynb"], ids=["lesson", "solutions"])
def path(folder, request):
    return folder / request.param


def test_it_writes_a_notebook_and_its_solutions(folder):
    assert files(folder) == sorted([*BESIDE, f"{NAME}.ipynb", f"solutions/{NAME}.ipynb"])


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_it_keeps(path, rule):
    assert list(rule(nbformat.read(path, as_version=4), path)) == []


def test_it_imports_only_what_rooms_offer(path):
    code = [cell.source for _, cell in rules.cells(nbformat.read(path, as_version=4), "code")]
    assert [found for source in code for found in test_architecture._reaches_in(source)] == []


def test_it_claims_nothing_and_its_blanks_are_filled_in(path):
    cells = nbformat.read(path, as_version=4).cells
    assert [tag for cell in cells for tag in rules.tags(cell) if tag.startswith("claim:")] == []
    prose = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "07 · What is new" in prose
    assert "*Write here*" in prose
    assert "$" not in prose


def test_it_has_every_part_of_a_lesson(folder):
    cells = nbformat.read(folder / f"{NAME}.ipynb", as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for part in ("predict(", "Stage(", "load.run(", "explore(", "audit_bars(", "exercises.check("):
        assert part in code
    links = "Previous: [03 · Before](03_before.ipynb) · Next: [11 · After](11_after.ipynb)"
    assert cells[-1].source.endswith(links)
    assert cells[-1].source.count("<details>") == 3


def test_it_is_green_at_once(folder, path):
    """Strictly, with the course's own settings."""
    root = folder.parent
    for file in ("pyproject.toml", "tests/sanitize.cfg"):
        (root / file).parent.mkdir(exist_ok=True)
        shutil.copy(mutations.ROOT / file, root / file)
    assert mutations.failed_cells(root, path.relative_to(root).as_posix()) == {}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("new_notebook", "'new_notebook' is no name for a notebook: give two digits and words"),
        ("7_new", "'7_new' is no name"),
        ("07_New", "'07_New' is no name"),
        ("07 new", "'07 new' is no name"),
        ("07_new.ipynb", "'07_new.ipynb' is no name"),
        ("07_", "'07_' is no name"),
        ("../07_new", "'../07_new' is no name"),
        ("03_again", "number 03 is taken by 03_before.ipynb: 12 is free"),
        ("05_solved", "05_solved.ipynb exists: move it away, or choose another name"),
    ],
)
def test_what_cannot_be_is_refused(name, reason, tmp_path, capsys):
    folder = course(tmp_path / "notebooks")
    (folder / "solutions").mkdir()
    (folder / "solutions" / "05_solved.ipynb").write_text("")
    before = files(folder)
    assert command_line.main(["new", name, "--folder", str(folder)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("nothing written: ")
    assert reason in told
    assert files(folder) == before


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert command_line.main(["new", NAME, "--folder", str(tmp_path / "nowhere")]) == 1
    assert f"there is no folder {tmp_path / 'nowhere'}: give the one" in capsys.readouterr().err


def test_what_does_not_run_is_not_written(tmp_path, capsys, monkeypatch):
    folder = course(tmp_path / "notebooks")

    def run(notebook, folder):
        if "Solutions" in notebook.cells[0].source:
            raise refresh.RefreshError("code cell 1 raised: ZeroDivisionError")

    monkeypatch.setattr(refresh, "execute", run)
    assert command_line.main(["new", NAME, "--folder", str(folder)]) == 1
    assert "nothing written: code cell 1 raised: ZeroDivision" in capsys.readouterr().err
    assert files(folder) == sorted(BESIDE)


def test_it_says_what_it_wrote_and_what_comes_next(tmp_path, capsys, monkeypatch):
    folder = course(tmp_path / "notebooks")
    monkeypatch.setattr(refresh, "execute", lambda notebook, folder: None)
    assert command_line.main(["new", NAME, "--folder", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{folder / NAME}.ipynb: written and run"
    assert lines[1] == f"{folder / 'solutions' / NAME}.ipynb: written and run"
    assert [line[:2] for line in lines[3:] if line[0] != " "] == ["1.", "2.", "3."]
    assert "at the end of 03_before.ipynb and 11_after.ipynb" in lines[3]
    assert "tests/mutated/notebook_07.py" in lines[-1]


def test_the_course_is_where_it_writes_by_default():
    course = [path for path in new.FOLDER.glob("*.ipynb") if path.name.startswith("00_")]
    assert [path.parent for path in course] == [mutations.ROOT / "notebooks"]
