"""Web applications for real: servers on a free port, clients, and what came of it.

Needs the packages of the optional group ``web``. `servers` serves an application in this
process, `processes` in others; `clients` sends requests; `load` does all of it and audits the
database; `probes` asks single questions, such as what is answered while the database is locked.
`engines` is SQLAlchemy over SQLite, set up for several threads.
"""

__all__ = ["clients", "engines", "load", "probes", "processes", "servers"]
