"""The run's tables: forecasts, consensus, coefficients and trials, built piece by piece so that memory stays small."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from factor_ray.data.months import month_ends
from factor_ray.data.panel import Panel
from factor_ray.models.base import Fit
from factor_ray.models.ensemble import ensemble_forecast, ensemble_total
from factor_ray.models.registry import model, one_member
from factor_ray.runner.campaign import Campaign, Quest
from factor_ray.runner.cells import CellStore
from factor_ray.runner.forecasting import Member, fitted_members, greedy_weights, read_fits
from factor_ray.runner.inputs import Inputs
from factor_ray.runner.search import Point, Selection
from factor_ray.runner.settings import EnsembleSettings

FloatArray = npt.NDArray[np.float32]

PREDICTIVE, TOTAL = "predictive", "total"
_GREEDY_PICKS = 20
_FIT = ["model", "horizon", "tau", "window", "point", "member", "hyperparameters"]
_OUTCOME = ["validation_score", "train_loss", "epochs", "status", "selected", "seconds", "cell"]


@dataclass(frozen=True)
class Forecast:
    """One model (or variant) at one horizon: the windows' test months laid end to end.

    Attributes
    ----------
    model : str
        Label, as in ``cbapm[consensus_weight=0.3]``.
    horizon : int
    rows : int array (n,)
        Rows of the panel, in order.
    returns : float32 array (n,) or None
        Forecasts of the mean return, or of its quantile.
    consensus : float32 array (n, C) or None
    tau : float or None
        Level of a quantile; None for a forecast of the mean.
    kind : str
        What ``returns`` are: predictive unless they were fitted to the months that they are of.
    total : float32 array (n,) or None
        What a factor model makes of the test months once their returns are known: a fit, no forecast.
    coefficients : sequence of float64 array (C,)
        The prediction layer's coefficients in each window, mean over members; empty where there are none.
    """

    model: str
    horizon: int
    rows: npt.NDArray[np.int64]
    returns: FloatArray | None
    consensus: FloatArray | None = None
    tau: float | None = None
    total: FloatArray | None = None
    coefficients: Sequence[npt.NDArray[np.float64]] = ()
    kind: str = PREDICTIVE


def forecasts_of(quest: Quest, inputs: Inputs, store: CellStore, ensemble: EnsembleSettings) -> Iterator[Forecast]:
    """Yield the forecasts of a finished search: one per variant, and that of the variants selected window by window."""
    selection = quest.selection
    assert selection is not None
    wanted: dict[str, list[str]] = {variant: [variant] * len(quest.windows) for variant in selection.points}
    if quest.model not in wanted:
        wanted = {quest.model: selection.best, **wanted}
    for label, variants in wanted.items():
        parts, totals, rows, coefficients = [], [], [], []
        for window, variant in enumerate(variants):
            members = ensemble_of(quest, window, variant, inputs, store, ensemble)
            fits = read_fits(store, members)
            family, fitted = model(quest.model), fitted_members(quest.model, members, fits)
            view, test = inputs.view(quest.horizon, window), quest.windows[window].test
            parts.append(ensemble_forecast(family, fitted, view.forecast_months(test)))
            totals.append(ensemble_total(family, fitted, view.realised_months(test)))
            span = inputs.panel.rows(*test)
            rows.append(np.arange(span.start, span.stop))
            coefficients += _coefficients(quest.model, members, fits)
        yield Forecast(
            label,
            quest.horizon,
            np.concatenate(rows),
            _end_to_end([part.returns for part in parts]),
            _end_to_end([part.consensus for part in parts]),
            quest.tau,
            _end_to_end(totals),
            coefficients if len(coefficients) == len(parts) else (),
        )


def _end_to_end(parts: Sequence[FloatArray | None]) -> FloatArray | None:
    """The windows' values in one array; None where a window has none."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def ensemble_of(
    quest: Quest, window: int, variant: str, inputs: Inputs, store: CellStore, ensemble: EnsembleSettings
) -> list[Member]:
    """Return the members of a window's ensemble with their weights."""
    selection = quest.selection
    assert selection is not None
    members = selected_members(quest, selection, window, variant, min(ensemble.members, quest.members))
    months = quest.windows[window].validation
    if ensemble.weights == "greedy" and months is not None and not one_member(quest.model):
        candidates = asked_members(quest, selection, window, variant)
        view, fits = inputs.view(quest.horizon, window), read_fits(store, candidates)
        target_N = view.validation(quest.windows[window]).y_N
        months_apart = list(view.forecast_months(months))
        weighted = greedy_weights(quest.model, candidates, fits, months_apart, target_N, _GREEDY_PICKS)
        return weighted or members  # variants that forecast no returns have none to be weighted by
    return members


