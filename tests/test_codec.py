"""Encoder and decoder together, with the tiny pack: sizes, symbols, threads, bytes, imports."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from threading import Thread, current_thread, main_thread
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from regcodec.bitstream.container import Chunk, Layout, RgcFile, read_rgc, write_rgc
from regcodec.codec.decoder import decode_pixels, decode_symbols
from regcodec.codec.encoder import encode_pixels, encode_symbols
from regcodec.codec.model import Model
from regcodec.codec.pack import NORMATIVE
from regcodec.codec.pixels import to_planes
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.symbols import symbols_crc
from regcodec.codec.target import Target, encode_to_target
from regcodec.codec.transforms import Transforms
from regcodec.coding.range_coder import SymbolEncoder
from regcodec.errors import DamagedFileError, LimitError, NoGradientError, PackNotFoundError, RegcodecError, UsageError
from regcodec.exact.hyperprior import ExactHyperprior
from tests.agreement import assert_decodes_the_encoders_symbols, assert_the_reference_decoder_agrees, table_bits
from tests.conftest import PACK
from tests.images import noise, render

QUALITIES = (1.0, 3.0, 4.0)
NUMBERS = ("numpy", "torch", "onnxruntime", "constriction")
HEAVY = ("torch", "compressai", "onnx", "onnxscript", "matplotlib", "scipy", "skimage", "regcodec.training")

sides = st.integers(1, 130) | st.sampled_from([1, 15, 16, 17, 63, 64, 65, 128, 129])


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    Image.fromarray(render(20, 192, 176)).save(folder / "picture.png")
    return folder


@settings(max_examples=25)
@given(sides, sides, st.booleans(), st.sampled_from(QUALITIES), st.integers(0, 10**6))
def test_a_picture_of_any_size_comes_back_with_its_shape(
    model: Model, width: int, height: int, grey: bool, quality: float, seed: int
) -> None:
    pixels = render(seed, width, height, grey=grey)
    data = encode_pixels(pixels, model, quality)
    decoded = decode_pixels(data, model)
    assert decoded.shape == pixels.shape
    assert decoded.dtype == np.uint8
    file = read_rgc(data)
    assert (file.width, file.height) == (width, height)
    assert model.qualities[file.quality] == quality


@settings(max_examples=12)
@given(sides, sides, st.booleans(), st.integers(0, 2))
def test_the_encoders_symbols_are_the_decoders(model: Model, width: int, height: int, grey: bool, row: int) -> None:
    pixels = render(width * 131 + height, width, height, grey=grey)
    z, y, _ = encode_symbols(pixels, model, row, Stopwatch())
    data = encode_pixels(pixels, model, model.qualities[row])
    decoded_z, decoded_y, y_hat = decode_symbols(read_rgc(data), model, Stopwatch())
    np.testing.assert_array_equal(decoded_z, z)
    np.testing.assert_array_equal(decoded_y, y)
    assert z.shape == model.z_shape(width, height)
    assert y.shape == y_hat.shape == (12, 4 * z.shape[1], 4 * z.shape[2])


@settings(max_examples=5)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 2))
def test_a_fresh_file_has_the_symbols_that_the_reference_decoder_reads(
    model: Model, width: int, height: int, row: int
) -> None:
    pixels = render(width * 81 + height, width, height)
    assert_decodes_the_encoders_symbols(model, pixels, model.qualities[row])
    assert_the_reference_decoder_agrees(model, PACK, encode_pixels(pixels, model, model.qualities[row]))


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("picture", ["render", "noise", "flat"])
def test_a_file_is_not_below_its_entropy_and_within_two_permille_and_48_bytes_of_it(
    model: Model, quality: float, picture: str
) -> None:
    pixels = {
        "render": render(31, 500, 300),
        "noise": noise(32, 256, 256),
        "flat": np.full((200, 200, 3), 99, np.uint8),
    }[picture]
    ideal = table_bits(model, pixels, quality)
    real = 8 * len(encode_pixels(pixels, model, quality))
    assert ideal < real <= 1.002 * ideal + 8 * 48


def test_a_higher_quality_costs_more_bytes_and_errs_less(model: Model) -> None:
    pixels = render(40, 320, 256)
    sizes, errors = [], []
    for quality in QUALITIES:
        data = encode_pixels(pixels, model, quality)
        sizes.append(len(data))
        errors.append(np.square(decode_pixels(data, model).astype(float) - pixels).mean())
    assert sizes == sorted(set(sizes))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < pixels.astype(float).var() / 2


def test_one_thread_and_three_write_the_same_bytes(model: Model) -> None:
    several = Model.open(PACK, threads=3)
    for pixels in (render(50, 300, 200), noise(51, 130, 70), render(52, 1, 1)):
        data = encode_pixels(pixels, model, 4.0)
        assert encode_pixels(pixels, several, 4.0) == data
        difference = decode_pixels(data, several).astype(int) - decode_pixels(data, model)
        assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("threads", [1, 3])
def test_a_fresh_process_with_other_threads_decodes_the_same_symbols(
    model: Model, python: Callable[[str], str], tmp_path: Path, threads: int
) -> None:
    pixels = render(60, 300, 200)
    file = tmp_path / "file.rgc"
    file.write_bytes(encode_pixels(pixels, model, 4.0))
    z, y, _ = decode_symbols(read_rgc(file.read_bytes()), model, Stopwatch())
    # verify and decode compare the symbols with the file's CRC; the sums are looked at once more here
    sums = python(f"""
