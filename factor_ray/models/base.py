"""What every model says of itself, and what the runner may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from factor_ray.data.sample import Sample
from factor_ray.errors import InputError

Weights = Mapping[str, npt.NDArray[np.floating[Any]]]


class Hyperparameters(BaseModel):
    """A model's hyperparameters, stated once: validation, search space, docs and cell names come from here.

    Fields are declared with :func:`shape` or :func:`free`. Two points that differ only in free
    hyperparameters have the same tensors and can be fitted as one stack.
    """

    # Defaults are validated, so that a default 1 and a written 1.0 are one point and name one cell.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    simpler_by: ClassVar[tuple[str, ...]] = ()
    """Whole-numbered hyperparameters of which fewer make a simpler model, first things first; see search.tolerance."""

    @property
    def ranks(self) -> int:
        """Processes of a worker group that fit one member together; one each, but for models that say otherwise."""
        return 1

    def for_one_rank(self) -> Self:
        """Return the same point, its members fitted by one process each: for a probe or a proof outside the group."""
        return self

    @classmethod
    def shape_names(cls) -> tuple[str, ...]:
        """Names of the hyperparameters that decide the tensors' shapes or the schedule."""
        return tuple(name for name in cls.model_fields if cls._kind(name) == "shape")

    @classmethod
    def free_names(cls) -> tuple[str, ...]:
        """Names of the hyperparameters that may differ inside a stack."""
        return tuple(name for name in cls.model_fields if cls._kind(name) == "free")

    @classmethod
    def _kind(cls, name: str) -> str:
        extra = cls.model_fields[name].json_schema_extra
        if not isinstance(extra, dict) or extra.get("kind") not in ("shape", "free"):
            raise TypeError(f"{cls.__name__}.{name} must be declared with shape(...) or free(...)")
        return str(extra["kind"])


def shape(default: Any, description: str, **constraints: Any) -> Any:
    """Declare a hyperparameter on which tensors' shapes or the schedule depend."""
    return Field(default, description=description, json_schema_extra={"kind": "shape"}, **constraints)


def free(default: Any, description: str, **constraints: Any) -> Any:
    """Declare a hyperparameter that may differ between the members of one stack."""
    return Field(default, description=description, json_schema_extra={"kind": "free"}, **constraints)


SettingsT = TypeVar("SettingsT", bound=Hyperparameters)


def checked(point: Hyperparameters, kind: type[SettingsT]) -> SettingsT:
    """Return a point as what the model that asks has declared as its ``Settings``.

    Raises
    ------
    TypeError
        If it is another model's.
    """
    if not isinstance(point, kind):
        raise TypeError(f"a point must be a {kind.__name__}; got a {type(point).__name__}: pass the model's Settings")
    return point


def require_known_targets(train: Sample, validation: Sample) -> None:
    """Refuse a fit that has nothing to learn from, or nothing to be judged by.

    Raises
    ------
    InputError
        Naming which months.
    """
    for sample, what in ((train, "training"), (validation, "validation")):
        if not np.isfinite(sample.y_N).any():
            raise InputError(
                f"the {what} months hold no known target return among their {len(sample)} rows: move the windows to "
                "months whose returns over the horizon are in the data"
            )


def require_observed_factors(name: str, available: Available) -> None:
    """Refuse data without observed factors for a model that needs them.

    Raises
    ------
    InputError
        Naming the model and the key.
    """
    if available.factors == 0:
        raise InputError(
            f"{name} needs observed factors, and the data have none: name their files in data.factors, as in "
            "[{path: factors.csv, columns: {Mkt-RF: percent, SMB: percent}}], or leave the model out"
        )


@dataclass(frozen=True)
class Fit:
    """One member, fitted.

    Attributes
    ----------
    weights : mapping of name to float array
        All that a prediction needs (scales included), of the epoch with the best validation score; kept row by row,
        as they are stored, since products round by the order of their operands in memory.
    scores : mapping of name to float
        On the validation rows. ``selection`` is what points are compared by: lower is better, comparable between
        windows, +inf for a diverged fit. Others are the model's own.
    history : mapping of name to list of float
        One value an epoch (``train_loss``, ``validation_loss``, ``learning_rate``, ...).
    status : "ok" or "diverged"
    seconds : float
        This member's share of the stack's wall time.
    """

    weights: Weights
    scores: Mapping[str, float]
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)
    status: Literal["ok", "diverged"] = "ok"
    seconds: float = 0.0

    def __post_init__(self) -> None:
        ordered = {name: np.asarray(weight, order="C") for name, weight in self.weights.items()}
        object.__setattr__(self, "weights", ordered)


