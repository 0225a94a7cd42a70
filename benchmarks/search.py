"""Our search in rounds of packs, against Ray Tune with OptunaSearch, on one already started Ray cluster.

    python benchmarks/search.py [--points 64] [--default-points 12] [--rounds 3]

All search the learning rate and dropout of the same tiny CB-APM on the same rows, which lie in the object store, with
two slots; ours in rounds of 16 points. Ray Tune's defaults take seconds a trial: they are given ``--default-points`` of
the points only, and times are per point. The contenders take turns, ``--rounds`` times, so that a busy machine slows
all alike; medians are shown. Ours also runs on one slot: points and scores must be the same.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from factor_ray import Windows, simulate
from factor_ray.data import excess_returns, prepare
from factor_ray.models import CBAPM, CBAPMSettings
from factor_ray.runner.campaign import Campaign, CellNames, Quest
from factor_ray.runner.cells import CellStore
from factor_ray.runner.cluster import Machines
from factor_ray.runner.inputs import Inputs, month_digests
from factor_ray.runner.search import search_forward
from factor_ray.runner.settings import SearchSettings
from factor_ray.runner.space import Range, Space
from factor_ray.runner.tuning import run_campaign
from factor_ray.stages import digest_inputs

FIXED: dict[str, Any] = {"hidden": (8,), "epochs": 3, "batch_size": 512}
BOUNDS = {"learning_rate": (1e-3, 1e-2), "dropout": (0.0, 0.5)}
SLOTS, HORIZON, SEED, ROUND = 2, 1, 0, 16

DEFAULTS, TUNED, OURS = "OptunaSearch, defaults", "OptunaSearch, reuse_actors, 2 at once", "factor_ray"
Scores = list[tuple[str, float]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--default-points", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, logging_level=logging.ERROR)
    try:
        inputs = tiny_inputs()
        ray.get([ray.remote(warm_up).remote() for _ in range(SLOTS)])
        contenders: dict[str, tuple[Callable[[], Any], int]] = {
            DEFAULTS: (lambda: optuna_search(inputs, options.default_points), options.default_points),
            TUNED: (lambda: optuna_search(inputs, options.points, reuse=True), options.points),
            OURS: (lambda: our_search(inputs, options.points, SLOTS), options.points),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(options.rounds):
            for name, (search, points) in contenders.items():
                started = time.perf_counter()
                found = search()
                seconds[name].append((time.perf_counter() - started) / points)
        show(seconds, {name: points for name, (_, points) in contenders.items()})
        alone = our_search(inputs, options.points, 1)
        assert found == alone, "one slot and two must find the same points and scores"
        print(f"1 and {SLOTS} slots: the same {len(alone)} points and scores, bit for bit")
    finally:
        ray.shutdown()


def show(seconds: dict[str, list[float]], points: dict[str, int]) -> None:
    """Print medians and their ratios to ours."""
    median = {name: float(np.median(values)) for name, values in seconds.items()}
    print(f"ray {ray.__version__}, {SLOTS} slots, medians of {len(seconds[OURS])} rounds")
    print("| search                                | points | seconds a point | times ours |")
    print("|---------------------------------------|--------|-----------------|------------|")
    for name, value in median.items():
        print(f"| {name:37} | {points[name]:6} | {value:15.3f} | {value / median[OURS]:10.1f} |")


def tiny_inputs() -> Inputs:
    """One window of a small simulated market."""
    panel = prepare(simulate(slots=60, months=100, seed=SEED).panel)
    windows = Windows.single(first_train_end="2004-12", validation=12).split(panel.months.tolist(), HORIZON)
    nothing = np.zeros((len(panel.months), 0), dtype=np.float32)
    return Inputs.of(panel, {HORIZON: excess_returns(panel, HORIZON)}, {HORIZON: windows}, {HORIZON: (nothing,)})


def warm_up() -> None:
    """Let the cluster start its workers before anyone's time is taken."""
    time.sleep(0.5)


def our_search(inputs: Inputs, points: int, slots: int) -> Scores:
    """Search as a run does; return hyperparameters and scores in the order in which they were asked for."""
    ranges = {
        "learning_rate": Range.model_validate({"log_uniform": BOUNDS["learning_rate"]}),
        "dropout": Range.model_validate({"uniform": BOUNDS["dropout"]}),
    }
    settings = SearchSettings.model_validate({"points": points, "round": ROUND})
    search = search_forward({"cbapm": Space(CBAPMSettings, FIXED, ranges)}, 1, settings, 1, SEED)
    digests = digest_inputs(inputs.panel, month_digests(inputs.panel), inputs.targets)
    names = CellNames.of("cbapm", HORIZON, inputs, digests, SEED)
    with tempfile.TemporaryDirectory() as cells:
        quest = Quest("cbapm", HORIZON, search, inputs.windows[HORIZON], names)
        campaign = Campaign([quest], CellStore(Path(cells)), slots=slots)
        run_campaign(campaign, inputs, Machines(slots, None, 0), on_progress=lambda _: None)
    assert quest.selection is not None
    return [(request.point.settings.model_dump_json(), score) for request, score in quest.selection.scores.items()]


def optuna_search(inputs: Inputs, points: int, *, reuse: bool = False) -> None:
    """Search as a user of Ray Tune would: a trial a point."""
    os.environ.pop("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", None)  # ours turns them off for itself
    shared = [ray.put(inputs)]
    ours = {"max_concurrent_trials": SLOTS, "reuse_actors": True} if reuse else {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            tune.with_parameters(fit_point, shared=shared),
            param_space={
                "learning_rate": tune.loguniform(*BOUNDS["learning_rate"]),
                "dropout": tune.uniform(*BOUNDS["dropout"]),
            },
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(metric="score", mode="min", seed=SEED), num_samples=points, **ours
            ),
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        )
        results = tuner.fit()
    assert results.num_errors == 0
    assert len(results) == points


def fit_point(config: dict[str, float], shared: list[Any]) -> None:
    """Fit one point, as a trial of Ray Tune."""
    inputs: Inputs = ray.get(shared[0])
    window = inputs.windows[HORIZON][0]
    fit = CBAPM.fit_pack(
        [CBAPMSettings(**FIXED, **config)],
        [SEED],
        inputs.view(HORIZON, 0).train(window),
        inputs.view(HORIZON, 0).validation(window),
        order_seed=SEED,
    )[0]
    tune.report({"score": fit.scores["selection"]})


if __name__ == "__main__":
    main()
