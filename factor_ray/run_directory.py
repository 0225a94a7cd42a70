"""A run: the directory that holds everything, and what may be read from it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from factor_ray.errors import InputError

if TYPE_CHECKING:
    from factor_ray.configuration import Configuration
    from factor_ray.experiment import Experiment

TABLES = (
    "forecasts",
    "quantiles",
    "consensus",
    "trials",
    "portfolios",
    "coefficients",
    "factors",
    "loadings",
    "curves",
    "terms",
    "window_loadings",
    "correlations",
    "loading_portfolios",
)
"""Every table that a run may have, by the name of its Parquet file."""

# Without the measures a run has no results: they are written last and removed first.
_RESULTS = ("metrics.json", "selection.json", "live.json", "report.html", *(f"{name}.parquet" for name in TABLES))
_WITHOUT_RESULT = ("name", "output", "compute", "tracking", "report")
"""Sections that say where a run is kept, what does the work and what is shown: no result depends on them."""


@dataclass(frozen=True)
class Run:
    """A run's directory.

    Attributes
    ----------
    path : Path
        Holds ``experiment.yaml``, ``trials.parquet``, ``metrics.json``, ``selection.json``, ``report.html``,
        ``cells/``, ``wandb/`` and ``logs/``; with forecasts of means ``forecasts.parquet``, ``consensus.parquet``,
        ``portfolios.parquet`` and ``coefficients.parquet``; with quantiles ``quantiles.parquet``; with factor models
        ``factors.parquet``, ``loadings.parquet``, ``curves.parquet``, ``terms.parquet``,
        ``window_loadings.parquet``, ``correlations.parquet`` (with macro series) and ``loading_portfolios.parquet``;
        after a refit ``live.json``.
    """

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """Open an existing run.

        Raises
        ------
        InputError
            If there is no run in that directory, or ``experiment.yaml`` was changed into something that is not a run's
            description.
        """
        run = cls(Path(path))
        if not (run.path / "experiment.yaml").is_file():
            raise InputError(f"{path} is not a run: it has no experiment.yaml; give a directory that `run` has made")
        run._described()
        return run

    @property
    def description(self) -> dict[str, Any]:
        """What was run: the resolved configuration, data lineage, windows, versions and notes."""
        return dict(read_yaml((self.path / "experiment.yaml").read_text(encoding="utf-8")))

    @property
    def experiment(self) -> Experiment:
        """The experiment that was run, with absolute paths, in this very directory even if the run was moved since.

        Raises
        ------
        InputError
            If ``experiment.yaml`` was changed into something that is not a run's description, or the run was moved to a
            directory whose name no run may have.
        """
        from factor_ray.configuration import Configuration
        from factor_ray.experiment import Experiment

        described = self._described()
        values = described.values["experiment"]
        lines = {path[1:]: line for path, line in described.lines.items() if path[0] == "experiment"}
        experiment = Experiment.from_configuration(Configuration(values, described.source, lines))
        own = self.path.resolve()
        if experiment.directory.resolve() == own:
            return experiment
        moved = {**values, "name": own.name, "output": str(own.parent)}
        return Experiment.from_configuration(Configuration(moved, f"the directory {own}"))

    @property
    def metrics(self) -> dict[str, Any]:
        """Measures by model, then horizon."""
        return self._read_json("metrics.json", "resume")

    @property
    def selection(self) -> dict[str, Any]:
        """What was selected: model, then horizon, then ``best`` (variant by window) and ``points`` (by variant)."""
        return self._read_json("selection.json", "resume")

    @property
    def live(self) -> dict[str, Any]:
        """What `refit` has fitted for live use."""
        if not (self.path / "live.json").is_file():
            raise InputError(f"{self.path} has not been refitted: run `factor-ray refit {self.path}` first")
        return self._read_json("live.json", "refit")

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.path / "report.html"

    @property
    def cells(self) -> Path:
        """Directory of the cell store."""
        return self.path / "cells"

    def table(self, name: str) -> pd.DataFrame:
        """Read one of the run's tables.

        Parameters
        ----------
        name : str
            forecasts, consensus, trials, portfolios, coefficients or another Parquet file of the directory.

        Raises
        ------
        InputError
            If the run has no such table (yet).
        """
        if (self.path / "metrics.json").is_file() and not (self.path / f"{name}.parquet").is_file():
            found = sorted(file.stem for file in self.path.glob("*.parquet"))
            raise InputError(f"{self.path} has no table {name!r}: its models make {', '.join(found)}")
        return pd.read_parquet(self._existing(f"{name}.parquet"))

    def status(self) -> dict[str, Any]:
        """Return how far the run is: stage, cells done and planned, seconds, and whether its driver is alive."""
        if not (self.path / "logs" / "status.json").is_file():
            raise InputError(f"{self.path} has no status yet: its run has not started fitting")
        status = self._read_json("logs/status.json", "resume")
        status["alive"] = self._is_locked()
        if status["stage"] == "done" and not (self.path / "metrics.json").is_file():
            status["stage"] = "fitted, without results"  # they were removed since
        return status

    def note_status(self, **status: Any) -> None:
        """Write the status for other terminals to read."""
        from factor_ray.runner.cells import write_atomically

        content = json.dumps({**status, "pid": os.getpid(), "updated": time.time()})
        write_atomically(self.path / "logs" / "status.json", content.encode())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from running in this directory; the lock dies with its holder.

        Raises
        ------
        InputError
            If another process is at work here, or the directory cannot be written.
        """
        try:
            (self.path / "logs").mkdir(parents=True, exist_ok=True)
            file = (self.path / "logs" / "lock").open("w")
        except OSError as error:
            raise self._unwritable(error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(
                    f"{self.path} is in use by another process: wait for it (`factor-ray status {self.path}`), or give "
                    "this run another name"
                ) from None
            yield

    def require_writable(self) -> None:
        """Refuse a directory that could not be made or written; nothing is left behind.

        Raises
        ------
        InputError
            Naming the remedy.
        """
        try:
            try_writing(self.path / "logs")
        except OSError as error:
            raise self._unwritable(error) from error

    def write(self, name: str, content: bytes) -> Path:
        """Write one of the run's files, complete or not at all."""
        from factor_ray.runner.cells import write_atomically

        write_atomically(self.path / name, content)
        return self.path / name

    def remove(self, *names: str) -> None:
        """Remove some of the run's files where they are there, in this order."""
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def write_description(self, description: Mapping[str, Any]) -> None:
        """Write ``experiment.yaml``; results of another experiment or of other data are removed before."""
        if self._is_of_another(description):
            self.remove(*_RESULTS)
        self.write("experiment.yaml", yaml.safe_dump(dict(description), sort_keys=False, allow_unicode=True).encode())

    def _is_of_another(self, description: Mapping[str, Any]) -> bool:
        """Whether what stands in the directory, if anything, is of another experiment or other data than described."""
        try:
            return _run_on(self.description) != _run_on(description)
        except (FileNotFoundError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
            return True  # without a readable description results are nobody's

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"{self.path} cannot be written ({error.strerror}): choose another directory with --set output=..., or "
            "mend its permissions"
        )

    def _described(self) -> Configuration:
        from factor_ray.configuration import read

        file = self.path / "experiment.yaml"
        described = read(file)
        if not isinstance(described.values.get("experiment"), dict):
            raise InputError(f"{file} does not describe a run: give a directory that `run` has made, or run it again")
        return described

    def _read_json(self, name: str, command: str) -> dict[str, Any]:
        """Read an object that the run has written; ``command`` writes it again."""
        file = self._existing(name)
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{file} is not what the run wrote there ({error}): write it again with "
                f"`factor-ray {command} {self.path}`"
            ) from error

    def _existing(self, name: str) -> Path:
        file = self.path / name
        if not file.is_file():
            raise InputError(
                f"{self.path} has no {name} yet: finish the run first with `factor-ray resume {self.path}`"
            )
        return file

    def _is_locked(self) -> bool:
        file = self.path / "logs" / "lock"
        if not file.is_file():
            return False
        with file.open("r") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def try_writing(folder: Path) -> None:
    """Write a file that vanishes into a folder, or into the nearest one above it where it has yet to be made.

    Raises
    ------
    OSError
        If that cannot be done.
    """
    there = next(above for above in (folder, *folder.parents) if above.exists())
    with TemporaryFile(dir=there):
        pass


def read_yaml(text: str) -> Any:
    """Return what a run has written as plain values, ten times faster where PyYAML was built with libyaml."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def _run_on(description: Mapping[str, Any]) -> str:
    """What was run on what data, wherever the run is kept, whatever machines did it and whatever the report shows."""
    experiment = {key: value for key, value in description["experiment"].items() if key not in _WITHOUT_RESULT}
    return json.dumps([experiment, description["data"]], sort_keys=True)