from regcodec.cli.main import main
main(["verify", {str(file)!r}, "--threads", "{threads}", "--quiet"], standalone_mode=False)
main(["decode", {str(file)!r}, "--threads", "{threads}", "--quiet"], standalone_mode=False)
from pathlib import Path
from regcodec.bitstream.container import Chunk, Layout, RgcFile, read_rgc, write_rgc
from regcodec.codec.decoder import decode_symbols
from regcodec.codec.model import Model
from regcodec.codec.stopwatch import Stopwatch
from regcodec.codec.symbols import symbols_crc
from regcodec.codec.target import Target, encode_to_target
from regcodec.codec.transforms import Transforms
from regcodec.coding.range_coder import SymbolEncoder
import zlib
z, y, _ = decode_symbols(read_rgc(Path({str(file)!r}).read_bytes()), Model.open(Path({str(PACK)!r})), Stopwatch())
print(zlib.crc32(z.tobytes()), zlib.crc32(y.tobytes()))
""")
    assert sums.split() == [str(zlib.crc32(z.tobytes())), str(zlib.crc32(y.tobytes()))]
    decoded = np.asarray(Image.open(file.with_suffix(".png"))).astype(int)
    assert np.abs(decoded - decode_pixels(file.read_bytes(), model)).max() <= 1


def test_coding_and_measuring_never_load_the_training_framework(
    python: Callable[[str], str], image_folder: Path, tmp_path: Path
) -> None:
    picture, file = str(image_folder / "picture.png"), str(tmp_path / "picture.rgc")
    commands = {
        "encode": ["encode", picture, "-o", file, "--model", "tiny", "--verify"],
        "decode": ["decode", file],
        "verify": ["verify", file],
        "info": ["info", file],
        "eval": ["eval", "--dataset", str(image_folder), "--model", "tiny", "--anchor", "jpeg"],
    }
    printed = python(f"""
import sys
from regcodec.cli.main import main
for name, command in {commands!r}.items():
    main(command, standalone_mode=False)
    print("LOADED", name, [heavy for heavy in {HEAVY!r} if heavy in sys.modules])
""")
    loaded = [line for line in printed.splitlines() if line.startswith("LOADED")]
    assert loaded == [f"LOADED {name} []" for name in commands]


@pytest.mark.parametrize("said", [None, "0"])
def test_onnxruntime_is_told_to_report_nothing_before_it_is_loaded(
    python: Callable[[str], str], image_folder: Path, tmp_path: Path, said: str | None
) -> None:
    """What the user has set stays."""
    command = ["encode", str(image_folder / "picture.png"), "-o", str(tmp_path / "a.rgc"), "--model", "tiny", "--quiet"]
    printed = python(f"""
import os, sys
from importlib.machinery import PathFinder
from regcodec.cli.main import main

class Watched:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            spec = PathFinder.find_spec(name, path, target)
            self.exec_module, spec.loader.exec_module = spec.loader.exec_module, self.load
            return spec

    def load(self, module):
        print("loaded", os.environ.get("ORT_DISABLE_TELEMETRY"))
        self.exec_module(module)
        module.disable_telemetry_events = lambda: print("disabled")
        make = module.InferenceSession
        module.InferenceSession = lambda *given, **options: print("session") or make(*given, **options)

