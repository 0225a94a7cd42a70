"""The layers of a stack: every member has its own weights along the leading axis.

Axes: S members of one pass, B rows of a batch (or of a block of it), I inputs, O outputs, H units.

On a CPU a member's bits do not depend on S: matrix products are taken member by member, sums run within a member, and
elementwise functions whose vector and scalar code differ in bits never see an element outside whole vectors.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_BIT_VALUES = 2**16
_VECTOR = 64  # elements: a whole number of vectors of every CPU, with the unrolling of torch's loops


def he_normal(generator: np.random.Generator, inputs: int, outputs: int, scale: float = 1.0) -> Tensor:
    """Draw a weight matrix (I, O) with variance ``scale**2 * 2 / inputs`` (He et al. 2015)."""
    deviation = scale * math.sqrt(2.0 / inputs)
    return torch.from_numpy(generator.standard_normal((inputs, outputs), dtype=np.float32) * np.float32(deviation))


def linear(x_SBI: Tensor, weight_SIO: Tensor, bias_SO: Tensor) -> Tensor:
    """Affine map of each member: (S, B, O)."""
    return torch.baddbmm(bias_SO[:, None, :], x_SBI, weight_SIO)


def layer_norm(x_SBH: Tensor, gain_SH: Tensor, shift_SH: Tensor) -> Tensor:
    """Normalise each row over its units, then scale and shift (Ba et al. 2016): (S, B, H)."""
    if x_SBH.shape[0] == 1:
        return functional.layer_norm(x_SBH, x_SBH.shape[2:], gain_SH[0], shift_SH[0])
    normal_SBH = functional.layer_norm(x_SBH, x_SBH.shape[2:])
    return torch.addcmul(shift_SH[:, None, :], normal_SBH, gain_SH[:, None, :])


def gelu(x_SBH: Tensor) -> Tensor:
    """Gaussian error linear unit, exact form: (S, B, H)."""
    members = x_SBH.shape[0]
    if members == 1 or x_SBH.is_cuda or x_SBH[0].numel() % _VECTOR == 0:
        return functional.gelu(x_SBH)
    return torch.cat([functional.gelu(x_SBH[member : member + 1]) for member in range(members)])


def dropout(x_SBH: Tensor, bits_SBH: Tensor, probability_S: Tensor) -> Tensor:
    """Zero units where a member's random 16-bit numbers fall below its probability; scale the others up.

    The probability is rounded to a multiple of 2**-16, and the scale is the reciprocal of the rounded keep
    probability, so that the mean is kept exactly.

    Parameters
    ----------
    x_SBH : float32 tensor (S, B, H)
    bits_SBH : int16 tensor (S, B, H)
        Uniform over all int16 values.
    probability_S : float tensor (S,)
        Probability of zeroing a unit, in [0, 1).
    """
    dropped_S = (probability_S * _BIT_VALUES).round().clamp(max=_BIT_VALUES - 1)
    threshold_S11 = (dropped_S - _BIT_VALUES // 2).to(torch.int16)[:, None, None]
    scale_S11 = (_BIT_VALUES / (_BIT_VALUES - dropped_S)).to(x_SBH.dtype)[:, None, None]
    mask_SBH = torch.empty_like(x_SBH, requires_grad=False)
    torch.ge(bits_SBH, threshold_S11, out=mask_SBH)
    return x_SBH * mask_SBH.mul_(scale_S11)
