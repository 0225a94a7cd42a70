"""The job: `python jobs/run.py CONFIG [--set KEY=VALUE]...`, on a laptop or through `ray job submit`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from factor_ray.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["run"]
    main()
