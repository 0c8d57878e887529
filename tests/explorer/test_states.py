"""States instead of schedules: every count is that of the full search."""

from __future__ import annotations

import contextlib
import functools
import itertools
import queue
import random
import sqlite3
import threading
import types
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import ClassVar

import pytest
from ways import RULE, WAYS

from helpers.explorer import Program, explore
from helpers.explorer.engine import states
from helpers.explorer.scenarios import SCENARIOS, begin
from helpers.explorer.steps.discovery import may_share

BEGINS = ("", "BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE")
STATEMENTS = (
    "SELECT value FROM counter",
    "UPDATE counter SET value = value + 1",
    "UPDATE counter SET value = 5",
    "INSERT INTO counter (value) VALUES (7)",
    "DELETE FROM counter WHERE value > 5",
    "PRAGMA user_version = 3",
    "PRAGMA user_version",
    "rows",
    "many",
    "copy",
    "lock",
    "put",
    "get",
)


def count(path):
    """Three steps that touch nothing in common with another thread's."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("SELECT value FROM counter")


def both(program, **options):
    """The full search and the one by states, as explorations."""
    full = explore(program, merge=False, seconds=600, max_schedules=40_000, **options)
    return full, explore(program, merge=True, seconds=600, **options)


# -- every count is that of the full search ---------------------------------------------------


@pytest.mark.parametrize("waiting", WAYS)
@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_scenarios_count_the_same(mode, waiting):
    merged = 0
    for scenario in SCENARIOS:
        full, states = both(scenario.program(mode), waiting=waiting)
        assert full == states, scenario.name
        merged += states.runs < full.schedules
    assert merged > 5


def random_program(number):
    """Two or three threads that do what was drawn for this number."""
    draw = random.Random(number)
    shared = draw.random() < 0.25
    lock, items = threading.Lock(), queue.Queue()
    threads = draw.choice([2, 2, 3])
    jobs = []
    for _ in range(threads):
        plan = [draw.choice(STATEMENTS) for _ in range(draw.randint(1, 6 - threads))]
        last = draw.choice(["COMMIT", "ROLLBACK", "close"])
        own = {"isolation_level": draw.choice([None, "DEFERRED", "IMMEDIATE"]), "timeout": 1.0}
        start = draw.choice(BEGINS) if own["isolation_level"] is None else ""
        jobs.append(functools.partial(_work, plan, start, last, own, lock, items, shared))
    share = (lambda path: sqlite3.connect(path, check_same_thread=False)) if shared else None
    return Program(
        "counter", jobs, lambda end: True, journal_mode=draw.choice(["delete", "wal"]), share=share
    )


def _work(plan, start, last, own, lock, items, shared, given):
    connection = given if shared else sqlite3.connect(given, **own)
    try:
        if start:
            connection.execute(start)
        for step in plan:
            _do(connection, step, lock, items)
        if last != "close" and connection.in_transaction:
            connection.execute(last)
    finally:
        if not shared:
            connection.close()


def _do(connection, step, lock, items):
    if step == "rows":
        for (value,) in connection.execute("SELECT value FROM counter"):
            connection.execute("UPDATE counter SET value = ?", (value + 2,))
    elif step == "many":
        connection.executemany("INSERT INTO counter (value) VALUES (?)", [(1,), (8,)])
    elif step == "copy":
        (value,) = connection.execute("SELECT max(value) FROM counter").fetchone()
        connection.execute("UPDATE counter SET value = ?", ((value or 0) + 1,))
    elif step == "lock":
        with lock:
            connection.execute("SELECT count(*) FROM counter").fetchone()
    elif step == "put":
        items.put(1)
    elif step == "get":
        try:
            items.get_nowait()
        except queue.Empty:
            connection.execute("UPDATE counter SET value = 9")
    else:
        connection.execute(step).fetchall()


def agree(number):
    """Whether both searches count the same for this number; None where the full is too long."""
    waiting = RULE if number % 2 else "auto"
    full = explore(
        random_program(number), merge=False, max_schedules=2_000, seconds=60, waiting=waiting
    )
    if not full.complete:
        return None
    return full == explore(random_program(number), merge=True, waiting=waiting)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(16))
def test_random_programs_count_the_same(part):
    answers = [agree(number) for number in range(part * 6, part * 6 + 6)]
    assert False not in answers
    assert answers.count(True) > 1


def test_retries_in_vain_before_a_timeout_are_made_again():
    # A and B wait for each other; C begins to wait after them and changes no lock.
    def reader(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            connection.execute("PRAGMA user_version").fetchone()
            connection.execute("UPDATE counter SET value = 9")

    def blind(path):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("DELETE FROM counter WHERE value > 5")

    program = Program("counter", [begin("IMMEDIATE"), reader, blind], lambda end: True)
    full, states = both(program, waiting=RULE)
    assert full == states
    assert any(name.endswith(":timeout") for _, _, run in full.outcomes for name in run)


def test_many_schedules_need_few_runs():
    exploration = explore(Program("counter", [begin("DEFERRED")] * 3, lambda end: True))
    assert exploration.schedules == 31_830
    assert exploration.runs < 500
    run = f"31830 schedules, of which {exploration.runs} were run: the others lead to states"
    assert run in exploration.verdict
    few = explore(Program("counter", [begin("DEFERRED")] * 2, lambda end: True))
    assert few.runs < few.schedules
    assert "were run" not in few.verdict


def increments(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for _ in range(3):
            (value,) = connection.execute("SELECT value FROM counter").fetchone()
            connection.execute("UPDATE counter SET value = ?", (value + 1,))


def blind(path):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for _ in range(5):
            connection.execute("UPDATE counter SET value = value + 1")


def waits(path):
    """A wait that is over tells nothing: the call counts where it was completed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for _ in range(3):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE counter SET value = value + 1")
            connection.execute("COMMIT")


