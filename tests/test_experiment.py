"""The experiment: what a good configuration is, what a bad one is told, and where its run is kept.

What is wrong in the sections data, windows (with target) and models is in files of their own.
"""

from pathlib import Path

import pytest
from configurations import GOOD, SIMULATED, assert_refused, build, changed
from pydantic import ValidationError

from factor_ray.data.windows import Windows
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment, Preprocess
from factor_ray.run_directory import Run

REFUSED = [
    ("name: small", "nam: small", 1, "unknown key nam; did you mean name?"),
    ("compute: {slots: 2}", "computer: {slots: 2}", 22, "unknown key computer; did you mean compute?"),
    ("compute: {slots: 2}", "compute: {slot: 2}", 22, "unknown key compute.slot; did you mean slots?"),
    ("compute: {slots: 2}", "zzz: 1", 22, "unknown key zzz; valid are name, data, preprocess, target, windows, "),
    ("points: 2", "point: 2", 20, "unknown key search.point; did you mean points?"),
    ("name: small", "12: small", 1, "unknown key 12; valid are name, data,"),
    ("name: small\n", "", None, "name is required: add it"),
    ("name: small", "name: 5", 1, "name must be text (in quotes where it looks like a number); got 5"),
    ("name: small", "name:", 1, "name must be text (in quotes where it looks like a number); got nothing"),
    ("name: small", "name: a/b", 1, "name must be text of the form ^[A-Za-z0-9][A-Za-z0-9._-]*$; got 'a/b'"),
    ("name: small", "name: ..", 1, "name must be text of the form"),
    ("slots: 2", "slots: 0", 22, "compute.slots must be at least 1 or 'auto'; got 0"),
    ("slots: 2", "slots: many", 22, "compute.slots must be a whole number or 'auto'; got 'many'"),
    ("slots: 2", "slots: [2]", 22, "compute.slots must be a whole number or 'auto'; got [2]"),
    ("compute: {slots: 2}", "compute: 2", 22, "compute must be a mapping of keys to values; got 2"),
    ("compute: {slots: 2}", "compute:", 22, "compute must be a mapping of keys to values; got nothing"),
    ("compute: {slots: 2}", "portfolios: {costs: 25}", 22, "portfolios.costs must be a list; got 25"),
    ("compute: {slots: 2}", "portfolios: {costs: []}", 22, "portfolios.costs must be a list of at least 1; got []"),
    (
        "compute: {slots: 2}",
        "portfolios: {costs: [0, .inf]}",
        22,
        "portfolios.costs.1 must be a finite number; got inf",
    ),
    ("compute: {slots: 2}", "report: {assets: bond_1}", 22, "report.assets must be a list; got 'bond_1'"),
    (
        "compute: {slots: 2}",
        "report: {assets: [1, '1']}",
        22,
        "report.assets: assets must differ from each other; got [1, '1']",
    ),
    (
        "compute: {slots: 2}",
        "report: {assets: [1.5]}",
        22,
        "report.assets.0 must be a whole number or text (in quotes where it looks like a number); got 1.5",
    ),
    ("compute: {slots: 2}", "preprocess: {rank: maybe}", 22, "preprocess.rank must be true or false; got 'maybe'"),
    ("points: 2, round", "pack: 0, round", 20, "search.pack must be at least 1 or 'auto'; got 0"),
    ("points: 2, round", "points: [2, 3], round", 20, "search.points must be a whole number; got [2, 3]"),
    ("kind: pca", "kind: ica", 12, "macro_state.kind must be 'autoencoder', 'pca', 'raw' or 'none'; got 'ica'"),
    ("dimension: 2", "dimension: 0", 12, "macro_state.dimension must be greater than 0; got 0"),
]


def test_assets_to_show_are_names_or_numbers():
    assert build(f"{GOOD}report: {{assets: [10107, bond_1]}}\n").report.assets == (10107, "bond_1")


def test_a_good_configuration_is_what_it_says():
    experiment = build(GOOD)
    assert experiment.target.horizon == (1, 12)
    assert experiment.models[0].search["learning_rate"].log_uniform == (1e-4, 1e-2)
    assert list(experiment.models[0].spaces()) == [
        "cbapm[hidden=4,consensus_weight=0]",
        "cbapm[hidden=4,consensus_weight=0.1]",
        "cbapm[hidden=8-4,consensus_weight=0]",
        "cbapm[hidden=8-4,consensus_weight=0.1]",
    ]


@pytest.mark.parametrize(("written", "costs"), [("[50]", (0, 50)), ("[75, 0, 25, 25]", (0, 25, 75)), ("[0]", (0,))])
def test_what_trading_without_costs_was_worth_is_always_measured(written, costs):
    experiment = build(f"{GOOD}portfolios: {{costs: {written}}}\n")
    assert experiment.portfolios.costs == costs


