"""Changes that must turn claims of notebook 12 red."""

from mutations import Mutation

FLASK = "notebooks/12_flask.ipynb"
FLASK_SOLVED = "notebooks/solutions/12_flask.ipynb"
APPLICATION = "notebooks/applications/flask_app.py"

MUTATIONS = [
    Mutation(
        name="check-left-off",
        claims=("which-pools-still-refuse",),
        notebook=FLASK,
        file=FLASK,
        old=r"second_thread(f\"{file}?check_same_thread=true\", NullPool)",
        new="second_thread(file, NullPool)",
    ),
    Mutation(
        name="the-test-suite-uses-a-file",
        claims=("flask-sqlalchemy-shares-a-connection-in-memory",),
        notebook=FLASK,
        file=FLASK,
        old=r"flask_pool(\"sqlite://\")",
        new=r"flask_pool(\"sqlite:////tests.db\")",
    ),
    Mutation(
        name="refused-sale-rolled-back",
        claims=("a-refused-sale-is-stored", "a-page-shows-what-nobody-has-stored"),
        notebook=FLASK,
        file=FLASK,
        old=r"if \"refused\" in flask.request.args:",
        new=r"if \"refused\" in flask.request.args and not session.rollback():",
    ),
    Mutation(
        name="served-by-one-thread",
        claims=("own-sessions-lose-sales",),
        notebook=FLASK,
        file="helpers/web/load.py",
        old="serve(app, threads=threads) as server",
        new="serve(app, threads=1) as server",
    ),
    Mutation(
        name="session-not-removed",
        claims=("a-session-per-request-forgets",),
        notebook=FLASK,
        file=FLASK,
        old="session.remove()",
        new="pass",
    ),
    Mutation(
        name="sqlite-adds",
        claims=("two-requests-lose-a-sale",),
        notebook=FLASK,
        file=FLASK,
        old=r"flask.g.connection.execute(\"UPDATE counter SET value = ?\", [value + 1])",
        new=r"flask.g.connection.execute(\"UPDATE counter SET value = value + 1\")",
    ),
    Mutation(
        name="request-begins-deferred",
        claims=("immediate-requests-are-proved",),
        notebook=FLASK,
        file=FLASK,
        old=r"for begin in (\"\", \"BEGIN IMMEDIATE\")",
        new=r"for begin in (\"\", \"BEGIN\")",
    ),
    Mutation(
        name="engine-begins-deferred",
        claims=(
            "the-application-is-shown-as-it-is",
            "the-write-lock-first-loses-nothing",
        ),
        notebook=FLASK,
        file=APPLICATION,
        old='"begin", "IMMEDIATE"',
        new='"begin", "DEFERRED"',
    ),
    Mutation(
        name="sales-not-stored",
        claims=(
            "one-application-of-four-keeps-its-promises",
            "nothing-is-lost-while-you-watch",
        ),
        notebook=FLASK,
        file=APPLICATION,
        old="        counter.value += 1\n",
        new="        counter.value += request.args.get('refused', 0)\n",
    ),
    Mutation(
        name="server-left-running",
        claims=("the-server-has-stopped",),
        notebook=FLASK,
        file=FLASK,
        old="running.close()",
        new="running",
    ),
    Mutation(
        name="flask-solutions-deferred",
        claims=("immediate-is-right",),
        notebook=FLASK_SOLVED,
        file=FLASK_SOLVED,
        old=r"""\"BEGIN IMMEDIATE\")\n",
    "    value = write(connection""",
        new=r"""\"BEGIN\")\n",
    "    value = write(connection""",
    ),
    Mutation(
        name="flask-solution-reads-first",
        claims=("one-statement-is-right",),
        notebook=FLASK_SOLVED,
        file=FLASK_SOLVED,
        old=r"return connection.execute(sql).fetchall()[0][0]",
        new=r"return write(connection, read(connection) + 1)",
    ),
    Mutation(
        name="every-request-passes",
        claims=("four-wrong-repairs-are-refuted",),
        notebook=FLASK_SOLVED,
        file="helpers/exercises/promises.py",
        old="    return bool(end.value == len(end.succeeded))",
        new="    return True",
    ),
    Mutation(
        name="lock-forgotten-under-load",
        claims=("right-under-load-too",),
        notebook=FLASK_SOLVED,
        file=FLASK_SOLVED,
        old=r"for add in (immediate, locked)",
        new=r"for add in (immediate, with_connection)",
    ),
]
