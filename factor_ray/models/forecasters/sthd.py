"""STHD: a forecast of one asset from its own history and those of the assets that move with it most."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import PositiveInt, model_validator

from factor_ray.data.sample import AssetArray, FloatArray
from factor_ray.models.base import Hyperparameters, checked, shape
from factor_ray.models.forecasters.cross_section import CrossSection, CrossSectionSettings
from factor_ray.models.forecasters.neighbours import LinkArray, most_correlated

if TYPE_CHECKING:
    from torch import nn


class STHDSettings(CrossSectionSettings):
    """Hyperparameters of STHD."""

    lookback: PositiveInt = shape(12, "months of characteristics and returns that are seen of every asset")
    patch: PositiveInt = shape(6, "months of a token; where it does not divide lookback the first is filled up")
    neighbours: PositiveInt = shape(8, "most correlated assets whose histories stand beside the target's")
    width: PositiveInt = shape(32, "numbers that describe a token; a multiple of heads")
    heads: PositiveInt = shape(4, "attention heads")
    layers: PositiveInt = shape(2, "encoder layers")
    feedforward: PositiveInt = shape(64, "hidden units of a layer's feed-forward part")

    @property
    def seen_months(self) -> int:
        """Months of characteristics that are seen."""
        return self.lookback

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads; got width {self.width} and heads {self.heads}: "
                f"take width {self.heads * max(1, round(self.width / self.heads))}"
            )
        return self


class STHD(CrossSection):
    """A transformer over the patches of an asset and of its most correlated assets.

    Every asset's last months (characteristics, macro state, own return) are cut into patches, which are tokens; the
    tokens of the target and of its neighbours are one sequence for an encoder, and a linear head reads the target's. A
    month of 5,000 assets and 88 characteristics takes 0.5 GB at the defaults while it is learned from.

    The relation matrix is of 36 months up to the forecast's own instead of one of all training data, months are batches
    as in its ReIndex with a group of all assets, and series are not normalised by instance, which would delete the
    level of a ranked characteristic.

    Source: Zhou et al., "Scalable Transformer for High Dimensional Multivariate Time Series Forecasting" (CIKM 2024),
    arXiv 2408.04245.
    """

    name: ClassVar[str] = "sthd"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = STHDSettings

    @classmethod
    def links(cls, point: Hyperparameters, r_NM: FloatArray, asset_N: AssetArray) -> tuple[LinkArray, ...]:
        """Return the most correlated assets."""
        settings = checked(point, STHDSettings)
        return (most_correlated(r_NM, asset_N, count=settings.neighbours, overlap=settings.overlap),)

    @classmethod
    def network(cls, point: Hyperparameters, inputs: int) -> nn.Module:
        """Return the network."""
        from factor_ray.models.forecasters.sthd_network import STHDNetwork

        return STHDNetwork(checked(point, STHDSettings), inputs)
