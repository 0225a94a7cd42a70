"""One self-contained page: the sections of the report in their order, and the file that they are written to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from factor_ray.report import (
    coefficient_figures,
    comparison,
    factor_figures,
    figures,
    headline,
    latent_curves,
    latent_figures,
    latent_tables,
    portfolio_figures,
    portfolio_tables,
    preparation,
    quantile_figures,
    quantile_headline,
    quantile_index,
    quantile_tables,
    quantile_tuning,
    search,
    search_figures,
    tables,
    universes,
    window_figures,
)
from factor_ray.report.contents import Contents, read_contents
from factor_ray.report.drawing import Figure
from factor_ray.report.tables import Table
from factor_ray.runner.cells import write_atomically


@dataclass(frozen=True)
class Section:
    """A section of the page: tables and figures in their order, and sentences before them."""

    key: str
    title: str
    blocks: Sequence[Table | Figure]
    lead: Sequence[str] = ()
    items: Sequence[str] = ()
    facts: Sequence[tuple[str, str]] = ()


def write_report(directory: Path) -> Path:
    """Write a run's report from its directory alone.

    Parameters
    ----------
    directory : Path
        Of a finished run: ``experiment.yaml``, ``metrics.json`` and the tables are read, nothing else is needed.

    Returns
    -------
    Path
        ``report.html`` in that directory: one file that needs no network, and the same bytes for the same directory.

    Raises
    ------
    InputError
        If a file is missing, naming it and the remedy.
    WorkError
        If the directory cannot be written; an earlier report is kept then.
    """
    path = directory / "report.html"
    write_atomically(path, render(read_contents(directory)).encode("utf-8"))
    return path


def render(contents: Contents) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("factor_ray.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    sections = [section for section in _sections(contents) if section.blocks or section.lead]
    return environment.get_template("report.html").render(
        name=contents.description["experiment"]["name"],
        answer=headline.answer(contents),
        test_span=headline.test_span(contents),
        headlines=[
            table
            for table in (headline.headline_table(contents), quantile_headline.quantile_headline(contents))
            if table.panels[0].rows
        ],
        facts=headline.data_facts(contents),
        files=headline.files_table(contents),
        notes=contents.description["notes"],
        looked_ahead=headline.looked_ahead(contents),
        sections=sections,
    )


def _sections(contents: Contents) -> list[Section]:
    sentence, named = search.failures(contents)
    return [
        Section(
            "preparation",
            "Preparation",
            _there(preparation.filled_table(contents), preparation.dropped_table(contents)),
            facts=preparation.preparation_facts(contents),
        ),
        Section("windows", "Windows", [figures.windows_figure(contents)]),
        Section(
            "forecasts",
            "Forecasts of returns and of the consensus",
            _there(
                tables.accuracy_table(contents),
                comparison.comparison_table(contents),
                tables.consensus_table(contents),
                *figures.sweep_figures(contents),
                figures.yearly_figure(contents),
                *tables.yearly_tables(contents),
                coefficient_figures.coefficients_figure(contents),
            )
            if contents.forecasts_means
            else [],
        ),
        Section(
            "quantiles",
            "Forecasts of quantiles",
            _there(
                *quantile_tables.quantile_tables(contents),
                comparison.quantile_comparison_table(contents),
                quantile_figures.levels_figure(contents),
                quantile_tables.crossing_table(contents),
                quantile_tables.shortfall_table(contents),
                *quantile_figures.fan_figures(contents),
            ),
        ),
        Section(
            "latent",
            "Latent factors",
            _there(
                latent_tables.fits_table(contents),
                *latent_curves.curve_figures(contents),
                latent_tables.ablation_table(contents),
            ),
        ),
        Section(
            "factors",
            "Factors and what they load on",
            _there(
                *factor_figures.factor_figures(contents),
                *factor_figures.loading_figures(contents),
                *latent_figures.correlation_figures(contents),
                latent_tables.loading_portfolios_table(contents),
                *quantile_index.index_tables(contents),
                *quantile_index.index_figures(contents),
                *quantile_index.curve_figures(contents),
                *quantile_index.term_tables(contents),
                *window_figures.window_figures(contents),
            ),
        ),
        Section(
            "portfolios",
            "Portfolios",
            _there(
                portfolio_tables.sorted_portfolios_table(contents),
                portfolio_figures.cumulative_figure(contents),
                portfolio_tables.long_short_table(contents),
                portfolio_tables.costs_table(contents),
                universes.universes_table(contents),
            )
            if contents.forecasts_means
            else [],
        ),
        Section(
            "search",
            "Search and selection",
            _there(
                *search_figures.search_figures(contents),
                search.selection_table(contents),
                *quantile_tuning.tuning_figures(contents),
                *search_figures.loss_figures(contents),
            ),
            lead=[sentence],
            items=named,
        ),
        Section("cost", "Cost of the run", [search.cost_table(contents)], facts=search.cost_facts(contents)),
    ]


def _breakable(head: str) -> Markup:
    """Let a long name break where its words meet: ``EarningsForecastDisparity``, ``consensus_0``."""
    return Markup("<wbr>").join(re.split(r"(?<=[a-z])(?=[A-Z])|(?<=_)", head))


def _there(*blocks: Table | Figure | None) -> list[Table | Figure]:
    return [block for block in blocks if block is not None]
