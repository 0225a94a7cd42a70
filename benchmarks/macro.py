"""Ten windows' autoencoders as one stack, against a plain PyTorch loop over the windows.

    python benchmarks/macro.py [--epochs 20]

The autoencoder is Table B.1's (123 series, 128-64-32 mirrored, batch 1, dropout .2, Adam), the windows expand by a
year from 204 months. The plain loop is what a user would write with ``torch.nn`` and ``torch.optim.Adam``; it is handed
the stack's own dropout masks and order of months, ready made, so that both must end with equal losses; the stack's time
includes drawing them, and validation. Both run on one thread, alternating in one process; seconds are the
processor's, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import nn

from factor_ray.models.macro_autoencoder import AutoencoderTask
from factor_ray.models.macro_state import MacroStateSettings
from factor_ray.training.adam import StepSettings
from factor_ray.training.cpu import without_onednn
from factor_ray.training.loop import train
from factor_ray.training.schedule import Schedule

SERIES, WINDOWS, FIRST_TRAIN, VALIDATION = 123, 10, 204, 24


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    epochs = parser.parse_args().epochs
    torch.set_num_threads(1)
    settings = MacroStateSettings(epochs=epochs)
    table = series(FIRST_TRAIN + VALIDATION + 12 * WINDOWS)
    ends = [FIRST_TRAIN + 12 * number for number in range(WINDOWS)]
    windows = [(np.arange(end), np.arange(end, end + VALIDATION)) for end in ends]
    member_steps = epochs * sum(ends)

    stack_seconds, stack_losses = [stack(settings, table, windows)[0]], []
    plain_seconds, plain_losses = 0.0, []
    for number, window in enumerate(windows):
        seconds, loss = plain(settings, table, window, number)
        plain_seconds, plain_losses = plain_seconds + seconds, [*plain_losses, loss]
        if number % 4 == 3:
            seconds, stack_losses = stack(settings, table, windows)
            stack_seconds.append(seconds)

    ours = float(np.median(stack_seconds))
    difference = np.abs(np.array(stack_losses) / np.array(plain_losses) - 1).max()
    print(f"torch {torch.__version__}, 1 thread, {epochs} epochs, {WINDOWS} windows, {member_steps} member-steps")
    print("| loop                        | member-steps/s | ratio |")
    print("|-----------------------------|----------------|-------|")
    print(f"| plain, window after window  | {member_steps / plain_seconds:14.0f} |  1.00 |")
    print(f"| one stack                   | {member_steps / ours:14.0f} | {plain_seconds / ours:5.2f} |")
    print(f"largest relative difference of a window's training loss in the last epoch: {difference:.1e}")


def series(months: int) -> np.ndarray:
    """Three slow factors seen through all series, scaled to [-1, 1]."""
    rng = np.random.default_rng(0)
    table = np.cumsum(rng.standard_normal((months, 3)), 0) @ rng.standard_normal((3, SERIES))
    table += rng.standard_normal(table.shape)
    return (2 * (table - table.min(0)) / (table.max(0) - table.min(0)) - 1).astype(np.float32)


def task_of(settings, table, windows, seeds):
    """Return the stack's task for some of the windows."""
    kept = [np.ones(SERIES, bool)] * len(windows)
    return AutoencoderTask(settings, [table] * len(windows), kept, windows, seeds, device="cpu")


def stack(settings, table, windows):
    """Seconds, and every window's mean training loss in the last epoch."""
    task = task_of(settings, table, windows, list(range(len(windows))))
    steps = [StepSettings(settings.learning_rate)] * len(windows)
    started = time.process_time()
    with without_onednn():
        members = train(task, steps, Schedule(settings.epochs, settings.patience))
    return time.process_time() - started, [member.history["train_loss"][-1] for member in members]


class PlainAutoencoder(nn.Module):
    """Linear, GELU, dropout (a given mask) in both halves."""

    def __init__(self, weights):
        super().__init__()
        self.linears = nn.ModuleList()
        for name in (name for name in weights if name.endswith("weight")):
            linear = nn.Linear(*weights[name].shape)
            nn.init.zeros_(linear.bias)
            linear.weight.data.copy_(weights[name].T)
            self.linears.append(linear)
        self.activation = nn.GELU()

    def forward(self, x, masks):
        """Reconstruct one month."""
        middle, last = len(self.linears) // 2 - 1, len(self.linears) - 1
        masks = iter(masks)
        for number, linear in enumerate(self.linears):
            x = linear(x)
            if number not in (middle, last):
                x = self.activation(x) * next(masks)
        return x


def plain(settings, table, window, seed):
    """Seconds of the training steps alone, and the mean training loss in the last epoch."""
    task = task_of(settings, table, [window], [seed])
    network = PlainAutoencoder(task.initialise(0))
    optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    widths = [*settings.hidden, *settings.hidden[::-1]]
    seconds, losses = 0.0, []
    for epoch in range(settings.epochs):
        steps = [(step.x_S1D[0], step.mask_S1U[0].split(widths, dim=1)) for step in task.batches(epoch, [0])]
        started, losses = time.process_time(), []
        for x, masks in steps:
            optimiser.zero_grad()
            loss = nn.functional.mse_loss(network(x, masks), x)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        seconds += time.process_time() - started
    return seconds, np.mean(losses)


if __name__ == "__main__":
    main()
