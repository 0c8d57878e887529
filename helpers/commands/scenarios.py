"""``python -m helpers scenarios``: explore every scenario, and check the explorer itself.

The table says of each program how many schedules there are, how they end, and whether that
is what was derived by hand. The checks (``--check``) are those of `helpers.commands.soundness`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable

from helpers.commands import soundness
from helpers.explorer import Exploration, explore, scenarios


def run_all(
    names: Iterable[str] = (), waiting: str = "auto"
) -> Iterable[tuple[scenarios.Scenario, str, Exploration]]:
    """Explore every scenario (or those whose name contains one of `names`) in both modes."""
    wanted = list(names)
    for scenario in scenarios.SCENARIOS:
        if wanted and not any(part in scenario.name for part in wanted):
            continue
        for mode in ("delete", "wal"):
            found = explore(scenario.program(mode), waiting=waiting, show=False)
            yield scenario, mode, found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``python -m helpers scenarios``."""
    parser.add_argument("names", nargs="*", help="only scenarios whose name contains this")
    parser.add_argument("--waiting", default="auto", help="'busy handler' or 'rule'")
    parser.add_argument("--check", action="store_true", help="check soundness as well")
    parser.add_argument("--runs", type=int, default=500, help="free runs per scenario (--check)")
    parser.add_argument("--times", type=int, default=20, help="repetitions (--check)")


def main(arguments: argparse.Namespace) -> int:
    """Print the table, and the checks if asked for; 1 if anything is not as it should be."""
    wrong = 0
    print(f"{'program':<52}{'journal':<9}{'schedules':>9}  {'outcomes':<32}{'seconds':>7}  verdict")
    for scenario, mode, found in run_all(arguments.names, arguments.waiting):
        counts = ", ".join(f"{count} {kind}" for kind, count in found.counts.items())
        verdict = "proved" if found.proved else "refuted"
        if found.counts != dict(scenario.counts):
            wrong += 1
            verdict += f"  EXPECTED {dict(scenario.counts)}"
        print(
            f"{scenario.name:<52}{mode:<9}{found.schedules:>9}  {counts:<32}"
            f"{found.seconds:>7.2f}  {verdict}"
        )
    print(f"\nWaiting was decided by: {found.waiting}.")
    print("All counts are as derived." if not wrong else f"{wrong} counts are NOT as derived.")
    if arguments.check:
        wrong += _check(arguments)
    return 1 if wrong else 0


def _check(arguments: argparse.Namespace) -> int:
    """Completeness, waiting and determinism of every scenario; how many do not hold."""
    wrong = 0
    totals: Counter[str] = Counter()
    print(f"\n{'program':<52}{'journal':<9}{'free runs':>9}{'unlisted':>9}{'SQL steps':>10}"
          f"{'waits':>7}{'at once':>8}{'differ':>7}  {arguments.times} times the same")  # fmt: skip
    for scenario, mode, found in run_all(arguments.names, arguments.waiting):
        program = scenario.program(mode)
        free = soundness.completeness(program, found, arguments.runs)
        wait = soundness.waiting(program, arguments.waiting)
        with soundness.load(2):
            same = soundness.is_repeatable(program, arguments.times)
        unlisted = sum(count for _, count in free.unlisted)
        inside = unlisted if scenario.races_inside else 0
        print(f"{scenario.name:<52}{mode:<9}{free.runs:>9}{unlisted:>9}{wait.steps:>10}"
              f"{wait.waits:>7}{wait.at_once:>8}{len(wait.differences):>7}  "
              f"{'yes' if same else 'NO'}", flush=True)  # fmt: skip
        for text, count in free.unlisted:
            print(f"    {count} x {text}")
        wrong += bool(unlisted - inside) + bool(wait.differences) + (not same)
        totals.update(runs=free.runs, unlisted=unlisted, inside=inside, steps=wait.steps,
            unstable=not same, waits=wait.waits, at_once=wait.at_once,
            differences=len(wait.differences))  # fmt: skip
    print(
        f"\nCompleteness: {totals['runs']} free runs, {totals['unlisted']} with an outcome not "
        f"listed, {totals['inside']} of these by a race inside one SQL call of an unlocked "
        "shared connection, below the steps of the explorer.\n"
        f"Waiting: {totals['steps']} SQL steps compared with APSW's busy handler ("
        f"{totals['waits']} wait, {totals['at_once']} are busy at once): "
        f"{totals['differences']} differences.\n"
        f"Determinism: {arguments.times} explorations of each under load, "
        f"{'all the same' if not totals['unstable'] else str(totals['unstable']) + ' differ'}."
    )
    return wrong
