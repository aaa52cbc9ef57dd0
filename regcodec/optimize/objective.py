"""R + lambda D of a tile as a differentiable function of its latents, on the decoder exactly as the pack holds it.

    v   [1, M, 4h, 4w]  g * y, in quantization steps          u   [1, N, h, w]  (z - median) / z_step
    bits                estimated bits of z and y; a Gaussian of the context's scale and mean, floor 2^-24 as the tables
                        (which may be up to a percent cheaper, where an export shaped them)
    distortion          lambda * squared error of the window, in bits: the same unit as 8 * bytes of the file
    values              [1, M, 4h, 4w]  symbol + mean of every element, in steps: what v may be replaced by
    squares             [1, 1, 2h, 2w]  bits + distortion of each square of 2x2 latents

The network is `training.restore`'s: h_s and the context in float with the weights of the integers. Gain, step of z,
medians, thresholds and offsets are the pack's integers. A quantizer decides about symbols inside the walk, so that
a context model goes on from what was decided, as the decoder will:

    quantizer(part, v, mean, scale) -> symbols, bits of each        part: of which positions (`walks.Part`)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from regcodec.codec.model import Model
from regcodec.optimize.walks import Code, Coded, Decided, Part, walk_of
from regcodec.training.networks.latents import LatentCodec, interval
from regcodec.training.scales import SCALES

LEAST = 2.0**-24
"""Least probability that a table has."""
Quantizer = Callable[[Part, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Window:
    """The pixels that a tile is judged by, and the latents around it, which stay as they are."""

    target: Tensor
    """[1, 3, H, W] on 0..1."""
    visible: Tensor
    """[1, 1, H, W], 1 where the picture is and 0 in its padding."""
    around: Tensor
    """y_hat of the window, [1, M, H/16, W/16]; that of the core is replaced."""
    core: tuple[slice, slice]
    """Rows and columns of the core in `around`."""
    grey: bool


@dataclass(frozen=True)
class Walked:
    bits: Tensor
    distortion: Tensor
    values: Tensor
    squares: Tensor
    """R + lambda D in bits of every square of 2x2 latents, [1, 1, 2h, 2w], without gradient: the bits of its y, its
    share of those of z, and the error of its pixels, at the edge of the core of those beside it too."""

    @property
    def total(self) -> Tensor:
        """R + lambda D in bits."""
        return self.bits + self.distortion


class Objective:
    """A function of v and u; `bfloat16` for the synthesis: in it means would be off by half a step."""

    def __init__(
        self, network: LatentCodec, model: Model, row: int, lambda_: float, window: Window, *, bfloat16: bool
    ) -> None:
        device = window.target.device
        rate, entropy = model.rates.rate(row), model.entropy
        self.network, self.window, self.bfloat16 = network, window, bfloat16
        self.gain = rate.gain / (1 << entropy.gain_bits)
        self.z_step = rate.z_step / (1 << entropy.z_bits)
        self.medians = _column(entropy.medians / (1 << entropy.z_bits)).to(device)
        self.error_bits = lambda_ * 255**2 / (1 if window.grey else 3)
        """Bits for a squared error of one in one sample on 0..1."""
        bias = model.rates.bias("synthesis", row)
        self.rate_bias = () if bias is None else (torch.from_numpy(bias).to(device),)
        self.context_bias: Tensor | None = None
        if rate.context_bias.size:
            bits = model.pack.codec["entropy"]["context"]["layers"][0]["output_bits"]
            self.context_bias = _column(rate.context_bias / (1 << bits)).to(device)
        unit = 1 << entropy.parameter_bits
        self.thresholds = torch.from_numpy(entropy.thresholds / unit).float().to(device)
        self.offsets = torch.from_numpy(rate.offsets / unit).float().to(device) if rate.offsets.any() else None

    def start(self, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return v and u of real latents [M, 4h, 4w] and [N, h, w]."""
        return y[None] * self.gain, (z[None] - self.medians) / self.z_step

    def latents(self, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Return y and z: the inverse of `start`."""
        return v[0] / self.gain, (u * self.z_step + self.medians)[0]

    def __call__(self, v: Tensor, u: Tensor, quantize_y: Quantizer, quantize_z: Callable[[Tensor], Tensor]) -> Walked:
        of_z, y = self._decided(v, u, quantize_y, quantize_z)
        errors = self.squared_errors(y.y_hat)
        share = nn.functional.interpolate(of_z.detach().sum(1, keepdim=True), scale_factor=2) / 4
        squares = y.squares + share + self.error_bits * self._by_squares(errors.detach())
        return Walked(of_z.sum() + y.bits, self.error_bits * errors.sum(), y.values.detach(), squares)

    def walk(
        self, v: Tensor, u: Tensor, quantize_y: Quantizer, quantize_z: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the bits of z and y, y_hat [1, M, 4h, 4w] as the decoder has it, and `Walked.values`."""
        of_z, y = self._decided(v, u, quantize_y, quantize_z)
        return of_z.sum() + y.bits, y.y_hat, y.values

    def _decided(
        self, v: Tensor, u: Tensor, quantize_y: Quantizer, quantize_z: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Decided]:
        return self._walk(quantize_z(u), lambda part, parameters: self._code(part, part(v), parameters, quantize_y))

    @torch.no_grad()
    def scales(self, v: Tensor, u: Tensor) -> Tensor:
        """Return the scale of every element [1, M, 4h, 4w], in steps, where every symbol is the nearest one.

        As the network has it: below the coder's least scale, and below 0 too, whatever training left.
        """

        def code(part: Part, parameters: Tensor) -> Coded:
            return self._code(part, part(v), parameters, nearest)._replace(values=self._moments(parameters)[0])

        return self._walk(u.round(), code)[1].values

    def _walk(self, of_u: Tensor, code: Code) -> tuple[Tensor, Decided]:
        """Return the bits of every element of z, and y."""
        z_hat = of_u * self.z_step + self.medians
        step = torch.full((1, 1, 1, 1), self.z_step, device=of_u.device)
        of_z = code_length(interval(self.network.entropy_bottleneck, z_hat, step))
        return of_z, walk_of(self.network)(self.network, self.network.h_s(z_hat), code, self.context_bias)

    @torch.no_grad()
    def cost_of_nearest(self, v: Tensor, u: Tensor) -> float:
        """Return R + lambda D in bits where every symbol is the nearest one, as the encoder decides."""
        return self(v, u, nearest, rounded).total.item()

    def squared_errors(self, y_hat: Tensor) -> Tensor:
        """Return the squared error on 0..1 that y_hat in the core gives in every sample of the window."""
        judged = self.judged(y_hat)
        return (judged - self.window.target[:, : judged.shape[1]]).square() * self.window.visible

    def _by_squares(self, errors: Tensor) -> Tensor:
        """Return the sums of `errors` over the pixels of every square; around the core, the nearest one has them."""
        latent = errors.shape[-1] // self.window.around.shape[-1]
        sums = latent**2 * nn.functional.avg_pool2d(errors.sum(1, keepdim=True), latent)
        for dimension, core in zip((2, 3), self.window.core, strict=True):
            count = (core.stop - core.start) // 2
            nearest_square = (torch.arange(sums.shape[dimension], device=sums.device) - core.start) // 2
            shape = [*sums.shape[:dimension], count, *sums.shape[dimension + 1 :]]
            sums = sums.new_zeros(shape).index_add(dimension, nearest_square.clamp(0, count - 1), sums)
        return sums

    def judged(self, y_hat: Tensor) -> Tensor:
        """Return the window on 0..1 that y_hat in the core gives, [1, 3, H, W] or of a grey picture [1, 1, H, W]."""
        return self.unclamped(y_hat).clamp(0, 1)

    def unclamped(self, y_hat: Tensor) -> Tensor:
        """Return `judged` before values are clamped to 0..1."""
        return self._colours(self._synthesis(self._around(y_hat)))

    def _around(self, y_hat: Tensor) -> Tensor:
        whole = self.window.around.clone()
        whole[:, :, self.window.core[0], self.window.core[1]] = y_hat
        return whole

    def _colours(self, x_hat: Tensor) -> Tensor:
        return x_hat.mean(1, keepdim=True) if self.window.grey else x_hat

    def _synthesis(self, y_hat: Tensor) -> Tensor:
        with torch.autocast(y_hat.device.type, dtype=torch.bfloat16, enabled=self.bfloat16):
            x_hat: Tensor = self.network.g_s(y_hat, *self.rate_bias)
        return x_hat.float()

    def _code(self, part: Part, v: Tensor, parameters: Tensor, quantize: Quantizer) -> Coded:
        scale, mean = self._moments(parameters)
        symbols, lengths = quantize(part, v, mean, scale)
        values = symbols + mean
        return Coded(lengths, values, (values - self._moved(symbols, scale)) / self.gain)

    def _moments(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        scale, mean = (parameters * self.gain).chunk(2, 1)
        return scale, mean

    def _moved(self, symbols: Tensor, scale: Tensor) -> Tensor | float:
        if self.offsets is None:
            return 0.0
        index = torch.bucketize(scale.detach().contiguous(), self.thresholds, right=True)
        return symbols.clamp(-1, 1) * self.offsets[index]


def nearest(part: Part, v: Tensor, mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest symbols and their code lengths: the quantizer of the plain pass, without gradient."""
    symbols = (v - mean).round()
    return symbols, gaussian_bits(symbols, scale)


def gaussian_bits(symbols: Tensor, scale: Tensor) -> Tensor:
    """Return the code length of each symbol (real ones too) under a zero-mean Gaussian of `scale` over unit bins."""
    away, width = symbols.abs(), scale.clamp(min=float(SCALES[0])) * 2**0.5
    return code_length(0.5 * (torch.erfc((away - 0.5) / width) - torch.erfc((away + 0.5) / width)))


def code_length(probability: Tensor) -> Tensor:
    """Return -log2, at most 24 bits; below the floor the gradient still leads back to likely symbols."""
    lengths: Tensor = -torch.log2(_Floor.apply(probability))
    return lengths


class _Floor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probability: Tensor) -> Tensor:
        ctx.save_for_backward(probability)
        return probability.clamp(min=LEAST)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (probability,) = ctx.saved_tensors
        return gradient * ((probability >= LEAST) | (gradient < 0))


def rounded(u: Tensor) -> Tensor:
    """Return u rounded, with the gradient of u."""
    return u + (u.round() - u).detach()


def _column(values: Any) -> Tensor:
    return torch.from_numpy(values).float().view(1, -1, 1, 1)
