"""Write faults.csv again: what becomes of units of work when something goes wrong.

    python data/make_faults.py

Runs tests/benchmarks/faults.py, every strategy with every fault, on this machine. Notebook 16 shows
the sums, as recorded; a test compares strategies and faults with those of the benchmark.
"""

import csv
import io
import subprocess
import sys

from helpers.databases import DATA

if __name__ == "__main__":
    program = DATA.parent / "tests" / "benchmarks" / "faults.py"
    done = subprocess.run([sys.executable, program, "--csv"], stdout=subprocess.PIPE, text=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    with open(DATA / "faults.csv", "w", encoding="utf-8", newline="") as file:
        kept = [name for name in rows[0] if name != "seconds"]
        table = csv.DictWriter(file, kept, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    sys.exit(done.returncode)
