"""Reads what copying packets of H.264 depends on: NAL units and parameter sets (ITU-T H.264, 7.3; ISO 14496-15, 5.3).

Everything here is strict: bytes that make no sense raise `BitstreamError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import Final, Self

LENGTH_BYTES: Final = 4  # of the number before each NAL unit in a packet, as all cameras and encoders write it
CHROMA_420: Final = 1
_RECOVERY_POINT: Final = 6  # type of a message, D.1
_UNSPECIFIED: Final = 2  # H.273, for primaries, transfer and matrix
_EXTENDED_SAR: Final = 255
_SAR: Final = (
    *((0, 1), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11)),
    *((80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1)),
)
"""Table E-1: sample aspect ratios by `aspect_ratio_idc`; 0 is unspecified."""
_WITH_CHROMA: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""Profiles whose SPS tells the chroma format, 7.3.2.1.1."""
_DPB_MACROBLOCKS: Final = {
    level: macroblocks
    for macroblocks, levels in {
        396: (9, 10),
        900: (11,),
        2_376: (12, 13, 20),
        4_752: (21,),
        8_100: (22, 30),
        18_000: (31,),
        20_480: (32,),
        32_768: (40, 41),
        34_816: (42,),
        110_400: (50,),
        184_320: (51, 52),
        696_320: (60, 61, 62),
    }.items()
    for level in levels
}
"""Table A-1: the size of the decoded picture buffer in macroblocks, by `level_idc`."""
_MOST_FRAMES: Final = 16  # in that buffer, A.3.1


class BitstreamError(Exception):
    """The bytes are no valid H.264, or use a part of it that is not read here."""


class Nal(IntEnum):
    """Types of NAL units, table 7-1."""

    SLICE = 1
    IDR = 5
    SEI = 6
    SPS = 7
    PPS = 8
    DELIMITER = 9
    FILLER = 12


def has_usual_lengths(record: bytes) -> bool:
    """Whether a box `avcC` says that each NAL unit stands behind a length of `LENGTH_BYTES`."""
    return len(record) > 6 and record[0] == 1 and record[4] & 3 == LENGTH_BYTES - 1


def nal_units(packet: bytes | memoryview) -> Iterator[memoryview]:
    """The NAL units of a packet in an mp4, each behind its length."""
    view, at = memoryview(packet), 0
    while at < len(view):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(view[at:start], "big")
        if not start < at <= len(view):
            raise BitstreamError("a NAL unit is longer than its packet")
        yield view[start:at]


def nal_type(unit: bytes | memoryview) -> int:
    """The type of a NAL unit, one of `Nal` or another number."""
    return unit[0] & 31


def begins(packet: bytes | memoryview) -> bool:
    """Whether decoding can begin with a packet: from it on, all that is decoded and shown is exact.

    This is so for an IDR picture and a recovery point after 0 frames (D.2.8), but not where a picture is refreshed part
    by part.
    """
    for unit in nal_units(packet):
        kind = nal_type(unit)
        if kind == Nal.IDR:
            return True
        if kind == Nal.SEI and _recovers_at_once(_Bits(bytes(unit))):
            return True
    return False


def _recovers_at_once(bits: _Bits) -> bool:
    """Whether a message says so. bits: of its NAL unit."""
    while bits.left > 8:  # behind the messages there are only the bits that end the unit
        kind, size = bits.message_number(), bits.message_number()
        if kind == _RECOVERY_POINT:
            return bits.ue() == 0
        bits.u(8 * size)
    return False


