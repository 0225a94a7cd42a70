"""Macro states: scaling, principal components, autoencoders as one stack, and no look ahead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from factor_ray.errors import InputError
from factor_ray.models.macro_autoencoder import AutoencoderTask
from factor_ray.models.macro_state import MacroState, MacroStateSettings, fit_macro_states, scale
from factor_ray.training.cpu import one_thread

# Axes: T months, D series, d states.

TRAIN, VALIDATION = np.arange(60), np.arange(60, 72)
WINDOWS = [
    (np.arange(5, 60), np.arange(60, 70)),
    (np.arange(48), np.arange(48, 60)),
    (np.arange(71), np.arange(71, 80)),
]


def series(seed: int = 0, months: int = 90, count: int = 14) -> np.ndarray:
    rng = np.random.default_rng(seed)
    factors = np.cumsum(rng.standard_normal((months, 3)), 0) * 0.3
    table = factors @ rng.standard_normal((3, count)) + 0.5 * rng.standard_normal((months, count))
    table.setflags(write=False)
    return table


def with_gaps(table: np.ndarray) -> np.ndarray:
    gappy = table.copy()
    gappy[:4, 1] = np.nan
    gappy[20:25, 2] = np.nan
    gappy[:65, 3] = np.nan
    gappy[:60, 4] = 1.5
    return gappy


def autoencoder(**changes) -> MacroStateSettings:
    return MacroStateSettings(kind="autoencoder", dimension=4, hidden=(16, 8), epochs=4, learning_rate=1e-3, **changes)


def same(a: MacroState, b: MacroState) -> bool:
    return all(np.array_equal(a.weights[k], b.weights[k]) for k in a.weights) and a.history == b.history


def test_scaling_uses_training_months_and_fills_from_the_past():
    table = with_gaps(series())
    state = fit_macro_states(MacroStateSettings(kind="raw"), table, [(TRAIN, VALIDATION)], seeds=[0])[0]
    assert state.dropped == [3, 4]
    z_TD = scale(state.weights, table)
    inside = z_TD[TRAIN][:, 0]
    assert inside.min() == pytest.approx(-1)
    assert inside.max() == pytest.approx(1)
    assert np.abs(z_TD[60:]).max() > 1  # later months are not clipped
    np.testing.assert_array_equal(z_TD[20:25, 2], np.repeat(z_TD[19, 2], 5))
    low, high, mean = (f(table[4:60, 1]) for f in (np.min, np.max, np.mean))
    np.testing.assert_allclose(z_TD[:4, 1], 2 * (mean - low) / (high - low) - 1)
    assert state.transform(table).shape == (90, 12)
    assert state.transform(table).dtype == np.float32


def test_components_are_those_of_scikit_learn():
    table = series()
    settings = MacroStateSettings(kind="pca", dimension=3)
    state = fit_macro_states(settings, table, [(TRAIN, VALIDATION)], seeds=[0])[0]
    x_TD = scale(state.weights, table)
    oracle = PCA(3).fit(x_TD[TRAIN])
    expected = oracle.transform(x_TD) / oracle.transform(x_TD[TRAIN]).std(0)
    z_Td = state.transform(table)
    signs = np.sign((expected * z_Td).sum(0))
    np.testing.assert_allclose(z_Td, expected * signs, atol=1e-5)
    np.testing.assert_allclose(z_Td[TRAIN].std(0), 1, atol=1e-5)
    assert (state.weights["loadings"].max(0) == np.abs(state.weights["loadings"]).max(0)).all()


@pytest.mark.parametrize("kind", ["pca", "autoencoder", "raw"])
def test_a_state_looks_at_no_later_month(kind):
    table = with_gaps(series())
    settings = autoencoder() if kind == "autoencoder" else MacroStateSettings(kind=kind, dimension=3)
    state = fit_macro_states(settings, table, [(TRAIN, VALIDATION)], seeds=[0])[0]
    z_Td = state.transform(table)
    for month in (3, 30, 70, 88):
        changed = table.copy()
        changed[month + 1 :] = np.nan if month % 2 else 1e6
        np.testing.assert_array_equal(state.transform(changed)[: month + 1], z_Td[: month + 1])
        np.testing.assert_array_equal(state.transform(table[: month + 1]), z_Td[: month + 1])


@pytest.mark.parametrize("kind", ["pca", "autoencoder"])
def test_a_fit_looks_at_its_own_months_only(kind):
    settings = autoencoder() if kind == "autoencoder" else MacroStateSettings(kind=kind, dimension=3)
    table, changed = series(), series().copy()
    changed[72:] = 1e6
    first, second = (fit_macro_states(settings, t, [(TRAIN, VALIDATION)], seeds=[0])[0] for t in (table, changed))
    assert same(first, second)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("hidden", [(16, 8), (13, 7, 5)])
def test_a_stack_of_autoencoders_is_each_window_alone(dropout, hidden):
    table, settings = with_gaps(series()), autoencoder(dropout=dropout).model_copy(update={"hidden": hidden})
    stack = fit_macro_states(settings, table, WINDOWS, seeds=[3, 3, 5])
    for number, seed in enumerate([3, 3, 5]):
        alone = fit_macro_states(settings, table, [WINDOWS[number]], seeds=[seed])[0]
        assert same(alone, stack[number])
    back = fit_macro_states(settings, table, WINDOWS[::-1], seeds=[5, 3, 3])
    assert all(same(a, b) for a, b in zip(back[::-1], stack, strict=True))


def test_a_window_that_stops_early_leaves_the_others_alone():
    table, settings = series(), autoencoder(patience=1).model_copy(update={"epochs": 30, "learning_rate": 0.03})
    stack = fit_macro_states(settings, table, WINDOWS, seeds=[0, 1, 2])
    lengths = [len(state.history["train_loss"]) for state in stack]
    assert len(set(lengths)) > 1
    for number, state in enumerate(stack):
        assert same(fit_macro_states(settings, table, [WINDOWS[number]], seeds=[number])[0], state)


def test_the_stack_is_a_plain_torch_autoencoder():
    """Losses agree to 1e-4 relative after three epochs of single steps in float32, without dropout."""
    table, settings = series(), autoencoder(dropout=0.0).model_copy(update={"epochs": 3})
    state = fit_macro_states(settings, table, WINDOWS, seeds=[0, 1, 2])[1]
    x_TD = torch.from_numpy(scale(state.weights, table).astype(np.float32))
    kept = [np.ones(14, bool)]
    task = AutoencoderTask(settings, [x_TD.numpy()], kept, [WINDOWS[1]], [1], device="cpu")
    layers: list[torch.nn.Module] = []
    for name, values in ((n, v) for n, v in task.initialise(0).items() if n.endswith("weight")):
        layer = torch.nn.Linear(*values.shape)
        with torch.no_grad():
            layer.weight.copy_(values.T)
            layer.bias.zero_()
        layers += [layer] if name in ("encoder2.weight", "decoder2.weight") else [layer, torch.nn.GELU()]
    network = torch.nn.Sequential(*layers)
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    plain = []
    with one_thread():
        for epoch in range(3):
            losses = []
            for step in task.batches(epoch + 1, [0]):
                optimiser.zero_grad()
                loss = (network(step.x_S1D[0]) - step.x_S1D[0]).square().mean()
                loss.backward()
                optimiser.step()
                losses.append(loss.item())
            plain.append(np.mean(losses))
    np.testing.assert_allclose(state.history["train_loss"], plain, rtol=1e-4)


def test_a_state_is_rebuilt_from_its_weights():
    table = with_gaps(series())
    for settings in (autoencoder(), MacroStateSettings(kind="pca", dimension=2), MacroStateSettings(kind="raw")):
        state = fit_macro_states(settings, table, WINDOWS[:1], seeds=[0])[0]
        again = MacroState.from_weights(settings, {name: np.array(array) for name, array in state.weights.items()})
        np.testing.assert_array_equal(again.transform(table), state.transform(table))


def test_no_state_at_all():
    state = fit_macro_states(MacroStateSettings(kind="none"), series(), WINDOWS, seeds=[0, 1, 2])[2]
    assert state.transform(series()).shape == (90, 0)


def test_what_cannot_be_fitted_says_why():
    with pytest.raises(InputError, match="at most 14"):
        fit_macro_states(MacroStateSettings(kind="pca"), series(), [(TRAIN, VALIDATION)], seeds=[0])
    with pytest.raises(InputError, match="none of the 14 series varies"):
        fit_macro_states(MacroStateSettings(kind="raw"), np.ones((90, 14)), [(TRAIN, VALIDATION)], seeds=[0])
    with pytest.raises(InputError, match="validation months"):
        fit_macro_states(autoencoder(), series(), [(TRAIN, TRAIN[:0])], seeds=[0])
    wild = MacroStateSettings(dimension=4, hidden=(8,), epochs=3, learning_rate=1e30)
    with pytest.raises(InputError, match="diverged"):
        fit_macro_states(wild, series(), [(TRAIN, VALIDATION)], seeds=[0])
    state = fit_macro_states(MacroStateSettings(kind="raw"), series(), [(TRAIN, VALIDATION)], seeds=[0])[0]
    with pytest.raises(InputError, match="fitted on 14 series, got 3"):
        state.transform(np.zeros((90, 3)))
