"""One trial of one fault, as a test."""

from __future__ import annotations

import os

import pytest
from repeats import FULL

from tests.faults.kinds import FAULTS
from tests.faults.rounds import Fault, tried
from tests.faults.systems import Installations

SEED = 1
QUICK = ("fleet-worker-killed", "fleet-database-killed", "server-child-killed", "server-killed")
APART = (
    "fleet-worker-hands-back",
    "fleet-broker-stopped",
    "fleet-broker-killed",
    "fleet-disk-full",
    "fleet-clocks",
    "fleet-messages",
    "fleet-lines-cut",
)
"""Half of a fleet's faults, in a file of their own: another process of the tests tries them at the same time."""


def chosen(*, fleet: bool, apart: bool = False) -> dict[str, Fault]:
    """The faults of a fleet or of a server alone, by name: those of `QUICK`, or all where tests repeat in full.

    Those that want the same setup stand together, since each setup takes an installation. apart: those of `APART`,
    which are not among the others.
    """
    found = [one for one in FAULTS if one.setup.fleet == fleet and (FULL or one.name in QUICK)]
    setups = [one.setup for one in found]
    found.sort(key=lambda one: setups.index(one.setup))
    return {one.name: one for one in found if (one.name in APART) == apart}


def require_nothing_lost(installations: Installations, fault: Fault) -> None:
    """Fail the test if anything was lost, doubled or left behind; skip it if no small disk can be made."""
    try:
        system = installations.like(fault.setup)
    except PermissionError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))
    tally = tried(fault, 1, system, SEED)
    if tally.wrong:
        installations.give_up()
    assert not tally.wrong, "\n".join(tally.wrong)
    assert tally.ended == tally.accepted > 0
