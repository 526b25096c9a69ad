"""Nothing calls home."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

JOB = """
import numpy as np
from duikou.speech.silence import voice_probability
voice_probability([np.zeros(16000, np.float32)])
import onnxruntime, time
time.sleep(1)
"""


def test_onnx_runtime_keeps_no_record_to_report(tmp_path: Path) -> None:
    """It writes what it will send into the user's cache first; on machines that say they are CI it never does."""
    told = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    told |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", JOB], env=told, check=True, timeout=300)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
