"""The information-theoretic regularizer: maximise H(X | X_hat) while training, at no cost afterwards.

Source: arXiv 2411.16727, eq. 12 (codec), eq. 13 (source entropy model), algorithm 1; see docs/training.md.

    codec:  min  R + lambda * 255^2 * MSE - alpha * H_theta(X | X_hat)
    theta:  min  H_theta(X | X_hat)

H_theta in bits per pixel. Both updates come out of one forward and one backward pass: X_hat enters q through an
identity whose backward multiplies by -alpha, and H_theta is added to the loss with weight one. theta then has the
gradient of eq. 13 whatever alpha is, the codec that of eq. 12.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from regcodec.config import BITS_PER_LOG_MSE, RegularizerConfig
from regcodec.training.running import RunningMeans
from regcodec.training.source_entropy import GaussianSource, MaskedSource, QuadtreeSource

SOURCES: dict[str, type[nn.Module]] = {"gaussian": GaussianSource, "masked": MaskedSource, "quadtree": QuadtreeSource}
"""The names of `config.SOURCE_MODELS`; `config.ALIGNED_SOURCE` says which is aligned with which architecture."""

MSE_SETTLED = 500  # samples of a lambda before its running MSE may stop a run


class _GradientScale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return grad * factor, None


class Regularizer(nn.Module):
    """Source entropy model, weight per lambda and the running MSE that ties alpha and r together."""

    def __init__(self, config: RegularizerConfig, lambdas: tuple[float, ...]) -> None:
        super().__init__()
        self.config = config
        self.source = SOURCES[config.source_model](**({"width": config.source_width} if config.source_width else {}))
        self.acting = True
        """Whether the term reaches the codec at this step; the source entropy model learns in any case."""
        self.window = 0
        self.register_buffer("lambdas", torch.tensor(lambdas, dtype=torch.float64), persistent=False)
        self.errors = RunningMeans(len(lambdas))
        if config.alpha:
            alphas = config.alpha * (len(lambdas) if len(config.alpha) == 1 else 1)
            self.register_buffer("fixed", torch.tensor(alphas, dtype=torch.float64), persistent=False)

    def at(self, step: int) -> None:
        """Let the term act at `step` (0-based), or not, as its schedule says, on the window whose turn it is."""
        config = self.config
        self.acting = config.from_step <= step and (not config.until_step or step < config.until_step)
        self.window = step % config.windows**2

    def alpha(self) -> Tensor:
        """Return alpha of each lambda, [Q]; with `ratio` it follows the running MSE."""
        if not self.acting:
            return torch.zeros_like(self.lambdas)
        if self.config.alpha:
            return self.fixed
        return self.config.ratio * self.distortion_weight() * self.errors.level / BITS_PER_LOG_MSE

    def ratio(self) -> Tensor:
        """Return r of each lambda, [Q]: the share by which the term lowers lambda."""
        if self.acting and not self.config.alpha:
            return torch.full_like(self.lambdas, self.config.ratio)
        return self.alpha() * BITS_PER_LOG_MSE / (self.lambdas * self.errors.level.clamp(min=1e-9))

    def distortion_weight(self) -> Tensor:
        """Return the lambda to train with, [Q]: lambda / (1 - r) where that is asked for."""
        if self.acting and self.config.ratio and self.config.compensate:
            return self.lambdas / (1 - self.config.ratio)
        return self.lambdas

    def forward(self, x: Tensor, x_hat: Tensor, quality: Tensor, share: Tensor) -> Tensor:
        """Return H_theta(X | X_hat) of each image in bits per pixel, [B], of the window; gradients as the module says.

        x [B, 3, H, W] integer levels and x_hat [B, 3, H, W], both on 0..255; share [B], what the codec's loss of each
        image weighs.
        """
        self.errors.take((x - x_hat.detach()).square().flatten(1).mean(1), quality)
        alpha = (self.alpha()[quality] * share).to(x_hat.dtype).view(-1, 1, 1, 1)
        rms = self.errors.level[quality].sqrt().to(x.dtype)
        x, x_hat = (self._windowed(t) for t in (x, x_hat))
        bits = self.source(x, _GradientScale.apply(x_hat, -alpha), rms)
        return bits.flatten(1).sum(1) / (x.shape[-2] * x.shape[-1])

    def _windowed(self, t: Tensor) -> Tensor:
        """Return the window of [B, 3, H, W] whose turn it is: the mean over all windows is that over the crop."""
        row, column = divmod(self.window, self.config.windows)
        height, width = (side // self.config.windows for side in t.shape[-2:])
        return t[..., row * height : (row + 1) * height, column * width : (column + 1) * width]

    def collapse(self) -> str | None:
        """Return why the run cannot go on when some r is above 1: the loss would then reward distortion."""
        seen = self.errors.seen.tolist()
        for value, images, lambda_ in zip(self.ratio().tolist(), seen, self.lambdas.tolist(), strict=True):
            if images >= MSE_SETTLED and value > 1:
                return (
                    f"--alpha is too large for lambda {lambda_:g}: r = {value:.2f} is above 1, so the loss rewards "
                    f"distortion. Give --ratio 0.1, or an alpha {value / 0.3:.0f} times smaller."
                )
        return None
