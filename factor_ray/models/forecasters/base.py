"""What all forecasters on a window of months share: hyperparameters, fits and forecasts; torch is loaded to fit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import PositiveInt, model_validator

from factor_ray.data.sample import Sample
from factor_ray.models.base import Fit, Hyperparameters, RowWise, Weights, checked, free, require_known_targets, shape
from factor_ray.models.estimator import Estimator

if TYPE_CHECKING:
    from torch import nn

_STEPS_AN_EPOCH = 100
_SMALLEST_BATCH, _LARGEST_BATCH = 128, 1024


class ForecasterSettings(Hyperparameters):
    """Hyperparameters that every forecaster has."""

    lookback: PositiveInt = shape(12, "months of characteristics that are seen, up to and including the row's own")
    batch_size: PositiveInt | Literal["auto"] = shape(
        "auto",
        "rows of a mini-batch; auto: a hundredth of the training rows, at least 128 and at most 1,024. A large batch "
        "on a small panel stops before anything is learned",
    )
    epochs: int = shape(50, "largest number of epochs", ge=1)
    patience: int = shape(5, "epochs in a row without a new best validation loss before a member stops", ge=1)
    warm_up: int = shape(5, "epochs before patience counts; too few is wrong where an epoch has few steps", ge=0)
    learning_rate: float = free(1e-3, "AdamW's step size", gt=0)
    weight_decay: float = free(1e-4, "decoupled decay (AdamW): the weights shrink by it times the step size", ge=0)
    dropout: float = free(0.1, "probability of dropping a hidden unit", ge=0, lt=1)
    gradient_clip: float = free(1.0, "largest Euclidean norm of a member's gradient", gt=0)

    def rows_per_batch(self, rows: int) -> int:
        """Return the mini-batch size for a number of training rows."""
        if self.batch_size == "auto":
            return min(max(rows // _STEPS_AN_EPOCH, _SMALLEST_BATCH), _LARGEST_BATCH)
        return self.batch_size


class AttentionSettings(ForecasterSettings):
    """Hyperparameters of forecasters made of attention layers."""

    width: PositiveInt = shape(32, "numbers that describe a token; a multiple of heads")
    heads: PositiveInt = shape(4, "attention heads")
    layers: PositiveInt = shape(2, "encoder layers")
    feedforward: PositiveInt = shape(64, "hidden units of a layer's feed-forward part")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads; got width {self.width} and heads {self.heads}: "
                f"take width {self.heads * max(1, round(self.width / self.heads))}"
            )
        return self


class Forecaster(Estimator):
    """A network that forecasts a row from its characteristics (and the macro state) over the last L months.

    A month in which the asset was not observed is zero, the middle of a ranked characteristic, and masked. The loss is
    the mean squared error over targets standardised by their root mean square over the training rows, because weight
    decay and the gradient clip would otherwise shrink the network of a target as small as a monthly return to nothing.
    Heads start at zero, so that training starts at the zero forecast, whose loss is 1.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Settings: ClassVar[type[Hyperparameters]] = ForecasterSettings

    @classmethod
    @abstractmethod
    def network(cls, point: Hyperparameters, inputs: int) -> nn.Module:
        """Return the network of a point: forward(x[B, L, inputs], observed[B, L]) -> [B], without buffers."""

    @classmethod
    def fit_pack(
        cls,
        points: Sequence[Hyperparameters],
        seeds: Sequence[int],
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,
        device: str = "cpu",
    ) -> list[Fit]:
        """Fit points of one shape on the same batches, one member a pass; point k with seed k.

        Parameters
        ----------
        points : sequence of ForecasterSettings
            Equal in all shape hyperparameters.
        seeds : sequence of int
            Non-negative; decide initial weights and dropout. Points of equal seed share both.
        train, validation : Sample
            With their histories. Rows without a known target are seen by later rows, and are not learned from.
        order_seed : int
            Decides the mini-batches, which the members share.
        device : str
            On "cpu" a member's bits do not depend on its companions or on the number of threads.

        Returns
        -------
        list of Fit
            ``scores`` holds ``selection`` (the validation loss over that of the zero forecast), ``return_loss`` and
            ``return_loss_of_zero`` (squared decimals) and ``validation_loss`` (standardised; it stops the fit).

        Raises
        ------
        InputError
            If a sample has no target to learn from or to be judged by, or no history.
        """
        from factor_ray.models.forecasters.members import fit_members
        from factor_ray.models.forecasters.task import ForecasterTask

        settings = [checked(point, ForecasterSettings) for point in points]
        require_known_targets(train, validation)
        task = ForecasterTask(cls.network, settings, seeds, train, validation, order_seed=order_seed, device=device)
        return fit_members(task, settings, device)

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> RowWise:
        """Return one member, ready to forecast one month after another."""
        from factor_ray.models.forecasters.task import Member

        return RowWise(Member(cls.network, checked(point, ForecasterSettings), weights))
