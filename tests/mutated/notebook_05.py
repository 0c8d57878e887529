"""Changes that must turn claims of notebook 05 red."""

from mutations import Mutation

LOCKED = "notebooks/05_database_is_locked.ipynb"
LOCKED_SOLVED = "notebooks/solutions/05_database_is_locked.ipynb"

MUTATIONS = [
    Mutation(
        name="cures-in-place",
        claims=("fourteen-ways-to-be-locked", "with-connection-loses-the-work"),
        notebook=LOCKED,
        file="helpers/failures/registry.py",
        old="return _report(entry, entry.recipe(room, fixed))",
        new="return _report(entry, entry.recipe(room, True))",
    ),
    Mutation(
        name="write-lock-first",
        claims=(
            "seventy-schedules",
            "an-upgrade-is-refused-at-once",
            "a-stale-snapshot-is-refused-at-once",
        ),
        notebook=LOCKED,
        file=LOCKED,
        old=r"connection.execute(\"BEGIN\")",
        new=r"connection.execute(\"BEGIN IMMEDIATE\")",
    ),
    Mutation(
        name="both-refusals-alike",
        claims=("the-error-name-tells-them-apart",),
        notebook=LOCKED,
        file=LOCKED,
        old="errors = [stage.steps[-1].error, stale.steps[-1].error]",
        new="errors = [stage.steps[-1].error] * 2",
    ),
    Mutation(
        name="write-lock-forgotten",
        claims=("immediate-waits", "immediate-is-never-refused"),
        notebook=LOCKED,
        file=LOCKED,
        old=r"connection.execute(\"BEGIN IMMEDIATE\")",
        new=r"connection.execute(\"BEGIN\")",
    ),
    Mutation(
        name="cures-forgotten",
        claims=("what-is-left-open-locks-others",),
        notebook=LOCKED,
        file=LOCKED,
        old="failures.table(left_open, fixed=True)",
        new="failures.table(left_open)",
    ),
    Mutation(
        name="answers-ignored",
        claims=("two-answers-narrow-it-down",),
        notebook=LOCKED,
        file="helpers/failures/symptoms.py",
        old="in answers.items() if answer != UNKNOWN}",
        new="in answers.items() if answer == UNKNOWN}",
    ),
    Mutation(
        name="write-lock-first-under-load",
        claims=("refused-under-load-or-not",),
        notebook=LOCKED,
        file=LOCKED,
        old=r"kind = \"BEGIN\"",
        new=r"kind = \"BEGIN IMMEDIATE\"",
    ),
    Mutation(
        name="another-label-for-a-lock",
        claims=("the-eight-labels", "a-wrong-label-is-counted"),
        notebook=LOCKED_SOLVED,
        file="helpers/exercises/cases.py",
        old='Case("f-upgrade", "read, then write"',
        new='Case("f-upgrade", "left open"',
    ),
]
