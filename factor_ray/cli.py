"""The command line: exit code 0 for done, 1 for work that failed, 2 for input that cannot be used."""

from __future__ import annotations

import errno
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from factor_ray.errors import InputError, WorkError

if TYPE_CHECKING:
    from factor_ray.run_directory import Run

app = typer.Typer(
    name="factor-ray",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Config = Annotated[Path, typer.Argument(help="A configuration (YAML).", show_default=False)]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in data.path=panel.parquet.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("factor_ray"))
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Honest out-of-sample runs of conditional asset-pricing models: search, ensembles, portfolios, report."""


@app.command()
def check(config: Config, overrides: Overrides = None) -> None:
    """Print what a run would do: windows, fits, memory, disk and time. Fits nothing."""
    from factor_ray.check import describe_plan
    from factor_ray.experiment import Experiment

    typer.echo(describe_plan(Experiment.from_yaml(config, overrides or ())))


@app.command()
def run(config: Config, overrides: Overrides = None) -> None:
    """Run an experiment, or go on with it where it stopped. Finished cells are never fitted again."""
    from factor_ray.experiment import Experiment

    _conclude(Experiment.from_yaml(config, overrides or ()).run())


@app.command()
def resume(run: RunPath) -> None:
    """Go on with a run that was stopped or killed."""
    from factor_ray.run_directory import Run

    _conclude(Run.open(run).experiment.run())


@app.command()
def status(run: RunPath) -> None:
    """Show how far a run is, from any terminal."""
    from factor_ray.run_directory import Run
    from factor_ray.summary import describe_status

    typer.echo(describe_status(Run.open(run)))


@app.command()
def report(run: RunPath) -> None:
    """Write a run's report again from its tables."""
    from factor_ray.report import write_report
    from factor_ray.run_directory import Run

    typer.echo(write_report(Run.open(run).path))


@app.command()
def compare(runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of runs.")]) -> None:
    """Print the measures of several runs side by side."""
    from factor_ray.run_directory import Run
    from factor_ray.summary import compare_runs

    typer.echo(compare_runs([Run.open(path) for path in runs]))


@app.command()
def refit(run: RunPath) -> None:
    """Fit the selected recipes on a window that ends at the last month, for live use."""
    from factor_ray.live import refit as refit_run
    from factor_ray.run_directory import Run

    typer.echo(refit_run(Run.open(run)))


@app.command()
def predict(
    run: RunPath,
    panel: Annotated[Path, typer.Option(help="New months, with the history that imputation needs.")],
    out: Annotated[Path, typer.Option(help="Where the forecasts are written (.parquet).")],
    macro: Annotated[Path | None, typer.Option(help="A newer file of macro series.")] = None,
) -> None:
    """Forecast new months with the refitted ensembles."""
    from factor_ray.live import predict as predict_run
    from factor_ray.run_directory import Run

    _require_parquet(out)
    typer.echo(predict_run(Run.open(run), panel, out, macro))


@app.command()
def audit(config: Config, overrides: Overrides = None) -> None:
    """Prove that nothing looks ahead: walk the line on perturbed data. Exit code 1 where a leak is found."""
    from factor_ray.audit import audit_run
    from factor_ray.experiment import Experiment

    verdict = audit_run(Experiment.from_yaml(config, overrides or ()))
    typer.echo(verdict.describe())
    if not verdict.passed:
        raise typer.Exit(1)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Where the panel is written (.parquet); the folder of --format openap.")],
    seed: Annotated[int, typer.Option(help="Seed of the market.")] = 0,
    slots: Annotated[int | None, typer.Option(help="Places for a firm (--format table); 300 by default.")] = None,
    months: Annotated[int | None, typer.Option(help="Months (--format table); 300 by default.")] = None,
    form: Annotated[
        Literal["table", "openap"],
        typer.Option("--format", help="One panel file, or the files of configs/cbapm_annual.yaml."),
    ] = "table",
    size: Annotated[
        Literal["small", "paper"] | None,
        typer.Option(help="Rows of --format openap: about 13,000 (by default), or the paper's 605,722."),
    ] = None,
) -> None:
    """Write a simulated market as a panel file, or as the files that CB-APM is fitted on."""
    if form == "openap":
        from factor_ray.data.synthetic_openap import write_openap

        _require_left_out(form, slots=slots, months=months)
        _require_folder(out)
        typer.echo("\n".join(map(str, write_openap(out, size=size or "small", seed=seed))))
        return
    from factor_ray.data.simulation import simulate as simulate_market
    from factor_ray.runner.cells import write_atomically
    from factor_ray.tables import parquet

    _require_left_out(form, size=size)
    _require_parquet(out)
    given = {name: value for name, value in {"slots": slots, "months": months}.items() if value is not None}
    panel = simulate_market(seed=seed, **given).panel
    write_atomically(out, parquet(panel.to_frame()))
    typer.echo(out)


@app.command()
def models(
    schema: Annotated[bool, typer.Option(help="Print the JSON Schema of configurations instead.")] = False,
) -> None:
    """List the models and their hyperparameters."""
    from factor_ray.schema import configuration_schema, describe_models

    typer.echo(configuration_schema() if schema else describe_models())


def main() -> None:
    """Run the command line; see the exit codes above."""
    # Cycles are few, and to look for them among all that is imported takes a tenth of a second each time.
    gc.set_threshold(200_000, 30, 30)
    try:
        app()
    except InputError as error:
        print(f"factor-ray: {error}", file=sys.stderr)
        sys.exit(2)
    except WorkError as error:
        print(f"factor-ray: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a library's own files: those of a run say themselves which of them is meant
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        what = error.filename or "a file of a library"
        print(
            f"factor-ray: {what} cannot be written ({error.strerror}): free space on the disks of temporary files and "
            "of compiled code (NUMBA_CACHE_DIR moves it), then start again; cells that were written before are kept",
            file=sys.stderr,
        )
        sys.exit(1)
    finally:
        gc.freeze()  # an interpreter that ends looks for them several times more


def _require_left_out(form: str, **settings: object) -> None:
    for name, value in settings.items():
        if value is not None:
            raise InputError(f"--format {form} takes no --{name}: leave it out")


def _require_folder(out: Path) -> None:
    if out.is_file():
        raise InputError(f"--out {out} is a file; --format openap needs a folder")
    _require_writable(out, out)


def _require_parquet(out: Path) -> None:
    if out.suffix != ".parquet":
        raise InputError(f"--out must end in .parquet; got {out}")
    if out.is_dir():
        raise InputError(f"--out {out} is a folder; give a file's name")
    _require_writable(out, out.parent)


def _require_writable(out: Path, folder: Path) -> None:
    from factor_ray.run_directory import try_writing

    try:
        try_writing(folder)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written ({error.strerror}): choose another folder") from error


def _conclude(run: Run) -> None:
    from factor_ray.summary import summary_table

    typer.echo(summary_table(run))
    typer.echo(f"\nreport: {run.report.resolve()}")


if __name__ == "__main__":
    main()