@pytest.mark.parametrize(("old", "new", "line", "sentence"), REFUSED)
def test_what_is_wrong_beside_data_windows_and_models_is_one_sentence(old, new, line, sentence):
    assert_refused(old, new, line, sentence)


def test_an_override_is_named_instead_of_a_line(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(GOOD)
    with pytest.raises(InputError, match=r"^--set search.points: search.points must be at least 1; got 0$"):
        Experiment.from_yaml(file, ["search.points=0"])
    with pytest.raises(InputError, match=r"^--set models.0.dropuot: cbapm has no hyperparameter 'dropuot'; did"):
        Experiment.from_yaml(file, ["models.0.dropuot=0.5"])


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "windows.scheme=rolling",
            "line 11 with --set windows.scheme: windows: rolling needs windows.length, its train",
        ),
        ("windows.length=12", "line 11 with --set windows.length: windows: length (training months) belongs to the r"),
        ("models.0.dropout=0.5", "line 19 with --set models.0.dropout: dropout is both fixed and searched: keep one"),
    ],
)
def test_a_conflict_that_an_override_makes_names_both_places(tmp_path, override, sentence):
    file = tmp_path / "run.yaml"
    file.write_text(GOOD)
    with pytest.raises(InputError) as refused:
        Experiment.from_yaml(file, [override, "name=other"])
    assert str(refused.value).startswith(f"{file}, {sentence}")
    assert "{" not in str(refused.value)


def test_huge_values_are_shown_in_brief():
    with pytest.raises(InputError) as refused:
        build(changed("slots: 2", f"slots: {'x' * 100_000}"))
    assert len(str(refused.value)) < 300


def test_keywords_are_checked_as_files_are():
    with pytest.raises(ValidationError, match=r"cbapm has no hyperparameter 'dropuot'; did you mean dropout\?"):
        Experiment(
            name="x",
            data={"source": "simulated"},
            windows={"first_train_end": "2010-12"},
            models=[{"name": "cbapm", "dropuot": 0.1}],
        )


def test_settings_of_a_notebook_say_what_they_want():
    with pytest.raises(ValidationError, match="a month must be written YYYY-MM, as in 2010-12; got '201012'"):
        Windows(first_train_end=201012)
    with pytest.raises(ValidationError, match=r"length \(training months\) belongs to the rolling scheme"):
        Windows(first_train_end="2010-12", length=60)
    with pytest.raises(ValidationError, match="validation"):
        Windows.expanding(first_train_end="2010-12", validation=-1)
    with pytest.raises(ValidationError, match=r"rank\n.*valid boolean"):
        Preprocess(rank="maybe")
    with pytest.raises(ValidationError, match=r"imput\n.*not permitted"):
        Preprocess(imput="none")


@pytest.mark.parametrize("text", [GOOD, SIMULATED, changed("[[4], [8, 4]]", "[8, 4]"), changed("[1, 12]", "12")])
def test_what_a_run_writes_down_is_the_experiment_again(tmp_path, text):
    experiment = build(f"{text}output: {tmp_path}\n")
    run = Run(experiment.directory)
    run.write_description({"experiment": experiment.model_dump(mode="json", by_alias=True), "windows": {12: []}})
    again = Run.open(run.path).experiment
    assert again == experiment
    # To the byte: 0 and 0.0 are equal, but a resumed run would write its tables differently.
    assert repr(again) == repr(experiment)


def test_a_job_wants_absolute_paths(monkeypatch, tmp_path):
    relative = build(GOOD)
    relative.require_readable_paths()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(InputError, match=r"data.path must be absolute in .*--set data.path=/data/panel.parquet"):
        relative.require_readable_paths()
    half = build(changed("path: panel.parquet", f"path: {tmp_path}/panel.parquet"))
    with pytest.raises(InputError, match=r"data.macro.path must be absolute in a Ray job.*got 'macro.csv'"):
        half.require_readable_paths()
    build(SIMULATED).require_readable_paths()
    with pytest.raises(InputError, match=r"output must be absolute in a Ray job.*got 'here'.*--set output=/data/runs"):
        _ = build(f"{SIMULATED}output: here\n").directory
    assert build(f"{SIMULATED}output: {tmp_path}\n").directory == tmp_path / "small"
    assert build(SIMULATED).directory == Path.home() / "factor_ray" / "runs" / "small"


def test_runs_are_kept_where_the_output_says(monkeypatch):
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert build(SIMULATED).directory == Path("runs/small")
    assert build(f"{SIMULATED}output: ~/kept\n").directory == Path.home() / "kept" / "small"
