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
        file="helpers/strategies/flawed.py",
        old="        return unit_of_work(self)  # type: ignore[arg-type]",
        new="""\
        with self.__dict__.setdefault("whole", threading.RLock()):
            return unit_of_work(self)  # type: ignore[arg-type]
""",
    ),
    Mutation(
        name="values-as-parameters",
        claims=("a-value-becomes-sql", "a-quote-breaks-the-statement"),
        notebook=LOCKS,
        file=LOCKS,
        old="""cursor.execute(f\\"UPDATE account SET owner = '{name}' WHERE id = {number}\\")""",
        new=(
            "cursor.cursor.execute("
            r"\"UPDATE account SET owner = ? WHERE id = ?\", [name, number])"
        ),
    ),
    Mutation(
        name="a-parameter-as-text",
        claims=("a-parameter-stays-a-value",),
        notebook=LOCKS,
        file=LOCKS,
        old=r"""owner = ? WHERE id = ?\", [\"O'Neill\", 1])""",
        new=r"""owner = 'O'Neill' WHERE id = 1\")""",
    ),
    Mutation(
        name="no-return-in-finally",
        claims=("the-class-to-review", "an-error-is-replaced"),
        notebook=LOCKS,
        file="helpers/strategies/flawed.py",
        old="""\
            if arg1:
                return result
""",
        new="""\
        return result if arg1 else None
""",
    ),
    Mutation(
        name="the-other-rows-are-read",
        claims=("the-class-to-review", "one-row-keeps-a-lock"),
        notebook=LOCKS,
        file="helpers/strategies/flawed.py",
        old="result = self.cursor.fetchone()",
        new="result = self.cursor.fetchall()[0]",
    ),
    Mutation(
        name="a-commit-for-both",
        claims=("one-connection-one-transaction",),
        notebook=LOCKS,
        file=LOCKS,
        old=r"\"ROLLBACK\"):",
        new=r"\"COMMIT\"):",
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
        file="helpers/strategies/transaction_lock.py",
        old="if not mine and not turn[0].acquire(timeout=self.timeout):",
        new="if False:",
    ),
    Mutation(
        name="inner-unit-let-in",
        claims=("a-unit-in-a-unit-is-refused",),
        notebook=LOCKS,
        file="helpers/strategies/transaction_lock.py",
        old="if (mark := units.__dict__.get(self._path)) and mark.locked():",
        new="if False:",
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
            "another-process-knows-no-lock",
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
    Mutation(
        name="an-inner-unit-may-join",
        claims=("an-inner-unit-must-not-join",),
        notebook=LOCKS_SOLVED,
        file="helpers/exercises/promises.py",
        old=' and end.results.get("A") not in _LET_IN)',
        new=")",
    ),
    Mutation(
        name="half-of-the-contract",
        claims=("whatever-ends-a-unit", "a-commit-fails-too"),
        notebook=LOCKS_SOLVED,
        file="helpers/exercises/contract.py",
        old="PROMISES = (ANY_EXCEPTION, FAILED_COMMIT, ANOTHER_PROCESS)",
        new="PROMISES = (ANOTHER_PROCESS,)",
    ),
]
