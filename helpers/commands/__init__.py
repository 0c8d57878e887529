"""``python -m helpers COMMAND``: one module for each command, imported when it is asked for.

Notebooks use three of them: `doctor` (is all there that this notebook needs?), `versions` (what
do this Python and this SQLite imply?) and `survey` (what other versions do).
"""

__all__ = ["doctor", "survey", "versions"]
