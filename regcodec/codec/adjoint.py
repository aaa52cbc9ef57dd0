"""The synthesis with its gradient, as one ONNX graph: reverse-mode differentiation without a training framework.

    y_hat, rate_bias -> x_hat                       the pack's graph, as it is
    target, visible, signs -> residual              e = (clip(x_hat, 0, 1) - target) * visible where 0 <= x_hat <= 1
    gradient = J^T (e + signs)                      J = d x_hat / d y_hat; so J^T e is the gradient of sum e^2 / 2

`target` and `signs` are of x_hat's shape, `visible` [1, 1, H, W]. What is added are nodes after those of the pack, one
rule for each operator on the way from y_hat to x_hat; weights are the pack's own. Protocol buffers merge a message
that is given twice, so that the pack's bytes need not be taken apart.

Field numbers are those of onnx.proto (ONNX IR). Only `transforms` imports this file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from regcodec.codec.graphs import Fixed, Value, graph_of, message_fields, signed_integers
from regcodec.errors import NoGradientError

Attribute = int | float | bytes | list[int]
FLOAT, INT64 = 1, 7
"""TensorProto.DataType."""
LATENT, PICTURE = "y_hat", "x_hat"
ADDED_INPUTS = ("target", "visible", "signs")
GRADIENT = "gradient"
STEEP = 1e30
"""A factor that takes what is above 0 above 1."""


@dataclass(frozen=True)
class Node:
    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Attribute] = field(default_factory=dict)


def with_gradient(model: bytes) -> bytes:
    """Return the ONNX model of a synthesis with the inputs and the output that are said above added.

    Raises `NoGradientError` where it has operators, or uses of them, that there is no rule for.
    """
    try:
        return model + _bytes_field(7, _gradient_of(model).graph())
    except (ArithmeticError, LookupError, TypeError, ValueError, struct.error) as error:
        raise NoGradientError(f"the pack's synthesis is not well formed ({error!r}).") from error


def _gradient_of(model: bytes) -> _Added:
    nodes = [_parsed(value) for number, value in message_fields(graph_of(model)) if number == 1]
    added = _Added()
    inside = added.node("Clip", [PICTURE, added.scalar(0.0), added.scalar(1.0)])
    kept = added.node("Cast", [added.node("Equal", [inside, PICTURE])], to=FLOAT)
    error = added.node("Mul", [added.node("Sub", [inside, "target"]), added.node("Mul", [kept, "visible"])])
    gradients = {PICTURE: added.node("Add", [error, "signs"])}
    from_latent = _depending(nodes)
    for node in reversed(nodes):
        if not from_latent.intersection(node.outputs):
            continue
        if node.operator not in _RULES:
            raise NoGradientError(f"there is no gradient of {node.operator}.")
        missing = [name for name in node.outputs if name not in gradients]
        if missing:
            raise NoGradientError(f"nothing depends on {missing[0]}, a result of {node.operator}.")
        if node.operator in ("Conv", "ConvTranspose") and from_latent.intersection(node.inputs[1:]):
            raise NoGradientError(f"there is no gradient of {node.operator} to its weights.")
        of_outputs = [gradients[name] for name in node.outputs]
        for name, gradient in zip(node.inputs, _RULES[node.operator](added, node, of_outputs), strict=False):
            if name in from_latent:
                so_far = gradients.get(name)
                gradients[name] = gradient if so_far is None else added.node("Add", [so_far, gradient])
    added.nodes.append(Node("Identity", [gradients[LATENT]], [GRADIENT]))
    return added


def _depending(nodes: Iterable[Node]) -> set[str]:
    """Return the values that depend on y_hat."""
    found = {LATENT}
    for node in nodes:
        if found.intersection(node.inputs):
            found.update(node.outputs)
    return found


class _Added:
    """Nodes and constants that a graph gets."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._constants: dict[str, bytes] = {}

    def node(self, operator: str, inputs: list[str], **attributes: Attribute) -> str:
        """Add a node and return its result."""
        return self.split(operator, inputs, 1, **attributes)[0]

    def split(self, operator: str, inputs: list[str], outputs: int, **attributes: Attribute) -> list[str]:
        """Add a node of several results and return them."""
        names = [f"adjoint.{len(self.nodes)}.{place}" for place in range(outputs)]
        self.nodes.append(Node(operator, inputs, names, attributes))
        return names

    def scalar(self, value: float) -> str:
        """Return the name of a number."""
        return self._constant(f"adjoint.constant {value!r}", FLOAT, [], struct.pack("<f", value))

    def integers(self, *values: int) -> str:
        """Return the name of a vector of whole numbers."""
        return self._constant(
            f"adjoint.constant {values!r}", INT64, [len(values)], struct.pack(f"<{len(values)}q", *values)
        )

    def shape(self, value: str, first: int, last: int) -> str:
        """Return the sides `first` to `last` - 1 of a value."""
        return self.node("Shape", [value], start=first, end=last)

    def graph(self) -> bytes:
        """Return a GraphProto to be merged with that of the pack."""
        constants = [_bytes_field(5, constant) for constant in self._constants.values()]
        inputs = [_bytes_field(11, _float_value(name)) for name in ADDED_INPUTS]
        nodes = [_bytes_field(1, _node_bytes(node)) for node in self.nodes]
        return b"".join([*nodes, *constants, *inputs, _bytes_field(12, _float_value(GRADIENT))])

    def _constant(self, name: str, kind: int, dims: list[int], raw: bytes) -> str:
        sides = b"".join(_integer_field(1, side) for side in dims)
        self._constants[name] = sides + _integer_field(2, kind) + _text_field(8, name) + _bytes_field(9, raw)
        return name


