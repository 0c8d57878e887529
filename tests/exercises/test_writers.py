"""What a writer promises: right ones keep it in every order, wrong ones hear what breaks it."""

import queue
import sqlite3
import threading

import pytest

from helpers import exercises, explorer
from helpers.exercises import writers
from helpers.strategies import TransactionLock, Writer


class OneByOne:
    """Right; the wrong ones below differ in one thing each."""

    def __init__(self, path, connect=sqlite3.connect):
        self.connection = connect(path, isolation_level=None, check_same_thread=False)
        self.queue = queue.Queue()
        self.thread = threading.Thread(target=self.run, name="writer")
        self.thread.start()

    def write(self, unit_of_work):
        answer = queue.Queue(1)
        self.queue.put((unit_of_work, answer))
        result, error = answer.get()
        if error is not None:
            raise error
        return result

    def run(self):
        for job in iter(self.queue.get, None):
            self.commit(self.together(job))

    def together(self, job):
        return [job]

    def commit(self, jobs):
        for unit_of_work, answer in jobs:
            self.connection.execute("BEGIN IMMEDIATE")
            answer.put(self.committed(unit_of_work))

    def committed(self, unit_of_work):
        try:
            told = unit_of_work(self.connection), None
            self.connection.execute("COMMIT")
        except Exception as error:
            self.connection.execute("ROLLBACK")
            told = None, error
        return told

    def close(self):
        self.queue.put(None)
        self.thread.join()
        self.connection.close()


class TooEarly(OneByOne):
    def commit(self, jobs):
        ((unit_of_work, answer),) = jobs
        self.connection.execute("BEGIN IMMEDIATE")
        answer.put((unit_of_work(self.connection), None))
        self.connection.execute("COMMIT")


class NeverCommits(OneByOne):
    def commit(self, jobs):
        ((unit_of_work, answer),) = jobs
        self.connection.execute("SAVEPOINT one")
        answer.put((unit_of_work(self.connection), None))


class LetsThrough(OneByOne):
    def committed(self, unit_of_work):
        told = unit_of_work(self.connection), None
        self.connection.execute("COMMIT")
        return told


class CommitsOutside(OneByOne):
    def committed(self, unit_of_work):
        try:
            told = unit_of_work(self.connection), None
        except BaseException as error:
            self.connection.execute("ROLLBACK")
            return None, error
        self.connection.execute("COMMIT")
        return told


class PlainBegin(OneByOne):
    def commit(self, jobs):
        for unit_of_work, answer in jobs:
            self.connection.execute("BEGIN")
            answer.put(self.committed(unit_of_work))


class Swallows(OneByOne):
    def committed(self, unit_of_work):
        result, _ = super().committed(unit_of_work)
        return result, None


class NoEnd(OneByOne):
    def close(self):
        self.thread.join()
        self.connection.close()


class CommitsHalves(OneByOne):
    def committed(self, unit_of_work):
        try:
            told = unit_of_work(self.connection), None
        except Exception as error:
            told = None, error
        self.connection.execute("COMMIT")
        return told


class InGroups(OneByOne):
    def together(self, job):
        jobs = [job]
        while not self.queue.empty():
            job = self.queue.get()
            if job is None:
                self.queue.put(None)
                break
            jobs.append(job)
        return jobs


class AllTogether(InGroups):
    def commit(self, jobs):
        self.connection.execute("BEGIN IMMEDIATE")
        told = []
        for unit_of_work, _ in jobs:
            try:
                told.append((unit_of_work(self.connection), None))
            except Exception as error:
                told.append((None, error))
        failed = any(error for _, error in told)
        self.connection.execute("ROLLBACK" if failed else "COMMIT")
        for (_, answer), one in zip(jobs, told, strict=True):
            answer.put(one)


class AllAlarmed(InGroups):
    def commit(self, jobs):
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            told = [(unit_of_work(self.connection), None) for unit_of_work, _ in jobs]
            self.connection.execute("COMMIT")
        except Exception as error:
            self.connection.execute("ROLLBACK")
            told = [(None, error)] * len(jobs)
        for (_, answer), one in zip(jobs, told, strict=True):
            answer.put(one)


def check(writer):
    return exercises.check_strategy(writer, journal_mode="wal", promises=writers.PROMISES)


@pytest.mark.parametrize("writer", [OneByOne, InGroups, TransactionLock])
def test_a_right_writer_keeps_every_promise(writer):
    verdict = check(writer)
    assert verdict.solved, verdict.reason
    assert all(promise.kept in verdict.reason for promise in writers.PROMISES)


@pytest.mark.parametrize("promise", writers.PROMISES, ids=lambda promise: promise.kept)
def test_the_writer_of_the_kit_is_proved(promise):
    found = explorer.explore(promise.program(Writer, "wal"), seconds=120, show=False)
    assert found.proved
    assert found.counts == {"right": found.schedules}


@pytest.mark.parametrize(
    ("writer", "reasons"),
    [
        (
            TooEarly,
            ["acknowledge what is not committed", "looks in step 8", "COMMIT comes in step 9"],
        ),
        (NeverCommits, ["in the counter, not 1"]),
        (LetsThrough, ["does not come to an end", "each unit is answered, also when it raises"]),
        (Swallows, ["write returned as if it had not", "the exception has to travel"]),
        (CommitsOutside, ["does not come to an end", "each unit is answered"]),
        (PlainBegin, ["beside another process", "your queue orders only threads of its own"]),
        (NoEnd, ["already alone", "writer waits for queue 1"]),
        (CommitsHalves, ["B's unit wrote before it raised", "take it back"]),
        (AllTogether, ["rolls back B's unit, and A's with it", "savepoint"]),
        (AllAlarmed, ["A ends with Cancelled", "the exception belongs to B"]),
    ],
)
def test_a_wrong_writer_is_told_what_breaks_it(writer, reasons):
    verdict = check(writer)
    assert not verdict.solved
    for reason in reasons:
        assert reason in verdict.reason


def test_the_schedule_that_breaks_it_is_replayed():
    stage = check(AllTogether).stage()
    assert stage.outcome.kind == "wrong"
    assert "ROLLBACK" in str(stage)
