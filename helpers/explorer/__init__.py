"""Every order: real threads on real SQLite, explored at the granularity of SQL calls."""
