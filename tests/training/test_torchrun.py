"""The torchrun commands of docs and help, read by torchrun itself: it takes `--run` for its own without `--`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from torch.distributed.run import parse_args

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("source", ["docs/training.md", "regcodec/cli/train.py"])
def test_torchrun_hands_every_option_of_the_trainer_on(source: str) -> None:
    commands = re.findall(r"^ +(torchrun .*)$", (ROOT / source).read_text(), re.MULTILINE)
    assert commands
    for command in commands:
        _, *words = shlex.split(command.replace("...", "--data photos --run runs/a"))
        own = words.index("regcodec")
        read = parse_args(words)
        assert read.module
        assert [read.training_script, *read.training_script_args] == words[own:]
