"""PatchTST (Nie, Nguyen, Sinthong and Kalagnanam 2023): patches of every characteristic's history, one encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import PositiveInt, model_validator

from factor_ray.models.base import Hyperparameters, checked, shape
from factor_ray.models.forecasters.base import AttentionSettings, Forecaster

if TYPE_CHECKING:
    from torch import nn


class PatchTSTSettings(AttentionSettings):
    """Hyperparameters of PatchTST."""

    width: PositiveInt = shape(16, "numbers that describe a patch; a multiple of heads")
    feedforward: PositiveInt = shape(32, "hidden units of a layer's feed-forward part")
    patch: PositiveInt = shape(4, "months of a patch; at most lookback")
    stride: PositiveInt = shape(2, "months between the beginnings of two patches; at most patch")

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        if self.patch > self.lookback:
            raise ValueError(
                f"patch must be at most lookback; got patch {self.patch} and lookback {self.lookback}: "
                f"take patch {self.lookback} or a longer lookback"
            )
        if self.stride > self.patch:
            raise ValueError(
                f"stride must be at most patch, or months are skipped; got stride {self.stride} and patch "
                f"{self.patch}: take stride {self.patch}"
            )
        return self


class PatchTST(Forecaster):
    """Patches of each characteristic's history are tokens of one encoder; a flatten head maps all of them to a return.

    Histories are not normalised one by one: the level of a ranked characteristic is the signal. Months missing for a
    last whole patch are added before the first, not observed.

    Source: "A time series is worth 64 words", ICLR 2023, section 3; LayerNorm stands for its batch normalisation, so
    that a forecast depends on no other row.
    """

    name: ClassVar[str] = "patchtst"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = PatchTSTSettings

    @classmethod
    def network(cls, point: Hyperparameters, inputs: int) -> nn.Module:
        """Return the network of a point for a number of inputs a month."""
        from factor_ray.models.forecasters.patchtst_network import PatchTSTNetwork

        point = checked(point, PatchTSTSettings)
        return PatchTSTNetwork(
            inputs,
            point.lookback,
            point.patch,
            point.stride,
            width=point.width,
            heads=point.heads,
            layers=point.layers,
            feedforward=point.feedforward,
            dropout=point.dropout,
        )
