"""The version of the code that does the work, by what it is rather than by a number that somebody has to raise."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import duikou

LIBRARIES: Final = ("ai-edge-litert", "av", "numpy", "onnxruntime", "opencv-python-headless", "scipy", "soxr")
"""Libraries that decode videos, find faces and tell who speaks.

Models need no entry: the code names their digests, and the weights of the articulation network lie beside it.
"""


@cache
def code_version() -> str:
    """A digest of duikou's source and of the versions of `LIBRARIES`, 64 characters.

    Where it is the same on two machines, they find the same faces in a video: no setting changes what is found. A
    change that has nothing to do with faces changes it too, and only costs a search that need not have been.
    """
    digest = hashlib.sha256()
    root = Path(duikou.__file__).parent
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.npz")]):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for name in LIBRARIES:
        digest.update(f"{name} {_version(name)}\n".encode())
    return digest.hexdigest()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # installed under another name, as by a distribution of Linux
        return ""
