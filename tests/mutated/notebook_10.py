"""Changes that must turn claims of notebook 10 red."""

from mutations import Mutation

ONE_WRITER = "notebooks/10_one_writer.ipynb"
ONE_WRITER_SOLVED = "notebooks/solutions/10_one_writer.ipynb"
WRITER = "helpers/strategies/writer.py"


def repaired(name, base, claim):
    """The wrong writer `name` of the solutions, replaced by the right one."""
    return Mutation(
        name=f"{claim}-repaired",
        claims=(claim,),
        notebook=ONE_WRITER_SOLVED,
        file=ONE_WRITER_SOLVED,
        old=f"class {name}({base}):",
        new=f'{name} = OneByOne\\n",\n    "\\n",\n    "\\n",\n    "class Other({base}):',
    )


MUTATIONS = [
    Mutation(
        name="nobody-comes-later",
        claims=("some-orders-overtake", "the-second-is-served-first"),
        notebook=ONE_WRITER,
        file=ONE_WRITER,
        old=r"""    with connected(path) as connection:\n",
    "        asked.get()\n",""",
        new=r"""    with connected(path) as connection:\n",""",
    ),
    Mutation(
        name="a-writer-from-the-start",
        claims=("the-busy-handler-starves-threads",),
        notebook=ONE_WRITER,
        file=ONE_WRITER,
        old="each_its_own = one_second(PerThread)",
        new="each_its_own = one_second(Writer)",
    ),
    Mutation(
        name="statements-in-a-transaction",
        claims=(
            "a-queue-of-statements-loses-an-update",
            "a-queue-of-statements-keeps-no-unit-whole",
        ),
        notebook=ONE_WRITER,
        file=ONE_WRITER,
        old="return unit_of_work(self)",
        new=r"with self.__dict__.setdefault(\"lock\", threading.Lock()): return unit_of_work(self)",
    ),
    Mutation(
        name="one-writer-last-come-first-served",
        claims=("a-queue-keeps-the-order",),
        notebook=ONE_WRITER,
        file=ONE_WRITER,
        old="self.queue = queue.Queue()",
        new="self.queue = queue.LifoQueue()",
    ),
    Mutation(
        name="a-conflict-that-ends-nothing",
        claims=("three-faults-end-the-thread", "it-answers-whatever-happens"),
        notebook=ONE_WRITER,
        file=ONE_WRITER,
        old="INSERT OR ROLLBACK INTO counter VALUES (1, 0)",
        new="INSERT OR IGNORE INTO counter VALUES (1, 0)",
    ),
    Mutation(
        name="some-exceptions-are-no-answer",
        claims=("it-answers-whatever-happens",),
        notebook=ONE_WRITER,
        file=ONE_WRITER,
        old=r'    "            except BaseException as error:\n",'
        + "\n"
        + r'    "                if self',
        new=r'    "            except Exception as error:\n",'
        + "\n"
        + r'    "                if self',
    ),
    Mutation(
        name="savepoint-forgotten",
        claims=("writers-keep-their-promises", "one-unit-harms-only-itself"),
        notebook=ONE_WRITER,
        file=WRITER,
        old='connection.execute("ROLLBACK TO unit_of_a_group")',
        new="pass",
    ),
    Mutation(
        name="a-queue-without-end",
        claims=("a-full-queue-says-so",),
        notebook=ONE_WRITER,
        file=WRITER,
        old="threading.Semaphore(backlog)",
        new="threading.Semaphore(1_000_000)",
    ),
    Mutation(
        name="close-refuses-what-waits",
        claims=("close-finishes-the-queue",),
        notebook=ONE_WRITER,
        file=WRITER,
        old="return bool(self._running) or not self._closed",
        new="return not self._closed",
    ),
    Mutation(
        name="nobody-knows-of-the-death",
        claims=("a-dead-writer-says-so",),
        notebook=ONE_WRITER,
        file=WRITER,
        old="            death = error\n",
        new="            pass\n",
    ),
    Mutation(
        name="the-busy-handler-again",
        claims=("a-queue-starves-nobody",),
        notebook=ONE_WRITER,
        file=ONE_WRITER,
        old="one_writer = one_second(Writer)",
        new="one_writer = one_second(PerThread)",
    ),
    Mutation(
        name="groups-of-one",
        claims=("groups-form-by-themselves",),
        notebook=ONE_WRITER,
        file=WRITER,
        old="while self._jobs and len(self._running) < self.group:",
        new="while self._jobs and not self._running:",
    ),
    Mutation(
        name="one-by-one-and-deferred",
        claims=("one-by-one",),
        notebook=ONE_WRITER_SOLVED,
        file=ONE_WRITER_SOLVED,
        old=r"""IMMEDIATE\")\n",
    "                told = unit_of_work(self.connection), None\n",
    "                self.connection.execute(\"COMMIT\")""",
        new=r"""DEFERRED\")\n",
    "                told = unit_of_work(self.connection), None\n",
    "                self.connection.execute(\"COMMIT\")""",
    ),
    Mutation(
        name="groups-never-form",
        claims=("in-groups", "groups-share-a-commit"),
        notebook=ONE_WRITER_SOLVED,
        file=ONE_WRITER_SOLVED,
        old="while not self.queue.empty():",
        new="while False:",
    ),
    repaired("TooEarly", "Functions", "too-early"),
    repaired("LetsThrough", "Functions", "let-through"),
    repaired("CommitsOutside", "Functions", "commit-outside"),
    repaired("PlainBegin", "Functions", "plain-begin"),
    repaired("Swallows", "OneByOne", "swallowed"),
    repaired("NoEnd", "OneByOne", "no-end"),
    repaired("AllTogether", "InGroups", "all-together"),
]
