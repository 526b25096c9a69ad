"""Hibari (PyPI's `hibari-tts`): a small neural American voice that predicts the duration of each symbol."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime

from duikou.arrays import Float64Array
from training import texts
from training.speech import Event, Spoken

HOP = 600  # samples of one of its durations' frames (two of its spectra), at its 24 kHz
_DURATIONS = "/Clip_output_0"  # inside its graph: frames of each symbol, 1 or more
EARLY_S = 0.075  # its audio is ahead of its durations by this much: silences of stops and s, compared with flite
_IPA = {"A": "eɪ", "I": "aɪ", "O": "oʊ", "W": "aʊ", "Y": "ɔɪ", "Q": "əʊ", "T": "ɾ", "ʤ": "dʒ", "ʧ": "tʃ", "ᵊ": "ə"}
_STRESS = "ˈˌ"


def available() -> bool:
    """Whether hibari is installed."""
    return importlib.util.find_spec("hibari") is not None


class Voices:
    """Hibari's voice."""

    def __init__(self, scratch: Path) -> None:
        import onnx
        from hibari import Hibari

        self._hibari = Hibari()
        model = onnx.load(self._hibari.model_path)
        model.graph.output.append(onnx.helper.make_tensor_value_info(_DURATIONS, onnx.TensorProto.FLOAT, None))
        path = scratch / "hibari.onnx"
        onnx.save(model, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._told = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def speaker(self, rng: random.Random, *, held_out: bool) -> Callable[[], Spoken]:
        """The voice at one tempo; there is no held-out voice."""
        if held_out:
            raise ValueError("hibari has only one voice, which is used for training")
        speed = rng.uniform(0.8, 1.35)
        return lambda: self._speak(texts.draw("en", rng), speed, rng.randint(1, 1 << 30))

    def _speak(self, text: str, speed: float, seed: int) -> Spoken:
        from hibari import dsp

        noise, sounds, events, start = np.random.default_rng(seed), [], list[Event](), 0
        for symbols in self._hibari.phonemize(text):
            known = [symbol for symbol in symbols if symbol in self._hibari.vocab]
            asked = {"ids": np.array([self._hibari.ids(symbols)]), "speed": np.array([speed], np.float32)}
            *spectra, frames = self._told.run(None, asked)
            held = np.asarray(frames).ravel()
            sounds.append(dsp.synth(*(part[0] for part in spectra), noise))
            edges = np.concatenate([[0], np.cumsum(held)]) * HOP / self._hibari.sample_rate
            edges[1:-1] = np.maximum(edges[1:-1] - EARLY_S, 0)
            events += _events(["", *known, ""], edges + start / self._hibari.sample_rate)
            start += len(sounds[-1])
        samples = np.concatenate(sounds) if sounds else np.zeros(0, np.float32)
        return Spoken(samples, self._hibari.sample_rate, events)


def _events(symbols: list[str], edges_s: Float64Array) -> list[Event]:
    """Events of symbols between their edges (one more than symbols); a stress mark's time is its vowel's."""
    events, stressed, begun = [], "", None
    for symbol, (edge, end) in zip(symbols, pairwise(edges_s.tolist()), strict=True):
        start = edge if begun is None else begun
        if symbol and symbol in _STRESS:
            stressed, begun = symbol, start
            continue
        ipa = _IPA.get(symbol, symbol)
        events.append(Event(start, end, stressed + ipa if ipa.isalpha() else ""))
        stressed, begun = "", None
    return events
