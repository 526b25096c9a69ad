"""High dynamic range: what a file says of it, and a picture of it in the colours of ordinary screens (BT.709) and back.

Faces are found and mouths are painted in the tone-mapped picture. What was painted goes back into the planes of the
source by the inverse map, so a change is exact and an unchanged pixel stays as it is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from typing import Final, Self, cast

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.frame import VideoFrame

from duikou.arrays import Float32Array, Float64Array, Image, Image16

PQ, HLG = 16, 18
"""H.273, table 3: transfer characteristics SMPTE ST 2084 and ARIB STD-B67."""
TRANSFERS: Final = frozenset({PQ, HLG})
_UNSPECIFIED: Final = 2  # H.273
_XYZ: Final = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
"""Chromaticities of red, green and blue by H.273's code (table 2): BT.709, BT.2020, and two forms of P3."""
_D65: Final = (0.3127, 0.3290)
_PEAK: Final = 1_000.0
"""cd/m² that become white: HLG's nominal peak, and what most PQ is mastered for."""
_UNIT: Final = 120.0
"""cd/m² that count as 1 before the tone curve. So a grey card of 26 cd/m² (ITU-R BT.2408) becomes 18 % and reference
white of 203 cd/m² becomes 65 %, as from a camera for ordinary screens."""
_WHITE: Final = _PEAK / _UNIT
_GAMMA: Final = 2.4  # ITU-R BT.1886
_SYSTEM_GAMMA: Final = 1.2  # HLG's, at 1,000 cd/m² (ITU-R BT.2100, table 5), here for each channel alone
_M1, _M2, _C1, _C2, _C3 = 1305 / 8192, 2523 / 32, 107 / 128, 2413 / 128, 2392 / 128  # PQ: ITU-R BT.2100, table 4
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073  # HLG: ITU-R BT.2100, table 5
_CODES: Final = 1 << 16  # OpenCV's tables for 16-bit pixels have an entry for each value
MAX_CODE: Final = 1023  # of 10 bits
_ROOT_SCALE: Final = float((_CODES - 1) / np.sqrt(_WHITE))
_DYNAMIC: Final = {"DYNAMIC_HDR_PLUS": "HDR10+", "DYNAMIC_HDR_VIVID": "HDR Vivid", "DOVI_METADATA": "Dolby Vision"}
"""Names of dynamic metadata by PyAV's name of the side data."""
HEVC: Final = "libx265"
"""FFmpeg's encoder of HEVC, the only form in which players show high dynamic range."""
NAMES: Final = {PQ: "HDR10", HLG: "HLG"}
"""What pictures with static metadata at most are called, by their transfer."""


def encodable() -> bool:
    """Whether this build of PyAV encodes HEVC, without which high dynamic range is tone-mapped."""
    return HEVC in av.codecs_available


@dataclass(frozen=True)
class LightLevels:
    """Static metadata of a PQ video: the screen on which it was mastered and how bright it becomes.

    mastering: SMPTE ST 2086: x and y of red, green, blue and white in 0.00002, highest and lowest luminance in
        0.0001 cd/m². content: the brightest pixel and the brightest frame's mean in cd/m² (CTA-861.3). Both may be
        unknown. dynamic: names of metadata that each frame has of its own. Nothing here writes these.
    """

    mastering: tuple[int, ...] | None = None
    content: tuple[int, ...] | None = None
    dynamic: tuple[str, ...] = ()

    @classmethod
    def of(cls, frame: VideoFrame) -> Self:
        """Read from a decoded frame."""
        mastering, content = side_data(frame, "MASTERING_DISPLAY_METADATA"), side_data(frame, "CONTENT_LIGHT_LEVEL")
        return cls(
            _mastering(mastering) if mastering else None,
            _within(struct.unpack_from("2I", content), 0xFFFF) if content else None,
            tuple(name for kind, name in _DYNAMIC.items() if side_data(frame, kind)),
        )

    @property
    def x265(self) -> str:
        """Parameters of x265 that write it."""
        found = []
        if self.mastering:
            red, green, blue, white, light = (f"({x},{y})" for x, y in zip(*[iter(self.mastering)] * 2, strict=True))
            found.append(f"master-display=G{green}B{blue}R{red}WP{white}L{light}")
        if self.content:
            found.append("max-cll={},{}".format(*self.content))
        return ":".join(found)


def _mastering(data: bytes) -> tuple[int, ...] | None:
    """The numbers of FFmpeg's `AVMasteringDisplayMetadata`: ten fractions, lowest luminance first, and two flags."""
    *numbers, primaries, luminance = struct.unpack_from("22i", data)
    fractions = list(zip(numbers[::2], numbers[1::2], strict=True))
    if not primaries or not luminance or any(below <= 0 for _, below in fractions):
        return None
    places = [round(50_000 * above / below) for above, below in fractions[:8]]
    lowest, highest = (round(10_000 * above / below) for above, below in fractions[8:])
    return _within((*places, highest, lowest), 0xFFFF, 8)


