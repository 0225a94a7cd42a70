"""iTransformer (Liu et al. 2024): each characteristic's history is a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from factor_ray.models.base import Hyperparameters, checked
from factor_ray.models.forecasters.base import AttentionSettings, Forecaster

if TYPE_CHECKING:
    from torch import nn


class ITransformerSettings(AttentionSettings):
    """Hyperparameters of iTransformer."""


class ITransformer(Forecaster):
    """Histories of characteristics are tokens that attend to each other; a linear map of all of them forecasts.

    Which months are observed is one more token, as the paper embeds time stamps. Tokens carry a learned mark of their
    characteristic: the paper forecasts every token's own series, here they stand for different things and one return
    is forecast. Histories are not normalised one by one: the level of a ranked characteristic is the signal.

    Source: "iTransformer: inverted transformers are effective for time series forecasting", ICLR 2024, section 3.
    """

    name: ClassVar[str] = "itransformer"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = ITransformerSettings

    @classmethod
    def network(cls, point: Hyperparameters, inputs: int) -> nn.Module:
        """Return the network of a point for a number of inputs a month."""
        from factor_ray.models.forecasters.itransformer_network import ITransformerNetwork

        point = checked(point, ITransformerSettings)
        return ITransformerNetwork(
            inputs, point.lookback, point.width, point.heads, point.layers, point.feedforward, point.dropout
        )
