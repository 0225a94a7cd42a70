"""The table that compares all forecasts of a horizon with the best one."""

from __future__ import annotations

from factor_ray.report.contents import Contents
from factor_ray.report.labels import Label
from factor_ray.report.numbers import count, decimal
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
    points = contents.description["experiment"]["search"]["points"]
    members = contents.description["experiment"]["ensemble"]["members"]
    return Table(
        "comparison",
        "Forecasts compared",
        ["", "Relative RMSE", "DM t", "DM p", "MCS p", "In the 90% set", "Months", "Observations"],
        panels,
        [
            "All on the months and assets that every model here forecasts. Relative RMSE: root of the mean monthly "
            "squared error over that of the best. DM: Diebold–Mariano of a model's monthly loss less the best's, "
            "Newey–West with h − 1 lags; above 0 is worse. MCS: model confidence set of Hansen, Lunde and Nason, range "
            "statistic, stationary bootstrap of months; a model with p above .10 cannot be told from the best.",
            f"Every searched model had the same budget: {points} points a variant, ensembles of {members} of what "
            "validation selected. The oracle and last value are left out.",
        ],
    )


def _best(contents: Contents, horizon: int) -> str:
    first = contents.labels(horizon, "comparison")[0]
    best = Label.read(str(contents.part(first.full, horizon, "comparison", "best")))
    return f"{best.family}, {best.variant}" if best.is_variant else best.text


def _cells(contents: Contents, label: Label, horizon: int) -> list[Cell]:
    def of(name: str) -> float:
        return contents.number(label.full, horizon, "comparison", name)

    inside = contents.part(label.full, horizon, "comparison", "in_confidence_set")
    return [
        Cell(decimal(of("relative_rmse"), 4)),
        Cell(decimal(of("dm_t_statistic"))),
        Cell(decimal(of("dm_p_value"), 3)),
        Cell(decimal(of("mcs_p_value"), 3)),
        Cell({None: "–", True: "yes", False: "no"}[None if inside is None else bool(inside)]),
        Cell(count(of("months"))),
        Cell(count(of("observations"))),
    ]