# One rule for each operator: gradients of the inputs from those of the outputs; for those that no latent reaches, any.
Rule = Callable[[_Added, Node, list[str]], list[str]]


def _conv(added: _Added, node: Node, gradients: list[str]) -> list[str]:
    """The same convolution with the kernel turned round and its channels exchanged."""
    sides, pads = _ints(node, "kernel_shape"), _ints(node, "pads")
    steps = [*_ints(node, "strides"), *_ints(node, "dilations"), node.attributes["group"]]
    if any(step != 1 for step in steps):
        raise NoGradientError("there is no gradient of a Conv with strides, dilations or groups.")
    kernel = added.node("Transpose", [node.inputs[1]], perm=[1, 0, 2, 3])
    if max(sides) > 1:
        back, ends = added.integers(-1, -1), added.integers(-(1 << 31), -(1 << 31))
        kernel = added.node("Slice", [kernel, back, ends, added.integers(2, 3), back])
    around = [side - 1 - pad for side, pad in zip(sides * 2, pads, strict=True)]
    if min(around) < 0:
        raise NoGradientError("there is no gradient of a Conv with borders wider than its kernel.")
    return [added.node("Conv", [gradients[0], kernel], kernel_shape=sides, pads=around)]


def _conv_transpose(added: _Added, node: Node, gradients: list[str]) -> list[str]:
    """What it is the transpose of."""
    kept = {name: node.attributes[name] for name in ("group", "dilations", "kernel_shape", "pads", "strides")}
    return [added.node("Conv", [gradients[0], node.inputs[1]], **kept)]


def _add(added: _Added, node: Node, gradients: list[str]) -> list[str]:
    return gradients * 2


def _mul(added: _Added, node: Node, gradients: list[str]) -> list[str]:
    first, second = node.inputs
    return [added.node("Mul", [gradients[0], second]), added.node("Mul", [gradients[0], first])]


def _sqrt(added: _Added, node: Node, gradients: list[str]) -> list[str]:
    (root,) = node.outputs
    return [added.node("Div", [gradients[0], added.node("Add", [root, root])])]


def _sigmoid(added: _Added, node: Node, gradients: list[str]) -> list[str]:
    (share,) = node.outputs
    slope = added.node("Sub", [share, added.node("Mul", [share, share])])
    return [added.node("Mul", [*gradients, slope])]


def _leaky_relu(added: _Added, node: Node, gradients: list[str]) -> list[str]:
    slope = node.attributes["alpha"] if node.operator == "LeakyRelu" else 0.0
    if not (isinstance(slope, float) and 0 <= slope <= 1):
        raise NoGradientError(f"there is no gradient of {node.operator} with the slope {slope!r}.")
    steep = added.node("Mul", [node.outputs[0], added.scalar(STEEP)])  # a third of the time of Greater and Where
    return [added.node("Mul", [gradients[0], added.node("Clip", [steep, added.scalar(slope), added.scalar(1.0)])])]