@dataclass(frozen=True)
class Prediction:
    """Forecasts of one member for the rows of a sample: ``returns`` (N,) and ``consensus`` (N, C), or None.

    ``returns`` is the mean of the return, or a quantile model's quantile of it at the point's ``tau``; NaN for assets
    of which the model knows nothing.
    """

    returns: npt.NDArray[np.float32] | None
    consensus: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Available:
    """What the data and the windows of an experiment offer a fit.

    Attributes
    ----------
    characteristics, consensus, factors : int
        Number of characteristics, consensus variables and observed factors.
    validation : int
        Number of validation months of every window.
    workers : int
        Processes of a worker group.
    """

    characteristics: int
    consensus: int
    factors: int
    validation: int
    workers: int = 1


@dataclass(frozen=True)
class Description:
    """What a factor model of one window is made of: what a report shows of it.

    Attributes
    ----------
    months : int array (T,)
        The months that ``factors`` are of, counted as in the samples (the formation months of the returns).
    factors : float array (T, K)
        Estimated or realised factors, identified; in decimals where they are returns.
    loadings : float array (K, P)
        Each factor's coefficients on the characteristics: Gamma of an instrumented model, theta of an index model.
    standard_errors : float array (K, P) or None
        Of ``loadings``.
    curves : tuple of float arrays, one for each factor, or None
        Loading functions: columns index, value, and where they are known lower and upper end of a 95% band.
    bootstrap_errors : float array (K, P) or None
        Standard errors of ``loadings`` by another way: months drawn with replacement.
    joint_p : float array (P,) or None
        P-values of a characteristic's coefficients on all factors being zero.
    separation : float array (K,) or None
        How far each factor's strength is from the nearest other one's, in standard errors; infinite for one factor.
    sieve, sieve_of_index : float arrays (K, S) or None
        Of an index model: each factor's coefficients on all terms of the sieve, and what of them its index explains.
    """

    months: npt.NDArray[np.int64]
    factors: npt.NDArray[np.float64]
    loadings: npt.NDArray[np.float64]
    standard_errors: npt.NDArray[np.float64] | None = None
    curves: Sequence[npt.NDArray[np.float64]] | None = None
    bootstrap_errors: npt.NDArray[np.float64] | None = None
    joint_p: npt.NDArray[np.float64] | None = None
    separation: npt.NDArray[np.float64] | None = None
    sieve: npt.NDArray[np.float64] | None = None
    sieve_of_index: npt.NDArray[np.float64] | None = None


class Fitted(Protocol):
    """One fitted member, asked month after month in order of time; what it remembers of a month changes no result."""

    def forecast(self, month: Sample) -> Prediction:
        """Forecast the rows of one month as known at its end: no target is there that is not known then."""
        ...

    def total(self, month: Sample) -> npt.NDArray[np.float32] | None:
        """Return what the model makes of a month whose targets are there, (N,): a fit, never a forecast.

        Loadings are those of the forecast; factors are realised with the month's own targets, and NaN is returned where
        these are too few. None for a model without such factors.
        """
        ...

    def describe(self) -> Description | None:
        """Return what the model is made of; None for one without factors."""
        ...


@runtime_checkable
class FittedLoadings(Fitted, Protocol):
    """A fitted member that can say how a month's assets load on its factors; one that cannot is a plain `Fitted`."""

    def loadings(self, month: Sample) -> npt.NDArray[np.float32]:
        """Return the loadings (N, K) of the rows of one month as known at its end, factors as in ``describe()``."""
        ...


@dataclass(frozen=True)
class RowWise:
    """A fitted member that needs a month's rows alone and has no factors to realise."""

    predict: Callable[[Sample], Prediction]

    def forecast(self, month: Sample) -> Prediction:
        """Forecast the rows."""
        return self.predict(month)

    def total(self, month: Sample) -> None:
        """Return nothing."""

    def describe(self) -> None:
        """Return nothing."""


class Model(Protocol):
    """A family of models, as the runner sees it. Stateless: weights go in and out."""

    name: ClassVar[str]
    version: ClassVar[int]
    """Part of every cell's name: raise it when the same inputs would give other weights."""
    Settings: ClassVar[type[Hyperparameters]]
    """Those of a quantile model have a shape hyperparameter ``tau``, which the runner sets to each of the levels."""
    forecasts: ClassVar[Literal["mean", "quantile"]]

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:
        """Refuse data on which a point cannot be fitted, before anything is.

        Parameters
        ----------
        point : Hyperparameters
        available : Available

        Raises
        ------
        InputError
            Naming what is missing and the remedy.
        """
        ...

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
        """Fit points of one shape as one stack; point k with seed k. Results do not depend on the companions.

        ``order_seed`` decides the order of the mini-batches, which the members of a window share.
        """
        ...

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> Fitted:
        """Return one member, ready to forecast month after month."""
        ...

    @classmethod
    def coefficients(cls, weights: Weights) -> npt.NDArray[np.float32] | None:
        """Return the coefficients (C,) of a linear prediction layer on the consensus; None for a model without one."""
        ...
