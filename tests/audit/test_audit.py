"""The audit passes what is honest and names each leak that is put into the line: its stage and its column."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from toy_model import Toy

from factor_ray import cli, tables
from factor_ray.audit import Finding, Verdict, audit_experiment, line
from factor_ray.configuration import parse
from factor_ray.data.panel import Panel
from factor_ray.data.simulation import simulate
from factor_ray.experiment import Experiment
from factor_ray.models import macro_state
from factor_ray.runner.cells import CellStore

pytestmark = pytest.mark.usefixtures("toy")

MARKET: dict[str, Any] = {"slots": 24, "months": 60, "characteristics": 9, "macro_series": 6}
SETTINGS: dict[str, Any] = {
    "name": "audited",
    "data": {"source": "simulated", **MARKET},
    "target": {"horizon": [1, 3]},
    "windows": {"first_train_end": "2000-06", "validation": 6, "test": 8},
    "macro_state": {"kind": "pca", "dimension": 2},
    "models": [{"name": "toy", "search": {"penalty": {"log_uniform": [1e-4, 1e4]}}}],
    "search": {"points": 4, "round": 4},
    "ensemble": {"members": 2},
}


def build(**changes: Any) -> Experiment:
    return Experiment.from_configuration(parse(yaml.safe_dump({**SETTINGS, **changes}), "audited.yaml"))


@pytest.fixture
def audit(tmp_path: Path) -> Callable[..., Verdict]:
    return lambda **changes: audit_experiment(build(**changes), CellStore(tmp_path / "cells"))


def caught(verdict: Verdict) -> set[tuple[str, str]]:
    return {(finding.stage, finding.column) for finding in verdict.findings}


def gappy_file(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame) -> dict[str, Any]:
    """A market in a Parquet file, in which one characteristic is a growth rate, and macro series in FRED-MD's form."""
    panel = simulate(**MARKET).panel
    frame = change(panel.to_frame())
    frame.to_parquet(folder / "panel.parquet")
    assert panel.macro is not None
    dates = [f"{month % 12 + 1}/1/{month // 12 + 1970}" for month in panel.macro.months.tolist()]
    series = pd.DataFrame(np.exp(panel.macro.values), columns=list(panel.macro.names))
    series.insert(0, "sasdate", dates)
    codes = pd.DataFrame([["Transform:", *[5] * len(panel.macro.names)]], columns=series.columns)
    pd.concat([codes, series]).to_csv(folder / "fred.csv", index=False)
    columns = {
        "market_cap": "market_cap",
        "characteristics": [name for name in frame.columns if name.startswith("characteristic")],
        "consensus": list(panel.consensus_names),
        "growth": ["characteristic_3"],
    }
    macro = {"source": "fred_md", "path": str(folder / "fred.csv")}
    return {"source": "table", "path": str(folder / "panel.parquet"), "columns": columns, "macro": macro}


# What is honest passes


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ensemble": {"members": 2, "weights": "greedy"}, "search": {"points": 6, "round": 3, "refresh": 1}},
        {"preprocess": {"consensus": "impute", "winsorise": 0.05, "universe": {"min_cap_percentile": 20}}},
        {
            "windows": {"scheme": "rolling", "length": 30, "first_train_end": "2000-06", "validation": 6, "test": 8},
            "macro_state": {"kind": "raw"},
        },
    ],
    ids=["defaults", "greedy", "prepared", "rolling"],
)
def test_honest_settings_pass(audit: Callable[..., Verdict], changes: dict[str, Any]) -> None:
    verdict = audit(**changes)
    assert verdict.passed, verdict.describe()
    assert len(verdict.months) == 3
    assert len(verdict.refitted) == 1


def test_files_are_perturbed_before_they_are_loaded(audit: Callable[..., Verdict], tmp_path: Path) -> None:
    verdict = audit(data=gappy_file(tmp_path))
    assert verdict.passed, verdict.describe()
    assert verdict.perturbed == "a copy of panel.parquet and a copy of fred.csv"


def test_csv_files_are_perturbed_too(audit: Callable[..., Verdict], tmp_path: Path) -> None:
    data = gappy_file(tmp_path)
    pd.read_parquet(tmp_path / "panel.parquet").to_csv(tmp_path / "panel.csv", index=False)
    verdict = audit(data={**data, "path": str(tmp_path / "panel.csv")})
    assert verdict.passed, verdict.describe()
    assert verdict.perturbed == "a copy of panel.csv and a copy of fred.csv"


