"""Lip sync that anyone can run: a video and a piece of speech in, the same video with that face speaking out.

>>> session = duikou.identify("portrait.mp4")
>>> result = duikou.lip_sync(session, [duikou.FaceChoice("speech.wav", face_id="0")])
"""

from importlib.metadata import version

from duikou import privacy as _privacy  # noqa: F401 - before anything that loads a runtime
from duikou.errors import (
    DuikouError,
    FetchError,
    InputError,
    MediaError,
    ModelError,
    NotFoundError,
    StorageError,
    WorkerError,
)
from duikou.faces.track import Face
from duikou.media.sync_mode import SyncMode
from duikou.pipeline.choice import FaceChoice
from duikou.pipeline.output import Output
from duikou.pipeline.session import Session, identify
from duikou.pipeline.sync import Result, lip_sync
from duikou.provenance.producer import Producer, producer

__version__ = version("duikou")

__all__ = [
    "DuikouError",
    "Face",
    "FaceChoice",
    "FetchError",
    "InputError",
    "MediaError",
    "ModelError",
    "NotFoundError",
    "Output",
    "Producer",
    "Result",
    "Session",
    "StorageError",
    "SyncMode",
    "WorkerError",
    "__version__",
    "identify",
    "lip_sync",
    "producer",
]
