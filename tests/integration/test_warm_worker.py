"""A worker that is ready has loaded all that a job needs: the first job has no more to do than the second."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import telling_work
from small_portrait import small_portrait

from demo import portrait, speech
from duikou import FaceChoice
from duikou.provenance import certificates
from duikou.provenance.notary import Notary
from duikou.sandbox.process import SandboxProcess
from duikou.sandbox.restrictions import Limits
from duikou.timebase import Interval
from duikou.workers.work import RenderJob, SignJob

CLIP_MS, SPEECH_MS = 800, 600


@pytest.fixture
def worker() -> Iterator[SandboxProcess]:
    """A worker's children. They may read every file, or what they want to load would not be there."""
    process = SandboxProcess(Limits(wall_s=300, memory_mb=2048), threading.Event(), preload=telling_work.PRELOAD)
    yield process
    process.stop()


def test_no_job_loads_what_the_worker_has_not(worker: SandboxProcess, tmp_path: Path) -> None:
    session, made = tmp_path / "session", tmp_path / "made"
    session.mkdir()
    made.mkdir()
    with small_portrait(0.5):
        clip = portrait.write(tmp_path / "clip.mp4", CLIP_MS)
    said = speech.speak(tmp_path / "speech.wav", "Hello, my name is Eileen.")
    choice = FaceChoice(said, "0", 0, SPEECH_MS, 0)
    loaded = {"identify": worker.run(telling_work.identify, clip, session)}
    job = RenderJob(session, clip, (choice,), (said,), made / "result.mp4", "duikou", "1", made / "marked.mp4")
    loaded["render"] = worker.run(telling_work.render, job)
    certificate = certificates.self_signed(tmp_path)
    results = ((job.output, False), (made / "marked.mp4", True))
    order = SignJob(clip, results, (("0", Interval(0, SPEECH_MS)),), None, *certificate.public())
    names = [path.name for path, _ in results]
    loaded["sign"] = worker.run(telling_work.sign, order, answer=Notary(certificate, names).sign)
    assert loaded == {"identify": "", "render": "", "sign": ""}
