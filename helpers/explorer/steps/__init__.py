"""Private: what is a step. SQLite's calls, Python's primitives, SQLAlchemy's pools."""
