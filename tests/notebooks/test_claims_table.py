"""The mutation table: what it counts, what it prints, and that one green claim fails it."""

import json

import mutations
import pytest
from benchmarks import claims
from mutated import MUTATIONS
from mutations import Mutation, MutationError


def mutation(name, notebook, *of):
    return Mutation(name, of, notebook, "a file", "old", "new")


FOUND = [
    (mutation("a", "notebooks/04_x.ipynb", "one", "two"), []),
    (mutation("b", "notebooks/04_x.ipynb", "two"), ["claim:two stays green with the change b"]),
    (mutation("c", "notebooks/05_x.ipynb", "one"), []),
]


def test_claims_and_mutations_are_counted_by_notebook():
    rows = claims.table(FOUND)
    assert rows == [
        claims.Row("notebooks/04_x.ipynb", claims=2, claims_red=1, mutations=2, red=1),
        claims.Row("notebooks/05_x.ipynb", claims=1, claims_red=1, mutations=1, red=1),
        claims.Row("total", claims=3, claims_red=2, mutations=3, red=2),
    ]
    assert [row.share for row in rows] == ["50 %", "100 %", "66 %"]


def test_all_claims_of_the_course_are_in_it():
    assert claims.select(None) == MUTATIONS
    rows = claims.table((mutation, []) for mutation in claims.select(["04"]))
    assert [row.notebook for row in rows] == [
        "notebooks/04_lost_updates.ipynb", "notebooks/solutions/04_lost_updates.ipynb", "total",
    ]  # fmt: skip
    assert rows[0].claims == len(mutations.claimed(mutations.ROOT / rows[0].notebook))


@pytest.fixture
def judged(monkeypatch):
    """The command with these results, and no notebook run."""

    def found(results):
        monkeypatch.setattr(claims, "run", lambda chosen, processes: iter(results))

    return found


def test_the_status_is_1_if_anything_stays_green(judged, capsys):
    judged(FOUND)
    assert claims.main(["--notebook", "04"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["notebook", "claims", "red", "mutations", "red", "share"]
    assert out[3].split() == ["total", "3", "2", "3", "2", "66", "%"]
    assert out[4] == "b: claim:two stays green with the change b"
    judged(FOUND[::2])
    assert claims.main([]) == 0
    assert "100 %" in capsys.readouterr().out.splitlines()[-1]


def test_as_json(judged, capsys):
    judged(FOUND)
    assert claims.main(["--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["rows"][2] == {
        "notebook": "total", "claims": 3, "claims_red": 2, "mutations": 3, "red": 2,
    }  # fmt: skip
    assert list(printed["green"]) == ["b"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--notebook", "99"], "no notebook '99' has claims: give one of 01, 02"),
        (["--processes", "0"], "--processes 0: give 1 or more"),
    ],
)
def test_a_wrong_option_is_told(options, message, capsys):
    with pytest.raises(SystemExit) as ended:
        claims.main(options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_mutation_that_no_longer_fits_is_not_red(monkeypatch):
    def fits_no_more(mutation, root):
        raise MutationError("its old text stands 0 times")

    monkeypatch.setattr(mutations, "problems", fits_no_more)
    assert claims.judged(FOUND[0][0]) == ["its old text stands 0 times"]


def test_in_a_process_of_its_own_what_is_missing_is_told():
    """No notebook is run: there is none of that name."""
    chosen = [mutation(name, "notebooks/04_lost_updates.ipynb", "no claim") for name in "ab"]
    wrong = ["notebooks/04_lost_updates.ipynb has no cell tagged claim:no claim"]
    assert list(claims.run(chosen, 1)) == [(one, wrong) for one in chosen]
