"""Notebook 10: a thread that writes for all others, and answers them."""

import contextlib
import queue
import sqlite3
import threading

from helpers.strategies import TransactionLock


class OneByOne:
    """Right; the wrong ones below differ in one thing each."""

    begin = "BEGIN IMMEDIATE"

    def __init__(self, path, connect=sqlite3.connect):
        self.connection = connect(path, isolation_level=None, check_same_thread=False)
        self.queue = queue.Queue()
        self.thread = threading.Thread(target=self.run, name="writer")
        self.thread.start()

    def submit(self, unit_of_work):
        answer = queue.Queue(1)
        self.queue.put((unit_of_work, answer))
        return answer

    def write(self, unit_of_work):
        result, error = self.submit(unit_of_work).get()
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
            answer.put(self.committed(unit_of_work))

    def committed(self, unit_of_work):
        try:
            self.connection.execute(self.begin)
            told = unit_of_work(self.connection), None
            self.connection.execute("COMMIT")
        except BaseException as error:
            self.connection.rollback()
            told = None, error
        return told

    def close(self):
        self.queue.put(None)
        self.thread.join()
        self.connection.close()


class InWith(OneByOne):
    def commit(self, jobs):
        for unit_of_work, answer in jobs:
            try:
                with self.connection:
                    self.connection.execute("BEGIN IMMEDIATE")
                    told = unit_of_work(self.connection), None
            except BaseException as error:
                told = None, error
            answer.put(told)


class Exclusive(OneByOne):
    begin = "BEGIN EXCLUSIVE"


class OwnConnection(OneByOne):
    """The writer's thread opens and closes what only it uses."""

    def __init__(self, path, connect=sqlite3.connect):
        self.path, self.connect = path, connect
        super().__init__(path, lambda *given, **options: None)

    def run(self):
        self.connection = self.connect(self.path, isolation_level=None)
        try:
            super().run()
        finally:
            self.connection.close()

    def close(self):
        self.queue.put(None)
        self.thread.join()


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


class Savepoints(InGroups):
    """One transaction for a group, and a savepoint for each unit of it."""

    def commit(self, jobs):
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            told = [self.in_savepoint(unit_of_work) for unit_of_work, _ in jobs]
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            told = [(None, error)] * len(jobs)
        for (_, answer), one in zip(jobs, told, strict=True):
            answer.put(one)

    def in_savepoint(self, unit_of_work):
        self.connection.execute("SAVEPOINT one")
        try:
            return unit_of_work(self.connection), None
        except Exception as error:
            self.connection.execute("ROLLBACK TO one")
            return None, error


# -- wrong -----------------------------------------------------------------------------------


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


class BeginsOutside(OneByOne):
    """A BEGIN that is refused ends the thread, and nobody is answered any more."""

    def commit(self, jobs):
        for unit_of_work, answer in jobs:
            self.connection.execute("BEGIN IMMEDIATE")
            answer.put(self.ended(unit_of_work))

    def ended(self, unit_of_work):
        try:
            told = unit_of_work(self.connection), None
            self.connection.execute("COMMIT")
        except BaseException as error:
            self.connection.rollback()
            told = None, error
        return told


class LetsThrough(OneByOne):
    def committed(self, unit_of_work):
        self.connection.execute("BEGIN IMMEDIATE")
        told = unit_of_work(self.connection), None
        self.connection.execute("COMMIT")
        return told


class CommitsOutside(OneByOne):
    def committed(self, unit_of_work):
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            told = unit_of_work(self.connection), None
        except BaseException as error:
            self.connection.rollback()
            return None, error
        self.connection.execute("COMMIT")
        return told


class PlainBegin(OneByOne):
    begin = "BEGIN"


class Swallows(OneByOne):
    def committed(self, unit_of_work):
        result, _ = super().committed(unit_of_work)
        return result, None


class ReturnsTheError(OneByOne):
    """The caller gets the exception as a result, and has to look for it."""

    def write(self, unit_of_work):
        try:
            return super().write(unit_of_work)
        except Exception as error:
            return error


class NoEnd(OneByOne):
    def close(self):
        self.thread.join()
        self.connection.close()


class CommitsHalves(OneByOne):
    def committed(self, unit_of_work):
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            told = unit_of_work(self.connection), None
        except Exception as error:
            told = None, error
        self.connection.execute("COMMIT")
        return told


class CommitsAgain(OneByOne):
    """Only the COMMIT is tried again, and what raised is left to it."""

    def committed(self, unit_of_work):
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            told = unit_of_work(self.connection), None
        except Exception as error:
            told = None, error
        while self.connection.in_transaction:
            with contextlib.suppress(sqlite3.OperationalError):
                self.connection.execute("COMMIT")
        return told


class OneAnswerForAll(OneByOne):
    """One queue for all answers: whoever asks next gets whatever is there."""

    def __init__(self, path, connect=sqlite3.connect):
        self.answers = queue.Queue()
        super().__init__(path, connect)

    def write(self, unit_of_work):
        self.queue.put((unit_of_work, self.answers))
        result, error = self.answers.get()
        if error is not None:
            raise error
        return result


