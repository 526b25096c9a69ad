"""The face models: one LiteRT interpreter per object, not thread-safe."""

from __future__ import annotations

import io
import zipfile

from ai_edge_litert.interpreter import Interpreter

from duikou.arrays import Float32Array
from duikou.errors import ModelError
from duikou.model_files import FACE_DETECTOR, FACE_LANDMARKER


class Network:
    """A TFLite network on one core. Not thread-safe."""

    def __init__(self, content: bytes) -> None:
        # The interpreter reads the buffer in place, so the buffer must live as long as the interpreter.
        self._content = content
        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = {detail["name"]: detail["index"] for detail in self._interpreter.get_output_details()}

    def __call__(self, tensor: Float32Array) -> dict[str, Float32Array]:
        """Run on one input (H, W, 3); outputs by name."""
        self._interpreter.set_tensor(self._input, tensor[None])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


def landmark_network() -> Network:
    """256x256 RGB in 0..1 -> `Identity` 478 x 3 in pixels, `Identity_1` presence logit, `Identity_2` tongue out."""
    return Network(bundled("face_landmarks_detector.tflite"))


def detector_network() -> Network:
    """192x192 RGB in -1..1 -> 2304 boxes with 6 keypoints, 2304 score logits."""
    return Network(FACE_DETECTOR.read())


def bundled(member: str) -> bytes:
    """A member of the landmarker's bundle, which is a zip file."""
    with zipfile.ZipFile(io.BytesIO(FACE_LANDMARKER.read())) as bundle:
        try:
            return bundle.read(member)
        except KeyError as error:
            raise ModelError(f"the model {FACE_LANDMARKER.name} holds no {member}") from error
