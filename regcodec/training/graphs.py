"""The float transforms as ONNX graphs with dynamic size; small weights, widened on load.

    analysis        x [1, 3, 64h, 64w] -> y [1, M, 4h, 4w]
    hyper analysis  y [1, M, 4h, 4w] -> z [1, Z, h, w]
    synthesis       y_hat [1, M, h, w] -> x_hat [1, 3, 16h, 16w]

Analysis and synthesis of a network that is told the rate have a second input, rate_bias [1, N, 1, 1].

Weights are in half precision; those of the hyper analysis, whose output is rounded coarsely, and of the branches of
residual blocks have 8 bits and a scale for each output channel. (With 8 bits the 3x3 layers of PartialBlocks, which are
not in their branches, cost 0.4 dB on smooth pictures.) Initializers keep the names of CompressAI's state dict
(g_a.0.weight, ..., g_a.1.beta, g_a.1.gamma), with beta and gamma as the normalisation uses them. Equal weights give
equal bytes: nothing of the exporter's own (names, traces) is kept.
"""

from __future__ import annotations

import copy
import io
import warnings

import numpy as np
import numpy.typing as npt
import onnx
import torch
from compressai.layers import GDN
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from regcodec.training.networks.latents import LatentCodec
from regcodec.training.rounding import coarse_layers, grid

OPSET = 18
RATE_BIAS = "rate_bias"
_TRACED = 2  # blocks of the traced example, a side; any other size follows


