"""When a member's learning rate falls and when the member stops."""

from __future__ import annotations

import math
from dataclasses import dataclass

_PLATEAU_THRESHOLD = 1e-4  # relative, as in torch's ReduceLROnPlateau


@dataclass(frozen=True)
class Schedule:
    """The schedule that the members of a stack share.

    Attributes
    ----------
    epochs : int
        Largest number of epochs.
    patience : int
        A member stops after this many epochs in a row without a new best validation loss.
    warm_up : int
        Epochs before patience counts, for stopping and for the learning rate. Too small where an epoch has few
        steps: the fit then stops before it has learned anything.
    plateau_patience : int or None
        The learning rate falls after more than this many epochs in a row without an improvement by a ten-thousandth;
        None keeps it constant.
    plateau_factor : float
        By which it is then multiplied.
    """

    epochs: int
    patience: int
    warm_up: int = 0
    plateau_patience: int | None = None
    plateau_factor: float = 0.2


class Progress:
    """One member's way through the schedule.

    Attributes
    ----------
    epoch, best_epoch : int
        Epochs made, and the one with the best validation loss (0: none yet).
    best : float
        The best validation loss.
    diverged : bool
        Whether a loss was not finite.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.epoch = self.best_epoch = 0
        self.best = math.inf
        self.diverged = False
        self._idle = self._flat = 0
        self._plateau_best = math.inf

    def note(self, train_loss: float, validation_loss: float) -> None:
        """Take in an epoch's losses."""
        self.epoch += 1
        self.diverged = not (math.isfinite(train_loss) and math.isfinite(validation_loss))
        warm = self.epoch > self._schedule.warm_up
        if validation_loss < self.best:
            self.best, self.best_epoch, self._idle = validation_loss, self.epoch, 0
        elif warm:
            self._idle += 1
        if validation_loss < self._plateau_best * (1 - _PLATEAU_THRESHOLD):
            self._plateau_best, self._flat = validation_loss, 0
        elif warm:
            self._flat += 1

    @property
    def improved(self) -> bool:
        """Whether the last epoch is the best so far."""
        return not self.diverged and self.best_epoch == self.epoch

    @property
    def finished(self) -> bool:
        """Whether the member leaves the stack."""
        return self.diverged or self.epoch >= self._schedule.epochs or self._idle >= self._schedule.patience

    def next_learning_rate(self, rate: float) -> float:
        """Return the learning rate of the next epoch."""
        patience = self._schedule.plateau_patience
        if patience is None or self._flat <= patience:
            return rate
        self._flat = 0
        return rate * self._schedule.plateau_factor