@pytest.mark.parametrize(("job", "most"), [(increments, 250), (blind, 60), (waits, 120)])
@pytest.mark.parametrize("mode", [pytest.param("delete", marks=pytest.mark.slow), "wal"])
def test_content_stands_for_the_order_of_writes(job, most, mode):
    full, states = both(Program("counter", [job] * 2, lambda end: True, journal_mode=mode))
    assert full == states
    assert states.runs < most < full.schedules


IN_THE_WAL = {
    "a commit": ["INSERT INTO t VALUES (zeroblob(9000))"],
    "taken back": ["BEGIN", "DELETE FROM t", "ROLLBACK"],
    "spilt, taken back": ["PRAGMA cache_size = 1", "BEGIN", "UPDATE t SET v = 1", "ROLLBACK"],
    "larger": ["INSERT INTO t SELECT zeroblob(3000) FROM t"],
    "smaller": ["DELETE FROM t WHERE rowid % 3", "VACUUM"],
    "in the file, too": ["PRAGMA wal_checkpoint(PASSIVE)"],
    "from its beginning": ["PRAGMA wal_checkpoint(RESTART)", "UPDATE t SET v = 2 WHERE rowid < 3"],
    "empty": ["PRAGMA wal_checkpoint(TRUNCATE)"],
}


def test_content_is_what_sqlite_reads(tmp_path):
    path, chance = str(tmp_path / "one.db"), random.Random(5)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (v)")
        for name in [*IN_THE_WAL, *chance.choices(list(IN_THE_WAL), k=80)]:
            for sql in IN_THE_WAL[name]:
                connection.execute(sql)
            assert bytes(states._content(path)) == connection.serialize(), name


@pytest.mark.parametrize("where", ["in the cursor", "in the connection"])
def test_what_an_update_changed_is_told_by_no_content(where):
    # Whoever comes first changes the row; the content is the same afterwards.
    def job(path, factor):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            sql, changed = "UPDATE counter SET value = 5 WHERE value <> 5", "changes()"
            if where == "in the cursor":
                changed = str(connection.execute(sql).rowcount)
            else:
                connection.executescript(sql)
            connection.execute("SELECT value FROM counter")
            connection.execute(f"UPDATE counter SET value = value * 10 + {factor} * {changed}")

    jobs = [functools.partial(job, factor=factor) for factor in (1, 2)]
    full, states = both(Program("counter", jobs, lambda end: True))
    assert full == states


def test_what_is_in_another_file_is_told_by_no_content():
    def job(path, name):
        with closing(sqlite3.connect(f"{path}.other", isolation_level=None)) as other:
            other.execute("CREATE TABLE IF NOT EXISTS last (name)")
            other.execute("INSERT OR IGNORE INTO last (rowid) VALUES (1)")
            other.execute("UPDATE last SET name = ?", (name,))
            (last,) = other.execute("SELECT name FROM last").fetchone()
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE counter SET value = value * 10 + ?", (last * name,))

    jobs = [functools.partial(job, name=name) for name in (1, 2)]
    full, states = both(Program("counter", jobs, lambda end: True))
    assert full == states