def selected_members(quest: Quest, selection: Selection, window: int, variant: str, members: int) -> list[Member]:
    """Return the members of the point that was selected for a window."""
    settings = selection.points[variant][window].settings
    return [Member(quest.cells.name(window, settings, member), settings) for member in range(members)]


def asked_members(quest: Quest, selection: Selection, window: int, variant: str) -> list[Member]:
    """Return every member of any point of a variant that was fitted on a window, in the order of asking."""
    found: dict[str, Member] = {}
    for request in selection.scores:
        if request.window == window and request.point.variant == variant:
            cell = quest.cells.name(window, request.point.settings, request.member)
            found.setdefault(cell, Member(cell, request.point.settings))
    return list(found.values())


def formation_months(panel: Panel, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.datetime64]:
    """Return the last day of each row's month as ``datetime64[D]``."""
    ends_T = month_ends(panel.months)
    return np.asarray(ends_T[panel.row_months[rows] - panel.months[0]], dtype="datetime64[D]")


def forecast_tables(panel: Panel, forecast: Forecast, target_N: FloatArray) -> Iterator[pa.Table]:
    """Yield rows of ``forecasts.parquet``, or of ``quantiles.parquet`` where the forecast has a level, by kind.

    ``prediction`` is null where the model knows nothing of an asset; ``realized`` is null where it is not yet known.
    """
    level = {} if forecast.tau is None else {"tau": pa.array(np.full(len(forecast.rows), forecast.tau))}
    keys = _keys(panel, forecast) | level
    realized = pa.array(target_N[forecast.rows], from_pandas=True)
    for kind, values in ((forecast.kind, forecast.returns), (TOTAL, forecast.total)):
        if values is not None:
            told = {"kind": _label(kind, len(forecast.rows)), "prediction": pa.array(values, from_pandas=True)}
            yield pa.table(keys | told | {"realized": realized})


def consensus_table(panel: Panel, forecast: Forecast) -> Iterator[pa.Table]:
    """Yield rows of ``consensus.parquet``, a table per variable; ``actual`` is null where no analyst said anything."""
    assert forecast.consensus is not None
    for position, variable in enumerate(panel.consensus_names):
        columns = _keys(panel, forecast) | {
            "variable": _label(variable, len(forecast.rows)),
            "kind": _label(PREDICTIVE, len(forecast.rows)),
            "prediction": pa.array(np.ascontiguousarray(forecast.consensus[:, position]), from_pandas=True),
            "actual": pa.array(np.ascontiguousarray(panel.consensus[forecast.rows, position]), from_pandas=True),
        }
        yield pa.table(columns)


def coefficient_frame(panel: Panel, forecasts: Iterable[Forecast]) -> pd.DataFrame:
    """Return the prediction layer's coefficients: one row per model, horizon, window and consensus variable."""
    rows = [
        (forecast.model, forecast.horizon, window + 1, variable, float(value))
        for forecast in forecasts
        for window, values in enumerate(forecast.coefficients)
        for variable, value in zip(panel.consensus_names, values, strict=True)
    ]
    return pd.DataFrame(rows, columns=["model", "horizon", "window", "variable", "coefficient"])


