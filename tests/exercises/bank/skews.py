"""Notebook 17: a write skew, written down as a case."""


def case(a, b, anomaly, name="skew", more=""):
    return f"""
name = "{name}"
anomaly = [{anomaly}]
[sessions]
A = {a}
B = {b}
{more}"""


SUM = "SELECT sum(balance) FROM account"
ALL = "SELECT balance FROM account ORDER BY name"


def pay(name):
    return f"UPDATE account SET balance = balance - 90 WHERE name = '{name}'"


def other(name):
    return f"SELECT balance FROM account WHERE name = '{name}'"


CURRENT, SAVINGS = pay("current"), pay("savings")
DELETES = "DELETE FROM account WHERE name = '{}'"
SETS = "INSERT OR REPLACE INTO account VALUES ('{}', -40)"
ENOUGH = "AND (SELECT sum(balance) FROM account) >= 90"

RIGHT = {
    "sums": case([SUM, CURRENT], [SUM, SAVINGS], "{ A = [[100]], B = [[100]] }"),
    "all rows": case([ALL, CURRENT], [ALL, SAVINGS], "{ A = [[50, 50]], B = [[50, 50]] }"),
    "the other row": case(
        [other("savings"), CURRENT], [other("current"), SAVINGS], "{ A = [[50]], B = [[50]] }"
    ),
    "row by row": case(
        [other("savings"), other("current"), CURRENT], [SUM, SAVINGS],
        "{ A = [[50], [50]], B = [[100]], end = ['current', -40, 'savings', -40] }",
    ),
    "one writes first": case([CURRENT, SUM], [SUM, SAVINGS], "{ A = [[10]], B = [[100]] }"),
    "names of sessions": case([SUM, CURRENT], [SUM, SAVINGS], "{ Ana = [[100]], Ben = [[100]] }")
    .replace("\nA =", "\nAna =").replace("\nB =", "\nBen ="),
    "replaced": case(
        [SUM, SETS.format("current")], [SUM, SETS.format("savings")], "{ A = [[100]], B = [[100]] }"
    ),
}  # fmt: skip

