import threading

import pytest

from helpers.explorer import NamedThread, told
from helpers.explorer.stage import in_one_line


def fail(text):
    raise ValueError(text)


def test_one_thread_makes_all_calls_in_order():
    with NamedThread("A") as a, NamedThread("B") as b:
        names = {a.does(lambda: threading.current_thread().name) for _ in range(3)}
        assert names == {"A_0"}
        assert b.does(lambda: threading.current_thread().name) == "B_0"
    assert not [thread for thread in threading.enumerate() if thread.name in ("A_0", "B_0")]


def test_errors_are_raised_or_told():
    with NamedThread("A") as a:
        with pytest.raises(ValueError, match="no"):
            a.does(fail, "no")
        assert a.told(fail, "no; that is all") == "ValueError: no"
        assert a.told(int, "4") == "all is well"


def test_a_started_call_is_not_waited_for():
    go_on = threading.Event()
    with NamedThread("A") as a:
        call = a.starts(go_on.wait, 10)
        assert not call.done()
        go_on.set()
        assert told(call) == "all is well"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", "ValueError"),
        ("one. two", "ValueError: one"),
        ("first\nsecond", "ValueError: first"),
        ("limit of 0.10 reached", "ValueError: limit of 0.10 reached"),
    ],
)
def test_one_line(message, line):
    assert in_one_line(ValueError(message)) == line