class DoesNotWait(OneByOne):
    """Fire and forget."""

    def write(self, unit_of_work):
        self.queue.put((unit_of_work, queue.Queue()))


class NoTransaction(OneByOne):
    """Each statement is committed by itself."""

    def commit(self, jobs):
        for unit_of_work, answer in jobs:
            try:
                told = unit_of_work(self.connection), None
            except BaseException as error:
                told = None, error
            answer.put(told)


class InTheCallersThread(OneByOne):
    """The queue is there, and the unit is run beside it."""

    def write(self, unit_of_work):
        told, error = self.committed(unit_of_work)
        if error is not None:
            raise error
        return told


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


class RollsBackAnyway(OneByOne):
    """After UPDATE OR ROLLBACK there is no transaction: the ROLLBACK fails, and ends the thread."""

    def committed(self, unit_of_work):
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            told = unit_of_work(self.connection), None
            self.connection.execute("COMMIT")
        except BaseException as error:
            if not isinstance(error, sqlite3.OperationalError):
                self.connection.execute("ROLLBACK")
            self.connection.rollback()
            told = None, error
        return told


class GoesOn(Savepoints):
    """The group goes on without the transaction, and tells the others that all is well."""

    def in_savepoint(self, unit_of_work):
        try:
            if self.connection.in_transaction:
                self.connection.execute("SAVEPOINT one")
            return unit_of_work(self.connection), None
        except Exception as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK TO one")
            return None, error

    def commit(self, jobs):
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            told = [self.in_savepoint(unit_of_work) for unit_of_work, _ in jobs]
            if self.connection.in_transaction:
                self.connection.execute("COMMIT")
        except BaseException as error:
            self.connection.rollback()
            told = [(None, error)] * len(jobs)
        for (_, answer), one in zip(jobs, told, strict=True):
            answer.put(one)


class AnswersExceptionsOnly(OneByOne):
    """Ctrl-C in a unit ends the writer's thread, and its caller waits."""

    def commit(self, jobs):
        ((unit_of_work, answer),) = jobs
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            told = unit_of_work(self.connection), None
            self.connection.execute("COMMIT")
        except Exception as error:
            self.connection.rollback()
            told = None, error
        answer.put(told)


class ForgetsTheEnd(Savepoints):
    """The mark of the end was among what it took, and it waits for another."""

    def together(self, job):
        jobs = [job]
        while not self.queue.empty():
            jobs.append(self.queue.get())
        return [job for job in jobs if job is not None]


class LeavesTheLast(Savepoints):
    """The mark of the end was among what it took, and it goes at once."""

    def together(self, job):
        jobs = [job]
        while not self.queue.empty():
            jobs.append(self.queue.get())
        if None in jobs:
            raise SystemExit
        return jobs


RIGHT = {
    "one by one": OneByOne,
    "with connection": InWith,
    "BEGIN EXCLUSIVE": Exclusive,
    "a connection of its own thread": OwnConnection,
    "in groups, one by one": InGroups,
    "in groups, with savepoints": Savepoints,
    "a lock, and no writer": TransactionLock,
}
WRONG = {
    "answers before the COMMIT": (TooEarly, "looks in step 8 with a connection of its own"),
    "never commits": (NeverCommits, "in the counter, not 1"),
    "lets the exception through": (LetsThrough, "each unit is answered, also when it raises"),
    "BEGIN outside the try": (BeginsOutside, "each unit is answered"),
    "COMMIT outside the try": (CommitsOutside, "each unit is answered"),
    "BEGIN": (PlainBegin, "your queue orders only threads of its own"),
    "exception swallowed": (Swallows, "the exception has to travel"),
    "exception returned": (ReturnsTheError, "write returned as if it had not"),
    "no mark of the end": (NoEnd, "writer waits for queue 1"),
    "commits halves": (CommitsHalves, "B's unit wrote before it raised"),
    "only the COMMIT again": (CommitsAgain, "take it back"),
    "one queue for all answers": (OneAnswerForAll, "the exception has to travel"),
    "fire and forget": (DoesNotWait, "acknowledge what is not committed"),
    "no transaction": (NoTransaction, "take it back"),
    "in the caller's thread": (InTheCallersThread, "6 of 20 orders lose an increment"),
    "no savepoints": (AllTogether, "A savepoint takes back one unit only"),
    "ROLLBACK after OR ROLLBACK": (RollsBackAnyway, "each unit is answered"),
    "goes on after OR ROLLBACK": (GoesOn, "SQLite ended the transaction"),
    "Ctrl-C is not answered": (AnswersExceptionsOnly, "each unit is answered, also when it raises"),
    "forgets the end": (ForgetsTheEnd, "close tells the writer's thread that no more will come"),
    "leaves the last": (LeavesTheLast, "was in the queue before close and is not stored"),
    "all are alarmed": (AllAlarmed, "the exception belongs to B"),
}
