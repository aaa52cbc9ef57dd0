"""`regcodec train`: options to a `TrainConfig`, then the loop and the export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from regcodec.cli.extras import cache_option, device_option, require_training, val_option
from regcodec.cli.paths import FOLDER
from regcodec.config import (
    BALANCES,
    PRECISIONS,
    PRESETS,
    QUALITY_LAMBDAS,
    SIZES,
    SOURCE_MODELS,
    NetworkConfig,
    RegularizerConfig,
    TrainConfig,
    sized,
)
from regcodec.errors import UsageError
from regcodec.files import read_toml

NETWORK_OPTIONS = {
    "arch": "arch",
    "size": "",
    "width": "N",
    "latent_width": "M",
    "hyper_width": "Z",
    "blocks_analysis": "blocks_a",
    "blocks_synthesis": "blocks_s",
    "context_width": "context",
    "blocks_context": "blocks_c",
    "offsets": "offsets",
    "hyper_step": "hyper_step",
    "rate_bias": "rate_bias",
}
"""Option -> field of `NetworkConfig`."""
RATE_OPTIONS = ("offsets", "hyper_step", "rate_bias")
"""Those of what a network learns for each rate."""
LAST_STAGE = ("offsets", "hyper_step")
"""Those that --variable-rate means."""
PLACES = ("config", "data", "run_dir", "output", "val", "variable_rate", "init", "device", "cache", "force")
"""Parameters that are no settings of a run."""
NETWORK = ("arch", "N", "M")
"""Fields of the presets' networks that --help names."""


def _preset(name: str) -> str:
    """Return the words of --help for what a setting is in the presets."""
    settings = [config.network if name in NETWORK else config for config in (PRESETS["modern"], PRESETS["paper"])]
    modern, paper = (getattr(each, name) for each in settings)
    return f"  [default: {modern}]" if paper == modern else f"  [default: {modern}; paper: {paper}]"


