"""Changes that must turn claims of notebook 01 red."""

from mutations import Mutation

ONE_CONNECTION = "notebooks/01_one_connection_many_threads.ipynb"
ONE_CONNECTION_SOLVED = "notebooks/solutions/01_one_connection_many_threads.ipynb"

MUTATIONS = [
    Mutation(
        name="shared-made-safe",
        claims=("five-threads-break", "acknowledged-work-is-lost"),
        notebook=ONE_CONNECTION,
        file="helpers/strategies/flawed.py",
        old="""\
        result = unit_of_work(self.connection)
        self.connection.commit()
        return result
""",
        new="""\
        lock = self.__dict__.setdefault("lock", __import__("threading").Lock())
        with lock, self.connection:
            return unit_of_work(self.connection)
""",
    ),
    Mutation(
        name="any-thread-may-call",
        claims=("python-refuses",),
        notebook=ONE_CONNECTION,
        file="helpers/databases.py",
        old="SAMPLES = tuple(_SCHEMAS)",
        new="""\
SAMPLES = tuple(_SCHEMAS)
sqlite3.connect = functools.partial(sqlite3.connect, check_same_thread=False)
""",
    ),
    Mutation(
        name="rollback-forgotten",
        claims=("a-rollback-takes-the-other-threads-work", "the-explorer-finds-every-outcome"),
        notebook=ONE_CONNECTION,
        file="helpers/explorer/steps/connections.py",
        old='self._end("ROLLBACK", lambda: sqlite3.Connection.rollback(self))',
        new='self._end("ROLLBACK", lambda: None)',
    ),
    Mutation(
        name="lock-forgotten",
        claims=("one-lock-keeps-every-promise",),
        notebook=ONE_CONNECTION,
        file=ONE_CONNECTION,
        old="with self.lock, self.connection:",
        new="with self.connection:",
    ),
    Mutation(
        name="nobody-cancels",
        claims=("releasing-is-not-enough",),
        notebook=ONE_CONNECTION_SOLVED,
        file="helpers/workloads.py",
        old="(number + 1) % self.cancel_every == 0",
        new="False",
    ),
    Mutation(
        name="rollback-before-release-forgotten",
        claims=("rollback-before-release",),
        notebook=ONE_CONNECTION_SOLVED,
        file=ONE_CONNECTION_SOLVED,
        old="self.connection.rollback()",
        new="pass",
    ),
    Mutation(
        name="whole-unit-locked",
        claims=("locking-the-commit-is-not-enough",),
        notebook=ONE_CONNECTION_SOLVED,
        file=ONE_CONNECTION_SOLVED,
        old="class LocksTheCommit(Locked):",
        new='LocksTheCommit = Repaired\\n",\n    "class Other(Locked):',
    ),
]
