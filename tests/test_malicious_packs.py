"""Packs made to do harm: each is refused by one sentence, with exit code 3, and without taking memory."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from regcodec.bitstream.container import read_rgc
from regcodec.codec.decoder import decode_pixels
from regcodec.codec.encoder import encode_pixels
from regcodec.codec.graphs import OPERATORS, refuse_unsafe
from regcodec.codec.model import Model
from regcodec.codec.pack import MANIFEST, MEMBERS, NORMATIVE, pack_bytes, pack_id
from regcodec.errors import DamagedFileError, RegcodecError
from tests.conftest import GOLDEN, PACK
from tests.images import render

MEMORY = 40 << 20
"""Bytes that Python may have taken in all when a pack is refused; the tiny pack itself takes some 2 MB."""


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    with zipfile.ZipFile(PACK) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_id(members: dict[str, bytes]) -> bytes:
    """Return the comment that fits the members, as an attacker writes it."""
    return b"regcodec pack " + pack_id(members).encode()


def packed(members: dict[str, bytes], **changed: Any) -> bytes:
    """Return a pack with changed members and an id that fits them; a name's dot is written as `_dot_`."""
    contents = {**members, **{name.replace("_dot_", "."): value for name, value in changed.items()}}
    return pack_bytes({n: v for n, v in contents.items() if n != MANIFEST}, json.loads(contents[MANIFEST]))


def zipped(entries: list[tuple[str, bytes]], comment: bytes, how: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, content in entries:
            archive.writestr(name, content)
        archive.comment = comment
    return buffer.getvalue()


def npy(header: str, body: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """Return an .npy file with any header."""
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(text)) + text + body


def header(shape: str, descr: str = "'<i8'", fortran: bool = False) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def arrays_of(members: dict[str, bytes]) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(members["entropy.npz"])) as stored:
        return {name: stored[name] for name in stored.files}


def entropy_with(members: dict[str, bytes], **changed: np.ndarray | bytes | None) -> bytes:
    """Return entropy.npz with arrays replaced, by others or by the bytes of an .npy file, or left out."""
    contents: dict[str, bytes] = {}
    for name, array in {**arrays_of(members), **changed}.items():
        if isinstance(array, np.ndarray):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array)
            contents[name] = buffer.getvalue()
        elif array is not None:
            contents[name] = array
    return zipped([(f"{name}.npy", content) for name, content in contents.items()], b"")


