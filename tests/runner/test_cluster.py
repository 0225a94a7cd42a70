"""A run's own cluster: what is ended before Ray ends the rest."""

import subprocess
import sys

import psutil

from factor_ray.runner.cluster import _end_autoscaler


def test_the_autoscaler_alone_is_ended(monkeypatch, tmp_path):
    """Ray would wait for it for a second; other processes end in Ray's order, or are none of ours."""
    processes: dict[str, subprocess.Popen[bytes]] = {}

    def these(_driver: psutil.Process) -> list[psutil.Process]:  # the tests' own cluster is left alone
        return [psutil.Process(process.pid) for process in processes.values()]

    monkeypatch.setattr(psutil.Process, "children", these)
    for name in ("autoscaler/_private/monitor.py", "autoscaler/_private/other.py", "_private/log_monitor.py"):
        script = tmp_path / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text("import time\ntime.sleep(60)\n")
        processes[name] = subprocess.Popen([sys.executable, str(script)])
    try:
        _end_autoscaler()
        assert processes.pop("autoscaler/_private/monitor.py").wait(timeout=10) < 0
        assert all(process.poll() is None for process in processes.values())
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
