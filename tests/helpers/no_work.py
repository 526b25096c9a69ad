"""Work for which no worker can be made: what its children would import does not exist."""

from __future__ import annotations

from dataclasses import replace

import stub_work

WORK = replace(stub_work.WORK, preload="no_such_module")
