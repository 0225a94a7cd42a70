"""NeurIF: neural instrumented factorization.

Latent factors from a global embedding refined along time, loadings from characteristics refined across assets, and
penalties that keep the factors apart and the loadings near their instruments. `neurif_task` and the modules that it
uses alone need torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import model_validator

from factor_ray.data.sample import Sample
from factor_ray.errors import InputError
from factor_ray.models.base import Available, Fit, Hyperparameters, Weights, checked, free, require_known_targets, shape
from factor_ray.models.estimator import Estimator
from factor_ray.models.latent import LatentFitted


class NeurIFSettings(Hyperparameters):
    """Hyperparameters of NeurIF; the switches are those of the ablations."""

    simpler_by: ClassVar[tuple[str, ...]] = ("factors", "blocks")

    factors: int = shape(4, "K: latent factors; at most the number of instruments", ge=1)
    blocks: int = shape(2, "L: attention blocks of the loadings; 0 leaves X Gamma, the loadings of IPCA", ge=0)
    width: int = shape(64, "d: channels of the embeddings", ge=2)
    heads: int = shape(4, "attention heads; they divide the width", ge=1)
    attention: Literal["auto", "exact", "induced"] = shape(
        "auto",
        "across assets: exact costs the square of a month's assets, induced goes through 64 inducing points; auto is "
        "exact up to 512 assets a month (16,384 on a GPU)",
    )
    temporal: bool = shape(True, "whether the factor embedding is refined by attention along months")
    spatial: bool = shape(True, "whether blocks attend across a month's assets")
    channel: bool = shape(True, "whether blocks attend to embedded channels")
    constant: bool = shape(True, "whether a constant is an instrument, as in IPCA: without it ranks carry no level")
    start: Literal["ipca", "random"] = shape(
        "ipca",
        "Gamma and factors before the first step: those of IPCA on the training months, or random numbers, from which "
        "many more epochs are needed",
    )
    months_per_step: int = shape(12, "formation months of one step", ge=1)
    epochs: int = shape(60, "largest number of epochs", ge=1)
    patience: int = shape(8, "epochs in a row without a new best validation loss before a member stops", ge=1)
    warm_up: int = shape(5, "epochs before patience counts; more where an epoch has few steps", ge=0)
    plateau_patience: int = shape(2, "epochs in a row without improvement before the learning rate falls", ge=0)
    plateau_factor: float = shape(0.5, "by which the learning rate is then multiplied", gt=0, le=1)
    workers: int = shape(
        1, "ranks of a worker group that share the months of every step: for a fit too long for one", ge=1
    )
    orthogonality: float = free(0.01, "a: weight of the mean squared cosine between factors", ge=0)
    instrumentation: float = free(0.01, "b: weight of the share of the loadings that instruments leave open", ge=0)
    learning_rate: float = free(1e-3, "AdamW's step size at the start", gt=0)
    weight_decay: float = free(1e-4, "decoupled weight decay", ge=0)
    dropout: float = free(0.1, "probability of dropping a channel of what a block adds", ge=0, lt=1)
    gradient_clip: float = free(1.0, "largest Euclidean norm of a member's gradient", gt=0)
    factor_forecast: Literal["mean", "ewma", "ar1", "attention"] = free(
        "mean",
        "the next factor from those realised so far: their mean, one of falling weights, an AR(1), or causal attention "
        "along them, trained on the months of training and kept where the last fifth of these favours it",
    )

    @property
    def ranks(self) -> int:
        """Processes that share the months of every step."""
        return self.workers

    def for_one_rank(self) -> Self:
        """Return the same point for one worker."""
        return self.model_copy(update={"workers": 1})

    @model_validator(mode="after")
    def _fit_together(self) -> NeurIFSettings:
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads; got {self.width} and {self.heads}")
        if self.factors > self.width:
            raise ValueError(f"factors must be at most width; got {self.factors} and {self.width}")
        return self


class NeurIF(Estimator):
    """Neural instrumented factorization.

    Z = F_init + PE(t), F' = (Z + CausalAttention(Z)) W_F; H = X W_in through L blocks of channel attention, attention
    across assets and feed-forward layers, Lambda_t = X_t Gamma + H W_out; y^_t = Lambda_t F'_t. Loss: share of the
    squared returns left open + a mean squared cosine of the factors + b ||Lambda - X Gamma||^2 / ||Lambda||^2.

    The returns of formation month t, over t+1..t+h, pair with row t of the factors. After the fit loadings are frozen,
    the factors of training are realised anew with them, and everything is rotated to IPCA's identification: F'_t of
    an unseen month was never trained, so forecasts rest on realised factors alone. The temporal attention above cannot
    forecast: the rows of F_init that it reads exist for months of training only; ``factor_forecast: attention`` trains
    another one on realised factors.

    Source: a review of "NeurIF: neural instrumented factorization" (CIKM 2025) names the parts, the loss's terms, the
    mask and the split; the formulas are our own.
    """

    name: ClassVar[str] = "neurif"
    version: ClassVar[int] = 4
    Settings: ClassVar[type[Hyperparameters]] = NeurIFSettings

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:
        """Refuse data without validation months, or with fewer instruments than factors.

        Raises
        ------
        InputError
            Naming what is missing and the remedy.
        """
        super().require(point, available)
        settings = checked(point, NeurIFSettings)
        if settings.workers not in (1, available.workers):
            raise InputError(
                f"neurif.workers is {settings.workers} and compute.workers gives groups of {available.workers}: set "
                f"compute.workers to {settings.workers}, or neurif.workers to 1"
            )
        instruments = available.characteristics + settings.constant
        if available.characteristics == 0 or settings.factors > instruments:
            raise InputError(
                f"neurif needs at least one characteristic and as many instruments as factors; got "
                f"{available.characteristics} characteristics and factors: {settings.factors}: lower factors, or name "
                "more in columns.characteristics"
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
        """Fit points of one shape; point k with seed k.

        Parameters
        ----------
        points : sequence of NeurIFSettings
            Equal in all shape hyperparameters.
        seeds : sequence of int
            Non-negative; decide initial weights and dropout.
        train, validation : Sample
            With a history. Assets without a known target are seen by the others' attention, and not by the loss.
        order_seed : int
            Decides which months make a step.
        device : str

        Returns
        -------
        list of Fit
            ``scores``, of the validation months: ``selection``, by which a fit stops too, the loss of what factors
            realised without an asset leave of its return over that of zero (the plain total fit improves with
            needless factors and with large loadings of volatile assets), and ``total_r2``, plain. ``weights``: those
            of the loadings, ``months``, ``factors`` (realised, in decimals), ``embedded_factors`` (F') and, with
            blocks, ``projection``, the coefficients of the loadings' regression on characteristics.

        Raises
        ------
        InputError
            If a sample has no history or no known target, or this process is not of a group of ``workers`` ranks.
        """
        from factor_ray.models.neurif_fit import fit_members

        require_known_targets(train, validation)
        settings = [checked(point, NeurIFSettings) for point in points]
        return fit_members(settings, seeds, train, validation, order_seed=order_seed, device=device)

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> LatentFitted:
        """Return one member, ready to forecast."""
        from factor_ray.models.neurif_fit import frozen_loadings
        from factor_ray.models.neurif_forecast import next_factor

        settings = checked(point, NeurIFSettings)
        gamma_IK = weights["loadings.gamma"]
        return LatentFitted(
            frozen_loadings(settings, weights),
            weights["months"],
            weights["factors"],
            weights["projection"] if settings.blocks else (gamma_IK[:-1] if settings.constant else gamma_IK).T,
            first=int(weights["first"][0]),
            expected=next_factor(weights) if settings.factor_forecast == "attention" else settings.factor_forecast,
        )
