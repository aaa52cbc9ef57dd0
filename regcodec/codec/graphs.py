"""ONNX graphs of untrusted packs, looked at before onnxruntime is given them.

A graph may hold only operators whose result is about as large as what goes in, with weights that lie in the pack: no
files beside it, no loops, no functions, no constants that are larger than their bytes. That bounds what opening a pack
can do, not what decoding costs: a pack decides that, as a program would (docs/reliability.md).

Protocol buffers' wire format and the field numbers are those of onnx.proto (ONNX IR). Only `transforms` and `adjoint`
import this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from regcodec.errors import DamagedPackError

OPERATORS = {
    "Abs", "Add", "Cast", "Clip", "Concat", "Constant", "Conv", "ConvTranspose", "DepthToSpace", "DequantizeLinear",
    "Div", "Erf", "Exp", "Flatten", "Gather", "Gelu", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity",
    "LayerNormalization", "LeakyRelu", "Max", "Min", "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "ReduceMean", "Relu",
    "Reshape", "Shape", "Sigmoid", "Slice", "Softplus", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum",
    "Tanh", "Transpose", "Unsqueeze",
}  # fmt: skip
MOST_NODES = 1 << 14
MOST_GROWTH = 1 << 12
"""Product of all upsampling factors of a graph, along one axis."""
LARGEST_STEP = 64
"""Of strides, pads, dilations and kernel sides."""
ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8}
"""TensorProto.DataType -> bytes an element."""
SHORT = 1 << 12
"""Elements of a tensor whose values are not raw bytes."""


class Fixed(bytes):
    """Four or eight bytes of a number that is no varint."""


Value = int | memoryview | Fixed


def refuse_unsafe(model: bytes) -> None:
    """Raise `DamagedPackError` with what is not allowed in an ONNX model."""
    try:
        graph = graph_of(model)
        nodes, growth = 0, 1
        for number, value in message_fields(graph):
            if number == 1:
                nodes, growth = nodes + 1, growth * _node(_message(value))
            elif number == 5:
                _refuse_tensor(_message(value))
            elif number == 15:
                raise DamagedPackError("it has a sparse constant.")
            if nodes > MOST_NODES or growth > MOST_GROWTH:
                raise DamagedPackError(f"it has {nodes} operators that enlarge by {growth}.")
    except (IndexError, ValueError) as error:
        raise DamagedPackError("it is not an ONNX model.") from error


def graph_of(model: bytes) -> memoryview:
    """Return the GraphProto of an ONNX model, which has one and no functions or operators of its own."""
    (graph,) = [_message(value) for number, value in message_fields(memoryview(model)) if _model_field(number, value)]
    return graph


def _model_field(number: int, value: Value) -> bool:
    """Return whether a field of ModelProto is its graph."""
    if number in (20, 25):
        raise DamagedPackError("it has functions of its own.")
    if number == 8:  # opset_import
        domain = b"".join(bytes(_message(v)) for n, v in message_fields(_message(value)) if n == 1)
        if domain not in (b"", b"ai.onnx"):
            raise DamagedPackError(f"it has operators of {domain.decode('ascii', 'replace')}.")
    return number == 7


def _node(node: memoryview) -> int:
    """Refuse a node that is not allowed; return by how much it enlarges an axis."""
    operator, growth, attributes = "", 1, []
    for number, value in message_fields(node):
        if number == 4:
            operator = bytes(_message(value)).decode("ascii", "replace")
        elif number == 5:
            attributes.append(_attribute(_message(value)))
        elif number == 7 and bytes(_message(value)) not in (b"", b"ai.onnx"):
            raise DamagedPackError(f"it has operators of {bytes(_message(value)).decode('ascii', 'replace')}.")
    if operator not in OPERATORS:
        raise DamagedPackError(f"it has the operator {operator!r}.")
    for name, numbers in attributes:
        stepping = name in ("strides", "pads", "dilations", "kernel_shape", "output_padding", "blocksize")
        if name == "output_shape" or (stepping and any(abs(n) > LARGEST_STEP for n in numbers)):
            raise DamagedPackError(f"it has {operator} with {name} {list(numbers)}.")
        if (operator, name) in (("ConvTranspose", "strides"), ("DepthToSpace", "blocksize")):
            growth = max([growth, *numbers])
    return growth


def _attribute(attribute: memoryview) -> tuple[str, list[int]]:
    """Return an attribute's name and whole numbers; refuse graphs, types and sparse tensors in it."""
    name, numbers = "", []
    for number, value in message_fields(attribute):
        if number == 1:
            name = bytes(_message(value)).decode("ascii", "replace")
        elif number == 5:
            _refuse_tensor(_message(value))
        elif number in (3, 8):
            numbers += signed_integers(value)
        elif number in (6, 10, 11, 14, 15, 22, 23):
            raise DamagedPackError("it has a graph inside an operator.")
    return name, numbers


def _refuse_tensor(tensor: memoryview) -> None:
    dims: list[int] = []
    kind, raw = 0, None
    for number, value in message_fields(tensor):
        if number == 1:
            dims += signed_integers(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 9:
            raw = _message(value)
        elif number == 13 or (number == 14 and value != 0):
            raise DamagedPackError("it has weights in another file.")
    elements = prod(dims)
    if min(dims, default=0) < 0 or kind not in ITEM_BYTES:
        raise DamagedPackError(f"it has a constant of type {kind} and shape {dims}.")
    if elements > SHORT if raw is None else elements * ITEM_BYTES[kind] != len(raw):
        raise DamagedPackError(f"it has a constant of shape {dims} that has other bytes.")


def message_fields(message: Value) -> Iterator[tuple[int, Value]]:
    """Yield field numbers and values: integers for varints, `Fixed` for fixed numbers, bytes for all else.

    As strict as any reader of the format is: what one skips and another reads would be seen by one of them alone.
    """
    message, at = _message(message), 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if key >> 32 or number == 0:
            raise ValueError(f"field number {number}")
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if length > len(message) - at:
            raise ValueError("a field that ends beyond its message")
        field = message[at : at + length]
        yield number, field if wire == 2 else Fixed(field)
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return an unsigned integer of at most 64 bits and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a varint of more than ten bytes")


def _message(value: Value) -> memoryview:
    if not isinstance(value, memoryview):
        raise ValueError("a number where a message should be")
    return value


def signed_integers(value: Value) -> list[int]:
    """Return the signed 64-bit integers of a field, packed or not."""
    if isinstance(value, int):
        return [value - (1 << 64) if value >> 63 else value]
    packed = _message(value)
    numbers, at = [], 0
    while at < len(packed):
        number, at = _varint(packed, at)
        numbers += signed_integers(number)
    return numbers