class PlainGDN(nn.Module):
    """Generalized divisive normalisation with beta and gamma as they are used (Balle et al. 2016)."""

    def __init__(self, layer: GDN) -> None:
        super().__init__()
        self.inverse = bool(layer.inverse)
        channels = layer.beta.shape[0]
        self.beta = nn.Parameter(layer.beta_reparam(layer.beta).detach())
        self.gamma = nn.Parameter(layer.gamma_reparam(layer.gamma).detach().reshape(channels, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        norm = nn.functional.conv2d(x * x, self.gamma, self.beta).sqrt()
        return x * norm if self.inverse else x / norm


class _Analysis(nn.Module):
    def __init__(self, network: LatentCodec) -> None:
        super().__init__()
        self.g_a = plain(network.g_a)

    def forward(self, x: Tensor, *rate_bias: Tensor) -> Tensor:
        return self.g_a(x, *rate_bias)


class _HyperAnalysis(nn.Module):
    def __init__(self, network: LatentCodec) -> None:
        super().__init__()
        self.h_a = plain(network.h_a)

    def forward(self, y: Tensor) -> Tensor:
        return self.h_a(y)


class _Synthesis(nn.Module):
    def __init__(self, network: LatentCodec) -> None:
        super().__init__()
        self.g_s = plain(network.g_s)

    def forward(self, y_hat: Tensor, *rate_bias: Tensor) -> Tensor:
        return self.g_s(y_hat, *rate_bias)


def plain(transform: nn.Sequential) -> nn.Sequential:
    """Return a copy whose normalisations carry their effective parameters."""
    copied = copy.deepcopy(transform).to(memory_format=torch.contiguous_format)
    for name, layer in list(copied.named_modules()):
        if isinstance(layer, GDN):
            copied.set_submodule(name, PlainGDN(layer))
    return copied


def export_graphs(network: LatentCodec, *, fine: bool = False) -> dict[str, bytes]:
    """Return the pack members analysis.onnx, hyper_analysis.onnx and synthesis.onnx; `fine` has no 8-bit weights."""
    M = network.config.M
    image = torch.zeros(1, 3, 64 * _TRACED, 64 * (_TRACED + 1))
    latent = torch.zeros(1, M, 4 * _TRACED, 4 * (_TRACED + 1))
    coarse = frozenset() if fine else frozenset(f"{name}.weight" for name in coarse_layers(network))
    told = (torch.zeros(1, network.config.N, 1, 1),) if network.config.rate_bias else ()
    return {
        "analysis.onnx": _export(_Analysis(network), (image, *told), 64, "x", ["y"], coarse),
        "hyper_analysis.onnx": _export(_HyperAnalysis(network), (latent,), 4, "y", ["z"], coarse),
        "synthesis.onnx": _export(_Synthesis(network), (latent, *told), 1, "y_hat", ["x_hat"], coarse),
    }


def _export(
    module: nn.Module,
    example: tuple[Tensor, ...],
    multiple: int,
    input_name: str,
    outputs: list[str],
    coarse: frozenset[str],
) -> bytes:
    sides = {2: multiple * torch.export.Dim("height"), 3: multiple * torch.export.Dim("width")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own future
        program = torch.onnx.export(
            module.eval(),
            example,
            dynamo=True,
            dynamic_shapes=(sides, *([({},)] if example[1:] else [])),
            opset_version=OPSET,
            input_names=[input_name, RATE_BIAS][: len(example)],
            output_names=outputs,
            verbose=False,
        )
    buffer = io.BytesIO()
    program.save(buffer)
    model = onnx.load_from_string(buffer.getvalue())
    return _clean(model, coarse).SerializeToString(deterministic=True)


def _clean(model: onnx.ModelProto, coarse: frozenset[str]) -> onnx.ModelProto:
    """Return the same computation with plain names, small weights, and nothing that only describes it.

    The weights named in `coarse` get 8 bits.
    """
    names: dict[str, str] = {value.name: value.name for value in (*model.graph.input, *model.graph.output)}
    weights = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    nodes, initializers = [], []
    for place, (name, value) in enumerate(sorted(weights.items())):
        names[name] = name if "." in name else f"c{place}"
        if value.dtype == np.float32 and value.size > 1:
            stored, node = (_eight_bit if names[name] in coarse else _half)(names[name], value)
            initializers += stored
            nodes.append(node)
        else:
            initializers.append(numpy_helper.from_array(value, names[name]))
    for number, node in enumerate(model.graph.node):
        for place, output in enumerate(node.output):
            names.setdefault(output, f"t{number}_{place}" if place else f"t{number}")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        renamed = [names.get(i, i) for i in node.input]
        nodes.append(helper.make_node(node.op_type, renamed, [names[o] for o in node.output], **attributes))
    graph = helper.make_graph(
        nodes,
        "regcodec",
        [_interface(v) for v in model.graph.input],
        [_interface(v) for v in model.graph.output],
        initializers,
    )
    opsets = [helper.make_opsetid("", model.opset_import[0].version)]
    cleaned = helper.make_model(graph, opset_imports=opsets, ir_version=min(model.ir_version, 10))
    onnx.checker.check_model(cleaned)
    return cleaned


def _interface(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    channels = value.type.tensor_type.shape.dim[1].dim_value
    sides = [1, 1] if value.name == RATE_BIAS else [f"{value.name}_height", f"{value.name}_width"]
    return helper.make_tensor_value_info(value.name, TensorProto.FLOAT, [1, channels, *sides])


def _half(name: str, value: npt.NDArray[np.float32]) -> tuple[list[onnx.TensorProto], onnx.NodeProto]:
    stored = numpy_helper.from_array(value.astype(np.float16), f"{name}.half")
    return [stored], helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT)


def _eight_bit(name: str, value: npt.NDArray[np.float32]) -> tuple[list[onnx.TensorProto], onnx.NodeProto]:
    """Return integers of 8 bits with a scale for each output channel."""
    scale = grid(value)
    integers = np.rint(value / scale[:, None, None, None]).astype(np.int8)
    stored = [numpy_helper.from_array(integers, f"{name}.int8"), numpy_helper.from_array(scale, f"{name}.scale")]
    return stored, helper.make_node("DequantizeLinear", [s.name for s in stored], [name], axis=0)


def graph_weights(graph: bytes) -> dict[str, npt.NDArray[np.float32]]:
    """Return the weights of a graph under their names, widened to float32."""
    model = onnx.load_from_string(graph)
    stored = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    weights = {}
    for name, value in stored.items():
        plain, _, kind = name.rpartition(".")
        if kind == "int8":
            weights[plain] = value.astype(np.float32) * stored[f"{plain}.scale"][:, None, None, None]
        elif kind == "half":
            weights[plain] = value.astype(np.float32)
        elif kind != "scale":
            weights[name] = value.astype(np.float32)
    return weights
