"""The engine by itself: policies, threads, the baton."""

from types import SimpleNamespace

import pytest

from helpers.explorer.sampling import RandomPriorities

# -- random schedules ----------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [0, 3])
def test_priorities_change_at_so_many_steps(changes):
    policy, run = RandomPriorities(seed=5, length=30, changes=changes), SimpleNamespace(schedule=[])
    policy.priority.update(A=1.1, B=1.2, C=1.3)
    changed = 0
    for _ in range(30):
        before = dict(policy.priority)
        run.schedule.append(policy.pick(run, ["A", "B", "C"]))
        changed += policy.priority != before
    assert changed == changes
