"""Measuring networks on a data set into a journal: bounds, and codecs through real files. Rows there are stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from regcodec.codec.library import find_pack
from regcodec.codec.model import Model
from regcodec.codec.pixels import Pixels
from regcodec.errors import UsageError
from regcodec.evaluation.datasets import ImageSet
from regcodec.evaluation.pictures import Pictures
from regcodec.evaluation.sweep import load_pixels
from regcodec.study.bound import load_bound
from regcodec.study.bound_codec import Codec, measure_codec, row_of
from regcodec.study.bound_curves import Curve
from regcodec.study.bound_journal import Journal, Row
from regcodec.study.bound_measure import Effort, measure
from regcodec.training.restore import restore_network

Told = Callable[[Row], None]


def chosen(image_set: ImageSet, names: Sequence[str]) -> Pictures:
    """Return the images of these names (without suffix), all for none."""
    found = {path.stem: path for path in image_set.paths}
    if unknown := [name for name in names if name not in found]:
        raise UsageError(f"{image_set.name}: has no image {', '.join(unknown)}. It has {', '.join(sorted(found))}.")
    paths = tuple(found[name] for name in names) if names else image_set.paths
    return Pictures(image_set.name, image_set.root, paths)


def sweep_bound(
    path: Path, images: Pictures, effort: Effort, samples: int, journal: Journal, told: Told, name: str | None = None
) -> Curve:
    """Measure a bound (`bound.load_bound`) on every image at each of its lambdas; return its rows of these images."""
    posterior, about = load_bound(path)
    posterior.requires_grad_(False)
    common = {
        "kind": "bound",
        "id": about["id"],
        "iterations": effort.iterations,
        "lr": effort.lr if effort.iterations else None,
        "samples": samples,
    }
    for file in images.paths:
        pixels: Pixels | None = None
        for rate, lambda_ in enumerate(posterior.lambdas):
            key = {**common, **_identity(images, file), "lambda": lambda_}
            if journal.has(**key):
                continue
            pixels = rgb(file) if pixels is None else pixels
            figures = measure(posterior, pixels, rate, effort, samples)
            journal.add(**key, name=name or about["name"], steps=about["steps"], **figures)
            told(journal.rows[-1])
    return _rows(journal, images, **common)


def sweep_codec(
    pack: str,
    images: Pictures,
    lambdas: Sequence[float],
    effort: int,
    journal: Journal,
    told: Told,
    name: str | None = None,
) -> Curve:
    """Code every image at the quality of each lambda with a pack; return the rows of these images."""
    model = Model.open(find_pack(pack), threads=torch.get_num_threads())
    for lambda_ in lambdas:
        row_of(model, lambda_)
    codec = Codec(model, restore_network(model.pack).requires_grad_(False))
    common = {"kind": "codec", "id": model.pack.id, "effort": effort}
    for file in images.paths:
        pixels: Pixels | None = None
        for lambda_ in lambdas:
            key = {**common, **_identity(images, file), "lambda": lambda_}
            if journal.has(**key):
                continue
            pixels = rgb(file) if pixels is None else pixels
            journal.add(**key, name=name or model.name, **measure_codec(codec, pixels, lambda_, effort))
            told(journal.rows[-1])
    return [row for row in _rows(journal, images, **common) if row["lambda"] in lambdas]


def rgb(path: Path) -> Pixels:
    """Return the pixels of an image, [H, W, 3]; a grey one three times."""
    pixels = load_pixels(path)
    return pixels[:, :, None].repeat(3, 2) if pixels.ndim == 2 else pixels


def _identity(images: Pictures, file: Path) -> dict[str, str]:
    label = images.label(file)
    return {"image": label, "digest": images.digests[label]}


def _rows(journal: Journal, images: Pictures, **fields: object) -> Curve:
    known = images.digests.items()
    return [row for row in journal.select(**fields) if (row["image"], row.get("digest")) in known]
