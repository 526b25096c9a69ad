"""A client for duikou servers, and for Kling's own host and gateways that speak its calls.

>>> with Duikou("http://127.0.0.1:8000") as duikou:
...     session = duikou.identify("talk.mp4")
...     task = duikou.lip_sync(session, FaceChoice("speech.mp3", face_id=session.faces[0].id))
...     duikou.download(duikou.wait(task), "spoken.mp4")

It imports nothing else of duikou: the distribution `duikou-client` is installed alone, without models and codecs.
"""

from duikou.client.auth import KeyPair
from duikou.client.callbacks import verify_callback
from duikou.client.calls import TaskOptions
from duikou.client.clients import AsyncDuikou, Duikou
from duikou.client.errors import (
    ApiError,
    AuthenticationError,
    CallbackError,
    ClientError,
    ConnectionFailedError,
    ForbiddenError,
    InputError,
    InvalidRequestError,
    NotFoundError,
    ProtocolError,
    RateLimitError,
    ServerError,
    TaskFailedError,
    TimedOutError,
    UnsupportedError,
    WaitTimeoutError,
)
from duikou.client.retry import Retry
from duikou.client.values import (
    Box,
    Face,
    FaceChoice,
    FaceWarning,
    OriginalScope,
    Session,
    Speaking,
    SyncMode,
    Task,
    TaskStatus,
    Upload,
    Video,
)
from duikou.client.version import __version__

__all__ = [
    "ApiError",
    "AsyncDuikou",
    "AuthenticationError",
    "Box",
    "CallbackError",
    "ClientError",
    "ConnectionFailedError",
    "Duikou",
    "Face",
    "FaceChoice",
    "FaceWarning",
    "ForbiddenError",
    "InputError",
    "InvalidRequestError",
    "KeyPair",
    "NotFoundError",
    "OriginalScope",
    "ProtocolError",
    "RateLimitError",
    "Retry",
    "ServerError",
    "Session",
    "Speaking",
    "SyncMode",
    "Task",
    "TaskFailedError",
    "TaskOptions",
    "TaskStatus",
    "TimedOutError",
    "UnsupportedError",
    "Upload",
    "Video",
    "WaitTimeoutError",
    "__version__",
    "verify_callback",
]
