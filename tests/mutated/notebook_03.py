"""Changes that must turn claims of notebook 03 red."""

from mutations import Mutation

THREADING_MODES = "notebooks/03_threading_modes.ipynb"
THREADING_MODES_SOLVED = "notebooks/solutions/03_threading_modes.ipynb"
FAILURES = "helpers/failures/registry.py"
RUN_IN_CHILD = '*(["--fixed"] * fixed)'

MUTATIONS = [
    Mutation(
        name="commit-forgotten",
        claims=("serialized-is-not-isolated", "serialized-orders-break-the-promise"),
        notebook=THREADING_MODES,
        file="helpers/explorer/steps/connections.py",
        old='self._end("COMMIT", lambda: sqlite3.Connection.commit(self))',
        new='self._end("COMMIT", lambda: None)',
    ),
    Mutation(
        name="modes-always-cured",
        claims=("threadsafety-3-crashes-and-hangs",),
        notebook=THREADING_MODES,
        file=FAILURES,
        old=RUN_IN_CHILD,
        new='"--fixed"',
    ),
    Mutation(
        name="own-connections-without-transactions",
        claims=("own-connections-keep-the-promise",),
        notebook=THREADING_MODES,
        file=THREADING_MODES,
        old='connect(path)) as connection:\\n",\n    "            work(connection)\\n"',
        new='connect(path, isolation_level=None)) as connection:\\n",\n'
        '    "            work(connection)\\n"',
    ),
    Mutation(
        name="value-written-back",
        claims=("one-statement-is-enough",),
        notebook=THREADING_MODES_SOLVED,
        file=THREADING_MODES_SOLVED,
        old="SET value = value + 1",
        new="SET value = 1",
    ),
    Mutation(
        name="deferred-again",
        claims=("begin-immediate-is-enough",),
        notebook=THREADING_MODES_SOLVED,
        file=THREADING_MODES_SOLVED,
        old=r"connection.execute(\"BEGIN IMMEDIATE\")",
        new=r"connection.execute(\"BEGIN\")",
    ),
]
