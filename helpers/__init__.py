"""What the notebooks of "SQLite under threads" import: one module per question.

Where do sample databases come from? ``databases``. What did the threads do?
``history``. Run it at full speed, or where it may crash: ``load``, ``sandbox``; in an
order that you choose, or in every order: ``stage``, ``explorer``. What do the threads
do, and was anything lost? ``workloads``. The ways to share a database: ``strategies``.
Pictures and tables: ``figures``, ``tables``. Your installation: ``doctor``.
"""

__version__ = "0.1.0"