def _split(added: _Added, node: Node, gradients: list[str]) -> list[str]:
    _refuse_other_axis(node)
    return [added.node("Concat", gradients, axis=1)]


def _concat(added: _Added, node: Node, gradients: list[str]) -> list[str]:
    _refuse_other_axis(node)
    sizes = added.node("Concat", [added.shape(name, 1, 2) for name in node.inputs], axis=0)
    return added.split("Split", [gradients[0], sizes], len(node.inputs), axis=1)


def _depth_to_space(added: _Added, node: Node, gradients: list[str]) -> list[str]:
    if node.attributes.get("mode") != b"CRD":
        raise NoGradientError("there is a gradient of DepthToSpace in mode CRD alone.")
    (deep,), (side,) = node.inputs, _ints(node, "blocksize")
    batch, rows, columns = (added.shape(deep, axis, axis + 1) for axis in (0, 2, 3))
    blocks = added.integers(side)
    shape = added.node("Concat", [batch, added.integers(-1), rows, blocks, columns, blocks], axis=0)
    apart = added.node("Reshape", [gradients[0], shape])
    turned = added.node("Transpose", [apart], perm=[0, 1, 3, 5, 2, 4])
    return [added.node("Reshape", [turned, added.shape(deep, 0, 4)])]


_RULES: dict[str, Rule] = {
    "Add": _add,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthToSpace": _depth_to_space,
    "LeakyRelu": _leaky_relu,
    "Mul": _mul,
    "Relu": _leaky_relu,
    "Sigmoid": _sigmoid,
    "Split": _split,
    "Sqrt": _sqrt,
}


def _refuse_other_axis(node: Node) -> None:
    if node.attributes.get("axis", 0) != 1:
        raise NoGradientError(f"there is a gradient of {node.operator} along the channels alone.")


def _ints(node: Node, name: str) -> list[int]:
    values = node.attributes[name]
    return values if isinstance(values, list) else [int(values)]


def _parsed(message: Value) -> Node:
    node = Node("", [], [])
    operator = ""
    for number, value in message_fields(message):
        if number in (1, 2):
            (node.inputs if number == 1 else node.outputs).append(_text(value))
        elif number == 4:
            operator = _text(value)
        elif number == 5:
            name, attribute = _parsed_attribute(value)
            node.attributes[name] = attribute
    return Node(operator, node.inputs, node.outputs, node.attributes)


def _parsed_attribute(message: Value) -> tuple[str, Attribute]:
    name, integers = "", []
    single: Attribute | None = None
    for number, value in message_fields(message):
        if number == 1:
            name = _text(value)
        elif number == 2 and isinstance(value, Fixed):
            (single,) = struct.unpack("<f", value)
        elif number == 3:
            (single,) = signed_integers(value)
        elif number == 4 and not isinstance(value, int):
            single = bytes(value)
        elif number == 8:
            integers += signed_integers(value)
    return name, integers if single is None else single


def _text(value: Value) -> str:
    return "" if isinstance(value, int) else bytes(value).decode("utf-8", "replace")


def _node_bytes(node: Node) -> bytes:
    attributes = [_bytes_field(5, _attribute_bytes(name, value)) for name, value in node.attributes.items()]
    names = [_text_field(1, name) for name in node.inputs] + [_text_field(2, name) for name in node.outputs]
    return b"".join([*names, _text_field(4, node.operator), *attributes])


def _attribute_bytes(name: str, value: Attribute) -> bytes:
    if isinstance(value, list):
        return _text_field(1, name) + b"".join(_integer_field(8, each) for each in value) + _integer_field(20, 7)
    if isinstance(value, int):
        return _text_field(1, name) + _integer_field(3, value) + _integer_field(20, 2)
    raise TypeError(f"attribute {name}: {value!r}")


def _float_value(name: str) -> bytes:
    """Return a ValueInfoProto: four axes of any length."""
    shape = b"".join(_bytes_field(1, b"") for _ in range(4))
    tensor = _integer_field(1, FLOAT) + _bytes_field(2, shape)
    return _text_field(1, name) + _bytes_field(2, _bytes_field(1, tensor))


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _integer_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _bytes_field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _text_field(number: int, value: str) -> bytes:
    return _bytes_field(number, value.encode())
