"""Changes that must turn claims of notebook 13 red."""

from mutations import Mutation

FASTAPI = "notebooks/13_fastapi.ipynb"
APPLICATIONS = "notebooks/applications"
FASTAPI_SOLVED = "notebooks/solutions/13_fastapi.ipynb"

MUTATIONS = [
    Mutation(
        name="check-off-everywhere",
        claims=("one-request-has-several-threads",),
        notebook=FASTAPI,
        file=FASTAPI,
        old=r"{\"isolation_level\": None, \"timeout\": 30, **options}",
        new=r"{\"isolation_level\": None, \"check_same_thread\": False, **options}",
    ),
    Mutation(
        name="sqlite-adds-everywhere",
        claims=(
            "the-flag-is-no-licence",
            "fastapi-with-the-write-lock-loses-nothing",
            "three-applications-keep-their-promises",
        ),
        notebook=FASTAPI,
        file=FASTAPI,
        old=r"connection.execute(\"UPDATE counter SET value = ?\", [value + 1])",
        new=r"connection.execute(\"UPDATE counter SET value = value + 1\")",
    ),
    Mutation(
        name="commit-before-the-answer",
        claims=("the-answer-comes-before-the-commit",),
        notebook=FASTAPI,
        file=FASTAPI,
        old="Depends(dependency, **options)",
        new=r"Depends(dependency, scope=\"function\")",
    ),
    Mutation(
        name="commit-after-the-answer",
        claims=("scope-function-commits-first",),
        notebook=FASTAPI,
        file=FASTAPI,
        old="Depends(dependency, **options)",
        new=r"Depends(dependency, scope=\"request\")",
    ),
    Mutation(
        name="fastapi-application-begins-deferred",
        claims=(
            "the-fastapi-application-is-shown-as-it-is",
            "the-fastapi-application-loses-nothing",
        ),
        notebook=FASTAPI,
        file=f"{APPLICATIONS}/fastapi_app.py",
        old='"begin", "IMMEDIATE"',
        new='"begin", "DEFERRED"',
    ),
    Mutation(
        name="both-in-the-pool",
        claims=("a-waiting-sale-blocks-the-loop",),
        notebook=FASTAPI,
        file=FASTAPI,
        old="async def on_the_loop():",
        new="def on_the_loop():",
    ),
    Mutation(
        name="no-await-in-between",
        claims=("an-await-in-between-loses-sales",),
        notebook=FASTAPI,
        file=FASTAPI,
        old="await asyncio.sleep(0)",
        new="pass",
    ),
    Mutation(
        name="no-lock-in-the-dependency",
        claims=("the-pool-waits-for-itself",),
        notebook=FASTAPI,
        file=FASTAPI,
        old=r"opened.execute(\"BEGIN IMMEDIATE\")",
        new="pass",
    ),
    Mutation(
        name="endpoint-begins-deferred",
        claims=("the-repaired-endpoint-is-right",),
        notebook=FASTAPI_SOLVED,
        file=FASTAPI_SOLVED,
        old=r"begin=\"BEGIN IMMEDIATE\", end",
        new=r"begin=\"BEGIN\", end",
    ),
    Mutation(
        name="early-answers-unseen",
        claims=("each-mistake-alone-is-seen",),
        notebook=FASTAPI_SOLVED,
        file="helpers/exercises/served.py",
        old="    if early:",
        new="    if False:",
    ),
]
