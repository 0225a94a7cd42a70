"""Linear algebra has one thread wherever a run computes: its own threads, and Ray's workers, share the processors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from factor_ray.audit.audit import audit_experiment
from factor_ray.live import predict, refit
from factor_ray.models.quantile import quantile_regressions
from factor_ray.pipeline import run_experiment
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import Context, fit_packs
from factor_ray.threads import one_blas_thread


class Asked(Exception):
    """Raised by what is asked for anything."""


class Asking:
    """Stands for an experiment, a run, a pack or a matrix: asked for anything, it tells the threads of that moment."""

    def __getattr__(self, name: str) -> Any:
        raise Asked(blas_threads())


CALLS: dict[str, Callable[[Any, Path], object]] = {
    "run": lambda asking, _: run_experiment(asking),
    "refit": lambda asking, _: refit(asking),
    "predict": lambda asking, folder: predict(asking, folder, folder),
    "audit": lambda asking, folder: audit_experiment(asking, CellStore(folder)),
    "solver": lambda asking, _: quantile_regressions([(asking, [0.0])], [0.5]),
    "fits": lambda asking, folder: fit_packs([asking], asking, CellStore(folder), Context()),
}


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_whatever_computes_has_one_blas_thread(call, tmp_path):
    """Two would be started in each of the run's threads; the caller's setting is restored, also after an error."""
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(Asked) as asked:
            call(Asking(), tmp_path)
        assert asked.value.args == ({1},)
        assert blas_threads() == {2}


def test_bits_do_not_depend_on_the_callers_threads():
    """Two threads split a system of equations elsewhere than one does, and round elsewhere."""
    x_NK = np.random.default_rng(0).standard_normal((600, 300))
    found = set()
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"), one_blas_thread():
            found.add(np.linalg.svd(x_NK)[1].tobytes())
    assert len(found) == 1
