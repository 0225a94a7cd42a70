"""The conditional autoencoder: loadings are a network of the characteristics, factors are portfolios.

`conditional_autoencoder_network` holds the network itself, which alone needs torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import PositiveInt

from factor_ray.data.sample import Sample
from factor_ray.errors import InputError
from factor_ray.models.base import Available, Fit, Hyperparameters, Weights, checked, free, require_known_targets, shape
from factor_ray.models.estimator import Estimator
from factor_ray.models.latent import Expected, LatentFitted


class ConditionalAutoencoderSettings(Hyperparameters):
    """Hyperparameters of the conditional autoencoder."""

    simpler_by: ClassVar[tuple[str, ...]] = ("factors",)

    factors: int = shape(5, "K: number of latent factors", ge=1)
    hidden: tuple[PositiveInt, ...] = shape(
        (32,),
        "units of each hidden layer of the loadings' network; the paper's CA0 to CA3 are [], [32], [32, 16] and "
        "[32, 16, 8]",
    )
    months_per_batch: int = shape(8, "training months of a step", ge=1)
    epochs: int = shape(200, "largest number of epochs", ge=1)
    patience: int = shape(20, "epochs in a row without a new best validation loss before a member stops", ge=1)
    warm_up: int = shape(20, "epochs before patience counts; too few where an epoch has few steps", ge=0)
    plateau_patience: int = shape(8, "epochs in a row without improvement before the learning rate falls", ge=0)
    plateau_factor: float = shape(0.3, "by which the learning rate is then multiplied", gt=0, le=1)
    l1: float = free(1e-5, "penalty on the sum of absolute weights, beside a loss that is 1 for a fit of zero", ge=0)
    learning_rate: float = free(5e-3, "Adam's step size at the start", gt=0)
    gradient_clip: float = free(1.0, "largest Euclidean norm of a member's gradient", gt=0)
    expected: Expected = free("mean", "how factors are expected from realised ones")


class ConditionalAutoencoder(Estimator):
    """The conditional autoencoder: r_{i,t+1} = beta(z_it)' f_{t+1} + e with f_{t+1} = W'x_{t+1}.

    beta is a feedforward network; x_{t+1} = (Z'Z)^-1 Z'r are the characteristics' portfolios (with a constant), which
    the factor network combines linearly; both are learned at once with an L1 penalty. Hidden layers are Linear,
    LayerNorm and GELU as in our other networks, where the paper has batch normalisation and ReLU: an asset's loadings
    then depend on its own characteristics alone, and not on which assets and months shared a batch.

    What a fitted member says rests on the loadings only: factors, in training too, are realised by regressing a
    month's returns on beta, as for every latent-factor model here. They are rotated so that the loadings' pooled second
    moment is I, the factors' covariance is diagonal with falling variances and their means are positive.

    Source: Gu, Kelly and Xiu (2021), "Autoencoder asset pricing models", sections 2 and 3.
    """

    name: ClassVar[str] = "conditional_autoencoder"
    version: ClassVar[int] = 2
    Settings: ClassVar[type[Hyperparameters]] = ConditionalAutoencoderSettings

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:
        """Refuse data without validation months, or with fewer instruments than factors.

        Raises
        ------
        InputError
            Naming what is missing and the remedy.
        """
        super().require(point, available)
        settings, instruments = checked(point, ConditionalAutoencoderSettings), available.characteristics + 1
        if settings.factors > instruments:
            raise InputError(
                f"conditional_autoencoder: {settings.factors} factors need at least as many instruments; there are "
                f"{instruments} (characteristics and a constant): lower factors"
            )

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
        points : sequence of ConditionalAutoencoderSettings
            Equal in all shape hyperparameters.
        seeds : sequence of int
            Non-negative; decide initial weights.
        train, validation : Sample
            Rows without a known target are left out.
        order_seed : int
            Decides which months share a step, which is the same for all members.
        device : str
            On "cpu" a member's bits do not depend on its companions.

        Returns
        -------
        list of Fit
            ``scores`` holds, on the validation rows, ``selection``, the loss of what factors realised without an
            asset leave of its return over that of zero, which also stops the training, and ``total_r2``, plain.

        Raises
        ------
        InputError
            If a sample has no known target.
        """
        from factor_ray.models.conditional_autoencoder_network import fit_stack

        require_known_targets(train, validation)
        settings = [checked(point, ConditionalAutoencoderSettings) for point in points]
        return fit_stack(settings, seeds, train, validation, order_seed=order_seed, device=device)

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> LatentFitted:
        """Return one member, ready to forecast."""
        from factor_ray.models.conditional_autoencoder_network import loadings

        return LatentFitted(
            loadings(weights),
            weights["months"],
            weights["factors"],
            weights["gamma"],
            first=int(weights["first"][0]),
            expected=checked(point, ConditionalAutoencoderSettings).expected,
        )
