"""What the notebooks of "SQLite under threads" import: a room for each question.

`strategies`: in which ways can threads share a database? `databases`: where do samples come from?
`history`: what did the threads do? `workloads`: which jobs, and was anything lost? `load`: at full
speed. `explorer`: in an order that you choose, in every order. `failures`: what can go wrong?
`web`: applications behind real servers. `exercises`: is what a learner wrote right? `display`:
figures and tables. `commands`: ``python -m helpers``.

Import from a room (``from helpers.explorer import Program, explore``); what its ``__all__`` does
not name is its own affair.
"""

__version__ = "0.1.0"
