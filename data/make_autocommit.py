"""Write autocommit.csv again: what each way to control transactions does.

    python data/make_autocommit.py

Needs Python 3.12 or newer. A test compares the file with what the Python at hand does.
"""

from helpers.failures import transaction_control

if __name__ == "__main__":
    transaction_control.write()
