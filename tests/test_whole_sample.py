"""The estimate from the whole sample: its cell is read, made again where it is corrupt, and otherwise left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from test_loadings import finished
from toy_model import Toy

from factor_ray.models import registry
from factor_ray.whole_sample import whole_sample


class Whole(Toy):
    """The toy with an estimate of the whole sample, which counts how often it is made."""

    name: ClassVar[str] = "whole"
    estimated: ClassVar[list[int]] = []

    @classmethod
    def in_sample(cls, point: Any, seed: int, sample: Any) -> tuple[Any, None]:  # noqa: ARG003
        cls.estimated.append(seed)
        return sample.x_NP[:, 0].astype(np.float32), None


def test_a_corrupt_estimate_is_set_aside_and_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._OURS, "whole", "test_whole_sample:Whole")
    Whole.estimated.clear()
    campaign, inputs = finished(tmp_path, "whole")
    before, warned = set(tmp_path.rglob("*.safetensors")), []

    def estimate() -> np.ndarray:
        found = whole_sample(campaign.quests[0], inputs, campaign.store, warned.append)
        assert found is not None
        assert found.fitted.returns is not None
        return found.fitted.returns

    first = estimate()
    np.testing.assert_array_equal(estimate(), first)
    assert (len(Whole.estimated), warned) == (1, [])

    (cell,) = set(tmp_path.rglob("*.safetensors")) - before
    cell.write_bytes(cell.read_bytes()[:-3])
    np.testing.assert_array_equal(estimate(), first)
    assert len(Whole.estimated) == 2
    assert "is truncated or not a cell" in warned[0]
    assert f"moved to {tmp_path / 'corrupt' / cell.name}" in warned[0]
    assert cell.is_file()
