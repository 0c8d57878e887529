"""Notebook 15: a unit of work in a task of asyncio, on one connection that tasks share."""

import asyncio


async def right(shared, unit):
    async with shared.lock:
        try:
            result = await unit(shared.connection)
            await shared.connection.commit()
            return result
        except BaseException:
            await shared.connection.rollback()
            raise


async def finally_rolled_back(shared, unit):
    async with shared.lock:
        try:
            result = await unit(shared.connection)
            await shared.connection.commit()
            return result
        finally:
            await shared.connection.rollback()


async def begun_by_hand(shared, unit):
    async with shared.lock:
        end = "ROLLBACK"
        await shared.connection.execute("BEGIN IMMEDIATE")
        try:
            result = await unit(shared.connection)
            end = "COMMIT"
        finally:
            await shared.connection.execute(end)
    return result


async def two_clauses(shared, unit):
    await shared.lock.acquire()
    try:
        result = await unit(shared.connection)
        await shared.connection.commit()
    except (Exception, asyncio.CancelledError):
        await shared.connection.rollback()
        raise
    else:
        return result
    finally:
        shared.lock.release()


async def in_savepoint(shared, unit):
    async with shared.lock:
        await shared.connection.execute("BEGIN IMMEDIATE")
        await shared.connection.execute("SAVEPOINT unit")
        try:
            return await unit(shared.connection)
        except BaseException:
            await shared.connection.execute("ROLLBACK TO unit")
            raise
        finally:
            await shared.connection.commit()


async def rolled_back_first(shared, unit):
    """Whatever the unit before has left behind is gone before the next one begins."""
    async with shared.lock:
        await shared.connection.rollback()
        result = await unit(shared.connection)
        await shared.connection.commit()
        return result


# -- wrong -----------------------------------------------------------------------------------


async def without_a_lock(shared, unit):
    try:
        await unit(shared.connection)
        await shared.connection.commit()
    except BaseException:
        await shared.connection.rollback()
        raise


async def lock_for_the_unit_only(shared, unit):
    try:
        async with shared.lock:
            await unit(shared.connection)
        await shared.connection.commit()
    except BaseException:
        await shared.connection.rollback()
        raise


async def as_given(shared, unit):
    async with shared.lock:
        await unit(shared.connection)
    async with shared.lock:
        await shared.connection.commit()


async def never_rolled_back(shared, unit):
    async with shared.lock:
        await unit(shared.connection)
        await shared.connection.commit()


async def rolled_back_outside(shared, unit):
    try:
        async with shared.lock:
            await unit(shared.connection)
            await shared.connection.commit()
    except BaseException:
        await shared.connection.rollback()
        raise


async def never_released(shared, unit):
    await shared.lock.acquire()
    await unit(shared.connection)
    await shared.connection.commit()
    shared.lock.release()


async def swallowed(shared, unit):
    async with shared.lock:
        try:
            await unit(shared.connection)
            await shared.connection.commit()
        except Exception:
            await shared.connection.rollback()


async def returned_in_finally(shared, unit):
    result = None
    async with shared.lock:
        try:
            result = await unit(shared.connection)
            await shared.connection.commit()
        except BaseException:
            await shared.connection.rollback()
            raise
        finally:
            return result  # noqa: B012


async def only_exceptions(shared, unit):
    async with shared.lock:
        try:
            result = await unit(shared.connection)
            await shared.connection.commit()
            return result
        except Exception:
            await shared.connection.rollback()
            raise


async def without_a_result(shared, unit):
    await right(shared, unit)


async def begun_and_left_open(shared, unit):
    async with shared.lock:
        await shared.connection.execute("BEGIN")
        try:
            result = await unit(shared.connection)
        except Exception:
            await shared.connection.rollback()
            raise
        await shared.connection.commit()
        return result


async def cancelled_in_silence(shared, unit):
    try:
        return await right(shared, unit)
    except asyncio.CancelledError:
        return None


async def released_by_exceptions_only(shared, unit):
    await shared.lock.acquire()
    try:
        result = await unit(shared.connection)
        await shared.connection.commit()
    except Exception:
        await shared.connection.rollback()
        shared.lock.release()
        raise
    shared.lock.release()
    return result


async def lock_per_call(shared, unit):
    async with asyncio.Lock():
        try:
            result = await unit(shared.connection)
            await shared.connection.commit()
            return result
        except BaseException:
            await shared.connection.rollback()
            raise


async def committed_in_finally(shared, unit):
    async with shared.lock:
        try:
            return await unit(shared.connection)
        finally:
            await shared.connection.commit()


async def never_committed(shared, unit):
    async with shared.lock:
        return await unit(shared.connection)


async def shielded_from_nothing(shared, unit):
    """The commit can still be cancelled between the unit and its end."""
    async with shared.lock:
        result = await unit(shared.connection)
    try:
        async with shared.lock:
            await shared.connection.commit()
    except BaseException:
        await shared.connection.rollback()
        raise
    return result


RIGHT = {
    "try, except BaseException": right,
    "rollback in finally": finally_rolled_back,
    "BEGIN IMMEDIATE by hand": begun_by_hand,
    "two clauses": two_clauses,
    "SAVEPOINT inside": in_savepoint,
    "rollback first": rolled_back_first,
}
WRONG = {
    "no lock": (without_a_lock, "A transaction belongs to the connection"),
    "a lock for the unit only": (lock_for_the_unit_only, "for example"),
    "as given": (as_given, "Whose commit was it"),
    "no rollback": (never_rolled_back, "(1100), (1100)"),
    "rollback outside the lock": (rolled_back_outside, "Whose commit was it"),
    "lock never released": (never_released, "Is the lock taken, and not released"),
    "exception swallowed": (swallowed, "was not told that its unit raised"),
    "return in finally": (returned_in_finally, "was not told that its unit raised"),
    "no result": (without_a_result, "the unit's result is dropped"),
    "except Exception": (only_exceptions, "asyncio.CancelledError is no Exception: which clause"),
    "BEGIN left open": (begun_and_left_open, "the next one is told OperationalError: cannot start"),
    "cancelled in silence": (cancelled_in_silence, "raise CancelledError again"),
    "released after Exception": (released_by_exceptions_only, "given back on every way out?"),
    "a lock for each call": (lock_per_call, "Whose commit was it"),
    "COMMIT in finally": (committed_in_finally, "(1100), (1100)"),
    "no COMMIT": (never_committed, "break a promise"),
    "a second lock for the COMMIT": (shielded_from_nothing, "Whose commit was it"),
}
