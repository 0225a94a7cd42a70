"""The run's tables: what they hold, in which columns and types, and where nothing is known."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from toy_model import Toy

from factor_ray import stages
from factor_ray.data.months import month_ends
from factor_ray.data.simulation import simulate
from factor_ray.data.targets import excess_returns
from factor_ray.data.windows import Windows
from factor_ray.experiment import Experiment
from factor_ray.models import registry
from factor_ray.runner.campaign import Campaign
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import Context, fit_packs
from factor_ray.runner.inputs import Digests, Inputs, month_digests, target_digests
from factor_ray.runner.settings import EnsembleSettings
from factor_ray.tables import (
    Forecast,
    ParquetPieces,
    asked_members,
    coefficient_frame,
    consensus_table,
    forecast_tables,
    forecasts_of,
    parquet,
    selected_members,
    trials_frame,
)

PENALTY = {"penalty": {"log_uniform": [1e-3, 1e3]}}


@pytest.fixture(autouse=True, scope="module")
def _toy():
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(registry._OURS, "toy", "toy_model:Toy")
        yield


def finished(root: Any, model: dict[str, Any], **search: Any) -> tuple[Campaign, Inputs]:
    """A finished campaign of one model on the raw simulated panel."""
    experiment = Experiment.model_validate(
        {
            "name": "toys",
            "data": {"source": "simulated"},
            "target": {"horizon": 3},
            "windows": {"first_train_end": "1999-06", "validation": 6, "test": 6},
            "macro_state": {"kind": "none"},
            "models": [{"name": "toy", **model}],
            "search": {"points": 4, "round": 2, **search},
            "ensemble": {"members": 2},
        }
    )
    panel = simulate(seed=3, slots=12, months=40, characteristics=9, consensus=2, missing_characteristics=0).panel
    windows = experiment.windows.split(panel.months.tolist(), 3)
    target_N = excess_returns(panel, 3)
    nothing = np.zeros((len(panel.months), 0), dtype=np.float32)
    inputs = Inputs.of(panel, {3: target_N}, {3: windows}, {3: tuple(nothing for _ in windows)})
    digests = Digests(int(panel.months[0]), month_digests(panel), {3: target_digests(panel, target_N)}, (), "names")
    campaign = Campaign(stages.quests(experiment, inputs, digests), CellStore(root), slots=2)
    while (pack := campaign.take()) is not None:
        fit_packs([pack], inputs, campaign.store, Context())
        campaign.complete(pack)
    assert campaign.finished
    return campaign, inputs


@pytest.fixture(scope="module")
def swept(tmp_path_factory, _toy) -> tuple[Campaign, Inputs]:
    model = {"learns": ["both", "returns"], "search": PENALTY}
    return finished(tmp_path_factory.mktemp("cells"), model)


def test_forecasts_lay_the_test_months_end_to_end(swept):
    campaign, inputs = swept
    found = list(forecasts_of(campaign.quests[0], inputs, campaign.store, EnsembleSettings(members=2)))
    assert [forecast.model for forecast in found] == ["toy", "toy[learns=both]", "toy[learns=returns]"]
    months = inputs.panel.months
    first = Windows(first_train_end="1999-06", validation=6, test=6).split(months.tolist(), 3)[0].test[0]
    expected = np.flatnonzero(inputs.panel.row_months >= first)
    for forecast in found:
        np.testing.assert_array_equal(forecast.rows, expected)
        assert forecast.horizon == 3
        assert forecast.returns is not None
        assert len(forecast.returns) == len(expected)
    assert found[1].consensus is not None
    assert found[1].consensus.shape == (len(expected), 2)
    assert found[2].consensus is None
    assert [len(values) for values in found[1].coefficients] == [2] * len(inputs.windows[3])


def test_a_forecast_is_the_mean_of_the_selected_points_members(swept):
    campaign, inputs = swept
    quest = campaign.quests[0]
    assert quest.selection is not None
    found = {f.model: f for f in forecasts_of(quest, inputs, campaign.store, EnsembleSettings(members=2))}
    for label in ("toy[learns=both]", "toy"):
        parts = []
        for w, window in enumerate(quest.windows):
            variant = quest.selection.best[w] if label == "toy" else label
            settings = quest.selection.points[variant][w].settings
            months = list(inputs.view(3, w).forecast_months(window.test))
            forecasts: list[npt.NDArray[np.float32]] = []
            for member in range(2):
                fit = campaign.store.read(quest.cells.name(w, settings, member))
                alone = [Toy.forecast(settings, fit.weights, month).returns for month in months]
                forecasts.append(np.concatenate([returns for returns in alone if returns is not None]))
            parts.append(np.mean(forecasts, axis=0))
        np.testing.assert_allclose(found[label].returns, np.concatenate(parts), rtol=1e-4, atol=1e-7)
    single = next(iter(forecasts_of(quest, inputs, campaign.store, EnsembleSettings(members=1))))
    assert not np.array_equal(single.returns, found["toy"].returns)


def test_members_of_a_window(swept):
    campaign, _ = swept
    quest = campaign.quests[0]
    assert quest.selection is not None
    selected = selected_members(quest, quest.selection, 1, "toy[learns=both]", 2)
    every = asked_members(quest, quest.selection, 1, "toy[learns=both]")
    assert len({member.cell for member in selected}) == 2
    assert {member.cell for member in selected} < {member.cell for member in every}
    assert len({member.cell for member in every}) == len(every) == 5
    assert {member.settings.learns for member in every} == {"both"}


def test_greedy_ensembles_differ_and_look_at_their_window_only(swept):
    campaign, inputs = swept
    quest = campaign.quests[0]
    equal = {f.model: f for f in forecasts_of(quest, inputs, campaign.store, EnsembleSettings(members=2))}
    greedy = {
        f.model: f for f in forecasts_of(quest, inputs, campaign.store, EnsembleSettings(members=2, weights="greedy"))
    }
    assert greedy.keys() == equal.keys()
    assert not np.array_equal(greedy["toy"].returns, equal["toy"].returns)
    np.testing.assert_array_equal(greedy["toy"].rows, equal["toy"].rows)


def test_a_model_that_forecasts_no_returns_keeps_its_selected_members_when_greedy(tmp_path):
    campaign, inputs = finished(tmp_path, {"learns": "consensus", "search": PENALTY})
    equal, greedy = (
        next(
            iter(forecasts_of(campaign.quests[0], inputs, campaign.store, EnsembleSettings(members=2, weights=weights)))
        )
        for weights in ("equal", "greedy")
    )
    assert equal.returns is None
    assert greedy.returns is None
    np.testing.assert_array_equal(equal.consensus, greedy.consensus)


def a_forecast(rows: list[int], *, model: str = "toy[a=1]") -> Forecast:
    returns = np.linspace(-1, 1, len(rows)).astype(np.float32)
    consensus = np.stack([returns, -returns], axis=1)
    coefficients = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    return Forecast(model, 3, np.array(rows), returns, consensus, coefficients=coefficients)


@pytest.fixture(scope="module")
def panel():
    return simulate(seed=3, slots=12, months=20, characteristics=9, consensus=2, missing_consensus=0.4).panel


def test_the_schema_of_forecasts_and_what_is_not_known_yet(panel):
    target_N = excess_returns(panel, 3)
    last = len(panel) - 1
    returns = np.array([0.1, np.nan, 0.3, -0.1], dtype=np.float32)
    rows = np.array([5, 6, 40, last])
    table = next(forecast_tables(panel, Forecast("last_value", 3, rows, returns), target_N))
    label = pa.dictionary(pa.int32(), pa.string())
    assert table.schema.equals(
        pa.schema(
            [
                ("month", pa.timestamp("ms")),
                ("asset", pa.int64()),
                ("model", label),
                ("horizon", pa.int32()),
                ("kind", label),
                ("prediction", pa.float32()),
                ("realized", pa.float32()),
            ]
        )
    )
    frame = table.to_pandas()
    assert list(frame["month"]) == list(pd.to_datetime(month_ends(panel.row_months[rows])))
    assert list(frame["asset"]) == list(panel.assets[rows])
    assert set(frame["model"]) == {"last_value"}
    assert set(frame["kind"]) == {"predictive"}
    assert table["prediction"].is_null().to_pylist() == [False, True, False, False]
    assert table["realized"].is_null().to_pylist() == np.isnan(target_N[rows]).tolist()
    assert table["realized"].is_null().to_pylist()[-1]
    assert table["realized"].null_count < 4


def test_the_tables_of_the_consensus(panel):
    rows = list(range(30, 60))
    forecast = a_forecast(rows)
    tables = list(consensus_table(panel, forecast))
    assert [table.to_pandas()["variable"].unique().tolist() for table in tables] == [["consensus_0"], ["consensus_1"]]
    assert forecast.consensus is not None
    for position, table in enumerate(tables):
        assert table.column_names == ["month", "asset", "model", "horizon", "variable", "kind", "prediction", "actual"]
        np.testing.assert_array_equal(table["prediction"].to_numpy(), forecast.consensus[:, position])
        actual = panel.consensus[rows, position]
        assert table["actual"].is_null().to_pylist() == np.isnan(actual).tolist()
        assert 0 < table["actual"].null_count < len(rows)
        np.testing.assert_array_equal(table["actual"].drop_null().to_numpy(), actual[~np.isnan(actual)])


def test_text_identifiers_stay_text(panel):
    from factor_ray.data.panel import Panel

    frame = panel.to_frame()
    frame["asset"] = "firm-" + frame["asset"].astype(str)
    worded = Panel.from_frame(
        frame, month="month", asset="asset", returns="return", characteristics=panel.characteristic_names
    )
    table = next(forecast_tables(worded, a_forecast([3, 4]), excess_returns(worded, 3)))
    assert table["asset"].to_pylist() == list(worded.assets[[3, 4]])


def test_coefficients_are_one_row_a_window_and_variable(panel):
    plain = Forecast("zero", 3, np.array([1]), np.zeros(1, dtype=np.float32))
    frame = coefficient_frame(panel, [plain, a_forecast([1, 2])])
    assert frame.to_dict("list") == {
        "model": ["toy[a=1]"] * 4,
        "horizon": [3] * 4,
        "window": [1, 1, 2, 2],
        "variable": ["consensus_0", "consensus_1"] * 2,
        "coefficient": [1.0, 2.0, 3.0, 4.0],
    }
    assert list(coefficient_frame(panel, [plain]).columns) == list(frame.columns)


def test_trials_are_one_row_a_fitted_cell(swept):
    campaign, inputs = swept
    frame = trials_frame(campaign)
    assert list(frame.columns) == [
        "model",
        "horizon",
        "tau",
        "window",
        "point",
        "member",
        "hyperparameters",
        "validation_score",
        "train_loss",
        "epochs",
        "status",
        "selected",
        "seconds",
        "cell",
    ]
    assert len(frame) == campaign.fitted
    assert frame["cell"].is_unique
    assert set(frame["window"]) == set(range(1, len(inputs.windows[3]) + 1))
    for _, trial in frame.iterrows():
        fit = campaign.store.read(trial["cell"])
        assert trial["validation_score"] == fit.scores["selection"]
        assert (trial["train_loss"], trial["epochs"], trial["status"]) == (1.0, 2, "ok")
        assert json.loads(trial["hyperparameters"])["learns"] in trial["model"]
    chosen = frame[frame["selected"]].groupby(["model", "window"])
    assert (chosen["member"].apply(list) == [[0, 1]] * len(chosen)).all()
    searched = frame[frame["member"] == 0]
    best = searched[searched["window"] == 1].groupby("model")["validation_score"].min()
    taken = searched[(searched["window"] == 1) & searched["selected"]].set_index("model")["validation_score"]
    pd.testing.assert_series_equal(best, taken, check_names=False, check_like=True)


def test_failed_cells_are_told_in_trials(tmp_path):
    campaign, _ = finished(tmp_path, {"search": {"fails": {"choice": [True, False]}}}, points=6, round=6)
    frame = trials_frame(campaign)
    failed = frame[frame["status"] == "diverged"]
    assert len(failed)
    assert np.isinf(failed["validation_score"]).all()
    assert failed["train_loss"].isna().all()
    assert not failed["selected"].any()


def test_pieces_make_one_file(panel):
    pieces = ParquetPieces()
    target_N = excess_returns(panel, 3)
    tables = [next(forecast_tables(panel, a_forecast([1, 2], model=name), target_N)) for name in ("a", "b")]
    for table in tables:
        pieces.add(table)
    read = pa_parquet.read_table(io.BytesIO(pieces.content())).to_pandas()
    assert read["model"].tolist() == ["a", "a", "b", "b"]
    assert read["prediction"].tolist() == [-1.0, 1.0, -1.0, 1.0]


def test_a_frame_comes_back_from_its_bytes():
    frame = pd.DataFrame({"a": [1.5, np.nan], "b": ["x", "y"]})
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(parquet(frame))), frame)
    assert parquet(frame) == parquet(frame)