def refused(data: bytes, tmp_path: Path, run: Callable[..., Result], sentence: str) -> None:
    """Assert that a pack is refused by encode, in one sentence and little memory, and that nothing is written."""
    folder = tmp_path / "in"
    folder.mkdir()
    path, picture = folder / "evil.rgm", folder / "picture.ppm"
    path.write_bytes(data)
    picture.write_bytes(b"P6 2 2 255\n" + bytes(12))
    before = {entry.name for entry in folder.iterdir()}
    tracemalloc.start()
    result = run("encode", picture, "--model", path, "-q", 1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (result.exit_code, result.stdout) == (4, ""), result.output
    assert sentence in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    assert peak < MEMORY + 2 * len(data)
    assert {entry.name for entry in folder.iterdir()} == before
    assert not (tmp_path / "evil").exists()


# The archive


ARCHIVES: dict[str, tuple[Callable[[dict[str, bytes]], bytes], str]] = {
    "a-path-upwards": (
        lambda m: zipped([*m.items(), ("../../evil", b"x")], with_id(m)),
        "not a regcodec pack: its directory has 8 members",
    ),
    "a-path-for-a-member": (
        lambda m: zipped([("/etc/" + n if n == "bottleneck.npz" else n, v) for n, v in m.items()], with_id(m)),
        "not a regcodec pack: its members are not codec.json, ",
    ),
    "a-member-twice": (
        lambda m: zipped([(MANIFEST if n == "bottleneck.npz" else n, v) for n, v in m.items()], with_id(m)),
        "not a regcodec pack: it has two members of one name.",
    ),
    "a-compressed-member": (
        lambda m: zipped([(n, bytes(1 << 24) if n == MANIFEST else v) for n, v in m.items()], with_id(m), 8),
        "not a regcodec pack: its members are compressed.",
    ),
    "many-members": (
        lambda m: zipped([(f"{i}", b"") for i in range(5000)], with_id(m)),
        "not a regcodec pack: its directory has 5000 members",
    ),
    "another-directory": (
        lambda m: packed(m).replace(b"PK\5\6", b"PK\6\7" + bytes(16) + b"PK\5\6"),
        "not a regcodec pack: it is a ZIP64 file",
    ),
    "no-zip-file": (lambda m: bytes(100), "not a regcodec pack: it is not a ZIP file"),
    "nested-json": (
        lambda m: zipped([(n, b"[" * 2_000_000 if n == MANIFEST else v) for n, v in m.items()], with_id(m)),
        "not a regcodec pack: manifest.json is not JSON",
    ),
    "huge-json": (
        lambda m: zipped(
            [(n, b"[" + b"[],[]," * 10**6 + b"]" if n == MANIFEST else v) for n, v in m.items()], with_id(m)
        ),
        "not a regcodec pack: manifest.json has more than",
    ),
    "a-number-of-a-million-digits": (
        lambda m: packed(m, codec_dot_json=b'{"format": ' + b"9" * 10**6 + b"}"),
        "not a regcodec pack: codec.json is not JSON",
    ),
    "json-that-is-a-list": (lambda m: packed(m, codec_dot_json=b"[]"), "codec.json is not a JSON object."),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_with_other_members_than_a_packs_is_refused(
    name: str, members: dict[str, bytes], tmp_path: Path, run: Callable[..., Result]
) -> None:
    make, sentence = ARCHIVES[name]
    refused(make(members), tmp_path, run, sentence)


def test_members_that_overlap_are_refused(
    members: dict[str, bytes], tmp_path: Path, run: Callable[..., Result]
) -> None:
    """Seven entries of the directory that state the bytes of one member: the sum is more than the file."""
    large = bytes(1 << 20)
    data = bytearray(zipped([(n, large if n == "analysis.onnx" else b"") for n in MEMBERS], with_id(members)))
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as archive:
        start, entries = archive.start_dir, archive.infolist()
    target = next(entry for entry in entries if entry.filename == "analysis.onnx")
    at = start
    for entry in entries:
        struct.pack_into("<LLL", data, at + 16, target.CRC, len(large), len(large))
        struct.pack_into("<L", data, at + 42, target.header_offset)
        at += 46 + len(entry.filename)
    refused(bytes(data), tmp_path, run, "its members state more bytes than the file has.")


def test_a_sparse_file_of_a_terabyte_is_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "sparse.rgm"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DamagedFileError, match="it has more than 268,435,456 bytes"):
        Model.open(path)


# Arrays


ARRAYS: dict[str, tuple[bytes, str]] = {
    "a-trillion-numbers": (npy(header("(1000000, 1000000)")), "states 1,000,000,000,000 numbers and has 0 bytes"),
    "a-size-that-overflows": (npy(header("(4294967296, 4294967296, 4)")), "states 73,786,976,294,838,206,464 numbers"),
    "a-negative-size": (npy(header("(-1, -8)"), bytes(64)), "states 8 numbers and has 64 bytes"),
    "objects": (npy(header("(1,)", "'|O'"), b"cos\nsystem\n(S'id'\ntR."), "is not an array of numbers in C order"),
    "records": (npy(header("(1,)", "[('a', '<i8', (1000000,))]"), b""), "is not an array of numbers in C order"),
    "text": (npy(header("(1,)", "'<U99'"), bytes(396)), "is not an array of numbers in C order"),
    "fortran-order": (npy(header("(2, 4)", fortran=True), bytes(64)), "is not an array of numbers in C order"),
    "a-header-of-4-gigabytes": (
        b"\x93NUMPY\2\0" + struct.pack("<I", 2**32 - 1) + header("(8,)").encode(),
        "has npy version 2.0, not 1.0",
    ),
    "a-long-header": (npy(header("(" + "1," * 15_000 + ")"), bytes(8)), "is not an array"),
    "a-header-that-is-code": (npy("__import__('os').system('touch evil')"), "is not an array"),
    "a-header-without-an-end": (npy("{'descr': '<i8', 'fortran_order': False, 'shape': (3,"), "is not an array"),
    "no-array": (b"x" * 100, "is not an array"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_is_not_what_it_states_is_refused(
    name: str, members: dict[str, bytes], tmp_path: Path, run: Callable[..., Result]
) -> None:
    content, sentence = ARRAYS[name]
    refused(
        packed(members, entropy_dot_npz=entropy_with(members, medians=content)),
        tmp_path,
        run,
        f"the pack's entropy.npz: medians.npy {sentence}",
    )


def test_compressed_arrays_are_refused(members: dict[str, bytes], tmp_path: Path, run: Callable[..., Result]) -> None:
    bomb = zipped([("medians.npy", bytes(1 << 26))], b"", zipfile.ZIP_DEFLATED)
    refused(packed(members, entropy_dot_npz=bomb), tmp_path, run, "the pack's entropy.npz: its members are compressed.")


CONTENTS: dict[str, tuple[Callable[[dict[str, np.ndarray]], dict[str, np.ndarray | None]], str]] = {
    "one-array-missing": (lambda a: {"y_lows": None}, "the pack is not well formed (KeyError('y_lows"),
    "medians-in-two-dimensions": (
        lambda a: {"medians": a["medians"][None]},
        "the pack's medians is not a list of integers",
    ),
    "thresholds-in-two-dimensions": (
        lambda a: {"thresholds": a["thresholds"][:, None]},
        "the pack's thresholds is not a list",
    ),
    "floats": (lambda a: {"medians": a["medians"] + 0.5}, "the pack's medians is not a list of integers in range"),
    "frequencies-beyond-32-bits": (
        lambda a: {"y_frequencies": a["y_frequencies"].astype(np.int64) + (1 << 32)},
        "the pack's y_frequencies is not a list of integers in range",
    ),
    "frequencies-that-sum-to-less": (
        lambda a: {"y_frequencies": np.ones_like(a["y_frequencies"])},
        "the pack's frequency tables are not well formed",
    ),
    "one-huge-table": (
        lambda a: {
            "y_frequencies": np.ones(1 << 21, np.uint8),
            "y_lengths": np.array([1 << 21]),
            "y_lows": np.array([0]),
        },
        "the pack's frequency tables are not well formed",
    ),
    "lengths-that-overflow": (
        lambda a: {"y_lengths": np.full_like(a["y_lengths"], 2**31 - 1)},
        "the pack's frequency tables are not well formed",
    ),
    "a-table-that-begins-far-away": (
        lambda a: {"z_lows": a["z_lows"] - (1 << 30)},
        "the pack's frequency tables are not well formed",
    ),
    "falling-thresholds": (
        lambda a: {"thresholds": a["thresholds"][::-1].copy()},
        "the pack's entropy model is not well",
    ),
    "thresholds-whose-differences-wrap": (
        lambda a: {"thresholds": np.array([5, 4 - (1 << 63), 3])},
        "the pack's medians or thresholds are out of range",
    ),
    "a-median-without-a-magnitude": (
        lambda a: {"medians": np.full_like(a["medians"], -(1 << 63), dtype=np.int64)},
        "the pack's medians or thresholds are out of range",
    ),
    "a-bound-that-does-not-hold": (
        lambda a: {"layer0_weight": np.full(a["layer0_weight"].shape, 2**31 - 1)},
        "the pack's integer network is not exact: a sum may reach",
    ),
    "a-bias-that-breaks-the-bound": (
        lambda a: {"layer1_bias": np.full_like(a["layer1_bias"], (1 << 53) - 1)},
        "the pack's integer network is not exact: a sum may reach",
    ),
    "shifts-out-of-range": (
        lambda a: {"layer0_shift": np.full_like(a["layer0_shift"], 200)},
        "the pack's integer network has shifts or biases out of range",
    ),
    "a-kernel-of-a-thousand": (
        lambda a: {"layer0_weight": np.zeros((*a["layer0_weight"].shape[:2], 251, 251), np.int8)},
        "the pack's integer network has a layer that is not well formed",
    ),
    "weights-in-three-dimensions": (
        lambda a: {"layer0_weight": a["layer0_weight"][0]},
        "the pack",
    ),
    "layers-that-do-not-meet": (
        lambda a: {"layer1_weight": a["layer1_weight"][:, :-1].copy()},
        "the pack's entropy model is not well formed",
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_arrays_that_cannot_be_coded_with_are_refused(
    name: str, members: dict[str, bytes], tmp_path: Path, run: Callable[..., Result]
) -> None:
    change, sentence = CONTENTS[name]
    content = entropy_with(members, **change(arrays_of(members)))
    refused(packed(members, entropy_dot_npz=content), tmp_path, run, sentence)


@pytest.mark.parametrize("qualities", [4, 50_000])
def test_a_quality_table_of_millions_is_refused_before_it_is_made(
    qualities: int, members: dict[str, bytes], tmp_path: Path, run: Callable[..., Result]
) -> None:
    codec = json.loads(members["codec.json"])
    codec["rates"] = {"first": 1, "per_q": 100}
    codec["qualities"] = [{**codec["qualities"][0], "q": 1 + i / 1000} for i in range(qualities)]
    rows = 2_000_000 if qualities == 4 else 700
    gains, one = np.ones(rows, np.int8), np.ones(1, np.int64)
    entropy = entropy_with(members, gains=gains, entries=gains, z_steps=one, offsets=np.ones((1, 64), np.int64))
    pack = packed(members, codec_dot_json=json.dumps(codec).encode(), entropy_dot_npz=entropy)
    refused(pack, tmp_path, run, "the pack's quality table is not well formed")


SETTINGS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no-stride": (lambda c: c.update(stride=0), "do not fit its networks"),
    "an-odd-stride": (lambda c: c.update(stride=3), "the pack"),
    "another-stride": (lambda c: c.update(stride=32), "a transform of the pack gives"),
    "a-tile-of-a-terapixel": (lambda c: c["tile"].update(whole=10**12), "tile constants are not well formed"),
    "a-core-of-nothing": (lambda c: c["tile"].update(core=0), "tile constants are not well formed"),
    "a-core-that-is-text": (lambda c: c["tile"].update(core="1024"), "the pack"),
    "an-unknown-tile-constant": (lambda c: c["tile"].update(more=1), "the pack is not well formed"),
    "no-gain": (lambda c: c["qualities"][0].update(gain=0), "quality table is not well formed"),
    "a-gain-beyond-the-proof": (lambda c: c["qualities"][0].update(gain=1 << 40), "quality table is not well formed"),
    "no-qualities": (lambda c: c.update(qualities=[]), "the pack"),
    "qualities-that-are-not-rows": (lambda c: c.update(qualities="1234"), "the pack is not well formed"),
    "endless-precision": (lambda c: c["entropy"].update(parameter_bits=10**9), "the pack"),
    "a-layer-of-another-kind": (lambda c: c["entropy"]["layers"][0].update(kind="eval"), "the pack is not well formed"),
    "a-limit-beyond-the-proof": (lambda c: c["entropy"]["layers"][0].update(limit=1 << 40), "is not well formed"),
    "an-infinite-limit": (lambda c: c["entropy"]["layers"][0].update(limit=1e999), "the pack is not well formed"),
    "no-layers": (lambda c: c["entropy"].update(layers=[]), "the pack"),
    "a-newer-format": (lambda c: c.update(format=99), "the pack has format 99, this program reads 1. Update regcodec."),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_cannot_be_coded_with_are_refused(
    name: str, members: dict[str, bytes], tmp_path: Path, run: Callable[..., Result]
) -> None:
    change, sentence = SETTINGS[name]
    codec = json.loads(members["codec.json"])
    change(codec)
    refused(packed(members, codec_dot_json=json.dumps(codec).encode()), tmp_path, run, sentence)


# Graphs


def graph(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto] = (), **options: Any) -> bytes:
    """Return an analysis transform made of any nodes."""
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    made = helper.make_graph(nodes, "evil", shapes[:1], shapes[1:], list(weights))
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], **options).SerializeToString()


def outside(path: str) -> onnx.TensorProto:
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", path), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    return weights


def looping() -> onnx.NodeProto:
    inside = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("goes", TensorProto.BOOL, [])],
    )
    return helper.make_node("Loop", ["", "x"], ["y"], body=inside)


