"""Reading a configuration: safe YAML with line numbers, overrides, and errors that name line, key and remedy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from factor_ray.errors import InputError

KeyPath = tuple[str | int, ...]
Built = TypeVar("Built")


@dataclass
class Configuration:
    """A configuration as it was written: plain values, and where each key stands.

    Attributes
    ----------
    values : dict
        Nested dicts, lists and scalars.
    source : str
        The file's name, for messages.
    lines : dict of key path to int
        Line of each key, counted from 1; keys that were set by an override have none.
    """

    values: dict[str, Any]
    source: str
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """Say in which file and line a key (or the nearest one above it) stands."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.source}, line {self.lines[path[:end]]}"
        return self.source

    def build(self, make: Callable[[], Built], settings: type[BaseModel], prefix: KeyPath = ()) -> Built:
        """Call ``make`` and turn a validation error into one sentence.

        Raises
        ------
        InputError
            Naming file, line, key, what was expected, what was found and the nearest valid key.
        """
        try:
            return make()
        except ValidationError as error:
            raise InputError(self._sentence(error, settings, prefix)) from error

    def _sentence(self, error: ValidationError, settings: type[BaseModel], prefix: KeyPath) -> str:
        first = error.errors()[0]
        path = (*prefix, *_written_path(first["loc"], self.values, prefix))
        key = _dotted(path) or "the configuration"
        start = f"{self.where(path)}: "
        if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            known = list(_known_keys(settings, path[len(prefix) : -1]))
            near = difflib.get_close_matches(str(path[-1]), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"valid keys are {', '.join(known)}"
            return f"{start}unknown key {key}; {hint}"
        if first["type"] == "missing":
            return f"{start}{key} is required: add it"
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        found = "" if "got " in message else f"; got {first['input']!r}"
        return f"{start}{key}: {message[0].lower()}{message[1:]}{found}"


def read(path: str | Path, overrides: Sequence[str] = ()) -> Configuration:
    """Read a YAML file and apply ``key.sub=value`` overrides (values are YAML too).

    Raises
    ------
    InputError
        If the file is missing, is not YAML, holds tags that would build objects, repeats a key, is not a mapping, or an
        override has another form.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"there is no configuration {path}: check the path (it is taken from {Path.cwd()})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a text file ({error})") from error
    configuration = parse(text, str(path))
    for override in overrides:
        _override(configuration, override)
    return configuration


def parse(text: str, source: str) -> Configuration:
    """Parse YAML text; see :func:`read`."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines = dict(_lines(node, source)) if node is not None else {}
        values = loader.construct_document(node) if node is not None else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        if "could not determine a constructor" in problem:
            problem = (
                f"{problem.removeprefix('could not determine a constructor for the ')} is not allowed: plain values"
            )
        raise InputError(f"{source}{line}: not a plain YAML file ({problem})") from error
    finally:
        loader.dispose()
    if not isinstance(values, dict):
        raise InputError(f"{source} must be a YAML mapping of keys to values; got {type(values).__name__}")
    return Configuration(values, source, lines)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader; 1e-4 is a number, as everywhere but in YAML 1.1."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _lines(node: yaml.Node, source: str, path: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise InputError(f"{source}, line {line}: {_dotted((*path, key))} is given twice: keep one")
            seen.add(key)
            yield (*path, key), line
            yield from _lines(value_node, source, (*path, key))
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield (*path, position), item.start_mark.line + 1
            yield from _lines(item, source, (*path, position))


def _override(configuration: Configuration, text: str) -> None:
    dotted, equals, written = text.partition("=")
    if not equals or not dotted:
        raise InputError(f"--set must have the form key.sub=value; got {text!r}")
    value = parse(f"value: {written}", f"--set {dotted}").values["value"]
    at: Any = configuration.values
    path: KeyPath = ()
    keys = [int(key) if key.isdigit() else key for key in dotted.split(".")]
    for key in keys[:-1]:
        at = _child(at, key, dotted)
        path = (*path, key)
    if isinstance(at, list):
        _child(at, keys[-1], dotted)
        at[int(keys[-1])] = value
    elif isinstance(at, dict):
        at[keys[-1]] = value
    else:
        raise InputError(f"--set {dotted}: {_dotted(path)} is a single value and has no keys")
    configuration.lines = {p: line for p, line in configuration.lines.items() if p[: len(keys)] != tuple(keys)}


def _child(at: Any, key: str | int, dotted: str) -> Any:
    if isinstance(at, list):
        if not isinstance(key, int) or key >= len(at):
            raise InputError(f"--set {dotted}: {key!r} must be a position below {len(at)} in a list")
        return at[key]
    if isinstance(at, dict):
        if at.get(key) is None:
            at[key] = {}
        return at[key]
    raise InputError(f"--set {dotted}: {key!r} cannot be set below a single value")


def _written_path(location: Sequence[str | int], values: Any, prefix: KeyPath) -> KeyPath:
    """Drop from pydantic's location what stands for a choice of types and not for a key that was written."""
    at = values
    for key in prefix:
        at = at[key]
    path: list[str | int] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(at, Mapping) and (part in at or (last and not path) or last):
            if part not in at and not last:
                continue
            path.append(part)
            at = at.get(part) if part in at else None
        elif isinstance(at, list) and isinstance(part, int):
            path.append(part)
            at = at[part] if part < len(at) else None
    return tuple(path)


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))


def _known_keys(settings: type[BaseModel], path: KeyPath) -> Iterator[str]:
    """Names of the keys that are valid below a key of ``settings``."""
    candidates: list[type[BaseModel]] = [settings]
    for part in path:
        if isinstance(part, int):
            continue
        candidates = [
            nested
            for model in candidates
            for name, info in model.model_fields.items()
            if part in (name, info.alias)
            for nested in _models_in(info.annotation)
        ]
    for model in candidates:
        for name, info in model.model_fields.items():
            yield info.alias or name


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
