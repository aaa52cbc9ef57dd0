"""Codecs and the sweep over real files. Image: `skimage.data.astronaut()`, public domain (NASA)."""

from __future__ import annotations

import math
from concurrent.futures import BrokenExecutor, Future
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from regcodec.errors import RegcodecError, UsageError
from regcodec.evaluation.codecs import PILLOW_CODECS
from regcodec.evaluation.datasets import ImageSet, open_dataset
from regcodec.evaluation.metrics import psnr
from regcodec.evaluation.sweep import Point, load_pixels, sweep


class CountingCodec:
    """Stores raw pixels and reports as its parts how often it was called."""

    name, suffix, qualities, settings = "counting", ".raw", (1.0,), "raw pixels"

    def __init__(self) -> None:
        self.calls = 0

    def prepare(self) -> None: ...

    def encode(self, pixels: np.ndarray, quality: float, *, parts: dict[str, float]) -> bytes:
        self.calls += 1
        parts["encode_coder"] = float(self.calls**2)
        self.shape = pixels.shape
        return pixels.tobytes()

    def decode(self, data: bytes, *, parts: dict[str, float]) -> np.ndarray:
        return np.frombuffer(data, np.uint8).reshape(self.shape)


@pytest.fixture
def image_set(tmp_path: Path) -> ImageSet:
    (tmp_path / "set" / "below").mkdir(parents=True)
    Image.fromarray(astronaut()[:200, :180]).save(tmp_path / "set" / "a.png")
    Image.fromarray(astronaut()[200:300, :120]).save(tmp_path / "set" / "below" / "a.png")
    return open_dataset(str(tmp_path / "set"), None)


@pytest.mark.parametrize("name", list(PILLOW_CODECS))
def test_a_higher_quality_gives_a_larger_and_better_file(name: str) -> None:
    codec, pixels = PILLOW_CODECS[name], astronaut()[:96, :128]
    files = [codec.encode(pixels, quality) for quality in codec.qualities]
    scores = [psnr(pixels, codec.decode(file)) for file in files]
    assert [len(file) for file in files] == sorted({len(file) for file in files})
    assert scores == sorted(scores)


@pytest.mark.parametrize("name", list(PILLOW_CODECS))
def test_a_grey_image_is_measured_as_grey(name: str, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    Image.fromarray(astronaut()[:64, :64, 1]).save(tmp_path / "set" / "grey.png")
    grey_set = open_dataset(str(tmp_path / "set"), None)
    assert load_pixels(grey_set.paths[0]).shape == (64, 64)
    (point,) = sweep(PILLOW_CODECS[name], grey_set, [80], work_dir=tmp_path / "work")
    assert point.psnr > 30


@pytest.mark.parametrize("name", ["avif", "avif-slow", "avif-perceptual"])
def test_avif_is_one_tile_with_the_threads_that_are_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    monkeypatch.setattr(Image.Image, "save", lambda *_, **options: asked.update(options))
    PILLOW_CODECS[name].with_threads(3).encode(astronaut(), 50)
    assert (asked["max_threads"], asked["autotiling"]) == (3, False)
    PILLOW_CODECS["webp"].with_threads(3).encode(astronaut(), 50)


def test_a_picture_that_a_format_cannot_hold_is_one_sentence() -> None:
    with pytest.raises(RegcodecError, match="webp cannot encode 16384x1 pixels"):
        PILLOW_CODECS["webp"].encode(np.zeros((1, 16384, 3), np.uint8), 50)


def test_a_quality_pillow_does_not_have_is_refused() -> None:
    with pytest.raises(UsageError, match="whole qualities"):
        PILLOW_CODECS["jpeg"].encode(astronaut(), 3.5)


def test_the_rate_is_the_size_of_the_file_on_disk(image_set: ImageSet, tmp_path: Path) -> None:
    points = sweep(PILLOW_CODECS["jpeg"], image_set, [20, 80], work_dir=tmp_path / "work")
    sizes = sorted(path.stat().st_size for path in (tmp_path / "work" / "jpeg").iterdir())
    assert sorted(point.bytes for point in points) == sizes
    assert all(point.bpp == point.bytes * 8 / (point.width * point.height) for point in points)


def test_a_point_is_made_for_every_image_and_quality_in_order(image_set: ImageSet, tmp_path: Path) -> None:
    seen: list[Point] = []
    points = sweep(PILLOW_CODECS["jpeg"], image_set, [20, 80], work_dir=tmp_path / "work", on_point=seen.append)
    assert [(point.image, point.quality) for point in points] == [
        ("a.png", 20),
        ("a.png", 80),
        ("below/a.png", 20),
        ("below/a.png", 80),
    ]
    assert seen == points
    assert (points[0].width, points[0].height) == (180, 200)
    assert points[0].ms_ssim < points[1].ms_ssim < 1
    assert math.isnan(points[2].ms_ssim)  # 120 pixels wide
    assert min(point.encode_seconds for point in points) > 0


def test_a_lossless_codec_has_infinite_psnr_and_parts_are_medians(image_set: ImageSet, tmp_path: Path) -> None:
    codec = CountingCodec()
    points = sweep(codec, image_set, [1], work_dir=tmp_path / "work", repeats=3)
    assert codec.calls == 6
    assert [point.psnr for point in points] == [math.inf, math.inf]
    assert [point.parts for point in points] == [{"encode_coder": 4.0}, {"encode_coder": 25.0}]


def test_a_palette_is_looked_up_and_alpha_is_dropped(tmp_path: Path) -> None:
    pixels = astronaut()[:32, :32]
    Image.fromarray(pixels).quantize(16).save(tmp_path / "palette.png")
    Image.fromarray(pixels).convert("RGBA").save(tmp_path / "alpha.png")
    assert load_pixels(tmp_path / "palette.png").shape == (32, 32, 3)
    assert (load_pixels(tmp_path / "alpha.png") == pixels).all()


def test_a_16_bit_image_is_refused_and_not_cut_to_8(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(RegcodecError, match="more than 8 bits a sample"):
        load_pixels(tmp_path / "deep.png")


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(RegcodecError, match=r"broken\.png: not an image"):
        load_pixels(tmp_path / "broken.png")


def test_an_image_with_the_longest_name_that_a_file_can_have_is_measured(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    Image.fromarray(astronaut()[:32, :32]).save(tmp_path / "set" / f"{'a' * 251}.png")
    (point,) = sweep(CountingCodec(), open_dataset(str(tmp_path / "set"), None), [1], work_dir=tmp_path / "work")
    assert point.image == f"{'a' * 251}.png"


def test_a_codec_that_changes_the_size_is_caught(image_set: ImageSet, tmp_path: Path) -> None:
    class Cropping(CountingCodec):
        def decode(self, data: bytes, *, parts: dict[str, float]) -> np.ndarray:
            return super().decode(data, parts=parts)[1:]

    with pytest.raises(RegcodecError, match="rows and columns"):
        sweep(Cropping(), image_set, [1], work_dir=tmp_path / "work")


def test_a_process_that_dies_is_one_sentence(image_set: ImageSet, tmp_path: Path) -> None:
    died: Future = Future()
    died.set_exception(BrokenExecutor())

    def refuse(_: object) -> Future:
        raise BrokenExecutor

    for submit in (lambda _: died, refuse):
        with pytest.raises(RegcodecError, match="a process died"):
            sweep(CountingCodec(), image_set, [1.0], work_dir=tmp_path, submit=submit)
