"""Training images per second with and without the regularizer, steps interleaved on the same data.

    python benchmarks/training_speed.py FOLDER [--arch hyperprior --steps 30]
        [--width 64 --latent-width 192 --crop 256 --batch 8 --windows 2]

"in windows" is the regularizer with --source-windows, that of --windows. Times are wall clock and, in brackets, of the
processor, which other processes change less. The paper's ratios of training time are 1.195, 1.113 and 1.015 for
hyperprior, autoregressive and attention (arXiv 2411.16727, table 2).
"""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path
from statistics import median

import torch

from regcodec.cli.train import training_config
from regcodec.training.cache import default_cache_dir, open_cache
from regcodec.training.data import Crops
from regcodec.training.networks.precision import has_bfloat16
from regcodec.training.networks.registry import network_of
from regcodec.training.processes import start_processes
from regcodec.training.task import Task

WARM_UP = 5  # steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, default=default_cache_dir())
    parser.add_argument("--arch", default="hyperprior")
    parser.add_argument("--steps", type=int, default=30)
    for name, value in (("width", 64), ("latent-width", 192), ("crop", 256), ("batch", 8), ("windows", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    shape = {"arch": options.arch, "width": options.width, "crop": options.crop, "batch": options.batch}
    if options.arch != "attention":
        shape["latent_width"] = options.latent_width
    common = {"rates": "0.0018,0.0035,0.0067,0.013", **shape}
    configs = {
        "vanilla": training_config("modern", **common),
        "regularized": training_config("modern", regularizer="source-entropy", ratio=0.05, **common),
        "in windows": training_config(
            "modern", regularizer="source-entropy", ratio=0.05, source_windows=options.windows, **common
        ),
    }
    images = open_cache(options.folder, options.cache, smallest=options.crop, say=print)
    processes = start_processes("auto")
    steppers = {name: _stepper(config, Crops(images, config), processes) for name, config in configs.items()}
    walls: dict[str, list[float]] = {name: [] for name in configs}
    processors: dict[str, list[float]] = {name: [] for name in configs}
    for step in range(WARM_UP + options.steps):
        for name, stepper in steppers.items():
            wall, processor = time.perf_counter(), time.process_time()
            stepper(step)
            if step >= WARM_UP:
                walls[name].append(time.perf_counter() - wall)
                processors[name].append(time.process_time() - processor)
    print(f"{processes.device.type}, {platform.machine()}, {torch.get_num_threads()} threads, {shape}")
    for name in configs:
        wall, processor = median(walls[name]), median(processors[name])
        print(
            f"{name:12} {1e3 * wall:7.1f} ms a step ({1e3 * processor:.1f})"
            f"  {options.batch / wall:7.2f} images a second"
        )
    for name in ("regularized", "in windows"):
        ratio, of_processor = (median(t[name]) / median(t["vanilla"]) for t in (walls, processors))
        print(f"{name} over vanilla: {ratio:.3f} ({of_processor:.3f})")


def _stepper(config, crops: Crops, processes):
    torch.manual_seed(config.seed)
    config = config.with_precision("bf16" if has_bfloat16(processes.device) else "fp32")
    task = Task(network_of(config), config).to(processes.device, memory_format=torch.channels_last)
    stepped = processes.wrap(task)
    optimizers = [torch.optim.Adam(group, 1e-4) for group in task.parameter_groups().values()]

    def step(number: int) -> None:
        x, quality = crops.batch(number)
        if task.regularizer is not None:
            task.regularizer.at(number)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        x = x.to(processes.device, memory_format=torch.channels_last)
        stepped(x, quality.to(processes.device)).total.backward()
        for optimizer in optimizers:
            optimizer.step()
        if processes.device.type == "cuda":
            torch.cuda.synchronize()

    return step


if __name__ == "__main__":
    main()
