"""The firm-level variables of the CB-APM paper, their frequencies, and names that changed since."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, cast

from factor_ray.data.panel_rules import Frequency


@dataclass(frozen=True)
class Variable:
    """One variable of Table D.1 or D.4.

    Attributes
    ----------
    name : str
        Acronym of Open Source Asset Pricing, as in SignalDoc of 2024-08-05.
    role : str
        characteristic (an input) or consensus (a target of the bottleneck).
    frequency : str
        How often it is reported: monthly, quarterly, half-yearly, annual or biennial. The paper takes consensus
        variables for annual, since analysts report irregularly (Appendix A.1).
    growth : bool
        Whether it is a growth rate or change (marked * in Table D.1).
    description, source : str
        What it is, and the article that proposed it.
    """

    name: str
    role: Literal["characteristic", "consensus"]
    frequency: Frequency
    growth: bool
    description: str
    source: str


@cache
def cbapm_variables() -> dict[str, Variable]:
    """Return the 114 characteristics of CB-APM's Table D.1 and the 9 consensus variables of Table D.4, by name."""
    text = files("factor_ray.data.sources").joinpath("cbapm_variables.csv").read_text(encoding="utf-8")
    return {
        row["acronym"]: Variable(
            name=row["acronym"],
            role=cast("Literal['characteristic', 'consensus']", row["role"]),
            frequency=cast("Frequency", row["frequency"]),
            growth=row["growth"] == "yes",
            description=row["description"],
            source=row["source"],
        )
        for row in csv.DictReader(text.splitlines())
    }


def cbapm_names(role: Literal["characteristic", "consensus"]) -> tuple[str, ...]:
    """Return the names of one role in the paper's order."""
    return tuple(variable.name for variable in cbapm_variables().values() if variable.role == role)


def other_name(name: str) -> str | None:
    """Return the other name of a variable that has two: renamed on 2024-08-06, or spelled otherwise by the paper."""
    return _OTHER_NAMES.get(name)


_PAIRS = (
    ("zerotrade", "zerotrade6M"),
    ("zerotradeAlt1", "zerotrade1M"),
    ("zerotradeAlt12", "zerotrade12M"),
    ("iomom_cust", "iom_cust"),
    ("iomom_supp", "iom_supp"),
)
_OTHER_NAMES = {**dict(_PAIRS), **{new: old for old, new in _PAIRS}}
