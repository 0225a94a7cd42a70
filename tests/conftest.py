"""What several tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from toy_model import Toy

from factor_ray.models import registry


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> type[Toy]:
    """Register the toy model for one test."""
    monkeypatch.setitem(registry._OURS, "toy", "toy_model:Toy")
    Toy.packs.clear()
    return Toy


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Start the one Ray cluster that all tests of a session share: two slots, as on the smallest machine."""
    import logging

    import ray

    from factor_ray.runner.cluster import TUNE_DRIVER

    resources = {TUNE_DRIVER: 4}
    ray.init(address="local", num_cpus=2, include_dashboard=False, resources=resources, logging_level=logging.ERROR)
    yield
    ray.shutdown()
