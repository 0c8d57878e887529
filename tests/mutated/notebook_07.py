"""Changes that must turn claims of notebook 07 red."""

from mutations import Mutation

PER_THREAD = "notebooks/07_connection_per_thread.ipynb"
PER_THREAD_SOLVED = "notebooks/solutions/07_connection_per_thread.ipynb"
STRATEGY = "helpers/strategies/per_thread.py"
POOL = "helpers/strategies/pool.py"

MUTATIONS = [
    Mutation(
        name="units-that-begin-themselves",
        claims=(
            "fourteen-schedules",
            "own-connections-wait-and-lose",
            "how-it-begins-decides",
        ),
        notebook=PER_THREAD,
        file=PER_THREAD,
        old=r'"    (value,) = connection.execute(\"SELECT value FROM counter\").fetchone()\n"',
        new=r'''"    connection.execute(\"BEGIN IMMEDIATE\")\n",
    "    (value,) = connection.execute(\"SELECT value FROM counter\").fetchone()\n"''',
    ),
    Mutation(
        name="deferred-per-thread",
        claims=("per-thread-is-proved",),
        notebook=PER_THREAD,
        file=STRATEGY,
        old='begin: str = "IMMEDIATE"',
        new='begin: str = "DEFERRED"',
    ),
    Mutation(
        name="one-thread-only",
        claims=("own-connections-under-load",),
        notebook=PER_THREAD,
        file=PER_THREAD,
        old="workloads.Increment(20), strategy, threads=8",
        new="workloads.Increment(20), strategy, threads=1",
    ),
    Mutation(
        name="with-closing",
        claims=("with-does-not-close",),
        notebook=PER_THREAD,
        file=PER_THREAD,
        old="with sqlite3.connect(database) as connection:",
        new="with closing(sqlite3.connect(database)) as connection, connection:",
    ),
    Mutation(
        name="close-closes-nothing",
        claims=("close-reaches-every-thread",),
        notebook=PER_THREAD,
        file=STRATEGY,
        old="for connection, (in_use, thread) in list(self._all.items()):",
        new="for connection, (in_use, thread) in []:",
    ),
    Mutation(
        name="a-file-instead-of-memory",
        claims=("each-connection-has-its-own-memory",),
        notebook=PER_THREAD,
        file=PER_THREAD,
        old=r"memory = ThreadLocal(\":memory:\")",
        new=r"memory = ThreadLocal(databases.fresh(\"counter\"))",
    ),
    Mutation(
        name="memory-per-thread",
        claims=("per-thread-refuses-memory",),
        notebook=PER_THREAD,
        file=STRATEGY,
        old='if os.fsdecode(path).startswith((":memory:", "file:")):',
        new="if False:",
    ),
    Mutation(
        name="no-shared-cache",
        claims=("a-shared-cache-locks-tables",),
        notebook=PER_THREAD,
        file="helpers/failures/registry.py",
        old="entry.recipe(room, fixed)",
        new="entry.recipe(room, True)",
    ),
    Mutation(
        name="tasks-that-roll-back",
        claims=("a-task-inherits-a-transaction",),
        notebook=PER_THREAD,
        file=PER_THREAD,
        old=r'"    unit_of_work(local.connection)\n"',
        new=r'''"    with local.connection:\n",
    "        unit_of_work(local.connection)\n"''',
    ),
    Mutation(
        name="not-closed-with-the-thread",
        claims=("per-thread-in-a-pool",),
        notebook=PER_THREAD,
        file=STRATEGY,
        old="weakref.finalize(mine, _close,",
        new="weakref.finalize(self, _close,",
    ),
    Mutation(
        name="connections-kept-in-both",
        claims=("a-new-connection-reads-the-schema",),
        notebook=PER_THREAD,
        file=PER_THREAD,
        old="microseconds(partial(per_task, fresh))",
        new="microseconds(lambda: strategy.read(read))",
    ),
    Mutation(
        name="connections-that-are-not-kept",
        claims=("a-fixed-number-of-connections",),
        notebook=PER_THREAD,
        file=POOL,
        old="kind.idle.append(connection)",
        new="connection.close()",
    ),
    Mutation(
        name="one-order-only-per-thread",
        claims=(
            "closed-with-its-thread",
            "closed-with-its-unit",
            "deferred-is-refused-again",
            "an-open-transaction-stays-with-the-thread",
        ),
        notebook=PER_THREAD_SOLVED,
        file="helpers/explorer/search.py",
        old="if node.position + 1 < len(node.options):",
        new="if False:",
    ),
    Mutation(
        name="connections-counted-as-closed",
        claims=(
            "a-list-keeps-connections-open",
            "close-is-called-by-one-thread",
        ),
        notebook=PER_THREAD_SOLVED,
        file="helpers/databases.py",
        old="return list(self._names.values())",
        new="return []",
    ),
    Mutation(
        name="no-check-of-the-thread",
        claims=("the-check-refuses-to-close",),
        notebook=PER_THREAD_SOLVED,
        file="helpers/databases.py",
        old='checked = options.get("check_same_thread", True)',
        new="checked = False",
    ),
]
