"""A study that makes no sense is refused with one sentence, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from regcodec.cli.train import config_of
from regcodec.errors import UsageError
from regcodec.study.plan import Plan, read_plan

ROOT = Path(__file__).parents[2]
BASE = """
seeds = [1, 2]
snapshots = [4]
[base]
width = 8
latent-width = 12
rates = [0.0035, 0.013]
steps = 8
start = "random"
"""
PAIR = """
[[variant]]
name = "vanilla"
[[variant]]
name = "r"
regularizer = "source-entropy"
ratio = 0.1
"""


def read(folder: Path, text: str) -> Plan:
    file = folder / "study.toml"
    file.write_text(text)
    return read_plan(file, config_of)


def test_variants_share_everything_but_what_they_name(tmp_path: Path) -> None:
    plan = read(tmp_path, BASE + PAIR)
    vanilla, regularized = plan.variants
    assert (plan.seeds, plan.steps, plan.snapshots) == ((1, 2), 8, (4, 8))
    assert (vanilla.against, regularized.against) == (None, "vanilla")
    assert (regularized.config.regularizer.ratio, regularized.config.lambdas) == (0.1, (0.0035, 0.013))
    assert plan.config(regularized, 2).seed == 2
    assert plan.pairs == [(regularized, vanilla)]


def test_a_variant_may_be_against_another_than_the_first(tmp_path: Path) -> None:
    more = '[[variant]]\nname = "masked"\narch = "autoregressive"\n[[variant]]\nname = "both"\nagainst = "masked"\n'
    plan = read(tmp_path, BASE + PAIR + more + "ratio = 0.1\nregularizer = 'source-entropy'\n")
    assert [variant.against for variant in plan.variants] == [None, "vanilla", None, "masked"]


def test_sets_are_measured_at_the_end_or_at_every_snapshot_or_for_the_first_reference(tmp_path: Path) -> None:
    sets = "\n".join(
        f'[[images]]\nname = "{name}"\n{key}' for name, key in (("a", "every-snapshot = true"), ("b", "count = 3"))
    )
    plan = read(tmp_path, f'{BASE}{PAIR}{sets}\n[[images]]\nname = "c"\npublished = true\n')
    vanilla, regularized = plan.variants

    def measured(variant, seed: int, step: int) -> str:
        return "".join(images.name for images in plan.images if plan.measured(variant, seed, step, images))

    assert [measured(vanilla, 1, 4), measured(vanilla, 1, 8)] == ["a", "abc"]
    assert [measured(vanilla, 2, 8), measured(regularized, 1, 8)] == ["ab", "ab"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("= 1", "not a TOML file"),
        ("seedz = [1]\n" + BASE + PAIR, "unknown keys: seedz"),
        (BASE.replace("[1, 2]", "[1, 1]") + PAIR, "seeds is a list of different whole numbers"),
        (BASE.replace("[1, 2]", "1") + PAIR, "seeds is a list of different whole numbers"),
        (BASE.replace("[4]", "[9]") + PAIR, "9 is beyond the 8 steps"),
        (BASE.replace("steps = 8", "") + PAIR, "settings of regcodec train, steps among them"),
        (BASE + "seed = 1\n" + PAIR, "seed: is set by the study"),
        (BASE + "data = 'x'\n" + PAIR, "data is no setting of a run"),
        (BASE + "colour = 1\n" + PAIR, "variant vanilla: colour is no setting of a run"),
        (BASE + "batch = 1.5\n" + PAIR, "batch = 1.5: "),
        (BASE + "crop = 100\n" + PAIR, "--crop must be a multiple of 64"),
        (BASE + '[[variant]]\nname = "vanilla"\n', "at least two"),
        (BASE + PAIR + PAIR, "a name of its own"),
        (BASE + PAIR + "[[variant]]\nratio = 0.1\n", "every [[variant]] has a name"),
        (BASE + PAIR + '[[variant]]\nname = "../x"\n', "every [[variant]] has a name"),
        (BASE + PAIR + "steps = 9\n", "variant r: steps is the same for all variants"),
        (BASE + PAIR + "rates = [0.0035, 0.025]\n", "variant r: rates is the same for all variants"),
        (BASE + PAIR + "lambda = 0.0035\n", "variant r: lambda is the same for all variants"),
        (BASE + PAIR + 'against = ["no"]\n', "names of variants"),
        (BASE.replace("steps = 8", "steps = true") + PAIR, "settings of regcodec train, steps among them"),
        (BASE + PAIR + "[[images]]\nname = 'a'\n[[images]]\nname = 'a'\n", "every [[images]] has a name of its own"),
        (BASE + PAIR + 'against = "no"\n', "no: a reference that is no variant"),
        ('reference = "no"\n' + BASE + PAIR, "no: a reference that is no variant"),
        (BASE + PAIR + "[images]\nname = 'a'\n", "written as [[images]]"),
        (BASE + PAIR + "[[images]]\nname = 'a'\nnumber = 1\n", "images a: unknown keys: number"),
        (BASE + PAIR + "[[images]]\nname = 'a'\ncount = 0\n", "images a: count is a number"),
        (BASE + PAIR + "[[images]]\nname = 'a'\npublished = 1\n", "are true or false"),
        (BASE + PAIR + "[[images]]\nname = 'a'\npublished = true\ncount = 1\n", "leave count out"),
    ],
)
def test_each_mistake_has_its_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as refusal:
        read(tmp_path, text)
    assert sentence in str(refusal.value)
    assert "study.toml" in str(refusal.value)
    assert "\n" not in str(refusal.value).strip()


@pytest.mark.parametrize("file", sorted((ROOT / "studies").glob("*.toml")), ids=lambda path: path.stem)
def test_the_studies_of_the_repository_are_studies(file: Path) -> None:
    plan = read_plan(file, config_of)
    assert plan.pairs
