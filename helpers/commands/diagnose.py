"""``python -m helpers diagnose error.txt``: what does this error mean?

At a terminal it asks what tells causes apart, one question at a time; elsewhere it says which
option to add.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from helpers.failures import QUESTIONS, UNKNOWN, Diagnosis, Question, diagnose


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, and one option per question."""
    parser.add_argument("file", nargs="?", type=Path, help="the pasted text; else standard input")
    parser.add_argument("--errorname", metavar="NAME", help="the exception's sqlite_errorname")
    for key, question in QUESTIONS.items():
        options = [*question.options, UNKNOWN]
        parser.add_argument(_option(key), dest=key, choices=options, help=question.text)


def main(arguments: argparse.Namespace) -> int:
    """Diagnose the text; returns 0 if something matched, 1 if not, 2 if it cannot be read."""
    keys = ["errorname", *QUESTIONS]
    answers = {key: getattr(arguments, key) for key in keys if getattr(arguments, key)}
    try:
        text = _read(arguments.file)
    except OSError as error:
        print(f"diagnose: {error}", file=sys.stderr)
        return 2
    diagnosis = diagnose(text, **answers)
    print(diagnosis.report())
    if diagnosis.question and sys.stdin.isatty():
        diagnosis = _ask(text, diagnosis, answers)
    elif diagnosis.question:
        print(f"\n{_asked(diagnosis.question, arguments.file, answers)}")
    return int(not diagnosis)


def _read(file: Path | None) -> str:
    if file is None:
        if sys.stdin.isatty():
            end = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"
            print(f"Paste the error, then press Enter and {end}:", file=sys.stderr)
        return sys.stdin.read()
    data = file.read_bytes()
    # What PowerShell's ">" wrote may be UTF-16.
    utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _asked(question: Question, file: Path | None, answers: dict[str, str]) -> str:
    """The question, with the options of the command line that answer it."""
    name = f'"{file}"' if file and " " in str(file) else str(file or "error.txt")
    given = [f'{_option(key)} "{answer}"' for key, answer in answers.items()]
    command = " ".join(["python -m helpers diagnose", name, *given])
    saved = "" if file else " (the text saved in error.txt)"
    options = {**question.options, UNKNOWN: "says how to find out"}
    width = max(map(len, options))
    shown = [
        f'  {_option(question.key)} "{answer}"{"":{width - len(answer)}}  {meaning}'.rstrip()
        for answer, meaning in options.items()
    ]
    return "\n".join([question.text, f"Run this with one of them added{saved}: {command}", *shown])


def _ask(text: str, diagnosis: Diagnosis, answers: dict[str, str]) -> Diagnosis:
    """Ask at the terminal until nothing would tell more, or nothing is answered."""
    while question := diagnosis.question:
        options = [*question.options, UNKNOWN]
        print(f"\n{question.text}")
        for number, option in enumerate(options, 1):
            meaning = question.options.get(option, "")
            print(f"  {number}  {option}" + (f": {meaning}" if meaning else ""))
        try:
            answer = input(f"1 to {len(options)}, Enter to stop: ").strip()
        except EOFError:
            break
        if not answer:
            break
        if answer not in map(str, range(1, len(options) + 1)):
            print(f"{answer} is none of them.")
            continue
        answers = {**answers, question.key: options[int(answer) - 1]}
        diagnosis = diagnose(text, **answers)
        print(f"\n{diagnosis.report()}")
    return diagnosis
