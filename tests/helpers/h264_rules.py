"""Checks an H.264 track in an mp4 against rules of ITU-T H.264, as a strict decoder would.

FFmpeg's `trace_headers` reads every parameter set and slice header, so nothing here depends on duikou's own reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.logging
from av.bitstream import BitStreamFilterContext
from av.packet import Packet

_FIELD = re.compile(r"(\d+)\s+(\S+)\s+[01]*\s*= (-?\d+)")
_TITLES = {"Sequence Parameter Set": "sps", "Picture Parameter Set": "pps", "Slice Header": "slice"}
_IDR, _SLICE, _SEI, _SPS, _PPS, _DELIMITER = 5, 1, 6, 7, 8, 9
Header = Mapping[str, int]


@dataclass(frozen=True)
class AccessUnit:
    """One packet. slices: their headers. types: of its NAL units, in order."""

    data: bytes
    pts: int
    dts: int
    is_key: bool
    slices: list[Header]
    types: list[int]

    @property
    def is_idr(self) -> bool:
        return self.slices[0]["nal_unit_type"] == _IDR

    @property
    def picture_set(self) -> int:
        return self.slices[0]["pic_parameter_set_id"]


@dataclass(frozen=True)
class Track:
    """The headers of a track. sps, pps: by their ids."""

    sps: dict[int, Header]
    pps: dict[int, Header]
    units: list[AccessUnit] = field(default_factory=list)

    def sps_of(self, unit: AccessUnit) -> Header:
        return self.sps[self.pps[unit.picture_set]["seq_parameter_set_id"]]


def read_track(path: Path) -> Track:
    """Read all headers of a file."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.open(str(path)) as file:
            stream = file.streams.video[0]
            with av.logging.Capture() as logs:
                headers = BitStreamFilterContext("trace_headers", in_stream=stream)
            track = Track({}, {})
            for kind, values in _headers(logs):
                if kind == "sps":
                    assert values["seq_parameter_set_id"] not in track.sps, "two sets have one id"
                    track.sps[values["seq_parameter_set_id"]] = values
                if kind == "pps":
                    assert values["pic_parameter_set_id"] not in track.pps, "two sets have one id"
                    track.pps[values["pic_parameter_set_id"]] = values
            for packet in file.demux(stream):
                if packet.size:
                    track.units.append(_unit(packet, headers))
    finally:
        av.logging.set_level(level)
    return track


def _unit(packet: Packet[Any], headers: BitStreamFilterContext) -> AccessUnit:
    data, types, at = bytes(packet), [], 0
    while at < len(data):
        types.append(data[at + 4] & 31)
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    assert at == len(data)
    pts, dts, key = packet.pts, packet.dts, packet.is_keyframe
    assert pts is not None
    assert dts is not None
    with av.logging.Capture() as logs:
        headers.filter(packet)
    return AccessUnit(data, pts, dts, key, [values for kind, values in _headers(logs) if kind == "slice"], types)


def _headers(logs: list[tuple[int, str, str]]) -> list[tuple[str, Header]]:
    """Kinds of headers and their fields; of fields that repeat, the last one."""
    found: list[tuple[str, dict[str, int]]] = []
    values: dict[str, int] = {}
    for level, _, line in logs:
        assert level >= av.logging.WARNING, line
        one = _FIELD.match(line)
        if one:
            values[one[2]] = int(one[3])
        elif not line.startswith("Packet"):
            values = {}
            found.append((_TITLES.get(line.strip(), ""), values))
    return [(kind, values) for kind, values in found if kind]


def check(track: Track) -> None:
    """Check the rules of a whole track."""
    _check_sets(track)
    assert track.units[0].is_idr, "the track does not begin with an IDR picture"
    for unit in track.units:
        _check_unit(unit)
    for before, unit in zip(track.units, track.units[1:], strict=False):
        assert before.dts < unit.dts, "decoding times do not rise"
        if unit.is_idr and before.is_idr:  # 7.4.1.2.4
            assert before.slices[0]["idr_pic_id"] != unit.slices[0]["idr_pic_id"], "two IDR pictures look like one"
        if not unit.is_idr:
            assert track.sps_of(before) is track.sps_of(unit), "the parameter set changes without an IDR picture"
    assert len({unit.pts for unit in track.units}) == len(track.units)
    latest = -1 << 62
    for sequence in sequences(track):
        assert latest < min(unit.pts for unit in sequence), "pictures of two sequences are mixed in time"
        latest = max(unit.pts for unit in sequence)
        _check_sequence(track.sps_of(sequence[0]), sequence)


def sequences(track: Track) -> Iterator[list[AccessUnit]]:
    """The coded video sequences: from one IDR picture up to the next."""
    starts = [number for number, unit in enumerate(track.units) if unit.is_idr]
    for start, stop in zip(starts, [*starts[1:], len(track.units)], strict=True):
        yield track.units[start:stop]


