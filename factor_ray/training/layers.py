"""The layers of a stack: every member has its own weights along the leading axis.

Axes: S members of one pass, B rows of a batch (or of a block of it), I inputs, O outputs, H units.

On a CPU a member's bits do not depend on S: matrix products are taken member by member, sums run within a member, and
elementwise functions whose vector and scalar code differ in bits never see an element outside whole vectors.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_BIT_VALUES = 2**16
_NORM_EPSILON = 1e-5
_VECTOR = 64  # elements: a whole number of vectors of every CPU, with the unrolling of torch's loops


def he_normal(generator: np.random.Generator, inputs: int, outputs: int, scale: float = 1.0) -> Tensor:
    """Draw a weight matrix (I, O) with variance ``scale**2 * 2 / inputs`` (He et al. 2015)."""
    deviation = scale * math.sqrt(2.0 / inputs)
    return torch.from_numpy(generator.standard_normal((inputs, outputs), dtype=np.float32) * np.float32(deviation))


def linear(x_SBI: Tensor, weight_SIO: Tensor, bias_SO: Tensor) -> Tensor:
    """Affine map of each member: (S, B, O)."""
    out_SBO: Tensor = _Linear.apply(x_SBI, weight_SIO, bias_SO)  # type: ignore[no-untyped-call]
    return out_SBO


def gelu(x_SBH: Tensor) -> Tensor:
    """Gaussian error linear unit, exact form: (S, B, H)."""
    members = x_SBH.shape[0]
    if members == 1 or x_SBH.is_cuda or x_SBH[0].numel() % _VECTOR == 0:
        return functional.gelu(x_SBH)
    return torch.cat([functional.gelu(x_SBH[member : member + 1]) for member in range(members)])


def gelu_backward(grad_SBH: Tensor, x_SBH: Tensor) -> Tensor:
    """Gradient of :func:`gelu` with respect to its input: (S, B, H)."""
    backward, members = torch.ops.aten.gelu_backward, x_SBH.shape[0]
    if members == 1 or x_SBH.is_cuda or x_SBH[0].numel() % _VECTOR == 0:
        return backward(grad_SBH, x_SBH)  # type: ignore[no-any-return]
    rows = [slice(member, member + 1) for member in range(members)]
    return torch.cat([backward(grad_SBH[row], x_SBH[row]) for row in rows])


class Dropout:
    """Makes dropout masks from random 16-bit numbers, with a probability of its own for every member.

    A probability is rounded to a multiple of 2**-16, and the factor of the units kept is made from the rounded one, so
    that the mean is kept exactly.

    Parameters
    ----------
    probability_S : float tensor (S,)
        Probability of dropping a unit, in [0, 1).
    """

    def __init__(self, probability_S: Tensor) -> None:
        dropped_S = (probability_S.double() * _BIT_VALUES).round().clamp(max=_BIT_VALUES - 1)
        self._threshold_S11 = (dropped_S - _BIT_VALUES // 2).to(torch.int16)[:, None, None]
        self._factor_S11 = (_BIT_VALUES / (_BIT_VALUES - dropped_S)).float()[:, None, None]

    def mask(self, bits_SBH: Tensor) -> Tensor:
        """Return what to multiply units with, float32 (S, B, H): 0, or the reciprocal of the keep probability.

        ``bits_SBH`` is int16, uniform over all its values; a unit falls where they are below the member's threshold.
        """
        mask_SBH = torch.empty(bits_SBH.shape, device=bits_SBH.device)
        torch.ge(bits_SBH, self._threshold_S11, out=mask_SBH)
        return mask_SBH.mul_(self._factor_S11)


def hidden_layer(
    x_SBI: Tensor, weight_SIO: Tensor, bias_SO: Tensor, gain_SO: Tensor, shift_SO: Tensor, mask_SBO: Tensor | None
) -> Tensor:
    """Linear, layer norm (Ba et al. 2016), GELU and dropout as one node of the graph: (S, B, O).

    One node, because at ordinary batch sizes autograd's own work for four costs more than their arithmetic.
    ``mask_SBO`` is made by `Dropout`, or None without dropout.
    """
    parameters = (weight_SIO, bias_SO, gain_SO, shift_SO)
    out_SBO: Tensor = _HiddenLayer.apply(x_SBI, *parameters, mask_SBO)  # type: ignore[no-untyped-call]
    return out_SBO


def square_loss(forecast_SBC: Tensor, target_BC: Tensor, share_BC: Tensor) -> Tensor:
    """Weighted sum of squared errors of each member: (S,); a masked target has share 0."""
    loss_S: Tensor = _SquareLoss.apply(forecast_SBC, target_BC, share_BC)  # type: ignore[no-untyped-call]
    return loss_S


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_SBI: Tensor, weight_SIO: Tensor, bias_SO: Tensor) -> Tensor:
        ctx.save_for_backward(x_SBI, weight_SIO)
        return torch.baddbmm(bias_SO[:, None, :], x_SBI, weight_SIO)

    @staticmethod
    def backward(ctx: Any, grad_SBO: Tensor) -> tuple[Tensor | None, ...]:
        x_SBI, weight_SIO = ctx.saved_tensors
        x_grad_SBI = torch.bmm(grad_SBO, weight_SIO.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        return x_grad_SBI, torch.bmm(x_SBI.transpose(1, 2), grad_SBO), grad_SBO.sum(1)


class _HiddenLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_SBI: Tensor,
        weight_SIO: Tensor,
        bias_SO: Tensor,
        gain_SO: Tensor,
        shift_SO: Tensor,
        mask_SBO: Tensor | None,
    ) -> Tensor:
        linear_SBO = torch.baddbmm(bias_SO[:, None, :], x_SBI, weight_SIO)
        normal_SBO, mean, deviation = _normalise(linear_SBO, gain_SO, shift_SO)
        ctx.save_for_backward(x_SBI, weight_SIO, gain_SO, shift_SO, mask_SBO, linear_SBO, mean, deviation, normal_SBO)
        out_SBO = gelu(normal_SBO)
        return out_SBO if mask_SBO is None else out_SBO.mul_(mask_SBO)

    @staticmethod
    def backward(ctx: Any, grad_SBO: Tensor) -> tuple[Tensor | None, ...]:
        x_SBI, weight_SIO, gain_SO, shift_SO, mask_SBO, linear_SBO, mean, deviation, normal_SBO = ctx.saved_tensors
        if mask_SBO is not None:
            grad_SBO = grad_SBO * mask_SBO
        grad_SBO = gelu_backward(grad_SBO, normal_SBO)
        grad_SBO, gain_grad_SO, shift_grad_SO = _normalise_backward(
            grad_SBO, linear_SBO, mean, deviation, gain_SO, shift_SO
        )
        x_grad_SBI = torch.bmm(grad_SBO, weight_SIO.transpose(1, 2)) if ctx.needs_input_grad[0] else None
        weight_grad_SIO = torch.bmm(x_SBI.transpose(1, 2), grad_SBO)
        return x_grad_SBI, weight_grad_SIO, grad_SBO.sum(1), gain_grad_SO, shift_grad_SO, None


class _SquareLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, forecast_SBC: Tensor, target_BC: Tensor, share_BC: Tensor) -> Tensor:
        error_SBC = forecast_SBC - target_BC
        weighted_SBC = error_SBC * share_BC
        ctx.save_for_backward(weighted_SBC)
        return error_SBC.mul_(weighted_SBC).sum((1, 2))

    @staticmethod
    def backward(ctx: Any, grad_S: Tensor) -> tuple[Tensor, None, None]:
        (weighted_SBC,) = ctx.saved_tensors
        return weighted_SBC * (2 * grad_S[:, None, None]), None, None


def _normalise(x_SBH: Tensor, gain_SH: Tensor, shift_SH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Layer norm with each member's gain and shift; also the means and reciprocal deviations of the rows."""
    units = x_SBH.shape[2:]
    if x_SBH.shape[0] == 1:
        return torch.native_layer_norm(x_SBH, units, gain_SH[0], shift_SH[0], _NORM_EPSILON)
    normal_SBH, mean, deviation = torch.native_layer_norm(x_SBH, units, None, None, _NORM_EPSILON)
    return torch.addcmul(shift_SH[:, None, :], normal_SBH, gain_SH[:, None, :]), mean, deviation


def _normalise_backward(
    grad_SBH: Tensor, x_SBH: Tensor, mean: Tensor, deviation: Tensor, gain_SH: Tensor, shift_SH: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    units, backward = x_SBH.shape[2:], torch.ops.aten.native_layer_norm_backward
    if x_SBH.shape[0] == 1:
        grad_SBH, gain_grad_H, shift_grad_H = backward(
            grad_SBH, x_SBH, units, mean, deviation, gain_SH[0], shift_SH[0], [True, True, True]
        )
        return grad_SBH, gain_grad_H[None], shift_grad_H[None]
    gain_grad_SH = ((x_SBH - mean) * deviation * grad_SBH).sum(1)
    shift_grad_SH = grad_SBH.sum(1)
    grad_SBH = grad_SBH * gain_SH[:, None, :]
    grad_SBH = backward(grad_SBH, x_SBH, units, mean, deviation, None, None, [True, False, False])[0]
    return grad_SBH, gain_grad_SH, shift_grad_SH