def claimed(shape: list[int]) -> onnx.TensorProto:
    return TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape, raw_data=bytes(16))


def field(key: int, content: bytes) -> bytes:
    """Return a field of a message by its whole key, the wire type included."""
    encoded = bytearray()
    for number in (key, *([] if key & 7 != 2 else [len(content)])):
        while number > 0x7F:
            encoded.append(number & 0x7F | 0x80)
            number >>= 7
        encoded.append(number)
    return bytes(encoded) + content


def hidden() -> bytes:
    """Return a graph that a field number of more than 29 bits hides from those who do not cut it off."""
    evil = helper.make_graph([helper.make_node("NonZero", ["x"], ["n"])], "more", [], [])
    return graph(ADD, [claimed([4])]) + field(1 << 32 | 7 << 3 | 2, evil.SerializeToString())


def disguised() -> bytes:
    """Return a node whose operator has a second name, of a wire type that readers of its schema skip."""
    node = helper.make_node("NonZero", ["x"], ["y"]).SerializeToString() + field(4 << 3 | 5, b"Relu")
    return field(8 << 3, b"\x08") + field(7 << 3 | 2, field(1 << 3 | 2, node))


ADD = [helper.make_node("Add", ["x", "w"], ["y"])]
GRAPHS: dict[str, tuple[Callable[[], bytes], str]] = {
    "weights-in-another-file": (lambda: graph(ADD, [outside("/etc/passwd")]), "it has weights in another file."),
    "a-constant-in-another-file": (
        lambda: graph([helper.make_node("Constant", [], ["w"], value=outside("../secret")), *ADD]),
        "it has weights in another file.",
    ),
    "a-loop": (lambda: graph([looping()]), "it has a graph inside an operator."),
    "a-constant-of-a-trillion": (lambda: graph(ADD, [claimed([10**6, 10**6])]), "has other bytes."),
    "a-constant-of-a-trillion-short-values": (
        lambda: graph(ADD, [TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[10**12], float_data=[1.0])]),
        "has other bytes.",
    ),
    "a-negative-shape": (lambda: graph(ADD, [claimed([-4, -1])]), "and shape [-4, -1]."),
    "a-constant-made-while-running": (
        lambda: graph(
            [helper.make_node("ConstantOfShape", ["s"], ["w"]), *ADD],
            [numpy_helper.from_array(np.array([10**12]), "s")],
        ),
        "it has the operator 'ConstantOfShape'.",
    ),
    "an-operator-of-another-domain": (
        lambda: graph([helper.make_node("Add", ["x", "x"], ["y"], domain="com.microsoft")]),
        "it has operators of com.microsoft.",
    ),
    "a-function": (
        lambda: graph(
            ADD,
            functions=[helper.make_function("evil", "f", ["a"], ["b"], [helper.make_node("Abs", ["a"], ["b"])],
                                            [helper.make_opsetid("", 18)])],
        ),
        "it has functions of its own.",
    ),
    "a-wide-border": (
        lambda: graph([helper.make_node("Conv", ["x", "w"], ["y"], pads=[10**6] * 4)], [claimed([1, 4, 1, 1])]),
        "it has Conv with pads [1000000,",
    ),
    "a-steep-enlargement": (
        lambda: graph([helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[10**5] * 2)], [claimed([4])]),
        "it has ConvTranspose with strides [100000,",
    ),
    "many-enlargements": (
        lambda: graph([helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=16) for _ in range(8)]),
        "operators that enlarge by 65536.",
    ),
    "no-model-at-all": (lambda: b"\xff" * 50, "it is not an ONNX model."),
    "no-graph-at-all": (lambda: b"", "it is not an ONNX model."),
    "two-graphs": (lambda: 2 * graph(ADD, [claimed([4])]), "it is not an ONNX model."),
    "a-graph-in-a-field-of-33-bits": (hidden, "it is not an ONNX model."),
    "an-operator-of-another-wire-type": (disguised, "it is not an ONNX model."),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_that_reads_files_loops_or_grows_is_refused(
    name: str, members: dict[str, bytes], tmp_path: Path, run: Callable[..., Result]
) -> None:
    make, sentence = GRAPHS[name]
    pack = packed(members, analysis_dot_onnx=make())
    refused(pack, tmp_path, run, sentence)


