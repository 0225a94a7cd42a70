"""CB-APM: the consensus-bottleneck asset pricing model.

A network maps characteristics and macro state to analysts' consensus, and a linear layer maps that to the expected
excess return; both are learned at once. `cbapm_network` holds the network itself, which alone needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt

from factor_ray.data.sample import Sample
from factor_ray.errors import InputError
from factor_ray.models.base import (
    Available,
    Fit,
    Hyperparameters,
    Prediction,
    RowWise,
    Weights,
    checked,
    free,
    require_known_targets,
    shape,
)
from factor_ray.models.estimator import Estimator

# Axes: N firm-months, C consensus variables.

_STEPS_AN_EPOCH = 100
_NO_CONSENSUS = (
    "consensus_weight must be 0 where the data has no consensus variables; got a point that learns the consensus: set "
    "consensus_weight to 0 or name the variables in columns.consensus"
)
_SMALLEST_BATCH, _LARGEST_BATCH = 128, 5000


class CBAPMSettings(Hyperparameters):
    """Hyperparameters of CB-APM; the defaults are the paper's (Table B.1) but for ``batch_size`` and ``warm_up``."""

    hidden: tuple[PositiveInt, ...] = shape(
        (64, 32), "units of each hidden layer: Linear, LayerNorm, GELU, dropout", min_length=1
    )
    batch_size: PositiveInt | Literal["auto"] = shape(
        "auto",
        "rows of a mini-batch; auto: a hundredth of the training rows, at least 128 and at most the paper's 5,000. A "
        "large batch on a small panel stops before the consensus is learned",
    )
    epochs: int = shape(100, "largest number of epochs", ge=1)
    patience: int = shape(5, "epochs in a row without a new best validation loss before a member stops", ge=1)
    warm_up: int = shape(
        10, "epochs before patience counts; 0 is the paper's, and wrong where an epoch has few steps", ge=0
    )
    plateau_patience: int = shape(2, "epochs in a row without improvement before the learning rate falls", ge=0)
    plateau_factor: float = shape(0.2, "by which the learning rate is then multiplied", gt=0, le=1)
    consensus_weight: float = free(
        0.3, "lambda: weight of the consensus loss beside the return loss; 0 is the naive network", ge=0
    )
    consensus_only: bool = free(
        False, "learn the consensus alone (lambda to infinity, whatever consensus_weight says): no return forecast"
    )
    learning_rate: float = free(1e-3, "Adam's step size at the start", gt=0)
    weight_decay: float = free(5e-3, "L2 penalty in Adam", ge=0)
    dropout: float = free(0.5, "probability of dropping a hidden unit", ge=0, lt=1)
    gradient_clip: float = free(1.0, "largest Euclidean norm of a member's gradient", gt=0)

    def rows_per_batch(self, rows: int) -> int:
        """Return the mini-batch size for a number of training rows."""
        if self.batch_size == "auto":
            return min(max(rows // _STEPS_AN_EPOCH, _SMALLEST_BATCH), _LARGEST_BATCH)
        return self.batch_size


class CBAPM(Estimator):
    """The consensus-bottleneck asset pricing model.

    H1 = GELU(LN(W0 [x; z] + b0)), ..., C^ = Wc H + bc, R^ = wr' C^ + br; loss L_R + lambda L_C. Without consensus
    variables the bottleneck is absent (R^ = wr' H + br) and lambda must be 0.

    Source: "Consensus-bottleneck asset pricing model", equations 2 to 6, sections 3.1 to 3.3, Table B.1.
    """

    name: ClassVar[str] = "cbapm"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = CBAPMSettings

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:
        """Refuse data without validation months, or without the consensus that a point learns.

        Raises
        ------
        InputError
            Naming what is missing and the remedy.
        """
        super().require(point, available)
        settings = checked(point, CBAPMSettings)
        if available.consensus == 0 and (settings.consensus_only or settings.consensus_weight > 0):
            raise InputError(_NO_CONSENSUS)

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
        """Fit points of one shape as one stack; point k with seed k.

        Parameters
        ----------
        points : sequence of CBAPMSettings
            Equal in all shape hyperparameters.
        seeds : sequence of int
            Non-negative; decide initial weights and dropout. Points of equal seed share both.
        train, validation : Sample
            Rows without any known target are left out; a missing target is left out of its own loss.
        order_seed : int
            Decides the mini-batches, which the members share.
        device : str
            On "cpu" a member's bits do not depend on its companions or on the number of threads.

        Returns
        -------
        list of Fit
            ``scores`` holds ``selection`` (the return loss over that of the zero forecast, so that windows of
            different volatility compare; the consensus loss of a consensus-only fit), ``return_loss`` and
            ``return_loss_of_zero`` (squared decimals; the first is NaN for a consensus-only fit),
            ``consensus_loss`` (squared rank units; NaN without consensus) and ``validation_loss`` (the joint loss
            that stops the fit), all on the validation rows.

        Raises
        ------
        InputError
            If a sample has no target to learn from or to be judged by.
        """
        from factor_ray.models.cbapm_network import fit_stack

        settings = [checked(point, CBAPMSettings) for point in points]
        _check_consensus(settings, train, "training")
        _check_consensus(settings, validation, "validation")
        if not all(point.consensus_only for point in settings):
            require_known_targets(train, validation)
        return fit_stack(settings, seeds, train, validation, order_seed=order_seed, device=device)

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> RowWise:
        """Return one member, ready to forecast."""
        return RowWise(lambda month: cls.forecast(point, weights, month))

    @classmethod
    def forecast(cls, point: Hyperparameters, weights: Weights, sample: Sample) -> Prediction:
        """Forecast every row of ``sample`` with one member's weights.

        Returns
        -------
        Prediction
            ``returns`` (N,) in decimals, None for a consensus-only point; ``consensus`` (N, C) on the scale of the
            ranked consensus, None where the model has none.
        """
        from factor_ray.models.cbapm_network import forecast

        return_N, consensus_NC = forecast(weights, sample)
        return Prediction(None if checked(point, CBAPMSettings).consensus_only else return_N, consensus_NC)

    @classmethod
    def coefficients(cls, weights: Weights) -> npt.NDArray[np.float32] | None:
        """Return the prediction layer's coefficients (C,), in decimals a unit of C^; None without a consensus layer."""
        return pricing_coefficients(weights) if "consensus.weight" in weights else None


def pricing_coefficients(weights: Weights) -> npt.NDArray[np.float32]:
    """Return the prediction layer's coefficients (C,): the change of the return forecast, in decimals, a unit of C^.

    Source: section 3.3 and Figure 8 of the paper.

    Raises
    ------
    InputError
        If the member was fitted without consensus variables.
    """
    if "consensus.weight" not in weights:
        raise InputError(
            "pricing_coefficients expects weights of a CB-APM with a consensus layer, and these were fitted "
            "without consensus variables: name them in columns.consensus and fit again"
        )
    scale = weights["return_scale"] / weights["consensus_scale"]
    return np.asarray(weights["head.weight"][:, 0] * scale, dtype=np.float32)


def selection_scores(
    point: CBAPMSettings, measures: Mapping[str, float], return_loss_of_zero: float
) -> dict[str, float]:
    """Return a fit's scores from its validation measures; without measures it diverged and its losses are +inf."""
    return_loss = float("nan") if point.consensus_only else measures.get("return_loss", float("inf"))
    consensus_loss = measures.get("consensus_loss", float("inf"))
    return {
        "selection": consensus_loss if point.consensus_only else return_loss / return_loss_of_zero,
        "return_loss": return_loss,
        "return_loss_of_zero": return_loss_of_zero,
        "consensus_loss": consensus_loss,
        "validation_loss": measures.get("validation_loss", float("inf")),
    }


def _check_consensus(points: Sequence[CBAPMSettings], sample: Sample, what: str) -> None:
    learns_consensus = any(point.consensus_only or point.consensus_weight > 0 for point in points)
    if learns_consensus and sample.c_NC.shape[1] == 0:
        raise InputError(_NO_CONSENSUS)
    if any(point.consensus_only for point in points) and not _any_known(sample.c_NC):
        raise InputError(
            f"the {what} months hold no known consensus value, which consensus_only needs: move the windows to months "
            "with consensus data"
        )


def _any_known(values: npt.NDArray[np.float32]) -> bool:
    return any(bool(np.isfinite(block).any()) for block in np.array_split(values, 1 + len(values) // _LARGEST_BATCH))