def _within(numbers: tuple[int, ...], most: int, count: int | None = None) -> tuple[int, ...] | None:
    """The numbers, `None` where one of the first `count` is above `most` or one is negative."""
    valid = all(number >= 0 for number in numbers) and all(number <= most for number in numbers[:count])
    return numbers if valid else None


def side_data(frame: VideoFrame, kind: str) -> bytes | None:
    """Side data of a frame by PyAV's name of its kind."""
    try:
        data = frame.side_data.get(kind)
    except ValueError:  # PyAV does not know another kind of side data of this frame
        return None
    return None if data is None else bytes(cast("SideData", data))


class Tone:
    """Maps R'G'B' of a transfer and primaries to BT.709 for ordinary screens, and back. Channels: blue, green, red."""

    def __init__(self, transfer: int, primaries: int) -> None:
        to_xyz = _to_xyz(primaries if primaries in _XYZ else 9)
        matrix = np.linalg.solve(_to_xyz(1), to_xyz)[::-1, ::-1]
        self._to_709, self._from_709 = matrix.astype(np.float32), np.linalg.inv(matrix).astype(np.float32)
        codes = np.minimum(np.arange(_CODES) / MAX_CODE, 1)
        self._linear = _linear(codes, transfer).astype(np.float32)
        self._coded = _coded((np.arange(_CODES) / _ROOT_SCALE) ** 2, transfer).astype(np.float32)

    def sdr(self, coded: Image16) -> Image:
        """The tone-mapped picture (H, W, 3) of one in full-range 10-bit codes."""
        linear = np.asarray(cv2.LUT(coded, self._linear), np.float32)
        return np.asarray(cv2.LUT(_root(linear, self._to_709), _curve()), np.uint8)

    def coded(self, image: Image) -> Float32Array:
        """R'G'B' (H, W, 3), 0 to 1, of a tone-mapped picture."""
        linear = np.asarray(cv2.LUT(image, _light()), np.float32)
        return np.asarray(cv2.LUT(_root(linear, self._from_709), self._coded), np.float32)


def _root(linear: Float32Array, matrix: Float32Array) -> Image16:
    """Scaled square root of light (H, W, 3) in other primaries: 16 bits of it have small steps in the dark, too."""
    light = np.asarray(cv2.transform(linear, matrix), np.float32)
    root = np.sqrt(np.maximum(light, 0, out=light), out=light)
    np.multiply(root, _ROOT_SCALE, out=root)
    np.minimum(root, _CODES - 1, out=root)
    return np.add(root, 0.5, out=root).astype(np.uint16)


@cache
def tone(transfer: int, primaries: int) -> Tone:
    """The map for these H.273 code points."""
    return Tone(transfer, primaries)


@cache
def _curve() -> Image:
    """Pixels by the scaled root of linear light: Reinhard's curve up to `_WHITE`, then gamma."""
    light = (np.arange(_CODES) / _ROOT_SCALE) ** 2
    shown = light * (1 + light / _WHITE**2) / (1 + light)
    return np.asarray(np.rint(255 * np.minimum(shown, 1) ** (1 / _GAMMA)), np.uint8)


@cache
def _light() -> Float32Array:
    """Linear light by the pixels of a tone-mapped picture: the inverse of `_curve`."""
    shown = (np.arange(256) / 255) ** _GAMMA
    rest = 1 - shown
    return (_WHITE**2 / 2 * (np.sqrt(rest**2 + 4 * shown / _WHITE**2) - rest)).astype(np.float32)


def _linear(coded: Float64Array, transfer: int) -> Float64Array:
    """Light of the screen in `_UNIT` for coded values of 0 to 1."""
    if transfer == PQ:
        root = coded ** (1 / _M2)
        return np.asarray(10_000 / _UNIT * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1))
    scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - _C) / _A) + _B) / 12)
    return np.asarray(_WHITE * scene**_SYSTEM_GAMMA)


def _coded(linear: Float64Array, transfer: int) -> Float64Array:
    """The inverse of `_linear`."""
    if transfer == PQ:
        root = np.minimum(linear * _UNIT / 10_000, 1) ** _M1
        return np.asarray(((_C1 + _C2 * root) / (1 + _C3 * root)) ** _M2)
    scene = np.minimum(linear / _WHITE, 1) ** (1 / _SYSTEM_GAMMA)
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), _A * np.log(np.maximum(12 * scene - _B, 1e-9)) + _C)


def _to_xyz(primaries: int) -> Float64Array:
    """(3, 3) matrix from linear red, green and blue of these primaries, with white D65, to XYZ."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in _XYZ[primaries]]).T
    x, y = _D65
    return np.asarray(columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y]))
