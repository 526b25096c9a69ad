"""A sentence spoken by espeak-ng's library, which comes in the package `espeakng-loader`."""

from __future__ import annotations

import ctypes
import wave
from pathlib import Path

import espeakng_loader

SENTENCE = "Hello from orbit! My lips move with these words, made by a small, open program on an ordinary computer."
VOICE = "en-us+f3"  # American English, the third female variant
WORDS_PER_MINUTE = 172
PITCH = 58  # espeak's own scale, 0 to 100

# espeak-ng/speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_RATE, _PITCH = 1, 3
_CHUNK_MS = 200  # sound handed over per callback

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def speak(path: Path, sentence: str = SENTENCE, voice: str = VOICE) -> Path:
    """Write `sentence` as mono 16-bit WAV at espeak's own rate (22,050 per second) and return `path`.

    Raises `RuntimeError` where the library or the voice cannot be used.
    """
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path().encode()
    rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, _CHUNK_MS, data, 0)
    if rate <= 0:
        raise RuntimeError(f"espeak-ng could not start with the voices in {data.decode()}")
    chunks: list[bytes] = []

    def collect(samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if samples and count:
            chunks.append(ctypes.string_at(samples, count * ctypes.sizeof(ctypes.c_short)))
        return 0

    try:
        callback = _Callback(collect)  # must outlive the synthesis
        library.espeak_SetSynthCallback(callback)
        if library.espeak_SetVoiceByName(voice.encode()):
            raise RuntimeError(f"espeak-ng has no voice {voice}")
        library.espeak_SetParameter(_RATE, WORDS_PER_MINUTE, 0)
        library.espeak_SetParameter(_PITCH, PITCH, 0)
        text = sentence.encode() + b"\0"
        if library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None):
            raise RuntimeError("espeak-ng could not speak the sentence")
    finally:
        library.espeak_Terminate()
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(b"".join(chunks))
    return path
