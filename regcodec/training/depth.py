"""More residual blocks for a trained res-hyper or res-context, which goes on as the codec that it was.

    g_a   unshuffle, 1x1, blocks, [new blocks], 2x2        g_s   2x2, blocks, [new blocks], 1x1, shuffle
    context   blocks, [new blocks], leave

The last layer of a new block's branch is zero (`networks.blocks`), so that it begins as the identity. `initial` asks
for it when a run's network has more blocks than the weights that it begins with.
"""

from __future__ import annotations

from dataclasses import replace

from regcodec.config import NetworkConfig
from regcodec.training.networks.latents import LatentCodec
from regcodec.training.networks.registry import build_network

BLOCKS = ("blocks_a", "blocks_s", "blocks_c")


def deepened(found: LatentCodec, wanted: NetworkConfig) -> LatentCodec:
    """Return `found` with as many blocks as `wanted` has, where that is a res-* with no fewer; else `found` itself.

    A context that `found` has not is not added.
    """
    known = found.config
    if not (known.arch.startswith("res-") and wanted.arch.startswith("res-")):
        return found
    blocks = {name: getattr(wanted, name) for name in (BLOCKS if known.context else BLOCKS[:2])}
    more = {name: count - getattr(known, name) for name, count in blocks.items()}
    if min(more.values()) < 0 or not any(more.values()):
        return found
    config = replace(known, **blocks)
    last = {"g_a": (2 + known.blocks_a, more["blocks_a"]), "g_s": (1 + known.blocks_s, more["blocks_s"])}
    network = build_network(config, found.lambdas)
    state = {_moved(name, last): value for name, value in found.state_dict().items()}
    network.load_state_dict({**network.state_dict(), **state})
    return network


def _moved(name: str, last: dict[str, tuple[int, int]]) -> str:
    """Return a parameter's name behind new blocks; `last`: transform -> the first layer after them, how many."""
    transform, *rest = name.split(".")
    if transform not in last:
        return name
    first, more = last[transform]
    layer = int(rest[0])
    return ".".join([transform, str(layer + more if layer >= first else layer), *rest[1:]])
