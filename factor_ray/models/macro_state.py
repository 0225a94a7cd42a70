"""The macro state: what a month's macroeconomic series say, in a few numbers.

Every window has its own state, fitted on its training months; the state of month t is made from data dated t or before.

Axes: T months, D series, K series kept, d states, H hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from scipy.special import erf

from factor_ray.errors import InputError

Arrays = Mapping[str, npt.NDArray[Any]]
FloatArray = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Window = tuple[Rows, Rows]
"""Rows of the macro table that are a window's training and its validation months."""

_NEGLIGIBLE = 1e-9


class MacroStateSettings(BaseModel):
    """How macroeconomic series become the state that a model sees beside characteristics.

    All fields below ``dimension`` concern the autoencoder; their defaults are the paper's (Table B.1 of CB-APM).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["autoencoder", "pca", "raw", "none"] = Field(
        "autoencoder", description="autoencoder, principal components, the scaled series themselves, or no state at all"
    )
    dimension: PositiveInt = Field(32, description="number of states of the autoencoder or of principal components")
    hidden: tuple[PositiveInt, ...] = Field((128, 64), description="units of the encoder's hidden layers", min_length=1)
    learning_rate: float = Field(5e-5, description="Adam's step size", gt=0)
    weight_decay: float = Field(0.0, description="L2 penalty in Adam", ge=0)
    dropout: float = Field(0.2, description="probability of dropping a hidden unit", ge=0, lt=1)
    patience: PositiveInt = Field(
        2500, description="epochs in a row without a new best validation loss before training stops"
    )
    epochs: PositiveInt = Field(
        10000, description="largest number of epochs; the patience of the paper means thousands"
    )


@dataclass(frozen=True)
class MacroState:
    """A fitted map from macroeconomic series to states.

    A series is scaled to [-1, 1] by its extremes in the training months (later values may lie outside); a missing value
    is the series' last known one, before the first its training mean. Series without a value in the training months, or
    constant there, are dropped. States of the autoencoder and principal components are standardised by their means and
    deviations over the training months, so that a network sees inputs of order one.

    Attributes
    ----------
    settings : MacroStateSettings
    weights : mapping of name to array
        All that the map needs; `from_weights` rebuilds it.
    history : mapping of name to list of float
        One value an epoch of the autoencoder's training.
    """

    settings: MacroStateSettings
    weights: Arrays
    history: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @classmethod
    def from_weights(cls, settings: MacroStateSettings, weights: Arrays) -> MacroState:
        """Rebuild a state from stored weights."""
        return cls(settings, dict(weights))

    @property
    def dropped(self) -> list[int]:
        """Column numbers of the series that the training months could not scale."""
        return [int(column) for column in np.flatnonzero(self.weights["kept"] == 0)]

    def transform(self, macro_TD: npt.NDArray[np.floating]) -> FloatArray:
        """Return the state of every month: float32 (T, d).

        Parameters
        ----------
        macro_TD : float array (T, D)
            The series, months in order from the first on, NaN where missing. The state of a month depends on
            that month's and earlier rows only, to the bit.

        Raises
        ------
        InputError
            If the number of series is not that of the fit.
        """
        if self.settings.kind == "none":
            return np.zeros((len(macro_TD), 0), np.float32)
        x_TK = scale(self.weights, macro_TD)[:, self.weights["kept"] != 0]
        if self.settings.kind == "raw":
            return x_TK.astype(np.float32)
        if self.settings.kind == "pca":
            state_Td = _by_row(x_TK - self.weights["center"], self.weights["loadings"])
        else:
            state_Td = encode(self.weights, x_TK)
        return np.asarray((state_Td - self.weights["state_mean"]) / self.weights["state_deviation"], np.float32)


def fit_macro_states(
    settings: MacroStateSettings,
    macro_TD: npt.NDArray[np.floating],
    windows: Sequence[Window],
    *,
    seeds: Sequence[int],
    device: str = "cpu",
) -> list[MacroState]:
    """Fit the macro state of every window of a run; autoencoders are trained together, as one stack.

    Parameters
    ----------
    settings : MacroStateSettings
    macro_TD : float array (T, D)
        The series, months in order, NaN where missing; never written to.
    windows : sequence of (int64 array, int64 array)
        Rows of a window's training months and of its validation months.
    seeds : sequence of int
        One a window: the autoencoder's initial weights, order of months and dropout.
    device : str
        Where autoencoders are trained. On "cpu" a window's state is the same bits whatever the other windows.

    Raises
    ------
    InputError
        If a window leaves too few series or months, or an autoencoder has no validation months or diverges.

    Notes
    -----
    Source: CB-APM, section 4.2 and Table B.1.
    """
    if settings.kind == "none":
        return [MacroState(settings, {}) for _ in windows]
    scalings = [_fit_scaling(macro_TD, train) for train, _ in windows]
    if settings.kind == "raw":
        return [MacroState(settings, scaling) for scaling in scalings]
    if settings.kind == "pca":
        return [
            MacroState(settings, {**scaling, **_fit_components(scale(scaling, macro_TD)[train], scaling, settings)})
            for scaling, (train, _) in zip(scalings, windows, strict=True)
        ]
    from factor_ray.models.macro_autoencoder import train_autoencoders

    inputs = [scale(scaling, macro_TD).astype(np.float32) for scaling in scalings]
    kept = [scaling["kept"] != 0 for scaling in scalings]
    states = []
    trained = train_autoencoders(settings, inputs, kept, windows, seeds, device=device)
    for (encoder, history), scaling, x_TD, (train, _) in zip(trained, scalings, inputs, windows, strict=True):
        state_Td = encode(encoder, x_TD[train][:, scaling["kept"] != 0])
        states.append(MacroState(settings, {**scaling, **encoder, **_standardisation(state_Td)}, history))
    return states


def scale(scaling: Arrays, macro_TD: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Carry values forward and scale them by a window's training extremes: (T, D), zero for dropped series."""
    if macro_TD.shape[1] != len(scaling["kept"]):
        raise InputError(
            f"macro series: the state was fitted on {len(scaling['kept'])} series, got {macro_TD.shape[1]}: "
            "transform the table that it was fitted on, with months appended"
        )
    filled_TD = _carry_forward(np.asarray(macro_TD, np.float64), scaling["mean"])
    low_D, high_D = scaling["low"], scaling["high"]
    return np.asarray(np.where(scaling["kept"] != 0, 2 * (filled_TD - low_D) / (high_D - low_D) - 1, 0.0))