def test_a_variable_that_starts_later_is_cut_after_loading(audit: Callable[..., Verdict], tmp_path: Path) -> None:
    def late(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(characteristic_8=frame["characteristic_8"].where(frame["month"] > "2002-01"))

    verdict = audit(data=gappy_file(tmp_path, late), preprocess={"screen": "none"})
    assert verdict.passed, verdict.describe()
    assert verdict.perturbed == (
        "a copy of panel.parquet and a copy of fred.csv, for noise after 2001-01, noise after 2001-09, noise after "
        "2002-05, deletion after 2002-05; the data as they were loaded, since a copy cannot be (column "
        "'characteristic_8' of panel.parquet must vary; it is empty: leave it out of the panel's columns), for "
        "deletion after 2001-01, deletion after 2001-09"
    )


def test_cells_are_reused_and_one_is_refitted(toy: type[Toy], tmp_path: Path) -> None:
    store = CellStore(tmp_path / "cells")
    audit_experiment(build(), store)
    toy.packs.clear()
    audit_experiment(build(), store)
    assert toy.packs == [1, 1]


# Leaks that settings offer


def test_imputation_as_in_the_paper(audit: Callable[..., Verdict], tmp_path: Path) -> None:
    verdict = audit(data=gappy_file(tmp_path), preprocess={"impute": "paper"})
    assert caught(verdict) == {("prepared inputs", "characteristic_3")}
    assert {finding.change for finding in verdict.findings} == {"noise", "deletion"}


def test_an_interpolated_consensus(audit: Callable[..., Verdict]) -> None:
    verdict = audit(preprocess={"impute": "paper", "consensus": "impute"})
    assert {stage for stage, _ in caught(verdict)} == {"prepared inputs"}
    assert all(column.startswith("consensus_") for _, column in caught(verdict))


def test_an_embargo_of_nothing(audit: Callable[..., Verdict]) -> None:
    windows = {**SETTINGS["windows"], "embargo": 0}
    assert caught(audit(windows=windows)) == {("targets", "target at horizon 3")}
    assert audit(windows=windows, target={"horizon": 1}).passed


def test_screening_on_the_whole_sample(audit: Callable[..., Verdict], tmp_path: Path) -> None:
    def silent_at_first(frame: pd.DataFrame) -> pd.DataFrame:
        concepts = [name for name in frame.columns if name.startswith("consensus")]
        silent = (frame["asset"] % 3 == 0) & (frame["month"] < "2002-06")
        return frame.assign(**{name: frame[name].mask(silent) for name in concepts})

    verdict = audit(data=gappy_file(tmp_path, silent_at_first), preprocess={"screen": "paper"})
    assert ("prepared inputs", "rows") in caught(verdict)


def test_characteristics_chosen_by_the_whole_sample(audit: Callable[..., Verdict], tmp_path: Path) -> None:
    def sparse_later(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(characteristic_5=frame["characteristic_5"].where(frame["month"] < "2001-06"))

    data = gappy_file(tmp_path, sparse_later)
    assert caught(audit(data=data, preprocess={"screen": "paper"})) == {("prepared inputs", "characteristic_5")}
    assert audit(data=data).passed


def test_points_selected_by_all_windows(audit: Callable[..., Verdict]) -> None:
    search = {"points": 6, "round": 6, "selection": "global", "pruner": "none"}
    verdict = audit(search=search, data={**SETTINGS["data"], "seed": 3}, target={"horizon": 1})
    assert caught(verdict) == {("points selected", "toy")}


# Leaks that no setting offers


def test_macro_series_scaled_by_the_whole_sample(
    audit: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = macro_state._fit_scaling
    monkeypatch.setattr(macro_state, "_fit_scaling", lambda table, _: honest(table, np.arange(len(table))))
    verdict = audit(macro_state={"kind": "raw"})
    assert {stage for stage, _ in caught(verdict)} == {"macro state"}
    assert all(column.startswith("state ") for _, column in caught(verdict))


def test_a_scaler_fitted_on_all_months(audit: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch) -> None:
    preparation = sys.modules["factor_ray.data.prepare"]
    honest = preparation.prepare_firms

    def leaky(*given: Any) -> Any:
        block = honest(*given)
        values = block.characteristics_nP
        scaled = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
        return dataclasses.replace(block, characteristics_nP=scaled)

    monkeypatch.setattr(preparation, "prepare_firms", leaky)
    assert caught(audit(preprocess={"rank": False})) == {("prepared inputs", "characteristic_0")}


def test_an_ensemble_weighted_on_test_months(audit: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = tables.ensemble_of

    def leaky(quest: Any, window: int, variant: str, inputs: Any, *rest: Any) -> Any:
        windows = [w.model_copy(update={"validation": (w.train[1], w.test[1])}) for w in quest.windows]
        return honest(dataclasses.replace(quest, windows=windows), window, variant, inputs, *rest)

    for module in (tables, line):
        monkeypatch.setattr(module, "ensemble_of", leaky)
    verdict = audit(ensemble={"members": 3, "weights": "greedy"}, target={"horizon": 1})
    assert ("ensemble", "toy") in caught(verdict)


def test_a_model_that_peeks_is_caught_by_its_refit(
    audit: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes it was handed are the same: only a fit made anew can tell."""
    honest, seen = Toy.fit_pack.__func__, {}  # type: ignore[attr-defined]

    def remember(panel: Panel, *rest: Any, **named: Any) -> Any:
        seen["future"] = float(np.nanmean(panel.values("return")))
        return original(panel, *rest, **named)

    def peeking(cls: type[Toy], *given: Any, **named: Any) -> Any:
        fits = honest(cls, *given, **named)
        return [
            dataclasses.replace(fit, weights={n: w + seen["future"] for n, w in fit.weights.items()}) for fit in fits
        ]

    original = line.prepare
    monkeypatch.setattr(line, "prepare", remember)
    monkeypatch.setattr(Toy, "fit_pack", classmethod(peeking))
    # A refit of the base on the base's own data, then of the perturbed line on its own.
    honest_again = line.weights_again

    def refit(walked: line.Line, *rest: Any) -> Any:
        seen["future"] = float(np.nanmean(walked.inputs.panel.values("return")))
        return honest_again(walked, *rest)

    monkeypatch.setattr("factor_ray.audit.compare.weights_again", refit)
    assert caught(audit()) == {("weights", "toy: consensus")}


# Leaks inside the data


@pytest.mark.parametrize(
    ("leak", "sentence"),
    [
        (lambda frame: frame.groupby("asset")["return"].shift(-1), "equals the return of 1 month later"),
        (lambda frame: frame.groupby("asset")["return"].shift(-2), "equals the return of 2 months later"),
        (
            lambda frame: frame.groupby("asset")["return"].shift(-1).rank() + frame["characteristic_1"],
            "its rank correlation with the next month's return averages",
        ),
    ],
    ids=["next", "later", "disguised"],
)
def test_a_characteristic_that_knows_the_next_return(
    audit: Callable[..., Verdict], tmp_path: Path, leak: Callable[[pd.DataFrame], pd.Series], sentence: str
) -> None:
    data = gappy_file(tmp_path, lambda frame: frame.assign(characteristic_x=leak(frame)))
    verdict = audit(data=data, target={"horizon": 1})
    found = next(finding for finding in verdict.findings if finding.change == "screen")
    assert found.column == "characteristic_x"
    assert found.detail.startswith(sentence)


def test_past_returns_are_no_leak(audit: Callable[..., Verdict], tmp_path: Path) -> None:
    def reversal(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(characteristic_x=frame["return"], characteristic_y=frame.groupby("asset")["return"].shift())

    assert audit(data=gappy_file(tmp_path, reversal), target={"horizon": 1}).passed


# The command


def run_command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    monkeypatch.setattr("sys.argv", ["factor-ray", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code


def test_the_command_keeps_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "audited.yaml"
    config.write_text(yaml.safe_dump({**SETTINGS, "output": str(tmp_path), "target": {"horizon": 3}}))
    experiment = Experiment.from_yaml(config)
    audit_experiment(experiment, CellStore(experiment.directory / "cells"))
    assert run_command(monkeypatch, "audit", str(config)) == 0
    assert "Nothing looked ahead." in capsys.readouterr().out
    file = experiment.directory / "audit.json"
    assert yaml.safe_load(file.read_text())["passed"]

    leaky = ("--set", "windows.embargo=0")
    audit_experiment(Experiment.from_yaml(config, leaky[1:]), CellStore(experiment.directory / "cells"))
    assert run_command(monkeypatch, "audit", str(config), *leaky) == 1
    assert "Noise after 2001-01 changes targets, target at horizon 3" in capsys.readouterr().out
    assert not yaml.safe_load(file.read_text())["passed"]


def test_a_verdict_says_what_was_found() -> None:
    found = Finding("2001-01", "deletion", "forecasts", "toy", "differs from 2000-12 on, horizon 1")
    verdict = Verdict([found], ["2001-01"], "as it was loaded", [], "0", 3.2)
    assert not verdict.passed
    assert verdict.describe().splitlines()[1] == (
        "- Deletion of what is dated after 2001-01 changes forecasts, toy: differs from 2000-12 on, horizon 1."
    )
