"""What every forecaster promises: bits without companions, masks, months by themselves, scores, refusals."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from factor_ray.data.sample import History, Sample
from factor_ray.errors import InputError
from factor_ray.models.forecasters.base import ForecasterSettings
from factor_ray.models.forecasters.crossformer import CrossformerSettings
from factor_ray.models.forecasters.dlinear import DLinearSettings
from factor_ray.models.forecasters.patchtst import PatchTSTSettings
from factor_ray.models.forecasters.transformer import TransformerSettings
from factor_ray.models.registry import model

NAMES = ("mlp", "transformer", "dlinear", "patchtst", "crossformer", "itransformer")
SMALL = {
    "mlp": {"hidden": (8,)},
    "transformer": {"width": 8, "heads": 2, "feedforward": 8, "layers": 1},
    "dlinear": {},
    "patchtst": {"width": 4, "heads": 2, "feedforward": 8, "layers": 1},
    "crossformer": {"width": 4, "heads": 2, "feedforward": 8, "layers": 2, "routers": 2},
    "itransformer": {"width": 8, "heads": 2, "feedforward": 8, "layers": 1},
}
MONTHS, ASSETS, CHARACTERISTICS, STATES = 30, 25, 4, 2


def arrays(seed: int = 0):
    """A panel with gaps whose targets are partly missing."""
    rng = np.random.default_rng(seed)
    month_H, asset_H = np.nonzero(rng.random((MONTHS, ASSETS)) < 0.8)
    x_HP = rng.uniform(-1, 1, (len(month_H), CHARACTERISTICS)).astype(np.float32)
    y_H = (0.05 * x_HP[:, 0] + 0.05 * rng.standard_normal(len(month_H))).astype(np.float32)
    y_H[rng.random(len(y_H)) < 0.1] = np.nan
    z_Td = rng.standard_normal((MONTHS, STATES)).astype(np.float32)
    return x_HP, month_H.astype(np.int32), asset_H.astype(np.int64), y_H, z_Td


def cut(panel, first: int, last: int, *, targets: bool = True) -> Sample:
    """Rows of some months with all months before them as history."""
    x_HP, month_H, asset_H, y_H, z_Td = panel
    seen, own = (
        slice(0, int((month_H <= last).sum())),
        slice(int((month_H < first).sum()), int((month_H <= last).sum())),
    )
    y_N = y_H[own] if targets else np.full(own.stop - own.start, np.nan, np.float32)
    nothing = np.full(seen.stop, np.nan, np.float32)
    history = History(x_HP[seen], month_H[seen], asset_H[seen], nothing, nothing, np.zeros((0, 0), np.float32))
    sample = Sample(x_HP[own], month_H[own], z_Td, y_N, np.zeros((len(y_N), 0), np.float32), history)
    for array in (sample.x_NP, sample.month_N, sample.z_Td, sample.y_N, history.x_HP, history.asset_H):
        array.setflags(write=False)
    return sample


PANEL = arrays()
TRAIN, VALIDATION, TEST = cut(PANEL, 0, 19), cut(PANEL, 20, 25), cut(PANEL, 29, 29, targets=False)


def point_of(name: str, **more):
    return model(name).Settings(**{"lookback": 6, "epochs": 3, "batch_size": 100, **SMALL[name], **more})


def fit(pack, train=TRAIN, validation=VALIDATION):
    points, seeds = zip(*pack, strict=True)
    return model(type_name(points[0])).fit_pack(points, seeds, train, validation, order_seed=1)


def type_name(point) -> str:
    return next(name for name in NAMES if type(point) is model(name).Settings)


def forecast(point, fitted, month=TEST):
    return model(type_name(point)).fitted(point, fitted.weights).forecast(month).returns


def equal(a, b) -> bool:
    same = a.weights.keys() == b.weights.keys() and all(np.array_equal(a.weights[k], b.weights[k]) for k in a.weights)
    return same and a.scores == b.scores and a.history == b.history and a.status == b.status


@pytest.mark.parametrize("name", NAMES)
def test_a_member_is_the_same_bits_in_every_company(name):
    tested = (point_of(name, dropout=0.2, learning_rate=3e-3), 7)
    others = [
        (point_of(name, learning_rate=0.3, weight_decay=0.0), 5),
        (point_of(name, dropout=0.0), 7),  # shares the seed
        (point_of(name, dropout=0.5, gradient_clip=0.01), 11),
    ]
    alone = fit([tested])[0]
    assert equal(fit([tested, *others])[0], alone)
    assert equal(fit([*others, tested])[3], alone)
    assert not np.array_equal(forecast(tested[0], alone), forecast(tested[0], fit([(tested[0], 8)])[0]))


@pytest.mark.parametrize("name", NAMES)
def test_fits_do_not_depend_on_the_callers_threads_or_random_state(name):
    import torch

    pack, before = [(point_of(name, dropout=0.2), 3)], torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = fit(pack)[0]
        torch.set_num_threads(2)
        torch.manual_seed(99)
        state = torch.get_rng_state()
        two = fit(pack)[0]
        assert torch.equal(state, torch.get_rng_state())
    finally:
        torch.set_num_threads(before)
    assert equal(one, two)


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_what_the_weights_forecast(name):
    point = point_of(name, learning_rate=3e-3)
    found = fit([(point, 0)])[0]
    known = np.isfinite(VALIDATION.y_N)
    months = [cut(PANEL, month, month, targets=False) for month in range(20, 26)]
    member = model(name).fitted(point, found.weights)
    returns = np.concatenate([member.forecast(month).returns for month in months])
    loss, zero = (np.mean(np.square(VALIDATION.y_N - f)[known]) for f in (returns, 0.0))
    assert found.scores["return_loss"] == pytest.approx(loss, rel=1e-5)
    assert found.scores["return_loss_of_zero"] == pytest.approx(zero, rel=1e-6)
    assert found.scores["selection"] == pytest.approx(loss / zero, rel=1e-5)
    assert np.std(returns) > 1e-4
    assert found.scores["validation_loss"] == min(found.history["validation_loss"])
    assert found.scores["validation_loss"] == pytest.approx(loss / np.nanmean(np.square(TRAIN.y_N)), rel=1e-5)
    assert member.total(VALIDATION) is None
    assert member.describe() is None


@pytest.mark.parametrize("name", NAMES)
def test_training_starts_at_the_zero_forecast(name):
    """A step too small to move anything leaves a loss of one: targets are standardised, heads start at zero."""
    found = fit([(point_of(name, learning_rate=1e-12, epochs=1), 0)])[0]
    assert found.history["train_loss"][0] == pytest.approx(1.0, rel=0.05)
    assert found.scores["selection"] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_months_without_observation_change_nothing(name):
    """Whatever stands where an asset was not observed, the forecast is the same bits."""
    import torch

    generator = torch.Generator().manual_seed(0)
    network = model(name).network(point_of(name), CHARACTERISTICS).eval()
    for parameter in network.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    x_BLI = torch.randn(50, 6, CHARACTERISTICS, generator=generator)
    observed_BL = torch.rand(50, 6, generator=generator) < 0.6
    observed_BL[:, -1] = True
    poisoned = torch.where(observed_BL[:, :, None], x_BLI, torch.tensor(float("nan")))
    forecast_B = network(x_BLI, observed_BL)
    assert forecast_B.shape == (50,)
    assert torch.equal(network(poisoned, observed_BL), forecast_B)
    changed = torch.where(observed_BL[:, :, None], x_BLI + 1, x_BLI)
    assert not torch.isclose(network(changed, observed_BL), forecast_B).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_forecast_reads_the_last_months_of_its_own_assets_alone(name):
    point = point_of(name, learning_rate=1e-2)
    found = fit([(point, 0)])[0]
    before = forecast(point, found)
    x_HP, month_H, asset_H, y_H, z_Td = PANEL
    early = month_H < 29 - 5
    gone = ~np.isin(asset_H, asset_H[month_H == 29])
    elsewhere = np.where((early | gone)[:, None], np.float32(9), x_HP)
    assert np.array_equal(forecast(point, found, cut((elsewhere, *PANEL[1:]), 29, 29)), before)
    without = [array[~early] for array in (x_HP, month_H, asset_H, y_H)]
    assert np.array_equal(forecast(point, found, cut((*without, z_Td), 29, 29)), before)
    within = np.where((month_H == 26)[:, None], x_HP + np.float32(1), x_HP)
    moved = forecast(point, found, cut((within, *PANEL[1:]), 29, 29)) != before
    assert moved.any()
    assert not moved[~np.isin(asset_H[month_H == 29], asset_H[month_H == 26])].any()


@pytest.mark.parametrize("name", NAMES)
def test_the_macro_state_is_seen(name):
    point = point_of(name, learning_rate=1e-2)
    found = fit([(point, 0)])[0]
    other = cut((*PANEL[:4], PANEL[4] + np.float32(1)), 29, 29)
    assert (forecast(point, found, other) != forecast(point, found)).all()


def test_a_diverged_fit_is_never_selected():
    found = fit([(point_of("mlp", learning_rate=1e30), 0)])[0]
    assert found.status == "diverged"
    assert found.scores["selection"] == np.inf


def test_what_cannot_be_fitted_is_refused():
    nothing = cut(PANEL, 20, 25, targets=False)
    with pytest.raises(InputError, match="the validation months hold no known target return among their"):
        fit([(point_of("mlp"), 0)], validation=nothing)


@pytest.mark.parametrize(
    ("settings", "wrong", "said"),
    [
        (TransformerSettings, {"width": 30, "heads": 4}, "width must be a multiple of heads"),
        (DLinearSettings, {"average": 4}, "average must be odd"),
        (PatchTSTSettings, {"lookback": 3, "patch": 4}, "patch must be at most lookback"),
        (PatchTSTSettings, {"patch": 3, "stride": 4}, "stride must be at most patch"),
        (CrossformerSettings, {"lookback": 3, "segment": 4, "layers": 1}, "segment must be at most lookback"),
        (CrossformerSettings, {"lookback": 6, "segment": 3, "layers": 3}, "layers must be at most 2 where lookback 6"),
        (CrossformerSettings, {"segment": 7}, "less than or equal to 6"),
    ],
)
def test_settings_refuse_what_does_not_fit_together(settings, wrong, said):
    with pytest.raises(ValidationError, match=said):
        settings(**wrong)


@pytest.mark.parametrize(("rows", "size"), [(300, 128), (50_000, 500), (605_722, 1024)])
def test_batch_size_by_rows(rows, size):
    assert ForecasterSettings().rows_per_batch(rows) == size
    assert ForecasterSettings(batch_size=77).rows_per_batch(rows) == 77


def test_settings_and_classes_need_no_torch():
    code = (
        "import sys; from factor_ray.models.registry import model\n"
        f"for name in {NAMES!r}: assert model(name).name == name and model(name).Settings()\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
