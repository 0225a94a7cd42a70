"""When learning rates fall and members stop."""

from __future__ import annotations

import math

import pytest

from factor_ray.training.schedule import Progress, Schedule


def run(schedule: Schedule, losses: list[float]) -> tuple[Progress, list[float]]:
    progress, rate, rates = Progress(schedule), 1.0, []
    for loss in losses:
        progress.note(0.0, loss)
        rate = progress.next_learning_rate(rate)
        rates.append(rate)
        if progress.finished:
            break
    return progress, rates


def test_patience_counts_epochs_without_a_new_best():
    progress, _ = run(Schedule(epochs=50, patience=3), [5, 4, 4.5, 3, 3, 3, 3, 1])
    assert (progress.epoch, progress.best_epoch, progress.best) == (7, 4, 3)


def test_warm_up_holds_patience_and_learning_rate():
    losses = [5.0, 6, 6, 6, 6, 6, 6, 6]
    cold, _ = run(Schedule(epochs=50, patience=2, plateau_patience=0), losses)
    warm, rates = run(Schedule(epochs=50, patience=2, warm_up=4, plateau_patience=0, plateau_factor=0.5), losses)
    assert (cold.epoch, warm.epoch) == (3, 6)
    assert rates == [1, 1, 1, 1, 0.5, 0.25]


def test_the_learning_rate_falls_after_more_than_its_patience():
    _, rates = run(Schedule(epochs=9, patience=99, plateau_patience=2, plateau_factor=0.2), [3.0] * 9)
    assert rates == pytest.approx([1, 1, 1, 0.2, 0.2, 0.2, 0.04, 0.04, 0.04])


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_divergence(loss):
    for losses in ((loss, 1.0), (1.0, loss)):
        progress = Progress(Schedule(epochs=9, patience=9))
        progress.note(*losses)
        assert progress.diverged
        assert progress.finished
        assert not progress.improved
