"""The published schema takes what the program takes; what it refuses is tested beside each section's sentences."""

import re

import pytest
import yaml
from configurations import GOOD, ROOT, SIMULATED, build, changed, validator

from factor_ray.configuration import parse
from factor_ray.experiment import Experiment
from factor_ray.models.registry import model, model_names
from factor_ray.schema import configuration_schema, describe_models


def test_the_published_schema_is_up_to_date():
    published = (ROOT / "configs" / "schema.json").read_text(encoding="utf-8")
    assert published == configuration_schema() + "\n", (
        "write it again: factor-ray models --schema > configs/schema.json"
    )


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda file: file.name)
def test_our_configurations_are_valid_for_both(file):
    values = parse(file.read_text(encoding="utf-8"), file.name).values
    if "cluster_name" in values:
        pytest.skip("a cluster's configuration is Ray's")
    validator().validate(values)
    Experiment.from_yaml(file)


@pytest.mark.parametrize("text", [GOOD, SIMULATED, changed("[1, 12]", "3"), changed("[[4], [8, 4]]", "[8, 4]")])
def test_the_schema_takes_what_the_program_takes(text):
    validator().validate(parse(text, "run.yaml").values)
    build(text)


def test_every_hyperparameter_is_described_once():
    said = describe_models()
    for name in model_names():
        settings = model(name).Settings
        assert set(settings.shape_names()) | set(settings.free_names()) == set(settings.model_fields)
        for field, info in settings.model_fields.items():
            assert info.description
            assert len(re.findall(rf"^  {field} \((?:shape|free), default ", said, re.M)) >= 1
    properties = yaml.safe_load(configuration_schema())["$defs"]["ModelEntry"]["oneOf"][0]["properties"]
    assert all(described.get("description") for name, described in properties.items() if name != "name")
