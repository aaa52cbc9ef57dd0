"""What surrounds the command: models, --version, the man page, completion, the MIME type, the magic line."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result

from regcodec.cli.info import training_runs
from regcodec.cli.main import main
from regcodec.cli.models import card
from regcodec.errors import DamagedFileError

ROOT = Path(__file__).parents[1]
SHARE = ROOT / "share"
GOLDEN = ROOT / "tests" / "golden"
ENVIRONMENT = {**os.environ, "REGCODEC_MODELS": str(GOLDEN)}


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make", SHARE / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_man_page_is_the_command_lines(make: ModuleType) -> None:
    assert make.MAN.read_text() == make.man_page(), "run: python share/make.py"


def test_the_man_page_has_every_command_and_option() -> None:
    page = (SHARE / "man/man1/regcodec.1").read_text().replace("\\-", "-")
    for name, command in main.commands.items():
        assert f".SS regcodec {name} " in page
        for parameter in command.params:
            for option in parameter.opts:
                assert parameter.param_type_name == "argument" or option in page


@needs("groff")
def test_groff_has_nothing_to_say_about_the_man_page() -> None:
    words = ["groff", "-man", "-Tutf8", "-ww", str(SHARE / "man/man1/regcodec.1")]
    assert subprocess.run(words, capture_output=True, check=True).stderr == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_and_packs_complete_in_every_shell(shell: str) -> None:
    def offered(words: str, current: str) -> str:
        count = len(words.split())
        asked = {"COMP_WORDS": f"{words} {current}", "COMP_CWORD": current if shell == "fish" else str(count)}
        environment = {**ENVIRONMENT, **asked, "_REGCODEC_COMPLETE": f"{shell}_complete"}
        command = [sys.executable, "-c", "from regcodec.cli.main import main; main(prog_name='regcodec')"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert "encode" in offered("regcodec", "enc")
    assert "--skip-existing" in offered("regcodec encode", "--sk")
    assert "tiny" in offered("regcodec encode --model", "ti")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_is_there_and_calls_the_command(make: ModuleType, shell: str) -> None:
    assert f"_REGCODEC_COMPLETE={shell}_complete" in make.COMPLETIONS[shell].read_text()


@needs("bash")
def test_bash_takes_its_completion_script() -> None:
    script = SHARE / "bash-completion/completions/regcodec"
    done = subprocess.run(
        ["bash", "-c", f"source {script} && complete -p regcodec"], capture_output=True, text=True, check=True
    )
    assert "_regcodec_completion" in done.stdout


@needs("file")
def test_file_knows_a_regcodec_image() -> None:
    image = GOLDEN / "colour.rgc"
    words = ["file", "--brief", "-m", str(SHARE / "regcodec/magic")]
    said = subprocess.run([*words, str(image)], capture_output=True, text=True, check=True).stdout
    assert said == "regcodec image, format version 1\n"
    said = subprocess.run([*words, "--mime-type", str(image)], capture_output=True, text=True, check=True).stdout
    assert said == "image/x-regcodec\n"


@needs("update-mime-database")
def test_the_desktop_takes_the_mime_type(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    shutil.copy(SHARE / "mime/packages/regcodec.xml", packages)
    subprocess.run(["update-mime-database", str(tmp_path)], check=True, capture_output=True)
    assert "image/x-regcodec:*.rgc" in (tmp_path / "globs").read_text()
    assert b"\x89RGC\r\n\x1a\n" in (tmp_path / "magic").read_bytes()


def test_the_wheel_takes_every_file_of_share() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    installed = {name for names in listed.values() for name in names}
    found = {
        str(path.relative_to(ROOT))
        for path in SHARE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert installed == found
    assert all(str(Path(name).parent) == folder for folder, names in listed.items() for name in names)


def test_the_version_names_what_decides_results(run: Callable[..., Result]) -> None:
    said = run("--version").stdout
    for name in ("regcodec", "numpy", "constriction", "onnxruntime", "pillow", "Python"):
        assert re.search(rf"{name}\W.*\d", said), name
    assert ".rgc format 1, pack format 1" in said


@pytest.mark.usefixtures("only_tiny")
def test_models_lists_packs_with_their_cards(run: Callable[..., Result]) -> None:
    said = run("models").stdout
    assert said.startswith("tiny\n")
    for fact in ("hyperprior, 0.2 MB, id ", "qualities 1 3 4", "trained for 800 steps on ", str(GOLDEN / "tiny.rgm")):
        assert fact in said
    facts = json.loads(run("models", "--json").stdout)
    assert facts["pack"] == "tiny"
    assert not facts["default"]
    assert facts["training"]["steps"] == 800


def test_the_card_counts_the_steps_of_every_run_since_the_first_weights() -> None:
    first = {"training": {"finished_steps": 12_000, "lr": 5e-4, "regularizer": {"name": "none"}}}
    second = {"training": {"finished_steps": 1_000, "regularizer": {"name": "source-entropy"}}, "init": first}
    last = {"training": {"finished_steps": 300, "data": {"images": 7}}, "init": {"pack": "0" * 16, **second}}
    assert [run["steps"] for run in training_runs(last)] == [12_000, 1_000, 300]
    first["training"]["processes"] = 2
    assert [run.get("processes") for run in training_runs(last)] == [2, None, None]
    named = {"pack": "a", "architecture": "b", "bytes": 1, "pack_id": "c", "qualities": [], "file": "d"}
    lines = list(card({**named, "default": False, **last}))
    assert "    trained for 13,300 steps on 7 images, 1,000 of them with source-entropy" in lines


@pytest.mark.parametrize(
    "odd",
    [{"training": [1]}, {"training": {"finished_steps": "many"}}, {"training": {"regularizer": None}}, {"init": "x"}],
)
def test_runs_that_no_export_writes_are_a_damaged_pack(odd: dict[str, object]) -> None:
    with pytest.raises(DamagedFileError, match="what its manifest says of training is not well formed"):
        training_runs({"file": "a.rgm", **odd})


def test_models_goes_on_after_a_damaged_pack(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(GOLDEN / "tiny.rgm", tmp_path / "whole.rgm")
    (tmp_path / "broken.rgm").write_bytes(b"PK")
    monkeypatch.setattr("regcodec.codec.library.pack_folders", lambda: [tmp_path])
    result = run("models")
    assert result.exit_code == 0
    assert "broken\n" in result.stdout
    assert "not a regcodec pack" in result.stdout
    assert "whole\n" in result.stdout
    monkeypatch.setattr("regcodec.codec.library.pack_folders", list)
    assert run("models").stderr == "No packs are at hand (no folders). Set REGCODEC_MODELS.\n"
