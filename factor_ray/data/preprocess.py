"""Settings of the preparation: how what was downloaded becomes what models are fitted on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from factor_ray.data.universe import Universe


class Preprocess(BaseModel):
    """Lag, universe, screen, impute, normalise: in this order (CB-APM, Appendix A). The defaults never look ahead."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    lag: Literal["frequency", "none"] = Field(
        "frequency",
        description="Reporting delay. frequency: quarterly variables 3 months, half-yearly, annual and biennial ones "
        "and the consensus 6, where data.columns.frequency states how often they are reported; others are taken to be "
        "lagged already.",
    )
    lags: dict[str, Annotated[int, Field(ge=0, le=120)]] = Field(
        {}, description="Delay in months by column, instead of that of its frequency."
    )
    universe: Universe | None = Field(None, description="Filters at formation time; none by default.")
    screen: Literal["point_in_time", "paper", "none"] = Field(
        "point_in_time",
        description="point_in_time: a firm enters with its first consensus, characteristics are judged on the first "
        "training window; paper judges both on the whole sample, which looks ahead; none keeps everything.",
    )
    max_missing: float = Field(
        0.2, ge=0, le=1, description="Share of rows in which a characteristic may be missing before it is dropped."
    )
    impute: Literal["point_in_time", "paper", "none"] = Field(
        "point_in_time",
        description="Missing characteristics. point_in_time: the firm's last value (growth rates: its mean so far), "
        "then the month's mean. paper: growth rates by the firm's mean over all months, which looks ahead. none: the "
        "middle rank, or with rank: false the month's mean.",
    )
    consensus: Literal["mask", "impute"] = Field(
        "mask",
        description="Missing consensus: mask leaves it out of the loss; impute carries the last value forward (with "
        "impute: paper it interpolates between neighbours, which looks ahead), then takes the month's mean.",
    )
    winsorise: float = Field(
        0.0, ge=0, lt=0.5, description="Share of each tail of a month that is pulled in to its quantile; 0 for none."
    )
    rank: bool = Field(
        True,
        description="Rank within the month to [-1, 1], ties averaged. False suits data that is already scaled; unless "
        "standardised, each characteristic must then be known of some asset in every month.",
    )
    standardise: bool = Field(
        False, description="Mean 0 and variance 1 within the month, instead of ranks: for quantile models."
    )

    @property
    def keeps_raw(self) -> bool:
        """Whether characteristics keep the scale of the file, on which 0 need not be the centre."""
        return not (self.rank or self.standardise)

    @model_validator(mode="after")
    def _one_scale(self) -> Preprocess:
        if self.rank and self.standardise:
            raise ValueError("standardise is an alternative to rank: set rank: false beside it")
        return self
