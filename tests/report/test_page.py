"""The page: well-formed, self-contained, the same bytes twice, with the sections that the run has data for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from factor_ray.errors import InputError
from factor_ray.report import write_report
from factor_ray.report.contents import read_contents
from factor_ray.report.portfolio_tables import long_short_table

MakeRun = Callable[..., Path]

_VOID = {"meta", "br", "wbr", "link", "img", "hr", "input"}
_SVG_LEAVES = {"g", "path", "use", "rect", "line", "circle"}


class Page(HTMLParser):
    """Reads ids, links and tables of a page, and insists that tags close in the order they opened."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tables: dict[str, dict[tuple[str, str], list[str]]] = {}
        self.heads: dict[str, list[str]] = {}
        self._table, self._in_head = "", False
        self._row: tuple[str, str] | None = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self._note(attributes)
        if tag in _VOID:
            return
        self.open.append(tag)
        if tag == "figure":
            self._table = attributes["id"]
            self.tables[self._table], self.heads[self._table] = {}, []
        elif tag == "tr":
            self._row = (attributes.get("data-model", ""), attributes.get("data-horizon", ""))
            self.tables[self._table].setdefault(self._row, [])
        elif tag == "td":
            self.tables[self._table][self._row].append("")
        elif tag == "th":
            self._in_head = attributes["scope"] == "col"
            if self._in_head:
                self.heads[self._table].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _SVG_LEAVES, tag
        self._note({name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.tables[self._table][self._row][-1] += data
        elif self.open and self.open[-1] == "th" and self._in_head:
            self.heads[self._table][-1] += data

    def _note(self, attributes: dict[str, str]) -> None:
        if "id" in attributes:
            self.ids.append(attributes["id"])
        self.links += [attributes[name] for name in ("href", "src", "xlink:href") if name in attributes]

    def numbers(self, table: str, model: str, horizon: int) -> list[float | None]:
        """Return a row's figures; None for an en dash."""
        return [None if text == "–" else number(text) for text in self.tables[table][model, str(horizon)]]


def number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def read(directory: Path) -> tuple[str, Page]:
    text = write_report(directory).read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture(scope="module")
def full(make_run: MakeRun) -> Path:
    return make_run()


@pytest.fixture(scope="module")
def full_page(full: Path) -> tuple[str, Page]:
    return read(full)


def test_the_same_run_gives_one_file_of_the_same_bytes(full: Path, full_page: tuple[str, Page]) -> None:
    assert write_report(full) == full / "report.html"
    assert (full / "report.html").read_text(encoding="utf-8") == full_page[0]
    assert sorted(path.name for path in full.glob(".*")) == []


def test_nothing_outside_the_file_is_referred_to(full_page: tuple[str, Page]) -> None:
    text, page = full_page
    assert "http" not in text
    assert "//" not in text
    assert "<script" not in text
    assert all(link.startswith("#") for link in page.links)


def test_ids_are_unique_and_every_link_has_a_target(full_page: tuple[str, Page]) -> None:
    text, page = full_page
    assert len(set(page.ids)) == len(page.ids)
    targets = {link[1:] for link in page.links} | set(re.findall(r"url\(#([^)]*)\)", text))
    assert targets <= set(page.ids)


def test_names_are_escaped(full_page: tuple[str, Page]) -> None:
    assert "<h1>a &lt;test&gt; &amp; run</h1>" in full_page[0]


def test_a_full_run_has_every_section(full_page: tuple[str, Page]) -> None:
    wanted = {
        "headline", "looked-ahead", "setup", "files", "windows", "accuracy", "consensus", "by-year", "yearly",
        "yearly-consensus", "coefficients", "deciles", "cumulative", "long-short", "costs", "search-cbapm", "selection",
        "sweep-cbapm-consensus_weight", "losses-cbapm-consensus_weight", "cost",
    }  # fmt: skip
    assert wanted <= set(full_page[1].ids)


def test_sections_without_data_are_not_there(make_run: MakeRun) -> None:
    directory = make_run(
        horizons=(1,), weights=(0.3,), families=("cbapm", "neurif"), consensus=(), oracle=False, points=1, costs=(0,)
    )
    _, page = read(directory)
    absent = {
        "consensus", "yearly-consensus", "coefficients", "costs", "search-cbapm", "search-neurif", "notes",
        "sweep-cbapm-consensus_weight", "losses-cbapm-consensus_weight", "selection",
    }  # fmt: skip
    assert absent.isdisjoint(page.ids)
    assert {"accuracy", "deciles", "cumulative", "long-short", "cost"} <= set(page.ids)
    assert ("oracle", "1") not in page.tables["accuracy"]
    assert "Mean consensus R², %" not in page.heads["accuracy"]


def test_one_window_of_one_year_has_no_figure_by_year(make_run: MakeRun) -> None:
    _, page = read(make_run(horizons=(1,), windows=1))
    assert "by-year" not in page.ids
    assert "yearly" in page.ids


def test_accuracy_shows_what_metrics_hold(full: Path, full_page: tuple[str, Page]) -> None:
    metrics = json.loads((full / "metrics.json").read_text())
    for model, by_horizon in metrics.items():
        for horizon, found in by_horizon.items():
            if model == "market":
                continue
            row = full_page[1].numbers("accuracy", model, int(horizon))
            all_ = found["returns"]["all"]
            wanted = [all_["r2"], all_["r2_historical_mean"], all_["rmse"], all_["mae"]]
            assert row[:4] == pytest.approx([100 * value for value in wanted], abs=0.00501)
            assert row[4] == (None if all_["ic"] is None else pytest.approx(all_["ic"], abs=0.000501))
            assert row[-3:] == [all_["observations"], all_["assets"], all_["months"]]


def test_consensus_shows_what_metrics_hold_and_a_dash_where_it_is_not_learned(
    full: Path, full_page: tuple[str, Page]
) -> None:
    metrics = json.loads((full / "metrics.json").read_text())
    page = full_page[1]
    assert page.heads["consensus"] == ["", "FEPS", "REV6", "Mean", "Return"]
    found = metrics["cbapm[consensus_weight=1]"]["3"]
    values = [100 * found["consensus"][name]["all"]["r2"] for name in ("FEPS", "REV6")]
    wanted = [*values, sum(values) / 2, 100 * found["returns"]["all"]["r2"]]
    assert page.numbers("consensus", "cbapm[consensus_weight=1]", 3) == pytest.approx(wanted, abs=0.00501)
    assert page.numbers("consensus", "cbapm[consensus_weight=0]", 3)[:3] == [None, None, None]


def test_portfolios_show_what_metrics_hold(full: Path, full_page: tuple[str, Page]) -> None:
    metrics, page = json.loads((full / "metrics.json").read_text()), full_page[1]
    found = metrics["cbapm"]["1"]
    means = [100 * portfolio["mean_return"] for portfolio in found["portfolios"]]
    assert page.heads["deciles"] == ["", "Low", "2", "3", "4", "High", "High − Low", "Assets each", "Months"]
    assert page.numbers("deciles", "cbapm", 1)[:6] == pytest.approx(means, abs=0.00501)
    gross = found["long_short"][0]
    row = page.numbers("long-short", "cbapm", 1)
    assert row[3:5] == pytest.approx([gross["sharpe"], gross["t_statistic"]], abs=0.00501)
    assert row[7] == pytest.approx(100 * gross["turnover"], abs=0.501)
    sharpes = [by["sharpe"] for by in found["long_short"]]
    assert page.numbers("costs", "cbapm", 1)[:3] == pytest.approx(sharpes, abs=0.00501)
    market = metrics["market"]["1"]["portfolio"]
    assert page.numbers("long-short", "market", 1)[3] == pytest.approx(market["sharpe"], abs=0.00501)


@pytest.mark.parametrize(
    ("known", "returns"),
    [
        (True, "in excess of the risk-free rate"),
        (False, "as the data states them, with no risk-free rate taken off"),
        (None, "as the data states them, with no risk-free rate taken off"),
    ],
)
def test_the_market_says_above_what_it_is_judged(make_run: MakeRun, known: bool | None, returns: str) -> None:
    contents = read_contents(make_run(horizons=(1,), windows=2))
    data = {**contents.description["data"], "risk_free": known}
    table = long_short_table(replace(contents, description={**contents.description, "data": data}))
    assert table is not None
    assert f"market: all forecast assets, held; its Sharpe and t are of returns {returns}." in table.notes[0]


def test_a_missing_measure_is_an_en_dash(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), windows=2)
    file = directory / "metrics.json"
    metrics = json.loads(file.read_text())
    metrics["cbapm"]["1"]["returns"]["all"].update(r2=None, ic=None, ic_t_statistic=None)
    metrics["cbapm"]["1"]["returns"]["by_year"]["2013"]["r2"] = None
    metrics["cbapm"]["1"]["consensus"]["FEPS"]["all"]["r2"] = None
    for row in metrics["cbapm"]["1"]["long_short"]:
        row.update(sharpe=None, cumulative_log_return=None)
    file.write_text(json.dumps(metrics))
    text, page = read(directory)
    assert page.tables["accuracy"]["cbapm", "1"][0] == "–"
    assert page.tables["yearly"]["cbapm", "1"][0] == "–"
    assert page.tables["consensus"]["cbapm", "1"][0] == "–"
    assert page.tables["long-short"]["cbapm", "1"][2:4] == ["–", "–"]
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", re.sub(r"<[^>]*>", " ", text))


def test_many_variants_and_windows_are_drawn(make_run: MakeRun) -> None:
    _, page = read(make_run(horizons=(1, 12), weights=[i / 10 for i in range(11)], windows=1, assets=10, points=1))
    models = {model for model, _ in page.tables["accuracy"] if model.startswith("cbapm")}
    assert len(models) == 12


def test_models_that_forecast_no_return_are_shown_by_their_consensus(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1, 3), windows=2)
    metrics = json.loads((directory / "metrics.json").read_text())
    for model in [name for name in metrics if name.startswith("cbapm")]:
        for found in metrics[model].values():
            for part in ("returns", "portfolios", "long_short"):
                del found[part]
    (directory / "metrics.json").write_text(json.dumps(metrics))
    _, page = read(directory)
    assert {"consensus", "sweep-cbapm-consensus_weight", "yearly-consensus"} <= set(page.ids)
    assert "headline" not in page.ids
    assert page.tables["consensus"]["cbapm", "3"][-1] == "–"
    assert ("cbapm", "3") not in page.tables["accuracy"]


