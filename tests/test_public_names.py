"""The public surface: what others may rely on changes here first."""

import subprocess
import sys

import pytest
import typer

import factor_ray
import factor_ray.data
from factor_ray.cli import app

COMMANDS = {
    "check": {"CONFIG", "--set"},
    "audit": {"CONFIG", "--set"},
    "compare": {"RUN..."},
    "models": {"--schema"},
    "predict": {"RUN", "--panel", "--out", "--macro"},
    "refit": {"RUN"},
    "report": {"RUN"},
    "resume": {"RUN"},
    "run": {"CONFIG", "--set"},
    "simulate": {"--out", "--seed", "--slots", "--months", "--format", "--size"},
    "status": {"RUN"},
}


def test_the_names_of_the_package():
    assert factor_ray.__all__ == ["Experiment", "Panel", "Run", "Windows", "quantile_regression", "run", "simulate"]
    assert dir(factor_ray) == factor_ray.__all__


def test_the_names_of_the_data_floor():
    assert factor_ray.data.__all__ == [
        "Macro",
        "Panel",
        "Preprocess",
        "Sample",
        "Universe",
        "Window",
        "Windows",
        "crsp_from_wrds",
        "daily_prices",
        "excess_returns",
        "fred_md",
        "french",
        "french_portfolios",
        "goyal_welch",
        "jkp_factor_details",
        "openap",
        "prepare",
        "table",
    ]


@pytest.mark.parametrize("name", [name for name in factor_ray.__all__ if name != "quantile_regression"])
def test_every_name_is_there(name):
    assert callable(getattr(factor_ray, name))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'factor_ray' has no attribute 'Modle'"):
        _ = factor_ray.Modle


HEAVY = ("torch", "ray", "pandas", "numpy", "pyarrow", "optuna", "wandb", "pydantic", "matplotlib", "scipy")


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import factor_ray, factor_ray.errors, factor_ray.cli") == set()


def test_panels_and_windows_need_neither_torch_nor_ray():
    statement = "import factor_ray\nfactor_ray.Panel, factor_ray.Windows\nfactor_ray.simulate(slots=5, months=5)"
    assert not loaded_by(statement) & {"torch", "ray", "optuna", "wandb", "matplotlib"}


def test_a_configuration_is_validated_without_torch_ray_or_wandb():
    statement = (
        "import factor_ray\n"
        "factor_ray.Experiment(name='x', data={'source': 'simulated'}, windows={'first_train_end': '2010-12'},"
        " models=[{'name': 'cbapm', 'search': {'dropout': {'uniform': [0.1, 0.2]}}}])"
    )
    assert not loaded_by(statement) & {"torch", "ray", "optuna", "wandb", "matplotlib"}


def test_commands_and_their_options():
    group = typer.main.get_command(app)
    found = {
        name: {
            "--set"
            if parameter.name == "overrides"
            else parameter.opts[0]
            if parameter.param_type_name == "option"
            else str(parameter.metavar or parameter.name).upper()
            for parameter in command.params
        }
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }
    assert found == COMMANDS


def test_help_tells_every_command(capsys, monkeypatch):
    from factor_ray import cli

    monkeypatch.setattr(sys, "argv", ["factor-ray", "--help"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(command in said for command in COMMANDS)


@pytest.mark.parametrize("arguments", [["nosuch"], ["run"], ["run", "a.yaml", "--nosuch"], ["compare"]])
def test_a_wrong_call_ends_with_code_2(monkeypatch, capsys, arguments):
    from factor_ray import cli

    monkeypatch.setattr(sys, "argv", ["factor-ray", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "Usage" in capsys.readouterr().err
