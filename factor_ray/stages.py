"""The stages of a run before anything is fitted: inputs, macro states, digests, and the searches over them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from factor_ray.data.digests import digest
from factor_ray.data.months import format_month
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import rows_kept
from factor_ray.data.sample import observed_factors_of
from factor_ray.data.targets import excess_returns
from factor_ray.data.windows import MonthRange, Window
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment, ModelEntry
from factor_ray.models.base import Available, Fit, Hyperparameters
from factor_ray.models.by_month import ByMonth
from factor_ray.models.macro_state import MacroState, MacroStateSettings, fit_macro_states
from factor_ray.models.registry import model, one_member
from factor_ray.models.seeds import macro_state_seed
from factor_ray.models.trivial import trivial_forecasts
from factor_ray.runner.beside import search_beside
from factor_ray.runner.campaign import CellNames, Quest
from factor_ray.runner.cells import CellStore
from factor_ray.runner.inputs import Digests, Inputs, factor_digests, target_digests
from factor_ray.runner.monthly import MonthlyFits
from factor_ray.runner.search import Search, planned_fits, search_forward
from factor_ray.runner.space import Space

MACRO_STATE_VERSION = 1


def lay_windows(experiment: Experiment, panel: Panel) -> dict[int, tuple[Window, ...]]:
    """Return each horizon's windows.

    Raises
    ------
    InputError
        If the panel is too short for one window.
    """
    months = panel.months.tolist()
    return {horizon: experiment.windows.split(months, horizon) for horizon in experiment.target.horizon}


def require_targets(
    panel: Panel, targets: Mapping[int, npt.NDArray[np.float32]], windows: Mapping[int, Sequence[Window]]
) -> None:
    """Refuse windows in which nothing can be learned.

    Raises
    ------
    InputError
        Naming the window, the set and the horizon.
    """
    for horizon, target_N in targets.items():
        for window in windows[horizon]:
            for name, months in (("training", window.train), ("validation", window.validation)):
                if months is not None and not bool(np.isfinite(target_N[panel.rows(*months)]).any()):
                    raise InputError(
                        f"the window tested in {window.label()} has no {name} target at horizon {horizon}: no asset "
                        f"has a return over the {horizon} months after any of {format_month(months[0])}.."
                        f"{format_month(months[1])}; move windows.first_train_end, shorten target.horizon or check the "
                        "returns there"
                    )


def require_fittable(experiment: Experiment, panel: Panel) -> None:
    """Refuse models that cannot be fitted on this panel's columns or these windows.

    Raises
    ------
    InputError
        As the model says it.
    """
    available = Available(
        characteristics=len(panel.characteristic_names),
        consensus=len(panel.consensus_names),
        factors=0 if panel.factors is None else len(panel.factors.names),
        validation=experiment.windows.validation,
        workers=1 if experiment.compute.workers == "auto" else experiment.compute.workers,
    )
    for entry in experiment.models:
        for space in entry.spaces().values():
            for point in space.witnesses():
                model(entry.name).require(point, available)


def require_macro_states(
    settings: MacroStateSettings, panel: Panel, windows: Mapping[int, Sequence[Window]], seed: int
) -> None:
    """Refuse macro series of which a window's training months allow no state; an autoencoder is not trained for that.

    Raises
    ------
    InputError
        As the macro state says it.
    """
    if panel.macro is None or settings.kind == "none":
        return
    cheap = settings.model_copy(update={"kind": "raw"}) if settings.kind == "autoencoder" else settings
    for window in (window for listed in windows.values() for window in listed):
        months = _months_of(window, int(panel.months[0]))
        fit_macro_states(cheap, panel.macro.values, [months], seeds=[seed])


def macro_states(
    settings: MacroStateSettings,
    panel: Panel,
    windows: Mapping[int, tuple[Window, ...]],
    store: CellStore,
    seed: int,
    warn: Callable[[str], None],
) -> dict[int, tuple[npt.NDArray[np.float32], ...]]:
    """Return the macro state of every month as each window computes it, fitting what the store does not have.

    All windows of a run are one stack; windows of different horizons that share their months share their state.
    ``warn`` is told of stored states that were corrupt and are fitted again.

    Returns
    -------
    dict of horizon to tuple of float32 array (T, d)
    """
    if panel.macro is None or settings.kind == "none":
        nothing = np.zeros((len(panel.months), 0), dtype=np.float32)
        return {horizon: tuple(nothing for _ in listed) for horizon, listed in windows.items()}
    values_TD, first = panel.macro.values, int(panel.months[0])
    every = {(horizon, w): window for horizon, listed in windows.items() for w, window in enumerate(listed)}
    names = {place: state_name(settings, panel, window, seed) for place, window in every.items()}
    distinct = {names[place]: window for place, window in every.items()}
    stored = {name: store.find(name, warn) for name in distinct}
    missing = {name: window for name, window in distinct.items() if stored[name] is None}
    if missing:
        states = fit_macro_states(
            settings,
            values_TD,
            [_months_of(window, first) for window in missing.values()],
            seeds=[macro_state_seed(seed, window) for window in missing.values()],
        )
        for (name, window), state in zip(missing.items(), states, strict=True):
            store.write(name, Fit(weights=state.weights, scores={}), {"macro_state": window.dates()})
    found = {n: MacroState.from_weights(settings, store.read(n).weights).transform(values_TD) for n in distinct}
    return {horizon: tuple(found[names[horizon, w]] for w in range(len(ws))) for horizon, ws in windows.items()}


def trivial_of(
    prepared: Panel,
    target_n: npt.NDArray[np.float32],
    panel: Panel,
    target_N: npt.NDArray[np.float32],
    horizon: int,
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the trivial forecasts of prepared rows.

    Means are of the rows that were kept; an asset's own past counts also where it was outside the universe then.
    """
    own_N = trivial_forecasts(panel, target_N, horizon)["last_value"]
    return {**trivial_forecasts(prepared, target_n, horizon), "last_value": own_N[rows_kept(panel, prepared)]}