def test_what_looked_ahead_is_said(make_run: MakeRun, full_page: tuple[str, Page]) -> None:
    assert "Nothing did." in full_page[0]
    sentence = "windows.embargo is 0: targets reach into the months that follow."
    text, _ = read(make_run(horizons=(1,), windows=2, looks_ahead=[sentence], notes=["Revised data."]))
    assert sentence in text
    assert "Nothing did." not in text
    assert "Revised data." in text


@pytest.mark.parametrize(
    "name", ["experiment.yaml", "metrics.json", "portfolios.parquet", "coefficients.parquet", "trials.parquet"]
)
def test_a_missing_file_is_named_with_its_remedy(make_run: MakeRun, name: str) -> None:
    directory = make_run(horizons=(1,), windows=1)
    (directory / name).unlink()
    with pytest.raises(InputError, match=rf"{re.escape(name)}.*factor-ray resume"):
        write_report(directory)
    assert not (directory / "report.html").exists()


def test_a_run_measured_without_a_note_of_its_cost_has_a_report(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), windows=1)
    (directory / "logs" / "cost.json").unlink()
    text, _ = read(directory)
    assert "Time of the last start" not in text


def test_forecasts_that_lose_everything_end_their_line(make_run: MakeRun) -> None:
    directory = make_run(horizons=(1,), windows=1)
    table = pd.read_parquet(directory / "portfolios.parquet")
    table.loc[table["portfolio"].eq("high-low"), "return"] = -1.0
    table.to_parquet(directory / "portfolios.parquet")
    assert "cumulative" in read(directory)[1].ids
