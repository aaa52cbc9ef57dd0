"""Training the Gaussian-posterior version of a codec: the trainer's loop, data, schedule and average, another network.

    run/bound.pt       checkpoint; no codec, so that `regcodec export` does not take it for one
    run/metrics.jsonl  R (KL, bits per pixel), D (MSE), R + lambda D; validation of one sample, averaged weights

One network serves all lambdas, as the codec it begins from does: gains lie between that codec's.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from regcodec.codec.library import find_pack
from regcodec.codec.pack import SUFFIX, read_pack
from regcodec.config import TrainConfig
from regcodec.errors import UsageError
from regcodec.study.posterior import Posterior
from regcodec.training.checkpoint import BOUND_NAME, load_checkpoint, load_weights
from regcodec.training.initial import load_network
from regcodec.training.loop import RunPaths, train
from regcodec.training.networks.latents import RATE_PARAMETERS, LatentCodec
from regcodec.training.networks.registry import network_of
from regcodec.training.task import Task

LAMBDAS = (0.0018, 0.0054, 0.0162, 0.0483)
"""The paper's (section IV-A)."""


class BoundTask(Task):
    """R + lambda D of one sample of the posterior; the heads and what there is one of for each rate learn faster."""

    def __init__(self, network: LatentCodec, config: TrainConfig) -> None:
        super().__init__(Posterior(network), config)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return codec, and rates: gains and the noise that the analysis has."""
        named = [(name, p) for name, p in self.network.named_parameters() if not name.endswith("quantiles")]
        own = ("log_noise", "head_", "mean_z", "log_scale_z", *(f"codec.{name}" for name in RATE_PARAMETERS))
        return {
            "codec": [p for name, p in named if not name.startswith(own)],
            "rates": [p for name, p in named if name.startswith(own) and p.requires_grad],
        }


def train_bound(config: TrainConfig, paths: RunPaths, *, device: str = "auto", console: Console | None = None) -> Path:
    """Train until `config.steps` and return the checkpoint's path; `paths.init` names the codec to begin from."""
    if paths.init is None:
        raise UsageError("--init: name the pack or the run that the bound begins from.")
    return train(config, paths, device=device, console=console, make_task=BoundTask, name=BOUND_NAME)


def load_bound(path: Path) -> tuple[Posterior, dict[str, Any]]:
    """Return a trained bound, by its run, or an untrained one, of a pack, and what it is.

    `name`, `id` (changes when the weights do), `steps` of the bound's own training.
    """
    checkpoint = path / BOUND_NAME if path.is_dir() else path
    if checkpoint.name == BOUND_NAME and checkpoint.is_file():
        state = load_checkpoint(checkpoint)
        config = TrainConfig.from_dict(state["config"])
        posterior = Posterior(network_of(config))
        load_weights(posterior, state, checkpoint)
        told = json.dumps([config.to_dict(), state["step"], state["init"], state["data"], state["validation"]])
        about = {
            "name": checkpoint.parent.resolve().name,
            "id": hashlib.sha256(told.encode()).hexdigest()[:16],
            "steps": state["step"],
            "init": state["init"],
        }
        return posterior.eval(), about
    file = path if path.exists() else find_pack(str(path))
    if file.suffix != SUFFIX:
        raise UsageError(f"{path}: neither a run of `regcodec study bound` nor a pack.")
    posterior = Posterior(load_network(file))
    return posterior.eval(), {"name": file.stem, "id": read_pack(file).id, "steps": 0, "init": None}
