"""Convolutions that are exact forward and cheap backward: where bfloat16 would cost rate or picture, but no learning.

A product in bfloat16 takes half the time of one in float32 on a CPU. Forward its error is quantization noise of the
codec; backward it is a thousandth of the noise that the crops of a batch bring.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def float_convolution(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, dtype: torch.dtype) -> Tensor:
    """Return layer(x) of x [B, C, h, w], float32; gradients are float32, too, and sums of products in `dtype`."""
    transposed = isinstance(layer, nn.ConvTranspose2d)
    shape = layer.stride, layer.padding, layer.dilation, transposed, layer.output_padding, layer.groups
    result: Tensor = _FloatConvolution.apply(x, layer.weight, layer.bias, shape, dtype)
    return result


class _FloatConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, shape: Any, dtype: torch.dtype) -> Tensor:
        ctx.shape = shape
        ctx.save_for_backward(x.to(dtype), weight)
        result: Tensor = torch.ops.aten.convolution(x, weight, bias, *shape)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        x, weight = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], True, False]
        to_x, to_weight, _ = torch.ops.aten.convolution_backward(
            grad.to(x.dtype), x, weight.to(x.dtype), None, *ctx.shape, wanted
        )
        return (to_x.float() if wanted[0] else None), to_weight.float(), grad.sum((0, 2, 3)), None, None