def _check_sets(track: Track) -> None:
    for one in track.pps.values():
        assert one["seq_parameter_set_id"] in track.sps, "a set refers to a missing one"
    shared = {
        tuple(
            one.get(name, 0)
            for name in (
                *("profile_idc", "chroma_format_idc", "bit_depth_luma_minus8", "pic_width_in_mbs_minus1"),
                *("pic_height_in_map_units_minus1", "frame_mbs_only_flag", "frame_crop_right_offset"),
                *("frame_crop_bottom_offset", "video_full_range_flag"),
            )
        )
        for one in track.sps.values()
    }
    assert len(shared) == 1, f"the parameter sets differ: {shared}"
    colours = {
        tuple(one.get(name, 2) for name in ("colour_primaries", "transfer_characteristics", "matrix_coefficients"))
        for one in track.sps.values()
    }
    assert len(colours) == 1, f"the colours differ: {colours}"
    buffered = {one["max_dec_frame_buffering"] for one in track.sps.values() if "max_dec_frame_buffering" in one}
    assert len(buffered) <= 1 or min(buffered) == 0, f"the sizes of the buffer differ: {buffered}"  # C.4.4


def _check_unit(unit: AccessUnit) -> None:
    """One picture in an order of NAL units that 7.4.1.2.3 allows."""
    first = unit.slices[0]
    assert first["first_mb_in_slice"] == 0, "a picture begins in its middle"
    for one in unit.slices[1:]:
        for name in ("nal_unit_type", "frame_num", "pic_parameter_set_id", "idr_pic_id", "pic_order_cnt_lsb"):
            assert one.get(name) == first.get(name), f"slices of one picture differ in {name}"
    begins = min(unit.types.index(kind) for kind in (_IDR, _SLICE) if kind in unit.types)
    for kind in (_SEI, _DELIMITER, _SPS, _PPS):
        assert kind not in unit.types[begins:], "a header stands behind the picture"
    assert unit.dts <= unit.pts
    if unit.is_idr:
        assert first["frame_num"] == 0
        assert unit.is_key


def _check_sequence(sps: Header, sequence: list[AccessUnit]) -> None:
    """Frame numbers without gaps, references that exist, and an order of pictures that is that of their times."""
    numbers = 1 << sps["log2_max_frame_num_minus4"] + 4
    referenced = references = 0
    for unit in sequence:
        head = unit.slices[0]
        if not unit.is_idr:
            number = head["frame_num"]
            assert number == (referenced + 1) % numbers, f"frame_num is {number} behind {referenced}"  # 7.4.3
            predicted = any(one["slice_type"] % 5 in (0, 1) for one in unit.slices)
            assert references > 0 or not predicted, "a picture refers to one that is missing"
        if head["nal_ref_idc"] > 0:
            referenced = head["frame_num"]
            references = 1 if unit.is_idr else references + 1
    match sps["pic_order_cnt_type"]:
        case 0:
            orders = _orders_by_numbers(1 << sps["log2_max_pic_order_cnt_lsb_minus4"] + 4, sequence)
        case 2:
            orders = _orders_of_decoding(numbers, sequence)
        case other:
            raise AssertionError(f"the picture order count has type {other}")
    assert len(set(orders)) == len(orders), "two pictures have one order"
    times = [unit.pts for unit in sequence]
    assert sorted(range(len(orders)), key=orders.__getitem__) == sorted(range(len(times)), key=times.__getitem__)


def _orders_by_numbers(most: int, sequence: list[AccessUnit]) -> list[int]:
    """Picture order counts of type 0 (8.2.1.1). most: where the numbers in the slices begin anew."""
    orders: list[int] = []
    lsb_before = msb_before = 0
    for unit in sequence:
        lsb, msb = unit.slices[0]["pic_order_cnt_lsb"], 0 if unit.is_idr else msb_before
        if not unit.is_idr and lsb_before - lsb >= most // 2:
            msb += most
        elif not unit.is_idr and lsb - lsb_before > most // 2:
            msb -= most
        orders.append(msb + lsb)
        if unit.slices[0]["nal_ref_idc"] > 0:
            lsb_before, msb_before = lsb, msb
    return orders


def _orders_of_decoding(numbers: int, sequence: list[AccessUnit]) -> list[int]:
    """Picture order counts of type 2 (8.2.1.3). numbers: where frame numbers begin anew."""
    orders: list[int] = []
    offset = before = 0
    for unit in sequence:
        number = unit.slices[0]["frame_num"]
        offset += numbers if number < before else 0
        before = number
        orders.append(2 * (offset + number) - (unit.slices[0]["nal_ref_idc"] == 0))
    return orders