os.environ.pop("ORT_DISABLE_TELEMETRY", None)
os.environ.update({ {} if said is None else {"ORT_DISABLE_TELEMETRY": said}!r})
sys.meta_path.insert(0, Watched())
main({command!r}, standalone_mode=False)
""")
    lines = printed.splitlines()
    assert lines[:3] == [f"loaded {said or '1'}", "disabled", "session"]
    assert set(lines[3:]) == {"disabled", "session"}


def test_help_loads_no_number_library(python: Callable[[str], str]) -> None:
    printed = python(f"""
import sys
from regcodec.cli.main import main
for command in ([], ["encode"], ["decode"], ["verify"], ["eval"], ["train"], ["export"], ["info"]):
    main([*command, "--help"], standalone_mode=False)
    print("LOADED", [heavy for heavy in {NUMBERS!r} if heavy in sys.modules])
""")
    loaded = [line for line in printed.splitlines() if line.startswith("LOADED")]
    assert loaded == ["LOADED []"] * 8


@pytest.mark.parametrize("name", ["encode", "decode", "verify", "info"])
def test_a_command_loads_no_other_command(name: str, python: Callable[[str], str]) -> None:
    printed = python(f"""
import sys
from regcodec.cli.main import COMMANDS, main
print("importlib.metadata" in sys.modules)
main([{name!r}, "--help"], standalone_mode=False)
modules = dict((n, "regcodec.cli." + module.partition(":")[0]) for n, module in COMMANDS.items())
print([n for n, module in modules.items() if module in sys.modules])
""")
    lines = printed.splitlines()
    assert (lines[0], lines[-1]) == ("False", str([name]))


def test_a_command_ends_without_searching_what_it_loaded_for_cycles(
    python: Callable[[str], str], image_folder: Path
) -> None:
    printed = python(f"""
