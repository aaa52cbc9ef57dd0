"""The command line: what it writes, what it refuses to touch, what it says, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, JpegImagePlugin
from PIL.ImageFile import ImageFile

from regcodec import __version__
from regcodec.bitstream.container import SYMBOLS, Chunk, read_rgc, write_rgc
from regcodec.cli.main import main
from regcodec.cli.streams import printable
from regcodec.codec.library import DEFAULT
from regcodec.codec.model import Model
from regcodec.codec.opened import _open
from regcodec.codec.picture import encode_picture
from tests.conftest import GOLDEN, PACK
from tests.images import noise, render

Run = Callable[..., Result]
BAD = GOLDEN / "bad"
GREY_16 = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)


@pytest.fixture(autouse=True)
def _only_the_tiny_pack(only_tiny: None) -> None:
    """No test here may find the packs of a checkout."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.fromarray(render(1, 70, 50)).save(path)
    return path


@pytest.fixture
def coded(tmp_path: Path) -> Path:
    path = tmp_path / "coded.rgc"
    path.write_bytes((GOLDEN / "colour.rgc").read_bytes())
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def frames(count: int) -> list[Image.Image]:
    return [Image.fromarray(render(seed, 8, 8)) for seed in range(count)]


def saved(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


# What it writes


def test_encode_then_decode_gives_a_picture_of_the_same_size(run: Run, picture: Path, tmp_path: Path) -> None:
    encoded = run("encode", picture, "--model", "tiny", "-q", "4", "--verify")
    assert encoded.exit_code == 0
    assert encoded.stdout == ""
    file = tmp_path / "picture.rgc"
    assert (
        encoded.stderr
        == f"{file}: {file.stat().st_size:,} bytes, {file.stat().st_size * 8 / 3500:.3f} bpp, q 4, verified\n"
    )
    decoded = run("decode", file, "-o", tmp_path / "back.png")
    assert decoded.exit_code == 0
    assert decoded.stderr == f"{tmp_path / 'back.png'}: 70x50\n"
    with Image.open(tmp_path / "back.png") as image:
        assert (image.mode, image.size) == ("RGB", (70, 50))
    assert names(tmp_path) == {"picture.png", "picture.rgc", "back.png"}


@pytest.mark.parametrize("option", ["--verify", "--psnr"])
def test_a_file_that_does_not_decode_is_not_written_where_it_was_to_be_decoded(
    run: Run, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """It has the checksum of other symbols: its chunks are sound, so that only decoding it can tell."""

    def wrong(*arguments: Any, **options: Any) -> bytes:
        file = read_rgc(encode_picture(*arguments, **options))
        (chunk,) = file.chunks
        payload = bytes([chunk.payload[0] ^ 1]) + chunk.payload[1:]
        return write_rgc(replace(file, chunks=(Chunk(SYMBOLS, payload),)))

    monkeypatch.setattr("regcodec.codec.picture.encode_picture", wrong)
    result = run("encode", picture, "--model", "tiny", option)
    assert result.exit_code == 3
    assert result.stderr.startswith(f"Error: {picture}: the encoded file does not decode: ")
    assert names(tmp_path) == {"picture.png"}
    assert run("encode", picture, "--model", "tiny").exit_code == 0
    assert names(tmp_path) == {"picture.png", "picture.rgc"}


def test_the_default_outputs_are_the_inputs_names_with_rgc_and_png(run: Run, picture: Path, tmp_path: Path) -> None:
    assert run("encode", picture, "--model", PACK, "--quiet").output == ""
    assert names(tmp_path) == {"picture.png", "picture.rgc"}
    picture.unlink()
    assert run("decode", tmp_path / "picture.rgc", "--quiet").output == ""
    assert names(tmp_path) == {"picture.png", "picture.rgc"}


@pytest.mark.parametrize("suffix", [".png", ".ppm", ".tif", ".tiff", ".bmp", ".PNG"])
def test_decode_writes_the_format_of_the_suffix(run: Run, coded: Path, suffix: str) -> None:
    assert run("decode", coded, "-o", coded.with_suffix(suffix)).exit_code == 0
    with Image.open(coded.with_suffix(suffix)) as image, np.load(GOLDEN / "expected.npz") as expected:
        difference = np.asarray(image).astype(int) - expected["colour.rgc"]
    assert np.abs(difference).max() <= 1


def test_decode_writes_a_jpeg_of_quality_95_that_keeps_every_sample_of_colour(
    run: Run, coded: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jpg"
    assert run("decode", coded, "-o", output).exit_code == 0
    with Image.open(output) as image, Image.open(io.BytesIO(saved(image, "JPEG", quality=95))) as pillows:
        assert image.quantization == pillows.quantization
        assert image.quantization[0] != image.quantization[1]
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4


def test_a_grey_picture_comes_back_grey(run: Run, tmp_path: Path) -> None:
    Image.fromarray(render(2, 20, 30, grey=True)).save(tmp_path / "grey.png")
    assert run("encode", tmp_path / "grey.png", "--model", "tiny").exit_code == 0
    assert run("decode", tmp_path / "grey.rgc", "-o", tmp_path / "back.pgm").exit_code == 0
    with Image.open(tmp_path / "back.pgm") as image:
        assert (image.mode, image.size) == ("L", (20, 30))


@pytest.mark.parametrize("alpha", [False, True])
def test_the_psnr_that_encode_tells_is_that_of_the_decoded_pixels_that_show(
    run: Run, tmp_path: Path, alpha: bool
) -> None:
    """Noise is hidden where alpha is 0: it is not coded, and would cost many dB."""
    pixels, shows = render(1, 70, 50), np.ones((50, 70), bool)
    if alpha:
        shows[:20], pixels[:20] = False, noise(2, 70, 20)
    visible = Image.fromarray(pixels)
    if alpha:
        visible.putalpha(Image.fromarray(np.where(shows, np.uint8(1), np.uint8(0))))
    visible.save(tmp_path / "picture.png")
    result = run("encode", tmp_path / "picture.png", "--model", "tiny", "--psnr", "--json")
    assert run("decode", tmp_path / "picture.rgc", "-o", tmp_path / "back.png").exit_code == 0
    with Image.open(tmp_path / "back.png") as image:
        assert image.mode == ("RGBA" if alpha else "RGB")
        errors = np.square(np.asarray(image)[:, :, :3].astype(float) - pixels)
    decibels = 10 * np.log10(255**2 / errors[shows].mean())
    assert json.loads(result.stdout)["psnr"] == pytest.approx(decibels, abs=1e-4)
    assert alpha == (10 * np.log10(255**2 / errors.mean()) < decibels - 3)


def test_verify_counts_the_symbols_and_makes_nothing(run: Run, coded: Path, tmp_path: Path) -> None:
    result = run("verify", coded)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{coded}: whole, 400 symbols match their checksum\n"
    assert names(tmp_path) == {"coded.rgc"}
    assert run("verify", coded, "--quiet").output == ""


def test_info_describes_a_file_as_json(run: Run, coded: Path, model: Model) -> None:
    facts = json.loads(run("info", coded, "--json").stdout)
    expected = {"format": 1, "width": 70, "height": 50, "layout": "RGB", "pack_id": model.pack.id, "quality": 3.0}
    assert expected.items() <= facts.items()
    assert facts["bytes"] == coded.stat().st_size
    assert facts["bpp"] == round(8 * facts["bytes"] / 3500, 5)
    assert facts["pack"].startswith("tiny")


def test_info_shows_transparency_metadata_chunks_and_tiles(run: Run) -> None:
    shown = run("info", GOLDEN / "all-chunks.rgc").stdout
    assert "picture   20x14, RGB with alpha\n" in shown
    assert "metadata  icc, exif, xmp\n" in shown
    for kind in ("A alpha", "i ICC profile", "e Exif", "x XMP", "S symbols"):
        assert f" {kind} " in shown
    assert "tiles     33\n" in run("info", GOLDEN / "tiles.rgc").stdout


@pytest.mark.parametrize("command", ["verify", "info"])
def test_verify_and_info_read_standard_input(command: str, coded: Path) -> None:
    result = CliRunner().invoke(main, [command, "-"], input=coded.read_bytes())
    assert result.exit_code == 0, result.stderr
    assert {"verify": "-: whole, 400 symbols", "info": "picture   70x50, RGB"}[command] in result.output
    damaged = CliRunner().invoke(main, [command, "-"], input=b"GIF89a")
    assert (damaged.exit_code, damaged.stderr) == (3, "Error: -: not an .rgc file.\n")


def test_info_reads_a_pipe(coded: Path) -> None:
    words = f"{sys.executable} -m regcodec info"
    for file, code, said in ((coded, 0, "picture   70x50, RGB\n"), (PACK, 3, "not an .rgc file.\n")):
        done = subprocess.run(["bash", "-c", f"{words} <(cat {file})"], capture_output=True, text=True, check=False)
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True)


def test_models_goes_on_after_a_pack_that_may_not_be_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.rgm", "b.rgm"):
        (tmp_path / name).write_bytes(PACK.read_bytes())
    monkeypatch.setattr("regcodec.codec.library.pack_folders", lambda: [tmp_path])
    opened = Path.open

    def shut(self: Path, *how: str) -> Any:
        if self.name == "a.rgm":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *how)

    monkeypatch.setattr(Path, "open", shut)
    told = [json.loads(line) for line in run("models", "--json").stdout.splitlines()]
    assert [(facts["pack"], facts.get("error")) for facts in told] == [
        ("a", f"{tmp_path}/a.rgm: Permission denied."),
        ("b", None),
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_verify_goes_on_after_a_damaged_file_and_says_how_many(
    run: Run, coded: Path, tmp_path: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGCODEC_MODELS", str(GOLDEN))  # for the processes
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "cut.rgc").write_bytes(coded.read_bytes()[:-1])
    result = run("verify", tmp_path / "none.rgc", tmp_path, coded, "-r", "--jobs", jobs)
    assert result.exit_code == 1
    said = result.stderr.splitlines()
    assert f"Error: {tmp_path}/none.rgc: does not exist." in said
    assert f"Error: {tmp_path}/below/cut.rgc: the file is truncated: it ends inside the chunk CRC." in said
    assert said.count(f"{coded}: whole, 400 symbols match their checksum") == 2
    assert said[-1] == "2 done, 0 skipped, 2 failed"
    assert run("verify", coded, coded).exit_code == 0


def test_info_describes_a_pack_by_name_and_by_file(run: Run, model: Model) -> None:
    by_name, by_file = (json.loads(run("info", which, "--json").stdout) for which in ("tiny", PACK))
    assert by_name == by_file
    assert by_name["pack_id"] == model.pack.id
    assert [row["q"] for row in by_name["qualities"]] == [1, 3, 4]
    assert by_name["quality_step"] is None
    lines = [line.split() for line in run("info", "tiny").stdout.splitlines()]
    assert ["pack", "id", model.pack.id] in lines
    assert lines[lines.index(["qualities", "q", "lambda"]) + 1] == ["1", "0.0018"]
    assert not any("{" in word for line in lines for word in line)


def test_info_describes_several_and_goes_on_after_what_it_cannot(run: Run, coded: Path, tmp_path: Path) -> None:
    result = run("info", coded, tmp_path / "none.rgc", GOLDEN / "tiles.rgc")
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if line.startswith("file ")] == [
        f"file      {coded}",
        f"file      {GOLDEN / 'tiles.rgc'}",
    ]
    assert result.stderr == f"Error: {tmp_path / 'none.rgc'}: does not exist.\n"
    rows = run("info", "--json", coded, "tiny").stdout.splitlines()
    assert [json.loads(row)["file"] for row in rows] == [str(coded), str(PACK)]
    assert run("info", coded, "-").exit_code == 2


def test_a_damaged_pack_is_no_damage_of_the_file(
    run: Run, coded: Path, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its id, at its end, is that of the file."""
    data = bytearray(PACK.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "tiny.rgm").write_bytes(data)
    monkeypatch.setattr("regcodec.codec.library.pack_folders", lambda: [tmp_path / "packs"])
    for command in (("decode", coded, "-f"), ("verify", coded), ("encode", picture, "--model", "tiny", "-f")):
        result = run(*command)
        assert (result.exit_code, f"{tmp_path}/packs/tiny.rgm: " in result.stderr) == (4, True), result.stderr
    told = run("info", coded)
    assert told.exit_code == 0
    assert "picture   70x50, RGB\n" in told.stdout
    assert "pack      cannot be used here, id " in told.stdout


@pytest.mark.parametrize("name", ["photo.jpg", "photo.PNG", "photo.rgc"])
def test_a_format_is_not_written_under_the_name_of_another(run: Run, coded: Path, tmp_path: Path, name: str) -> None:
    result = run("decode", coded, "--format", "webp", "-o", tmp_path / name)
    assert result.exit_code == 2
    suffix = Path(name).suffix
    assert (
        f"--format webp makes no {suffix} file. Name it {tmp_path / 'photo.webp'}, or leave --format out."
        in result.stderr
    )
    assert run("decode", coded, "--format", "webp", "-o", tmp_path / "photo.w").exit_code == 0


def test_names_that_the_terminal_has_no_letters_for_are_shown_all_the_same(coded: Path) -> None:
    file = coded.rename(coded.with_name("日.rgc"))
    words = [sys.executable, "-m", "regcodec", "info", str(file)]
    done = subprocess.run(words, env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u65e5.rgc" in done.stdout


def test_info_describes_a_file_whose_pack_is_not_here(run: Run) -> None:
    result = run("info", BAD / "unknown-pack.rgc")
    assert result.exit_code == 0
    assert "pack      not found here, id 0123456789abcdef\n" in result.stdout
    assert "quality   row 0 of its pack's table\n" in result.stdout


def test_the_tables_of_eval_are_whole_where_no_terminal_cuts_them(run: Run, picture: Path, tmp_path: Path) -> None:
    pack = tmp_path / f"{'long-name-' * 12}.rgm"
    pack.write_bytes(PACK.read_bytes())
    (tmp_path / "set").mkdir()
    picture.rename(tmp_path / "set" / "picture.png")
    result = run("eval", "--dataset", tmp_path / "set", "--model", pack, "--qualities", "1", "--anchor", "tiny")
    assert result.exit_code == 0, result.stderr
    assert "…" not in result.stdout
    rows = [line for line in result.stdout.splitlines() if pack.stem in line]
    assert len(rows) >= 4  # title, rates, times by part, comparison
    assert max(map(len, result.stdout.splitlines())) < 400  # and no wider than its contents


def test_a_mistyped_command_is_told_what_was_meant(run: Run) -> None:
    result = run("encod")
    assert result.exit_code == 2
    assert "'encode'" in result.stderr


def test_the_version_is_the_packages(run: Run) -> None:
    assert __version__ in run("--version").stdout


# What it refuses to touch


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_an_existing_output_is_left_alone_without_force(
    run: Run, picture: Path, coded: Path, tmp_path: Path, command: str
) -> None:
    target = tmp_path / ("out.rgc" if command == "encode" else "out.png")
    target.write_bytes(b"precious")
    call = [command, picture if command == "encode" else coded, "-o", target]
    call += ["--model", "tiny"] if command == "encode" else []
    result = run(*call)
    assert result.exit_code == 2
    assert (
        result.stderr
        == f"Error: {target}: exists already. Pass --force to replace it, --skip-existing to leave it as it is.\n"
    )
    assert target.read_bytes() == b"precious"
    assert run(*call, "--force").exit_code == 0
    assert target.read_bytes() != b"precious"


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_an_output_that_appears_while_it_is_made_is_left_alone(
    run: Run, picture: Path, coded: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / ("out.rgc" if command == "encode" else "out.png")

    def read(source: Path) -> bytes:
        target.write_bytes(b"precious")
        return source.read_bytes()

    monkeypatch.setattr(f"regcodec.cli.{command}.read_bytes", read)
    call = [command, picture if command == "encode" else coded, "-o", target, "--model", "tiny"]
    sentence = f"Error: {target}: exists already. Pass --force to replace it.\n"
    for option, code, said in (("-v", 2, sentence), ("--skip-existing", 0, f"{target}: exists, skipped\n")):
        result = run(*call, option)
        assert (result.exit_code, result.stderr) == (code, said)
        assert target.read_bytes() == b"precious"
        target.unlink()
    assert run(*call, "--force").exit_code == 0
    assert target.read_bytes() != b"precious"


def test_a_replaced_file_keeps_its_permissions(run: Run, picture: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.rgc"
    target.write_bytes(b"private")
    for mode in (0o600, 0o444):
        target.chmod(mode)
        assert run("encode", picture, "-o", target, "--model", "tiny", "--force").exit_code == 0
        assert (target.stat().st_mode & 0o777, target.read_bytes()[1:4]) == (mode, b"RGC")


def test_a_link_stays_a_link_and_is_followed_with_force_alone(run: Run, picture: Path, tmp_path: Path) -> None:
    link, real = tmp_path / "link.rgc", tmp_path / "below" / "real.rgc"
    real.parent.mkdir()
    link.symlink_to(real)
    call = ["encode", picture, "-o", link, "--model", "tiny"]
    for before in (None, b"precious"):
        if before:
            real.write_bytes(before)
        refused = run(*call)
        assert (refused.exit_code, "exists already. Pass --force to replace it" in refused.stderr) == (2, True)
        assert (real.read_bytes() if before else names(real.parent)) == (before or set())
        assert run(*call, "--force").exit_code == 0
        assert link.is_symlink()
        assert real.read_bytes().startswith(b"\x89RGC")
        assert names(real.parent) == {"real.rgc"}
        real.unlink()


def test_a_device_takes_an_output_without_force_and_stays_a_device(run: Run, picture: Path) -> None:
    device = Path("/dev/null")
    assert run("encode", picture, "-o", device, "--model", "tiny").exit_code == 0
    assert device.is_char_device()


def test_a_reader_that_has_seen_enough_of_a_list_hears_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "regcodec", "models", "--json"]
    told = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert told.returncode == 1
    assert told.stderr == b""


def test_decoding_beside_the_original_does_not_replace_it(run: Run, picture: Path) -> None:
    original = picture.read_bytes()
    assert run("encode", picture, "--model", "tiny").exit_code == 0
    assert run("decode", picture.with_suffix(".rgc")).exit_code == 2
    assert picture.read_bytes() == original


@pytest.mark.parametrize("force", [False, True])
def test_a_failing_command_leaves_the_directory_as_it_was(
    run: Run, picture: Path, coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    if force:
        (tmp_path / "out.rgc").write_bytes(b"old")
        (tmp_path / "out.png").write_bytes(b"old")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    flags = ["--force"] if force else []
    assert run("encode", picture, "--model", "tiny", "-o", tmp_path / "out.rgc", *flags).exit_code == 1
    assert run("decode", coded, "-o", tmp_path / "out.png", *flags).exit_code == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("command", ["encode", "decode", "verify"])
def test_a_matrix_library_that_multiplies_wrongly_is_a_sentence_and_no_file(
    run: Run, picture: Path, coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    correct = np.matmul

    def wrong(w: np.ndarray, a: np.ndarray, **kept: Any) -> np.ndarray:
        product = correct(w, a, **kept)
        product[-1, 0] += len(w) > 1
        return product

    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    source = picture if command == "encode" else coded
    _open.cache_clear()  # a layer checks a size of inputs once
    monkeypatch.setattr(np, "matmul", wrong)
    result = run(command, source, "--model", "tiny")
    _open.cache_clear()
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {source}: ")
    assert "the matrix library of this numpy multiplies wrongly on this machine" in result.stderr
    assert result.stderr.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failure_to_write_is_a_sentence(run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    result = run("encode", picture, "--model", "tiny")
    assert result.stderr.startswith("Error: ")
    assert "No space left on device" in result.stderr


def test_a_damaged_file_with_force_leaves_the_old_picture(run: Run, tmp_path: Path) -> None:
    old = tmp_path / "old.png"
    old.write_bytes(b"old")
    assert run("decode", BAD / "flip-in-chunk.rgc", "-o", old, "--force").exit_code == 3
    assert old.read_bytes() == b"old"
    assert names(tmp_path) == {"old.png"}


# What it says, and its exit codes


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"this is a letter", "not an image"),
        (b"", "is empty."),
        (saved(Image.fromarray(render(1, 64, 64)), "PNG")[:900], "damaged"),
        (saved(Image.fromarray(render(1, 64, 64)), "JPEG")[:500], "damaged"),
        (saved(frames(3)[0], "GIF", save_all=True, append_images=frames(3)[1:]), "animated"),
        (saved(frames(3)[0], "WEBP", save_all=True, append_images=frames(3)[1:]), "animated"),
        (saved(frames(2)[0], "TIFF", save_all=True, append_images=frames(2)[1:]), "several pages"),
        (saved(GREY_16, "PNG"), "more than 8 bits a sample"),
        (saved(GREY_16, "TIFF"), "more than 8 bits a sample"),
        (b"II*\0\x08\0\0\0" + bytes(6), "image"),
    ],
    ids=[
        *("letter", "empty", "cut-png", "cut-jpeg", "gif", "webp", "pages"),
        *("png-16", "tiff-16", "tiff-without-size"),
    ],
)
def test_a_picture_that_cannot_be_coded_gives_a_sentence_and_no_file(
    run: Run, tmp_path: Path, data: bytes, sentence: str
) -> None:
    path = tmp_path / "picture"
    path.write_bytes(data)
    result = run("encode", path, "--model", "tiny")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {path}: ")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert names(tmp_path) == {"picture"}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["encode", "PICTURE", "--model", "tiny", "-q", "2"], 2, "-q 2: pack tiny has the qualities 1, 3, 4."),
        (["encode", "PICTURE", "-o", "FOLDER/none/a.rgc", "--model", "tiny"], 2, "does not exist. Create it first."),
        (["encode", "PICTURE", "-o", "FOLDER", "--model", "tiny"], 2, "is a directory; name a file."),
        (["encode", "PICTURE", "--threads", "0", "--model", "tiny"], 2, "--threads"),
        (["encode", "FOLDER/none.png"], 2, "does not exist"),
        (["decode", "CODED", "-o", "FOLDER/out.xyz"], 2, "or pass --format."),
        (["encode", "PICTURE"], 4, f"{DEFAULT}: no such pack. Packs here: tiny ("),
        (["encode", "PICTURE", "--model", "other"], 4, "other: no such pack. Packs here: tiny ("),
        (["info", "other"], 4, "other: no such pack. Packs here: tiny ("),
        (["encode", "PICTURE", "--model", "PICTURE"], 4, "not a regcodec pack"),
        (["decode", "PICTURE"], 2, "has the output's suffix already"),
        (["encode", "PICTURE", "-o", "FOLDER/none/", "--model", "tiny"], 2, "none/: -o names a file."),
        (["info", "FOLDER/none.rgc"], 2, "none.rgc: does not exist."),
        (["info", "FOLDER"], 2, "is a directory; name a file."),
        (["info", "PICTURE"], 3, "is neither an .rgc file nor a pack."),
        (["decode", "PICTURE", "-o", "FOLDER/out.png"], 3, "not an .rgc file."),
        (["verify", "PICTURE"], 3, "not an .rgc file."),
        (["verify", "BAD/cut-in-chunk.rgc"], 3, "truncated"),
        (["verify", "BAD/flip-in-chunk.rgc"], 3, "CRC"),
        (
            ["verify", "BAD/newer-version.rgc"],
            3,
            "format version 2, this program reads 1. Update regcodec; if that does not help, the file is damaged.",
        ),
        (
            ["info", "BAD/newer-version.rgc"],
            3,
            "format version 2, this program reads 1. Update regcodec; if that does not help, the file is damaged.",
        ),
        (["verify", "BAD/unknown-pack.rgc"], 4, "needs pack 0123456789abcdef, not found. Packs here: tiny ("),
        (["decode", "BAD/unknown-pack.rgc", "-o", "FOLDER/o.png", "--model", "tiny"], 4, "needs pack 0123456789abcdef"),
        (["verify", "BAD/too-large.rgc"], 5, "65535x65535"),
    ],
)
def test_every_refusal_has_its_exit_code_and_leaves_no_file(
    run: Run, picture: Path, coded: Path, tmp_path: Path, arguments: list[str], code: int, sentence: str
) -> None:
    places = {"PICTURE": picture, "CODED": coded, "FOLDER": tmp_path, "BAD": BAD}
    before = names(tmp_path)
    filled = [
        str(places[a.split("/")[0]]) + a[len(a.split("/")[0]) :] if a.split("/")[0] in places else a for a in arguments
    ]
    result = run(*filled)
    assert result.exit_code == code
    assert sentence in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert names(tmp_path) == before


@pytest.mark.parametrize("command", ["decode", "verify"])
def test_a_file_that_claims_a_huge_picture_is_refused_before_memory_is_taken(
    run: Run, tmp_path: Path, command: str
) -> None:
    run(command, BAD / "empty.rgc")  # imports are not what is measured
    output = ["-o", tmp_path / "out.png"] if command == "decode" else []
    tracemalloc.start()
    result = run(command, BAD / "too-large.rgc", *output)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.exit_code == 5
    assert peak < 20e6


def test_a_picture_of_more_pixels_than_the_limit_is_refused_before_it_is_decoded(
    run: Run, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited = ("encode", picture, "--model", "tiny", "--max-pixels")
    decoded: list[object] = []
    load = ImageFile.load
    monkeypatch.setattr(ImageFile, "load", lambda image: decoded.append(image) or load(image))
    result = run(*limited, "3499")
    assert result.exit_code == 5
    assert "70x50" in result.stderr
    assert names(tmp_path) == {"picture.png"}
    assert decoded == []
    assert run(*limited, "3500").exit_code == 0
    assert len(decoded) > 0


def test_a_file_without_its_pack_says_what_it_needs_when_no_pack_is_at_hand(
    run: Run, coded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regcodec.codec.library.pack_folders", list)
    result = run("decode", coded)
    ident = read_rgc(coded.read_bytes()).pack_id.hex()
    assert result.exit_code == 4
    assert result.stderr == (
        f"Error: {coded}: needs pack {ident}, not found. No packs are at hand. "
        "Pass --model FILE or set REGCODEC_MODELS.\n"
    )


def test_packs_are_found_in_the_folders_of_the_environment(
    run: Run, coded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "renamed.rgm").write_bytes(PACK.read_bytes())
    monkeypatch.setenv("REGCODEC_MODELS", f"{empty}:{full}")
    assert run("verify", coded).exit_code == 0
    assert run("info", "renamed").exit_code == 0


def test_names_of_any_script_are_shown_and_orders_to_a_terminal_are_not() -> None:
    name = "Screenshot 9.41\u202fAM \u3000\u65e5\u672c.png"
    assert printable(name) == name
    assert printable("a\n\x1b[31m\u202eb\u2028\udcff") == "a??[31m?b?\\xff"


def test_nothing_is_written_but_the_output_and_no_library_reports(picture: Path, tmp_path: Path) -> None:
    """onnxruntime would make a device id, a database and a session file, where no CI is found."""
    environment = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("ORT_")}
    places = {name: tmp_path / name for name in ("HOME", "XDG_CACHE_HOME", "TMPDIR")}
    for place in places.values():
        place.mkdir()
    environment |= {name: str(place) for name, place in places.items()} | {"REGCODEC_MODELS": str(GOLDEN)}
    coded = tmp_path / "a.rgc"
    for words in (["encode", picture, "-o", coded, "--model", "tiny"], ["decode", coded, "-o", tmp_path / "b.png"]):
        subprocess.run([sys.executable, "-m", "regcodec", *words], env=environment, check=True)
    assert [path for place in places.values() for path in place.rglob("*")] == []
