"""What is wrong in the section `models` of a configuration, its sweeps and ranges, ends in one sentence."""

import re

import pytest
from configurations import GOOD, SIMULATED, assert_refused, build, changed, validator

from factor_ray.configuration import parse
from factor_ray.errors import InputError

REFUSED = [
    ("    hidden: [[4]", "    hiden: [[4]", 15, "cbapm has no hyperparameter 'hiden'; did you mean hidden?"),
    ("    search:\n", "    serch:\n", 17, "cbapm has no hyperparameter 'serch'; did you mean search?"),
    ("      dropout:", "      droput:", 19, "cbapm has no hyperparameter 'droput'; did you mean dropout?"),
    (
        "log_uniform:",
        "loguniform:",
        18,
        "unknown key models.0.search.learning_rate.loguniform; did you mean log_uniform",
    ),
    ("  - name: cbapm", "  - name: cbpam", 14, "there is no model 'cbpam'; did you mean cbapm?"),
    ("  - name: cbapm", "  - nane: cbapm", 14, "models.0.name is required: add it (is nane meant?)"),
    ("[[4], [8, 4]]", "[[4], [8, 0]]", 15, "cbapm: hidden.1 must be greater than 0; got 0"),
    ("[[4], [8, 4]]", "[[4], 8]", 15, "cbapm: hidden must be a list; got 8"),
    ("[[4], [8, 4]]", "[4, wide]", 15, "cbapm: hidden.1 must be a whole number; got 'wide'"),
    ("[[4], [8, 4]]", "[]", 15, "cbapm: hidden must be a list of at least 1; got []"),
    ("[[4], [8, 4]]", "[[4], [4]]", 15, "hidden lists 4 twice: keep one"),
    ("[[4], [8, 4]]", "8", 15, "cbapm: hidden must be a list; got 8"),
    ("[0, 1e-1]", "[0, -1]", 16, "cbapm: consensus_weight must be at least 0; got -1"),
    ("[0, 1e-1]", "[]", 16, "consensus_weight is an empty list: give at least one value, or leave it out"),
    ("[0, 1e-1]", "[0.5, 0.5]", 16, "consensus_weight lists 0.5 twice: keep one"),
    ("[0, 1e-1]", "[1, 1.0]", 16, "consensus_weight lists 1 twice: keep one"),
    ("[0, 1e-1]", "[[0, 1], 2]", 16, "cbapm: consensus_weight must be a number; got [0, 1]"),
    ("[0, 1e-1]", "{a: 1}", 16, "cbapm: consensus_weight must be a number; got {'a': 1}"),
    ("[0, 1e-1]", "high", 16, "cbapm: consensus_weight must be a number; got 'high'"),
    ("[0, 1e-1]", "null", 16, "cbapm: consensus_weight must be a number; got nothing"),
    ("[0, 1e-1]", ".inf", 16, "cbapm: consensus_weight must be a finite number; got inf"),
    ("[0, 1e-1]", ".nan", 16, "cbapm: consensus_weight must be a finite number; got nan"),
    ("{log_uniform: [1e-4, 1e-2]}", "[1e-4, 1e-2]", 18, "models.0.search.learning_rate: a range must be written as {"),
    ("{log_uniform: [1e-4, 1e-2]}", "{}", 18, "models.0.search.learning_rate: a range must be one of uniform, log_un"),
    ("[1e-4, 1e-2]", "[1e-4]", 18, "models.0.search.learning_rate.log_uniform.1 is required: add it"),
    ("[1e-4, 1e-2]", "[1e-4, 1e-2, 1]", 18, "models.0.search.learning_rate.log_uniform must be a list of at most 2"),
    ("[1e-4, 1e-2]", "[low, 1e-2]", 18, "models.0.search.learning_rate.log_uniform.0 must be a number; got 'low'"),
    (
        "[1e-4, 1e-2]",
        "[0, 1e-2]",
        18,
        "models.0.search.learning_rate: a log_uniform range must start above 0; got [0.0,",
    ),
    ("[1e-4, 1e-2]", "[1e-2, 1e-4]", 18, "models.0.search.learning_rate: a range must be [low, high], two finite numb"),
    ("[1e-4, 1e-2]", "[1e-4, .inf]", 18, "models.0.search.learning_rate: a range must be [low, high], two finite numb"),
    ("{choice: [0.1, 0.5]}", "{uniform: [0.1, 1.0]}", 19, "cbapm: dropout must be less than 1; got 1.0"),
    ("{choice: [0.1, 0.5]}", "{choice: [0.1, 1.5]}", 19, "cbapm: dropout must be less than 1; got 1.5"),
    ("{choice: [0.1, 0.5]}", "{choice: []}", 19, "models.0.search.dropout.choice must be a list of at least 1; got []"),
    ("      dropout:", "      consensus_weight:", 19, "consensus_weight is both fixed and searched: keep one"),
    ("dropout: {choice: [0.1, 0.5]}", "epochs: {uniform: [5, 50]}", 19, "cbapm: epochs must be a whole number; got"),
    (
        "  - name: cbapm",
        "  - name: cbapm\n  - name: cbapm",
        13,
        "models: a model may be listed once (sweep its hyperpara",
    ),
    (
        "  - name: cbapm",
        "  - name: 7",
        14,
        "models.0.name must be text (in quotes where it looks like a number); got 7",
    ),
]