def encode(weights: Arrays, x_TK: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return the autoencoder's code of scaled series: (T, d)."""
    h_TH, layer = np.asarray(x_TK, np.float64), 0
    while f"encoder{layer}.weight" in weights:
        if layer > 0:
            h_TH = 0.5 * h_TH * (1 + erf(h_TH / np.sqrt(2.0)))
        h_TH = _by_row(h_TH, weights[f"encoder{layer}.weight"]) + weights[f"encoder{layer}.bias"]
        layer += 1
    return h_TH


def _fit_scaling(macro_TD: npt.NDArray[np.floating], train: Rows) -> dict[str, npt.NDArray[Any]]:
    """Extremes and mean of each series over the training months, and which series they can scale."""
    train_TD = np.asarray(macro_TD[train], np.float64)
    known_TD = np.isfinite(train_TD)
    count_D = known_TD.sum(0)
    low_D = np.where(known_TD, train_TD, np.inf).min(0, initial=np.inf)
    high_D = np.where(known_TD, train_TD, -np.inf).max(0, initial=-np.inf)
    kept_D = (count_D > 0) & (high_D > low_D)
    if not kept_D.any():
        raise InputError(
            f"macro series: none of the {macro_TD.shape[1]} series varies over the {len(train)} training months of a "
            "window: lengthen the window, name other series, or set macro_state.kind to none"
        )
    mean_D = np.where(known_TD, train_TD, 0.0).sum(0) / np.maximum(count_D, 1)
    return {
        "kept": kept_D.astype(np.uint8),
        "low": np.where(kept_D, low_D, 0.0),
        "high": np.where(kept_D, high_D, 1.0),
        "mean": mean_D,
    }


def _carry_forward(macro_TD: npt.NDArray[np.float64], mean_D: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    known_TD = np.isfinite(macro_TD)
    last_TD = np.maximum.accumulate(np.where(known_TD, np.arange(len(macro_TD))[:, None], -1), axis=0)
    filled_TD = np.take_along_axis(macro_TD, np.maximum(last_TD, 0), axis=0)
    return np.where(last_TD >= 0, filled_TD, mean_D)


def _fit_components(
    x_TD: npt.NDArray[np.float64], scaling: Arrays, settings: MacroStateSettings
) -> dict[str, npt.NDArray[Any]]:
    """Principal components of the scaled training months; each one's largest loading is positive."""
    x_TK = x_TD[:, scaling["kept"] != 0]
    most = min(len(x_TK) - 1, x_TK.shape[1])
    if settings.dimension > most:
        raise InputError(
            f"macro_state.dimension must be at most {most} for {len(x_TK)} training months and {x_TK.shape[1]} series; "
            f"got {settings.dimension}: lower it or lengthen the first window"
        )
    center_K = x_TK.mean(0)
    loadings_Kd = np.linalg.svd(x_TK - center_K, full_matrices=False)[2][: settings.dimension].T
    largest_d = np.abs(loadings_Kd).argmax(0)
    loadings_Kd = loadings_Kd * np.sign(loadings_Kd[largest_d, np.arange(settings.dimension)])
    states = _standardisation((x_TK - center_K) @ loadings_Kd)
    return {"center": center_K, "loadings": np.ascontiguousarray(loadings_Kd), **states}


def _standardisation(state_Td: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[Any]]:
    deviation_d = state_Td.std(0)
    return {"state_mean": state_Td.mean(0), "state_deviation": np.where(deviation_d > _NEGLIGIBLE, deviation_d, 1.0)}


def _by_row(x_TK: npt.NDArray[np.float64], weight_KH: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Matrix product row by row: a month's bits do not depend on how many months follow."""
    weight = np.asarray(weight_KH, np.float64)
    return np.stack([row_K @ weight for row_K in x_TK]) if len(x_TK) else np.zeros((0, weight.shape[1]))
