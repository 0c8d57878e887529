"""The sample databases as SQLAlchemy sees them: mapped classes for notebooks 11 to 13.

They live in a module because a mapped class that was made in a notebook's cell cannot
travel to a child process.
"""

from __future__ import annotations

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The registry of the classes below."""


class Counter(Base):
    """The one row of the sample ``counter``: ``id`` is 1, ``value`` begins at 0."""

    __tablename__ = "counter"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]
