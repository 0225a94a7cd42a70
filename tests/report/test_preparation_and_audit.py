"""What the report says of the preparation and of the look-ahead audit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from factor_ray.report import write_report
from factor_ray.report.audit import audited_identity

PREPARATION: dict[str, Any] = {
    "rows": {"read": 2000, "outside_universe": {"price": 120}, "before_first_consensus": 80, "kept": 1800},
    "lags": {"size": 3, "FEPS": 6},
    "judged": ["1994-01", "2010-12"],
    "characteristics": {"kept": 3, "dropped": {"Coskewness": "missing in 34.7% of the rows of 1994-01..2010-12"}},
    "values": {
        "characteristics": {
            "known": 900, "carried": 60, "firm_mean": 0, "interpolated": 0, "month_mean": 40, "missing": 0,
            "winsorised": 17,
        },
        "consensus": {
            "known": 750, "carried": 0, "firm_mean": 0, "interpolated": 0, "month_mean": 0, "missing": 250,
            "winsorised": 0,
        },
    },
    "scale": "rank",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(make_run: Callable[..., Path]) -> Path:
    return make_run(windows=1, families=("cbapm",), points=2)


TABLE: dict[str, Any] = {"source": "table", "path": "/data/panel.parquet", "columns": {"characteristics": ["Price"]}}


def described(run: Path, data: dict[str, Any] = TABLE, **more: Any) -> dict[str, Any]:
    file = run / "experiment.yaml"
    content = {**yaml.safe_load(file.read_text(encoding="utf-8")), **more}
    for section in ("preprocess", "target", "windows", "macro_state", "models", "search", "ensemble"):
        content["experiment"].setdefault(section, {})
    content["experiment"]["data"] = data
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return content


def page(run: Path) -> str:
    return " ".join(write_report(run).read_text(encoding="utf-8").split())


def test_what_the_preparation_did_is_shown(run: Path) -> None:
    assert 'id="preparation-section"' not in page(run)
    described(run, preparation=PREPARATION)
    text = page(run)
    assert 'id="preparation-section"' in text
    for phrase in (
        "Outside the universe by price", "1,800 (90.00%)", "1 by 3 months, 1 by 6 months", "1994-01 to 2010-12",
        "Left missing", "25.00", "missing in 34.7% of the rows", "3 characteristics were kept",
        "17 values were pulled in",
    ):  # fmt: skip
        assert phrase in text
    assert "Interpolated" not in text


def verdict(run: Path, **changes: Any) -> None:
    content = described(run)
    identity = audited_identity(content["experiment"], content["data"]["lineage"])
    told = {"identity": identity, "sentences": [], "months": ["2013-01"], "perturbed": "a copy", "refitted": ["one"]}
    (run / "audit.json").write_text(json.dumps({**told, **changes}))


def test_the_verdict_of_the_audit_is_in_the_box(run: Path) -> None:
    assert "No look-ahead audit was made of this run" in page(run)
    verdict(run)
    assert "The look-ahead audit passed: noise in everything dated after 2013-01" in page(run)
    verdict(run, sentences=["Noise after 2013-01 changes targets, target at horizon 3: so it is."])
    assert "<li>Audit: Noise after 2013-01 changes targets" in page(run)
    verdict(run, identity="other")
    assert "The look-ahead audit is of other settings or files than this run" in page(run)


def test_an_audit_of_other_columns_is_of_other_settings_wherever_the_file_lies(run: Path) -> None:
    verdict(run)
    described(run, {**TABLE, "path": "elsewhere/panel.parquet"})
    assert "The look-ahead audit passed" in page(run)
    described(run, {**TABLE, "columns": {"characteristics": ["Price", "Mom12m"]}})
    assert "The look-ahead audit is of other settings or files than this run" in page(run)


def test_an_audit_knows_files_by_what_links_lead_to(tmp_path: Path) -> None:
    (tmp_path / "v2.parquet").touch()
    (tmp_path / "panel.parquet").symlink_to(tmp_path / "v2.parquet")
    sections = dict.fromkeys(("preprocess", "target", "windows", "macro_state", "models", "search", "ensemble"))
    files = (tmp_path / "panel.parquet", tmp_path / "v2.parquet")
    linked, meant = (audited_identity({**sections, "data": {**TABLE, "path": str(file)}}, {}) for file in files)
    assert linked == meant
