"""Several files in one call: trees, processes, errors on the way, signals, terminals, pipes and shell loops."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from regcodec.cli.console import stderr_console
from regcodec.cli.jobs import Failure, Job
from regcodec.cli.main import main
from regcodec.cli.plan import Kind, Places, _tells_cases_apart, plan
from regcodec.codec.picture import Picture
from regcodec.codec.reading import read_picture
from tests.images import render

GOLDEN = Path(__file__).parent / "golden"
COMMAND = (sys.executable, "-m", "regcodec")
ENVIRONMENT = {**os.environ, "REGCODEC_MODELS": str(GOLDEN), "OMP_NUM_THREADS": "1"}
TINY = ("--model", "tiny")
NO_IMAGE = "not an image that this program can read (nor HEIC, JPEG XL, raw files). Convert it to PNG or TIFF first."
EMPTY = "Error: '': an empty name is no file and no directory. Is a variable not set?\n"


@pytest.fixture(autouse=True)
def tiny_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """For this process and those that it starts."""
    monkeypatch.setenv("REGCODEC_MODELS", str(GOLDEN))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Four pictures and a text in a folder, two of them below it, one name with a blank."""
    folder = tmp_path / "photos"
    (folder / "deep" / "er").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.JPG", "deep/c d.png", "deep/er/e.webp")):
        Image.fromarray(render(seed, 40, 30)).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"half a picture")
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def shell(script: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    code = script.replace("regcodec", f"{sys.executable} -m regcodec")
    return subprocess.run(["bash", "-c", code], cwd=cwd, env=ENVIRONMENT, capture_output=True, check=False, timeout=300)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_tree_is_mirrored_there_and_back(run: Callable[..., Result], tree: Path, tmp_path: Path, jobs: int) -> None:
    coded, back = tmp_path / "coded", tmp_path / "back"
    result = run("encode", "-r", tree, "--out-dir", coded, "--jobs", jobs, *TINY)
    assert result.exit_code == 0, result.stderr
    assert files(coded) == {"a.rgc", "b.rgc", "deep/c d.rgc", "deep/er/e.rgc"}
    assert result.stderr.endswith("4 done, 0 skipped, 0 failed\n")
    assert result.stdout == ""
    result = run("decode", "-r", coded, "--out-dir", back, "--jobs", jobs, "--format", "ppm")
    assert result.exit_code == 0, result.stderr
    assert files(back) == {"a.ppm", "b.ppm", "deep/c d.ppm", "deep/er/e.ppm"}


def test_two_processes_write_the_bytes_of_one(run: Callable[..., Result], tree: Path, tmp_path: Path) -> None:
    for jobs in (1, 2):
        assert run("encode", "-r", tree, "--out-dir", tmp_path / str(jobs), "-j", jobs, *TINY).exit_code == 0
    for name in files(tmp_path / "1"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_processes_start_from_a_script_that_is_not_guarded(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "start.py").write_text("from regcodec.cli.main import main\nmain(prog_name='regcodec')\n")
    words = [sys.executable, str(tmp_path / "start.py"), "encode", "-r", str(tree), "-j", "2", "--quiet", *TINY]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, b"")


def test_names_in_any_encoding_are_fine(tree: Path) -> None:
    strange = os.fsencode(tree) + b"/\xff.png"
    Path(os.fsdecode(strange)).write_bytes((tree / "a.png").read_bytes())
    done = subprocess.run([*map(os.fsencode, COMMAND), b"encode", strange, b"--json", b"--model", b"tiny"],
                          env=ENVIRONMENT, capture_output=True, check=True)  # fmt: skip
    assert os.fsencode(json.loads(done.stdout)["output"]) == os.fsencode(tree) + b"/\xff.rgc"


def test_a_reader_that_goes_away_is_one_sentence(tree: Path) -> None:
    Image.fromarray(render(1, 600, 400)).save(tree / "large.png")
    script = """regcodec encode large.png --model tiny --quiet
        regcodec decode large.rgc -o - --format ppm | true; exit ${PIPESTATUS[0]}"""
    done = shell(script, tree)
    assert (done.returncode, done.stderr) == (1, b"Error: standard output: Broken pipe.\n")


def test_outputs_stand_beside_inputs_unless_told(run: Callable[..., Result], tree: Path) -> None:
    assert run("encode", tree / "a.png", tree / "deep", "-r", *TINY).exit_code == 0
    assert {"a.rgc", "deep/c d.rgc", "deep/er/e.rgc"} <= files(tree)
    assert "b.rgc" not in files(tree)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_batch_goes_on_after_errors_and_exits_with_1(
    run: Callable[..., Result], tree: Path, tmp_path: Path, jobs: int
) -> None:
    (tree / "bad.png").write_bytes(b"not a picture")
    (tree / "shut.png").mkdir()
    result = run("encode", tree / "none.png", tree, "-r", "--out-dir", tmp_path / "out", "-j", jobs, *TINY)
    assert result.exit_code == 1
    assert f"Error: {tree}/none.png: does not exist.\n" in result.stderr
    assert f"Error: {tree}/bad.png: {NO_IMAGE}\n" in result.stderr
    assert result.stderr.endswith("4 done, 0 skipped, 2 failed\n")
    assert len(files(tmp_path / "out")) == 4


def test_what_a_walk_passes_over_is_counted(run: Callable[..., Result], tree: Path) -> None:
    (tree / "deep" / "IMG_1.HEIC").write_bytes(b"a picture to others")
    for _ in range(2):  # outputs of the first time are not among them
        result = run("encode", "-r", tree, "--skip-existing", *TINY)
        assert "passed over, of other kinds: 2\n" in result.stderr
    assert "passed over" not in run("encode", "-r", tree, "--force", "--quiet", *TINY).stderr
    assert "passed over" not in run("verify", "-r", tree).stderr


def test_links_to_folders_are_counted(run: Callable[..., Result], tree: Path) -> None:
    (tree / "link").symlink_to(tree / "deep")
    (tree / "deep" / "back").symlink_to(tree)
    for words in (("encode", *TINY), ("verify",), ("decode", "--format", "bmp")):
        result = run(*words, "-r", tree)
        assert "links to folders, not followed: 2\n" in result.stderr
        assert result.stderr.endswith("4 done, 0 skipped, 0 failed\n")
    assert run("verify", "-r", tree, "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("command", "kind"), [("encode", "images"), ("decode", ".rgc files"), ("verify", ".rgc files")]
)
def test_a_folder_without_what_is_looked_for_is_a_failure(
    run: Callable[..., Result], tree: Path, command: str, kind: str
) -> None:
    empty = tree / "mounted"
    empty.mkdir()
    sentence = f"Error: {empty}: has no {kind}. Is it the right folder, and mounted?\n"
    result = run(command, "-r", empty, "--quiet")
    assert (result.exit_code, result.stderr) == (1, f"{sentence}0 done, 0 skipped, 1 failed\n")


def test_the_exit_code_follows_from_what_was_named_and_not_from_what_was_found(
    run: Callable[..., Result], tree: Path
) -> None:
    day = tree / "day"
    day.mkdir()
    for count, name in enumerate(("0.rgc", "1.rgc"), 1):
        (day / name).write_bytes(b"damaged")
        result = run("verify", "-r", day, "--quiet")
        assert (result.exit_code, f"\n0 done, 0 skipped, {count} failed\n" in result.stderr) == (1, True)
    assert run("verify", day / "0.rgc").exit_code == 3
    assert run("verify", "-r", day / "0.rgc").exit_code == 3


def test_a_file_that_is_named_twice_is_done_once(run: Callable[..., Result], tree: Path) -> None:
    for words in ((tree / "a.png", tree / "a.png"), ("-r", tree / "deep", tree / "deep" / "er")):
        result = run("encode", *words, *TINY)
        assert result.exit_code == 0, result.stderr
        assert result.stderr.endswith(f"{len(set(words)) - 1 or 1} done, 0 skipped, 0 failed\n")


@pytest.mark.parametrize("apart", [True, False])
def test_outputs_that_differ_in_case_alone_need_a_folder_that_tells_them_apart(
    run: Callable[..., Result], tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    monkeypatch.setattr("regcodec.cli.plan._tells_cases_apart", lambda _: apart)
    (tree / "a.png").rename(tree / "IMG.png")
    (tree / "b.JPG").rename(tree / "img.jpg")
    result = run("encode", "-r", tree, "--out-dir", tmp_path / "out", "--skip-existing", *TINY)
    assert result.exit_code == (0 if apart else 1)
    said = f"{tree}/img.jpg: its output {tmp_path}/out/img.rgc is that of {tree}/IMG.png already."
    assert (said in result.stderr) != apart


def test_a_folder_is_asked_whether_it_tells_cases_apart(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert _tells_cases_apart(tmp_path / "not" / "made") != (tmp_path / "A").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_output_without_its_option_is_not_taken_for_an_input(run: Callable[..., Result], tree: Path) -> None:
    before = files(tree)
    for words in (("encode", tree / "a.png", tree / "out.rgc"), ("decode", tree / "x.rgc", tree / "out.png")):
        for there in (False, True):
            if there:
                words[2].write_bytes(b"of before")
            result = run(*words, *TINY)
            assert result.exit_code == 2
            assert f"{words[2]}: is no input. If it is the output, name it with -o." in result.stderr
        words[2].unlink()
    assert files(tree) == before


def test_one_output_under_two_names_is_made_once(run: Callable[..., Result], tree: Path) -> None:
    (tree / "same").symlink_to(tree / "deep")
    (tree / "deep" / "a.png").write_bytes((tree / "a.png").read_bytes())
    (tree / "deep" / "a.webp").write_bytes((tree / "a.png").read_bytes())
    result = run("encode", tree / "deep" / "a.png", tree / "same" / "a.webp", *TINY)
    assert result.exit_code == 1
    assert f"its output {tree}/same/a.rgc is that of {tree}/deep/a.png already. Do it alone, with -o." in result.stderr
    assert result.stderr.endswith("1 done, 0 skipped, 1 failed\n")


def test_an_unreadable_input_is_one_sentence(run: Callable[..., Result], tree: Path, monkeypatch) -> None:
    def shut(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", shut)
    result = run("encode", tree / "a.png", *TINY)
    assert (result.exit_code, result.stderr) == (1, f"Error: {tree}/a.png: Permission denied.\n")


@pytest.mark.parametrize("command", ["encode", "decode", "verify"])
def test_an_input_without_permission_waits_for_its_turn_and_fails_alone(
    run: Callable[..., Result], tree: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Root may read everything: what is asked of the system is answered for it."""
    monkeypatch.setattr("os.access", lambda *_: False)
    missing = tree / ("none.png" if command == "encode" else "none.rgc")
    result = run(command, tree / "notes.txt", missing)
    assert (result.exit_code, "Usage:" in result.stderr) == (1, False)
    assert result.stderr.endswith("0 done, 0 skipped, 2 failed\n")


def test_what_nobody_expected_ends_one_file_and_not_the_batch(
    run: Callable[..., Result], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = (tree / "a.png").read_bytes()

    def read(data: bytes, **options: Any) -> Picture:
        return read_picture(data, **options) if data != bad else 1 // 0

    monkeypatch.setattr("regcodec.codec.reading.read_picture", read)
    result = run("encode", "-r", tree, *TINY)
    assert result.exit_code == 1
    assert f"Error: {tree}/a.png: unexpected ZeroDivisionError: integer division or modulo by zero.\n" in result.stderr
    assert result.stderr.endswith("3 done, 0 skipped, 1 failed\n")


@pytest.mark.parametrize("command", ["encode", "verify"])
def test_a_name_that_is_too_long_fails_alone(run: Callable[..., Result], tree: Path, command: str) -> None:
    name = "a" * 300 + ".png"
    result = run(command, tree / name, tree / "none.png")
    assert result.exit_code == 1
    assert f"Error: {tree}/{name}: File name too long.\n" in result.stderr
    assert result.stderr.endswith("0 done, 0 skipped, 2 failed\n")


@pytest.mark.parametrize("command", ["encode", "verify"])
def test_a_folder_that_cannot_be_read_fails_beside_the_others(
    run: Callable[..., Result], tree: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    assert run("encode", "-r", tree, "--quiet", *TINY).exit_code == 0
    listed = os.scandir

    def scandir(path: str | Path) -> Any:
        if os.fspath(path).endswith("er"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr("os.scandir", scandir)
    result = run(command, "-r", tree, *TINY, *(["--force"] if command == "encode" else []))
    assert result.exit_code == 1
    assert f"Error: {tree}/deep/er: Permission denied.\n" in result.stderr
    assert result.stderr.endswith("3 done, 0 skipped, 1 failed\n")


def test_a_walk_passes_over_pipes(run: Callable[..., Result], tree: Path) -> None:
    os.mkfifo(tree / "pipe.png")
    result = run("encode", "-r", tree, *TINY)
    assert (result.exit_code, result.stderr.endswith("4 done, 0 skipped, 0 failed\n")) == (0, True)


def test_an_input_is_never_its_own_output_however_it_is_written(run: Callable[..., Result], tree: Path) -> None:
    photo = tree / "photo"
    photo.write_bytes((tree / "a.png").read_bytes())
    (tree / "link").symlink_to(photo)
    for target in (tree / "deep" / ".." / "photo", tree / "link"):
        result = run("encode", photo, "-o", target, "--force", *TINY)
        sentence = f"Error: {photo}: is the output, too. Name another output with -o.\n"
        assert (result.exit_code, result.stderr) == (2, sentence)
        assert photo.read_bytes() == (tree / "a.png").read_bytes()


def test_skip_existing_leaves_finished_files_alone(run: Callable[..., Result], tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.rgc").write_bytes(b"mine")
    result = run("encode", "-r", tree, "--out-dir", tmp_path / "out", "--skip-existing", *TINY)
    assert result.exit_code == 0
    assert result.stderr.endswith("3 done, 1 skipped, 0 failed\n")
    assert (tmp_path / "out" / "a.rgc").read_bytes() == b"mine"


def test_an_existing_output_fails_alone_and_stays(run: Callable[..., Result], tree: Path, tmp_path: Path) -> None:
    (tmp_path / "a.rgc").write_bytes(b"mine")
    result = run("encode", "-r", tree, "--out-dir", tmp_path, *TINY)
    assert result.exit_code == 1
    ways = "Pass --force to replace it, --skip-existing to leave it as it is."
    assert f"Error: {tmp_path}/a.rgc: exists already. {ways}\n" in result.stderr
    assert (tmp_path / "a.rgc").read_bytes() == b"mine"
    assert run("encode", "-r", tree, "--out-dir", tmp_path, "--force", *TINY).exit_code == 0


def test_two_inputs_never_share_an_output(run: Callable[..., Result], tree: Path, tmp_path: Path) -> None:
    Image.fromarray(render(7, 8, 8)).save(tree / "a.bmp")
    result = run("encode", "-r", tree, "--out-dir", tmp_path / "out", *TINY)
    assert result.exit_code == 1
    assert f"{tree}/a.png: its output {tmp_path}/out/a.rgc is that of {tree}/a.bmp already." in result.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("TREE/a.png", "TREE/b.JPG", "-o", "x.rgc"), "-o names one output; for several inputs pass --out-dir."),
        (("TREE", "-r", "-o", "x.rgc"), "-o names one output; for several inputs pass --out-dir."),
        (("-", "TREE/a.png"), "-, standard input, is an input on its own."),
        (("TREE/a.png", "-"), "-: is no input. If it is the output, name it with -o."),
        (
            ("-", "--out-dir", "y"),
            "--out-dir is for files; what comes of standard input goes to -o or to standard output.",
        ),
        (("TREE",), "is a directory. Pass -r to take the files in it."),
        (("TREE/a.png", "-o", "x.rgc", "--out-dir", "y"), "-o and --out-dir say the same thing twice: give one."),
        (("TREE/a.png", "--force", "--skip-existing"), "--force and --skip-existing contradict each other: give one."),
        (("TREE/a.png", "--quiet", "-v"), "--quiet and --verbose contradict each other: give one."),
        (("TREE/a.png", "-o", "x.jpg"), "x.jpg: encode writes .rgc files, whatever their name. Name it x.rgc, or use"),
        (("TREE/a.png", "-o", "-", "--json"), "--json and the output share standard output. Name a file with -o."),
    ],
)
def test_contradictions_are_refused_before_anything_is_done(
    run: Callable[..., Result], tree: Path, words: tuple[str, ...], sentence: str
) -> None:
    before = files(tree)
    result = run("encode", *(word.replace("TREE", str(tree)) for word in words), *TINY)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert files(tree) == before


def test_json_is_one_object_a_file(run: Callable[..., Result], tree: Path, tmp_path: Path) -> None:
    (tree / "bad.png").write_bytes(b"not a picture")
    result = run("encode", "-r", tree, "--out-dir", tmp_path / "out", "--json", "--psnr", *TINY)
    facts = {Path(line["input"]).name: line for line in map(json.loads, result.stdout.splitlines())}
    good = facts["a.png"]
    size = (tmp_path / "out" / "a.rgc").stat().st_size
    assert (good["width"], good["height"], good["bytes"]) == (40, 30, size)
    assert good["bpp"] == round(8 * size / 1200, 5)
    assert 10 < good["psnr"] < 60
    assert good["seconds"] > 0
    assert facts["bad.png"] == {
        "input": f"{tree}/bad.png",
        "error": f"{tree}/bad.png: {NO_IMAGE}",
        "exit_code": 1,
    }
    assert len(facts) == 5


def test_quiet_says_nothing_but_errors(run: Callable[..., Result], tree: Path) -> None:
    result = run("encode", "-r", tree, "--quiet", *TINY)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_verbose_says_where_the_time_goes(run: Callable[..., Result], tree: Path) -> None:
    encoded = run("encode", tree / "a.png", "-v", "--psnr", *TINY).stderr
    decoded = run("decode", tree / "a.rgc", "-v", "-o", tree / "x.png").stderr
    for said, parts in ((encoded, {"read", "pack", "transform", "check", "write"}), (decoded, {"coder", "write"})):
        total, inside = re.findall(r", ([0-9.]+) s \((.*)\)\n", said)[0]
        seconds = {name: float(value) for name, value in (part.split() for part in inside.split(", "))}
        assert parts <= seconds.keys()
        assert abs(float(total) - sum(seconds.values())) < 0.005 * (len(seconds) + 1)  # each is rounded


@pytest.mark.parametrize(
    ("name", "magic"), [("png", b"\x89PNG"), ("webp", b"RIFF"), ("tiff", b"II*\0"), ("ppm", b"P6")]
)
def test_standard_streams_carry_any_format(tree: Path, name: str, magic: bytes) -> None:
    done = shell(f"regcodec encode - --model tiny < a.png | regcodec decode - --format {name}", tree)
    assert done.stdout.startswith(magic), done.stderr
    assert files(tree) >= {"a.png"}
    assert "-" not in files(tree)


def test_a_terminal_neither_gives_nor_gets_bytes(tree: Path) -> None:
    for words, stream, sentence in (
        (("encode", "a.png", "-o", "-", *TINY), "stdout", b"standard output is a terminal"),
        (("encode", "-", "-o", "x.rgc", *TINY), "stdin", b"standard input is a terminal"),
    ):
        terminal, other = pty.openpty()
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, stream: other}
        done = subprocess.run(
            [*COMMAND, *words], cwd=tree, env=ENVIRONMENT, stderr=subprocess.PIPE, check=False, timeout=300, **streams
        )
        os.close(other)
        os.close(terminal)
        assert done.returncode == 2
        assert sentence in done.stderr


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (
            "encode a.png -o - --model tiny >&-",
            "standard output is closed. Name a file with -o, or pipe the output on.",
        ),
        ("encode - -o x.rgc --model tiny <&-", "standard input is closed. Name a file, or pipe one in."),
    ],
)
def test_a_closed_stream_is_one_sentence(tree: Path, script: str, sentence: str) -> None:
    done = shell(f"regcodec {script}", tree)
    assert (done.returncode, done.stderr.decode()) == (2, f"Error: {sentence}\n")


@pytest.mark.parametrize("lost", ["2>/dev/full", "2>&-", "2> >(exec true)"])
def test_messages_that_nobody_gets_change_nothing(tree: Path, lost: str) -> None:
    done = shell(f"regcodec encode a.png b.JPG none.png deep/*.png --model tiny {lost}", tree)
    assert done.returncode == 1
    assert {"a.rgc", "b.rgc", "deep/c d.rgc"} <= files(tree)
    assert shell(f"regcodec encode a.png --nonsense {lost}", tree).returncode == 2


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize(
    ("command", "named"),
    [("--help", "standard output"), ("--version", "standard output"), ("models", "input or output")],
)
def test_words_on_a_full_device_end_in_one_sentence(tree: Path, command: str, named: str, buffered: str) -> None:
    done = shell(f"PYTHONUNBUFFERED={buffered} regcodec {command} >/dev/full", tree)
    assert (done.returncode, done.stderr) == (1, f"Error: {named}: No space left on device.\n".encode())


@pytest.mark.parametrize(("signal_", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_signal_while_a_library_is_loaded_ends_the_batch(
    run: Callable[..., Result], tree: Path, monkeypatch: pytest.MonkeyPatch, signal_: BaseException, code: int
) -> None:
    """Libraries turn it into an ImportError."""
    first = (tree / "a.png").read_bytes()

    def read(data: bytes, **options: Any) -> Picture:
        if data == first:
            return read_picture(data, **options)
        raise ImportError("initialization failed") from signal_

    monkeypatch.setattr("regcodec.codec.reading.read_picture", read)
    result = run("encode", "-r", tree, *TINY)
    assert (result.exit_code, "unexpected" in result.stderr) == (code, False)
    assert {name for name in files(tree) if name.endswith(".rgc")} == {"a.rgc"}


def test_a_bar_on_a_terminal_and_lines_elsewhere(tree: Path) -> None:
    terminal, other = pty.openpty()
    words = [*COMMAND, "encode", "a.png", "b.JPG", *TINY]
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "80"}
    subprocess.run(words, cwd=tree, env=environment, stderr=other, check=True, timeout=300)
    shown = os.read(terminal, 65536)
    os.close(other)
    os.close(terminal)
    assert b"2/2" in shown
    assert b"a.rgc" not in shown
    lines = subprocess.run([*words, "-f"], cwd=tree, env=environment, capture_output=True, check=True).stderr
    assert b"a.rgc: " in lines
    assert b"\x1b" not in lines


def test_xargs_and_shell_loops_work_as_people_expect(tree: Path) -> None:
    done = shell("find . -name '[a-z]*.png' -print0 | xargs -0 regcodec encode --model tiny", tree)
    assert done.returncode == 0, done.stderr
    assert {"a.rgc", "deep/c d.rgc"} <= files(tree)
    loop = 'ls *.rgc deep/*.rgc | while read -r f; do regcodec decode "$f" -o "$f.png"; done'
    done = shell(loop, tree)
    assert {"a.rgc.png", "deep/c d.rgc.png"} <= files(tree), done.stderr


def test_standard_output_by_its_other_names_is_not_replaced(tree: Path) -> None:
    script = """printf before > all.bin
        for name in /dev/stdout /dev/fd/1 /proc/self/fd/1; do
            regcodec encode a.png -o $name --model tiny --force >> all.bin || exit
        done
        regcodec encode a.png -o /dev/fd/3 --model tiny 3>> all.bin"""
    done = shell(script, tree)
    assert done.returncode == 0, done.stderr
    written = (tree / "all.bin").read_bytes()
    assert written.startswith(b"before\x89RGC")
    assert (written.count(b"\x89RGC\r\n"), (len(written) - len("before")) % 4) == (4, 0)


def test_standard_input_by_its_other_name_goes_to_standard_output(tree: Path) -> None:
    done = shell("regcodec encode /dev/stdin --model tiny < a.png", tree)
    assert done.stdout.startswith(b"\x89RGC"), done.stderr


def test_a_dash_below_a_folder_is_a_file(
    run: Callable[..., Result], tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    (tree / "a.png").rename(tree / "-")
    assert run("encode", "./-", *TINY).exit_code == 0
    assert run("decode", "./-.rgc", "-o", ".//-", "--format", "png", "--force").exit_code == 0
    assert {"-", "-.rgc"} <= files(tree)


@pytest.mark.parametrize("words", [("encode", "TREE/a.png", "-o", ""), ("encode", "TREE/a.png", "--out-dir", "")])
@pytest.mark.parametrize("jobs", [(), ("--jobs", "2")])
def test_an_empty_output_is_refused(
    run: Callable[..., Result], tree: Path, words: tuple[str, ...], jobs: tuple[str, ...]
) -> None:
    before = files(tree)
    result = run(*(word.replace("TREE", str(tree)) for word in words), *jobs, *TINY)
    assert (result.exit_code, result.stderr) == (2, EMPTY)
    assert files(tree) == before


@pytest.mark.parametrize("words", [("encode", "-r"), ("decode", "-r", "--force"), ("verify", "-r"), ("info",)])
def test_an_empty_input_is_not_the_working_directory(
    run: Callable[..., Result], tree: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    result = run(*words, "")
    assert (result.exit_code, result.stderr) == (2, EMPTY)


@pytest.mark.parametrize("command", ["encode", "decode", "verify"])
def test_an_empty_pack_is_not_the_default_one(run: Callable[..., Result], tree: Path, command: str) -> None:
    result = run(command, tree / "a.png", "--model", "")
    sentence = "Error: --model '': an empty name is no pack. Is a variable not set?\n"
    assert (result.exit_code, result.stderr) == (2, sentence)


def test_names_do_not_speak_to_the_terminal(run: Callable[..., Result], tree: Path) -> None:
    (tree / "a.png").rename(tree / "a\n\x1b[31m.png")
    result = run("encode", "-r", tree, *TINY)
    assert (result.exit_code, "\x1b" in result.stderr) == (0, False)
    assert f"{tree}/a??[31m.rgc: " in result.stderr
    result = run("verify", tree / "\x1b.rgc")
    assert result.stderr == f"Error: {tree}/?.rgc: does not exist.\n"


def test_a_name_is_no_picture_of_its_own() -> None:
    console = stderr_console()
    with console.capture() as shown:
        console.print(":100:.rgc", markup=False)
    assert shown.get() == ":100:.rgc\n"


def test_a_substituted_process_is_read_and_the_file_goes_to_standard_output(tree: Path) -> None:
    done = shell("regcodec encode <(cat a.png) --model tiny > x.rgc && regcodec encode a.png --model tiny", tree)
    assert done.returncode == 0, done.stderr
    assert (tree / "x.rgc").read_bytes() == (tree / "a.rgc").read_bytes()


def test_a_quality_that_no_pack_has_is_said_before_a_picture_is_read(run: Callable[..., Result], tree: Path) -> None:
    (tree / "bad.png").write_bytes(b"no picture")
    result = run("encode", tree / "bad.png", "-q", "80", *TINY)
    assert result.exit_code == 2
    assert f"Error: {tree}/bad.png: -q 80: pack tiny has the qualities" in result.stderr


def test_a_name_that_begins_with_a_dash_works_after_two(tree: Path) -> None:
    (tree / "a.png").rename(tree / "-q.png")
    assert shell("regcodec encode --model tiny -- -q.png", tree).returncode == 0
    assert "-q.rgc" in files(tree)


def _as_in_a_shell() -> None:
    """Let the signals of a terminal end the program, also where the tests run under nohup or in the background."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture
def long_batch(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start a batch that takes a while, in a session of its own, and wait for its first output."""
    folder = tmp_path / "long"
    folder.mkdir()
    Image.fromarray(render(1, 900, 700)).save(folder / "0.ppm")
    for index in range(1, 60):
        (folder / f"{index}.ppm").hardlink_to(folder / "0.ppm")

    def start(*options: str) -> subprocess.Popen[bytes]:
        words = [*COMMAND, "encode", "-r", str(folder), "--out-dir", str(tmp_path / "out"), *TINY, *options]
        batch = subprocess.Popen(
            words, env=ENVIRONMENT, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=_as_in_a_shell
        )
        limit = time.monotonic() + 300
        while batch.poll() is None and not list((tmp_path / "out").glob("[!.]*.rgc")) and time.monotonic() < limit:
            time.sleep(0.01)
        assert batch.poll() is None
        return batch

    return start


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_whole_files_and_nothing_else(
    long_batch: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, jobs: str, number: signal.Signals
) -> None:
    batch = long_batch("--jobs", jobs)
    os.killpg(batch.pid, number) if number == signal.SIGINT else batch.send_signal(number)
    said = batch.communicate(timeout=60)[1].decode()
    assert batch.returncode == (-number if number == signal.SIGINT else 128 + number)
    assert re.search(r"^stopped: \d+ done, 0 skipped, 0 failed, \d+ left$", said, re.MULTILINE)
    written = list((tmp_path / "out").iterdir())
    assert 0 < len(written) < 60
    for path in written:
        assert path.suffix == ".rgc"
        assert not path.name.startswith(".")
        assert CliRunner().invoke(main, ["verify", str(path)]).exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_evaluation_in_processes_leaves_none_and_no_folder(
    tree: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """But for SIGKILL, which lets it no time to remove the folder."""
    Image.fromarray(render(1, 900, 700)).save(tree / "a.png")
    for index in range(60):
        (tree / f"{index}.png").hardlink_to(tree / "a.png")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    evaluation = subprocess.Popen(
        [*COMMAND, "eval", "--dataset", str(tree), "--jobs", "2", *TINY],
        env={**ENVIRONMENT, "TMPDIR": str(scratch)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_as_in_a_shell,
    )
    while evaluation.poll() is None and not list(scratch.glob("regcodec-eval-*/tiny/*.rgc")):
        time.sleep(0.01)
    assert evaluation.poll() is None
    os.killpg(evaluation.pid, number) if number == signal.SIGINT else evaluation.send_signal(number)
    assert evaluation.wait(60) == (128 + number if number == signal.SIGTERM else -number)
    limit = time.monotonic() + 60
    while _group_lives(evaluation.pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not _group_lives(evaluation.pid)
    assert number == signal.SIGKILL or not list(scratch.glob("regcodec-eval-*"))


def test_processes_end_with_their_killed_parent(long_batch: Callable[..., subprocess.Popen[bytes]]) -> None:
    batch = long_batch("--jobs", "2")
    batch.kill()
    batch.wait(60)
    limit = time.monotonic() + 300
    while _group_lives(batch.pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not _group_lives(batch.pid)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_ignored_hangup_stays_ignored(tree: Path, jobs: int) -> None:
    """As under nohup, which a batch over night is started with."""
    for index in range(30):
        (tree / f"{index}.png").hardlink_to(tree / "a.png")
    batch = subprocess.Popen(
        [*COMMAND, "encode", "-r", str(tree), "--jobs", str(jobs), *TINY],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    while batch.poll() is None and not list(tree.glob("*.rgc")):
        time.sleep(0.01)
    os.killpg(batch.pid, signal.SIGHUP)
    _, said = batch.communicate(timeout=300)
    assert batch.returncode == 0
    assert said.endswith(b"34 done, 0 skipped, 0 failed\n")


def test_what_a_killed_process_had_begun_is_done_again(
    long_batch: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    batch = long_batch("--jobs", "2")
    children = subprocess.run(["pgrep", "-f", "-P", str(batch.pid), "spawn_main"], capture_output=True, check=False)
    os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
    _, said = batch.communicate(timeout=300)
    assert batch.returncode == 0
    done, skipped = re.search(rb"(\d+) done, (\d+) skipped, 0 failed\n$", said).groups()
    assert int(done) + int(skipped) == 60
    assert int(skipped) < 3  # written, and then its process died
    assert sum(not path.name.startswith(".") for path in (tmp_path / "out").iterdir()) == 60


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_plan_walks_in_order_and_names_every_output(tree: Path) -> None:
    places = Places(output=None, out_dir=Path("out"), suffix=".rgc")
    kind = Kind("images", lambda: {".png"})
    assert plan([tree], places, kind, recursive=True, outputs=()).entries == [
        Job(tree / "a.png", Path("out/a.rgc")),
        Job(tree / "deep/c d.png", Path("out/deep/c d.rgc")),
    ]
    assert plan([tree / "none"], places, kind, recursive=True, outputs=()).entries == [
        Failure(tree / "none", f"{tree}/none: does not exist.", 2)
    ]