WRONG = {
    "as given": (case([SUM, CURRENT], [SUM, CURRENT], "{ end = [-130, 50] }"), "in none of 6"),
    "the same row": (
        case([SUM, CURRENT], [SUM, CURRENT], "{ A = [[100]], B = [[100]] }"),
        "Both write 'current'",
    ),
    "the end alone": (
        case([SUM, CURRENT], [SUM, SAVINGS], "{ end = ['current', -40, 'savings', -40] }"),
        "already one after the other, first A, then B, it happens (A reads [[100]];",
    ),
    "one read is enough": (
        case([SUM, CURRENT], [SUM, SAVINGS], "{ A = [[100]] }"),
        "already one after the other, first A",
    ),
    "one does not read": (
        case([SUM, CURRENT], [SAVINGS], "{ A = [[100]] }"),
        "session B reads nothing",
    ),
    "reads its own row": (
        case(
            [other("current"), CURRENT], [other("savings"), SAVINGS], "{ A = [[50]], B = [[50]] }"
        ),
        "already one after the other",
    ),
    "one way only": (
        case([SUM, CURRENT], [other("savings"), SAVINGS], "{ A = [[100]], B = [[50]] }"),
        "already one after the other, first A, then B",
    ),
    "a condition in each": (
        case(
            [SUM, f"{CURRENT} {ENOUGH}"], [SUM, f"{SAVINGS} {ENOUGH}"],
            "{ end = ['current', -40, 'savings', -40] }",
        ),
        "in none of 6 orders",
    ),
    "dirty values": (
        case([CURRENT, SUM], [SAVINGS, SUM], "{ A = [[-80]], B = [[-80]] }"),
        "There a session reads what the other has written",
    ),
    "read skew": (
        case(
            [other("current"), other("savings")], [pay("current"), SAVINGS],
            "{ A = [[50], [-40]] }",
        ),
        "session A changes nothing",
    ),
    "no such order": (
        case([SUM, CURRENT], [SUM, SAVINGS], "{ A = [[10]], B = [[10]] }"),
        "in none of 6 orders",
    ),
    "BEGIN": (
        case(["BEGIN", SUM, CURRENT], [SUM, SAVINGS], "{ A = [[100]], B = [[100]] }"),
        "session A, statement 1: BEGIN cannot stand here; the level begins",
    ),
    "taken back": (
        case([SUM, CURRENT, "ROLLBACK"], [SUM, SAVINGS], "{ A = [[100]], B = [[100]] }"),
        "session A changes nothing",
    ),
    "accounts deleted": (
        case(
            [SUM, DELETES.format("current")], [SUM, DELETES.format("savings")],
            "{ A = [[100]], B = [[100]] }",
        ),
        "end with 0 together: nothing is overdrawn",
    ),
    "deposits": (
        case(
            [SUM, CURRENT.replace("- 90", "+ 90")], [SUM, SAVINGS.replace("- 90", "+ 90")],
            "{ A = [[100]], B = [[100]] }",
        ),
        "end with 280 together: nothing is overdrawn",
    ),
    "forbidden alone": (
        case(
            [SUM, CURRENT.replace("90", "190")], [SUM, SAVINGS], "{ A = [[100]], B = [[100]] }"
        ),
        "already alone, session A leaves -90 together",
    ),
    "another ending, too": (
        case(
            [CURRENT, SUM], [SUM, SAVINGS], "{ A = [[10]], B = [[100]] }, { A = [[-80]] }"
        ),
        "2 endings, and one is asked for",
    ),
    "at random": (
        case(
            [SUM, CURRENT.replace("90", "abs(random() % 100)")], [SUM, SAVINGS],
            "{ A = [[100]], B = [[100]] }",
        ),
        "a case must end alike in each run",
    ),
    "one list too few": (
        case([SUM, CURRENT], [SUM, SAVINGS], "{ A = [100], B = [100] }"),
        "says of A must be a list for each SELECT, [[10], []], not [100]",
    ),
    "the table dropped": (
        case([SUM, "DROP TABLE account"], [SUM, SAVINGS], "{ A = [[100]], B = [[100]] }"),
        "session A, statement 2: DROP cannot stand here",
    ),
    "too many statements": (
        case(
            [*[SUM] * 4, CURRENT], [SUM, SAVINGS],
            "{ A = [[100], [100], [100], [100]], B = [[100]] }",
        ),
        "4 statements a session are many",
    ),
    "a constraint": (
        case(
            [SUM, "INSERT INTO account VALUES ('savings', 1)"], [SUM, SAVINGS],
            "{ A = [[100]], B = [[100]] }",
        ),
        "session A fails: UNIQUE constraint failed",
    ),
    "a typing error": (
        case([SUM, CURRENT], [SUM, "UPDATE acount SET balance = 0"], "{ A = [[100]] }"),
        "session B, statement 2: no such table: acount",
    ),
    "no TOML": ("sessions = A, B", "this is not TOML"),
    "one session": ('anomaly = [{ A = [[1]] }]\n[sessions]\nA = ["SELECT 1"]', "two or three"),
    "three sessions": (
        case([SUM, CURRENT], [SUM, SAVINGS], "{ A = [[100]], B = [[100]] }", more=f"C = {[SUM]}"),
        "a write skew needs two",
    ),
    "another table": (
        'setup = "CREATE TABLE t (x)"\nlook = "SELECT x FROM t"\n'
        + case(["SELECT 1"], ["SELECT 1"], "{ A = [[1]] }"),
        "leave out setup and look",
    ),
    "a session that is not there": (
        case([SUM, CURRENT], [SUM, SAVINGS], "{ A = [[100]], C = [[100]] }"),
        "no session is called so",
    ),
}  # fmt: skip
