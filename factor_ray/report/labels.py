"""What the models' labels say: family, variant, benchmark, and how each is written for a reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

BENCHMARKS = {
    "zero": "zero",
    "historical_mean": "historical mean",
    "last_value": "last value",
    "historical_quantile": "historical quantile",
}
"""Forecasts that need no model, and how they are written."""

ORACLE = "oracle"
MARKET = "market"

_SIGNS = {"consensus_weight": "λ"}


@dataclass(frozen=True)
class Label:
    """A model's label, read.

    Attributes
    ----------
    full : str
        As in every file of the run: ``cbapm[consensus_weight=0.3]``.
    family : str
        ``cbapm``.
    settings : tuple of (str, str)
        Hyperparameters that the variant fixes, as written in the label; empty for the selected model of a family.
    """

    full: str
    family: str
    settings: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, full: str) -> Label:
        """Split a label into family and settings."""
        family, bracket, rest = full.partition("[")
        if not bracket:
            return cls(full, family)
        pairs = [part.partition("=") for part in rest.rstrip("]").split(",")]
        return cls(full, family, tuple((name, value) for name, _, value in pairs))

    @property
    def is_variant(self) -> bool:
        """Whether the label is one value of a sweep."""
        return bool(self.settings)

    @property
    def is_model(self) -> bool:
        """Whether something was fitted for it: neither benchmark nor oracle nor market."""
        return self.family not in BENCHMARKS and self.family not in (ORACLE, MARKET)

    @property
    def variant(self) -> str:
        """The settings as a reader writes them, as in ``λ = 0.3``."""
        return ", ".join(f"{sign(name)} = {value or 'none'}" for name, value in self.settings)

    @property
    def text(self) -> str:
        """The whole label as a reader writes it, as in ``cbapm, λ = 0.3``."""
        if self.is_variant:
            return f"{self.family}, {self.variant}"
        return BENCHMARKS.get(self.family, self.family)

    def value(self, hyperparameter: str) -> float | None:
        """Return a setting as a number; None where it is not one or is not set."""
        try:
            return float(dict(self.settings)[hyperparameter])
        except (KeyError, ValueError):
            return None


def sign(hyperparameter: str) -> str:
    """Return the sign that papers use for a hyperparameter, or its name."""
    return _SIGNS.get(hyperparameter, hyperparameter)


def families_of(models: pd.Series) -> pd.Series:
    """Return the family of each label of a table's column."""
    codes, labels = pd.factorize(models)
    families = pd.Series([Label.read(str(full)).family for full in labels], dtype=models.dtype)
    return families.take(codes).set_axis(models.index)


def swept_numbers(labels: Sequence[Label]) -> list[str]:
    """Return the hyperparameters of one family that are swept over at least two numbers, in the labels' order."""
    names = list(dict.fromkeys(name for label in labels for name, _ in label.settings))
    found = []
    for name in names:
        values = [label.value(name) for label in labels if label.is_variant]
        if None not in values and len(set(values)) > 1:
            found.append(name)
    return found
