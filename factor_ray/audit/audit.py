"""The audit itself: the whole line on perturbed copies of the data, on the original window calendar."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from factor_ray import stages
from factor_ray.audit.compare import (
    Parting,
    fits_part,
    forecasts_part,
    inputs_part,
    searches_part,
    states_part_again,
)
from factor_ray.audit.copies import Change
from factor_ray.audit.line import Fitter, Line, fit_here, search_line, walk_to_inputs
from factor_ray.audit.perturb import perturbed
from factor_ray.audit.screen import suspicious_inputs
from factor_ray.audit.verdict import Finding, Verdict
from factor_ray.data.load import load
from factor_ray.data.months import format_month
from factor_ray.data.windows import Window
from factor_ray.experiment import Experiment
from factor_ray.report.audit import audited_identity
from factor_ray.runner.cells import CellStore
from factor_ray.threads import one_blas_thread

_CHANGES: tuple[Change, ...] = ("noise", "deletion")


@one_blas_thread()
def audit_experiment(
    experiment: Experiment,
    store: CellStore,
    *,
    fit: Fitter = fit_here,
    say: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Audit an experiment for look-ahead.

    For t = the first test month of the first, the middle and the last window the line is walked twice more: with noise
    in place of everything dated after t (compared to the bit), and with everything dated after t deleted (to 1e-6).
    Compared is all that is decided by t: the source's rows, prepared inputs, targets of training and validation, macro
    states, points proposed, pruned and selected, ensembles, and every predictive forecast of months up to t. Fits are
    those of the unperturbed line where they read the same bytes; one per model, and the macro state, is fitted again as
    proof. A screen of the inputs looks for leaks that are dated as if they were known.

    Parameters
    ----------
    experiment : Experiment
    store : CellStore
        The run's cells: what it lacks is fitted.
    fit : callable
        Fits what the unperturbed line lacks; in this process by default.
    say : callable
        Told one line of each step.

    Returns
    -------
    Verdict

    Raises
    ------
    InputError
        If the data or the settings cannot be used.
    """
    started = time.time()
    loaded = load(experiment.data)
    windows = stages.lay_windows(experiment, loaded.panel)
    base = walk_to_inputs(experiment, loaded, windows, store)
    say("searching the unperturbed line")
    search_line(base, fit)
    findings = [Finding("", "screen", "source", name, why) for name, why in suspicious_inputs(loaded.panel).items()]
    audited = _audited_windows(windows)
    walks_of: dict[str, list[str]] = {}  # by what was perturbed in them
    refitted: list[str] = []
    months = [next(iter(windows.values()))[number].test[0] for number in audited]
    with tempfile.TemporaryDirectory(prefix="factor_ray-audit-") as folder:
        for number, month in zip(audited, months, strict=True):
            for change in _CHANGES:
                walk = f"{change} after {format_month(month)}"
                say(walk)
                data, told = perturbed(experiment, loaded, month, change, Path(folder))
                walks_of.setdefault(told, []).append(walk)
                other = walk_to_inputs(experiment, data, _until(windows, number, month), store)
                scratch = Path(folder) / f"{change}-{number}"
                proof = number == audited[0] and change == "noise"
                parting = _first_parting(base, other, month, change, scratch, refitted if proof else None)
                if parting is not None:
                    findings.append(Finding(format_month(month), change, parting.stage, parting.column, parting.detail))
    identity = audited_identity(experiment.model_dump(mode="json", by_alias=True), loaded.lineage)
    seconds = time.time() - started
    dated = [format_month(month) for month in months]
    return Verdict(findings, dated, _what_was_perturbed(walks_of), refitted, identity, seconds)


def _first_parting(
    base: Line, other: Line, month: int, change: Change, scratch: Path, refitted: list[str] | None
) -> Parting | None:
    """Compare stage by stage and stop where the lines part; ``refitted`` asks for the proof, and is told of it."""
    exact = change == "noise"
    parting = inputs_part(base, other, month, exact)
    if parting is None and exact:
        parting = states_part_again(base, other, scratch, month)
    parting = parting or searches_part(base, other)
    if parting is None and refitted is not None:
        for label, found in fits_part(base, other, scratch):
            refitted.append(label)
            parting = parting or found
    return parting or forecasts_part(base, other, exact)


def _audited_windows(windows: Mapping[int, tuple[Window, ...]]) -> list[int]:
    count = len(next(iter(windows.values())))
    return sorted({0, (count - 1) // 2, count - 1})


def _what_was_perturbed(walks_of: Mapping[str, Sequence[str]]) -> str:
    """Return what all walks perturbed or, where they differ, which of them perturbed what."""
    if len(walks_of) == 1:
        return next(iter(walks_of))
    return "; ".join(f"{told}, for {', '.join(walks)}" for told, walks in walks_of.items())


def _until(windows: Mapping[int, tuple[Window, ...]], number: int, month: int) -> dict[int, tuple[Window, ...]]:
    """The windows up to one of them, whose test months end with ``month``."""
    return {
        horizon: (*listed[:number], listed[number].model_copy(update={"test": (listed[number].test[0], month)}))
        for horizon, listed in windows.items()
    }
