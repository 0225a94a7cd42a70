"""What a machine cannot give is refused before anything is read."""

from __future__ import annotations

import os

import pytest

from factor_ray.errors import InputError
from factor_ray.runner.settings import ComputeSettings


@pytest.mark.parametrize("key", ["slots", "workers"])
def test_more_processes_than_processors_are_refused(monkeypatch, key):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cpus = os.cpu_count()
    ComputeSettings(**{key: cpus}).require_processors()
    ComputeSettings(slots="auto", workers="auto").require_processors()
    sentence = (
        rf"compute.{key} is {cpus + 1}, and this machine has {cpus} CPUs: lower it to {cpus} or less, or set auto"
    )
    with pytest.raises(InputError, match=sentence):
        ComputeSettings(**{key: cpus + 1}).require_processors()


def test_a_cluster_may_have_more(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    ComputeSettings(workers=10_000).require_processors()
