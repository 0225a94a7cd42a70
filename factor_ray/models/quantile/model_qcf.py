"""QCF as a model of a run: month by month in step 1, window by window in steps 2 and 3, which cost next to nothing.

Axes: T month, N asset, P term of the sieve, R factor, D characteristic, J degree, W window.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import Sample
from factor_ray.errors import InputError, WorkError
from factor_ray.models.base import Available, Description, Hyperparameters, Prediction, Weights, checked, free, shape
from factor_ray.models.by_month import ByMonth, CrossSection, Floats, Span
from factor_ray.models.quantile.description import describe
from factor_ray.models.quantile.hermite import basis_size, hermite_basis
from factor_ray.models.quantile.qcf import QuantileFactors, window_models
from factor_ray.models.quantile.refitting import JudgedMonths
from factor_ray.models.quantile.single_index import Recovery
from factor_ray.models.quantile.small import ragged_quantile_regressions
from factor_ray.models.quantile.solver import quantile_regressions


class QCFMonthSettings(Hyperparameters):
    """What step 1 depends on."""

    tau: float = shape(0.5, "Level of the quantile, set by target.quantiles.", gt=0, lt=1)
    order: int = shape(3, "Terms of a loading function: 2 linear, 3 quadratic, 4 cubic.", ge=2, le=6)
    ridge: float = free(1e-3, "Penalty of the months' quantile regressions; 0 needs as many assets as terms.", ge=0)
    penalise_constant: bool = free(False, "Whether the ridge shrinks the constant as well.")


class QCFSettings(QCFMonthSettings):
    """Hyperparameters of QCF."""

    simpler_by: ClassVar[tuple[str, ...]] = ("factors", "order")

    factors: int = free(3, "Factors; the tuning of equation 10 is blind to too many: see search.tolerance.", ge=1)
    recovery: Recovery = free(
        "projection", "How an index is found: pure_powers is the paper's rule, which inflates loadings under noise."
    )


class QCF(ByMonth):
    """Single-index quantile factor model with observed characteristics.

    In a notebook ``estimate`` holds what a fit has found: factors, intermediate loading coefficients, indices and
    loading functions. A window's score is equation 10's: the mean pinball loss of the validation months with their
    factors refitted.
    """

    name: ClassVar[str] = "qcf"
    version: ClassVar[int] = 4
    Settings: ClassVar[type[Hyperparameters]] = QCFSettings
    MonthSettings: ClassVar[type[Hyperparameters]] = QCFMonthSettings
    forecasts: ClassVar[Literal["mean", "quantile"]] = "quantile"

    @property
    def estimate(self) -> QuantileFactors:
        """What the fit has found.

        Raises
        ------
        InputError
            If nothing was fitted.
        """
        if not self.fits:
            raise InputError("qcf: nothing was estimated yet: call fit first")
        return self.fitted(self.settings, self.fits[0].weights).model

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:
        """Refuse windows without validation months, and more factors than terms.

        Raises
        ------
        InputError
            Naming what is missing and the remedy.
        """
        super().require(point, available)
        settings = checked(point, QCFSettings)
        terms = basis_size(available.characteristics, settings.order)
        if settings.factors > terms:
            raise InputError(
                f"qcf: factors must be no more than the {terms} terms that {available.characteristics} characteristics "
                f"and order {settings.order} give; got {settings.factors}: lower factors, or raise order"
            )

    @classmethod
    def month_settings(cls, point: Hyperparameters) -> QCFMonthSettings:
        """Return tau, order, ridge and whether the constant is penalised."""
        settings = checked(point, QCFSettings)
        return QCFMonthSettings(**{name: getattr(settings, name) for name in QCFMonthSettings.model_fields})

    @classmethod
    def fit_month(cls, settings: Sequence[Hyperparameters], month: CrossSection) -> list[Floats]:
        """Step 1 of one month; ridges (and levels) of one sieve are solved side by side.

        Raises
        ------
        InputError
            If the ridge is 0 and the month has fewer assets than the sieve has terms.
        WorkError
            If the solver did not prove its optimum.
        """
        chosen = [checked(each, QCFMonthSettings) for each in settings]
        found: dict[QCFMonthSettings, Floats] = {}
        for order, constant in dict.fromkeys((each.order, each.penalise_constant) for each in chosen):
            alike = [each for each in chosen if (each.order, each.penalise_constant) == (order, constant)]
            phi_NP = hermite_basis(month.x_NP, order)
            if len(phi_NP) < phi_NP.shape[1] and any(each.ridge == 0.0 for each in alike):
                raise InputError(
                    f"qcf: {month.label} has {len(phi_NP)} assets with a target, fewer than the {phi_NP.shape[1]} "
                    f"terms of order {order}, which ridge 0 needs: set ridge above 0, lower order, or begin later"
                )
            taus, ridges = ({getattr(each, name): None for each in alike} for name in ("tau", "ridge"))
            unpenalised = () if constant else (0,)
            try:
                (fits,) = quantile_regressions([(phi_NP, month.y_N)], list(taus), list(ridges), unpenalised)
            except (InputError, WorkError) as error:
                raise type(error)(f"qcf: {month.label}, order {order}: {error}") from error
            found |= {each: fits[each.tau, each.ridge].coefficients for each in alike}
        return [found[each] for each in chosen]

    @classmethod
    def window_losses(
        cls,
        points: Sequence[Hyperparameters],
        coefficients: Mapping[Hyperparameters, Mapping[int, Floats]],
        months: Mapping[int, CrossSection],
        windows: Sequence[Span],
    ) -> Floats:
        """Equation 10: the mean over validation months of their mean pinball loss, factors refitted to each.

        Fewer factors are the first of more: one decomposition and one set of loadings serve all points of one sieve
        and ridge. These groups share nothing, and the processors.
        """
        chosen = [checked(point, QCFSettings) for point in points]
        _require_validation(windows, months)
        judged = [(w, at) for w, span in enumerate(windows) for at in span.validation]
        window_V = np.array([w for w, _ in judged])
        judging = JudgedMonths.of([(months[at].x_NP, months[at].y_N) for _, at in judged])
        groups: dict[tuple[QCFMonthSettings, Recovery], list[int]] = {}
        for k, point in enumerate(chosen):
            groups.setdefault((cls.month_settings(point), point.recovery), []).append(k)

        def losses_of(settings: QCFMonthSettings, alike: Sequence[QCFSettings]) -> dict[int, Floats]:
            """The months' losses by number of factors."""
            largest = max(alike, key=lambda point: point.factors)
            models = _models(largest, coefficients[settings], months, [span.train for span in windows])
            for _, at in judged:
                _require_assets(months[at], largest.factors)
            return judging.losses([models[w] for w, _ in judged], [point.factors for point in alike])

        losses = np.empty((len(chosen), len(windows)))
        with ThreadPoolExecutor(min(os.cpu_count() or 1, len(groups))) as pool:
            alike = [[chosen[k] for k in places] for places in groups.values()]
            found = pool.map(losses_of, [settings for settings, _ in groups], alike)
            for places, loss_of in zip(groups.values(), found, strict=True):
                for k in places:
                    losses[k] = np.bincount(window_V, loss_of[chosen[k].factors]) / np.bincount(window_V)
        return losses

    @classmethod
    def window_weights(
        cls,
        point: Hyperparameters,
        coefficients: Mapping[int, Floats],
        months: Mapping[int, CrossSection],
        windows: Sequence[Sequence[int]],
    ) -> list[Weights]:
        """Steps 2 and 3 on each window's months; the windows share the processors."""
        settings, slots = checked(point, QCFSettings), min(os.cpu_count() or 1, len(windows))
        shares = [windows[len(windows) * k // slots : len(windows) * (k + 1) // slots] for k in range(slots)]
        with ThreadPoolExecutor(slots) as pool:
            parts = list(pool.map(lambda share: _models(settings, coefficients, months, share), shares))
        models = [model for part in parts for model in part]
        return [
            {
                "factors": model.factors,
                "betas": model.betas,
                "thetas": model.thetas,
                "loading_coefficients": model.loading_coefficients,
                "months": np.asarray(listed, dtype=np.float64) - listed[0],
            }
            for model, listed in zip(models, windows, strict=True)
        ]

    @classmethod
    def describe_months(
        cls,
        point: Hyperparameters,
        coefficients: Mapping[int, Floats],
        months: Mapping[int, CrossSection],
    ) -> tuple[Description, dict[int, Floats]]:
        """Return factors, indices with standard errors and loading functions with bands, and in-sample quantiles."""
        settings, listed = checked(point, QCFSettings), list(months)
        (model,) = _models(settings, coefficients, months, [listed])
        samples = [(month.x_NP, month.y_N) for month in months.values()]
        description = describe(
            model,
            np.array(listed),
            samples,
            settings.ridge,
            rule=settings.recovery,
            penalise_constant=settings.penalise_constant,
            coefficients_TP=np.array([coefficients[at] for at in listed]),
        )
        fitted = {at: model.in_sample(months[at].x_NP, row) for row, at in enumerate(listed)}
        return description, fitted

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> FittedQCF:
        """Return what forecasts."""
        parts = (
            np.asarray(weights[n], dtype=np.float64) for n in ("factors", "betas", "thetas", "loading_coefficients")
        )
        return FittedQCF(QuantileFactors(checked(point, QCFSettings).tau, *parts), weights["months"].astype(np.int64))


@dataclass(frozen=True)
class FittedQCF:
    """QCF of one window; ``months`` of estimation are counted from its first."""

    model: QuantileFactors
    months: npt.NDArray[np.int64]

    def forecast(self, month: Sample) -> Prediction:
        """Forecast a month's quantiles: factors are expected at their mean over the window."""
        return Prediction(self.model.predictive(month.x_NP).astype(np.float32))

    def total(self, month: Sample) -> npt.NDArray[np.float32]:
        """Return the quantiles with factors fitted to the month's own targets; NaN where these are too few."""
        known_N = np.isfinite(month.y_N)
        g_NR = self.model.loadings(month.x_NP)
        if known_N.sum() < g_NR.shape[1]:
            return np.full(len(month), np.nan, dtype=np.float32)
        f_R = ragged_quantile_regressions([(g_NR[known_N], month.y_N[known_N])], self.model.tau).coefficients[0]
        return np.asarray(g_NR @ f_R, dtype=np.float32)

    def describe(self) -> Description:
        """Return factors and indices; standard errors need the months' data, which a run has."""
        return describe(self.model, self.months)


def _models(
    point: QCFSettings,
    coefficients: Mapping[int, Floats],
    months: Mapping[int, CrossSection],
    windows: Sequence[Sequence[int]],
) -> list[QuantileFactors]:
    """Steps 2 and 3 of all windows; each is what it gives alone."""
    for listed in windows:
        if len(listed) < point.factors:
            spanned = f"from {months[listed[0]].label} to {months[listed[-1]].label}" if len(listed) else "of a window"
            raise InputError(
                f"qcf: factors must be no more than the months of estimation; the {len(listed)} months {spanned} that "
                f"hold targets cannot give {point.factors}: lower factors, or take longer windows"
            )
    stops = np.cumsum([len(listed) for listed in windows])
    C_TP = np.array([coefficients[at] for listed in windows for at in listed])
    spans = [(int(stop) - len(listed), int(stop)) for stop, listed in zip(stops, windows, strict=True)]
    width = next(iter(months.values())).x_NP.shape[1]
    return window_models(C_TP, spans, point.tau, point.factors, width, point.order, point.recovery)


def _require_validation(windows: Sequence[Span], months: Mapping[int, CrossSection]) -> None:
    for span in windows:
        if not span.validation:
            trained = f" of the window trained up to {months[span.train[-1]].label}" if span.train else ""
            raise InputError(
                f"qcf: the validation months{trained} hold no known target return: move the windows to months whose "
                "returns over the horizon are in the data"
            )


def _require_assets(month: CrossSection, factors: int) -> None:
    if len(month.y_N) < factors:
        raise InputError(
            f"qcf: {month.label} has {len(month.y_N)} assets with a target, fewer than {factors} factors that are "
            f"fitted to it: lower factors, or begin later"
        )
