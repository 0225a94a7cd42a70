"""A product's bits do not depend on where in memory its operands begin."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

LINE = 16  # float32 elements of a cache line


def placed(x: torch.Tensor, offset: int) -> torch.Tensor:
    """Copy to an address that many elements after a cache line's start."""
    memory = torch.empty(x.numel() + 2 * LINE)
    start = -(memory.data_ptr() // 4) % LINE + offset
    return memory[start : start + x.numel()].view(x.shape).copy_(x)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(100, 5, 1), (1, 7, 64), (97, 7, 13), (200, 64, 32)])
def test_where_operands_begin_changes_no_bit(rows, inputs, outputs):
    torch.manual_seed(0)
    x, weight = torch.randn(1, rows, inputs), torch.randn(1, inputs, outputs)
    grad = torch.randn(1, rows, outputs)
    expected = [x @ weight, grad @ weight.mT, x.mT @ grad]
    for one, other in [(1, 0), (0, 1), (4, 1), (1, 4), (8, 4)]:
        found = [placed(x, one) @ placed(weight, other)]
        found += [placed(grad, one) @ placed(weight, other).mT, placed(x, one).mT @ placed(grad, other)]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_users_own_choice_is_kept():
    code = "import factor_ray, os; print(os.environ['MKL_CBWR'])"
    environment = {**os.environ, "MKL_CBWR": "COMPATIBLE"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).stdout == b"COMPATIBLE\n"
