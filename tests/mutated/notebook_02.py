"""Changes that must turn claims of notebook 02 red."""

from mutations import Mutation

EACH_ERROR = "notebooks/02_what_each_error_means.ipynb"
EACH_ERROR_SOLVED = "notebooks/solutions/02_what_each_error_means.ipynb"
FAILURES = "helpers/failures/registry.py"
RUN_HERE = "entry.recipe(room, fixed)"
RUN_IN_CHILD = '*(["--fixed"] * fixed)'

MUTATIONS = [
    Mutation(
        name="recipes-always-cured",
        claims=(
            "each-error-happens",
            "some-uses-are-not-checked",
            "silent-failures",
            "no-cache-is-no-cure",
        ),
        notebook=EACH_ERROR,
        file=FAILURES,
        old=RUN_HERE,
        new="entry.recipe(room, True)",
    ),
    Mutation(
        name="children-always-cured",
        claims=("thread-ids-are-reused", "a-crash-and-a-hang"),
        notebook=EACH_ERROR,
        file=FAILURES,
        old=RUN_IN_CHILD,
        new='"--fixed"',
    ),
    Mutation(
        name="recipes-never-cured",
        claims=("the-cure-works",),
        notebook=EACH_ERROR,
        file=FAILURES,
        old=RUN_HERE,
        new="entry.recipe(room, False)",
    ),
    Mutation(
        name="first-case-relabelled",
        claims=("the-labels-are-right",),
        notebook=EACH_ERROR_SOLVED,
        file="helpers/exercises/cases.py",
        old='Case("a-fetch", "wrong thread")',
        new='Case("a-fetch", "lost update")',
    ),
    Mutation(
        name="case-six-always-cured",
        claims=("case-six-needs-a-lock-before-reading",),
        notebook=EACH_ERROR_SOLVED,
        file=FAILURES,
        old=RUN_HERE,
        new="entry.recipe(room, True)",
    ),
]
