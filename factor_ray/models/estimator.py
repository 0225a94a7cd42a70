"""Models in a notebook: what a worker does to a window, on a panel at hand and without Ray."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from factor_ray.data.months import month_ends
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare, rows_kept
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.sample import WindowView, asset_numbers, observed_factors_of
from factor_ray.data.targets import excess_returns, own_excess_returns
from factor_ray.data.windows import MonthRange, Window
from factor_ray.errors import InputError
from factor_ray.models.base import Available, Fit, Hyperparameters, Model, Prediction, Weights
from factor_ray.models.ensemble import FittedMember, ensemble_forecast, ensemble_total
from factor_ray.models.macro_state import MacroState, MacroStateSettings, fit_macro_states
from factor_ray.models.seeds import fit_seed, macro_state_seed

FloatArray = npt.NDArray[np.float32]


class Estimator:
    """Fits an ensemble of one point on one window, to the bit as a run does.

    The base of every model of ours: it says what most models have not, and what notebooks use.

    Parameters
    ----------
    horizon : int
        Months ahead that are forecast.
    members : int
        Size of the ensemble.
    macro_state : MacroStateSettings, optional
        How the panel's macro series become inputs; none by default.
    preprocess : Preprocess, optional
        How panels are prepared that come as they are; the default settings where it is left out. A universe belongs
        here, because targets count the returns of firms after they have left it.
    seed : int
        Seed of initial weights, dropout and mini-batches.
    **hyperparameters
        The model's own; see its ``Settings``.

    Raises
    ------
    InputError
        If a hyperparameter is unknown or out of range.
    """

    name: ClassVar[str]
    forecasts: ClassVar[Literal["mean", "quantile"]] = "mean"

    def __init__(
        self,
        *,
        horizon: int = 1,
        members: int = 1,
        macro_state: MacroStateSettings | None = None,
        preprocess: Preprocess | None = None,
        seed: int = 0,
        **hyperparameters: Any,
    ) -> None:
        self.horizon, self.members, self.seed = horizon, members, seed
        self.macro_state, self.preprocess = macro_state, preprocess
        self.hyperparameters = hyperparameters
        self.settings = _settings(self._model(), hyperparameters)
        self.fits: list[Fit] = []

    def fit(self, panel: Panel, window: Window) -> Self:
        """Fit the members on the window's training months, stopping by its validation months.

        Parameters
        ----------
        panel : Panel
            As it came: it is prepared here, and targets count the returns of rows that preparation leaves out. Or
            prepared already, but not with a universe.
        window : Window
            From :meth:`factor_ray.data.Windows.split` at this horizon, which keeps the embargo; one whose embargo is
            shorter than the horizon asks is warned of.

        Raises
        ------
        InputError
            If the window has no validation months, or no target to learn from; if the panel was prepared with a
            universe, or was prepared where the model has a ``preprocess`` of its own.
        """
        if window.validation is None:
            raise InputError("a fit needs validation months to stop by; make windows with validation of at least 1")
        _warn_of_reach(window.train, window.validation, window.test, self.horizon)
        ready = self._prepared(panel)
        self.window = window
        self._names = ready.characteristic_names, ready.consensus_names
        self._state = self._fit_macro_state(ready, window)
        model, view = self._model(), self._view(panel, ready, window.train[0])
        self.fits = model.fit_pack(
            [self.settings] * self.members,
            [fit_seed(self.seed, model.name, window, member) for member in range(self.members)],
            view.train(window),
            view.validation(window),
            order_seed=fit_seed(self.seed, model.name, window, None),
        )
        return self

    def predict(
        self, panel: Panel, months: MonthRange | None = None, *, kind: Literal["predictive", "total"] = "predictive"
    ) -> pd.DataFrame:
        """Forecast months of a panel, by default the window's test months.

        Parameters
        ----------
        panel : Panel
            As at `fit`. Its variables are found by name: they may stand in another order, among others.
        months : (int, int), optional
            First and last month, both included.
        kind : "predictive" or "total"
            A true forecast; or a fit to the months, no forecast, of a factor model whose factors are realised with the
            months' own targets.

        Returns
        -------
        DataFrame
            ``month``, ``asset``, ``horizon``, ``prediction`` (decimals), ``realized`` (NaN where not yet known) and,
            for models with a bottleneck, one column per consensus variable, named as in the panel.

        Raises
        ------
        InputError
            If the model was not fitted, or every member diverged; if the panel lacks a characteristic or consensus
            variable that the model was fitted on, or was prepared as `fit` refuses it; if a total is asked of a model
            without factors.
        """
        sound = [fit for fit in self.fits if fit.status == "ok"]
        if not sound:
            raise InputError("nothing to predict with: call fit first (and lower learning_rate if members diverged)")
        first, last = self.window.test if months is None else months
        characteristics, consensus = self._names
        ready = _with_variables(self._prepared(panel), characteristics, consensus)
        view, rows = self._view(panel, ready, self.window.train[0]), ready.rows(first, last)
        members = [FittedMember(self.settings, fit.weights) for fit in sound]
        if kind == "total":
            mean = Prediction(ensemble_total(self._model(), members, view.realised_months((first, last))))
            if mean.returns is None:
                raise InputError(f"{self.name} has no factors that months' targets could tell: ask for kind predictive")
        else:
            mean = ensemble_forecast(self._model(), members, view.forecast_months((first, last)))
        frame = pd.DataFrame(
            {
                "month": month_ends(ready.row_months[rows]),
                "asset": ready.assets[rows],
                "horizon": self.horizon,
                "prediction": np.nan if mean.returns is None else mean.returns,
                "realized": view.target_N[rows],
            }
        )
        if mean.consensus is not None:
            for position, name in enumerate(consensus):
                frame[name] = mean.consensus[:, position]
        return frame

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:  # noqa: ARG003
        """Refuse windows without validation months; models add what else they need.

        Raises
        ------
        InputError
            Naming what is missing and the remedy.
        """
        if available.validation == 0:
            raise InputError(
                f"windows.validation must be at least 1 for {cls.name}, whose fits are scored on these months; got 0: "
                "give it months"
            )

    @classmethod
    def coefficients(cls, weights: Weights) -> FloatArray | None:  # noqa: ARG003
        """Return nothing: a model without a linear prediction layer on the consensus."""
        return None

    def _model(self) -> type[Model]:
        family: Any = type(self)
        return family  # type: ignore[no-any-return]

    def _prepared(self, panel: Panel) -> Panel:
        if panel.prepared is None:
            return prepare(panel, self.preprocess)
        if self.preprocess is not None:
            raise InputError(
                "preprocess is how the model prepares a panel that comes as it is, and this one is prepared already: "
                "give the panel as it came, or leave preprocess out"
            )
        if panel.prepared.get("universe") is not None:
            raise InputError(
                "a panel that was prepared with a universe no longer holds what firms earned after they had left it, "
                "which targets count: give the panel as it came, and the model preprocess=Preprocess(universe=...)"
            )
        return panel

    def _fit_macro_state(self, panel: Panel, window: Window) -> MacroState | None:
        if self.macro_state is None:
            return None
        if panel.macro is None:
            raise InputError("macro_state is given and the panel has no macro series: give the panel macro=...")
        spans = (window.train, window.validation or (0, -1))
        rows = [np.arange(low, high + 1) - int(panel.months[0]) for low, high in spans]
        seed = macro_state_seed(self.seed, window)
        return fit_macro_states(self.macro_state, panel.macro.values, [(rows[0], rows[1])], seeds=[seed])[0]

    def _view(self, panel: Panel, ready: Panel, first: int) -> WindowView:
        nothing = np.zeros((len(ready.months), 0), dtype=np.float32)
        has_state = self._state is not None and ready.macro is not None
        return WindowView(
            panel=ready,
            horizon=self.horizon,
            target_N=excess_returns(panel, self.horizon)[rows_kept(panel, ready)],
            excess_N=own_excess_returns(ready),
            asset_N=asset_numbers(ready),
            state_Td=self._state.transform(ready.macro.values) if has_state else nothing,  # type: ignore[union-attr]
            factors_TF=observed_factors_of(ready),
            first=first,
        )


def _settings(model: type[Model], hyperparameters: dict[str, Any]) -> Hyperparameters:
    try:
        return model.Settings(**hyperparameters)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(model.Settings.model_fields)
        name = ".".join(map(str, first["loc"]))
        raise InputError(f"{model.name}: {name}: {first['msg']}; got {first['input']!r} (it has {known})") from error


def _warn_of_reach(train: MonthRange, validation: MonthRange, test: MonthRange, horizon: int) -> None:
    """Warn of targets that reach past the formation of the next set's first month."""
    embargo = min(validation[0] - train[1], test[0] - validation[1]) - 1
    if embargo < horizon - 1:
        warnings.warn(
            f"targets of horizon {horizon} reach into the months that follow training or validation, since this "
            f"window's embargo is {embargo} and not {horizon - 1} months: make windows with split(months, "
            f"horizon={horizon})",
            stacklevel=3,
        )


def _with_variables(panel: Panel, characteristics: Sequence[str], consensus: Sequence[str]) -> Panel:
    """Choose a fit's characteristics, in their order; of consensus variables, which no forecast reads, all are left."""
    for kind, wanted, found in (
        ("characteristics", characteristics, panel.characteristic_names),
        ("consensus variables", consensus, panel.consensus_names),
    ):
        if missing := [name for name in wanted if name not in found]:
            raise InputError(
                f"the panel must have the {kind} that the model was fitted on; it lacks {', '.join(missing)}: give a "
                "panel with them, or fit again"
            )
    if panel.characteristic_names == tuple(characteristics):
        return panel
    at_P = [panel.characteristic_names.index(name) for name in characteristics]
    return panel.kept(
        np.arange(len(panel)),
        (int(panel.months[0]), int(panel.months[-1])),
        characteristics,
        characteristics=panel.characteristics[:, at_P],
        consensus=panel.consensus,
    )