@pytest.mark.parametrize("name", ["analysis.onnx", "synthesis.onnx"])
def test_a_graph_that_gives_another_shape_is_refused(name: str, members: dict[str, bytes], tmp_path: Path) -> None:
    """Planes of another size must not end in NumPy's words, or in half a picture."""
    model = onnx.load_from_string(members[name])
    ending = model.graph.output[0].name
    model.graph.node.append(helper.make_node("Concat", [ending, ending], ["twice"], axis=3))
    model.graph.output[0].name = "twice"
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    path = tmp_path / "wide.rgm"
    path.write_bytes(packed(members, **{name.replace(".", "_dot_"): model.SerializeToString()}))
    wide = Model.open(path, threads=1)
    with pytest.raises(DamagedFileError, match="a transform of the pack gives"):
        decode_pixels(encode_pixels(render(1, 40, 30), wide, 1.0), wide)


def test_a_changed_graph_is_refused_or_one_that_may_run(members: dict[str, bytes]) -> None:
    """What is allowed is looked at once more, by the reader that onnx has; nothing is run."""
    found: Counter[str] = Counter()

    @settings(max_examples=300)
    @given(st.lists(st.tuples(st.integers(0, 3999), st.integers(0, 255)), min_size=1, max_size=4))
    def change(changes: list[tuple[int, int]]) -> None:
        changed = bytearray(members["synthesis.onnx"])
        for place, byte in changes:
            changed[place] = byte
        try:
            refuse_unsafe(bytes(changed))
        except DamagedFileError as error:
            structure = str(error).startswith(("it has the operator ", "it has a graph inside an operator"))
            found.update(["operator" if structure else "other"])
            return
        found.update(["allowed"])
        try:
            seen = onnx.load_from_string(bytes(changed))
        except DecodeError:
            return
        assert not seen.functions
        assert {node.op_type for node in seen.graph.node} <= OPERATORS
        assert not any(tensor.external_data or tensor.data_location for tensor in seen.graph.initializer)
        assert not any(a.HasField("g") or a.graphs for node in seen.graph.node for a in node.attribute)

    change()
    assert found["allowed"] >= 10
    assert found["operator"] >= 10


