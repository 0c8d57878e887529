"""An exploration spread over an executor finds what a serial one finds."""

from __future__ import annotations

import multiprocessing
import pickle
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pytest

from helpers.explorer import Program, Runner, explore, scenarios
from helpers.explorer.engine.confinement import LentToAnother
from helpers.explorer.scenarios import begin, no_increment_lost
from helpers.explorer.search import Search, split

CASES = [
    pytest.param(scenario.program(mode), id=f"{scenario.name}-{mode}", marks=marks)
    for scenario in scenarios.SCENARIOS
    for mode, marks in (("delete", [pytest.mark.slow]), ("wal", []))
]


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        yield pool


@pytest.mark.parametrize("program", CASES)
def test_two_processes_find_what_one_finds(program, processes):
    assert explore(program, executor=processes) == explore(program)


def test_two_processes_run_as_often_as_one_where_threads_start_late(processes):
    program = next(s for s in scenarios.SCENARIOS if s.share is scenarios.Shared).program("wal")
    one, two = explore(program), explore(program, executor=processes)
    assert one.runs == two.runs > one.schedules


@pytest.mark.parametrize("limit", [0, 1])
def test_two_processes_find_what_one_finds_with_few_preemptions(limit, processes):
    program = Program("counter", [begin("IMMEDIATE")] * 3, no_increment_lost)
    one = explore(program, preemptions=limit)
    assert explore(program, executor=processes, preemptions=limit) == one
    assert one.schedules < explore(program).schedules


def test_the_pool_that_this_system_makes_by_default_works_too():
    program = Program("counter", [begin("IMMEDIATE")] * 2, no_increment_lost)
    with ProcessPoolExecutor(2) as pool:  # on Linux, some Pythons fork here
        assert explore(program, executor=pool) == explore(program)


def test_functions_written_in_a_notebook_travel(processes):
    kind = ""
    jobs = [lambda path: begin(kind)(path)] * 2
    program = Program("counter", jobs, lambda end: end.value == len(end.succeeded))
    assert explore(program, executor=processes) == explore(program)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    # Where a port is taken, it tries the next one and leaves the socket open.
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)
def test_a_local_dask_cluster_finds_what_one_process_finds():
    from distributed import Client, LocalCluster

    program = Program("counter", [begin("")] * 2, no_increment_lost)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        assert explore(program, executor=client.get_executor()) == explore(program)


def test_a_limit_stops_it_and_says_not_proved(processes):
    program = Program("counter", [begin("IMMEDIATE")] * 3, no_increment_lost)
    exploration = explore(program, executor=processes, max_schedules=10)
    assert not exploration.complete
    assert "Not proved" in exploration.verdict


def test_an_error_in_a_part_comes_back(processes):
    def broken(path):
        raise SystemExit

    program = Program(
        "CREATE TABLE t (i)", [broken], lambda end: True, look="SELECT * FROM nowhere"
    )
    with pytest.raises(Exception, match="no such table: nowhere"):
        explore(program, executor=processes)


def test_threads_cannot_explore_side_by_side():
    program = Program("counter", [begin("IMMEDIATE")] * 3, no_increment_lost)
    with ThreadPoolExecutor(2) as pool, pytest.raises(RuntimeError, match="another exploration"):
        explore(program, executor=pool)


def test_the_parts_cover_the_tree_without_overlap():
    program = Program("counter", [begin("")] * 2, no_increment_lost)
    with Runner(program) as runner:
        roots = split(runner, Search(), 8)
    prefixes = [tuple(node.choice for node in root) for root in roots]
    assert len(prefixes) >= 8
    for one in prefixes:
        assert not any(other != one and other[: len(one)] == one for other in prefixes)


def test_a_time_limit_holds_for_other_processes_too(processes):
    program = Program("counter", [begin("DEFERRED")] * 4, no_increment_lost)
    began = time.monotonic()
    found = explore(program, executor=processes, merge=False, seconds=2)
    assert not found.complete
    assert found.schedules
    assert time.monotonic() - began < 60


def test_what_a_worker_raises_reaches_its_caller():
    found = pickle.loads(pickle.dumps(LentToAnother(1, "A", "B")))
    assert str(found).startswith("B used connection 1, which A had checked out of the pool")