class _Bits:
    """Reads the payload of a NAL unit bit by bit."""

    def __init__(self, unit: bytes) -> None:
        payload = unit[1:].replace(b"\0\0\3", b"\0\0")  # emulation prevention, 7.4.1
        self._bits, self.left = int.from_bytes(payload, "big"), 8 * len(payload)

    def u(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        self.left -= count
        if self.left < 0:
            raise BitstreamError("a NAL unit ends too early")
        return self._bits >> self.left & (1 << count) - 1

    def flag(self) -> bool:
        """One bit."""
        return bool(self.u(1))

    def ue(self) -> int:
        """An unsigned Exp-Golomb number, 9.1."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise BitstreamError("an Exp-Golomb number is too long")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """A signed Exp-Golomb number, 9.1.1."""
        number = self.ue()
        return (number + 1) // 2 if number % 2 else -(number // 2)

    def message_number(self) -> int:
        """The type or the size of a message, 7.3.2.3.1."""
        number = part = self.u(8)
        while part == 255:
            part = self.u(8)
            number += part
        return number


@dataclass(frozen=True)
class Look:
    """How the decoded samples are shown (annex E): what two streams in one track must have in common.

    sample_aspect_ratio: width of a sample over its height; 1 where unspecified. primaries, transfer, matrix: H.273's
    numbers. chroma_location: `chroma_sample_loc_type` of both fields.
    """

    sample_aspect_ratio: Fraction = Fraction(1)
    full_range: bool = False
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED
    matrix: int = _UNSPECIFIED
    chroma_location: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Sps:
    """A sequence parameter set.

    number: its id. constraints: the byte of constraint flags. level: `level_idc`. chroma: 0 grey, 1 4:2:0, 2 4:2:2,
    3 4:4:4. bits: of luma and chroma. progressive: whether there are no fields. size: width and height in samples,
    before cropping. crop: left, right, top and bottom, in units of 7.4.2.1.1. buffered: frames that a decoder keeps, as
    references or for later showing.
    """

    number: int
    profile: int
    constraints: int
    level: int
    chroma: int
    bits: tuple[int, int]
    progressive: bool
    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    look: Look
    buffered: int

    @classmethod
    def parse(cls, unit: bytes) -> Self:
        """Read a NAL unit. Raises `BitstreamError`."""
        bits = _Bits(unit)
        profile, constraints, level, number = bits.u(8), bits.u(8), bits.u(8), bits.ue()
        chroma, depths = CHROMA_420, (8, 8)
        if profile in _WITH_CHROMA:
            chroma, depths = _chroma(bits)
        bits.ue()  # log2_max_frame_num
        _skip_picture_order(bits)
        bits.ue()  # max_num_ref_frames
        bits.flag()  # gaps_in_frame_num_value_allowed_flag
        width, height, progressive = bits.ue() + 1, bits.ue() + 1, bits.flag()
        if not progressive:
            bits.flag()  # mb_adaptive_frame_field_flag
        bits.flag()  # direct_8x8_inference_flag
        crop = (bits.ue(), bits.ue(), bits.ue(), bits.ue()) if bits.flag() else (0, 0, 0, 0)
        look, buffered = _vui(bits) if bits.flag() else (Look(), None)
        if buffered is None:
            if level not in _DPB_MACROBLOCKS:
                raise BitstreamError(f"the level {level} is unknown")
            buffered = min(_DPB_MACROBLOCKS[level] // (width * height * (2 - progressive)), _MOST_FRAMES)
        size = 16 * width, 16 * height * (2 - progressive)
        return cls(number, profile, constraints, level, chroma, depths, progressive, size, crop, look, buffered)


def _chroma(bits: _Bits) -> tuple[int, tuple[int, int]]:
    """Format and depths of an SPS of the high profiles. Skips scaling matrices."""
    chroma = bits.ue()
    if chroma == 3:
        bits.flag()  # separate_colour_plane_flag
    depths = 8 + bits.ue(), 8 + bits.ue()
    bits.flag()  # qpprime_y_zero_transform_bypass_flag
    if bits.flag():
        for number in range(12 if chroma == 3 else 8):
            if bits.flag():
                _skip_scaling_list(bits, 16 if number < 6 else 64)
    return chroma, depths


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _skip_picture_order(bits: _Bits) -> None:
    match bits.ue():
        case 0:
            bits.ue()  # log2_max_pic_order_cnt_lsb
        case 1:
            bits.flag()
            bits.se()
            bits.se()
            count = bits.ue()
            if count > 255:
                raise BitstreamError("a parameter set has too many picture order counts")
            for _ in range(count):
                bits.se()
        case 2:
            pass
        case other:
            raise BitstreamError(f"the picture order count has type {other}")


def _vui(bits: _Bits) -> tuple[Look, int | None]:
    """The look and `max_dec_frame_buffering` of the usability information, E.1.1."""
    sar = _aspect_ratio(bits) if bits.flag() else Fraction(1)
    if bits.flag():
        bits.flag()  # overscan_appropriate_flag
    full, colours = _colours(bits) if bits.flag() else (False, (_UNSPECIFIED,) * 3)
    location = (bits.ue(), bits.ue()) if bits.flag() else (0, 0)
    if bits.flag():
        bits.u(65)  # units, time scale, fixed_frame_rate_flag
    _skip_buffer_models(bits)
    bits.flag()  # pic_struct_present_flag
    buffered = None
    if bits.flag():
        bits.flag()  # motion_vectors_over_pic_boundaries_flag
        for _ in range(5):
            bits.ue()  # up to max_num_reorder_frames
        buffered = bits.ue()
    return Look(sar, full, *colours, location), buffered


def _aspect_ratio(bits: _Bits) -> Fraction:
    kind = bits.u(8)
    if kind != _EXTENDED_SAR and kind >= len(_SAR):
        raise BitstreamError(f"the aspect ratio {kind} is unknown")
    across, down = (bits.u(16), bits.u(16)) if kind == _EXTENDED_SAR else _SAR[kind]
    return Fraction(across, down) if across and down else Fraction(1)


def _colours(bits: _Bits) -> tuple[bool, tuple[int, int, int]]:
    """Whether the range is full; primaries, transfer and matrix."""
    bits.u(3)  # video_format
    full = bits.flag()
    return full, (bits.u(8), bits.u(8), bits.u(8)) if bits.flag() else (_UNSPECIFIED,) * 3


def _skip_buffer_models(bits: _Bits) -> None:
    """The parameters of NAL units and of the video's own, if there are."""
    found = False
    for _ in range(2):
        if bits.flag():
            found = True
            _skip_buffer_model(bits)
    if found:
        bits.flag()  # low_delay_hrd_flag


def _skip_buffer_model(bits: _Bits) -> None:
    """E.1.2."""
    count = bits.ue() + 1
    if count > 32:
        raise BitstreamError("a parameter set has too many buffers")
    bits.u(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.flag()
    bits.u(20)


@dataclass(frozen=True)
class Pps:
    """A picture parameter set. number, sps: its id and that of its SPS. slice_groups: 1 unless slices are scattered."""

    number: int
    sps: int
    slice_groups: int

    @classmethod
    def parse(cls, unit: bytes) -> Self:
        """Read the beginning of a NAL unit. Raises `BitstreamError`."""
        bits = _Bits(unit)
        number, sps = bits.ue(), bits.ue()
        bits.u(2)  # entropy_coding_mode_flag, bottom_field_pic_order_in_frame_present_flag
        return cls(number, sps, bits.ue() + 1)


@dataclass(frozen=True)
class ParameterSets:
    """The parameter sets of a track: the NAL units of its SPS and PPS."""

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]

    @classmethod
    def of(cls, record: bytes) -> Self:
        """Read the box `avcC` (ISO 14496-15, 5.3.3). Raises `BitstreamError`."""
        if not has_usual_lengths(record):
            raise BitstreamError("the track has no parameter sets, or lengths of NAL units of an unusual size")
        sps, at = _units(record, 6, record[5] & 31)
        if at >= len(record):
            raise BitstreamError("the box of the parameter sets ends too early")
        pps, _ = _units(record, at + 1, record[at])
        if not sps or not pps:
            raise BitstreamError("the track has no parameter sets")
        return cls(sps, pps)

    def __add__(self, other: ParameterSets) -> ParameterSets:
        return ParameterSets(self.sps + other.sps, self.pps + other.pps)

    @property
    def units(self) -> frozenset[bytes]:
        """All of them."""
        return frozenset(self.sps + self.pps)

    @property
    def record(self) -> bytes:
        """The box `avcC`: what all sets have in common, and the sets. All have one profile, with 4:2:0 and 8 bits."""
        parsed = [Sps.parse(unit) for unit in self.sps]
        profile, constraints = parsed[0].profile, parsed[0].constraints
        for one in parsed[1:]:
            constraints &= one.constraints
        head = bytes([1, profile, constraints, max(one.level for one in parsed), 0xFC | LENGTH_BYTES - 1])
        body = bytes([0xE0 | len(self.sps)]) + _joined(self.sps) + bytes([len(self.pps)]) + _joined(self.pps)
        more = bytes([0xFC | CHROMA_420, 0xF8, 0xF8, 0]) if profile in _WITH_CHROMA else b""
        return head + body + more


def _units(record: bytes, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    """`count` NAL units behind lengths of two bytes, and where they end."""
    found = []
    for _ in range(count):
        start = at + 2
        at = start + int.from_bytes(record[at:start], "big")
        if not start < at <= len(record):
            raise BitstreamError("the box of the parameter sets ends too early")
        found.append(record[start:at])
    return tuple(found), at


def _joined(units: Sequence[bytes]) -> bytes:
    return b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)