@settings(max_examples=60)
@given(st.data())
def test_any_change_of_arrays_or_settings_is_refused_or_codes_a_picture(
    members: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """With an id that fits: an exception other than ours would be a traceback for the user."""
    codec, arrays = json.loads(members["codec.json"]), arrays_of(members)
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name].copy()
    for _ in range(data.draw(st.integers(0, 3))):
        bits = np.iinfo(array.dtype)
        array.ravel()[data.draw(st.integers(0, array.size - 1))] = data.draw(st.integers(int(bits.min), int(bits.max)))
    array = data.draw(st.sampled_from([array, array[:-1], array[..., None], array.astype(np.float32), array[:0]]))
    place: Any = data.draw(
        st.sampled_from([codec, codec["tile"], codec["entropy"], *codec["entropy"]["layers"], *codec["qualities"]])
    )
    if data.draw(st.booleans()):
        odd = (
            st.none() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=3) | st.just([]) | st.just({})
        )
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(odd)
    pack = packed(
        members, codec_dot_json=json.dumps(codec).encode(), entropy_dot_npz=entropy_with(members, **{name: array})
    )
    path = tmp_path_factory.mktemp("pack") / "odd.rgm"
    path.write_bytes(pack)
    try:
        odd_model = Model.open(path, threads=1)
        coded = encode_pixels(render(1, 40, 30), odd_model, odd_model.qualities[0])
        assert read_rgc(coded).pack_id.hex() == odd_model.pack.id
        assert decode_pixels(coded, odd_model).shape == (30, 40, 3)
    except RegcodecError:
        return


