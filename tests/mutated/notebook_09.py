"""Changes that must turn claims of notebook 09 red."""

from mutations import Mutation

WAL = "notebooks/09_wal.ipynb"
WAL_SOLVED = "notebooks/solutions/09_wal.ipynb"

MUTATIONS = [
    Mutation(
        name="auditor-says-immediate",
        claims=(
            "wal-refuses-too",
            "a-stale-snapshot-may-not-write",
        ),
        notebook=WAL,
        file=WAL,
        old=r"def auditor(path, begin=\"BEGIN\")",
        new=r"def auditor(path, begin=\"BEGIN IMMEDIATE\")",
    ),
    Mutation(
        name="reader-without-begin",
        claims=(
            "each-reader-has-its-snapshot",
            "a-journal-makes-them-wait",
            "no-reader-waits-in-wal",
            "a-snapshot-needs-begin",
        ),
        notebook=WAL,
        file=WAL,
        old=r""""        connection.execute(\"BEGIN\")\n",
    "        first, second""",
        new=r""""        first, second""",
    ),
    Mutation(
        name="loose-reads-in-a-transaction",
        claims=("torn-reads-under-load",),
        notebook=WAL,
        file=WAL,
        old="            return unit(connection)",
        new=r"""            connection.execute(\"BEGIN\")\n",
    "            return unit(connection)""",
    ),
    Mutation(
        name="auditor-always-deferred",
        claims=("immediate-cures-the-stale-snapshot",),
        notebook=WAL,
        file=WAL,
        old=r"connection.execute(begin)",
        new=r"connection.execute(\"BEGIN\")",
    ),
    Mutation(
        name="reader-without-a-snapshot",
        claims=(
            "a-reader-holds-up-the-checkpoint",
            "readers-without-a-gap-starve-the-checkpoint",
        ),
        notebook=WAL,
        file=WAL,
        old=r""""    connection.execute(READ).fetchone()\n",
    "    return connection""",
        new=r""""    return connection""",
    ),
    Mutation(
        name="copied-from-a-rollback-journal",
        claims=("a-copied-file-lacks-the-log",),
        notebook=WAL,
        file=WAL,
        old=r"databases.fresh(\"counter\", \"wal\") as database, closing(DEFAULTS",
        new=r"databases.fresh(\"counter\") as database, closing(DEFAULTS",
    ),
    Mutation(
        name="killed-before-its-commit",
        claims=("a-killed-process-loses-nothing",),
        notebook=WAL,
        file=WAL,
        old=r""""    commit(connection, 10)\n",
    "    connection.execute(\"BEGIN IMMEDIATE\")\n",""",
        new=r""""    connection.execute(\"BEGIN IMMEDIATE\")\n",
    "    commit(connection, 10)\n",""",
    ),
    Mutation(
        name="all-pages-reach-the-disk",
        claims=("a-lost-tail-leaves-a-sound-database",),
        notebook=WAL,
        file=WAL,
        old=r"log[: 32 + 4 * page] + bytes(page) + ",
        new=r"log[: 32 + 5 * page] + ",
    ),
    Mutation(
        name="journal-mode-not-switched",
        claims=("only-the-journal-mode-is-kept",),
        notebook=WAL,
        file=WAL,
        old=r"Settings(\"wal\", \"OFF\", foreign_keys=True)",
        new=r"Settings(\"delete\", \"OFF\", foreign_keys=True)",
    ),
    Mutation(
        name="report-with-the-write-lock",
        claims=("snapshot-first",),
        notebook=WAL_SOLVED,
        file=WAL_SOLVED,
        old=r"connection.execute(\"BEGIN\")",
        new=r"connection.execute(\"BEGIN IMMEDIATE\")",
    ),
    Mutation(
        name="report-of-one-account",
        claims=("one-statement",),
        notebook=WAL_SOLVED,
        file=WAL_SOLVED,
        old="sum(balance)",
        new="max(balance)",
    ),
    Mutation(
        name="report-that-stores-nothing",
        claims=("refused-inside-a-statement",),
        notebook=WAL_SOLVED,
        file=WAL_SOLVED,
        old="INSERT INTO account (owner, balance) VALUES (comes(), 0) RETURNING owner",
        new="SELECT comes()",
    ),
    Mutation(
        name="one-order-of-the-report",
        claims=(
            "no-transaction-two-states",
            "one-begin-is-refused",
            "immediate-keeps-the-clerk-waiting",
            "retried-keeps-the-clerk-waiting",
        ),
        notebook=WAL_SOLVED,
        file="helpers/explorer/search.py",
        old="if node.position + 1 < len(node.options):",
        new="if False:",
    ),
]
