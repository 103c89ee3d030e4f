"""Names of variants: which a config and a command line take, and what is said of the others."""

import json
import subprocess
import sys
from itertools import permutations

import pytest

from configs import CONFIGS, Config, load_config, parse_options
from configs.variants import VARIANTS, check_setting, sorted_variants, variants_of
from model import MAGANConfig
from model.registry import NETWORKS, network_config
from tests.processes import ROOT
from utils.errors import InputError


def test_settings_share_all_parts_left_out_and_have_quirks_of_their_own():
    shared = variants_of("supervised").keys() & variants_of("weakly").keys()
    assert shared == {name for name in VARIANTS if not name.startswith("mend-")}
    assert variants_of("supervised").keys() - shared == {"mend-gate-terms", "mend-score-terms"}
    assert variants_of("weakly").keys() - shared == {"mend-loss", "mend-pooling", "mend-decision", "mend-gates"}


def test_combination_is_kept_in_one_order():
    names = ("no-refine-audio", "no-v2a", "no-interaction")
    assert {sorted_variants(order) for order in permutations(names)} == {names}
    assert MAGANConfig(variant=names[::-1]).variant == names


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("no-a2v", "no-channel-attention", "A2V channel attention"),
        ("no-a2v", "no-audio-guidance", "audio-guided spatial attention"),
        ("no-v2a", "no-attention-gate", "V2A gate"),
        ("no-spatial-attention", "no-audio-guidance", "audio-guided spatial attention"),
        ("no-unimodal-gates", "no-gate-loss", "unimodal gates"),
        ("no-multimodal-gate", "no-gate-loss", "multimodal score"),
        ("no-gate-loss", "mend-score-terms", "score terms"),
        ("no-unimodal-gates", "mend-gates", "unimodal gates"),
        ("visual-only", "audio-only", "modalities"),
    ],
)
def test_two_that_change_the_same_thing_are_refused_by_both_names(one, other, shared):
    for names in ((one, other), (other, one)):
        with pytest.raises(ValueError, match="both change") as error:
            MAGANConfig(variant=names)
        assert all(part in str(error.value) for part in (one, other, shared))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (["no-gates"], "variant is 'no-gates', expected names of no-refine-visual, "),
        (["no-a2v", "no-a2v"], "variant names no-a2v twice"),
        ("no-a2v", "variant is 'no-a2v', expected a list of names"),
        ([3], "variant is [3], expected a list of names"),
    ],
)
def test_what_is_no_list_of_known_names_is_refused(tmp_path, value, said):
    contents = json.loads((ROOT / "configs" / "main.json").read_text())
    contents["model"]["variant"] = value
    path = tmp_path / "config.json"
    path.write_text(json.dumps(contents))
    with pytest.raises(InputError) as error:
        network_config(NETWORKS["magan"]["supervised"], load_config(path))
    assert str(error.value).startswith(f"{path}: model: {said}")


def test_name_of_the_other_setting_is_refused_with_both():
    with pytest.raises(ValueError, match="the supervised setting has no variant mend-loss, expected names of"):
        check_setting(["mend-loss"], "supervised")
    check_setting(["mend-loss"], "weakly")


def test_flag_takes_several_names():
    flags = ["--variant", "no-v2a", "no-a2v", "--lr", "0.5"]
    given = parse_options("Train.", "supervised", "./run/", flags).overrides
    assert given == {"variant": ["no-v2a", "no-a2v"], "lr": 0.5}
    assert Config().with_values(given, "command line").model["variant"] == ["no-v2a", "no-a2v"]


@pytest.mark.parametrize("setting", CONFIGS)
def test_help_explains_each_variant_of_the_setting_and_no_other(setting, capsys):
    with pytest.raises(SystemExit):
        parse_options("Train.", setting, "./run/", ["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for name, variant in VARIANTS.items():
        assert (f"{name} {variant.part}: {variant.sentence}" in text) == (setting in variant.settings), name


def test_list_of_variants_needs_no_network():
    """configs are read before seconds are spent on importing torch."""
    program = "import sys, configs.variants; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
