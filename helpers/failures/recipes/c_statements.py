"""C, from Python 3.12 on: two threads, one SQL text, one prepared statement, wrong rows."""

from typing import Any, List

from .b_errors import OWN, TABLE, second, successes
from .c_silent import OWN_CURSOR, ROWS
from .common import ALWAYS, CHILD, NEVER, OFTEN, Build, Outcome, Workspace, failure, outcome, since
from .ordering import NO_DISK, Gate, Slow, frozen_while

NO_CACHE = "Give each thread a connection of its own (here: cached_statements=0, which cures this)."


@failure(
    "c-wrong-row-read",
    "A SELECT returns another thread's row",
    "A asks for row 1 and gets row 2, without an exception.",
    NO_CACHE,
    happens=since(3, 12),
    where=CHILD,
)
def wrong_row_read(workspace: Workspace, fixed: bool) -> Outcome:
    """A stops while it binds its second parameter; B binds and runs the same statement."""
    connection = workspace.shared(ROWS, cached_statements=0 if fixed else 100)
    sql, gate = "SELECT v FROM t WHERE id = ? AND v <> ?", Gate()
    one = workspace.start(lambda: connection.execute(sql, (1, Slow("-", gate))).fetchall())
    gate.reached()
    connection.execute(sql, (2, "-")).fetchall()
    gate.open()
    rows = one.join().value
    return outcome(rows == [("two",)], one.error, "A asked for row 1 and got row 2")


@failure(
    "c-wrong-row-written",
    "An UPDATE writes another thread's values",
    "Row 1 holds B's value; both threads are told that one row was changed.",
    OWN,
    happens=since(3, 12),
    where=CHILD,
)
def wrong_row_written(workspace: Workspace, fixed: bool) -> Outcome:
    """A stops while it binds the id; B runs the same UPDATE with its own value."""
    first = workspace.shared(ROWS, isolation_level=None)
    other = second(workspace, first, fixed, isolation_level=None)
    sql, gate = "UPDATE t SET v = ? WHERE id = ?", Gate()
    one = workspace.start(lambda: first.execute(sql, ("from A", Slow(1, gate))).rowcount)
    gate.reached()
    other.execute(sql, ("from B", 2))
    gate.open()
    error = one.join().error
    stored = workspace.connect().execute("SELECT v FROM t WHERE id = 1").fetchall()
    wrong = stored == [("from B",)] and one.value == 1
    return outcome(wrong, error, "row 1 holds what B meant for row 2")


def _since_312_with_gil(build: Build) -> str:
    if build.python < (3, 12):
        return NEVER
    return ALWAYS if build.gil else OFTEN


@failure(
    "c-failed-insert-ok",
    "A failed INSERT reports success",
    "NOT NULL is violated, no exception is raised, nothing is stored.",
    OWN,
    happens=_since_312_with_gil,
    where=CHILD,
)
def failed_insert_ok(workspace: Workspace, fixed: bool) -> Outcome:
    """B's success replaces A's error code before A looks at it."""
    first = workspace.shared(TABLE + NO_DISK, isolation_level=None, timeout=20.0)
    other = second(workspace, first, fixed, isolation_level=None)
    insert = "INSERT INTO t VALUES (1000, NULL)"
    held = workspace.path
    one = frozen_while(
        workspace, held, lambda: first.execute(insert).rowcount, *successes(other, 3)
    )[0]
    return outcome(one.error is None, one.error, "A was told that its INSERT succeeded")


@failure(
    "c-cursor-truncated",
    "A shared cursor loses rows",
    "B is refused, and A silently gets one of five rows.",
    OWN_CURSOR,
    happens=since(3, 12),
    where=CHILD,
)
def truncated(workspace: Workspace, fixed: bool) -> Outcome:
    """A is inside a fetch when B executes: B's attempt resets A's statement."""
    connection = workspace.shared(ROWS)
    gate, cursor = Gate(), connection.cursor()

    def slow_text(value: bytes) -> str:
        if value == b"one":
            gate.stop()
        return value.decode()

    connection.text_factory = slow_text
    one = workspace.start(lambda: cursor.execute("SELECT v FROM t ORDER BY id").fetchall())
    gate.reached()
    other = connection.cursor() if fixed else cursor
    workspace.run(lambda: other.execute("SELECT id FROM t"))
    gate.open()
    rows = one.join().value or []
    return outcome(len(rows) < 5, one.error, "A got fewer rows than there are")


@failure(
    "c-cursor-row-factory",
    "A shared cursor changes hands inside a row factory",
    "A's list holds rows of B's query.",
    OWN_CURSOR,
    where=CHILD,
)
def row_factory(workspace: Workspace, fixed: bool) -> Outcome:
    """A is inside its row factory when B executes on the same cursor; nobody is refused."""
    connection = workspace.shared(ROWS)
    gate, cursor = Gate(), connection.cursor()
    used = []  # type: List[Any]

    def slow_row(_cursor: object, row: Any) -> Any:
        if not used:
            used.append(row)
            gate.stop()
        return row

    cursor.row_factory = slow_row
    one = workspace.start(lambda: cursor.execute("SELECT v FROM t ORDER BY id").fetchall())
    gate.reached()
    other = connection.cursor() if fixed else cursor
    workspace.run(lambda: other.execute("SELECT id FROM t ORDER BY id"))
    gate.open()
    rows = one.join().value or []
    foreign = any(isinstance(row[0], int) for row in rows)
    return outcome(foreign, one.error, "A read rows of B's query")
