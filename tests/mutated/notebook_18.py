"""Mutations of notebook 18, beyond one machine, and of its solutions.

They must be red on a server and with the record alike.
"""

from mutations import Mutation

from helpers.load import replicas

NOTEBOOK = "notebooks/18_beyond_one_machine.ipynb"
SOLVED = "notebooks/solutions/18_beyond_one_machine.ipynb"

MUTATIONS = [
    Mutation(
        name="the-row-is-locked-in-every-order",
        claims=("postgresql-loses-updates",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old="every_order(careless)",
        new=r"every_order(both(\"BEGIN\", f\"{READ} FOR UPDATE\", WRITE, \"COMMIT\"))",
    ),
    Mutation(
        name="b-comes-after-a",
        claims=("waiting-does-not-help",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old=r"server.play(careless, \"A A B B A B A B\")",
        new=r"server.play(careless, \"A A A A B B B B\")",
    ),
    Mutation(
        name="immediate-on-sqlite",
        claims=("sqlite-refuses-instead",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old=r"connection.execute(\"BEGIN\")",
        new=r"connection.execute(\"BEGIN IMMEDIATE\")",
    ),
    Mutation(
        name="the-row-is-locked",
        claims=("postgresql-loses-under-load",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old="server.increments(careless)",
        new=r"server.increments(both(\"BEGIN\", f\"{READ} FOR UPDATE\", WRITE, \"COMMIT\"))",
    ),
    Mutation(
        name="for-update-forgotten",
        claims=("for-update-waits", "three-repairs-lose-nothing"),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old=r"f\"{READ} FOR UPDATE\"",
        new="READ",
    ),
    Mutation(
        name="the-careless-transaction-under-load",
        claims=("for-update-keeps-all",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old="server.increments(locking)",
        new="server.increments(careless)",
    ),
    Mutation(
        name="one-row-for-all",
        claims=("many-writers-on-rows-of-their-own",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old="sqlite, own_rows, same_row = rates.values()",
        new="sqlite, same_row, own_rows = rates.values()",
    ),
    Mutation(
        name="nothing-is-stored-when-it-breaks",
        claims=("asked-again-pays-twice",),
        notebook=NOTEBOOK,
        file="helpers/exercises/unanswered.py",
        old='connection.execute("ROLLBACK" if lost == BEFORE else "COMMIT")',
        new='connection.execute("ROLLBACK" if lost else "COMMIT")',
    ),
    Mutation(
        name="read-committed-at-every-level",
        claims=("anomalies-of-each-level",),
        notebook=NOTEBOOK,
        file="helpers/isolation/postgres.py",
        old="case.look, level=level)",
        new="case.look)",
    ),
    Mutation(
        name="what-was-refused-counts",
        claims=("anomalies-of-each-level",),
        notebook=NOTEBOOK,
        file="helpers/isolation/cases.py",
        old="return not end.errors and any(",
        new="return any(",
    ),
    Mutation(
        name="sqlite-without-a-transaction",
        claims=("anomalies-of-each-level",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old=r"Level(\"WAL\", \"DEFERRED\")",
        new=r"Level(\"WAL\", \"autocommit\")",
    ),
    Mutation(
        name="what-was-kept-counts-as-lost",
        claims=("nothing-acknowledged-is-lost",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old='missing at the end\\": seen.lost',
        new='missing at the end\\": seen.after',
    ),
    Mutation(
        name="a-part-is-left-out",
        claims=("workers-find-what-one-finds",),
        notebook=NOTEBOOK,
        file="helpers/explorer/parallel.py",
        old="enumerate(futures, start=1)",
        new="enumerate(futures[1:], start=1)",
    ),
    Mutation(
        name="failures-of-a-shared-connection",
        claims=("between-connections-nothing-changes",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old=r"isin([\"e\", \"f\"])",
        new=r"isin([\"c\", \"e\"])",
    ),
    Mutation(
        name="the-fix-is-taken-away",
        claims=("failures-and-fixes-on-this-python",),
        notebook=NOTEBOOK,
        file=NOTEBOOK,
        old="failures.run(name, fixed=fixed)",
        new="failures.run(name, fixed=False)",
    ),
    Mutation(
        name="the-answer-is-not-stored",
        claims=("looked-up",),
        notebook=SOLVED,
        file=SOLVED,
        old=r"connection.execute(\"INSERT INTO answer VALUES (?, ?)\", [request, left])",
        new="pass",
    ),
    Mutation(
        name="the-name-is-always-new",
        claims=("claimed-first",),
        notebook=SOLVED,
        file=SOLVED,
        old="INSERT OR IGNORE INTO answer VALUES (?, NULL)",
        new="INSERT OR REPLACE INTO answer VALUES (?, NULL)",
    ),
    Mutation(
        name="taken-without-looking",
        claims=("in-sql",),
        notebook=SOLVED,
        file=SOLVED,
        old="WHERE {unknown}",
        new="WHERE {unknown} OR TRUE",
    ),
    Mutation(
        name="one-client-at-a-time",
        claims=("a-gap-between-look-and-take",),
        notebook=SOLVED,
        file="helpers/exercises/unanswered.py",
        old="if found.failing or",
        new="if",
    ),
    Mutation(
        name="any-answer-will-do",
        claims=("the-answer-is-kept-too",),
        notebook=SOLVED,
        file="helpers/exercises/unanswered.py",
        old="elif told != server.answers[0]:",
        new="elif told is None:",
    ),
]
if not replicas.missing():
    MUTATIONS.append(
        Mutation(
            name="the-majority-lives",
            claims=("nothing-acknowledged-is-lost",),
            notebook=NOTEBOOK,
            file="helpers/load/replicas.py",
            old="        reader.kill()\n",
            new="",
        )
    )
