"""Where the noise of a training step's gradient comes from, at a run's averaged weights.

    python benchmarks/gradient_noise.py RUN FOLDER [--crops 40]

Gradients of one crop at one rate, the rates in turn, each element over the root of Adam's second moment. Three of every
crop: two with their own noise for rounding, one of the mirrored crop.

    power      E |g|^2, as a share of the codec's
    crop       E g.g' / E |g|^2 of the same crop: the rest is the noise for rounding
    mirrored   the same of a crop and its mirror image
    scale      (E |g|^2 - |E g|^2) / |E g|^2: crops in a batch of which noise and signal would be level
               (McCandlish et al. 2018), of all parts together; `-` where the crops are too few to see a signal
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from regcodec.config import TrainConfig
from regcodec.training.cache import default_cache_dir, open_cache
from regcodec.training.checkpoint import NAME, load_checkpoint
from regcodec.training.data import Crops
from regcodec.training.networks.registry import network_of
from regcodec.training.task import Task

SEED = 77  # none that a run of the campaign had


class Gradients:
    """Gradients of the codec in Adam's units, one tensor for each parameter."""

    def __init__(self, run: Path) -> None:
        state = load_checkpoint(run / NAME)
        self.config = replace(TrainConfig.from_dict(state["config"]), batch=1, seed=SEED)
        if self.config.regularizer.name != "none":
            raise SystemExit(f"{run}: has a regularizer; give a run without.")
        network = network_of(self.config)
        self.task = Task(network, self.config)
        self.task.load_state_dict(state["task"])
        network.load_state_dict({**network.state_dict(), **state["ema"]})
        self.task = self.task.to(memory_format=torch.channels_last)
        self.state = {name: value.clone() for name, value in self.task.state_dict().items() if "balance" in name}
        self.codec = self.task.parameter_groups()["codec"]
        moments = state["optimizers"]["codec"]["state"]
        self.units = [moments[i]["exp_avg_sq"].sqrt() + 1e-8 for i in range(len(self.codec))]
        names = {id(p): name.split(".")[0] for name, p in network.named_parameters()}
        self.parts = [names[id(p)] for p in self.codec]

    def of(self, x: Tensor, quality: Tensor) -> list[Tensor]:
        self.task.zero_grad(set_to_none=True)
        self.task.load_state_dict(self.state, strict=False)  # running means stay the run's
        self.task(x, quality).total.backward()
        return [p.grad / unit for p, unit in zip(self.codec, self.units, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=default_cache_dir())
    parser.add_argument("--crops", type=int, default=40)
    options = parser.parse_args()
    if options.crops < 2:
        parser.error("--crops must be at least 2")
    gradients = Gradients(options.run)
    images = open_cache(options.folder, options.cache, smallest=gradients.config.crop, say=print)
    crops = Crops(images, gradients.config)
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros(3, dtype=torch.float64))
    total = [torch.zeros_like(p) for p in gradients.codec]
    for index in range(options.crops):
        x, _ = crops.batch(index)
        quality = torch.tensor([index % len(gradients.config.lambdas)])
        first, again, mirrored = (gradients.of(image, quality) for image in (x, x, x.flip(3)))
        for name, a, b, c in zip(gradients.parts, first, again, mirrored, strict=True):
            products = torch.stack([(a * a).sum(), (a * b).sum(), (a * c).sum()]).double()
            sums[name] += products
        torch._foreach_add_(total, first)
    print(f"{'part':20} {'power':>8} {'crop':>8} {'mirrored':>8}")
    sums["all"] = torch.stack(list(sums.values())).sum(0)
    for name, (power, crop, mirror) in sums.items():
        print(f"{name:20} {power / sums['all'][0]:8.3f} {crop / power:8.3f} {mirror / power:8.3f}")
    power, count = float(sums["all"][0]), options.crops
    signal = (sum(float(t.double().square().sum()) for t in total) - power) / (count * (count - 1))
    scale = f"{(power / count - signal) / signal:.3g}" if signal > 0 else "-"
    print(f"all: E |g|^2 {power / count:.4g}, scale {scale}")


if __name__ == "__main__":
    main()
