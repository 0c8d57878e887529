# flask --app flask_app run      (in production: waitress-serve --call flask_app:create_app)
"""A shop that counts its sales in the SQLite file $DATABASE, or counter.db: Flask-SQLAlchemy."""

import os
import sqlite3
from contextlib import suppress

from flask import Blueprint, Flask, Response, abort, jsonify, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DDL, URL, Connection, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase): ...


class Counter(Base):
    __tablename__ = "counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


event.listen(Counter.__table__, "after_create", DDL("INSERT INTO counter VALUES (1, 0)"))
# sqlite3 itself begins nothing, and a transaction waits up to 30 s for its turn.
CONNECT = {"isolation_level": None, "timeout": 30}
# It removes the session in teardown_appcontext: what was not committed is rolled back.
db = SQLAlchemy(model_class=Base, engine_options={"connect_args": CONNECT})
shop = Blueprint("shop", __name__)


def configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # Refused at once while another process switches the file to WAL, where it stays.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")


def begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get("begin", "IMMEDIATE")
    connection.exec_driver_sql(f"BEGIN {mode}")


def create_app() -> Flask:
    """For the server; jobs and shells work ``with create_app().app_context():``."""
    app = Flask(__name__)
    # Flask-SQLAlchemy would put a relative path into the instance folder.
    path = os.path.abspath(os.environ.get("DATABASE", "counter.db"))
    app.config["SQLALCHEMY_DATABASE_URI"] = URL.create("sqlite", database=path)
    db.init_app(app)
    app.register_blueprint(shop)
    with app.app_context():
        event.listen(db.engine, "connect", configure)
        event.listen(db.engine, "begin", begin)
        db.create_all()
        # A server may fork now, and no connection may be open then.
        db.engine.dispose()
    return app


# What reads before the endpoint begins, a login for instance, needs a session of its own.
@shop.get("/")
def page() -> Response:
    with db.session.begin():
        # A reader says so before its first query, and takes no write lock.
        db.session.connection(execution_options={"begin": "DEFERRED"})
        return jsonify(db.session.get_one(Counter, 1).value)


@shop.post("/increment")
def increment() -> Response:
    with db.session.begin():
        counter = db.session.get_one(Counter, 1)
        counter.value += 1
        if request.args.get("refused"):
            abort(Response("the payment was refused", 402))
        # Before the commit: after it, counter.value would begin another transaction.
        return jsonify(counter.value)
