"""G. A memory database belongs to its connection."""

from .common import Outcome, Workspace, failure, integer, outcome


@failure(
    "g-memory",
    "Each connection to :memory: is a database of its own",
    "OperationalError: no such table, in the second thread.",
    "A file; or file:/name?vfs=memdb as a URI (SQLite 3.36 and newer).",
)
def memory(workspace: Workspace, fixed: bool) -> Outcome:
    """One thread makes the table, another looks for it."""
    path = workspace.path if fixed else ":memory:"
    workspace.connect("CREATE TABLE t (v);", path=path)
    other = workspace.connect(path=path, check_same_thread=False)
    work = workspace.run(lambda: integer(other, "SELECT count(*) FROM t"))
    found = not (work.error and "no such table" in work.error.message)
    return outcome(not found, work.error, database=":memory:")
