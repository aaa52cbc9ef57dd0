"""`import regcodec`: encode, decode and the Pillow plugin, as docs/python.md shows them."""

from __future__ import annotations

import io
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import regcodec
from regcodec.codec.library import DEFAULT
from regcodec.errors import DamagedFileError, LimitError, PackNotFoundError, RegcodecError, UsageError
from tests.images import render

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def default_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tiny pack be the default one, and the working directory be empty but for a photo."""
    packs, work = tmp_path / "packs", tmp_path / "work"
    packs.mkdir()
    work.mkdir()
    shutil.copy(GOLDEN / "tiny.rgm", packs / f"{DEFAULT}.rgm")
    monkeypatch.setenv("REGCODEC_MODELS", str(packs))
    monkeypatch.chdir(work)
    Image.fromarray(render(1, 70, 50)).save("photo.png")


def test_the_examples_of_the_page_run_in_order() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 5
    exec(compile("\n".join(blocks), str(PAGE), "exec"), {})


def test_importing_regcodec_loads_pillow_and_nothing_heavy(python: Callable[[str], str]) -> None:
    heavy = ["numpy", "onnxruntime", "constriction", "click", "rich", "torch", "regcodec.api", "regcodec.codec"]
    loaded = python(f"import regcodec, sys; print([name for name in {heavy} if name in sys.modules])")
    assert loaded == "[]\n"


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1", "CMYK"])
def test_an_image_of_any_mode_goes_through_pillow(mode: str) -> None:
    image = Image.fromarray(render(1, 70, 50)).convert(mode)
    if "A" in mode:
        image.putalpha(77)
    buffer = io.BytesIO()
    image.save(buffer, "RGC", quality=4)
    with Image.open(buffer) as opened:
        assert opened.format == "RGC"
        assert opened.get_format_mimetype() == "image/x-regcodec"
        assert opened.size == image.size
        assert opened.mode == {"P": "RGB", "1": "L", "CMYK": "RGB"}.get(mode, mode)
        if "A" in mode:
            assert opened.getchannel("A").getextrema() == (77, 77)
        assert opened.tobytes() == regcodec.decode(buffer.getvalue()).tobytes()


def test_opening_reads_metadata_and_decodes_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.open("photo.png").save("photo.rgc", exif=tags, xmp=b"<x/>")
    monkeypatch.setattr("regcodec.api.decode", lambda *_: pytest.fail("decoded"))
    with Image.open("photo.rgc") as image:
        assert (image.mode, image.size) == ("RGB", (70, 50))
        assert image.getexif()[0x0112] == 6
        assert image.info["xmp"] == b"<x/>"


@pytest.mark.parametrize("shape", [(50, 70), (50, 70, 1), (50, 70, 2), (50, 70, 3), (50, 70, 4)])
def test_arrays_of_every_layout_come_back(shape: tuple[int, ...]) -> None:
    pixels = np.full(shape, 90, np.uint8)
    back = np.asarray(regcodec.decode(regcodec.encode(pixels)))
    assert back.shape == (shape[:2] if shape[2:] == (1,) else shape)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4), float), np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4), np.uint8)])
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(UsageError, match="is no picture"):
        regcodec.encode(pixels)


def test_a_path_and_its_image_give_the_same_bytes() -> None:
    assert (
        regcodec.encode("photo.png") == regcodec.encode(Image.open("photo.png")) == regcodec.encode(Path("photo.png"))
    )


def test_failures_name_the_file_and_are_one_family() -> None:
    with pytest.raises(RegcodecError, match=r"^none.rgc: No such file or directory\.$"):
        regcodec.decode("none.rgc")
    with pytest.raises(UsageError, match=f"-q 9: pack {DEFAULT} has the qualities 1, 3, 4"):
        regcodec.encode("photo.png", 9)
    with pytest.raises(UsageError, match="exif, icc, xmp"):
        regcodec.encode("photo.png", strip="exif")
    Path("bad.rgc").write_bytes(regcodec.encode("photo.png")[:-1])
    with pytest.raises(DamagedFileError, match="truncated"):
        Image.open("bad.rgc")


def test_bytes_of_every_kind_are_decoded() -> None:
    data = regcodec.encode("photo.png")
    expected = regcodec.decode(data).tobytes()
    assert regcodec.decode(bytearray(data)).tobytes() == expected
    assert regcodec.decode(memoryview(data)).tobytes() == expected


@pytest.mark.parametrize("data", [io.BytesIO(), None, 3])
def test_what_is_neither_bytes_nor_a_path_is_not_decoded(data: Any) -> None:
    with pytest.raises(UsageError, match=r"is no \.rgc file; pass its bytes or its path"):
        regcodec.decode(data)


@pytest.mark.parametrize("image", [b"\x89PNG", io.BytesIO(), None, [[1, 2]]])
def test_what_is_neither_an_image_an_array_nor_a_path_is_not_encoded(image: Any) -> None:
    with pytest.raises(UsageError, match="is no picture; pass a Pillow image, an array or the path of a file"):
        regcodec.encode(image)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"quality": "3"}, "quality='3': a number"),
        ({"target_size": "40KB"}, "target_size='40KB': a number"),
        ({"depth": 16}, "depth=16: 8 or None"),
        ({"threads": "1"}, "threads='1': a whole number from 1 to 1024"),
        ({"threads": 0}, "threads=0: a whole number from 1 to 1024"),
        ({"threads": -1}, "threads=-1: a whole number from 1 to 1024"),
        ({"model": 3}, "model=3: a pack by name or file"),
        ({"max_pixels": 0}, "max_pixels=0: a whole number from 1 on"),
        ({"max_pixels": "many"}, "max_pixels='many': a whole number from 1 on"),
        ({"strip": None}, "strip=None: a collection of exif, icc, xmp"),
        ({"target_psnr": math.nan}, "--target-psnr nan: give a number above 0"),
    ],
)
def test_an_option_that_is_no_value_of_its_kind_is_named(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        regcodec.encode("photo.png", **options)


def test_an_image_whose_file_is_cut_short_is_a_failure_of_the_family() -> None:
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:2000])
    with Image.open("cut.png") as image, pytest.raises(RegcodecError, match="the image cannot be read"):
        regcodec.encode(image)


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_image_with_several_frames_is_refused_and_a_copy_of_one_is_not(format_: str) -> None:
    frames = [Image.fromarray(render(seed, 24, 16)) for seed in range(3)]
    for count in (1, 3):
        frames[0].save("frames", format_, save_all=True, append_images=frames[1:count])
        with Image.open("frames") as image:
            if count == 1:
                assert regcodec.encode(image) == regcodec.encode(image.copy())
                continue
            with pytest.raises(RegcodecError, match="animated or has several pages"):
                regcodec.encode(image)
            image.seek(2)
            assert regcodec.decode(regcodec.encode(image.copy())).size == (24, 16)
    with Image.open("frames") as image:
        image.load()
    if format_ in ("GIF", "TIFF"):  # closed, these do not know any more
        assert regcodec.decode(regcodec.encode(image)).size == (24, 16)


def test_the_limit_of_pixels_is_the_callers() -> None:
    data = regcodec.encode("photo.png", max_pixels=3500)
    pixels = np.zeros((50, 70), np.uint8)
    for image in ("photo.png", Image.open("photo.png"), pixels):
        with pytest.raises(LimitError, match="70x50 pixels; the limit is 3,499"):
            regcodec.encode(image, max_pixels=3499)
    Path("photo.rgc").write_bytes(data)
    for coded in (data, "photo.rgc"):
        assert regcodec.decode(coded, max_pixels=3500).size == (70, 50)
        with pytest.raises(LimitError, match="70x50 pixels; the limit is 3,499"):
            regcodec.decode(coded, max_pixels=3499)
    with pytest.raises(LimitError):
        Image.open("photo.png").save("photo.rgc", max_pixels=3499)


def test_a_file_is_closed_once_its_pixels_are_there() -> None:
    Image.open("photo.png").save("photo.rgc")
    image = Image.open("photo.rgc")
    opened = image.fp
    image.load()
    assert (opened.closed, image.fp) == (True, None)
    with Path("photo.rgc").open("rb") as lent:
        Image.open(lent).load()
        assert not lent.closed


def test_whatever_pillow_raises_for_its_image_is_a_regcodec_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise AssertionError("of a parser")

    monkeypatch.setattr(regcodec.api, "picture_of", broken)
    with pytest.raises(RegcodecError, match=r"the image cannot be read \(of a parser\)"):
        regcodec.encode(Image.new("RGB", (8, 8)))


def test_a_name_that_no_file_can_have_is_a_failure_of_the_family() -> None:
    for code in (regcodec.encode, regcodec.decode):
        with pytest.raises(RegcodecError, match="null byte"):
            code("a\0b")


def test_an_image_without_pixels_is_refused_as_such() -> None:
    with pytest.raises(RegcodecError, match="the image is 0x5: it has no pixels") as caught:
        regcodec.encode(Image.new("RGB", (0, 5)))
    assert caught.value.exit_code == 1


def test_a_failed_save_leaves_no_file() -> None:
    with pytest.raises(UsageError):
        Image.open("photo.png").save("photo.rgc", quality=77)
    assert not Path("photo.rgc").exists()


def test_a_tiff_keeps_its_exif_when_other_metadata_is_replaced() -> None:
    tags = Image.Exif()
    tags[0x010E] = "a shore"
    Image.open("photo.png").save("photo.tif", exif=tags)
    for replaced, kept in (({"xmp": b"<x/>"}, {0x010E: "a shore"}), ({"xmp": b"<x/>", "exif": b""}, {})):
        Image.open("photo.tif").save("photo.rgc", **replaced)
        with Image.open("photo.rgc") as image:
            assert dict(image.getexif()) == kept
            assert image.info["xmp"] == b"<x/>"


def test_loading_fails_for_the_same_reason_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.open("photo.png").save("photo.rgc")
    image = Image.open("photo.rgc")
    with monkeypatch.context() as without:
        without.setattr("regcodec.codec.library.pack_folders", list)
        for _ in range(2):
            with pytest.raises(PackNotFoundError):
                image.load()
    assert image.tobytes() == regcodec.decode("photo.rgc").tobytes()


def test_names_that_do_not_exist_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'encoder'"):
        _ = regcodec.encoder
