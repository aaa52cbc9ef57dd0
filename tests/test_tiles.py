"""Large pictures: cut into tiles, coded one by one, put together without a seam.

The tiny pack with tiny tile constants, so that a picture of 300x200 pixels has six tiles.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regcodec.bitstream.container import Chunk, RgcFile, read_rgc, write_rgc
from regcodec.cli.main import main
from regcodec.codec import decoder
from regcodec.codec.decoder import decode_pixels, decode_symbols
from regcodec.codec.encoder import encode_pixels, encode_symbols
from regcodec.codec.model import Model
from regcodec.codec.pack import Pack, pack_bytes, read_pack
from regcodec.codec.pixels import from_planes, to_planes
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.tiles import Box, Grid, Tiling
from regcodec.config import MAX_PIXELS
from regcodec.errors import DamagedFileError, LimitError, UsageError
from tests.images import render

TINY = Path(__file__).parent / "golden" / "tiny.rgm"
TILES = {"whole": 128 * 128, "core": 128, "analysis_halo": 64, "synthesis_halo": 32}
WIDTH, HEIGHT, COUNT = 300, 200, 6
FIRST_BYTE = 7
"""Of a symbols chunk's payload, behind the CRC of the symbols."""


def write_pack(path: Path, **constants: int) -> Path:
    """Write the tiny pack with other tile constants."""
    pack = read_pack(TINY)
    members = {**pack.members, "codec.json": json.dumps({**pack.codec, "tile": {**TILES, **constants}}).encode()}
    path.write_bytes(pack_bytes(members, pack.manifest))
    return path


@pytest.fixture(scope="module")
def tiled_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("tiles") / "tiled.rgm")


@pytest.fixture(scope="module")
def tiled(tiled_pack: Path) -> Model:
    return Model.open(tiled_pack, threads=1)


@pytest.fixture(scope="module")
def coded(tiled: Model) -> bytes:
    return encode_pixels(render(3, WIDTH, HEIGHT), tiled, 4.0)


@pytest.fixture(scope="module")
def picture(tiled: Model, coded: bytes) -> np.ndarray:
    return decode_pixels(coded, tiled)


def with_chunks(data: bytes, *chunks: Chunk) -> bytes:
    return write_rgc(RgcFile(**{**read_rgc(data).__dict__, "chunks": chunks}))


def with_a_flip(data: bytes, tile: int, *, fitting: bool) -> bytes:
    """Return the file with one bit of a tile's stream changed, under its old CRC or under one that fits."""
    chunks = list(read_rgc(data).chunks)
    payload = bytearray(chunks[tile].payload)
    payload[FIRST_BYTE] ^= 16
    if fitting:
        chunks[tile] = replace(chunks[tile], payload=bytes(payload))
        return with_chunks(data, *chunks)
    return data.replace(chunks[tile].payload, bytes(payload))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