# -- what threads share beside the database ----------------------------------------------------

seen: list[str] = []
last = ""


class Box:
    items: ClassVar[list[str]] = []


def in_a_list(found=seen):
    return lambda name: found.append(name), lambda: found[0]


def in_a_default():
    def put(name, found=[]):  # noqa: B006
        found.append(name)
        return found[0]

    return put, lambda: put("")


def in_a_global():
    def put(name):
        global last
        last = last or name

    return put, lambda: last


def in_an_outer_name():
    first = ""

    def put(name):
        nonlocal first
        first = first or name

    return put, lambda: first


def in_a_class():
    return lambda name: Box.items.append(name), lambda: Box.items[0]


def in_an_attribute():
    def put(name):
        put.first = getattr(put, "first", name)

    return put, lambda: put.first


def in_a_module():
    def put(name):
        import os

        os.environ.setdefault("FIRST", name)

    def see():
        import os

        return os.environ["FIRST"]

    return put, see


def in_an_iterator():
    numbers = itertools.count()
    order = {}
    return lambda name: order.setdefault(next(numbers), name), lambda: order[0]


def in_a_cache():
    @functools.lru_cache
    def first():
        return threading.current_thread().name

    return lambda name: first(), first


def in_an_attribute_made_before():
    def put(name):
        put.found.append(name)

    put.found = []
    return put, lambda: put.found[0]


def in_an_attribute_of_a_partial():
    print_all = functools.partial(print)
    print_all.found = []
    return lambda name: print_all.found.append(name), lambda: print_all.found[0]


def in_a_metaclass():
    class Meta(type):
        found: ClassVar[list[str]] = []

    class Made(metaclass=Meta):
        pass

    return lambda name: Made.found.append(name), lambda: Made.found[0]


def in_a_singleton():
    class One:
        name = ""

        def __new__(cls, name):
            cls.name = cls.name or name
            return cls.name

    return One, lambda: One("")


def in_a_subclass_of_a_primitive():
    class Own(threading.local):
        found: ClassVar[list[str]] = []

    own = Own()
    return lambda name: own.found.append(name), lambda: own.found[0]


def in_a_subclass_of_a_tuple():
    class Pair(tuple):
        pass

    pair = Pair()
    pair.found = []
    return lambda name: pair.found.append(name), lambda: pair.found[0]


def in_an_exempt_attribute():
    class Level:
        isolation_level = ""

    def put(name):
        Level.isolation_level = Level.isolation_level or name

    return put, lambda: Level.isolation_level


def in_a_queue_from_before():
    found, items = [], queue.Queue()
    items.put(found)
    items.put(found)
    return lambda name: items.get().append(name), lambda: items.get()[0]


def in_what_a_queue_holds():
    items = queue.Queue()
    return items.put, lambda: items.queue[0]


def in_a_value_of_a_semaphore():
    semaphore = threading.Semaphore(9)
    return lambda name: semaphore.acquire(), lambda: str(semaphore._value)


def in_an_event_asked_the_old_way():
    event = threading.Event()
    return lambda name: event.set(), lambda: str(event.isSet())


def in_another_module(module=types.ModuleType("test_states")):  # noqa: B008
    module.found = []
    return lambda name: module.found.append(name), lambda: module.found[0]


def in_a_module_given_to_a_function(module=types.ModuleType("test_states")):  # noqa: B008
    module.found = []

    def note(where, name):
        where.found.append(name)

    return functools.partial(note, module), lambda: functools.partial(note, module)


def in_a_module_of_a_module(module=contextlib):
    return lambda name: module.os.environ.setdefault("FIRST", name), lambda: ""


def in_the_output():
    return print, lambda: contextlib.redirect_stdout(None)


def in_the_names_of_threads():
    return lambda name: None, lambda: str(len(threading.enumerate()))


def in_converters():
    return lambda name: sqlite3.converters.setdefault("WHO", name), lambda: ""


def in_a_copy_of_the_database():
    def put(name):
        with closing(sqlite3.connect("")) as one, closing(sqlite3.connect("")) as other:
            one.backup(other)

    return put, lambda: ""


