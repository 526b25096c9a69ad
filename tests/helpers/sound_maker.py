"""Sound in every codec and with every tag that is read, and FFmpeg's own decoding of it."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

Samples = npt.NDArray[np.float32]

_FRAME = 1024
LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 6: "5.1"}


def encode(
    path: Path,
    sound: Samples,
    rate: int,
    codec: str,
    *,
    container: str = "",
    options: Mapping[str, str] | None = None,
) -> Path:
    """Write (n, C) float32 samples with an encoder of FFmpeg. container: its muxer, by default that of the suffix."""
    layout = LAYOUTS[sound.shape[1]]
    suffix = path.suffix[1:]
    muxer = container or {"m4a": "ipod", "aac": "adts"}.get(suffix, suffix)
    with av.open(str(path), "w", format=muxer, container_options=dict(options or {})) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        stream.time_base = Fraction(1, rate)
        resampler = AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=rate)
        for start in range(0, len(sound), _FRAME):
            part = np.ascontiguousarray(sound[start : start + _FRAME])
            frame = av.AudioFrame.from_ndarray(part.reshape(1, -1), format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            for fitting in resampler.resample(frame):
                file.mux(stream.encode(fitting))
        file.mux(stream.encode(None))
    return path


def decoded(path: Path) -> tuple[str, Samples]:
    """The codec of a file and every sample in the order in which FFmpeg decodes it, whatever its time stamps say."""
    parts = []
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        resampler = AudioResampler(format="flt")
        for packet in file.demux(stream):
            for frame in packet.decode():
                for flat in resampler.resample(frame):
                    parts.append(flat.to_ndarray().reshape(-1, flat.layout.nb_channels))
        return stream.codec_context.codec.canonical_name, np.concatenate(parts)


def layer_one(frames: int) -> bytes:
    """MPEG-1 layer I at 384 kbit/s, 48 kHz, mono: noise in eight subbands. FFmpeg has no encoder for it."""
    random = np.random.default_rng(1)
    header, allocation = b"\xff\xff\xc4\xc0", b"\x22" * 4 + bytes(12)  # 3 bits in each of the first eight subbands
    made = b""
    for _ in range(frames):
        scales = sum(int(one) << 6 * place for place, one in enumerate(random.integers(10, 30, 8)))
        made += (header + allocation + scales.to_bytes(6, "big") + random.bytes(12 * 8 * 3 // 8)).ljust(384, b"\0")
    return made


def amr(path: Path, frames: int, *, wide: bool) -> Path:
    """A mov of AMR whose frames of 20 ms hold random bits, which decode to noise: encoders of AMR are rare."""
    random = np.random.default_rng(2)
    magic, header, size = (b"#!AMR-WB\n", b"\x44", 60) if wide else (b"#!AMR\n", b"\x3c", 31)
    raw = path.with_suffix(".amr")
    raw.write_bytes(magic + b"".join(header + random.bytes(size) for _ in range(frames)))
    with av.open(str(raw)) as old, av.open(str(path), "w", format="mov") as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(audio=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return path


def id3(body: bytes, *, version: int = 3, size: int | None = None, plain: bool = False, flags: int = 0) -> bytes:
    """An ID3v2 tag. size: what its header says where that is wrong. plain: said in 8 bits a byte in place of 7."""
    said = len(body) if size is None else size
    return b"ID3" + bytes([version, 0, flags]) + (said.to_bytes(4, "big") if plain else _seven(said)) + body


def text(size: int, *, version: int = 3) -> bytes:
    """A frame of an ID3 tag with so many bytes of text."""
    number = _seven(size) if version == 4 else size.to_bytes(4, "big")
    return b"TXXX" + number + bytes(2) + b"\0a\0".ljust(size, b"x")


def picture(size: int) -> bytes:
    """A frame of an ID3v2.3 tag with something like a JPEG picture."""
    body = b"\0image/jpeg\0\3\0\xff\xd8\xff\xe0" + np.random.default_rng(3).bytes(size).replace(b"\xff", b"\xff\0")
    return b"APIC" + len(body).to_bytes(4, "big") + bytes(2) + body


def ape(body: bytes) -> bytes:
    """An APEv2 tag with a header and a footer."""
    head = (2000).to_bytes(4, "little") + (len(body) + 32).to_bytes(4, "little") + (1).to_bytes(4, "little")
    parts = [b"APETAGEX" + head + flags.to_bytes(4, "little") + bytes(8) for flags in (0xA0000000, 0x80000000)]
    return parts[0] + body + parts[1]


ID3V1 = b"TAG" + b"a title".ljust(125, b"\0")
LYRICS = b"LYRICSBEGINLYR00010some words000026LYRICS200"


def _seven(number: int) -> bytes:
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))
