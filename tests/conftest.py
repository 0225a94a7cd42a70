"""What several tests share."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from toy_model import Toy

from factor_ray.models import registry

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling


@pytest.hookimpl(optionalhook=True)  # it is not there without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Share the tests among processes file by file, so that no fixture is made twice; files on the Ray cluster are one.

    The groups of ``--dist loadgroup`` would name tests rather than files, but xdist 3.8 loses them under pytest 9.2
    (its issue 1386).
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "ray" if _on_ray(config.rootpath / file) else file

    config.option.loadscopereorder = False  # but as the processes order them, see below
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the Ray cluster's tests where processes share the tests: they are the longest of what is not split."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not _on_ray(item.path))


@cache
def _on_ray(file: Path) -> bool:
    return "ray_cluster" in file.read_text(encoding="utf-8")


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
