"""The command line: whatever it cannot use ends with exit code 2 and one line."""

import errno
import os
import subprocess
import sys

import pandas as pd
import pytest
from configurations import GOOD, SIMULATED, call


def test_check_prints_the_plan_and_writes_nothing(monkeypatch, capsys, tmp_path):
    (tmp_path / "run.yaml").write_text(SIMULATED)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "check", "run.yaml", "--set", "ensemble.members=2") == 0
    said = capsys.readouterr().out
    assert "horizon 1: 3 windows, embargo 0 months" in said
    assert "fits: at most 6 cells of cbapm" in said
    assert [file.name for file in tmp_path.iterdir()] == ["run.yaml"]


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["none.yaml"], "factor-ray: there is no configuration none.yaml: check the path (it is taken from "),
        (
            ["run.yaml", "--set", "serch.points=2"],
            "factor-ray: --set serch.points: unknown key serch; did you mean search?\n",
        ),
        (
            ["run.yaml", "--set", "search.points"],
            "factor-ray: --set must have the form key.sub=value; got 'search.points'",
        ),
        (
            ["run.yaml", "--set", "models.0.name=nosuch"],
            "factor-ray: --set models.0.name: there is no model 'nosuch'; ",
        ),
        (
            ["run.yaml", "--set", "windows.first_train_end=2030-01"],
            "factor-ray: windows.first_train_end 2030-01 with 6",
        ),
        (
            ["run.yaml", "--set", "output=/proc/nope"],
            "factor-ray: /proc/nope/small cannot be written (No such file or directory): choose another directory with",
        ),
        (
            ["run.yaml", "--set", "output=run.yaml"],
            "factor-ray: run.yaml/small cannot be written (Not a directory): choose another directory with --set",
        ),
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(monkeypatch, capsys, tmp_path, command, arguments, sentence):
    (tmp_path / "run.yaml").write_text(SIMULATED)
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, command, *arguments) == 2
    captured = capsys.readouterr()
    last = captured.err.splitlines(keepends=True)[-1]
    assert last.startswith(sentence)
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_a_disk_that_is_full_ends_with_code_1_and_one_line(monkeypatch, capsys, tmp_path):
    """Libraries keep files of their own, such as compiled code, and know nothing of our errors."""

    def full(_experiment):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "run.yaml").write_text(SIMULATED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("factor_ray.experiment.Experiment.run", full)
    assert call(monkeypatch, "run", "run.yaml") == 1
    said = capsys.readouterr().err
    assert said.startswith("factor-ray: a file of a library cannot be written (No space left on device): free space")
    assert said.count("\n") == 1


def test_a_real_process_says_the_same(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("name: x\ndata: !!python/object/apply:os.system ['touch marker']\n")
    command = [sys.executable, "-m", "factor_ray.cli", "run", "run.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "factor-ray: run.yaml, line 2: not a plain YAML file (the tag tag:yaml.org,2002:python/object/apply:os.system "
        "is not allowed: write plain values)\n"
    )
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["resume", "none"],
        ["status", "none"],
        ["report", "none"],
        ["compare", "none"],
        ["refit", "none"],
        ["predict", "none", "--panel", "new.parquet", "--out", "out.parquet"],
    ],
)
def test_a_run_that_is_none_ends_with_code_2(monkeypatch, capsys, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    assert "factor-ray: none is not a run: it has no experiment.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("content", [GOOD, "experiment: [1]\n", "experiment: {name: x}\n", "a: [\n", ""])
def test_a_run_whose_description_was_spoilt_ends_with_code_2(monkeypatch, capsys, tmp_path, content):
    (tmp_path / "experiment.yaml").write_text(content)
    assert call(monkeypatch, "resume", tmp_path) == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "experiment.yaml") in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--out", "x.csv"], "--out must end in .parquet; got x.csv"),
        (["--out", "run.yaml"], "--out must end in .parquet; got run.yaml"),
        (["--out", "folder.parquet"], "--out folder.parquet is a folder; give a file's name"),
        (
            ["--out", "/proc/nope/x.parquet"],
            "--out /proc/nope/x.parquet cannot be written (No such file or directory): ",
        ),
        (["--out", "run.yaml", "--format", "openap"], "--out run.yaml is a file; --format openap needs a folder"),
        (["--out", "run.yaml/x", "--format", "openap"], "--out run.yaml/x cannot be written (Not a directory): "),
        (["--out", "new", "--format", "openap", "--slots", "10"], "--format openap takes no --slots: leave it out"),
        (["--out", "new.parquet", "--size", "small"], "--format table takes no --size: leave it out"),
        (["--out", "new.parquet", "--slots", "-1"], "the simulated market: slots must be at least 2; got -1"),
    ],
)
def test_simulate_writes_nothing_where_its_options_cannot_be_used(monkeypatch, capsys, tmp_path, arguments, sentence):
    (tmp_path / "run.yaml").write_text(SIMULATED)
    (tmp_path / "folder.parquet").mkdir()
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "simulate", *arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"factor-ray: {sentence}")
    assert len(said.splitlines()) == 1
    assert (tmp_path / "run.yaml").read_text() == SIMULATED
    assert {file.name for file in tmp_path.iterdir()} == {"run.yaml", "folder.parquet"}


def test_simulate_writes_a_panel_of_the_size_that_was_asked_for(monkeypatch, tmp_path):
    out = tmp_path / "new" / "panel.parquet"
    assert call(monkeypatch, "simulate", "--out", out, "--slots", 5, "--months", 8) == 0
    assert pd.read_parquet(out)["month"].nunique() == 8


def test_predict_refuses_where_it_could_not_write(monkeypatch, capsys, tmp_path):
    (tmp_path / "experiment.yaml").write_text("experiment: {}\n")
    assert call(monkeypatch, "predict", tmp_path, "--panel", "p.parquet", "--out", tmp_path) == 2
    assert capsys.readouterr().err == f"factor-ray: --out must end in .parquet; got {tmp_path}\n"
