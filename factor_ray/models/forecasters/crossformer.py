"""Crossformer (Zhang and Yan 2023): segments of every characteristic's history, attention along time and across."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import PositiveInt, model_validator

from factor_ray.models.base import Hyperparameters, checked, shape
from factor_ray.models.forecasters.base import AttentionSettings, Forecaster

if TYPE_CHECKING:
    from torch import nn


class CrossformerSettings(AttentionSettings):
    """Hyperparameters of Crossformer; ``layers`` counts its scales."""

    width: PositiveInt = shape(16, "numbers that describe a segment; a multiple of heads")
    feedforward: PositiveInt = shape(32, "hidden units of a layer's feed-forward parts")
    layers: PositiveInt = shape(2, "scales: from one to the next two neighbouring segments are merged into one")
    segment: int = shape(3, "months of a segment; at most lookback", ge=3, le=6)
    routers: PositiveInt = shape(4, "routers through which characteristics attend to each other")

    @model_validator(mode="after")
    def _segments_fit(self) -> Self:
        if self.segment > self.lookback:
            raise ValueError(
                f"segment must be at most lookback; got segment {self.segment} and lookback {self.lookback}: "
                "take a longer lookback"
            )
        if self.layers > len(self.scales()):
            raise ValueError(
                f"layers must be at most {len(self.scales())} where lookback {self.lookback} has {self.scales()[0]} "
                f"segments of {self.segment} months; got {self.layers}: take fewer layers"
            )
        return self

    def scales(self) -> list[int]:
        """Return the numbers of segments of all scales that there could be, down to a single segment."""
        segments = [-(-self.lookback // self.segment)]
        while segments[-1] > 1:
            segments.append(-(-segments[-1] // 2))
        return segments


class Crossformer(Forecaster):
    """Two-stage attention over segments of characteristics: along time, then across characteristics through routers.

    Neighbouring segments are merged from scale to scale; the forecast is the sum of linear maps of every scale's last
    segments. Months missing for a first whole segment are added before it, not observed. The paper's decoder, which
    writes segments of the future of every series, has nothing to do here.

    Source: "Crossformer: transformer utilizing cross-dimension dependency for multivariate time series forecasting",
    ICLR 2023, sections 3.1 to 3.3.
    """

    name: ClassVar[str] = "crossformer"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = CrossformerSettings

    @classmethod
    def network(cls, point: Hyperparameters, inputs: int) -> nn.Module:
        """Return the network of a point for a number of inputs a month."""
        from factor_ray.models.forecasters.crossformer_network import CrossformerNetwork

        point = checked(point, CrossformerSettings)
        return CrossformerNetwork(
            inputs,
            point.segment,
            point.scales()[: point.layers],
            routers=point.routers,
            width=point.width,
            heads=point.heads,
            feedforward=point.feedforward,
            dropout=point.dropout,
        )
