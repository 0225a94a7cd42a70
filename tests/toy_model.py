"""A model for tests: ridge regressions with a little noise from their seed, fitted in no time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import Sample
from factor_ray.models.base import Available, Fit, Hyperparameters, Prediction, RowWise, Weights, free, shape


class ToySettings(Hyperparameters):
    """Hyperparameters of the toy."""

    width: int = shape(1, "has no effect but that of a shape", ge=1)
    penalty: float = free(1.0, "ridge", ge=0)
    learns: Literal["both", "returns", "consensus"] = free("both", "what is forecast")
    fails: bool = free(False, "diverge")


class Toy:
    """Ridge regression of returns and consensus."""

    name: ClassVar[str] = "toy"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = ToySettings
    forecasts: ClassVar[Literal["mean", "quantile"]] = "mean"
    packs: ClassVar[list[int]] = []
    """Sizes of the packs that were fitted; the fixture empties it."""

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:
        """Fit on anything."""

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
        """Fit every point by itself."""
        assert device == "cpu"
        cls.packs.append(len(points))
        assert len({point.width for point in points if isinstance(point, ToySettings)}) == 1
        return [_fit(point, seed, order_seed, train, validation) for point, seed in zip(points, seeds, strict=True)]

    @classmethod
    def forecast(cls, point: Hyperparameters, weights: Weights, sample: Sample) -> Prediction:
        """Forecast what the point has learned."""
        assert isinstance(point, ToySettings)
        returns = _inputs(sample) @ weights["returns"]
        consensus = _inputs(sample) @ weights["consensus"]
        return Prediction(
            None if point.learns == "consensus" else returns, None if point.learns == "returns" else consensus
        )

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> RowWise:
        """Return what forecasts."""
        return RowWise(lambda month: cls.forecast(point, weights, month))

    @classmethod
    def coefficients(cls, weights: Weights) -> npt.NDArray[np.float32] | None:
        """Return something of the right shape."""
        return np.asarray(weights["consensus"][0], dtype=np.float32)


def _inputs(sample: Sample) -> npt.NDArray[np.float32]:
    return np.concatenate([sample.x_NP, sample.z_Td[sample.month_N]], axis=1)


def _fit(point: Hyperparameters, seed: int, order_seed: int, train: Sample, validation: Sample) -> Fit:
    assert isinstance(point, ToySettings)
    if point.fails:
        return Fit({}, {"selection": math.inf}, status="diverged")
    noise = np.random.default_rng([seed, order_seed]).normal(0, 1e-3, train.x_NP.shape[1] + train.z_Td.shape[1])
    targets = np.concatenate([train.y_N[:, None], train.c_NC], axis=1)
    inputs = _inputs(train).astype(np.float64)
    inverse = np.linalg.inv(inputs.T @ inputs + (point.penalty + 1e-6) * np.eye(inputs.shape[1]))
    found = inverse @ inputs.T @ np.nan_to_num(targets) + noise[:, None]
    weights = {"returns": found[:, 0].astype(np.float32), "consensus": found[:, 1:].astype(np.float32)}
    known = ~np.isnan(validation.y_N)
    errors = (_inputs(validation) @ weights["returns"] - validation.y_N)[known]
    score = float(np.mean(errors.astype(np.float64) ** 2) / np.mean(validation.y_N[known].astype(np.float64) ** 2))
    return Fit(weights, {"selection": score}, {"train_loss": [2.0, 1.0]}, seconds=0.1)