def trials_frame(campaign: Campaign) -> pd.DataFrame:
    """Return one row for each fit that the run's searches asked for, in that order.

    ``cell`` is missing for fits that are made of months' cells and were not selected: these are not stored.
    """
    rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    of_months = Fit({}, {})  # made of months' cells: a score, which the selection holds, and no history
    for quest in campaign.quests:
        assert quest.selection is not None
        written = _hyperparameters(quest.selection)
        chosen = {variant: [written[point] for point in own] for variant, own in quest.selection.points.items()}
        for request, score in quest.selection.scores.items():
            point, window = request.point, request.window
            fit = campaign.fit(quest, request) if quest.monthly is None else of_months
            hyperparameters = written[point]
            selected = chosen[point.variant][window] == hyperparameters
            losses = fit.history.get("train_loss", ())
            cell = None
            if selected or quest.monthly is None:
                cell = quest.cells.name(window, point.settings, request.member)
            rows.setdefault(
                (point.variant, quest.key, window, hyperparameters, request.member),
                (
                    point.variant,
                    quest.horizon,
                    math.nan if quest.tau is None else quest.tau,
                    window + 1,
                    point.number,
                    request.member,
                    hyperparameters,
                    score,
                    losses[-1] if losses else math.nan,
                    len(losses),
                    fit.status,
                    selected,
                    fit.seconds,
                    cell,
                ),
            )
    return pd.DataFrame(list(rows.values()), columns=[*_FIT, *_OUTCOME])


class ParquetPieces:
    """A Parquet file written table by table into memory-bounded pieces, and handed over complete.

    A table is written, which takes a tenth of a second and no interpreter, while the next one is made.
    """

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._writer: pa_parquet.ParquetWriter | None = None
        self._beside = ThreadPoolExecutor(1)
        self._written: Future[None] | None = None

    def add(self, table: pa.Table) -> None:
        """Append a table; all have the first one's schema."""
        if self._written is not None:
            self._written.result()
        if self._writer is None:
            repeated = [field.name for field in table.schema if field.type != pa.float32()]
            self._writer = pa_parquet.ParquetWriter(
                self._buffer, table.schema, compression="zstd", use_dictionary=repeated
            )
        self._written = self._beside.submit(self._writer.write_table, table)

    def content(self) -> bytes:
        """Return the file's bytes; something must have been added."""
        assert self._writer is not None
        assert self._written is not None
        self._written.result()
        self._beside.shutdown()
        self._writer.close()
        return self._buffer.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    """Return a frame as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _keys(panel: Panel, forecast: Forecast) -> dict[str, Any]:
    return {
        "month": pa.array(formation_months(panel, forecast.rows).astype("datetime64[ms]")),
        "asset": panel.table.column("asset").take(pa.array(forecast.rows)).combine_chunks(),
        "model": _label(forecast.model, len(forecast.rows)),
        "horizon": pa.array(np.full(len(forecast.rows), forecast.horizon, dtype=np.int32)),
    }


def _label(text: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, dtype=np.int32)), pa.array([text]))


def _coefficients(name: str, members: Sequence[Member], fits: Mapping[str, Fit]) -> list[npt.NDArray[np.float64]]:
    """Mean over members; nothing for a model without a linear prediction layer."""
    family = model(name)
    sound = [member for member in members if fits[member.cell].status == "ok"]
    found = [family.coefficients(fits[member.cell].weights) for member in sound]
    known = [values.astype(np.float64) for values in found if values is not None]
    if len(known) < len(sound):
        return []
    return [np.average(np.stack(known), axis=0, weights=[member.weight for member in sound])]


def _hyperparameters(selection: Selection) -> dict[Point, str]:
    """Every point that was asked for or selected, written as JSON: equal texts are equal hyperparameters."""
    asked = [request.point for request in selection.scores]
    chosen = [point for points in selection.points.values() for point in points]
    return {
        point: json.dumps(point.settings.model_dump(mode="json"), sort_keys=True)
        for point in dict.fromkeys([*asked, *chosen])
    }
