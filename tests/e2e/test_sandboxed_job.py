"""A whole job in a process that dies if anything in it so much as makes a socket or starts a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from small_portrait import small_portrait

from demo import portrait, speech
from duikou.sandbox import system_calls

CLIP_MS = 1_200

JOB = """
import sys, duikou
from pathlib import Path
from duikou.sandbox import restrictions, system_calls
video, sound, output = map(Path, sys.argv[1:4])
system_calls._REFUSAL = system_calls._KILL
# A job goes on without the lock that it tries for its outputs: see `duikou.media.unfinished`.
system_calls._ALLOWED = {**system_calls._ALLOWED, "flock": (73, 32)}
assert restrictions.block_system_calls()
session = duikou.identify(video)
duikou.lip_sync(session, [duikou.FaceChoice(sound, trim_end_ms=800, insert_ms=400)], output)
"""
PROBE = """
import socket
from duikou.sandbox import restrictions, system_calls
system_calls._REFUSAL = system_calls._KILL
assert restrictions.block_system_calls()
socket.socket()
"""
pytestmark = pytest.mark.skipif(not system_calls.available(), reason="this system cannot take system calls away")


def test_the_trap_works() -> None:
    assert subprocess.run([sys.executable, "-c", PROBE], check=False).returncode == -signal.SIGSYS


def test_a_job_makes_no_socket_and_starts_no_program(tmp_path: Path) -> None:
    with small_portrait(0.5):
        video = portrait.write(tmp_path / "clip.mp4", CLIP_MS)
    sound = speech.speak(tmp_path / "speech.wav", "Hello, my name is Eileen, how are you?")
    told = {name: value for name, value in os.environ.items() if name != "CI"}  # what reports may keep still in CI
    job = [sys.executable, "-c", JOB, str(video), str(sound), str(tmp_path / "out.mp4")]
    done = subprocess.run(job, env=told, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.mp4").stat().st_size > 10_000
