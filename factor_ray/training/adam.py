"""Adam for a stack: every member has its own learning rate, weight decay and gradient clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from factor_ray.training.weights import WeightStack

# Axes: M members alive, n parameters of a member (padded).

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_CLIP_GUARD = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@dataclass(frozen=True)
class StepSettings:
    """How one member steps: Adam's learning rate, its weight decay (L2, added to the gradient) and the largest
    Euclidean norm of its gradient (``inf`` for no clip). ``decoupled`` decay shrinks the weights by themselves (AdamW).
    """

    learning_rate: float
    weight_decay: float = 0.0
    clip: float = float("inf")
    decoupled: bool = False


class StackedAdam:
    """Adam (Kingma and Ba 2015), as ``torch.optim.Adam`` or with decoupled decay ``AdamW``, for a `WeightStack`.

    On a CPU members are updated one after another, because a member's buffers fit in the cache and no sum then runs
    over two members; elsewhere the whole stack is updated by a few operations.

    Parameters
    ----------
    stack : WeightStack
        Weights to update in place, with their gradients.
    settings : sequence of StepSettings
        One a member alive.

    Attributes
    ----------
    learning_rates : list of float
        The current learning rate of each row.
    """

    def __init__(self, stack: WeightStack, settings: Sequence[StepSettings]) -> None:
        self._stack = stack
        self._settings = list(settings)
        self.learning_rates = [member.learning_rate for member in settings]
        self._first_Mn = torch.zeros_like(stack.value_Mn)
        self._second_Mn = torch.zeros_like(stack.value_Mn)
        self._steps_M = torch.zeros(len(settings), device=stack.value_Mn.device)
        self._columns = self._make_columns()
        self._rows = self._make_rows()

    def step(self, present: Sequence[bool] | None = None) -> None:
        """Clip the gradients, update the weights of the members that are present (default: all)."""
        if self._stack.value_Mn.device.type == "cpu":
            for row in range(len(self._settings)):
                if present is None or present[row]:
                    self._step_row(row)
        else:
            self._step_stack(present)

    def keep(self, rows: Sequence[int]) -> None:
        """Follow the stack after its own `keep` with the same rows."""
        self._settings = [self._settings[row] for row in rows]
        self.learning_rates = [self.learning_rates[row] for row in rows]
        self._first_Mn, self._second_Mn = self._first_Mn[list(rows)], self._second_Mn[list(rows)]
        self._steps_M = self._steps_M[list(rows)]
        self._columns = self._make_columns()
        self._rows = self._make_rows()

    def set_learning_rates(self, rates: Sequence[float]) -> None:
        """Go on with these learning rates, one a row."""
        self.learning_rates = list(rates)
        self._columns = self._make_columns()

    def _step_row(self, row: int) -> None:
        value_n, grad_n, first_n, second_n, steps = self._rows[row]
        member = self._settings[row]
        if member.clip != float("inf"):
            norm = float(torch.linalg.vector_norm(grad_n))
            if not norm <= member.clip:
                grad_n.mul_(member.clip / (norm + _CLIP_GUARD))
        steps += 1
        step = torch._fused_adamw_ if member.decoupled else torch._fused_adam_
        step(
            [value_n],
            [grad_n],
            [first_n],
            [second_n],
            [],
            [steps],
            lr=self.learning_rates[row],
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=member.weight_decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _step_stack(self, present: Sequence[bool] | None) -> None:
        value_Mn, grad_Mn = self._stack.value_Mn, self._stack.grad_Mn
        rate_M1, decay_M1, shrink_M1, clip_M1 = self._columns
        here_M1 = torch.ones_like(rate_M1) if present is None else self._column([float(flag) for flag in present])
        norm_M1 = torch.linalg.vector_norm(grad_Mn, dim=1, keepdim=True)
        grad_Mn.mul_((clip_M1 / (norm_M1 + _CLIP_GUARD)).clamp_(max=1.0))
        grad_Mn.addcmul_(value_Mn, decay_M1)
        value_Mn.mul_(1 - rate_M1 * shrink_M1 * here_M1)
        self._steps_M += here_M1[:, 0]
        self._first_Mn.addcmul_(grad_Mn - self._first_Mn, here_M1 * (1 - _BETAS[0]))
        self._second_Mn.addcmul_(grad_Mn.square() - self._second_Mn, here_M1 * (1 - _BETAS[1]))
        steps_M1 = self._steps_M[:, None].double().clamp_min(1.0)  # the first corrections cancel badly in float32
        first_bias_M1, second_bias_M1 = ((1 - beta**steps_M1).float() for beta in _BETAS)
        size_Mn = (self._second_Mn / second_bias_M1).sqrt_().add_(_EPSILON)
        value_Mn.addcdiv_(self._first_Mn * (-rate_M1 * here_M1 / first_bias_M1), size_Mn)

    def _make_rows(self) -> list[tuple[Tensor, ...]]:
        """Views of every row: weights, gradient, both moments and the number of steps."""
        buffers = (self._stack.value_Mn, self._stack.grad_Mn, self._first_Mn, self._second_Mn, self._steps_M)
        return [tuple(buffer[row] for buffer in buffers) for row in range(len(self._settings))]

    def _make_columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Learning rate, coupled and decoupled decay and clip as columns (M, 1), for the steps of the whole stack."""
        coupled = [0.0 if member.decoupled else member.weight_decay for member in self._settings]
        decoupled = [member.weight_decay if member.decoupled else 0.0 for member in self._settings]
        clip = [member.clip for member in self._settings]
        return tuple(map(self._column, (self.learning_rates, coupled, decoupled, clip)))  # type: ignore[return-value]

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._stack.value_Mn.device)[:, None]
