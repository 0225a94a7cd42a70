"""An audit of a run: its cells are reused, its verdict is kept beside it and shown in its report."""

from __future__ import annotations

from factor_ray.audit.audit import audit_experiment
from factor_ray.audit.verdict import Verdict
from factor_ray.console import Console
from factor_ray.experiment import Experiment
from factor_ray.run_directory import Run
from factor_ray.runner.campaign import Campaign
from factor_ray.runner.cells import CellStore
from factor_ray.runner.cluster import cluster
from factor_ray.runner.inputs import Inputs
from factor_ray.runner.tuning import run_campaign

VERDICT = "audit.json"


def audit_run(experiment: Experiment) -> Verdict:
    """Audit an experiment in its run's directory; what the run has not fitted yet is fitted on its cluster.

    Returns
    -------
    Verdict
        Also written to ``audit.json``; a report that is there is written again with it.

    Raises
    ------
    InputError
        If the data or the settings cannot be used.
    WorkError
        If fits failed or the disk is full.
    """
    from factor_ray.report import write_report

    experiment.require_readable_paths()
    run, console = Run(experiment.directory), Console()

    def fit(campaign: Campaign, inputs: Inputs) -> None:
        with cluster(experiment.compute) as machines:
            run_campaign(campaign, inputs, machines, on_progress=lambda _: None)

    with run.lock():
        verdict = audit_experiment(experiment, CellStore(run.cells), fit=fit, say=console.stage)
        run.write(VERDICT, verdict.to_json())
        if run.report.is_file():
            write_report(run.path)
    return verdict
