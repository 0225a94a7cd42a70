"""DY-GAP: characteristics diffuse along graphs of correlated returns whose weights are learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import PositiveInt, model_validator

from factor_ray.data.sample import AssetArray, FloatArray
from factor_ray.models.base import Hyperparameters, checked, shape
from factor_ray.models.forecasters.cross_section import CrossSection, CrossSectionSettings
from factor_ray.models.forecasters.neighbours import LinkArray, significant

if TYPE_CHECKING:
    from torch import nn


class DYGAPSettings(CrossSectionSettings):
    """Hyperparameters of DY-GAP."""

    level: float = shape(0.05, "two-sided level at which a correlation is an edge of the graph", gt=0, lt=1)
    edges: PositiveInt = shape(
        16, "strongest edges of either sign that an asset keeps: memory and time grow with them, not with the assets'"
    )
    steps: PositiveInt = shape(2, "steps of the diffusion: how many edges a characteristic travels")
    width: PositiveInt = shape(32, "units of each graph layer; a multiple of heads")
    heads: PositiveInt = shape(4, "attention heads, each with weights of its own")
    hidden: PositiveInt = shape(32, "units of the dense layer after the graph layers")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"width must be a multiple of heads; got width {self.width} and heads {self.heads}: "
                f"take width {self.heads * max(1, round(self.width / self.heads))}"
            )
        return self


class DYGAP(CrossSection):
    """Graph attention on returns drives a diffusion of characteristics; beside it stands graph attention on them.

    Two graphs link assets whose returns over the last months are significantly positively and negatively correlated. On
    each, attention between the assets' returns weighs the edges, and with these weights P the diffusion convolution
    sum_k P^k X Theta_k is taken of the characteristics of the month; graph attention on the characteristics themselves
    stands beside it. Both go into a dense layer. A month of 5,000 assets and 88 characteristics takes 0.2 GB at the
    defaults while it is learned from.

    Scales come from training months alone (the published notebook takes those of all dates), and only the strongest
    edges of an asset are kept.

    Source: Uddin, Tao and Yu, "Attention based dynamic graph learning framework for asset pricing" (CIKM 2021); graph
    attention of Velickovic et al. (2018), diffusion convolution of Li et al. (2018).
    """

    name: ClassVar[str] = "dy_gap"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = DYGAPSettings

    @classmethod
    def links(cls, point: Hyperparameters, r_NM: FloatArray, asset_N: AssetArray) -> tuple[LinkArray, ...]:
        """Return the significant positive and negative neighbours."""
        settings = checked(point, DYGAPSettings)
        return significant(r_NM, asset_N, count=settings.edges, overlap=settings.overlap, level=settings.level)

    @classmethod
    def network(cls, point: Hyperparameters, inputs: int) -> nn.Module:
        """Return the network."""
        from factor_ray.models.forecasters.dy_gap_network import DYGAPNetwork

        return DYGAPNetwork(checked(point, DYGAPSettings), inputs)