# the grid


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    core=st.integers(1, 6).map(lambda blocks: 64 * blocks),
    halos=st.tuples(st.integers(0, 3).map(lambda blocks: 64 * blocks), st.integers(0, 9).map(lambda y: 16 * y)),
)
def test_cores_cover_the_picture_once_and_windows_have_one_shape(
    width: int, height: int, core: int, halos: tuple[int, int]
) -> None:
    grid = Grid.of(Tiling(whole=0, core=core), 64, width, height)
    padded = grid.picture
    assert (padded.width, padded.height) == (width + -width % 64, height + -height % 64)
    covered = np.zeros((padded.height // 16, padded.width // 16), int)
    for halo in halos:
        for tile in range(len(grid)):
            own, window = grid.core(tile), grid.window(tile, halo)
            assert max(own.width, own.height) <= core
            assert (window.width, window.height) == (grid.window(0, halo).width, grid.window(0, halo).height)
            assert window.x % 16 == window.y % 16 == 0
            with_halo = Box(own.x - halo, own.y - halo, own.width + 2 * halo, own.height + 2 * halo).shared(padded)
            assert with_halo.shared(window) == with_halo
            assert window.shared(padded) == window
            covered[own.slices(padded, 16)] += 1
    assert (covered == len(halos)).all()


@given(
    st.tuples(st.integers(0, 299), st.integers(0, 199)),
    st.tuples(st.integers(1, 300), st.integers(1, 200)),
)
def test_a_box_meets_the_tiles_it_shares_pixels_with(corner: tuple[int, int], size: tuple[int, int]) -> None:
    grid = Grid.of(Tiling(whole=0, core=128), 64, WIDTH, HEIGHT)
    box = Box(*corner, *size).shared(Box(0, 0, WIDTH, HEIGHT))
    shared = [grid.core(tile).shared(box) for tile in range(len(grid))]
    assert grid.meeting(box) == [tile for tile, part in enumerate(shared) if part.width > 0 and part.height > 0]


@pytest.mark.parametrize(
    ("width", "height", "tiles"),
    [
        (1, 1, 1),
        (1920, 1080, 1),
        (2048, 1024, 1),
        (64, 32768, 1),
        (2049, 1024, 2),
        (2560, 1440, 4),
        (10000, 10000, 64),
    ],
)
def test_a_picture_of_two_megapixels_is_one_tile(width: int, height: int, tiles: int) -> None:
    assert len(Grid.of(Tiling(), 64, width, height)) == tiles


def test_a_picture_of_one_tile_is_coded_as_without_tiles(tiled: Model) -> None:
    plain = Model.open(TINY, threads=1)
    pixels = render(4, 128, 100)
    with_tiles, without = (read_rgc(encode_pixels(pixels, model, 3.0)) for model in (tiled, plain))
    assert with_tiles.chunks == without.chunks
    assert len(without.chunks) == 1


# seams


def test_the_analysis_of_a_tile_is_that_of_the_whole_picture(tiled: Model) -> None:
    pixels = render(3, WIDTH, HEIGHT)
    whole, _ = tiled.transforms.analysis(to_planes(pixels, tiled.stride))
    grid = tiled.grid(WIDTH, HEIGHT)
    for tile in range(len(grid)):
        window = grid.window(tile, TILES["analysis_halo"])
        y, _ = tiled.transforms.analysis(to_planes(pixels[window.slices(grid.picture)], tiled.stride))
        own = grid.core(tile)
        difference = y[:, *own.slices(window, 16)] - whole[:, *own.slices(grid.picture, 16)]
        assert np.abs(difference).max() < 1e-3


def test_z_of_a_tile_sees_its_core_alone_as_if_it_were_a_picture(tiled: Model) -> None:
    window = to_planes(render(3, 256, 128), tiled.stride)
    core = (slice(4, 8), slice(0, 8))
    y, z = tiled.transforms.analysis(window, core)
    whole, _ = tiled.transforms.analysis(window)
    np.testing.assert_array_equal(y, whole[:, 4:8, :8])
    changed = window.copy()
    changed[:, :, :, 192:] = 0
    y_again, z_again = tiled.transforms.analysis(changed, core)
    np.testing.assert_array_equal(y_again, y)
    np.testing.assert_array_equal(z_again, z)


@pytest.mark.parametrize("grey", [False, True])
def test_no_seam_shows_against_the_untiled_synthesis_of_the_same_latent(tiled: Model, *, grey: bool) -> None:
    data = encode_pixels(render(5, WIDTH, HEIGHT, grey=grey), tiled, 4.0)
    grid, file = tiled.grid(WIDTH, HEIGHT), read_rgc(data)
    y_hat = np.empty((12, 16, 20), np.float32)
    for tile in range(len(grid)):
        y_hat[:, *grid.core(tile).slices(grid.picture, 16)] = decode_symbols(file, tiled, Stopwatch(), tile)[2]
    whole = from_planes(tiled.transforms.synthesis(y_hat), HEIGHT, WIDTH, grey=grey)
    difference = np.abs(whole.astype(int) - decode_pixels(data, tiled).astype(int))
    assert (difference <= 1).mean() >= 0.9999


def test_a_tile_without_its_halo_would_show_a_seam(tmp_path: Path, coded: bytes, picture: np.ndarray) -> None:
    blind = Model.open(write_pack(tmp_path / "blind.rgm", synthesis_halo=0), threads=1)
    renamed = write_rgc(RgcFile(**{**read_rgc(coded).__dict__, "pack_id": bytes.fromhex(blind.pack.id)}))
    difference = np.abs(decode_pixels(renamed, blind).astype(int) - picture.astype(int)).max(axis=2)
    assert difference[:, 48:80].max() > 1
    assert difference[:90, :20].max() <= 1


# regions


@settings(max_examples=30)
@given(st.tuples(st.integers(0, 299), st.integers(0, 199)), st.tuples(st.integers(1, 300), st.integers(1, 200)))
def test_a_region_is_the_crop_of_the_whole(
    tiled: Model, coded: bytes, picture: np.ndarray, corner: tuple[int, int], size: tuple[int, int]
) -> None:
    region = Box(*corner, *size).shared(Box(0, 0, WIDTH, HEIGHT))
    part = decode_pixels(coded, tiled, region=region)
    np.testing.assert_array_equal(part, picture[region.slices(Box(0, 0, WIDTH, HEIGHT))])


def test_a_region_decodes_only_the_tiles_it_needs(tiled: Model, coded: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def noting(file: RgcFile, model: Model, clock: Stopwatch, tile: int = 0) -> object:
        decoded.append(tile)
        return decode_symbols(file, model, clock, tile)

    monkeypatch.setattr(decoder, "decode_symbols", noting)
    decode_pixels(coded, tiled, region=Box(0, 0, 40, 90))
    assert sorted(decoded) == [0, 1, 3, 4]
    decoded.clear()
    decode_pixels(coded, tiled)
    assert sorted(decoded) == list(range(COUNT)), "each tile once"


def test_a_damaged_tile_elsewhere_does_not_hinder_a_region(tiled: Model, coded: bytes, picture: np.ndarray) -> None:
    damaged = with_a_flip(coded, 5, fitting=False)
    np.testing.assert_array_equal(decode_pixels(damaged, tiled, region=Box(0, 0, 60, 90)), picture[:90, :60])
    with pytest.raises(DamagedFileError, match=r"^tile 6 of 6: a chunk is damaged \(its CRC does not match\)\.$"):
        decode_pixels(damaged, tiled, region=Box(200, 150, 90, 40))


@pytest.mark.parametrize("region", [(0, 0, 301, 5), (290, 0, 11, 5), (0, 199, 5, 2), (0, 0, 0, 5), (-1, 0, 5, 5)])
def test_a_region_outside_the_picture_is_refused(tiled: Model, coded: bytes, region: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"is not inside the picture, 300x200\.$"):
        decode_pixels(coded, tiled, region=Box(*region))


# damage


@pytest.mark.parametrize("tile", range(COUNT))
def test_a_damaged_tile_is_named(tiled: Model, coded: bytes, tile: int) -> None:
    sentence = rf"^chunk {tile + 1} of 6 \(tile {tile + 1}\) is damaged \(its CRC does not match\)\.$"
    with pytest.raises(DamagedFileError, match=sentence):
        decode_pixels(with_a_flip(coded, tile, fitting=False), tiled)


@pytest.mark.parametrize("tile", range(COUNT))
def test_a_tile_with_other_symbols_under_a_fitting_crc_is_named(tiled: Model, coded: bytes, tile: int) -> None:
    with pytest.raises(DamagedFileError, match=rf"^tile {tile + 1} of 6: "):
        decode_pixels(with_a_flip(coded, tile, fitting=True), tiled)


def test_tiles_missing_left_over_or_swapped_are_refused(tiled: Model, coded: bytes) -> None:
    chunks = read_rgc(coded).chunks
    with pytest.raises(DamagedFileError, match=r"the file has 5 chunks of type S, not 6\.$"):
        decode_pixels(with_chunks(coded, *chunks[1:]), tiled)
    with pytest.raises(DamagedFileError, match=r"the file has 7 chunks of type S, not 6\.$"):
        decode_pixels(with_chunks(coded, *chunks, chunks[0]), tiled)
    with pytest.raises(DamagedFileError, match=r"^tile 1 of 6: "):
        decode_pixels(with_chunks(coded, chunks[1], chunks[0], *chunks[2:]), tiled)


@pytest.mark.parametrize(
    "constants",
    [{"core": 100}, {"core": 0}, {"core": 1 << 20}, {"whole": -1}, {"whole": 1 << 40}, {"analysis_halo": 32},
     {"synthesis_halo": 8}, {"synthesis_halo": -16}, {"core": 64.5}, {"overlap": 1}],
)  # fmt: skip
def test_a_pack_with_tile_constants_that_make_no_bounded_grid_is_refused(constants: dict[str, int]) -> None:
    pack = read_pack(TINY)
    codec = {**pack.codec, "tile": {**TILES, **constants}}
    with pytest.raises(DamagedFileError):
        Model.from_pack(Pack(pack.name, pack.id, codec, pack.manifest, pack.members))


# threads, limits, the command line


def test_any_number_of_threads_gives_the_same_bytes_and_pixels(
    tiled_pack: Path, coded: bytes, picture: np.ndarray
) -> None:
    for threads in (2, 5):
        model = Model.open(tiled_pack, threads=threads)
        assert encode_pixels(render(3, WIDTH, HEIGHT), model, 4.0) == coded
        np.testing.assert_array_equal(decode_pixels(coded, model), picture)


def test_a_picture_of_more_than_max_pixels_is_refused_both_ways(tiled: Model, coded: bytes) -> None:
    pixels = render(3, WIDTH, HEIGHT)
    assert encode_pixels(pixels, tiled, 4.0, max_pixels=60_000) == coded
    with pytest.raises(LimitError, match=r"300x200 pixels; the limit is 59,999\. Raise it with --max-pixels\.$"):
        encode_pixels(pixels, tiled, 4.0, max_pixels=59_999)
    with pytest.raises(LimitError, match="300x200"):
        decode_pixels(coded, tiled, max_pixels=59_999)
    assert decode_pixels(coded, tiled, max_pixels=400, region=Box(90, 90, 20, 20)).shape == (20, 20, 3)


def test_the_command_line_codes_tiles_and_regions(tiled_pack: Path, tmp_path: Path, picture: np.ndarray) -> None:
    source, target, part = tmp_path / "a.png", tmp_path / "a.rgc", tmp_path / "part.png"
    Image.fromarray(render(3, WIDTH, HEIGHT)).save(source)
    options = ("--model", tiled_pack)
    assert run("encode", source, "-q", 4, "-o", target, *options, "--max-pixels", 59_999).exit_code == 5
    assert not target.exists()
    assert run("encode", source, "-q", 4, "-o", target, *options).exit_code == 0
    assert run("verify", target, *options).exit_code == 0
    assert "tiles     6\n" in run("info", target).output
    assert run("decode", target, "-o", part, *options, "--max-pixels", 59_999).exit_code == 5
    assert run("decode", target, "-o", part, *options, "--region", "1,2,3").exit_code == 2
    assert run("decode", target, "-o", part, *options, "--region", "0,0,999,1").exit_code == 2
    assert not part.exists()
    assert run("decode", target, "-o", part, *options, "--region", "100,90,50,40").exit_code == 0
    np.testing.assert_array_equal(np.asarray(Image.open(part)), picture[90:130, 100:150])


def test_verify_names_a_damaged_tile(tiled_pack: Path, tmp_path: Path, coded: bytes) -> None:
    bad = tmp_path / "bad.rgc"
    bad.write_bytes(with_a_flip(coded, 2, fitting=True))
    result = run("verify", bad, "--model", tiled_pack)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"Error: {bad}: tile 3 of 6: ")


def test_the_default_limit_of_the_command_line_is_the_libraries() -> None:

    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS
    for command in ("encode", "decode", "verify"):
        assert {p.name: p.default for p in main.commands[command].params}["max_pixels"] == MAX_PIXELS


def test_images_beyond_pillows_own_limit_are_read_where_ours_allows_and_its_limit_stays(tmp_path: Path) -> None:
    from regcodec.codec.reading import read_picture

    path = tmp_path / "a.png"
    Image.new("L", (300, 200)).save(path)
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = 10
    try:
        assert read_picture(path.read_bytes()).pixels.shape == (200, 300)
        assert Image.MAX_IMAGE_PIXELS == 10
    finally:
        Image.MAX_IMAGE_PIXELS = before


# memory


MEASURED = """
import re, resource, sys
import numpy as np
from pathlib import Path
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import encode_pixels
from regcodec.codec.model import Model

def most():
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says begins with the parent's
        return int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
side = int(sys.argv[2])
model = Model.open(Path(sys.argv[1]), threads=1)
ramp = np.arange(side, dtype=np.uint16)
pixels = np.empty((side, side, 3), np.uint8)
for row in range(side):
    pixels[row] = ((ramp[:, None] * (1, 2, 3) + row) // 8 + (ramp * row)[:, None] % 37) % 256
data = encode_pixels(pixels, model, 1.0)
encoding = most()
del pixels
decode_pixels(data, model)
print(encoding * 1024, most() * 1024)
"""


@pytest.mark.slow
def test_memory_grows_by_the_eight_bit_picture_and_little_more() -> None:
    peaks = {}
    for side in (2048, 6016):
        done = subprocess.run([sys.executable, "-c", MEASURED, TINY, str(side)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        peaks[side] = np.array(done.stdout.split(), float)
    growth = (peaks[6016] - peaks[2048]) / (6016**2 - 2048**2)
    assert (growth < 4).all(), f"bytes a pixel, encoding and decoding: {growth}; the picture has 3"


def test_tiles_are_coded_by_the_function_that_codes_a_whole_picture(tiled: Model, coded: bytes) -> None:
    file, pixels = read_rgc(coded), render(3, WIDTH, HEIGHT)
    for tile in range(COUNT):
        z, y, stream = encode_symbols(pixels, tiled, file.quality, Stopwatch(), tile)
        assert file.symbols(tile, COUNT)[4:] == stream
        decoded_z, decoded_y, _ = decode_symbols(file, tiled, Stopwatch(), tile)
        np.testing.assert_array_equal(decoded_z, z)
        np.testing.assert_array_equal(decoded_y, y)
