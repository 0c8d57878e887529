# uvicorn fastapi_app:app        (with several processes: uvicorn fastapi_app:app --workers 4)
"""A shop that counts its sales in the SQLite file $DATABASE, or counter.db: FastAPI, SQLAlchemy."""

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import DDL, URL, Connection, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase): ...


class Counter(Base):
    __tablename__ = "counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


event.listen(Counter.__table__, "after_create", DDL("INSERT INTO counter VALUES (1, 0)"))
FILE = URL.create("sqlite", database=os.environ.get("DATABASE", "counter.db"))
# sqlite3 itself begins nothing, and a transaction waits up to 30 s for its turn.
CONNECT = {"isolation_level": None, "timeout": 30}
# FastAPI runs up to 40 endpoints at once: none waits for a connection.
engine = create_engine(FILE, connect_args=CONNECT, pool_size=40)


@event.listens_for(engine, "connect")
def configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # Refused at once while another process switches the file to WAL, where it stays.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")


@event.listens_for(engine, "begin")
def begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    Base.metadata.create_all(engine)
    yield
    engine.dispose()


def get_session() -> Iterator[Session]:
    with Session(engine) as session:
        yield session


app = FastAPI(lifespan=lifespan)
SessionOfRequest = Annotated[Session, Depends(get_session)]


# Each endpoint begins and ends its own transaction; what reads before needs a session of its own.
@app.get("/")
def page(session: SessionOfRequest) -> int:
    with session.begin():
        # A reader says so before its first query, and takes no write lock.
        session.connection(execution_options={"begin": "DEFERRED"})
        return session.get_one(Counter, 1).value


@app.post("/increment")
def increment(session: SessionOfRequest, refused: bool = False) -> int:
    with session.begin():
        counter = session.get_one(Counter, 1)
        counter.value += 1
        if refused:
            raise HTTPException(402, "the payment was refused")
        # Before the commit: after it, counter.value would begin another transaction.
        return counter.value
