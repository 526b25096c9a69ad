"""Lip sync that anyone can run: a video and a piece of speech in, the same video with that face speaking out.

>>> session = duikou.identify("portrait.mp4")
>>> result = duikou.lip_sync(session, [duikou.FaceChoice("speech.wav", face_id="0")])

Importing the package loads only the errors. Every other public name loads its module when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

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

if TYPE_CHECKING:
    from duikou.faces.track import Face
    from duikou.media.encoders import Encoder
    from duikou.media.scope import OriginalScope
    from duikou.media.sync_mode import SyncMode
    from duikou.pipeline.choice import FaceChoice
    from duikou.pipeline.output import Output
    from duikou.pipeline.session import Session, identify
    from duikou.pipeline.sync import Result, lip_sync
    from duikou.provenance.producer import Producer, producer

    __version__: str

__all__ = [
    "DuikouError",
    "Encoder",
    "Face",
    "FaceChoice",
    "FetchError",
    "InputError",
    "MediaError",
    "ModelError",
    "NotFoundError",
    "OriginalScope",
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

_MODULES: Final = {
    "Encoder": "duikou.media.encoders",
    "Face": "duikou.faces.track",
    "FaceChoice": "duikou.pipeline.choice",
    "OriginalScope": "duikou.media.scope",
    "Output": "duikou.pipeline.output",
    "Producer": "duikou.provenance.producer",
    "Result": "duikou.pipeline.sync",
    "Session": "duikou.pipeline.session",
    "SyncMode": "duikou.media.sync_mode",
    "identify": "duikou.pipeline.session",
    "lip_sync": "duikou.pipeline.sync",
    "producer": "duikou.provenance.producer",
}
"""Where each public name that is loaded on first use is defined (PEP 562)."""


def _load(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("duikou")
    elif name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # type checkers read the imports above, and report a name that does not exist
    __getattr__ = _load
