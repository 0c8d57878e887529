"""The two ways to know whether SQLite would wait, for tests that go through both."""

import pytest

from helpers.explorer.steps.waiting import SWITCH, HandlerWaiting, RuleWaiting, choose

HANDLER, RULE = HandlerWaiting.name, RuleWaiting.name

#: For what is about SQLite's busy handler itself.
needs_handler = pytest.mark.skipif(
    choose().name != HANDLER,
    reason=f"SQLite's busy handler cannot be reached: its symbols are hidden, or {SWITCH} says so",
)

BY_HANDLER = pytest.param(HANDLER, marks=needs_handler)
WAYS = [BY_HANDLER, RULE]
