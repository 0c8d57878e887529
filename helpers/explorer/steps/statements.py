"""What kind of statement is it? As much of SQL as transactions need."""

from __future__ import annotations

import functools
import re
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

_COMMENTS = re.compile(r"(\s+|--[^\n]*(\n|$)|/\*.*?(\*/|\Z)|;)*", re.DOTALL)
_BUSY_TIMEOUT = re.compile(r"pragma\s+busy_timeout\s*[=(]\s*(\d+)", re.IGNORECASE)
#: PRAGMAs that set a flag of the connection and look at no file (SQLite: ``PragTyp_FLAG``).
_FLAG = re.compile(
    r"(query_only|foreign_keys|recursive_triggers|trusted_schema|ignore_check_constraints|"
    r"reverse_unordered_selects|automatic_index|defer_foreign_keys)\s*[=(]"
)
#: PRAGMAs that change something for others, or may, even without a value.
_ACTS = {"wal_checkpoint", "incremental_vacuum", "optimize"}
#: PRAGMAs whose value is a table's name, or a setting of the connection alone.
_OWN = {
    "busy_timeout", "cache_size", "cache_spill", "foreign_key_list", "index_info", "index_list",
    "mmap_size", "synchronous", "table_info", "table_xinfo", "temp_store",
}  # fmt: skip
#: What makes the transaction of a connection one on several files, or shows others' locks in WAL.
_UNCLEAR = re.compile(
    r"attach|create\s+temp|create\s.*\btemp\W*\.|pragma\s+(\w+\s*\.\s*)?(wal_|locking_mode|data_v)",
    re.IGNORECASE | re.DOTALL,
)
#: Functions that tell what the connection did before.
_REMEMBERED = re.compile(r"changes\s*\(|last_insert_rowid", re.IGNORECASE)
_CHANGES = {"insert", "update", "delete", "replace"}


class Statement(NamedTuple):
    """What the explorer must know of a statement: see `classify`.

    `label` is its text on one line, `kind` as `kind_of` says, `implicit` whether `sqlite3`
    begins a transaction before it in its default regime; `busy_timeout` in seconds if it is
    the PRAGMA that sets it, else None; `unclear` whether after it one cannot tell what the calls
    of its connection touch.
    """

    label: str
    kind: str
    implicit: bool
    busy_timeout: float | None
    unclear: bool


@functools.lru_cache(maxsize=1024)
def classify(sql: str) -> Statement:
    """Classify one statement; kept, for each schedule runs the same ones again."""
    label, kind, sql = one_line(sql), kind_of(sql), sql[_first(sql) :]
    found = _BUSY_TIMEOUT.search(sql) if kind == "look" else None
    seconds = int(found.group(1)) / 1000 if found else None
    unclear = bool(_UNCLEAR.match(sql) or _REMEMBERED.search(sql))
    return Statement(label, kind, kind in ("insert", "returning"), seconds, unclear)


def kind_of(sql: str) -> str:
    """The kind of a statement, as far as transactions are concerned.

    ``read``; ``insert`` (INSERT, UPDATE, DELETE, REPLACE, before which `sqlite3` begins a
    transaction by itself); ``returning`` (those with a RETURNING clause); ``change`` (other
    writes, DDL); ``begin``, ``begin immediate``,
    ``begin exclusive``; ``commit``; ``end`` (ROLLBACK); ``flag`` (a PRAGMA that sets a flag of the
    connection); ``look`` (PRAGMAs that change nothing for others, SELECT without a table);
    ``other`` (other PRAGMAs, SAVEPOINT, …).
    """
    words = sql[_first(sql) :].lower().replace(";", " ").split()
    first = words[0] if words else ""
    if first in _CHANGES:
        return "returning" if "returning" in words else "insert"
    if first == "with":
        return "change" if _CHANGES & set(words) else "read"
    if first in ("select", "values"):
        return "read" if first == "select" and "from" in words else "look"
    if first == "begin":
        level = words[1] if len(words) > 1 else ""
        return f"begin {level}" if level in ("immediate", "exclusive") else "begin"
    if first in ("commit", "end", "release"):
        return "commit"
    if first == "rollback":
        return "other" if "to" in words else "end"
    if first == "pragma":
        return _kind_of_pragma(" ".join(words[1:]))
    return "change" if first in ("create", "drop", "alter") else "other"


def _kind_of_pragma(text: str) -> str:
    if _FLAG.match(text):
        return "flag"
    name, with_value, _ = re.split(r"\s*([=(]|$)", text, maxsplit=1)
    name = name.rpartition(".")[2]
    return "look" if name in _OWN or (not with_value and name not in _ACTS) else "other"


def _first(sql: str) -> int:
    """Where the first word begins: after blanks, comments and empty statements."""
    found = _COMMENTS.match(sql)
    return found.end() if found else 0


def one_line(sql: str) -> str:
    """SQL on one line, blanks squeezed, without a final semicolon."""
    return " ".join(sql.split()).rstrip("; ")


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one after the other."""
    text = ""
    for part in script.split(";"):
        text += part + ";"
        if sqlite3.complete_statement(text):
            if _first(text) < len(text):
                yield text
            text = ""
    rest = text[:-1]  # without its end; SQLite says what is wrong with it
    if _first(rest) < len(rest):
        yield rest
