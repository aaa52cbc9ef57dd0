"""PSNR and MS-SSIM against their definitions and against pytorch_msssim. Image: `skimage.data.astronaut()`, public
domain (NASA)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytorch_msssim
import torch
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio

from regcodec.errors import RegcodecError
from regcodec.evaluation.metrics import ms_ssim, ms_ssim_db, psnr

TOLERANCE = 1e-5
"""pytorch_msssim builds its window in float32 whatever the images are; ours is float64."""


def noisy(pixels: np.ndarray, deviation: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, deviation, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def published_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    x, y = (torch.from_numpy(np.atleast_3d(p).transpose(2, 0, 1)[None].astype(np.float64)) for p in (a, b))
    return float(pytorch_msssim.ms_ssim(x, y, data_range=255))


def test_psnr_is_the_one_of_scikit_image() -> None:
    image = astronaut()
    worse = noisy(image, 8)
    assert psnr(image, worse) == pytest.approx(peak_signal_noise_ratio(image, worse, data_range=255), abs=1e-9)


def test_the_largest_possible_error_has_0_db() -> None:
    assert psnr(np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8)) == 0


def test_equal_images_have_infinite_psnr_and_an_ms_ssim_of_one() -> None:
    image = astronaut()
    assert psnr(image, image) == math.inf
    assert ms_ssim(image, image) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("deviation", [2, 15, 60])
@pytest.mark.parametrize("size", [(512, 512), (301, 176), (161, 163)])
def test_ms_ssim_is_the_one_of_pytorch_msssim_at_even_and_odd_sizes(size: tuple[int, int], deviation: int) -> None:
    image = astronaut()[: size[0], : size[1]]
    worse = noisy(image, deviation)
    assert ms_ssim(image, worse) == pytest.approx(published_ms_ssim(image, worse), abs=TOLERANCE)


def test_a_grey_image_has_the_ms_ssim_of_its_one_plane() -> None:
    grey = np.ascontiguousarray(astronaut()[..., 1])
    worse = noisy(grey, 20)
    assert ms_ssim(grey, worse) == pytest.approx(published_ms_ssim(grey, worse), abs=TOLERANCE)


def test_an_inverted_image_has_no_similarity_left() -> None:
    image = astronaut()
    assert ms_ssim(image, 255 - image) == 0


def test_ms_ssim_of_an_image_below_161_pixels_is_not_a_number() -> None:
    image = astronaut()[:160]
    assert math.isnan(ms_ssim(image, image))


def test_ms_ssim_in_db_grows_by_ten_when_the_rest_falls_tenfold() -> None:
    assert ms_ssim_db(0.9) == pytest.approx(10)
    assert ms_ssim_db(0.99) == pytest.approx(20)
    assert ms_ssim_db(1.0) == math.inf


@pytest.mark.parametrize("metric", [psnr, ms_ssim])
def test_other_shapes_and_types_are_refused(metric) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(RegcodecError, match="one shape"):
        metric(image, image[:4])
    with pytest.raises(RegcodecError, match="8-bit"):
        metric(image, image.astype(np.float32))
