"""Configurations that tests change in one place, and what must then be said of them."""

import functools
import json
import sys
from pathlib import Path

import jsonschema
import pytest

from factor_ray import cli
from factor_ray.configuration import parse
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment

ROOT = Path(__file__).parents[1]
GOOD = """\
name: small
data:
  source: table
  path: panel.parquet
  columns:
    asset: permno
    characteristics: [size, value]
    consensus: [feps]
  macro: {source: fred_md, path: macro.csv}
target: {horizon: [1, 12]}
windows: {scheme: expanding, first_train_end: 2010-12, validation: 12, test: 12}
macro_state: {kind: pca, dimension: 2}
models:
  - name: cbapm
    hidden: [[4], [8, 4]]
    consensus_weight: [0, 1e-1]
    search:
      learning_rate: {log_uniform: [1e-4, 1e-2]}
      dropout: {choice: [0.1, 0.5]}
search: {points: 2, round: 2}
ensemble: {members: 2}
compute: {slots: 2}
"""
SIMULATED = """\
name: small
data: {source: simulated, slots: 20, months: 40}
windows: {first_train_end: 1999-06, validation: 6, test: 6}
macro_state: {kind: none}
models:
  - {name: cbapm, hidden: [4], epochs: 2}
"""

# What a schema cannot say: rules between keys, and bounds of what a range may hold.
BEYOND_A_SCHEMA = (
    "step must equal",
    "length (training",
    "twice: keep one",
    "both fixed and searched",
    "listed once",
    "must start above 0",
    "low < high",
    "horizons must differ",
    "assets must differ",
    "cbapm: dropout must",
    "cbapm: epochs must",
    "embargo: embargo must be",
    "rolling needs windows.length",
    "low, high], two fin",
    "must be a finite number",
)


def build(text: str) -> Experiment:
    return Experiment.from_configuration(parse(text, "run.yaml"))


def changed(old: str, new: str, text: str = GOOD) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def assert_refused(old: str, new: str, line: int | None, sentence: str) -> None:
    """The changed configuration is refused in one sentence with file, line, key and remedy, and by the schema too."""
    with pytest.raises(InputError) as refused:
        build(changed(old, new))
    said, where = str(refused.value), "run.yaml" if line is None else f"run.yaml, line {line}"
    assert said.startswith(f"{where}: {sentence}")
    assert "\n" not in said
    assert "Input should" not in said
    values = json.loads(json.dumps(parse(changed(old, new), "run.yaml").values))
    assert validator().is_valid(values) == any(rule in said for rule in BEYOND_A_SCHEMA)


@functools.cache
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads((ROOT / "configs" / "schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def call(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["factor-ray", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)
