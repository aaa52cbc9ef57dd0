"""What comes with the pixels: transparency, profiles, Exif, XMP, and image files of every kind on both sides."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageCms

from regcodec.bitstream.container import Chunk, RgcFile, read_rgc, write_rgc
from regcodec.codec import alpha as alpha_module
from regcodec.codec.alpha import METHODS, read_alpha, smooth_hidden, write_alpha
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.depth import bits_a_sample
from regcodec.codec.exif import load_exif, orientation
from regcodec.codec.metadata import LARGEST_BLOB
from regcodec.codec.model import Model
from regcodec.codec.picture import Picture, decode_picture, encode_picture
from regcodec.codec.reading import image_suffixes, picture_of, read_picture
from regcodec.codec.strip import strip, to_srgb
from regcodec.codec.tiles import Box
from regcodec.codec.writing import FORMATS, to_image, write_picture
from regcodec.config import IMAGE_FORMATS
from regcodec.errors import DamagedFileError, LimitError, RegcodecError, UsageError
from tests import reference_decoder
from tests.images import render

WIDTH, HEIGHT = 70, 50
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def wide_profile() -> bytes:
    """Return the sRGB profile with red and green primaries exchanged, under another name: colours change visibly."""
    exchanged = SRGB.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    return exchanged.replace("sRGB".encode("utf-16-be"), "WIDE".encode("utf-16-be"))


def linear_profile() -> bytes:
    """Return the sRGB profile with a gamma of 1, as painting programs have it, and sRGB in its name."""
    curve = SRGB.index(b"para\0\0\0\0\0\3\0\0") + 12
    one, nothing = struct.pack(">l", 1 << 16), bytes(4)
    return SRGB.replace(SRGB[curve : curve + 20], one + one + nothing + one + nothing)


def exif_bytes(turn: int = 6) -> bytes:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = turn, "maker"
    tags.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    return tags.tobytes().removeprefix(b"Exif\0\0")


def colour() -> Image.Image:
    return Image.fromarray(render(1, WIDTH, HEIGHT))


def lab() -> Image.Image:
    srgb, wanted = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.profileToProfile(colour(), srgb, wanted, outputMode="LAB")
    assert converted is not None
    return converted


def soft_alpha() -> np.ndarray:
    ramp = np.linspace(0, 255, WIDTH).astype(np.uint8)
    return np.broadcast_to(ramp, (HEIGHT, WIDTH)).copy()


def transparent() -> Image.Image:
    image = colour()
    image.putalpha(Image.fromarray(soft_alpha()))
    return image


def alpha_stream(number: int, alpha: np.ndarray) -> bytes:
    return zlib.compress(METHODS[number].apply(alpha, np.zeros(alpha.shape[1], np.uint8)).tobytes())


def saved(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def png_of_16_bits(colour_type: int, samples: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(range(6 * samples)) for _ in range(2))
    header = struct.pack(">IIBBBBB", 3, 2, 16, colour_type, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


STILLS: dict[str, tuple[Callable[[], bytes], str]] = {
    "png": (lambda: saved(colour(), "PNG"), "RGB"),
    "grey": (lambda: saved(colour().convert("L"), "PNG"), "L"),
    "rgba": (lambda: saved(transparent(), "PNG"), "RGBA"),
    "grey-alpha": (lambda: saved(transparent().convert("LA"), "PNG"), "LA"),
    "one-bit": (lambda: saved(colour().convert("1"), "PNG"), "L"),
    "palette": (lambda: saved(colour().quantize(16), "PNG"), "RGB"),
    "grey-palette": (lambda: saved(colour().convert("L").convert("P"), "PNG"), "L"),
    "grey-palette-one-transparent": (lambda: saved(colour().convert("L").convert("P"), "PNG", transparency=90), "LA"),
    "palette-with-alpha": (lambda: saved(transparent().quantize(16), "PNG"), "RGBA"),
    "palette-one-transparent": (lambda: saved(colour().quantize(16), "PNG", transparency=3), "RGBA"),
    "rgb-one-transparent": (
        lambda: saved(colour(), "PNG", transparency=tuple(render(1, WIDTH, HEIGHT)[0, 0].tolist())),
        "RGBA",
    ),
    "opaque-alpha": (lambda: saved(colour().convert("RGBA"), "PNG"), "RGB"),
    "jpeg": (lambda: saved(colour(), "JPEG"), "RGB"),
    "mpo-of-a-phone": (lambda: saved(colour(), "MPO", save_all=True, append_images=[colour()]), "RGB"),
    "cmyk-jpeg": (lambda: saved(colour().convert("CMYK"), "JPEG"), "RGB"),
    "cmyk-tiff": (lambda: saved(colour().convert("CMYK"), "TIFF"), "RGB"),
    "lab-tiff": (lambda: saved(lab(), "TIFF"), "RGB"),
    "ycbcr-tiff": (lambda: saved(colour().convert("YCbCr"), "TIFF"), "RGB"),
    "gif": (lambda: saved(colour(), "GIF"), "RGB"),
    "webp": (lambda: saved(transparent(), "WEBP"), "RGBA"),
    "avif": (lambda: saved(colour(), "AVIF"), "RGB"),
    "jpeg-2000": (lambda: saved(colour(), "JPEG2000"), "RGB"),
    "bmp": (lambda: saved(colour(), "BMP"), "RGB"),
    "ppm": (lambda: saved(colour(), "PPM"), "RGB"),
    "tga": (lambda: saved(transparent(), "TGA"), "RGBA"),
}


@pytest.mark.parametrize("name", STILLS)
def test_every_still_comes_back_in_its_mode_and_size(name: str, model: Model) -> None:
    make, mode = STILLS[name]
    picture = read_picture(make())
    decoded = decode_picture(encode_picture(picture, model, 4.0), model)
    image = to_image(decoded)
    assert (image.mode, image.size) == (mode, (WIDTH, HEIGHT))
    if picture.alpha is None:
        assert decoded.alpha is None
    else:
        np.testing.assert_array_equal(decoded.alpha, picture.alpha)


@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        elements=st.one_of(st.sampled_from([0, 255]), st.integers(0, 255)),
    )
)
@settings(max_examples=60, deadline=None)
def test_any_alpha_plane_comes_back_exactly(alpha: np.ndarray) -> None:
    np.testing.assert_array_equal(read_alpha(write_alpha(alpha), *alpha.shape), alpha)


@pytest.mark.parametrize("number", METHODS)
@pytest.mark.parametrize("band", [1, 3 * WIDTH, 7 * WIDTH + 5])
def test_bands_of_an_alpha_plane_make_the_stream_of_the_whole(
    number: int, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    plane = (plane > 128).astype(np.uint8) * np.uint8(255) if number == 4 else plane
    whole = zlib.decompress(alpha_module._compressed(plane, number, level=9))
    monkeypatch.setattr(alpha_module, "BAND", band)
    assert zlib.decompress(alpha_module._compressed(plane, number, level=9)) == whole
    np.testing.assert_array_equal(read_alpha(bytes([number]) + zlib.compress(whole), HEIGHT, WIDTH), plane)


@pytest.mark.parametrize("number", METHODS)
def test_every_method_of_the_alpha_chunk_decodes(number: int) -> None:
    alpha = (soft_alpha() > 128).astype(np.uint8) * np.uint8(255) if number == 4 else soft_alpha()
    payload = bytes([number]) + alpha_stream(number, alpha)
    np.testing.assert_array_equal(read_alpha(payload, HEIGHT, WIDTH), alpha)


@pytest.mark.parametrize("number", METHODS)
def test_the_reference_decoder_reads_alpha_and_metadata_alike(number: int, rich_file: bytes) -> None:
    alpha = (soft_alpha() > 128).astype(np.uint8) * np.uint8(255) if number == 4 else soft_alpha()
    payload = bytes([number]) + alpha_stream(number, alpha)
    data = with_chunk(rich_file, b"A", payload)
    assert reference_decoder.decode_alpha(data) == alpha.tolist()
    assert reference_decoder.decode_metadata(data) == {"i": SRGB, "e": exif_bytes(), "x": XMP}


def test_a_mask_on_a_kodak_sized_picture_costs_at_most_150_bytes() -> None:
    mask = np.zeros((512, 768), np.uint8)
    mask[100:300, 200:500] = 255
    assert len(write_alpha(mask)) <= 150


def test_colour_under_full_transparency_is_smoothed_and_no_other() -> None:
    pixels = render(2, WIDTH, HEIGHT)
    alpha = soft_alpha()
    alpha[10:30, 10:40] = 0
    smooth = smooth_hidden(pixels, alpha)
    np.testing.assert_array_equal(smooth[alpha > 0], pixels[alpha > 0])
    inside = (slice(12, 28), slice(12, 38))
    assert (
        np.abs(np.diff(smooth[inside].astype(int), axis=1)).mean()
        < np.abs(np.diff(pixels[inside].astype(int), axis=1)).mean()
    )


def test_the_colour_of_a_transparent_picture_decodes_without_its_alpha(model: Model) -> None:
    data = encode_picture(picture_of(transparent()), model, 4.0)
    assert decode_pixels(data, model).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_profile_exif_and_xmp_are_kept_byte_for_byte(format_: str, model: Model) -> None:
    exif = b"Exif\0\0" + exif_bytes(1 if format_ == "AVIF" else 6)
    options: dict[str, Any] = {"exif": exif, "icc_profile": SRGB, "xmp": XMP}
    if format_ == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
    picture = read_picture(saved(colour(), format_, **options))
    assert picture.icc == SRGB
    assert picture.xmp == XMP
    assert picture.exif is not None
    if format_ != "AVIF":  # Pillow writes Exif anew there
        assert picture.exif == exif_bytes()
    decoded = decode_picture(encode_picture(picture, model, 4.0), model)
    assert (decoded.icc, decoded.exif, decoded.xmp) == (picture.icc, picture.exif, picture.xmp)


@pytest.mark.parametrize("name", FORMATS)
def test_an_image_file_looks_the_same_and_has_the_metadata_it_can_carry(name: str) -> None:
    given_ = Picture(pixels=render(1, WIDTH, HEIGHT), icc=SRGB, exif=exif_bytes(6), xmp=XMP)
    data = write_picture(given_, FORMATS[name])
    with Image.open(io.BytesIO(data)) as image:
        carried = {"icc": image.info.get("icc_profile") == SRGB, "xmp": image.info.get("xmp") == XMP}
    read = read_picture(data)
    if name in ("png", "webp", "jpeg"):
        assert (read.exif, orientation(read.exif)) == (given_.exif, 6)
        assert all(carried.values())
        upright = read.pixels
        expected = given_.pixels
    else:  # Pillow turns a TIFF by its tag, we turn for formats without one
        upright = read.pixels
        expected = np.rot90(given_.pixels, -1)
        assert all(carried.values()) == (name == "tiff")
    if name != "jpeg":
        np.testing.assert_array_equal(upright, expected)


@pytest.mark.parametrize("pointers", [[(3, 1)], [(4, 1), (99, 1)], [(4, 2)], [(4, 1)] * 3])
def test_exif_with_odd_pointers_is_not_read(pointers: list[tuple[int, int]]) -> None:
    """Readers do not agree on what lies behind them."""
    rows = [(0x010F, 2, 3, 0)] + [(0x8769, kind, length, 64) for kind, length in pointers]
    packed = struct.pack("<H", len(rows)) + b"".join(struct.pack("<HHLL", *row) for row in rows)
    exif = b"II*\0\x08\0\0\0" + packed + bytes(100)
    assert not load_exif(exif)


@pytest.mark.parametrize("head", [b"II*\0", b"MM\0*", b"II\0*", b"MM*\0"])
@pytest.mark.parametrize("kind", [1, 3, 4, 8, 9])
def test_an_orientation_is_read_as_odd_writers_write_it(head: bytes, kind: int) -> None:
    order = "<" if head.startswith(b"II") else ">"
    width = {1: "B", 3: "H", 4: "L", 8: "h", 9: "l"}[kind]
    value = struct.pack(order + width, 6).ljust(4, b"\0")
    exif = head + struct.pack(order + "LHHHL", 8, 1, 0x0112, kind, 1) + value + bytes(4)
    for prefixed in (exif, b"Exif\0\0" + exif):
        assert orientation(prefixed) == 6
        assert 0x0112 in load_exif(prefixed)
    png = saved(colour(), "PNG", exif=b"Exif\0\0Exif\0\0" + exif)
    assert read_picture(png, stripped={"exif"}).pixels.shape == (WIDTH, HEIGHT, 3)


def test_a_tiff_keeps_what_describes_the_picture_and_not_the_old_file(model: Model) -> None:
    picture = read_picture(saved(colour(), "TIFF", exif=b"Exif\0\0" + exif_bytes(6), icc_profile=SRGB))
    tags = Image.Exif()
    tags.load(b"Exif\0\0" + (picture.exif or b""))
    assert tags[0x010F] == "maker"
    assert tags.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
    assert 0x0111 not in tags  # StripOffsets
    assert (picture.width, picture.height, orientation(picture.exif)) == (HEIGHT, WIDTH, 1)


def odd_exif() -> bytes:
    """Return Exif with ResolutionUnit and GPSVersionID as text, which are numbers elsewhere, beside plain tags."""

    def directory(*entries: tuple[int, int, int, bytes]) -> bytes:
        rows = (struct.pack("<HHL4s", *entry) for entry in entries)
        return struct.pack("<H", len(entries)) + b"".join(rows) + bytes(4)

    main = directory((0x010F, 2, 3, b"me"), (0x0128, 2, 2, b"2"), (0x8825, 4, 1, struct.pack("<L", 50)))
    return b"II*\0\x08\0\0\0" + main + directory((0, 2, 4, b"2.2"), (1, 2, 2, b"N"))


def test_a_tag_of_an_odd_type_costs_a_tiff_that_tag_alone() -> None:
    picture = read_picture(saved(colour(), "JPEG", exif=b"Exif\0\0" + odd_exif()))
    assert picture.exif == odd_exif()
    with Image.open(io.BytesIO(write_picture(picture, FORMATS["tiff"]))) as image:
        assert image.getexif()[0x010F] == "me"
        assert 0x0128 not in image.getexif()
        assert image.getexif().get_ifd(0x8825) == {1: "N"}


def test_a_tiff_with_a_tag_of_an_odd_type_is_read() -> None:
    data = saved(colour(), "TIFF", exif=b"Exif\0\0" + exif_bytes(1), resolution_unit=2)
    unit = struct.pack("<HH", 0x0128, 3)
    assert data.count(unit) == 1
    tags = load_exif(read_picture(data.replace(unit, struct.pack("<HH", 0x0128, 2))).exif)
    assert tags[0x010F] == "maker"
    assert 0x0128 not in tags


def test_exif_that_a_png_has_as_text_is_kept() -> None:
    """ImageMagick and others wrote it so before PNG had a chunk for it."""
    from PIL.PngImagePlugin import PngInfo

    digits = (b"Exif\0\0" + exif_bytes(6)).hex()
    for text, kept in ((digits, exif_bytes(6)), (digits[:-1] + "?", None)):
        told = PngInfo()
        told.add_text("Raw profile type exif", f"\nexif\n{len(digits) // 2:8}\n{text[:72]}\n{text[72:]}\n", zip=True)
        assert read_picture(saved(colour(), "PNG", pnginfo=told)).exif == kept


@pytest.mark.parametrize("turn", range(1, 9))
def test_stripped_exif_leaves_the_picture_upright(turn: int) -> None:
    from PIL import ImageOps

    stored = saved(transparent(), "PNG", exif=b"Exif\0\0" + exif_bytes(turn))
    stripped = read_picture(stored, stripped={"exif"})
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(stored)))
    assert stripped.exif is None
    np.testing.assert_array_equal(to_image(stripped), upright)


def test_a_stripped_profile_leaves_srgb_colours_and_srgb_pixels_alone() -> None:
    pixels = render(1, WIDTH, HEIGHT)
    plain = strip(Picture(pixels=pixels, icc=SRGB), {"icc"})
    assert plain.icc is None
    np.testing.assert_array_equal(plain.pixels, pixels)
    wide = strip(Picture(pixels=pixels, icc=wide_profile()), {"icc"})
    assert np.abs(wide.pixels.astype(int) - pixels).mean() > 5
    np.testing.assert_array_equal(to_srgb(pixels, b"no profile"), pixels)
    grey = np.full((2, 2, 3), 64, np.uint8)
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(linear_profile())))
    np.testing.assert_allclose(to_srgb(grey, linear_profile()), 137, atol=1)


def test_tags_that_share_their_bytes_take_no_memory() -> None:
    """300 of a megabyte each, in a block of one: read one after another they would be 300 MB."""
    shared, tags = 1 << 20, 300
    start = 8 + 2 + 12 * (tags + 1) + 4
    turn = struct.pack("<HHLHH", 0x0112, 3, 1, 6, 0)
    rows = turn + b"".join(struct.pack("<HHLL", 0xC000 + i, 7, shared, start) for i in range(tags))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", tags + 1) + rows + bytes(4 + shared)
    picture = Picture(pixels=render(1, 24, 16), exif=exif)
    tracemalloc.start()
    assert orientation(exif) == 6
    assert not load_exif(exif)
    tiff = write_picture(picture, FORMATS["tiff"])
    turned = strip(picture, {"exif"})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    assert (turned.width, turned.height) == (16, 24)
    assert len(tiff) < 1 << 14


@pytest.mark.parametrize(
    "data",
    [
        lambda: saved(colour().convert("CMYK"), "TIFF"),
        lambda: saved(colour().convert("CMYK"), "JPEG", quality=98, subsampling=0),
        lambda: saved(lab(), "TIFF"),
        lambda: saved(colour().convert("CMYK"), "TIFF", icc_profile=b"no profile"),
    ],
)
def test_other_colour_spaces_become_the_same_colours_in_srgb(data: Callable[[], bytes]) -> None:
    picture = read_picture(data())
    assert picture.icc is None
    assert np.abs(picture.pixels.astype(int) - np.asarray(colour())).mean() < 3


def test_an_rgb_picture_with_a_profile_keeps_pixels_and_profile() -> None:
    picture = read_picture(saved(colour(), "PNG", icc_profile=wide_profile()))
    np.testing.assert_array_equal(picture.pixels, colour())
    assert picture.icc == wide_profile()


@pytest.mark.parametrize(("names", "left"), [(["all"], ""), (["exif"], "ix"), (["icc", "xmp"], "e"), ([], "iex")])
@pytest.mark.usefixtures("only_tiny")
def test_strip_takes_what_it_names(names: list[str], left: str, run: Callable[..., Result], tmp_path: Path) -> None:
    source, target = tmp_path / "a.webp", tmp_path / "a.rgc"
    source.write_bytes(saved(colour(), "WEBP", exif=exif_bytes(), icc_profile=SRGB, xmp=XMP))
    options = [word for name in names for word in ("--strip", name)]
    result = run("encode", source, "--model", "tiny", *options)
    assert result.exit_code == 0, result.stderr
    kinds = b"".join(chunk.type for chunk in read_rgc(target.read_bytes()).chunks).decode()
    assert kinds == left + "S"


DEEP = {
    "png-grey": lambda: saved(Image.fromarray(np.arange(6, dtype=np.uint16).reshape(2, 3) * 13107), "PNG"),
    "png-rgb": lambda: png_of_16_bits(2, 3),
    "png-rgba": lambda: png_of_16_bits(6, 4),
    "tiff-grey": lambda: saved(Image.fromarray(np.arange(6, dtype=np.uint16).reshape(2, 3)), "TIFF"),
    "ppm": lambda: b"P6 2 1 65535\n" + bytes(range(12)),
    "pgm": lambda: b"P5 2 1 65535\n" + bytes(range(4)),
    "jpeg-2000": lambda: saved(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8)), "JPEG2000"),
}


@pytest.mark.parametrize("name", DEEP)
def test_sixteen_bits_are_refused_unless_depth_8_is_asked_for(name: str) -> None:
    data = DEEP[name]()
    with pytest.raises(RegcodecError, match="encode does so with --depth 8"):
        read_picture(data)
    assert read_picture(data, depth=8).pixels.dtype == np.uint8


def test_a_transparent_level_of_16_bits_becomes_alpha() -> None:
    levels = Image.fromarray(np.arange(6, dtype=np.uint16).reshape(2, 3) * 1000)
    picture = read_picture(saved(levels, "PNG", transparency=3000), depth=8)
    np.testing.assert_array_equal(picture.alpha, [[255, 255, 255], [0, 255, 255]])


def test_an_avif_file_of_more_than_8_bits_is_recognised() -> None:
    data = bytearray(saved(colour(), "AVIF"))
    with Image.open(io.BytesIO(data)) as image:
        assert bits_a_sample(image, bytes(data)) == 8
        data[data.find(b"av1C") + 6] |= 0x40  # high_bitdepth
        assert bits_a_sample(image, bytes(data)) == 10


def test_depth_8_rounds_grey_levels() -> None:
    levels = read_picture(DEEP["png-grey"](), depth=8).pixels
    np.testing.assert_array_equal(levels, [[0, 51, 102], [153, 204, 255]])


def spider_of_no_stack() -> bytes:
    """Return a SPIDER file with a number in a stack that it has not, which Pillow meets with an AttributeError."""
    data = bytearray(saved(colour().convert("F"), "SPIDER"))
    data[104:108] = struct.pack("f", 1)
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: saved(colour(), "GIF", save_all=True, append_images=[colour().rotate(90)]), "animated"),
        (lambda: saved(colour(), "PNG", save_all=True, append_images=[colour().rotate(90)]), "animated"),
        (lambda: saved(colour(), "TIFF", save_all=True, append_images=[colour()]), "several pages"),
        (lambda: saved(colour().convert("F"), "TIFF"), "floating-point"),
        (lambda: saved(colour(), "PNG")[:300], "damaged"),
        (spider_of_no_stack, "damaged"),
        (lambda: b"hello", "not an image that this program can read .nor HEIC, JPEG XL, raw files.. Convert"),
        (lambda: b"", "is empty"),
        (lambda: b"\x89RGC\r\n\x1a\n", "already"),
    ],
)
def test_what_cannot_be_coded_is_refused_in_a_sentence(make: Callable[[], bytes], sentence: str) -> None:
    with pytest.raises(RegcodecError, match=sentence):
        read_picture(make())


@pytest.mark.parametrize("name", ["jpeg", "ppm", "bmp"])
def test_transparency_is_never_dropped(name: str) -> None:
    with pytest.raises(UsageError, match="transparency"):
        write_picture(picture_of(transparent()), FORMATS[name])


@pytest.mark.parametrize("name", ["png", "webp", "tiff"])
def test_transparency_is_written_exactly(name: str) -> None:
    read = read_picture(write_picture(picture_of(transparent()), FORMATS[name]))
    np.testing.assert_array_equal(read.alpha, soft_alpha())


def with_chunk(data: bytes, kind: bytes, payload: bytes) -> bytes:
    file = read_rgc(data)
    kept = tuple(chunk for chunk in file.chunks if chunk.type != kind)
    return write_rgc(RgcFile(**{**file.__dict__, "chunks": (Chunk(kind, payload), *kept)}))


BOMB = 80_000_000
"""Bytes that a small chunk would grow to: more than a refusal may take."""
HOSTILE: dict[str, tuple[bytes, Callable[[], bytes]]] = {
    "alpha-method": (b"A", lambda: b"\x09" + zlib.compress(bytes(HEIGHT * WIDTH))),
    "alpha-empty": (b"A", lambda: b""),
    "alpha-short": (b"A", lambda: b"\0" + zlib.compress(bytes(HEIGHT * WIDTH - 1))),
    "alpha-bomb": (b"A", lambda: b"\0" + zlib.compress(bytes(BOMB), 1)),
    "alpha-cut": (b"A", lambda: b"\0" + zlib.compress(bytes(HEIGHT * WIDTH))[:-2]),
    "alpha-more": (b"A", lambda: b"\0" + zlib.compress(bytes(HEIGHT * WIDTH)) + b"more"),
    "alpha-noise": (b"A", lambda: b"\0" + bytes(range(100))),
    "icc-bomb": (b"i", lambda: b"\1" + zlib.compress(bytes(BOMB), 1)),
    "exif-method": (b"e", lambda: b"\2abc"),
    "xmp-empty": (b"x", lambda: b""),
    "xmp-long": (b"x", lambda: b"\0" + bytes(LARGEST_BLOB + 1)),
}


@pytest.fixture(scope="module")
def rich_file(model: Model) -> bytes:
    """A file with every kind of chunk."""
    picture = Picture(pixels=render(1, WIDTH, HEIGHT), alpha=soft_alpha(), icc=SRGB, exif=exif_bytes(), xmp=XMP)
    return encode_picture(picture, model, 4.0)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_chunk_under_a_fitting_crc_is_refused(name: str, rich_file: bytes, model: Model) -> None:
    import tracemalloc

    kind, payload = HOSTILE[name]
    data = with_chunk(rich_file, kind, payload())
    tracemalloc.start()
    with pytest.raises(DamagedFileError):
        decode_picture(data, model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20


def test_a_region_has_its_part_of_the_alpha_plane(rich_file: bytes, model: Model) -> None:
    whole = decode_picture(rich_file, model)
    part = decode_picture(rich_file, model, region=Box(20, 10, 30, 25))
    assert part.alpha is not None
    assert whole.alpha is not None
    np.testing.assert_array_equal(part.alpha, whole.alpha[10:35, 20:50])
    np.testing.assert_array_equal(part.pixels, whole.pixels[10:35, 20:50])
    assert (part.icc, part.exif, part.xmp) == (whole.icc, whole.exif, whole.xmp)


@pytest.mark.parametrize("kind", [b"A", b"i", b"e", b"x"])
def test_a_chunk_given_twice_is_refused(kind: bytes, rich_file: bytes, model: Model) -> None:
    file = read_rgc(rich_file)
    twice = RgcFile(**{**file.__dict__, "chunks": (Chunk(kind, file.chunk(kind)), *file.chunks)})
    with pytest.raises(DamagedFileError, match="2 chunks"):
        decode_picture(write_rgc(twice), model)


def test_every_truncation_and_changed_byte_of_a_file_with_all_chunks_is_refused(rich_file: bytes, model: Model) -> None:
    for place in range(len(rich_file)):
        with pytest.raises(RegcodecError):
            decode_picture(rich_file[:place], model)
        changed = bytearray(rich_file)
        changed[place] ^= 1 << place % 8
        with pytest.raises(RegcodecError):
            decode_picture(bytes(changed), model)


@pytest.mark.usefixtures("only_tiny")
def test_verify_looks_into_every_chunk(rich_file: bytes, run: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "a.rgc"
    path.write_bytes(rich_file)
    assert run("verify", path).exit_code == 0
    for kind, payload in (HOSTILE["alpha-short"], HOSTILE["exif-method"]):
        path.write_bytes(with_chunk(rich_file, kind, payload()))
        assert run("verify", path).exit_code == 3


def test_an_unknown_ancillary_chunk_is_skipped(rich_file: bytes, model: Model) -> None:
    assert decode_picture(with_chunk(rich_file, b"q", b"?"), model).xmp == XMP


def test_huge_metadata_is_refused_by_the_encoder(model: Model) -> None:
    with pytest.raises(LimitError, match="--strip xmp"):
        encode_picture(Picture(pixels=render(1, 8, 8), xmp=bytes(LARGEST_BLOB + 1)), model, 4.0)


def test_damaged_exif_is_kept_and_never_stops_a_picture(model: Model) -> None:
    picture = Picture(pixels=render(1, WIDTH, HEIGHT), exif=b"II*\0" + b"\xff" * 40)
    decoded = decode_picture(encode_picture(picture, model, 4.0), model)
    assert decoded.exif == picture.exif
    for entry in FORMATS.values():
        assert read_picture(write_picture(decoded, entry)).width == WIDTH


def test_every_format_that_a_user_may_name_is_written() -> None:
    assert tuple(FORMATS) == IMAGE_FORMATS


def test_a_walk_takes_pictures_and_not_documents() -> None:
    suffixes = image_suffixes()
    assert {".png", ".jpg", ".jpeg", ".webp", ".tif", ".avif", ".gif", ".bmp"} <= suffixes
    assert not {".pdf", ".eps", ".mpg", ".rgc", ".txt"} & suffixes
