"""The face models, which LiteRT runs: one interpreter per object, not thread-safe."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from duikou.arrays import Float32Array
from duikou.errors import ModelError
from duikou.faces import devices
from duikou.faces.devices import Run, Trial
from duikou.model_files import FACE_DETECTOR, FACE_LANDMARKER

STDERR: Final = 2
_ONCE: Final = threading.Lock()
_told = False  # whether LiteRT has written its line


class Network:
    """A TFLite network on one core. Not thread-safe. side: of its square input, in pixels."""

    def __init__(self, content: bytes) -> None:
        # The interpreter reads the buffer in place, so the buffer must live as long as the interpreter.
        self._content = content
        with _without_info():
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        (given,) = self._interpreter.get_input_details()
        self._input, self.side = given["index"], int(given["shape"][1])
        self._outputs = {detail["name"]: detail["index"] for detail in self._interpreter.get_output_details()}

    def __call__(self, tensor: Float32Array) -> dict[str, Float32Array]:
        """Run on one input (H, W, 3); outputs by name."""
        self._interpreter.set_tensor(self._input, tensor[None])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}


class Accelerated:
    """A TFLite network on a GPU, in 32 bits; the same call as `Network`. Raises `RuntimeError` where LiteRT has none.

    on_gpu: else on the processor, which is of use to compare the two interfaces.
    """

    def __init__(self, content: bytes, *, on_gpu: bool = True) -> None:
        from ai_edge_litert.compiled_model import CompiledModel
        from ai_edge_litert.gpu_options import GpuOptions
        from ai_edge_litert.hardware_accelerator import HardwareAccelerator
        from ai_edge_litert.options import Options

        device = HardwareAccelerator.GPU if on_gpu else HardwareAccelerator.CPU
        self._content = content
        self._model = CompiledModel.from_buffer(
            content, options=Options(hardware_accelerators=device, gpu_options=GpuOptions(enforce_f32=True))
        )
        if not self._model.is_fully_accelerated():
            raise RuntimeError("it cannot do all of the network")
        (signature,) = self._model.get_signature_list()
        details = self._model.get_output_tensor_details(signature)
        self._shapes = {name: details[name]["shape"] for name in self._model.get_signature_by_index(0)["outputs"]}
        self._inputs, self._outputs = self._model.create_input_buffers(0), self._model.create_output_buffers(0)

    def __call__(self, tensor: Float32Array) -> dict[str, Float32Array]:
        """Run on one input (H, W, 3); outputs by name."""
        self._inputs[0].write(np.ascontiguousarray(tensor[None]))
        self._model.run_by_index(0, self._inputs, self._outputs)
        return {
            name: np.reshape(buffer.read(int(np.prod(shape)), np.float32), shape)
            for (name, shape), buffer in zip(self._shapes.items(), self._outputs, strict=True)
        }


@contextmanager
def _without_info() -> Iterator[None]:
    """Drop the line `INFO: Created TensorFlow Lite XNNPACK delegate for CPU.` from standard error.

    LiteRT writes it once in a process, from C++, and has no setting for it. So the first interpreter of a process is
    created while file descriptor 2 leads into a pipe. All else that arrives there is passed on afterwards.
    """
    global _told  # noqa: PLW0603 - LiteRT's own flag is one of the process as well
    with _ONCE:
        if _told:
            yield
            return
        try:
            kept, (end, start) = os.dup(STDERR), os.pipe()
        except OSError:  # there is no standard error, or no descriptor is left
            yield
            return
        os.set_blocking(start, False)  # loses what exceeds the pipe, which is better than to wait for ever
        os.dup2(start, STDERR)
        os.close(start)
        try:
            yield
        finally:
            os.dup2(kept, STDERR)
            os.close(kept)
            with open(end, "rb") as written:  # noqa: PTH123 - a descriptor
                lines = written.read().splitlines(keepends=True)
            os.write(STDERR, b"".join(line for line in lines if not line.startswith(b"INFO: ")))
            _told = True


def landmark_network() -> Run:
    """256x256 RGB in 0..1 -> `Identity` 478 x 3 in pixels, `Identity_1` presence logit, `Identity_2` tongue out."""
    return _made("landmarks", _landmarks())


def detector_network() -> Run:
    """192x192 RGB in -1..1 -> 2304 boxes with 6 keypoints, 2304 score logits."""
    return _made("detector", FACE_DETECTOR.read())


def _made(name: str, content: bytes) -> Run:
    """A network where it runs fastest."""
    processor = Network(content)
    return devices.chosen(name, processor, lambda: Accelerated(content), processor.side)


def trials() -> dict[str, Trial]:
    """How each network does on a GPU. Raises `ModelError` where a model is missing."""
    contents = {"landmarks": _landmarks(), "detector": FACE_DETECTOR.read()}
    return {name: _trial(content) for name, content in contents.items()}


def _trial(content: bytes) -> Trial:
    processor = Network(content)
    return devices.trial(processor, lambda: Accelerated(content), processor.side)


def _landmarks() -> bytes:
    return bundled("face_landmarks_detector.tflite")


def bundled(member: str) -> bytes:
    """A member of the landmarker's bundle, which is a zip file."""
    with zipfile.ZipFile(io.BytesIO(FACE_LANDMARKER.read())) as bundle:
        try:
            return bundle.read(member)
        except KeyError as error:
            raise ModelError(f"the model {FACE_LANDMARKER.name} holds no {member}") from error
