"""What of a source's picture a result cannot keep, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from duikou.bounds import Text
from duikou.media import hdr
from duikou.media.picture import Picture


@dataclass(frozen=True)
class Loss:
    """Something that a result lacks. code: a stable word such as `tone_mapped`. message: one sentence for people."""

    code: Annotated[str, Text(40, "[a-z_]+")]
    message: Annotated[str, Text(1000)]


def losses(source: Picture) -> tuple[Loss, ...]:
    """What a result lacks of a source that is stored like this."""
    keeps_hdr = hdr.encodable()
    target = source.encoded(keeps_hdr=keeps_hdr)
    name = hdr.NAMES.get(source.transfer, "BT.709")
    if source.is_hdr and not keeps_hdr:
        message = f"the video is {name}; the result is tone-mapped to BT.709, as nothing here encodes HEVC"
        return (Loss("tone_mapped", message),)
    found = []
    if source.light.dynamic:
        kinds = " and ".join(source.light.dynamic)
        found.append(
            Loss("dynamic_metadata", f"the result keeps the video's {name} picture without the data of {kinds}")
        )
    if target.bits < source.bits:
        message = f"the video has {source.bits} bits in each channel; the result has {target.bits}"
        found.append(Loss("fewer_bits", message))
    return tuple(found)