import atexit, gc, sys
from regcodec.cli.main import run
sys.argv = ["regcodec", "encode", {str(image_folder / "picture.png")!r}, "--model", "tiny", "--quiet", "--force"]
atexit.register(lambda: print(len(gc.get_objects())))
run()
""")
    assert int(printed) < 1000  # of some 40,000: those that a collection would go through


def test_what_one_thread_remembers_of_a_model_no_other_thread_sees(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, others = render(1, 70, 50), render(2, 70, 50)
    expected = encode_to_target(mine, model, Target(size=400)), encode_to_target(others, model, Target(size=400))
    run_layers, found = ExactHyperprior._run_layers, list[bytes]()

    def run_beside_another(self: ExactHyperprior, *arguments: Any) -> Any:
        result = run_layers(self, *arguments)
        if current_thread() is main_thread():
            other = Thread(target=lambda: found.append(encode_to_target(others, model, Target(size=400))))
            other.start()
            other.join()
        return result

    monkeypatch.setattr(ExactHyperprior, "_run_layers", run_beside_another)
    assert encode_to_target(mine, model, Target(size=400)) == expected[0]
    assert found
    assert set(found) == {expected[1]}


def test_another_quality_another_pack_and_a_large_picture_are_refused(model: Model) -> None:
    with pytest.raises(UsageError, match=r"-q 2: pack tiny has the qualities 1, 3, 4\."):
        encode_pixels(render(1, 8, 8), model, 2.0)
    with pytest.raises(LimitError, match="20000x9000"):
        encode_pixels(np.broadcast_to(np.uint8(0), (9000, 20000, 3)), model, 3.0)
    file = read_rgc(encode_pixels(render(1, 8, 8), model, 3.0))
    with pytest.raises(PackNotFoundError, match="needs pack 0000000000000000; tiny is"):
        decode_symbols(type(file)(**{**file.__dict__, "pack_id": bytes(8)}), model, Stopwatch())


@settings(max_examples=40)
@given(st.data())
def test_a_damaged_pack_is_refused(pack_copy: Path, data: st.DataObject) -> None:
    good = PACK.read_bytes()
    changed = bytearray(good)
    changed[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    pack_copy.write_bytes(changed)
    try:
        opened = Model.open(pack_copy)
    except DamagedFileError:
        return
    # only what does not decide a symbol may differ: ZIP fields, figures, the prior's training parameters
    reference = Model.open(PACK).pack.members
    assert all(opened.pack.members[name] == reference[name] for name in NORMATIVE)


@pytest.mark.parametrize(("place", "value"), [(6, 148), (8, 1), (66, 8)], ids=["version", "encrypted", "deflated"])
def test_a_pack_with_a_changed_zip_directory_is_refused(pack_copy: Path, place: int, value: int) -> None:
    changed = bytearray(PACK.read_bytes())
    with zipfile.ZipFile(PACK) as archive:
        changed[archive.start_dir + place] = value
    pack_copy.write_bytes(changed)
    with pytest.raises(DamagedFileError):
        Model.open(pack_copy)


def test_symbols_that_overflow_the_synthesis_make_no_picture(model: Model) -> None:
    z, y = np.zeros((8, 1, 1), np.int32), np.full((12, 4, 4), 1 << 28, np.int32)
    _, tables = model.entropy.parameters(z, model.rates.rate(0))
    coder = SymbolEncoder()
    coder.encode(z.ravel(), model.z_table_indices(z.shape, 0), model.z_tables)
    coder.encode(y.ravel(), tables.ravel(), model.y_tables)
    chunk = Chunk(b"S", symbols_crc(z, y) + coder.finish())
    data = write_rgc(RgcFile(bytes.fromhex(model.pack.id), 0, 64, 64, Layout.RGB, (chunk,)))
    with pytest.raises(DamagedFileError):
        decode_pixels(data, model)


@pytest.mark.parametrize("member", NORMATIVE)
def test_a_pack_whose_contents_are_not_those_of_its_id_is_refused(pack_copy: Path, member: str) -> None:
    """A well-formed ZIP under the old comment: what a careless edit makes."""
    with zipfile.ZipFile(PACK) as old, zipfile.ZipFile(pack_copy, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (b" " if name == member else b""))
        new.comment = old.comment
    with pytest.raises(DamagedFileError, match="its id does not match its contents"):
        Model.open(pack_copy)


def test_a_picture_is_padded_to_the_right_and_below_with_its_last_pixels() -> None:
    pixels = render(70, 5, 3)
    planes = to_planes(pixels, 64)
    assert planes.shape == (1, 3, 64, 64)
    levels = np.rint(planes[0].transpose(1, 2, 0) * 255)
    np.testing.assert_array_equal(levels[:3, :5], pixels)
    np.testing.assert_array_equal(levels[:3, 5:], np.repeat(pixels[:, -1:], 59, axis=1))
    np.testing.assert_array_equal(levels[3:], np.repeat(levels[2:3], 61, axis=0))


@pytest.fixture(scope="module")
def pack_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pack") / "tiny.rgm"


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[1] / "models").glob("*.rgm")), ids=lambda p: p.stem)
def test_every_shipped_pack_opens_and_codes(path: Path) -> None:
    shipped = Model.open(path, threads=1)
    pixels = render(2, 64, 64)
    for quality in shipped.qualities:
        assert decode_pixels(encode_pixels(pixels, shipped, quality), shipped).shape == pixels.shape


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (RuntimeError("bad allocation"), 1, "not enough memory."),
        (RuntimeError("Exception during initialization: std::bad_alloc"), 1, "not enough memory."),
        (RuntimeError("Failed to allocate memory for requested buffer of size 8"), 1, "not enough memory."),
        (MemoryError(), 1, "not enough memory."),
        (RuntimeError("Got invalid dimensions"), 4, "a transform of the pack does not fit its tables"),
    ],
)
def test_a_network_without_memory_is_no_damage(error: Exception, code: int, sentence: str) -> None:
    class Session:
        def get_inputs(self) -> list[Any]:
            raise error

    transforms = Transforms({}, 1, 16, (8, 12))
    vars(transforms).update(_synthesis=Session(), _gradient=Session())
    y_hat, x = np.zeros((12, 1, 1), np.float32), np.zeros((1, 3, 16, 16), np.float32)
    with pytest.raises(RegcodecError, match=f"^{sentence}") as caught:
        transforms.synthesis(y_hat)
    assert caught.value.exit_code == code
    with pytest.raises(NoGradientError, match=f"^{sentence}"):
        transforms.synthesis_gradient(y_hat, None, x, x[:, :1], x)


def test_a_network_that_does_not_fit_into_memory_is_no_damaged_pack(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("std::bad_alloc")

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    with pytest.raises(RegcodecError, match=r"^not enough memory\.$") as caught:
        Transforms(model.pack.members, 1, 16, (8, 12)).synthesis(np.zeros((12, 1, 1), np.float32))
    assert caught.value.exit_code == 1
