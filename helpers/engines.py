"""SQLAlchemy over SQLite for several threads: the repaired engine, and mapped classes.

Needs the packages of the optional group ``web``.
"""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The mapped classes of the sample databases."""


class Counter(Base):
    """The one row of the sample ``counter``."""

    __tablename__ = "counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


class Account(Base):
    """A row of the sample ``accounts``."""

    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    balance: Mapped[int]
