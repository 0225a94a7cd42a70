"""The Ray cluster that a run uses: its own on a laptop, the one it was submitted to on a cluster."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import ray

from factor_ray.errors import InputError
from factor_ray.runner.settings import ComputeSettings

TUNE_DRIVER = "tune_driver"
"""Resource of trials that only wait for a worker group: held CPUs would starve the workers."""


@dataclass(frozen=True)
class Machines:
    """What a run may use: packs at once, processes of a worker group (None: fits in reused actors), GPUs."""

    slots: int
    workers: int | None
    gpus: int


@contextmanager
def cluster(settings: ComputeSettings) -> Iterator[Machines]:
    """Connect to the cluster of ``RAY_ADDRESS`` (set inside a Ray job) or start one for this run, and leave it again.

    Raises
    ------
    InputError
        If the cluster lacks what the settings ask for.
    """
    _quiet()
    if ray.is_initialized():
        yield _machines(settings)
        return
    own = not os.environ.get("RAY_ADDRESS")
    if not own:
        ray.init(logging_level=logging.ERROR)
    else:
        settings.require_processors()
        cpus = os.cpu_count() or 1
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            resources={TUNE_DRIVER: cpus},
            logging_level=logging.ERROR,
        )
    try:
        yield _machines(settings)
    finally:
        if own:
            _end_autoscaler()
        ray.shutdown()


def _machines(settings: ComputeSettings) -> Machines:
    has: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    cpus, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
    if isinstance(settings.gpus, int):
        if settings.gpus > gpus:
            raise InputError(f"compute.gpus asks for {settings.gpus}; the cluster has {gpus}: lower it, or set auto")
        gpus = settings.gpus
    if settings.workers == "auto":
        auto = gpus or max(cpus, 1)
        return Machines(auto if settings.slots == "auto" else settings.slots, None, gpus)
    limit = gpus or cpus
    if settings.workers > limit:
        raise InputError(
            f"compute.workers asks for worker groups of {settings.workers}; the cluster has {limit} "
            f"{'GPUs' if gpus else 'CPUs'}: lower it, or set auto"
        )
    if TUNE_DRIVER not in has:
        raise InputError(
            "compute.workers needs a cluster that declares the resource tune_driver: start its head with "
            f"`ray start --head --resources='{{\"{TUNE_DRIVER}\": 8}}'`, or set compute.workers to auto"
        )
    groups = limit // settings.workers
    return Machines(groups if settings.slots == "auto" else min(settings.slots, groups), settings.workers, gpus)


def _end_autoscaler() -> None:
    """End the autoscaler, which has nothing to scale on one machine.

    Ray ends it after what it reports to, and waits for a second that it tries to.
    """
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it may have ended by itself
            if any("/autoscaler/" in part and part.endswith("/monitor.py") for part in child.cmdline()):
                child.kill()


def _quiet() -> None:
    """Keep Ray's and Tune's chatter from the user's terminal; failures are raised."""
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    # Tune would warn that trials left no result files: their loggers are off, the cell store is the truth.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
