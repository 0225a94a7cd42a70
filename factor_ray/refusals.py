"""From a validation error to one sentence: the key as it was written, what was expected, found, and the nearest key."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

KeyPath = tuple[str | int, ...]

_WORDED = "worded"
_UNKNOWN = "extra_forbidden"
_EXPECTED = {
    "string_type": "text (in quotes where it looks like a number)",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "mapping_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_short": "text of at least {min_length} characters",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}


def dotted(path: KeyPath) -> str:
    """Write a key as ``--set`` takes it."""
    return ".".join(map(str, path))


def refusal(sentence: str, below: KeyPath = ()) -> PydanticCustomError:
    """Return an error for a validator to raise where pydantic knows no better place than the whole model.

    Parameters
    ----------
    sentence : str
        Complete: it names the key and what was found.
    below : tuple of str and int
        The key's path, from the model's own place in the configuration.
    """
    return PydanticCustomError(_WORDED, "{sentence}", {"sentence": sentence, "below": list(below)})


def explain(error: ValidationError, settings: type[BaseModel], values: Any) -> tuple[KeyPath, str]:
    """Return the path of the key that is wrong and a sentence that says why.

    Parameters
    ----------
    error : ValidationError
    settings : type of BaseModel
        What was to be built.
    values : dict
        What it was to be built from, as it was written.
    """
    errors = error.errors()
    # An unknown key says more than the required one that is missing because of it.
    chosen = next((found for found in errors if found["type"] == _UNKNOWN), errors[0])
    path = _written_path(chosen, values)
    if chosen["type"] == _WORDED:
        return (*path, *chosen["ctx"]["below"]), chosen["msg"]
    key = dotted(path) or "the configuration"
    models = _models_at(settings, chosen["loc"][:-1])
    if chosen["type"] == _UNKNOWN:
        elsewhere = _elsewhere(path, models, _models_at(settings, path[:-1]))
        return path, f"unknown key {key}; {elsewhere or nearest(str(path[-1]), _keys_of(models))}"
    if chosen["type"] == "missing":
        return path, f"{key} is required: add it{_misspelt(path, values, _keys_of(models))}"
    if chosen["type"] in ("union_tag_not_found", "union_tag_invalid"):
        return _wrong_tag(path, chosen, _models_at(settings, chosen["loc"]))
    if chosen["type"] == "value_error":
        sentence = chosen["msg"].removeprefix("Value error, ")
        said = "got " in sentence or isinstance(chosen["input"], Mapping)
        return path, (f"{key}: " if path else "") + sentence + ("" if said else f"; got {shown(chosen['input'])}")
    alternatives = [
        one for one in errors if _written_path(one, values) == path and len(one["loc"]) == len(chosen["loc"])
    ]
    expected = dict.fromkeys(map(_expected, alternatives))
    return path, f"{key} must be {' or '.join(expected)}; got {shown(chosen['input'])}"


def nearest(name: str, known: Sequence[str]) -> str:
    """Return a remedy for a misspelt name: the nearest known one, or all."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"valid are {', '.join(known)}"


def shown(value: Any) -> str:
    """Return a value as a reader of YAML knows it, however large it is."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    short = reprlib.Repr()
    short.maxstring = short.maxother = 100
    return short.repr(value)


def _written_path(error: ErrorDetails, values: Any) -> KeyPath:
    """Drop from pydantic's location what stands for a choice of types and not for a key that was written."""
    at, path, last = values, [], len(error["loc"]) - 1
    for position, part in enumerate(error["loc"]):
        if isinstance(at, Mapping) and part in at:
            path.append(part)
            at = at[part]
        elif isinstance(at, list) and isinstance(part, int):
            path.append(part)
            at = at[part] if part < len(at) else None
        elif error["type"] == "missing" and position == last:
            path.append(part)
    return tuple(path)


def _expected(error: ErrorDetails) -> str:
    known = _EXPECTED.get(error["type"])
    if known is None:
        message = error["msg"].removeprefix("Input should ")
        return message.removeprefix("be ")
    context = error.get("ctx", {})
    return known.format(**{name: _bound(value) for name, value in context.items()})


def _bound(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wrong_tag(path: KeyPath, error: ErrorDetails, models: Sequence[type[BaseModel]]) -> tuple[KeyPath, str]:
    tag = str(error["ctx"]["discriminator"]).strip("'")
    tags = [str(get_args(model.model_fields[tag].annotation)[0]) for model in models]
    given = error["input"] if isinstance(error["input"], Mapping) else {}
    if tag in given:
        return (*path, tag), f"{dotted((*path, tag))} is {shown(given[tag])}; {nearest(str(given[tag]), tags)}"
    near = difflib.get_close_matches(tag, list(map(str, given)), n=1)
    if near:
        return (*path, near[0]), f"unknown key {dotted((*path, near[0]))}; did you mean {tag}?"
    return path, f"{dotted((*path, tag))} is required: add it, one of {', '.join(tags)}"


def _elsewhere(path: KeyPath, chosen: Sequence[type[BaseModel]], all_: Sequence[type[BaseModel]]) -> str | None:
    """Say with which other sources an unknown key would be known; None where it would be with none."""
    owners = [_tag_of(model) for model in all_ if model not in chosen and path[-1] in _keys_of([model])]
    tags = [tag for tag in owners if tag is not None]
    own = [tag for tag in map(_tag_of, chosen) if tag is not None]
    if not tags or not own:
        return None
    name, value = own[0]
    return f"{dotted((*path[:-1], name))} {value} has none, {path[-1]} belongs to {', '.join(tag for _, tag in tags)}"


def _misspelt(path: KeyPath, values: Any, known: Sequence[str]) -> str:
    at = values
    for part in path[:-1]:
        at = at[part]
    unknown = [str(key) for key in at if key not in known] if isinstance(at, Mapping) else []
    near = difflib.get_close_matches(str(path[-1]), unknown, n=1)
    return f" (is {near[0]} meant?)" if near else ""


def _models_at(settings: type[BaseModel], location: Sequence[str | int]) -> list[type[BaseModel]]:
    """Return the models that may stand at a location, which pydantic's tags of unions narrow down."""
    models: list[type[BaseModel]] = [settings]
    for part in location:
        fields = [info for model in models for name, info in model.model_fields.items() if part in (name, info.alias)]
        if fields:
            models = list(dict.fromkeys(nested for info in fields for nested in _models_in(info.annotation)))
        else:
            models = [model for model in models if (_tag_of(model) or ("", ""))[1] == part] or models
    return models


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_in(argument)]


def _tag_of(model: type[BaseModel]) -> tuple[str, str] | None:
    """Return the key, and its one value, by which a model is told from the others that may stand in its place."""
    for name, info in model.model_fields.items():
        if get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1:
            return name, str(get_args(info.annotation)[0])
    return None


def _keys_of(models: Sequence[type[BaseModel]]) -> list[str]:
    return list(dict.fromkeys(info.alias or name for model in models for name, info in model.model_fields.items()))
