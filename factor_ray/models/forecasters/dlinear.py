"""DLinear (Zeng, Chen, Zhang and Xu 2023): trend and remainder, one linear map each along time."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt, field_validator

from factor_ray.models.base import Hyperparameters, checked, shape
from factor_ray.models.forecasters.base import Forecaster, ForecasterSettings

if TYPE_CHECKING:
    from torch import nn


class DLinearSettings(ForecasterSettings):
    """Hyperparameters of DLinear; ``dropout`` drops characteristics before the last map."""

    average: PositiveInt = shape(5, "months of the centred moving average that is the trend; odd (the paper: 25)")

    @field_validator("average")
    @classmethod
    def _is_odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"average must be odd, so that it has a middle month; got {value}: take {value + 1}")
        return value


class DLinear(Forecaster):
    """Two linear maps along time, shared by the characteristics, and a linear map of what they give.

    Source: "Are transformers effective for time series forecasting?", AAAI 2023, section 4.1; the last map is ours.
    """

    name: ClassVar[str] = "dlinear"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = DLinearSettings

    @classmethod
    def network(cls, point: Hyperparameters, inputs: int) -> nn.Module:
        """Return the network of a point for a number of inputs a month."""
        from factor_ray.models.forecasters.dlinear_network import DLinearNetwork

        point = checked(point, DLinearSettings)
        return DLinearNetwork(inputs, point.lookback, point.average, point.dropout)
