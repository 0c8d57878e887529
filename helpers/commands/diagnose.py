"""``python -m helpers diagnose < error.txt``: what does this error mean?"""

from __future__ import annotations

import argparse
import sys

from helpers.failures import QUESTIONS, diagnose


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One option per question."""
    parser.add_argument("--errorname", metavar="NAME", help="the exception's sqlite_errorname")
    for key, question in QUESTIONS.items():
        name = "--" + key.replace("_", "-")
        parser.add_argument(name, dest=key, choices=question.options, help=question.text)


def main(arguments: argparse.Namespace) -> int:
    """Diagnose standard input; returns 0 if something matched, else 1."""
    keys = ["errorname", *QUESTIONS]
    answers = {key: getattr(arguments, key) for key in keys if getattr(arguments, key)}
    diagnosis = diagnose(sys.stdin.read(), **answers)
    print(diagnosis)
    return int(not diagnosis)
