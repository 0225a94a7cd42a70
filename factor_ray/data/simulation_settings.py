"""Every constant of the simulated market."""

from __future__ import annotations

from math import sqrt
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from factor_ray.data.months import parse_month

Persistence = Annotated[float, Field(gt=-1, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Size = Annotated[float, Field(ge=0)]
SixNumbers = tuple[float, float, float, float, float, float]

PRICED_SCORES = 8
"""Scores a1..a8 decide loadings and volatility; those after them are priced by nobody."""


class SimulationSettings(BaseModel):
    """The data-generating process of :func:`factor_ray.data.simulation.simulate`; all rates are monthly.

    The defaults make a market of about 280 firms in which analysts see three of five priced drivers cheaply, so that a
    consensus bottleneck helps at a horizon of 12 months and not at one of 1 month.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    seed: int = Field(0, ge=0, description="The same seed gives the same bytes.")

    slots: int = Field(300, ge=2, description="Places for a firm; about 94% are taken in any month.")
    months: int = Field(300, ge=2, description="Months; more of them leave the earlier ones as they are.")
    start: str = Field("1998-01", description="First month, YYYY-MM.")
    characteristics: int = Field(24, ge=PRICED_SCORES + 1, description="P; the first 8 decide loadings and volatility.")
    macro_series: int = Field(24, ge=1, description="D series through which the two states are seen.")
    consensus: int = Field(9, ge=0, description="C variables that analysts publish.")

    alive_at_start: Share = Field(0.94, description="Probability that a slot holds a firm in the first month.")
    death: Share = Field(1 / 150, description="Probability that a firm ends within a month.")
    birth: Share = Field(0.1, description="Probability that an empty slot is taken by a new firm within a month.")

    score_persistence: tuple[
        Persistence,
        Persistence,
        Persistence,
        Persistence,
        Persistence,
        Persistence,
        Persistence,
        Persistence,
        Persistence,
    ] = Field((0.995, 0.99, 0.99, 0.99, 0.99, 0.99, 0.1, 0.97, 0.97), description="AR(1) of the first nine scores.")
    further_persistence: tuple[Persistence, ...] = Field(
        (0.98, 0.95, 0.9, 0.7, 0.97, 0.5), min_length=1, description="AR(1) of the other scores, cycled."
    )
    spillover: Share = Field(
        0.5, description="Weight of one of the first six scores in every second score from the tenth on."
    )
    missing_characteristics: Share = Field(0.05, lt=1, description="Share of characteristics missing at random.")

    state_persistence: tuple[Persistence, Persistence] = Field((0.95, 0.9), description="AR(1) of the two states.")
    macro_noise: Size = Field(0.5 * sqrt(2), description="Standard deviation of a macro series' own noise.")
    macro_noise_persistence: tuple[Persistence, ...] = Field(
        (0.6, 0.3, 0.0), min_length=1, description="AR(1) of that noise, cycled over the series."
    )

    market_slope: float = Field(0.3, description="Slope of the market loading 1 + slope a1.")
    premia: SixNumbers = Field(
        (0.0050, 0.0065, 0.0057, 0.0055, 0.0065, 0.0090),
        description="Mean returns of the six factors: market, three drivers that analysts see, one unseen, one fast.",
    )
    factor_volatility: tuple[Size, Size, Size, Size, Size, Size] = Field(
        (0.015, 0.006, 0.006, 0.006, 0.006, 0.006), description="Standard deviations of the six factors."
    )
    volatility: float = Field(0.105, gt=0, description="Root mean square of the idiosyncratic volatility.")
    volatility_of_score: float = Field(0.25, description="Slope of log volatility in a8.")
    volatility_of_state: float = Field(0.15, description="Slope of log volatility in the second state.")
    degrees_of_freedom: float = Field(5, gt=2, description="Of the t distribution of idiosyncratic returns.")
    lowest_return: float = Field(-0.95, gt=-1, lt=0, description="Returns are clipped from below at this value.")
    highest_return: float = Field(5, gt=0, description="Returns are clipped from above at this value.")

    consensus_drivers: Share = Field(0.45, description="Variance share of the three drivers in a consensus variable.")
    consensus_unpriced: Share = Field(0.30, description="Variance share of what analysts follow and nobody prices.")
    consensus_optimism: Share = Field(0.05, description="Variance share of a firm's optimism, shared by all variables.")
    consensus_noise: Share = Field(0.20, description="Variance share of a variable's own noise.")
    negative_weights: Share = Field(
        0.2, description="Probability that a driver enters a consensus variable negatively."
    )
    optimism_persistence: Persistence = Field(0.98, description="AR(1) of optimism.")
    noise_persistence: Persistence = Field(0.9, description="AR(1) of a consensus variable's own noise.")
    missing_consensus: Share = Field(0.10, lt=1, description="Share of firm-months without any consensus.")
    missing_variables: Share = Field(0.03, lt=1, description="Share of single consensus values missing beside those.")

    entry_log_cap: float = Field(5, description="Mean log market capitalisation at entry.")
    entry_slope: float = Field(1.5, description="Its slope in a1.")
    payout: float = Field(0.004, description="Fall of log market capitalisation beside the return.")

    @field_validator("start")
    @classmethod
    def _is_month(cls, value: str) -> str:
        parse_month(value)
        return value

    def stream(self, part: str) -> np.random.Generator:
        """Return the random numbers of one part of the process: what one part draws does not move another."""
        return np.random.default_rng([self.seed, *part.encode()])
