"""A run's directory: whose results stand in it, what is said where there are none, and where a moved run goes on."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from factor_ray import cli
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment
from factor_ray.run_directory import TABLES, Run
from factor_ray.summary import describe_status

RESULTS = {"metrics.json", "selection.json", "live.json", "report.html", *(f"{name}.parquet" for name in TABLES)}
KEPT = {"experiment.yaml", "audit.json", "my_own.parquet", "cells", "logs"}


def described(folder: Path, **sections: Any) -> dict[str, Any]:
    """What a run in ``folder`` of that name would write down."""
    values = {
        "name": folder.name,
        "data": {"source": "simulated", "slots": 20, "months": 40},
        "windows": {"first_train_end": "1999-06", "validation": 6, "test": 6},
        "models": [{"name": "cbapm", "hidden": [4], "epochs": 2}],
        "output": str(folder.parent),
    }
    experiment = Experiment.model_validate({**values, **sections})
    return {"experiment": experiment.model_dump(mode="json", by_alias=True), "data": {"rows": 800}, "versions": {}}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A directory with every file that a finished run may have."""
    run = Run(tmp_path / "small")
    run.write_description(described(run.path))
    for name in {*RESULTS, *KEPT} - {"experiment.yaml", "cells", "logs"}:
        run.write(name, b"{}")
    run.write("cells/ab/abcd.safetensors", b"")
    run.write("logs/cost.json", b"{}")
    return run


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["factor-ray", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def files(run: Run) -> set[str]:
    return {file.name for file in run.path.iterdir()}


@pytest.mark.parametrize(
    "changed",
    [
        {"search": {"selection": "global"}},
        {"target": {"horizon": [1, 3]}},
        {"models": [{"name": "ipca"}]},
        {"portfolios": {"number": 5}},
    ],
)
def test_another_experiment_removes_the_results_of_the_one_before(run: Run, changed: dict[str, Any]) -> None:
    assert files(run) == RESULTS | KEPT
    run.write_description(described(run.path, **changed))
    assert files(run) == KEPT
    assert (run.path / "cells" / "ab" / "abcd.safetensors").is_file()


def test_other_data_and_a_spoilt_description_remove_results(run: Run) -> None:
    run.write_description({**described(run.path), "data": {"rows": 820}})
    assert files(run) == KEPT
    run.write("metrics.json", b"{}")
    run.write("experiment.yaml", b"experiment: [\n")
    run.write_description(described(run.path))
    assert files(run) == KEPT


def test_measures_are_the_first_that_go(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok: gone.append(path.name))  # noqa: ARG005
    run.write_description(described(run.path, portfolios={"number": 5}))
    assert gone[0] == "metrics.json"
    assert set(gone) == RESULTS


def test_the_same_experiment_keeps_its_results_until_they_are_replaced(run: Run) -> None:
    run.write_description({**described(run.path), "preparation": {"scale": "rank"}, "versions": {"ray": "9"}})
    assert files(run) == RESULTS | KEPT
    run.write_description(
        described(run.path, compute={"slots": 1}, tracking={"mode": "disabled"}, report={"assets": ["A001"]})
    )
    assert files(run) == RESULTS | KEPT


@pytest.mark.parametrize("command", ["report", "refit", "compare"])
def test_a_run_without_results_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    run.write_description(described(run.path, portfolios={"number": 5}))
    assert call(monkeypatch, command, run.path) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"factor-ray: {run.path} has no ")
    assert said.endswith(f"finish the run first with `factor-ray resume {run.path}`\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", ["report", "status", "resume", "refit", "compare"])
def test_a_run_without_a_description_is_refused_by_every_command(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    run.note_status(stage="done", planned=1, reused=0, fitted=1, started=0.0)
    run.write("experiment.yaml", b"")
    assert call(monkeypatch, command, run.path) == 2
    assert capsys.readouterr().err.startswith(f"factor-ray: {run.path}/experiment.yaml is empty: ")


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [("metrics", b"[1]", "resume"), ("selection", b"{", "resume"), ("live", b"x", "refit"), ("live", b"\xff", "refit")],
)
def test_a_spoilt_file_names_what_writes_it_again(run: Run, name: str, content: bytes, remedy: str) -> None:
    file = run.write(f"{name}.json", content)
    with pytest.raises(
        InputError, match=rf"^{file} is not what .*: write it again with `factor-ray {remedy} {run.path}`$"
    ):
        getattr(run, name)


@pytest.mark.parametrize("command", ["report", "compare"])
def test_spoilt_measures_are_refused_by_what_shows_them(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    run.write("metrics.json", b"{")
    assert call(monkeypatch, command, run.path) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"factor-ray: {run.path}/metrics.json is not what the run wrote there (")
    assert said.endswith(f": write it again with `factor-ray resume {run.path}`\n")


def test_a_run_whose_results_were_removed_is_not_finished(run: Run) -> None:
    run.note_status(stage="done", planned=1, reused=0, fitted=1, started=0.0)
    assert "finished; report: " in describe_status(run)
    run.remove("metrics.json")
    assert f"stopped: go on with `factor-ray resume {run.path}`" in describe_status(run)


def test_a_moved_run_goes_on_where_it_is_now(run: Run, tmp_path: Path) -> None:
    assert run.experiment.directory == run.path
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(run.path, moved)
    experiment = Run.open(moved).experiment
    assert experiment.directory == moved
    assert experiment.model_copy(update={"name": "small", "output": str(tmp_path)}) == run.experiment
    Run(moved).write_description(described(moved))
    assert files(Run(moved)) == RESULTS | KEPT


def test_a_link_to_a_run_is_no_move(run: Run, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run.path)
    assert Run.open(tmp_path / "link").experiment == run.experiment


def test_a_run_moved_to_a_name_that_no_run_may_have_is_refused(run: Run, tmp_path: Path) -> None:
    moved = run.path.rename(tmp_path / "small (old)")
    with pytest.raises(InputError, match=r"^the directory .*small \(old\): name must be text of the form .*; got"):
        _ = Run.open(moved).experiment
