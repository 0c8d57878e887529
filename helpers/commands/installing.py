"""What the course needs, as `pyproject.toml` states it, and the commands that install it.

Only the standard library is used, and an older Python than the course supports can import it.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

#: The course's folder: the one that holds `pyproject.toml`, `notebooks` and `helpers`.
ROOT = Path(__file__).resolve().parent.parent.parent

#: A Python, and with it an SQLite, that has no defect known to the course; in any shell.
NEW_ENVIRONMENT = 'uv venv --clear --managed-python --python 3.13\nuv pip install -e ".[test]"'


def requirements(root: Path = ROOT, extra: str = "") -> list[tuple[str, str]]:
    """Package names and their ranges, as `pyproject.toml` states them.

    Args:
        root: the course's folder.
        extra: the name of an optional group, such as ``"web"``; without it, what the
            course itself needs.

    Raises:
        OSError: if there is no such file in `root`.
        KeyError: if there is no such group.
        ModuleNotFoundError: before Python 3.11, which has no `tomllib`.
    """
    import tomllib

    with open(root / "pyproject.toml", "rb") as file:
        project: dict[str, Any] = tomllib.load(file)["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return [_split_requirement(line) for line in lines]


def _split_requirement(line: str) -> tuple[str, str]:
    """``"pandas>=2.2,<4"`` as name and range; `pyproject.toml` uses no other form."""
    start = min((line.index(sign) for sign in "<>=!~" if sign in line), default=len(line))
    return line[:start].strip(), line[start:].replace(" ", "")


def in_conda() -> bool:
    """Whether this environment was made by conda."""
    return (Path(sys.prefix) / "conda-meta").is_dir()


def installation(requirement: str, again: bool = False) -> str:
    """The command that installs one package the way this environment was made."""
    if in_conda():
        forced = "--force-reinstall " if again else ""
        return f'conda install {forced}-c conda-forge "{requirement}"'
    if importlib.util.find_spec("pip") is not None:
        forced = "--force-reinstall " if again else ""
        return f'python -m pip install {forced}"{requirement}"'
    return f'uv pip install {"--reinstall " if again else ""}"{requirement}"'


def group_installation(extra: str) -> str:
    """The command that installs an optional group the way this environment was made."""
    if in_conda():
        return "conda env update -f environment.yml"
    pip = "python -m pip" if importlib.util.find_spec("pip") is not None else "uv pip"
    return f'{pip} install -e ".[{extra}]"'