WAYS_TO_SHARE = (
    in_a_list, in_a_default, in_a_global, in_an_outer_name, in_a_class, in_an_attribute,
    in_a_module, in_an_iterator, in_a_cache, in_an_attribute_made_before,
    in_an_attribute_of_a_partial, in_a_metaclass, in_a_singleton, in_a_subclass_of_a_primitive,
    in_a_subclass_of_a_tuple, in_an_exempt_attribute, in_a_queue_from_before,
    in_what_a_queue_holds, in_a_value_of_a_semaphore, in_an_event_asked_the_old_way,
    in_another_module, in_a_module_given_to_a_function, in_a_module_of_a_module, in_the_output,
    in_the_names_of_threads, in_converters, in_a_copy_of_the_database,
)  # fmt: skip


def forget():
    """What one schedule leaves must not reach the next."""
    global last
    last = ""
    seen.clear()
    Box.items.clear()
    import os

    os.environ.pop("FIRST", None)


def who_was_first(share):
    """Two threads that note their names in Python between two steps, and store the first."""

    def made(path):
        forget()
        return path, *share()

    def job(name, place):
        path, put, see = place
        count(path)
        put(name)
        count(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            (value,) = connection.execute("SELECT value FROM counter").fetchone()
            if value == 0:
                connection.execute("UPDATE counter SET value = ?", (ord(see()),))
            connection.execute("COMMIT")

    jobs = {name: functools.partial(job, name) for name in "AB"}
    return Program("counter", jobs, lambda end: True, share=made)


@pytest.mark.parametrize("share", WAYS_TO_SHARE)
def test_what_no_step_shows_is_found(share):
    put, see = share()
    assert may_share([lambda path: put("A"), lambda path: see()])
    forget()


@pytest.mark.parametrize("share", [in_a_list, in_an_outer_name, in_an_attribute])
def test_merging_what_is_shared_would_count_wrongly(share):
    full, states = both(who_was_first(share))
    assert full != states
    assert explore(who_was_first(share)) == full


Rows = list[tuple[int, str]] | None


def with_an_alias(path):
    def inner(rows: Rows) -> Rows:
        return rows

    return inner(None)


def in_a_class_behind_an_alias(alias=types.GenericAlias(Box, int)):  # noqa: B008
    return lambda name: alias.items.append(name), lambda: alias.items[0]


def test_an_alias_hides_nothing():
    put, _ = in_a_class_behind_an_alias()
    assert may_share([put])


@pytest.mark.parametrize(
    "job",
    [count, begin("IMMEDIATE"), functools.partial(begin("DEFERRED")), with_an_alias],
)
def test_what_is_not_shared_is_not_found(job):
    assert may_share([job, job]) == ""


def test_objects_in_a_queue_are_shared():
    items = queue.Queue()

    def job(path):
        items.put([])
        count(path)

    exploration = explore(Program("counter", [job, job], lambda end: True), merge=True)
    assert exploration.runs == exploration.schedules


@pytest.mark.parametrize("make", [Future, lambda: ThreadPoolExecutor(1).shutdown()])
def test_futures_and_started_threads_are_shared(make):
    def started(path):
        helper = threading.Thread(target=count, args=(path,))
        helper.start()
        helper.join()

    def future(path):
        count(path)
        make()
        count(path)

    for job in (started, future):
        exploration = explore(Program("counter", [job, count], lambda end: True), merge=True)
        assert exploration.runs == exploration.schedules


def connect(path, **options):
    return closing(sqlite3.connect(path, isolation_level=None, **options))


def change(path):
    with connect(path) as connection:
        connection.execute("UPDATE counter SET value = value + 1")


def own_tables(path, prepare=("CREATE TEMP TABLE own (value)",)):
    """In one transaction notes the counter in a table that is its own."""
    with connect(path) as connection:
        for sql in prepare:
            connection.execute(sql)
        connection.execute("BEGIN")
        connection.execute("INSERT INTO own VALUES (1)")
        connection.execute("INSERT INTO own SELECT value FROM counter")
        connection.execute("COMMIT")
        return connection.execute("SELECT sum(value) FROM own").fetchone()


ATTACHED = ("ATTACH ':memory:' AS other", "CREATE TABLE other.own (value)")


def checkpoints(path):
    with connect(path) as connection:
        connection.execute("UPDATE counter SET value = 7")
        connection.execute("PRAGMA wal_checkpoint")
        connection.execute("UPDATE counter SET value = 8")
        return connection.execute("PRAGMA wal_checkpoint").fetchone()


def reads_row_by_row(path):
    with connect(path) as connection:
        rows = connection.execute("SELECT value FROM counter UNION ALL SELECT 1 FROM counter")
        return [rows.fetchone() for _ in range(3)]


def changes_while_it_reads(path):
    with connect(path) as connection:
        for _ in connection.execute("SELECT value FROM counter UNION ALL SELECT 1 FROM counter"):
            connection.execute("UPDATE counter SET value = value + 1")


def fetches_later(path):
    with connect(path) as connection:
        rows = connection.execute("UPDATE counter SET value = value + 1 RETURNING value")
        count(path)
        return rows.fetchall()


def looks_twice(path):
    """The first look fixes what the second one sees, but its row is in no step."""
    with connect(path) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT value FROM counter")
        count(path)
        return connection.execute("SELECT value FROM counter").fetchone()


def asks_for_changes(path):
    with connect(path) as connection:
        connection.execute("UPDATE counter SET value = value * 2 + 3")
        return [connection.execute("PRAGMA data_version").fetchone() for _ in range(3)]


def makes_a_file(path):
    count(path)
    with connect(f"{path}-other"):
        count(path)


def needs_a_file(path):
    count(path)
    try:
        with connect(f"file:{path}-other?mode=rw", uri=True):
            found = True
    except sqlite3.OperationalError:
        found = False
    count(path)
    return found


@pytest.mark.parametrize("waiting", WAYS)
@pytest.mark.parametrize(
    "jobs",
    [
        (own_tables, change),
        (functools.partial(own_tables, prepare=ATTACHED), change),
        (checkpoints, reads_row_by_row),
        (makes_a_file, needs_a_file),
        (changes_while_it_reads, looks_twice),
        (fetches_later, looks_twice),
        (asks_for_changes, begin("IMMEDIATE")),
    ],
    ids=["temp", "attach", "checkpoint", "file", "cursor", "returning", "version"],
)
def test_what_calls_touch_unseen(jobs, waiting):
    full, states = both(
        Program("counter", jobs, lambda end: True, journal_mode="wal"), waiting=waiting
    )
    assert full == states


def asks_without_the_lock(ask):
    """One thread has a lock now and then, one uses it without."""

    def asks(path):
        count(path)
        try:
            ask()
            holds = 1
        except RuntimeError:
            holds = 0
        count(path)
        return holds

    return asks


@pytest.mark.parametrize("ask", ["notify", "release"])
def test_a_lock_that_another_holds_is_seen(ask):
    lock = threading.Lock()
    condition = threading.Condition(lock)

    def holds(path):
        lock.acquire()
        count(path)
        with contextlib.suppress(RuntimeError):
            lock.release()

    calls = {"notify": lambda: condition.notify(), "release": lambda: lock.release()}
    asks = asks_without_the_lock(calls[ask])
    full, states = both(Program("counter", [asks, holds], lambda end: True))
    assert full == states


def test_who_opened_first_is_not_told():
    # Two readers keep the writer waiting: which of them is named must not depend on who opened.
    lock = threading.Lock()

    def reader(path):
        count(path)
        with connect(path) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT value FROM counter").fetchone()
            with lock:
                connection.execute("COMMIT")

    def writer(path):
        with lock:
            change(path)

    full, states = both(Program("counter", [writer, reader, reader], lambda end: True))
    assert full == states
    assert "deadlock" in full.counts


@pytest.mark.parametrize("limit", range(4, 9))
def test_a_limit_that_only_longer_ways_reach(limit):
    def begins(path):
        with connect(path) as connection:
            for _ in range(2):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("COMMIT")

    def changes(path):
        with connect(path) as connection:
            for _ in range(2):
                connection.execute("UPDATE counter SET value = 1")

    full, states = both(Program("counter", [begins, changes], lambda end: True), step_limit=limit)
    assert full == states


def test_looking_at_a_state_ends_no_statement():
    # It could not read the schema at first; by the rule, looking at a state asks for a VACUUM.
    def reader(path):
        with closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT value FROM counter UNION ALL SELECT 2 FROM counter")
            return rows.fetchall()

    program = Program("counter", [reader, begin("EXCLUSIVE")], lambda end: True)
    full, states = both(program, waiting=RULE)
    assert full == states
    assert full.counts == {"right": full.schedules}


def test_a_program_that_never_ends_is_searched_in_full():
    def spin(path):
        with closing(sqlite3.connect(path)) as connection:
            while connection.execute("SELECT value FROM counter").fetchone() == (0,):
                pass

    def change(path):
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("UPDATE counter SET value = 1")

    program = Program("counter", [spin, change], lambda end: True)
    full, states = both(program, step_limit=25)
    assert full == states
    assert "endless" in full.counts
