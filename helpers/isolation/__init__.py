"""Which anomalies can happen, under which settings?

    cells = matrix(anomalies(), levels(shared=False))   # every schedule of every cell
    cells["G2-item", "WAL, DEFERRED"].possible          # in how many of its schedules

A `Case` is data (`data/anomalies.toml`): sessions of SQL, and what counts as the anomaly.
`postgres` runs the same cases on a server. `specs` reads the files of PostgreSQL's isolation
tester. `histories` judges what was recorded under load: serializable, or a cycle of dependencies.
"""

from helpers.isolation import appends, histories, postgres, specs
from helpers.isolation.cases import Case, CaseError, anomalies, read_case, read_cases
from helpers.isolation.levels import Level, levels
from helpers.isolation.matrix import Cell, Matrix, matrix

__all__ = [
    "Case", "CaseError", "Cell", "Level", "Matrix", "anomalies", "appends", "histories", "levels",
    "matrix", "postgres", "read_case", "read_cases", "specs",
]  # fmt: skip
