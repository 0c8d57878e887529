"""Changes that must turn claims of notebook 14 red."""

from mutations import Mutation

CHERRYPY = "notebooks/14_cherrypy.ipynb"
APPLICATIONS = "notebooks/applications"
CHERRYPY_SOLVED = "notebooks/solutions/14_cherrypy.ipynb"

MUTATIONS = [
    Mutation(
        name="the-check-is-off-anyway",
        claims=("the-check-refuses-every-request",),
        notebook=CHERRYPY,
        file=CHERRYPY,
        old="partial(one_connection, check=True)",
        new="partial(one_connection, check=False)",
    ),
    Mutation(
        name="one-client-only",
        claims=("the-questions-application-breaks",),
        notebook=CHERRYPY,
        file=CHERRYPY,
        old="webload.run_sandboxed(one_connection, servers.cherrypy) for",
        new="webload.run_sandboxed(one_connection, servers.cherrypy, clients=1) for",
    ),
    Mutation(
        name="closing-not-checked",
        claims=("stop-thread-runs-in-another-thread",),
        notebook=CHERRYPY,
        file=CHERRYPY,
        old="partial(connection_per_thread, check=True)",
        new="partial(connection_per_thread, check=False)",
    ),
    Mutation(
        name="sqlite-adds-in-cherrypy",
        claims=(
            "a-connection-per-thread-needs-the-lock-too",
            "a-lock-in-python-ends-at-the-process",
            "three-applications-break-a-promise",
        ),
        notebook=CHERRYPY,
        file=CHERRYPY,
        old=r"connection.execute(\"UPDATE counter SET value = ?\", [value + 1])",
        new=r"connection.execute(\"UPDATE counter SET value = value + 1\")",
    ),
    Mutation(
        name="cherrypy-application-begins-deferred",
        claims=(
            "the-cherrypy-application-is-shown-as-it-is",
            "the-cherrypy-application-loses-nothing",
        ),
        notebook=CHERRYPY,
        file=f"{APPLICATIONS}/cherrypy_app.py",
        old='begin: str = "IMMEDIATE"',
        new='begin: str = "DEFERRED"',
    ),
    Mutation(
        name="writer-does-not-write",
        claims=("the-writer-on-the-bus-loses-nothing",),
        notebook=CHERRYPY,
        file=CHERRYPY,
        old=r"publish(\"db\")[0].write(unit)",
        new=r"publish(\"db\")[0].read(unit)",
    ),
    Mutation(
        name="sale-begins-deferred",
        claims=("the-repaired-shop-is-right",),
        notebook=CHERRYPY_SOLVED,
        file=CHERRYPY_SOLVED,
        old=r"def at_once(unit, begin=\"BEGIN IMMEDIATE\")",
        new=r"def at_once(unit, begin=\"BEGIN\")",
    ),
    Mutation(
        name="early-answers-of-cherrypy-unseen",
        claims=("each-mistake-in-cherrypy-is-seen",),
        notebook=CHERRYPY_SOLVED,
        file="helpers/exercises/served.py",
        old="    if early:",
        new="    if False:",
    ),
    Mutation(
        name="the-hook-rolls-back",
        claims=("a-hook-commits-what-was-refused",),
        notebook=CHERRYPY_SOLVED,
        file=CHERRYPY_SOLVED,
        old=r" connection.execute(\"COMMIT\")",
        new=r" connection.rollback()",
    ),
]