def _read_stage(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Let the settings of a TOML file stand for the options that are not given."""
    if path is None:
        return
    stage = read_toml(path)
    names = {max(p.opts, key=len).removeprefix("--"): str(p.name) for p in ctx.command.params if p.name != "config"}
    unknown = sorted(set(stage) - set(names))
    if unknown:
        raise UsageError(f"{path}: unknown settings: {', '.join(unknown)}. Names are those of the options.")
    ctx.default_map = {
        names[key]: ",".join(str(v) for v in value) if isinstance(value, list) else value
        for key, value in stage.items()
    }


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    is_eager=True,
    expose_value=False,
    callback=_read_stage,
    help="TOML file of options by their names (steps = 1000); options given here override it.",
)
@click.option(
    "--data", required=True, type=click.Path(path_type=Path, exists=True), help="Folder of images, any nesting."
)
@click.option(
    "--run",
    "run_dir",
    required=True,
    type=FOLDER,
    help="Directory of the run: checkpoint, metrics. The same command goes on from it.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Pack to export at the end  [default: RUN/NAME.rgm]"
)
@val_option
@click.option(
    "--preset",
    type=click.Choice(sorted(PRESETS)),
    default="modern",
    show_default=True,
    help="Where the settings below start from; paper trains as the regularizer paper does.",
)
@click.option(
    "--arch", help="Architecture: hyperprior, autoregressive, attention, res-hyper or res-context." + _preset("arch")
)
@click.option("--size", type=click.Choice(list(SIZES)), help="Widths and depths of a res-* network  [default: medium]")
@click.option("--width", type=int, help="N, channels of the transforms (of z too, but for res-*)." + _preset("N"))
@click.option("--latent-width", type=int, help="M, channels of y (attention: always N)." + _preset("M"))
@click.option("--hyper-width", type=int, help="Z, channels of z (res-*).")
@click.option("--blocks-analysis", type=int, help="Residual blocks of the analysis (res-*).")
@click.option("--blocks-synthesis", type=int, help="Residual blocks of the synthesis (res-*).")
@click.option("--context-width", type=int, help="Channels of the context network (res-context).")
@click.option("--blocks-context", type=int, help="Residual blocks of the context network (res-context).")
@click.option("--lambda", "lambda_", type=float, help="Weight of 255^2 * MSE: a model of one rate.")
@click.option(
    "--lambda-factor",
    type=float,
    help="Multiply every lambda in the loss; the rates keep their names. For controls in studies  [default: 1]",
)
@click.option("--rates", help="Several lambdas, comma-separated and rising: one model, one gain per lambda.")
@click.option(
    "--variable-rate",
    is_flag=True,
    help="Post-train --init for all rates: --rates of q = 1 to 8, --offsets, --hyper-step.",
)
@click.option("--offsets/--no-offsets", default=None, help="Learn reconstruction offsets by scale and rate.")
@click.option("--hyper-step/--no-hyper-step", default=None, help="Learn a quantization step of z for each rate.")
@click.option(
    "--rate-bias/--no-rate-bias",
    default=None,
    help="Learn a bias for each rate that tells transforms and context the rate (res-*).",
)
@click.option(
    "--balance",
    type=click.Choice(BALANCES),
    help="Of several rates: equal weights, each loss relative to its running mean, or multiple-gradient descent"
    + _preset("balance"),
)
@click.option(
    "--regularizer", type=click.Choice(["none", "source-entropy"]), help="Maximise H(X|X_hat) while training."
)
@click.option(
    "--source-model",
    type=click.Choice(SOURCE_MODELS),
    help="Its source entropy model  [default: the one aligned with the architecture]",
)
@click.option("--alpha", help="Its weight, in bits per pixel: one number, or one per lambda, comma-separated.")
@click.option("--ratio", type=float, help="Its weight as r, the share by which it lowers lambda; try 0.05 to 0.3.")
@click.option(
    "--compensate/--no-compensate", default=True, show_default=True, help="With --ratio, train with lambda / (1 - r)."
)
@click.option("--source-width", type=int, help="Channels of the source entropy model  [default: its own]")
@click.option(
    "--source-windows",
    type=int,
    help="1, 2 or 4: estimate H on one of so many times so many parts of a crop, in turn; 2 takes a quarter of the "
    "time  [default: 1]",
)
@click.option(
    "--regularizer-from", type=int, help="Steps before it acts on the codec (its model learns from the first)."
)
@click.option("--regularizer-until", type=int, help="Step from which it acts no more  [default: it acts to the end]")
@click.option(
    "--init",
    type=click.Path(path_type=Path),
    help="Start from the weights of a pack (file or name) or a checkpoint, and its network, options given here apart.",
)
@click.option("--steps", type=int, help="Optimizer steps." + _preset("steps"))
@click.option("--batch", type=int, help="Images a step and process." + _preset("batch"))
@click.option("--crop", type=int, help="Pixels a side, a multiple of 64." + _preset("crop"))
@click.option("--downscale", type=float, help="Largest random reduction of a crop; 1 is off." + _preset("downscale"))
@click.option(
    "--downscale-from",
    type=float,
    help="Smallest random reduction of a crop: hides what earlier compression left." + _preset("downscale_from"),
)
@click.option("--lr", type=float, help="Learning rate of the codec (Adam)." + _preset("lr"))
@click.option(
    "--lr-source", type=float, help="Learning rate of the source entropy model (Adam)." + _preset("lr_source")
)
@click.option(
    "--schedule",
    type=click.Choice(["cosine", "step", "constant"]),
    help="Learning rate over the steps." + _preset("schedule"),
)
@click.option("--warmup", type=int, help="Steps of linear warm-up." + _preset("warmup"))
@click.option("--clip", type=float, help="Largest gradient norm; 0 is off." + _preset("clip"))
@click.option("--ema", type=float, help="Decay of the averaged weights; 0 is off." + _preset("ema"))
@click.option(
    "--surrogate", type=click.Choice(["mixed", "noise"]), help="Stand-in for rounding." + _preset("surrogate")
)
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    help="bf16 autocast of the transforms, or fp32; auto: bf16 where hardware has it." + _preset("precision"),
)
@click.option(
    "--start",
    type=click.Choice(["pca", "random"]),
    help="Initial transforms: fitted linear codec, or random." + _preset("start"),
)
@click.option("--seed", type=int, help="Of everything random" + _preset("seed"))
@click.option("--validate-every", type=int, help="Steps between validations." + _preset("validate_every"))
@click.option("--save-every", type=int, help="Steps between checkpoints." + _preset("save_every"))
@click.option(
    "--snapshots",
    help="Steps, comma-separated and rising, whose weights are kept beside the checkpoint, to be exported.",
)
@device_option
@cache_option
@click.option("-f", "--force", is_flag=True, help="Replace an existing output pack.")
def train(
    data: Path,
    run_dir: Path,
    output: Path | None,
    val: Path | None,
    preset: str,
    device: str,
    cache: Path | None,
    init: Path | None,
    variable_rate: bool,
    force: bool,
    **options: Any,
) -> None:
    """Train a codec on a folder of images and export its pack.

    \b
    regcodec train --data photos --run runs/a --lambda 0.0067
    regcodec train --data photos --run runs/b --rates 0.0018,0.0035,0.0067,0.013 \\
        --regularizer source-entropy --ratio 0.1

    Stop it with Ctrl-C or SIGTERM; the same command goes on. On several devices:
    torchrun --nproc-per-node 2 -m -- regcodec train ...
    """
    if variable_rate and init is None:
        raise UsageError("--variable-rate post-trains what --init names: give it.")
    if init is None:
        config = training_config(preset, variable_rate=variable_rate, **options)
    require_training("train")

    from regcodec.cli.console import stderr_console
    from regcodec.codec.pack import SUFFIX
    from regcodec.files import refuse_existing
    from regcodec.training.cache import default_cache_dir
    from regcodec.training.export import export_checkpoint, refuse_name
    from regcodec.training.initial import network_config_of
    from regcodec.training.loop import RunPaths
    from regcodec.training.loop import train as run_training
    from regcodec.training.processes import is_first_process

    if init is not None:
        config = training_config(preset, variable_rate=variable_rate, found=network_config_of(init), **options)
    target = output or run_dir / f"{run_dir.resolve().name}{SUFFIX}"
    if output is not None:
        refuse_name(output)
        refuse_existing(output, force=force)
    console = stderr_console()
    paths = RunPaths(run=run_dir, data=data, val=val, cache=cache or default_cache_dir(), init=init)
    checkpoint = run_training(config, paths, device=device, console=console)
    if is_first_process():
        export_checkpoint(checkpoint, target, force=force or output is None, console=console)


def training_config(
    preset: str,
    *,
    lambda_: float | None = None,
    rates: str | None = None,
    regularizer: str | None = None,
    source_model: str | None = None,
    alpha: str | None = None,
    ratio: float | None = None,
    compensate: bool = True,
    source_width: int | None = None,
    source_windows: int | None = None,
    regularizer_from: int | None = None,
    regularizer_until: int | None = None,
    snapshots: str | None = None,
    variable_rate: bool = False,
    found: NetworkConfig | None = None,
    **options: Any,
) -> TrainConfig:
    """Return the preset with every option that was given put over it.

    The network of initial weights, `found`, stands for the preset's unless the options name an architecture.
    """
    if variable_rate:
        rates = rates or ",".join(map(str, QUALITY_LAMBDAS))
        for name in LAST_STAGE:
            options[name] = True if options.get(name) is None else options[name]
    if (lambda_ is None) == (rates is None):
        raise UsageError("give --lambda for a model of one rate, or --rates for several.")
    if not (compensate or ratio):
        raise UsageError("--no-compensate goes with --ratio.")
    config = PRESETS[preset]
    chosen = {name: options.pop(name, None) for name in NETWORK_OPTIONS}
    network = _network(config.network, **chosen) if found is None or chosen["arch"] else _changed(found, **chosen)
    trained = replace(
        config,
        network=network,
        regularizer=RegularizerConfig(
            name=regularizer or "none",
            source_model=source_model or "",
            alpha=() if alpha is None else numbers(alpha, "--alpha"),
            ratio=ratio or 0.0,
            compensate=compensate,
            source_width=source_width or 0,
            windows=1 if source_windows is None else source_windows,
            from_step=regularizer_from or 0,
            until_step=regularizer_until or 0,
        ),
        lambdas=(lambda_,) if lambda_ is not None else numbers(rates or "", "--rates"),
        snapshots=() if snapshots is None else _steps(snapshots),
        **_given(options),
    )
    if trained.regularizer.from_step >= trained.steps:
        raise UsageError("--regularizer-from must be below --steps: the term would never act.")
    return trained


def config_of(settings: Mapping[str, Any], found: NetworkConfig | None = None) -> TrainConfig:
    """Return the configuration of `settings`, named as the options are, as a TOML file has them, and of `found`.

    Raises `UsageError` for a name that is no setting of a run, and for a value that its option refuses.
    """
    parameters = {max(p.opts, key=len).removeprefix("--"): p for p in train.params if p.name not in PLACES}
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in parameters:
            raise UsageError(f"{key} is no setting of a run; names are those of the options of regcodec train.")
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        try:
            values[str(parameters[key].name)] = parameters[key].type.convert(text, parameters[key], None)
        except click.BadParameter as error:
            raise UsageError(f"{key} = {text}: {error.message}") from error
    return training_config(values.pop("preset", "modern"), found=found, **values)


def _network(preset: NetworkConfig, *, arch: str | None, size: str | None, **widths: Any) -> NetworkConfig:
    given = _fields(widths)
    if size is None and (arch or "").startswith("res-"):
        size = "medium"
    base = preset if size is None else sized(arch or preset.arch, size)
    if arch is not None:
        given["arch"] = arch
    if arch == "attention":
        given.setdefault("M", given.get("N", base.N))
    return replace(base, **given)


def _changed(found: NetworkConfig, *, arch: None, size: str | None, **widths: Any) -> NetworkConfig:
    """Return the network of initial weights with the size, the widths and what it learns for each rate as given."""
    base = found
    if size is not None:
        base = replace(sized(found.arch, size), **{name: getattr(found, name) for name in RATE_OPTIONS})
    given = _fields(widths)
    if found.arch == "attention":
        given.setdefault("M", given.get("N", found.N))
    return replace(base, **given)


def _fields(widths: dict[str, Any]) -> dict[str, Any]:
    return _given({NETWORK_OPTIONS[name]: value for name, value in widths.items()})


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _steps(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise UsageError(f"--snapshots {text}: give steps, separated by commas.") from None


def numbers(text: str, flag: str) -> tuple[float, ...]:
    """Return the numbers of an option, separated by commas; raises `UsageError`."""
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise UsageError(f"{flag} {text}: give numbers, separated by commas.") from None
