"""Changes that must turn claims of notebook 16 red."""

from mutations import Mutation

WHICH_FIX = "notebooks/16_which_fix.ipynb"
WHICH_FIX_SOLVED = "notebooks/solutions/16_which_fix.ipynb"
FLAWED = "helpers/strategies/flawed.py"
PER_THREAD = "helpers/strategies/per_thread.py"
LOCK = "helpers/strategies/transaction_lock.py"
WRITER = "helpers/strategies/writer.py"
PROGRAMS = "helpers/exercises/programs.py"


def change(name, claims, file, old, new, notebook=WHICH_FIX):
    return Mutation(
        name, (claims,) if isinstance(claims, str) else claims, notebook, file, old, new
    )


LOCKED_UNIT = """        with self.__dict__.setdefault("units", threading.Lock()):
            return unit_of_work(self)  # type: ignore[arg-type]"""

MUTATIONS = [
    change(
        "a-lock-over-the-unit",
        "the-fastest-loses-most",
        FLAWED,
        "        return unit_of_work(self)  # type: ignore[arg-type]",
        LOCKED_UNIT,
    ),
    change(
        "no-work-between-read-and-write",
        "the-fastest-loses-most",
        WHICH_FIX,
        r"measured(way, workloads.Mix(inside=0.002)) for way in six",
        r"measured(way, workloads.Mix(insert=True)) for way in six",
    ),
    change(
        "per-thread-begins-deferred",
        ("the-repairs-keep-everything", "two-processes-lose-nothing"),
        PER_THREAD,
        'begin: str = "IMMEDIATE"',
        'begin: str = "DEFERRED"',
    ),
    change(
        "two-processes-one-deferred",
        "two-processes-lose-nothing",
        LOCK,
        'return self._run(unit_of_work, "BEGIN IMMEDIATE", reads=False)',
        'return self._run(unit_of_work, "BEGIN", reads=False)',
    ),
    change(
        "one-repair-everywhere",
        "none-is-the-fastest-everywhere",
        WHICH_FIX,
        "max(trials.RIGHT, key=",
        r"max([\"Pool\"], key=",
    ),
    change(
        "inserts-that-read-first",
        "a-flaw-hides-in-another-workload",
        "helpers/load/trials.py",
        '"write-heavy, durable": (Mix(insert=True), DURABLE)',
        '"write-heavy, durable": (Mix(inside=0.002), DURABLE)',
    ),
    change(
        "the-median-for-the-longest",
        "the-median-hides-the-longest-wait",
        "helpers/load/trials.py",
        "return max(self.longest_wait.values(), default=0.0)",
        "return self.median",
    ),
    change(
        "per-thread-behind-a-fair-lock",
        ("the-median-hides-the-longest-wait", "what-each-cannot-do"),
        "helpers/load/trials.py",
        "for cls in (TransactionLock, PerThread, Pool, Writer)}",
        'for cls in (TransactionLock, Pool, Pool, Writer)} | {"PerThread": _ours(TransactionLock)}',
    ),
    change(
        "a-pool-of-eight",
        "what-each-cannot-do",
        "helpers/strategies/pool.py",
        "        readers: int = 4,\n",
        "        readers: int = 8,\n",
    ),
    change(
        "every-write-waits",
        "requirements-leave-some-ways",
        WHICH_FIX,
        r"median > 0.05",
        r"median > 0",
    ),
    change(
        "a-writer-where-connections-are-few",
        "the-tree-follows-the-table",
        WHICH_FIX,
        r"connections be fixed?\", \"Pool\"",
        r"connections be fixed?\", \"Writer\"",
    ),
    change(
        "sqlalchemy-begins-deferred",
        "the-libraries-keep-what-they-take",
        "helpers/load/peers.py",
        'IMMEDIATE = "BEGIN IMMEDIATE"',
        'IMMEDIATE = "BEGIN"',
    ),
    change(
        "a-recorded-loss",
        "no-fault-loses-what-was-acknowledged",
        "data/faults.csv",
        "Pool,fork,83,83,0,0,",
        "Pool,fork,83,83,0,1,",
    ),
    change(
        "groups-of-one-in-program-3",
        "each-program-has-what-it-requires",
        WRITER,
        "if len(self._queue[-1].jobs) == self.group:",
        "if self._queue[-1].jobs:",
        WHICH_FIX_SOLVED,
    ),
    change(
        "as-many-connections-as-you-like",
        ("no-strategy-is-right-for-all", "settings-break-a-right-strategy"),
        PROGRAMS,
        "CONNECTIONS = 5",
        "CONNECTIONS = 50",
        WHICH_FIX_SOLVED,
    ),
]
