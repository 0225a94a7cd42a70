"""The published description of configurations: a JSON Schema, and the models in words."""

from __future__ import annotations

import json
from typing import Any

from factor_ray.experiment import Experiment
from factor_ray.models.base import Hyperparameters
from factor_ray.models.registry import model, model_names


def configuration_schema() -> str:
    """Return the JSON Schema of configurations; editors use it to complete and check keys."""
    schema = Experiment.model_json_schema(by_alias=True, mode="validation")
    entry = schema["$defs"].pop("ModelEntry")
    branches = []
    for name in model_names():
        branches.append(_entry_schema(name, entry, model(name).Settings, schema["$defs"]))
    schema["$defs"]["ModelEntry"] = {"oneOf": branches}
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "factor_ray configuration"
    horizon = schema["$defs"]["Target"]["properties"]["horizon"]
    one = horizon["items"]
    schema["$defs"]["Target"]["properties"]["horizon"] = {
        "anyOf": [one, {key: value for key, value in horizon.items() if key not in ("default", "description")}],
        "default": 1,
        "description": horizon["description"],
    }
    return json.dumps(schema, indent=1, ensure_ascii=False)


def describe_models() -> str:
    """Return every model with its hyperparameters, their defaults and what they do."""
    blocks = []
    for name in model_names():
        family = model(name)
        summary = (family.__doc__ or "").strip().splitlines()[0]
        lines = [f"{name}: {summary}"]
        for kind, listed in (("shape", family.Settings.shape_names()), ("free", family.Settings.free_names())):
            for field in listed:
                info = family.Settings.model_fields[field]
                lines.append(f"  {field} ({kind}, default {_written(info.default)}): {info.description}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _entry_schema(
    name: str, entry: dict[str, Any], settings: type[Hyperparameters], definitions: dict[str, Any]
) -> dict[str, Any]:
    """A model's entry: every hyperparameter may be one value, or a list of them, which is a sweep."""
    own = settings.model_json_schema(mode="validation")
    definitions.update(own.pop("$defs", {}))
    fields = own["properties"]
    properties: dict[str, Any] = {"name": {"const": name}}
    off: dict[str, Any] = {}
    for field, described in fields.items():
        one = {key: value for key, value in described.items() if key not in ("kind", "default", "description", "title")}
        off[field] = one
        properties[field] = {
            "anyOf": [one, {"type": "array", "items": one, "minItems": 1}],
            "default": described.get("default"),
            "description": described.get("description"),
        }
    search = {
        "type": "object",
        "properties": {field: {"$ref": "#/$defs/Range"} for field in fields},
        "additionalProperties": False,
        "description": entry["properties"]["search"]["description"],
    }
    ablations = {
        "type": "object",
        "properties": off,
        "additionalProperties": False,
        "description": entry["properties"]["ablations"]["description"],
    }
    return {
        "type": "object",
        "title": name,
        "properties": {**properties, "search": search, "ablations": ablations},
        "required": ["name"],
        "additionalProperties": False,
    }


def _written(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
