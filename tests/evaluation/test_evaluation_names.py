"""The public surface of the evaluation floor."""

from __future__ import annotations

import factor_ray.evaluation as evaluation


def test_every_public_name_exists_and_is_documented() -> None:
    assert sorted(evaluation.__all__) == list(evaluation.__all__)
    for name in evaluation.__all__:
        assert getattr(evaluation, name).__doc__, name
