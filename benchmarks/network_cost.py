"""Parameters and multiplications of the named sizes, counted in the layers of a network that codes one picture.

    python benchmarks/network_cost.py

kMAC for one pixel; encode and decode include the exact path (h_s and context), which both walk.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import nn

from regcodec.config import QUALITY_LAMBDAS, SIZES, sized
from regcodec.training.networks.registry import build_network

SIDE = 256  # pixels


def main() -> None:
    print("| network | parameters, M | encode | decode | exact path |\n|---|---|---|---|---|")
    for arch in ("res-hyper", "res-context"):
        for size in SIZES:
            network = build_network(sized(arch, size), QUALITY_LAMBDAS).eval()
            macs = _macs(network)
            exact = macs["h_s"] + macs["context"]
            parameters = sum(p.numel() for p in network.parameters()) / 1e6
            encode, decode = macs["g_a"] + macs["h_a"] + exact, macs["g_s"] + exact
            print(f"| `{arch}` {size} | {parameters:.2f} | {encode:.1f} | {decode:.1f} | {exact:.1f} |")


@torch.no_grad()
def _macs(network: nn.Module) -> Counter[str]:
    """Return kMAC for one pixel by the first part of the layers' names; context.leave runs on a quarter."""
    counted: Counter[str] = Counter()

    def count(name: str, layer: nn.Conv2d | nn.ConvTranspose2d, shape: torch.Size) -> None:
        kernel = layer.weight.shape[2] * layer.weight.shape[3]
        positions = shape[2] * shape[3]
        channels = layer.in_channels * layer.out_channels / layer.groups
        share = 0.25 if name.startswith("context.leave") else 1.0
        counted[name.split(".")[0]] += share * kernel * positions * channels / SIDE**2 / 1000

    def hook(name: str):
        def run(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            transposed = isinstance(layer, nn.ConvTranspose2d)
            count(name, layer, inputs[0].shape if transposed else output.shape)

        return run

    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(hook(name))
    network(torch.rand(1, 3, SIDE, SIDE), torch.tensor([0]))
    return counted


if __name__ == "__main__":
    main()
