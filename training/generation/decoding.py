"""Decoding packet by packet, passing over what is damaged and counting it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av


class Damage:
    """How many packets could not be decoded."""

    num_packets = 0


def decoded(container: Any, stream: Any, damage: Damage) -> Iterator[Any]:
    """Decode a stream to its end.

    Args:
        container: an open input.
        stream: one of its streams.
        damage: is counted up.

    Yields:
        Frames, in order.
    """
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # The file ends in the middle of something.
            damage.num_packets += 1
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            damage.num_packets += 1
