"""The tables that compare all forecasts of a horizon, of means or of quantiles, with the best one."""

from __future__ import annotations

from factor_ray.report.contents import Contents
from factor_ray.report.labels import Label
from factor_ray.report.numbers import count, decimal, p_value, percent
from factor_ray.report.quantile_measures import levels
from factor_ray.report.tables import Cell, Panel, Table, horizon_heading, model_row


def comparison_table(contents: Contents) -> Table | None:
    """Return relative errors, Diebold-Mariano tests against the best and the model confidence set."""
    horizons = [h for h in contents.horizons if contents.labels(h, "comparison")]
    if not horizons:
        return None
    panels = [
        Panel(
            f"{horizon_heading(h)}; best: {_best(contents, h)}",
            tuple(model_row(label, h, _cells(contents, label, h)) for label in contents.labels(h, "comparison")),
        )
        for h in horizons
    ]
    return Table(
        "comparison",
        "Forecasts compared",
        ["", "Relative RMSE", "DM t", "DM p", "MCS p", "In the 90% set", "Months", "Observations"],
        panels,
        [
            "All on the months and assets that every model here forecasts. Relative RMSE: root of the mean monthly "
            f"squared error over that of the best. {_TESTS}",
            f"{_budget(contents)} The oracle and last value are left out.",
        ],
    )


def quantile_comparison_table(contents: Contents) -> Table | None:
    """Return relative losses of true quantile forecasts on common rows, with the same tests, level by level."""
    panels = []
    for horizon in contents.horizons:
        labels = contents.labels(horizon, "quantile_comparison")
        for level in levels(contents, horizon):
            compared = [x for x in labels if contents.part(x.full, horizon, "quantile_comparison", level)]
            if compared:
                best = _best(contents, horizon, "quantile_comparison", level)
                rows = tuple(model_row(x, horizon, _quantile_cells(contents, x, horizon, level)) for x in compared)
                panels.append(Panel(f"{horizon_heading(horizon)}, τ = {level}; best: {best}", rows))
    if not panels:
        return None
    return Table(
        "quantile-comparison",
        "Quantile forecasts compared",
        ["", "Relative AQE", "DM t", "DM p", "MCS p", "In the 90% set", "AQE, %", "R², %", "Y ≤ q, %", "Observations"],
        panels,
        [
            "True forecasts alone, all on the months and assets that every model here forecasts: tables of each level "
            f"are over all that a model forecasts. Relative AQE: mean monthly pinball loss over that of the best. "
            f"{_TESTS} AQE, R² (against a quantile of zero) and hits weigh all rows alike.",
            _budget(contents),
        ],
    )


_TESTS = (
    "DM: Diebold–Mariano of a model's monthly loss less the best's, Newey–West with h − 1 lags; above 0 is worse. MCS: "
    "model confidence set of Hansen, Lunde and Nason, range statistic, stationary bootstrap of months; a model with p "
    "above .10 cannot be told from the best."
)


def _budget(contents: Contents) -> str:
    """What the searched models were given, and which of them took less."""
    given = int(contents.description["experiment"]["search"]["points"])
    members = contents.description["experiment"]["ensemble"]["members"]
    trials = contents.trials[contents.trials["window"] == 1]
    tried = trials.groupby(["model", "horizon", "tau"], dropna=False)["hyperparameters"].nunique()
    by_model = tried.groupby("model").max()
    searched = by_model[by_model > 1]
    text = f"Every searched model could try {given} point{'s' if given > 1 else ''} a variant, in "
    text += f"ensembles of {members} of what validation selected."
    fewer = [f"{name} {count}" for name, count in searched[searched < given].items()]
    text += f" Spaces that hold fewer were tried whole: {', '.join(fewer)}." if fewer else ""
    alone = sorted(set(by_model.index) - set(searched.index))
    text += f" One point alone had {', '.join(alone)}." if alone and given > 1 else ""
    return f"{text} Epochs and sizes are each model's own settings."


def _best(contents: Contents, horizon: int, *part: str) -> str:
    part = part or ("comparison",)
    first = next(x for x in contents.labels(horizon, part[0]) if contents.part(x.full, horizon, *part))
    best = Label.read(str(contents.part(first.full, horizon, *part, "best")))
    return f"{best.family}, {best.variant}" if best.is_variant else best.text


def _cells(contents: Contents, label: Label, horizon: int) -> list[Cell]:
    def of(name: str) -> float:
        return contents.number(label.full, horizon, "comparison", name)

    return [
        Cell(decimal(of("relative_rmse"), 4)),
        *_test_cells(contents, label, horizon, "comparison"),
        Cell(count(of("months"))),
        Cell(count(of("observations"))),
    ]


def _quantile_cells(contents: Contents, label: Label, horizon: int, level: str) -> list[Cell]:
    def of(name: str) -> float:
        return contents.number(label.full, horizon, "quantile_comparison", level, name)

    return [
        Cell(decimal(of("relative_aqe"), 4)),
        *_test_cells(contents, label, horizon, "quantile_comparison", level),
        Cell(percent(of("aqe"), 3)),
        Cell(percent(of("r2"))),
        Cell(percent(of("hit_rate"))),
        Cell(count(of("observations"))),
    ]


def _test_cells(contents: Contents, label: Label, horizon: int, *part: str) -> list[Cell]:
    def of(name: str) -> float:
        return contents.number(label.full, horizon, *part, name)

    inside = contents.part(label.full, horizon, *part, "in_confidence_set")
    return [
        Cell(decimal(of("dm_t_statistic"))),
        Cell(p_value(of("dm_p_value"))),
        Cell(p_value(of("mcs_p_value"))),
        Cell({None: "–", True: "yes", False: "no"}[None if inside is None else bool(inside)]),
    ]