def digest_inputs(
    panel: Panel, month_digests: Sequence[str], targets: Mapping[int, npt.NDArray[np.float32]]
) -> Digests:
    """Return the hashes that name what fits read."""
    return Digests(
        first=int(panel.months[0]),
        prepared=month_digests,
        targets={horizon: target_digests(panel, target_N) for horizon, target_N in targets.items()},
        factors=factor_digests(observed_factors_of(panel)),
        names=digest([panel.characteristic_names, panel.consensus_names, panel.factors and panel.factors.names]),
    )


def judged_months(experiment: Experiment, panel: Panel) -> MonthRange:
    """Return the months in which the screen judges characteristics: the first window's training, at every horizon."""
    months = panel.months.tolist()
    spans = [experiment.windows.split(months, horizon)[0].train for horizon in experiment.target.horizon]
    return max(first for first, _ in spans), min(last for _, last in spans)


def on_rows_of(
    prepared: Panel, panel: Panel, targets: Mapping[int, npt.NDArray[np.float32]]
) -> dict[int, npt.NDArray[np.float32]]:
    """Return the targets of the rows that preparation has kept; they may count returns of rows that it has not."""
    at_n = rows_kept(panel, prepared)
    return {horizon: target_N[at_n] for horizon, target_N in targets.items()}


def targets_of(experiment: Experiment, panel: Panel) -> dict[int, npt.NDArray[np.float32]]:
    """Return each horizon's target of every row."""
    return {horizon: excess_returns(panel, horizon) for horizon in experiment.target.horizon}


def quests(experiment: Experiment, inputs: Inputs, digests: Digests) -> list[Quest]:
    """Return one search for every model and horizon, and every level of a quantile model."""
    found = []
    for entry in experiment.models:
        for horizon, windows in inputs.windows.items():
            cells = CellNames.of(entry.name, horizon, inputs, digests, experiment.search.seed)
            monthly, members = monthly_fits(entry.name, horizon, inputs, digests), members_of(experiment, entry.name)
            for tau in levels_of(experiment, entry.name):
                identity = [experiment.search.seed, entry.name, horizon] + ([] if tau is None else [tau])
                seed = int(digest(identity)[:8], 16)
                search = search_of(experiment, entry.spaces(tau), len(windows), members, seed)
                found.append(Quest(entry.name, horizon, search, windows, cells, tau, monthly, members))
    return found


