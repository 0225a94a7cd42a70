"""A run as a Ray job: submitted to a head on loopback, its logs streamed, its failures seen at the command line."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from factor_ray.run_directory import Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[1]
RAY = Path(sys.executable).parent / "ray"

CONFIG = """
name: job
data: {source: simulated, slots: 40, months: 80, seed: 3}
target: {horizon: 1}
windows: {scheme: single, first_train_end: 2002-12, validation: 12}
macro_state: {kind: pca, dimension: 2}
models: [{name: cbapm, hidden: [8], epochs: 2}]
ensemble: {members: 2}
tracking: {mode: disabled}
output: runs
"""


@dataclass(frozen=True)
class Head:
    """A Ray head of this test's own."""

    address: str
    directory: Path
    environment: dict[str, str]

    def submit(self, working_directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [RAY, "job", "submit", "--address", self.address, "--working-dir", working_directory, "--"]
        command += ["python", "jobs/run.py", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=400)

    def uploaded(self) -> set[str]:
        """Top-level names, and names of configurations, in every working directory that was uploaded."""
        packages = [path for path in self.directory.rglob("working_dir_files/_ray_pkg_*") if path.is_dir()]
        assert packages, "no working directory was uploaded"
        return {str(found.relative_to(package)) for package in packages for found in package.rglob("*")}


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """Start a head as the README says; end it by its own processes, since `ray stop` would end others' too."""
    port, dashboard, agent = free_ports(3)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    environment["PATH"] = f"{RAY.parent}{os.pathsep}{environment['PATH']}"  # as in an activated environment
    # Sockets lie below it: pytest's own temporary directories have names too long for them.
    with tempfile.TemporaryDirectory(prefix="fr-", ignore_cleanup_errors=True) as directory:
        command = [RAY, "start", "--head", "--block", "--num-cpus", "2", "--port", port, "--temp-dir", directory]
        command += ["--dashboard-host", "127.0.0.1", "--dashboard-port", dashboard, "--node-ip-address", "127.0.0.1"]
        command += ["--dashboard-agent-listen-port", agent]
        command += ["--object-store-memory", "200000000", "--disable-usage-stats"]
        log = Path(directory) / "head.log"
        with log.open("w") as written:
            process = subprocess.Popen(list(map(str, command)), env=environment, stdout=written, stderr=written)
        try:
            address = f"http://127.0.0.1:{dashboard}"
            wait_for(f"{address}/api/jobs/", process, log)
            yield Head(address, Path(directory), environment)
        finally:
            end(process)


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(opened.getsockname()[1]) for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the head did not come up:\n{log.read_text()}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started, and nothing else."""
    try:
        started = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        started = []
    process.terminate()
    for child in started:
        child.terminate()
    _, alive = psutil.wait_procs(started, timeout=20)
    for child in alive:
        child.kill()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a checkout holds, with an environment and an old run in it."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("factor_ray", "jobs", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".rayignore", ".gitignore", "pyproject.toml"):
        shutil.copy(ROOT / name, copy / name)
    for kept_out in (".venv/lib/large.bin", "runs/old/cells/large.bin", ".git/objects/large.bin", "wandb/large.bin"):
        (copy / kept_out).parent.mkdir(parents=True)
        (copy / kept_out).write_bytes(bytes(1_000_000))
    (copy / "configs" / "tiny.yaml").write_text(CONFIG)
    return copy


def test_a_job_runs_streams_its_logs_and_leaves_its_results(head: Head, checkout: Path, tmp_path: Path) -> None:
    done = head.submit(checkout, "configs/tiny.yaml", "--set", f"output={tmp_path}")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "reading simulated data" in said
    assert f"report: {tmp_path}/job/report.html" in said
    run = Run.open(tmp_path / "job")
    assert run.status()["stage"] == "done"
    assert set(run.table("forecasts")["model"]) >= {"cbapm", "oracle"}
    versions = yaml.safe_load((run.path / "experiment.yaml").read_text())["versions"]
    assert versions["python"] == platform.python_version()

    uploaded = head.uploaded()
    assert {"jobs/run.py", "configs/tiny.yaml", "factor_ray/cli.py"} <= uploaded
    assert not {name.split("/")[0] for name in uploaded} & {".venv", "runs", ".git", "wandb"}


def test_a_relative_output_is_refused_and_the_failure_seen(head: Head, checkout: Path) -> None:
    done = head.submit(checkout, "configs/tiny.yaml")
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "output must be absolute in a Ray job" in said
    assert "--set output=" in said
    assert "Traceback" not in said.split("Job '")[0]
