"""Changes that must turn claims of notebook 06 red."""

from mutations import Mutation

LOCKS = "notebooks/06_locks.ipynb"
LOCKS_SOLVED = "notebooks/solutions/06_locks.ipynb"

MUTATIONS = [
    Mutation(
        name="everybody-writes-the-same-rows",
        claims=("the-questions-program-passes",),
        notebook=LOCKS,
        file="helpers/workloads.py",
        old="return 1 + worker * self.units + number",
        new="return 1 + number",
    ),
    Mutation(
        name="whole-unit-under-the-statement-lock",
        claims=(
            "six-schedules-again",
            "the-same-row-loses",
            "a-lock-per-statement-on-the-stage",
            "four-of-six-orders-lose",
        ),
        notebook=LOCKS,
        file="helpers/strategies/locks.py",
        old="        return unit_of_work(self.cursor)  # type: ignore[arg-type]",
        new="""\
        with self.__dict__.setdefault("whole", threading.RLock()):
            return unit_of_work(self.cursor)  # type: ignore[arg-type]
""",
    ),
    Mutation(
        name="a-quote-as-a-parameter",
        claims=("a-quote-breaks-the-statement",),
        notebook=LOCKS,
        file=LOCKS,
        old=""""cursor = LockableCursor(connection)\\n",
    "try:""",
        new=""""cursor = connection\\n",
    "try:""",
    ),
    Mutation(
        name="sql-as-a-parameter",
        claims=("a-value-becomes-sql",),
        notebook=LOCKS,
        file=LOCKS,
        old=r'''"cursor.execute(RENAME, [name, 1])\n"''',
        new=r'''"connection.execute(RENAME, [name, 1])\n"''',
    ),
    Mutation(
        name="a-parameter-as-text",
        claims=("a-parameter-stays-a-value",),
        notebook=LOCKS,
        file=LOCKS,
        old=r'''"connection.execute(RENAME, [name, 1])\n"''',
        new=r'''"LockableCursor(connection).execute(RENAME, [name, 1])\n"''',
    ),
    Mutation(
        name="rows-fetched-under-the-lock",
        claims=("one-cursor-mixes-results",),
        notebook=LOCKS,
        file=LOCKS,
        old="return self.cursor.execute(sql, parameters)",
        new="return self.cursor.execute(sql, parameters).fetchall()",
    ),
    Mutation(
        name="half-a-transfer-rolled-back",
        claims=("half-a-transfer-stays",),
        notebook=LOCKS,
        file=LOCKS,
        old="closing(StatementLock(database)) as strategy",
        new="closing(TransactionLock(database)) as strategy",
    ),
    Mutation(
        name="lock-given-back-after-an-error",
        claims=("an-error-keeps-the-lock",),
        notebook=LOCKS,
        file=LOCKS,
        old="LockableCursor(open_shared(path))",
        new="LazyCursor(open_shared(path))",
    ),
    Mutation(
        name="unit-in-a-transaction-under-the-lock",
        claims=("a-lock-alone-rolls-nothing-back",),
        notebook=LOCKS,
        file=LOCKS,
        old=r'''"        with self.lock:\n",
    "            return unit_of_work(self.connection)\n"''',
        new=r'''"        with self.lock, self.connection:\n",
    "            self.connection.execute(\"BEGIN IMMEDIATE\")\n",
    "            return unit_of_work(self.connection)\n"''',
    ),
    Mutation(
        name="lock-for-everybody",
        claims=("transaction-lock-is-proved",),
        notebook=LOCKS,
        file="helpers/strategies/fairness.py",
        old="                if self._holder is None:",
        new="                if True:",
    ),
    Mutation(
        name="inner-unit-let-in",
        claims=("a-unit-in-a-unit-is-refused",),
        notebook=LOCKS,
        file="helpers/strategies/fairness.py",
        old="return holder is not None and holder.thread is threading.current_thread()",
        new="return False",
    ),
    Mutation(
        name="transaction-lock-before-and-after",
        claims=("whole-under-load",),
        notebook=LOCKS,
        file=LOCKS,
        old="for name, strategy in compared.items()",
        new="for name, strategy in zip(compared, [TransactionLock] * 2)",
    ),
    Mutation(
        name="last-come-first-served",
        claims=("a-fair-lock-shares-evenly",),
        notebook=LOCKS,
        file="helpers/strategies/fairness.py",
        old="""\
                self._holder = following = self._waiting[0] if self._waiting else None
                if following is not None:
                    del self._waiting[0]
""",
        new="""\
                self._holder = following = self._waiting[-1] if self._waiting else None
                if following is not None:
                    del self._waiting[-1]
""",
    ),
    Mutation(
        name="the-file-locked-in-both",
        claims=("another-process-has-another-lock",),
        notebook=LOCKS,
        file=LOCKS,
        old=r"""{\"OneLock\": OneLock, \"TransactionLock\": impatient}""",
        new=r"""{\"OneLock\": impatient, \"TransactionLock\": impatient}""",
    ),
    Mutation(
        name="one-order-only-of-the-locks",
        claims=(
            "the-whole-unit",
            "the-kits-own",
            "each-statement-loses",
            "between-locks-they-meet",
            "commit-under-the-lock",
            "release-on-every-way-out",
            "a-reader-needs-the-lock-too",
        ),
        notebook=LOCKS_SOLVED,
        file="helpers/explorer/search.py",
        old="if node.position + 1 < len(node.options):",
        new="if False:",
    ),
    Mutation(
        name="nobody-lets-itself-in",
        claims=("an-inner-unit-publishes-the-outer",),
        notebook=LOCKS_SOLVED,
        file=LOCKS_SOLVED,
        old="threading.RLock()",
        new="threading.Lock()",
    ),
]
