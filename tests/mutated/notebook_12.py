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
        old=r"(f\"{file}?check_same_thread=true\", {})",
        new="(file, {})",
    ),
    Mutation(
        name="the-test-suite-uses-a-file",
        claims=("flask-sqlalchemy-shares-a-connection-in-memory",),
        notebook=FLASK,
        file=FLASK,
        old=r"flask_engine(\"sqlite://\", folder)",
        new=r"flask_engine(\"sqlite:///tests.db\", folder)",
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
        claims=("one-session-breaks-under-load", "own-sessions-lose-sales"),
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
        claims=("two-requests-lose-a-sale", "most-orders-of-two-requests-lose-a-sale"),
        notebook=FLASK,
        file=FLASK,
        old=r"connection().execute(\"UPDATE counter SET value = ?\", [value + 1])",
        new=r"connection().execute(\"UPDATE counter SET value = value + 1\")",
    ),
    Mutation(
        name="request-begins-deferred",
        claims=("immediate-requests-are-proved",),
        notebook=FLASK,
        file=FLASK,
        old=r"share=partial(plain_shop, begin=\"BEGIN IMMEDIATE\")",
        new=r"share=partial(plain_shop, begin=\"BEGIN\")",
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
            "two-applications-of-eight-keep-their-promises",
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
