"""PatchTST's network. Axes: B rows of a batch, L months, I inputs of a month, K patches of S months, D of a token."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from factor_ray.models.forecasters.blocks import Drop, Encoder, Network, head, positions


class PatchTSTNetwork(Network):
    """Every input's patches, embedded and encoded by the same weights; a linear map of all of them."""

    def __init__(
        self,
        inputs: int,
        lookback: int,
        patch: int,
        stride: int,
        *,
        width: int,
        heads: int,
        layers: int,
        feedforward: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.patch, self.stride = patch, stride
        self.before = -(lookback - patch) % stride
        patches = (lookback + self.before - patch) // stride + 1
        self.embed, self.position_KD = nn.Linear(patch, width), positions(patches, width)
        self.drop = Drop(dropout)
        self.encoder = Encoder(width, heads, layers, feedforward, dropout)
        self.head_drop, self.head = Drop(dropout), head(inputs * patches * width)

    def forecast(self, x_BLI: Tensor, observed_BL: Tensor) -> Tensor:
        """Return standardised forecasts (B,)."""
        x_BIKS = functional.pad(x_BLI.transpose(1, 2), (self.before, 0)).unfold(2, self.patch, self.stride)
        known_BK = functional.pad(observed_BL, (self.before, 0)).unfold(1, self.patch, self.stride).any(2)
        token_BIKD = self.drop(self.embed(x_BIKS) + self.position_KD)
        known_CK = known_BK.repeat_interleave(x_BIKS.shape[1], 0)  # C = B I histories
        code_CKD = self.encoder(token_BIKD.flatten(0, 1), known_CK) * known_CK[:, :, None]
        forecast_B1: Tensor = self.head(self.head_drop(code_CKD.view(len(x_BLI), -1)))
        return forecast_B1[:, 0]
