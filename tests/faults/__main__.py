"""Tries every fault repeatedly on real processes, and prints what happened to the tasks.

The exit status is 1 if an accepted task was lost, finished twice, or left anything behind.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from tests.faults.kinds import FAULTS
from tests.faults.rounds import HEADINGS, Fault, Tally, tried
from tests.faults.systems import Installations, Setup

LANES = 3  # installations at once: most of a trial is waiting


def main() -> int:
    """Run all trials; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="trials of each fault (default: 20)")
    parser.add_argument("--only", default="", help="faults whose name holds one of these words, with commas")
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default: 0)")
    given = parser.parse_args()
    chosen = [fault for fault in FAULTS if any(word in fault.name for word in given.only.split(","))]
    if not chosen:
        parser.error(f"--only: there is {', '.join(fault.name for fault in FAULTS)}")
    waiting, tallies, began = list(chosen), dict[str, Tally](), time.monotonic()
    one_at_a_time = threading.Lock()

    def take(setup: Setup | None) -> Fault | None:
        """The next fault; of those for the same setup where there is one, else of those whose setup has most left."""
        with one_at_a_time:
            left = sorted(waiting, key=lambda one: (one.setup != setup, -sum(one.setup == o.setup for o in waiting)))
            if left:
                waiting.remove(left[0])
            return left[0] if left else None

    def serve() -> None:
        with (
            tempfile.TemporaryDirectory(prefix="duikou-faults-") as place,
            Installations(Path(place)) as installations,
        ):
            while (fault := take(installations.setup)) is not None:
                tally = tried(fault, given.count, installations.like(fault.setup), given.seed, _note)
                tallies[fault.name] = tally
                took = ", ".join(f"{seconds:.1f}" for seconds in tally.hand_overs)
                _note(f"{fault.name}: {tally.accepted} tasks, {len(tally.wrong)} things wrong; hand-over in s: {took}")
                for sentence in tally.wrong:
                    _note(f"{fault.name}: WRONG: {sentence}")
                if tally.wrong:
                    installations.give_up()

    lanes = [threading.Thread(target=serve) for _ in range(min(LANES, len(chosen)))]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    _note(f"{time.monotonic() - began:.0f} s in all")
    found = [tallies[fault.name] for fault in chosen if fault.name in tallies]
    sys.stdout.writelines(f"{line}\n" for line in _table(found))
    return int(len(found) < len(chosen) or any(tally.wrong or tally.slow for tally in found))


def _note(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def _table(tallies: Iterable[Tally]) -> Iterable[str]:
    yield f"| {' | '.join(HEADINGS)} |"
    yield f"| {' | '.join(['---'] * len(HEADINGS))} |"
    for tally in tallies:
        yield f"| {' | '.join(tally.row())} |"


if __name__ == "__main__":
    sys.exit(main())
