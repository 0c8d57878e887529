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
        old="each_its_own = sixteen_threads(PerThread)",
        new="each_its_own = sixteen_threads(Writer)",
    ),
    Mutation(
        name="statements-in-a-transaction",
        claims=("a-queue-of-statements-loses-an-update",),
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
        name="waits-that-are-long-enough",
        claims=("a-refused-begin-ends-the-thread",),
        notebook=ONE_WRITER,
        file=ONE_WRITER,
        old=r"whoever waits is answered\", True",
        new=r"whoever waits is answered\", False",
    ),
    Mutation(
        name="some-exceptions-are-no-answer",
        claims=("it-answers-whatever-happens",),
        notebook=ONE_WRITER,
        file=ONE_WRITER,
        old=r'    "            return super().outcome(unit_of_work)\n",'
        + "\n"
        + r'    "        except BaseException',
        new=r'    "            return super().outcome(unit_of_work)\n",'
        + "\n"
        + r'    "        except ArithmeticError',
    ),
    Mutation(
        name="savepoint-forgotten",
        claims=("writers-keep-their-promises",),
        notebook=ONE_WRITER,
        file=WRITER,
        old='connection.execute("ROLLBACK TO unit_of_work")',
        new="pass",
    ),
    Mutation(
        name="nobody-is-told-what-it-met",
        claims=("a-dead-writer-says-so",),
        notebook=ONE_WRITER,
        file=WRITER,
        old="                for job in group.jobs:\n                    job.error",
        new="                for job in []:\n                    job.error",
    ),
    Mutation(
        name="the-busy-handler-again",
        claims=("a-queue-starves-nobody",),
        notebook=ONE_WRITER,
        file=ONE_WRITER,
        old="one_writer = sixteen_threads(Writer)",
        new="one_writer = sixteen_threads(PerThread)",
    ),
    Mutation(
        name="groups-of-one",
        claims=("groups-form-by-themselves",),
        notebook=ONE_WRITER,
        file=WRITER,
        old="if len(self._queue[-1].jobs) == self.group:",
        new="if self._queue[-1].jobs:",
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
        old=r"""while not self.queue.empty():\n",
    "                group.append(self.queue.get())\n",
    "            if None""",
        new=r"""while False:\n",
    "                group.append(self.queue.get())\n",
    "            if None""",
    ),
    repaired("TooEarly", "Functions", "too-early"),
    repaired("LetsThrough", "Functions", "let-through"),
    repaired("CommitsOutside", "Functions", "commit-outside"),
    repaired("PlainBegin", "Functions", "plain-begin"),
    repaired("Swallows", "OneByOne", "swallowed"),
    repaired("NoEnd", "OneByOne", "no-end"),
    repaired("ForgetsTheEnd", "InGroups", "forgets-the-end"),
    repaired("AllTogether", "InGroups", "all-together"),
]
