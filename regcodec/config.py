"""What a user may choose, as frozen dataclasses: the unit stands under each field, an error names the flag.

Anyone may import this file; it imports nothing heavy.

    quality q   1 .. 8, CompressAI's scale
    lambda      weight of 255^2 * MSE (MSE on [0, 1] pixels) against the rate in bits per pixel
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from regcodec.errors import UsageError

QUALITY_LAMBDAS = (0.0018, 0.0035, 0.0067, 0.0130, 0.025, 0.0483, 0.0932, 0.18)
"""lambda of q = 1 .. 8 (CompressAI's table for MSE)."""

DEFAULT_QUALITY = 3.0

STRIPPABLE = ("exif", "icc", "xmp")
"""Metadata that --strip and `strip=` name."""

TRAIN_EXTRA = ("torch", "compressai", "onnx")
"""What training and the optimiser import, of what the extra `train` installs."""

MOST_THREADS = 1024
"""That --threads and `threads=` take."""

MOST_JOBS = 1024
"""Processes that --jobs takes."""

MAX_PIXELS = 178_956_970
"""Default of --max-pixels: where Pillow, too, refuses a picture, half a gigabyte in RGB."""

IMAGE_FORMATS = ("png", "jpeg", "webp", "tiff", "ppm", "bmp")
"""What `decode` writes: keys of `codec.writing.FORMATS`."""

BALANCES = ("equal", "relative", "mgda")
"""How the rates of one model are weighed against each other: `training.balance`."""

PRECISIONS = ("auto", "bf16", "fp32")
"""Of the products in training: `training.networks.precision`."""

SOURCE_MODELS = ("gaussian", "masked", "quadtree")
"""Source entropy models: `training.source_entropy`."""

ALIGNED_SOURCE = {
    "hyperprior": "gaussian",
    "autoregressive": "masked",
    "attention": "masked",
    "res-hyper": "gaussian",
    "res-context": "quadtree",
}
"""Architecture -> the source entropy model that has the context of its own entropy model."""

BITS_PER_LOG_MSE = 2.16
"""k: bits per pixel that H(X|X_hat) grows with ln MSE when q has no context (3 * 0.5 / ln 2)."""


def quality_of_lambda(value: float) -> float:
    """Return q for a lambda, log-linear between the table's entries and beyond its ends, to three decimals."""
    table = QUALITY_LAMBDAS
    upper = next((i for i, entry in enumerate(table) if entry >= value), len(table) - 1)
    low, high = (max(upper, 1) - 1, max(upper, 1))
    share = math.log(value / table[low]) / math.log(table[high] / table[low])
    return round(1 + low + share, 3)


def lambda_of_quality(q: float) -> float:
    """Return lambda for a q: the inverse of `quality_of_lambda` but for its rounding."""
    table = QUALITY_LAMBDAS
    low = min(max(math.floor(q), 1), len(table) - 1)
    return float(table[low - 1] * (table[low] / table[low - 1]) ** (q - low))


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    arch: str = "hyperprior"
    """Key of `training.networks.registry.NETWORKS`."""
    N: int = 128
    """Channels of the transforms; of z too, where Z is 0."""
    M: int = 192
    """Channels of y."""
    Z: int = 0
    """Channels of z and of the hyper transforms (res-*)."""
    blocks_a: int = 0
    """Residual blocks of the analysis (res-*)."""
    blocks_s: int = 0
    """Residual blocks of the synthesis (res-*)."""
    context: int = 0
    """Channels of the context network (res-context)."""
    blocks_c: int = 0
    """Residual blocks of the context network (res-context)."""
    offsets: bool = False
    """Learn how far symbols that are not zero are moved towards zero, by scale and rate."""
    hyper_step: bool = False
    """Learn a quantization step of z for each rate."""
    rate_bias: bool = False
    """Learn a bias for each rate in transforms and context, which tells them the rate (res-*)."""

    def __post_init__(self) -> None:
        if self.N < 1 or self.M < 1:
            raise UsageError("--width and --latent-width must be at least 1.")
        if min(self.Z, self.blocks_a, self.blocks_s, self.context, self.blocks_c) < 0:
            raise UsageError("--hyper-width, --blocks and --context-width must not be negative.")
        if self.arch == "attention" and self.M != self.N:
            raise UsageError("--arch attention has one width: leave --latent-width out or give that of --width.")
        if self.arch.startswith("res-") and (self.N % 4 or self.M % 4 or self.Z < 1):
            raise UsageError(f"--arch {self.arch} needs --size, or widths that are multiples of 4 and a --hyper-width.")
        if self.rate_bias and not self.arch.startswith("res-"):
            raise UsageError(f"--rate-bias is for res-hyper and res-context, not for {self.arch}.")
        if self.rate_bias and not (self.blocks_a and self.blocks_s):
            raise UsageError("--rate-bias needs residual blocks in analysis and synthesis: what it is for.")
        if (self.arch == "res-context") != (self.context > 0):
            raise UsageError("--arch res-context and --context-width go together: give both (or --size) or neither.")

    def without_context(self) -> NetworkConfig:
        """Return the res-hyper in a res-context, the hyperprior in an autoregressive; any other network as it is."""
        arch = {"res-context": "res-hyper", "autoregressive": "hyperprior"}.get(self.arch, self.arch)
        return replace(self, arch=arch, context=0, blocks_c=0)

    def plain(self) -> NetworkConfig:
        """Return the network without what it learns for each rate but the gains."""
        return replace(self, offsets=False, hyper_step=False, rate_bias=False)

    def to_dict(self) -> dict[str, Any]:
        """Return what is not zero, as the pack has it."""
        return {name: value for name, value in asdict(self).items() if value}


SIZES: dict[str, dict[str, Any]] = {
    "small": {"N": 128, "M": 128, "Z": 96, "blocks_a": 4, "blocks_s": 6, "context": 96, "blocks_c": 1},
    "medium": {"N": 192, "M": 448, "Z": 128, "blocks_a": 7, "blocks_s": 10, "context": 128, "blocks_c": 2},
    "large": {"N": 192, "M": 448, "Z": 128, "blocks_a": 13, "blocks_s": 18, "context": 128, "blocks_c": 2},
    "xlarge": {"N": 384, "M": 448, "Z": 192, "blocks_a": 14, "blocks_s": 20, "context": 256, "blocks_c": 3},
}
"""Named sizes of the res-* networks: docs/decisions/0001-res-networks.md has what they weigh and cost."""


def sized(arch: str, size: str) -> NetworkConfig:
    """Return a res-* network of a named size."""
    if not arch.startswith("res-"):
        raise UsageError(f"--size goes with --arch res-hyper or res-context, not with {arch}.")
    if size not in SIZES:
        raise UsageError(f"--size {size}: choose one of {', '.join(SIZES)}.")
    unused = () if arch == "res-context" else ("context", "blocks_c")
    return NetworkConfig(arch=arch, **{name: value for name, value in SIZES[size].items() if name not in unused})


@dataclass(frozen=True, kw_only=True)
class RegularizerConfig:
    name: str = "none"
    """none or source-entropy."""
    source_model: str = ""
    """One of `SOURCE_MODELS`; `TrainConfig` puts the one aligned with the architecture for none given."""
    alpha: tuple[float, ...] = ()
    """Weight of the bits per pixel of H(X|X_hat), one for all lambdas or one per lambda."""
    ratio: float = 0.0
    """r = alpha * k / (lambda * MSE), an alternative to alpha: alpha then follows the running MSE of each lambda."""
    compensate: bool = True
    """Train with lambda / (1 - r), so that a quality keeps its meaning (only with ratio)."""
    source_width: int = 0
    """Channels of the source entropy model; 0 is its own default."""
    windows: int = 1
    """1, 2 or 4: H is estimated on one of windows x windows parts of every crop, in turn; less time, more noise."""
    from_step: int = 0
    """Steps before the term acts on the codec; the source entropy model learns from the first."""
    until_step: int = 0
    """Step from which the term acts no more; 0 is never."""

    def __post_init__(self) -> None:
        if self.name not in ("none", "source-entropy"):
            raise UsageError(f"--regularizer {self.name}: choose none or source-entropy.")
        if self.source_model and (self.name == "none" or self.source_model not in SOURCE_MODELS):
            raise UsageError(
                f"--source-model {self.source_model}: choose one of {', '.join(SOURCE_MODELS)}, with --regularizer "
                "source-entropy."
            )
        weighted = bool(self.alpha) or self.ratio != 0
        if (self.name == "none") == weighted:
            raise UsageError("--regularizer source-entropy goes with --alpha or --ratio: give both or neither.")
        if self.alpha and self.ratio:
            raise UsageError("--alpha and --ratio say the same thing twice: give one.")
        if any(a < 0 or not math.isfinite(a) for a in self.alpha):
            raise UsageError("--alpha must be zero or more.")
        if not 0 <= self.ratio < 1:
            raise UsageError("--ratio must be below 1: above, the loss rewards distortion and training collapses.")
        if self.name == "none" and (self.source_width or self.windows > 1 or self.from_step or self.until_step):
            raise UsageError(
                "--source-width, --source-windows, --regularizer-from and --regularizer-until go with a --regularizer."
            )
        if self.windows not in (1, 2, 4):
            raise UsageError("--source-windows must be 1, 2 or 4.")
        if min(self.source_width, self.from_step, self.until_step) < 0:
            raise UsageError("--source-width, --regularizer-from and --regularizer-until must not be negative.")
        if self.until_step and self.until_step <= self.from_step:
            raise UsageError("--regularizer-until must be above --regularizer-from.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    network: NetworkConfig = NetworkConfig()
    regularizer: RegularizerConfig = RegularizerConfig()
    lambdas: tuple[float, ...] = QUALITY_LAMBDAS[:4]
    """One gain is learned per lambda; a single lambda gives a fixed-rate model."""
    balance: str = "relative"
    """What each rate's loss weighs against the others': one of BALANCES (`training.balance`, `training.mgda`)."""
    steps: int = 100_000
    batch: int = 8
    """Images a step and process."""
    crop: int = 256
    """Pixels a side."""
    downscale: float = 2.0
    """Largest random reduction of a crop; 1 is off."""
    downscale_from: float = 1.0
    """Smallest random reduction of a crop, for images that were compressed before."""
    lr: float = 3e-4
    """Adam, codec."""
    lr_aux: float = 1e-3
    """Adam, quantiles of the entropy bottleneck."""
    lr_rates: float = 1e-3
    """Adam, what there is one of for each rate: gains, steps of z, offsets."""
    lr_source: float = 1e-3
    """Adam, source entropy model."""
    schedule: str = "cosine"
    """cosine: to 1 % of lr; step: a tenth after 80 %, a hundredth after 95 %; constant."""
    warmup: int = 500
    """Steps of linear warm-up."""
    clip: float = 1.0
    """Largest norm of the gradient, codec and source entropy model apart; 0 is off."""
    ema: float = 0.999
    """Decay of the averaged weights that are validated and exported; 0 is off."""
    surrogate: str = "mixed"
    """mixed: noise for the rate, straight-through rounding for the synthesis; noise: for both."""
    precision: str = "auto"
    """bf16 (autocast of the transforms), fp32, or auto: as the run began, bf16 where hardware multiplies it."""
    start: str = "pca"
    """pca: the transforms begin as a linear transform codec fitted to the data; random: CompressAI's initialisation."""
    seed: int = 1
    validation_share: float = 0.1
    """Share of the images held out when no validation folder is given."""
    validate_every: int = 2000
    """Steps between validations."""
    save_every: int = 500
    """Steps between checkpoints."""
    snapshots: tuple[int, ...] = ()
    """Steps after which the averaged weights are validated and kept in a file of their own."""
    lambda_factor: float = 1.0
    """What the loss multiplies each lambda with; the rates of the pack keep the lambdas' names."""

    def __post_init__(self) -> None:
        if self.regularizer.name != "none" and not self.regularizer.source_model:
            aligned = replace(self.regularizer, source_model=ALIGNED_SOURCE.get(self.network.arch, ""))
            object.__setattr__(self, "regularizer", aligned)
        if not self.lambdas or any(not 0 < v < 100 for v in self.lambdas):
            raise UsageError("--lambda and --rates take numbers above 0 (the table: 0.0018 to 0.18).")
        if tuple(sorted(set(self.lambdas))) != tuple(self.lambdas):
            raise UsageError("--rates: name each lambda once, in rising order.")
        if not 0 < self.lambda_factor < 100:
            raise UsageError("--lambda-factor must be above 0 and below 100 (1: train with the lambdas as they are).")
        if len(self.regularizer.alpha) not in (0, 1, len(self.lambdas)):
            raise UsageError(f"--alpha takes one value or {len(self.lambdas)}, one for each lambda.")
        for flag, value, allowed in (
            ("--balance", self.balance, BALANCES),
            ("--schedule", self.schedule, ("cosine", "step", "constant")),
            ("--surrogate", self.surrogate, ("mixed", "noise")),
            ("--precision", self.precision, PRECISIONS),
            ("--start", self.start, ("pca", "random")),
        ):
            if value not in allowed:
                raise UsageError(f"{flag} {value}: choose one of {', '.join(allowed)}.")
        if self.network.offsets and self.surrogate == "noise":
            raise UsageError("--offsets needs rounding to move symbols: give --surrogate mixed.")
        if self.crop < 64 or self.crop % 64:
            raise UsageError("--crop must be a multiple of 64, the stride of the hyper latent.")
        if min(self.steps, self.batch, self.validate_every, self.save_every) < 1:
            raise UsageError("--steps, --batch and the intervals must be at least 1.")
        if not 1 <= self.downscale_from <= self.downscale < math.inf:
            raise UsageError("--downscale-from must be at least 1 and --downscale a number not below it.")
        if not all(0 < rate < math.inf for rate in (self.lr, self.lr_aux, self.lr_rates, self.lr_source)):
            raise UsageError("--lr and --lr-source, and the learning rates without an option, must be above 0.")
        if min(self.warmup, self.seed) < 0:
            raise UsageError("--warmup and --seed must not be negative.")
        if not self.clip >= 0:
            raise UsageError("--clip must not be negative (0 is off).")
        if not 0 <= self.ema < 1:
            raise UsageError("--ema must be at least 0 and below 1 (0 is off).")
        if any(step < 1 for step in self.snapshots) or tuple(sorted(set(self.snapshots))) != self.snapshots:
            raise UsageError("--snapshots: name each step once, in rising order, from 1.")

    @property
    def loss_lambdas(self) -> tuple[float, ...]:
        """Return the lambda of each rate in the loss, before a regularizer changes it."""
        return tuple(self.lambda_factor * value for value in self.lambdas)

    def with_precision(self, precision: str) -> TrainConfig:
        """Return the settings with `precision` where they leave it open (auto)."""
        return replace(self, precision=precision) if self.precision == "auto" else self

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and strings, as JSON has them."""
        plain = asdict(self)
        plain["lambdas"] = list(self.lambdas)
        plain["regularizer"]["alpha"] = list(self.regularizer.alpha)
        plain["snapshots"] = list(self.snapshots)
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> TrainConfig:
        """Undo `to_dict`; a key that is not a field is a `UsageError`."""
        unknown = set(plain) - {f.name for f in fields(cls)}
        if unknown:
            raise UsageError(f"unknown training settings: {', '.join(sorted(unknown))}.")
        regularizer = dict(plain["regularizer"])
        regularizer["alpha"] = tuple(regularizer["alpha"])
        return cls(
            **{
                **plain,
                "network": NetworkConfig(**plain["network"]),
                "regularizer": RegularizerConfig(**regularizer),
                "lambdas": tuple(plain["lambdas"]),
                "snapshots": tuple(plain.get("snapshots", ())),
            }
        )


PRESETS: dict[str, TrainConfig] = {
    "modern": TrainConfig(),
    # the regularizer paper, section 4: additive uniform noise, batch 16 of 256x256, Adam 1e-4 and 1e-3, 9:1, 2e6 steps
    "paper": replace(
        TrainConfig(),
        network=NetworkConfig(N=128, M=192),
        steps=2_000_000,
        batch=16,
        downscale=1.0,
        balance="equal",
        lr=1e-4,
        schedule="constant",
        warmup=0,
        ema=0.0,
        surrogate="noise",
        precision="fp32",
        start="random",
    ),
}
