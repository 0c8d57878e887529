"""The recipes, by letter group; importing this fills `common.FAILURES`.

These files run on Python 3.6 and newer with the standard library alone, as part of this
package or on their own: ``python helpers/failures/recipes ID`` prints one outcome.
"""

from . import (
    a_wrong_thread,
    b_errors,
    b_load,
    c_silent,
    c_statements,
    d_crash,
    e_lost,
    f_leftovers,
    f_locked,
    g_connections,
    i_autocommit,
    j_files,
)
from .common import FAILURES, Failure

__all__ = ["FAILURES", "Failure"]
