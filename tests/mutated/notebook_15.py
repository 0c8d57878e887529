"""Mutations of notebook 15, asyncio and processes, and of its solutions."""

from mutations import Mutation

NOTEBOOK = "notebooks/15_asyncio_and_processes.ipynb"
SOLVED = "notebooks/solutions/15_asyncio_and_processes.ipynb"

MUTATIONS = [
    Mutation(
        name="any-balance-will-do",
        claims=(
            "four-of-six-orders-break-a-promise",
            "a-commit-takes-the-other-tasks-work",
        ),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old="return end.rows == [(1100,), (1000,)]",
        new="return bool(end.rows)",
    ),
    Mutation(
        name="workers-under-another-name",
        claims=("a-thread-for-each-connection",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old=r"if \"_connection_worker\" in thread.name",
        new=r"if \"MainThread\" in thread.name",
    ),
    Mutation(
        name="nothing-is-forgotten",
        claims=("a-forgotten-connection-keeps-the-process",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old="at_the_end(opened, seconds=3)",
        new=r"at_the_end(opened, \"  await db.close()\", seconds=60)",
    ),
    Mutation(
        name="a-lock-that-nobody-takes",
        claims=(
            "a-lock-over-the-transaction-is-proved",
            "one-connection-leaks-in-every-run",
        ),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old="async with self.lock:",
        new="if self.lock:",
    ),
    Mutation(
        name="a-path-instead",
        claims=("a-connection-cannot-be-pickled",),
        notebook=NOTEBOOK,
        file="helpers/failures/recipes/a_wrong_thread.py",
        old="pickle.dumps(workspace.path if fixed else connection)",
        new="pickle.dumps(workspace.path)",
    ),
    Mutation(
        name="the-child-does-nothing",
        claims=(
            "a-forked-child-commits-its-parents-work",
            "a-child-that-closes-makes-the-commit-fail",
        ),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old="in_child(connection)",
        new="pass",
    ),
    Mutation(
        name="the-task-is-not-cancelled",
        claims=("a-cancelled-task-is-stored-by-its-thread",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old="task.cancel()",
        new="go_on.set()",
    ),
    Mutation(
        name="begin-forgotten-in-processes",
        claims=("sqlites-locks-hold-between-processes",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old=r"\"BEGIN IMMEDIATE\": Immediate",
        new=r"\"BEGIN IMMEDIATE\": LockInPython",
    ),
    Mutation(
        name="no-lock-in-the-answer",
        claims=("lock-over-the-transaction",),
        notebook=SOLVED,
        file="helpers/exercises/tasks.py",
        old="self.connection, self.lock = connection, asyncio.Lock()",
        new="self.connection, self.lock = connection, asyncio.Semaphore(2)",
    ),
    Mutation(
        name="every-promise-kept",
        claims=(
            "without-rollback-it-leaks",
            "a-rollback-outside-is-too-late",
            "the-caller-must-be-told",
        ),
        notebook=SOLVED,
        file="helpers/exercises/tasks.py",
        old='return end.rows == promised and end.results.get("B", "called off") == "called off"',
        new="return bool(promised)",
    ),
    Mutation(
        name="a-lock-that-is-always-free",
        claims=("a-lock-that-is-not-released",),
        notebook=SOLVED,
        file="helpers/exercises/tasks.py",
        old="self.connection, self.lock = connection, asyncio.Lock()",
        new="self.connection, self.lock = connection, asyncio.Semaphore(9)",
    ),
]
