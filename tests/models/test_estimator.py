"""Models in a notebook: they read what a run reads, and refuse or warn of what they cannot read right."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.simulation import simulate
from factor_ray.data.universe import Universe
from factor_ray.data.windows import Window, Windows
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment
from factor_ray.models.cbapm import CBAPM
from factor_ray.models.ipca import IPCA
from factor_ray.runner.inputs import Inputs
from factor_ray.stages import on_rows_of, targets_of

UNIVERSE = Preprocess(universe=Universe(min_price=5.0))
FRAME = simulate(seed=3, slots=40, months=48, characteristics=9, consensus=2).panel.to_frame()
FRAME["price"] = np.where(np.random.default_rng(0).random(len(FRAME)) < 0.8, 10.0, 1.0)
FRAME["risk_free"] = 0.001 * (1 + FRAME["month"].dt.month % 3)
PLAIN = {"month", "asset", "return", "risk_free", "market_cap", "price"}
CONSENSUS = [name for name in FRAME if name.startswith("consensus")]
CHARACTERISTICS = [name for name in FRAME if name not in {*PLAIN, *CONSENSUS}]


def panel_of(characteristics: list[str] = CHARACTERISTICS, consensus: list[str] = CONSENSUS) -> Panel:
    return Panel.from_frame(
        FRAME,
        month="month",
        asset="asset",
        returns="return",
        risk_free="risk_free",
        characteristics=characteristics,
        consensus=consensus,
        price="price",
    )


PANEL = panel_of()


def window_at(horizon: int, embargo: int | str = "auto") -> Window:
    windows = Windows(first_train_end="2000-12", validation=6, test=6, embargo=embargo)
    return windows.split(PANEL.months.tolist(), horizon=horizon)[0]


@pytest.mark.parametrize("horizon", [1, 6])
def test_with_a_universe_it_fits_and_forecasts_what_a_run_does(horizon):
    """A firm outside the universe at t + 1 still earns there what the target of t counts."""
    settings = {"name": "x", "data": {"source": "simulated"}, "target": {"horizon": horizon}}
    settings |= {"windows": {"first_train_end": "2000-12"}, "models": [{"name": "ipca"}]}
    ready, window = prepare(PANEL, UNIVERSE), window_at(horizon)
    targets = on_rows_of(ready, PANEL, targets_of(Experiment.model_validate(settings), PANEL))
    nothing = np.zeros((len(ready.months), 0), np.float32)
    inputs = Inputs.of(ready, targets, {horizon: (window,)}, {horizon: (nothing,)})
    view = inputs.view(horizon, 0)
    (run,) = IPCA.fit_pack([IPCA.Settings(factors=2)], [0], view.train(window), view.validation(window), order_seed=0)

    model = IPCA(factors=2, horizon=horizon, preprocess=UNIVERSE).fit(PANEL, window)
    assert model.fits[0].weights.keys() == run.weights.keys()
    for name, values in run.weights.items():
        np.testing.assert_array_equal(model.fits[0].weights[name], values, err_msg=name)
    assert model.fits[0].scores == run.scores
    table, rows = model.predict(PANEL), ready.rows(*window.test)
    np.testing.assert_array_equal(table["realized"], targets[horizon][rows])
    forecast = IPCA.fitted(IPCA.Settings(factors=2), run.weights)
    expected = [forecast.forecast(month).returns for month in view.forecast_months(window.test)]
    np.testing.assert_allclose(table["prediction"], np.concatenate(expected), rtol=1e-5, atol=1e-8)


def test_a_panel_that_was_prepared_with_a_universe_is_refused():
    window, ready = window_at(1), prepare(PANEL, UNIVERSE)
    with pytest.raises(InputError, match=r"no longer holds what firms earned .* preprocess=Preprocess\(universe="):
        IPCA(factors=2).fit(ready, window)
    model = IPCA(factors=2).fit(PANEL, window)
    with pytest.raises(InputError, match="no longer holds what firms earned"):
        model.predict(ready)


def test_a_panel_is_prepared_by_its_owner_or_by_the_model():
    window, ready = window_at(1), prepare(PANEL)
    table = IPCA(factors=2).fit(ready, window).predict(ready)
    pd.testing.assert_frame_equal(table, IPCA(factors=2).fit(PANEL, window).predict(PANEL))
    with pytest.raises(InputError, match="this one is prepared already: give the panel as it came"):
        IPCA(factors=2, preprocess=UNIVERSE).fit(ready, window)


@pytest.mark.parametrize(
    ("validation", "test", "found"), [((21, 30), (36, 40), 0), ((26, 30), (31, 35), 0), ((26, 30), (34, 38), 3)]
)
def test_a_window_whose_embargo_is_short_is_warned_of(validation, test, found):
    first = int(PANEL.months[0])
    spans = {"train": (0, 20), "validation": validation, "test": test}
    window = Window(**{name: (first + low, first + high) for name, (low, high) in spans.items()})
    words = rf"^targets of horizon 6 .* is {found} and not 5 months: make windows with split\(months, horizon=6\)$"
    with pytest.warns(UserWarning, match=words) as caught:
        IPCA(factors=2, horizon=6).fit(PANEL, window)
    assert [each.filename for each in caught] == [__file__]


def test_the_embargo_of_split_is_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        IPCA(factors=2, horizon=6).fit(PANEL, window_at(6))
        IPCA(factors=2, horizon=1).fit(PANEL, window_at(1, embargo=0))
    with pytest.warns(UserWarning, match="embargo is 0 and not 5 months"):
        IPCA(factors=2, horizon=6).fit(PANEL, window_at(6, embargo=0))


@pytest.mark.parametrize("made", [lambda panel: panel, prepare], ids=["as it came", "prepared"])
def test_variables_are_found_by_name(made):
    few, window = CHARACTERISTICS[:5], window_at(1)
    model = CBAPM(epochs=1, hidden=[4], consensus_weight=0.3).fit(made(panel_of(few)), window)
    table = model.predict(made(panel_of(few)))
    others = model.predict(made(panel_of(CHARACTERISTICS[::-1], CONSENSUS[::-1])))
    assert np.ptp(table["prediction"]) > 0
    pd.testing.assert_frame_equal(others, table)


def test_a_variable_that_is_not_there_is_named():
    model = CBAPM(epochs=1, hidden=[4], consensus_weight=0.3).fit(PANEL, window_at(1))
    lost, concept = CHARACTERISTICS[3], CONSENSUS[0]
    without = panel_of([name for name in CHARACTERISTICS if name != lost])
    with pytest.raises(InputError, match=rf"must have the characteristics .* it lacks {lost}: give a panel"):
        model.predict(without)
    with pytest.raises(InputError, match=rf"must have the consensus variables .* it lacks {concept}: give a panel"):
        model.predict(panel_of(consensus=CONSENSUS[1:]))
