"""More latent channels for a trained res-hyper or res-context, which goes on as the codec that it was.

M channels of y in blocks of 16x16 pixels keep M of 768 dimensions. What the trained transforms lose is regressed on
what the last layer of g_a sees; the principal components of the fit become the new channels:

    f [768]  2x2 positions of g_a's trunk        r [768]  x - g_s(y) of the block         r ~ B f
    U        components of B f                    new rows of g_a: U^T B / step

step is the quantization step of `start`. The entropy model begins with each new channel's mean and a share of its
deviation. Nothing reads the new channels yet: g_s, h_a and the context learn to. Every group of the quadtree context
keeps its channels and gets as many new ones. A network that is told the rate is told the middle one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from regcodec.exact.context import GROUPS
from regcodec.training.networks.latents import RATE_PARAMETERS, LatentCodec
from regcodec.training.networks.res_hyper import BLOCK, ResHyper
from regcodec.training.start import SCALE_SHARE, step_of


@torch.no_grad()
def grow(found: LatentCodec, network: LatentCodec, x: Tensor) -> dict[str, Tensor]:
    """Return the state of `network` that does what `found` does, and keeps more of the images x [B, 3, H, W] on 0..1.

    The two are a res-hyper or a res-context each and differ in M alone.
    """
    assert isinstance(found, ResHyper)
    old, new = _places(found.config.M, network.config.M)
    encode, y = _components(found, x, len(new))
    state = network.state_dict()
    for name, value in found.state_dict().items():  # offsets and steps of z may be left behind
        if name in state and (found.lambdas == network.lambdas or name not in RATE_PARAMETERS):
            state[name] = _spread(value, state[name].shape, old)
    state[f"g_a.{len(found.g_a) - 1}.weight"][new] = encode
    deviation, mean = torch.std_mean(y, dim=0)
    parameters = state[f"h_s.{len(found.h_s) - 1}.bias"]
    parameters[new], parameters[network.config.M + new] = deviation * SCALE_SHARE + 0.1, mean
    return state


def _spread(value: Tensor, shape: torch.Size, old: Tensor) -> Tensor:
    """Return `value` among zeros in a larger shape: M channels at `old`, 2M (scales, means) at `old` of each half."""
    for axis, (few, many) in enumerate(zip(value.shape, shape, strict=True)):
        if few != many:
            places = old if few == len(old) else torch.cat([old, many // 2 + old])
            value = value.new_zeros(*value.shape[:axis], many, *value.shape[axis + 1 :]).index_copy_(
                axis, places, value
            )
    return value


def _components(found: ResHyper, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return rows of g_a for `count` channels, [count, N, 2, 2], and what these channels are, [P, count]."""
    middle = torch.tensor([len(found.lambdas) // 2])
    trunk = found.g_a[:-1](x, found.rate_bias("analysis", middle))
    lost = F.pixel_unshuffle(x - found.synthesise(found.g_a[-1](trunk), middle), BLOCK)
    f, r = (F.pixel_unshuffle(t, 2).permute(0, 2, 3, 1).flatten(0, 2).double() for t in (trunk, lost))
    centred = f - f.mean(0)
    moments = centred.T @ centred / len(f)
    fit = torch.linalg.solve(moments, centred.T @ r / len(f))  # B^T
    _, vectors = torch.linalg.eigh(fit.T @ moments @ fit)
    rows = (fit @ vectors.flip(1)[:, :count]).T / step_of(found.lambdas)
    return rows.float().view(count, -1, 2, 2), (f @ rows.T).float()


def _places(few: int, many: int) -> tuple[Tensor, Tensor]:
    """Return where the `few` known channels go among `many`, group by group, and where the new ones are."""
    old = torch.arange(many).view(GROUPS, -1)[:, : few // GROUPS].flatten()
    free = torch.ones(many, dtype=torch.bool)
    free[old] = False
    return old, free.nonzero().flatten()
