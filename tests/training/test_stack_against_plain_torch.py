"""A stack does what a slow, plain loop over torch's own modules, optimiser and scheduler does."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from factor_ray.data.sample import Sample
from factor_ray.models.cbapm import CBAPM, CBAPMSettings
from factor_ray.models.cbapm_network import CBAPMTask
from factor_ray.training.batches import SharedOrder
from factor_ray.training.cpu import one_thread

ROWS, INPUTS, VARIABLES, BATCH = 420, 6, 3, 70


def sample(seed: int, missing: float = 0.15) -> Sample:
    rng = np.random.default_rng(seed)
    x_NP = rng.uniform(-1, 1, (ROWS, INPUTS)).astype(np.float32)
    c_NC = (x_NP[:, :VARIABLES] * 0.7 + 0.2 * rng.standard_normal((ROWS, VARIABLES))).astype(np.float32)
    y_N = (0.04 * x_NP[:, 0] * x_NP[:, 1] + 0.03 * rng.standard_normal(ROWS)).astype(np.float32)
    y_N[rng.random(ROWS) < missing] = np.nan
    c_NC[rng.random(c_NC.shape) < missing] = np.nan
    return Sample(x_NP, np.zeros(ROWS, np.int32), np.zeros((1, 0), np.float32), y_N, c_NC)


class PlainNetwork(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        layers, width = [], INPUTS
        for units in hidden:
            layers += [nn.Linear(width, units), nn.LayerNorm(units), nn.GELU()]
            width = units
        self.hidden, self.consensus, self.head = nn.Sequential(*layers), nn.Linear(width, VARIABLES), nn.Linear(3, 1)

    def forward(self, x):
        c = self.consensus(self.hidden(x))
        return self.head(c)[:, 0], c

    def load(self, weights):
        with torch.no_grad():
            for layer in range(len(self.hidden) // 3):
                linear, norm = self.hidden[3 * layer], self.hidden[3 * layer + 1]
                linear.weight.copy_(weights[f"hidden{layer}.weight"].T)
                linear.bias.copy_(weights[f"hidden{layer}.bias"])
                norm.weight.copy_(weights[f"hidden{layer}.gain"])
                norm.bias.copy_(weights[f"hidden{layer}.shift"])
            for name, layer in (("consensus", self.consensus), ("head", self.head)):
                layer.weight.copy_(weights[f"{name}.weight"].T)
                layer.bias.copy_(weights[f"{name}.bias"])


def masked_mean_square(forecast, target):
    known = ~torch.isnan(target)
    return (forecast[known] - target[known]).square().mean()


def plain_fit(point, seed, train, validation, order_seed):
    """One member, the way a user would write it from the paper."""
    network = PlainNetwork(point.hidden)
    network.load(CBAPMTask([point], [seed], train, validation, order_seed=0, device="cpu").initialise(0))
    s_r, s_c = (np.sqrt(np.nanmean(np.square(a, dtype=np.float64))) for a in (train.y_N, train.c_NC))
    optimiser = torch.optim.Adam(network.parameters(), lr=point.learning_rate, weight_decay=point.weight_decay)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, patience=point.plateau_patience, factor=point.plateau_factor
    )
    rows = np.flatnonzero(~np.isnan(train.y_N) | ~np.isnan(train.c_NC).all(1))
    order = SharedOrder(rows, BATCH, order_seed)

    def joint(sample, rows):
        x, y, c = (torch.from_numpy(a[rows]) for a in (sample.x_NP, sample.y_N, sample.c_NC))
        r_hat, c_hat = network(x)
        r_loss, c_loss = masked_mean_square(r_hat * s_r, y), masked_mean_square(c_hat * s_c, c)
        lam = point.consensus_weight
        total = c_loss / s_c**2 if point.consensus_only else (r_loss + lam * c_loss) / (s_r**2 + lam * s_c**2)
        return total, r_loss.item(), c_loss.item()

    best, idle, history, kept = np.inf, 0, {"train_loss": [], "validation_loss": [], "learning_rate": []}, None
    for _ in range(point.epochs):
        history["learning_rate"].append(optimiser.param_groups[0]["lr"])
        losses = []
        for batch in order.epoch():
            optimiser.zero_grad()
            loss = joint(train, batch)[0]
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), point.gradient_clip)
            optimiser.step()
            losses.append(loss.item())
        with torch.no_grad():
            total, r_loss, c_loss = joint(validation, np.arange(ROWS))
        history["train_loss"].append(np.mean(losses))
        history["validation_loss"].append(total.item())
        scheduler.step(total.item())
        if total.item() < best:
            best, idle, kept = total.item(), 0, (copy.deepcopy(network.state_dict()), r_loss, c_loss)
        else:
            idle += 1
            if idle >= point.patience:
                break
    return kept, history


POINTS = [
    {"consensus_weight": 0.0, "learning_rate": 0.02},
    {"consensus_weight": 0.3, "weight_decay": 0.05},
    {"consensus_weight": 1.0, "gradient_clip": 0.05, "learning_rate": 5e-3},
    {"consensus_only": True, "learning_rate": 0.01},
]


@pytest.fixture(scope="module")
def fits():
    train, validation = sample(0), sample(1)
    points = [
        CBAPMSettings(hidden=(12, 5), batch_size=BATCH, epochs=14, patience=4, warm_up=0, dropout=0.0, **free)
        for free in POINTS
    ]
    seeds = [3, 4, 5, 3]
    stack = CBAPM.fit_pack(points, seeds, train, validation, order_seed=9)
    with one_thread():
        plain = [plain_fit(point, seed, train, validation, 9) for point, seed in zip(points, seeds, strict=True)]
    return stack, plain


@pytest.mark.parametrize("member", range(len(POINTS)))
def test_losses_schedule_and_best_weights_agree(fits, member):
    """Losses agree to 2e-4 relative, weights to 2e-3 absolute: float32, after up to 80 steps of Adam."""
    stack, ((state, return_loss, consensus_loss), history) = fits[0][member], fits[1][member]
    assert len(stack.history["train_loss"]) == len(history["train_loss"])
    np.testing.assert_allclose(stack.history["learning_rate"], history["learning_rate"], rtol=1e-9)
    np.testing.assert_allclose(stack.history["train_loss"], history["train_loss"], rtol=2e-4)
    np.testing.assert_allclose(stack.history["validation_loss"], history["validation_loss"], rtol=2e-4)
    np.testing.assert_allclose(stack.weights["hidden0.weight"].T, state["hidden.0.weight"].numpy(), atol=2e-3)
    np.testing.assert_allclose(stack.weights["consensus.weight"].T, state["consensus.weight"].numpy(), atol=2e-3)
    np.testing.assert_allclose(stack.scores["consensus_loss"], consensus_loss, rtol=5e-4)
    if not POINTS[member].get("consensus_only"):
        np.testing.assert_allclose(stack.scores["return_loss"], return_loss, rtol=5e-4)


def test_the_schedule_is_exercised(fits):
    """The comparison above says something: some members stop early, and some learning rates fall."""
    assert any(len(fit.history["train_loss"]) < 14 for fit in fits[0])
    assert any(len(set(fit.history["learning_rate"])) > 1 for fit in fits[0])