def test_the_packs_here_are_of_allowed_graphs() -> None:
    shipped = sorted((GOLDEN.parents[1] / "models").glob("*.rgm"))
    assert len(shipped) >= 2
    for path in (PACK, *shipped):
        with zipfile.ZipFile(path) as archive:
            for name in (n for n in NORMATIVE if n.endswith(".onnx")):
                refuse_unsafe(archive.read(name))


@pytest.mark.parametrize(
    ("codec", "manifest"),
    [
        ({"format": 1}, {}),
        (None, {"training": {"data": "x"}}),
        (None, {"context_curvature": 5}),
        (None, {"init": {"init": 3}}),
        (None, {"training": {"finished_steps": 1e999}}),
        (None, {"training": {"steps": 5, "data": {"images": "\x07\ud800"}}, "\x07\ud800": {"\x07": "\x07"}}),
        (None, {"experimental": "\x07", "bytes": "x", "pack": 3}),
    ],
)
def test_what_a_pack_says_about_itself_harms_no_list(
    codec: dict | None, manifest: dict, members: dict[str, bytes], tmp_path: Path, run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("REGCODEC_MODELS", f"{tmp_path}:{GOLDEN}")
    changed = {} if codec is None else {"codec_dot_json": json.dumps(codec).encode()}
    (tmp_path / "evil.rgm").write_bytes(packed(members, manifest_dot_json=json.dumps(manifest).encode(), **changed))
    told = run("info", "evil")
    assert told.exit_code in (0, 4)
    assert told.exit_code == 0 or told.stderr.count("\n") == 1
    assert "\x07" not in told.stdout
    for options in ((), ("--json",)):
        listed = run("models", *options)
        assert listed.exit_code == 0, listed.output
        assert "tiny" in listed.stdout
        assert "\x07" not in listed.stdout
