"""Ray Tune and Ray Train: a trial is one pack (with worker groups: all packs that are ready), a searcher feeds them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher, SearchGenerator

from factor_ray.errors import InputError, WorkError
from factor_ray.runner.campaign import Campaign
from factor_ray.runner.cells import CellStore
from factor_ray.runner.cluster import TUNE_DRIVER, Machines
from factor_ray.runner.fitting import AnyPack, Context, Pack, fit_packs, pack_from
from factor_ray.runner.inputs import Inputs

_TOLD: dict[str, type[InputError | WorkError]] = {"refused": InputError, "stopped": WorkError}
_RETRIES = 3  # of a trial whose worker died; what it had stored is not fitted again


def run_campaign(
    campaign: Campaign, inputs: Inputs, machines: Machines, *, on_progress: Callable[[Campaign], None]
) -> None:
    """Fit all that a campaign asks for.

    Parameters
    ----------
    campaign : Campaign
        On return it is finished, and every cell that it asked for is in its store.
    inputs : Inputs
        Put once into the object store; every worker maps it.
    machines : Machines
        Slots, worker groups and GPUs.
    on_progress : callable
        Told the campaign after every pack.

    Raises
    ------
    WorkError
        If a fit raised, or its worker died more often than is retried. Cells that were stored are kept.
    """
    if campaign.finished:
        return
    shared = {"inputs": [ray.put(inputs)], "store": str(campaign.store.root.resolve()), "machines": machines}
    searcher = _PackSearch(campaign, bundle=machines.workers is not None, on_progress=on_progress)
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    with tempfile.TemporaryDirectory(prefix="factor_ray-tune-", ignore_cleanup_errors=True) as scratch:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trial, shared=shared), _resources(machines)),
            tune_config=tune.TuneConfig(
                search_alg=_UntilDone(searcher, machines.slots),
                scheduler=_KeepActors(machines.slots),
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="packs",
                storage_path=scratch,
                failure_config=tune.FailureConfig(max_failures=_RETRIES),
                verbose=0,
            ),
        )
        results = tuner.fit()
    if isinstance(searcher.failure, WorkError) and results.errors:
        last_words = str(results.errors[0]).strip().splitlines()[-1:]
        raise WorkError(" ".join([str(searcher.failure), *last_words]))
    if searcher.failure is not None:
        raise searcher.failure
    if not campaign.finished:
        raise WorkError("the search ended before all packs were fitted; resume the run to fit what is missing")


class _PackSearch(Searcher):
    """Hands a campaign's packs to Tune and tells the campaign when they are done. Timing decides nothing."""

    def __init__(self, campaign: Campaign, *, bundle: bool, on_progress: Callable[[Campaign], None]) -> None:
        super().__init__(metric="packs", mode="max")
        self._campaign, self._bundle, self._on_progress = campaign, bundle, on_progress
        self._out: dict[str, list[AnyPack]] = {}
        self.failure: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether no more packs will come."""
        return self.failure is not None or self._campaign.finished

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        if self.done:
            finished: Any = Searcher.FINISHED
            return finished  # type: ignore[no-any-return]
        packs = []
        while (pack := self._campaign.take()) is not None:
            packs.append(pack)
            if not self._bundle:
                break
        if not packs:
            return None
        self._out[trial_id] = packs
        return {"packs": [pack.to_dict() for pack in packs]}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: a trial reports once."""

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,
    ) -> None:
        packs = self._out.pop(trial_id, None)
        if packs is None:  # Tune tells again of a trial that it could not put away
            return
        for key, kind in _TOLD.items():
            if result is not None and key in result:
                self.failure = self.failure or kind(result[key])
                return
        if error or not all(self._campaign.store.has(name) for pack in packs for name in pack.cells):
            first = packs[0]
            where = f"window {first.window + 1}" if isinstance(first, Pack) else "month by month"
            self.failure = self.failure or WorkError(
                f"fits of {first.model} at horizon {first.horizon}, {where}, could not be finished: their worker "
                f"failed {_RETRIES + 1} times; what was fitted is kept, and `resume` goes on from there."
            )
            return
        try:
            for pack in packs:
                self._campaign.complete(pack)
            self._on_progress(self._campaign)
        except Exception as ours:  # Tune would take it for the trial's, and run that again
            self.failure = self.failure or ours

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher for restores, which never happen here: there is nothing to keep."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the cell store is the truth."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a search is replayed from the store."""


class _UntilDone(SearchGenerator):
    """Tells Tune that the search is over with its last pack, before Tune would keep the actor for another."""

    def __init__(self, searcher: _PackSearch, slots: int) -> None:
        super().__init__(ConcurrencyLimiter(searcher, max_concurrent=slots))
        self._packs = searcher

    def is_finished(self) -> bool:
        return self._packs.done or bool(super().is_finished())


class _KeepActors(FIFOScheduler):
    """Lets Tune keep every slot's actor while a search waits for its last pack.

    By itself Tune keeps one actor for trials that are not there yet: at the end of a round all others would be stopped
    and, once the next round is known, started anew with all their imports.
    """

    def __init__(self, slots: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._slots, self._told = slots, False

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        cache = getattr(tune_controller, "_actor_cache", None)  # there is no public way; without it runs are slower
        if cache is not None and not self._told:
            cache.increase_max(trial.placement_group_factory, self._slots)
            self._told = True


def _trial(config: dict[str, Any], shared: dict[str, Any]) -> None:
    """Fit a trial's packs here, or on a worker group; refused input and a full disk are told, not retried.

    Other failures are retried by Tune, which replaces the whole trial: a lost driver, and a worker group too.
    """
    machines: Machines = shared["machines"]
    try:
        if machines.workers is None:
            _fit(config["packs"], shared, Context(device=_device(machines)))
        else:
            _on_worker_group(config["packs"], shared, machines)
    except (InputError, WorkError) as error:
        tune.report({"packs": 0, next(key for key, kind in _TOLD.items() if isinstance(error, kind)): str(error)})
        return
    tune.report({"packs": len(config["packs"])})


def _fit(packs: list[dict[str, Any]], shared: dict[str, Any], context: Context) -> None:
    inputs = ray.get(shared["inputs"][0])
    fit_packs([pack_from(pack) for pack in packs], inputs, CellStore(Path(shared["store"])), context)


def _device(machines: Machines) -> str:
    return "cuda" if machines.gpus else "cpu"


def _on_worker_group(packs: list[dict[str, Any]], shared: dict[str, Any], machines: Machines) -> None:
    import ray.train
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    told = Queue(actor_options={"num_cpus": 0})  # the workers may be on other nodes, and every disk full
    with tempfile.TemporaryDirectory(prefix="factor_ray-train-", ignore_cleanup_errors=True) as scratch:
        TorchTrainer(
            _worker,
            train_loop_config={"packs": packs, "shared": shared, "told": told},
            scaling_config=ray.train.ScalingConfig(num_workers=machines.workers or 1, use_gpu=machines.gpus > 0),
            run_config=ray.train.RunConfig(name=tune.get_context().get_trial_id(), storage_path=scratch),
        ).fit()
    if not told.empty():
        raise told.get()


def _worker(config: dict[str, Any]) -> None:
    """The train function of a worker group: its ranks take members.

    What would be told is handed to the trial: an exception would come wrapped, after Ray has printed it from each rank.
    """
    import ray.train

    here = ray.train.get_context()
    context = Context(
        rank=here.get_world_rank(), world=here.get_world_size(), device=_device(config["shared"]["machines"])
    )
    try:
        _fit(config["packs"], config["shared"], context)
    except (InputError, WorkError) as error:
        config["told"].put(error)


def _resources(machines: Machines) -> dict[str, float]:
    if machines.workers is not None:
        return {TUNE_DRIVER: 1}
    return {"cpu": 1, "gpu": 1} if machines.gpus else {"cpu": 1}
