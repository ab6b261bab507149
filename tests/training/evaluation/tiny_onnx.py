"""An ONNX file written by hand: one `Flatten`, so that what a network is given can be read off.

The package `onnx` is not installed; the few fields of its protobuf messages are enough here.
"""

from __future__ import annotations

from pathlib import Path

_FLOAT, _INT_ATTRIBUTE = 1, 2


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, data: bytes | str) -> bytes:
    data = data.encode() if isinstance(data, str) else data
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _value(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_message(1, _number(1, size)) for size in shape)
    tensor = _number(1, _FLOAT) + _message(2, dims)
    return _message(1, name) + _message(2, _message(1, tensor))


def write_flattening_model(path: Path, side_px: int) -> None:
    """Write a model that returns its picture as one row."""
    axis = _message(1, "axis") + _number(3, 1) + _number(20, _INT_ATTRIBUTE)
    node = _message(1, "picture") + _message(2, "row") + _message(4, "Flatten") + _message(5, axis)
    graph = (
        _message(1, node)
        + _message(2, "tiny")
        + _message(11, _value("picture", (1, 3, side_px, side_px)))
        + _message(12, _value("row", (1, 3 * side_px * side_px)))
    )
    path.write_bytes(_number(1, 8) + _message(7, graph) + _message(8, _number(2, 13)))
