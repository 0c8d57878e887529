"""Changes that must turn claims of notebook 04 red."""

from mutations import Mutation

LOST_UPDATES = "notebooks/04_lost_updates.ipynb"
LOST_UPDATES_SOLVED = "notebooks/solutions/04_lost_updates.ipynb"
READ = r'"        (value,) = connection.execute(\"SELECT value FROM counter\").fetchone()\n"'
WRITE = r'"        connection.execute(\"UPDATE counter SET value = ?\", (value + 1,))\n"'
ONE = r'"        connection.execute(\"UPDATE counter SET value = value + 1\")\n"'
BEFORE_PROGRAM = r""",
    "\n",
    "\n",
    "program = Program"""

MUTATIONS = [
    Mutation(
        name="one-order-only",
        claims=("four-of-six-orders-lose",),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old="found = explore(program)",
        new="found = explore(program, max_schedules=1)",
    ),
    Mutation(
        name="write-lock-before-the-read",
        claims=("begin-loses-nothing-and-refuses",),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old=r'"explore(in_transaction(\"BEGIN\"))"',
        new=r'"explore(in_transaction(\"BEGIN IMMEDIATE\"))"',
    ),
    Mutation(
        name="one-statement",
        claims=("six-schedules", "own-connections-lose-an-update"),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old=f"{READ},\n    {WRITE}{BEFORE_PROGRAM}",
        new=f"{ONE}{BEFORE_PROGRAM}",
    ),
    Mutation(
        name="unit-in-a-transaction",
        claims=("load-loses-acknowledged-increments",),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old=r""""            return unit_of_work(connection)\n",
    "\n",
    "    def close""",
        new=r""""            connection.execute(\"BEGIN IMMEDIATE\")\n",
    "            result = unit_of_work(connection)\n",
    "            connection.execute(\"COMMIT\")\n",
    "            return result\n",
    "\n",
    "    def close""",
    ),
    Mutation(
        name="immediate-forgotten",
        claims=("immediate-is-proved",),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old=r"proof = explore(in_transaction(\"BEGIN IMMEDIATE\"))",
        new=r"proof = explore(in_transaction(\"BEGIN\"))",
    ),
    Mutation(
        name="begin-under-load-forgotten",
        claims=("immediate-holds-under-load",),
        notebook=LOST_UPDATES,
        file=LOST_UPDATES,
        old=r""""            connection.execute(\"BEGIN IMMEDIATE\")\n",
    "            return unit_of_work(connection)""",
        new=r""""            return unit_of_work(connection)""",
    ),
    Mutation(
        name="every-wait-is-long-enough",
        claims=("a-proof-leaves-time-out",),
        notebook=LOST_UPDATES,
        file="helpers/explorer/steps/watched.py",
        old="return bool(self.patience) and not self.scheduler.expire",
        new="return bool(self.patience)",
    ),
    Mutation(
        name="one-order-only-in-the-solutions",
        claims=(
            "immediate",
            "atomic",
            "locked",
            "a-lock-per-statement-loses",
            "a-lock-of-one-thread-loses",
            "deferred-is-refused",
            "beginning-after-the-read-loses",
            "the-isolation-level-alone-loses",
        ),
        notebook=LOST_UPDATES_SOLVED,
        file="helpers/explorer/search.py",
        old="if node.position + 1 < len(node.options):",
        new="if False:",
    ),
]