@pytest.mark.parametrize(("old", "new", "line", "sentence"), REFUSED)
def test_what_is_wrong_in_models_is_one_sentence(old, new, line, sentence):
    assert_refused(old, new, line, sentence)


NEURIF = "{name: neurif, factors: 2, orthogonality: [0.01, 0.1], search: {blocks: {integer: [1, 2]}}, ablations: {%s}}"


@pytest.mark.parametrize(
    ("ablations", "sentence"),
    [
        ("temporl: false", "neurif has no hyperparameter 'temporl'; did you mean temporal?"),
        ("tau: 0.5", "levels are those of target.quantiles, for all models: set them there"),
        ("temporal: [false, true]", "neurif: temporal must be true or false; got [False, True]"),
        ("temporal: off-", "neurif: temporal must be true or false; got 'off-'"),
        ("heads: -1", "neurif: heads must be at least 1; got -1"),
        ("temporal: true", "neurif: temporal is true in the full model too: give the value that switches it off"),
        ("factors: 2", "neurif: factors is 2 in the full model too: give the value that switches it off"),
        ("orthogonality: 0", "orthogonality is both swept and switched off: keep one"),
        ("blocks: 0", "blocks is both searched and switched off: keep one"),
    ],
)
def test_an_ablation_that_cannot_be_compared_is_one_sentence(ablations, sentence):
    text = changed("{name: cbapm, hidden: [4], epochs: 2}", NEURIF % ablations, SIMULATED)
    with pytest.raises(InputError) as refused:
        build(text)
    assert str(refused.value) == f"run.yaml, line 6: {sentence}"
    told_by_schema = not any(rule in sentence for rule in ("in the full model too", "both"))
    assert validator().is_valid(parse(text, "run.yaml").values) != told_by_schema


def test_an_ablation_is_one_more_variant_beside_each_full_one():
    written = NEURIF % "temporal: false, instrumentation: 0"
    text = changed("{name: cbapm, hidden: [4], epochs: 2}", written, SIMULATED)
    validator().validate(parse(text, "run.yaml").values)
    spaces = build(text).models[0].spaces()
    swept = [f"neurif[orthogonality={a}" for a in ("0.01", "0.1")]
    full = {f"{own}]": None for own in swept}
    parts = ("temporal=False", "instrumentation=0")
    assert {label: space.full for label, space in spaces.items()} == full | {
        f"{own},{part}]": f"{own}]" for own in swept for part in parts
    }
    without = spaces["neurif[orthogonality=0.1,temporal=False]"].first_point()
    assert without == spaces["neurif[orthogonality=0.1]"].first_point().model_copy(update={"temporal": False})


def test_a_list_of_models_is_wanted():
    head = GOOD[: GOOD.index("models:")]
    for written, got in [("cbapm", "'cbapm'"), ("{name: cbapm}", "{'name': 'cbapm'}")]:
        with pytest.raises(InputError, match=re.escape(f"line 13: models must be a list; got {got}")):
            build(f"{head}models: {written}\n")
    with pytest.raises(InputError, match="models must be a list of at least 1"):
        build(f"{head}models: []\n")


def test_a_rule_between_hyperparameters_is_told_without_the_configuration():
    with pytest.raises(InputError) as refused:
        build(changed("{name: cbapm, hidden: [4], epochs: 2}", "{name: patchtst, width: 9, heads: 2}", SIMULATED))
    said = "run.yaml, line 6: patchtst: width must be a multiple of heads; got width 9 and heads 2: take width 8"
    assert str(refused.value) == said


def test_values_that_agree_in_six_digits_stay_apart():
    entry = build(changed("[0, 1e-1]", "[0.1, 0.10000001]")).models[0]
    assert len(entry.spaces()) == 4
    assert "cbapm[hidden=4,consensus_weight=0.10000001]" in entry.spaces()
