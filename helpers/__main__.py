"""``python -m helpers COMMAND``: one small module per command.

A command's module has ``add_arguments(parser)`` and ``main(arguments) -> int`` (the exit
status), and its docstring's first line is the help text. Modules are imported only when
their command is asked for.
"""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Sequence
from types import ModuleType

#: Command -> one-line help. Each is a module of `helpers.commands`.
COMMANDS = {
    "explore": "run your own functions in every order of their SQL calls",
    "scenarios": "explore every scenario, compare with theory",
    "doctor": "check this installation and say what fixes it",
    "diagnose": "say what an error in a file or on standard input means",
    "survey": "run every failure on each Python and write the table",
    "refresh": "run notebooks again and store their outputs",
    "workshop": "make a learner's copy without outputs and answers, or reset a notebook in it",
    "new": "write a notebook to begin with, complete and green",
    "site": "make a static site of the course from its stored outputs",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status, 2 for a wrong command line."""
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(prog="python -m helpers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if argv and argv[0] == name:
            _module(name).add_arguments(command)
    arguments = parser.parse_args(argv)
    return int(_module(arguments.command).main(arguments))


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"helpers.commands.{command}")


def _any_text() -> None:
    """What the terminal's encoding does not know, in a traceback or a path, becomes "?"."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    _any_text()
    sys.exit(main())