def search_of(experiment: Experiment, spaces: Mapping[str, Space], windows: int, members: int, seed: int) -> Search:
    """Return the search over a model's variants; ablations are fitted beside those that may be selected."""
    full = {label: space for label, space in spaces.items() if space.full is None}
    lacking = {label: space for label, space in spaces.items() if space.full is not None}
    search = search_forward(full, windows, experiment.search, members, seed)
    if not lacking:
        return search
    return search_beside(search, search_forward(lacking, windows, experiment.search, members, seed))


def monthly_fits(name: str, horizon: int, inputs: Inputs, digests: Digests) -> MonthlyFits | None:
    """Return what makes fits of a model's single months; None for a model that is fitted window by window."""
    return MonthlyFits(name, horizon, inputs, digests) if issubclass(model(name), ByMonth) else None


def members_of(experiment: Experiment, name: str) -> int:
    """Return how many members a model's ensembles have: one where further ones could only repeat it."""
    return 1 if one_member(name) else experiment.ensemble.members


def planned_cells(experiment: Experiment, entry: ModelEntry, windows: Sequence[Window]) -> list[int]:
    """Return how many cells each window of a model takes at one horizon, as if no two points coincided.

    The cells of a model that is fitted month by month are all counted with the first window.
    """
    levels = len(levels_of(experiment, entry.name))
    settings = month_settings_of(experiment, entry)
    if settings is not None:
        last = (windows[-1].validation or windows[-1].train)[1]
        return [levels * len(settings) * (last - windows[0].train[0] + 1)] + [0] * (len(windows) - 1)
    fits = planned_fits(
        len(entry.spaces()), bool(entry.search), len(windows), experiment.search, members_of(experiment, entry.name)
    )
    return [levels * count for count in fits]


def month_settings_of(experiment: Experiment, entry: ModelEntry) -> list[Hyperparameters] | None:
    """Return what the months of a model are fitted with, of one level; None for one that is fitted by windows.

    Of a space that is not explored whole, its first point stands for as many as are asked for.
    """
    family = model(entry.name)
    if not issubclass(family, ByMonth):
        return None
    points = experiment.search.points
    found: list[Hyperparameters] = []
    for space in entry.spaces().values():
        listed = space.all_points(points)
        settings = map(family.month_settings, listed or [space.first_point()])
        found += dict.fromkeys(settings) if listed else list(settings) * points
    return found


def levels_of(experiment: Experiment, name: str) -> tuple[float | None, ...]:
    """Return the levels at which a model is fitted: those of the target for a quantile model, else None alone."""
    return experiment.target.quantiles if model(name).forecasts == "quantile" else (None,)


def state_name(settings: MacroStateSettings, panel: Panel, window: Window, seed: int) -> str:
    """Return the name of the cell that holds a window's macro state."""
    assert panel.macro is not None
    last = window.train[1] if window.validation is None else window.validation[1]
    read = panel.macro.values[: last - panel.months[0] + 1]
    identity = {
        "macro_state": settings.model_dump(mode="json"),
        "version": MACRO_STATE_VERSION,
        "dates": [window.dates()["train"], window.dates()["validation"]],
        "series": panel.macro.names,
        "values": digest(np.ascontiguousarray(read).tobytes()),
        "seed": seed,
    }
    return digest(identity)


def _months_of(window: Window, first: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return _positions(window.train, first), _positions(window.validation, first)


def _positions(months: MonthRange | None, first: int) -> npt.NDArray[np.int64]:
    if months is None:
        return np.zeros(0, dtype=np.int64)
    return np.arange(months[0] - first, months[1] - first + 1)
