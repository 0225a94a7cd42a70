"""The cluster file: what `ray up` will accept, and what our worker groups need of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml

from factor_ray.runner.cluster import TUNE_DRIVER

FILE = Path(__file__).parents[1] / "cluster.yaml"


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def test_the_cluster_file_is_valid_against_rays_own_schema(cluster):
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(cluster, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**cluster, "head_node_typ": "head"}, schema)


def test_the_head_is_a_node_type_and_declares_the_resource_of_trials_that_wait(cluster):
    head = cluster["available_node_types"][cluster["head_node_type"]]
    assert head["resources"][TUNE_DRIVER] >= 1
    others = [node for name, node in cluster["available_node_types"].items() if name != cluster["head_node_type"]]
    assert all(TUNE_DRIVER not in node["resources"] for node in others), "trials wait on the head, beside the driver"


def test_dashboards_bind_to_loopback(cluster):
    assert any("--dashboard-host=127.0.0.1" in command for command in cluster["head_start_ray_commands"])
