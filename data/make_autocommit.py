"""Write autocommit.csv again: what each way to control transactions does.

    python data/make_autocommit.py

Needs Python 3.12 or newer. A test compares the file with what the Python at hand does.
"""

from helpers import regimes

if __name__ == "__main__":
    regimes.write()
