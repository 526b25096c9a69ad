"""LiteRT's line of information stays away from standard error, and nothing else does."""

from __future__ import annotations

import subprocess
import sys


def written(code: str) -> str:
    """What a new process writes to standard error."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return done.stderr


def test_nothing_is_said_when_networks_are_made() -> None:
    code = """
import threading
from duikou.faces.networks import detector_network
threads = [threading.Thread(target=detector_network) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    assert written(code) == ""


def test_other_lines_pass() -> None:
    code = """
import os
from duikou.faces.networks import _without_info
with _without_info():
    os.write(2, b"INFO: made\\nWARNING: odd\\n")
with _without_info():
    os.write(2, b"INFO: of the user\\n")
os.write(2, b"end\\n")
"""
    assert written(code) == "WARNING: odd\nINFO: of the user\nend\n"


def test_a_process_without_standard_error_works() -> None:
    assert (
        written("import os; os.close(2); from duikou.faces.networks import detector_network; detector_network()") == ""
    )
