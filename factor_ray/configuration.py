"""Reading a configuration: safe YAML with line numbers, overrides, and errors that name line, key and remedy."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from factor_ray.errors import InputError
from factor_ray.refusals import KeyPath, dotted, explain

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
        Line of each key, counted from 1.
    overrides : dict of key path to str
        Keys that were set by an override, and how it was written.
    """

    values: dict[str, Any]
    source: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    overrides: dict[KeyPath, str] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """Say in which file and line, or in which override, a key (or the nearest one above it) stands."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.overrides:
                return self.overrides[path[:end]]
            if path[:end] in self.lines:
                return f"{self.source}, line {self.lines[path[:end]]}"
        return self.source

    def build(self, make: Callable[[], Built], settings: type[BaseModel]) -> Built:
        """Call ``make``, which validates these values, and turn a validation error into one sentence.

        Raises
        ------
        InputError
            Naming file, line, key, what was expected, what was found and the nearest valid key.
        """
        try:
            return make()
        except ValidationError as error:
            path, sentence = explain(error, settings, self.values)
            raise InputError(f"{self._blamed(path)}: {sentence}") from error

    def _blamed(self, path: KeyPath) -> str:
        """Say where a refused key stands, and which overrides beside or below it may have made the conflict."""
        where = self.where(path)
        near = [written for key, written in self.overrides.items() if len(key) > 1 and key[:-1] == path[: len(key) - 1]]
        return where if not near or where in near else f"{where} with {', '.join(near)}"


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
        raise InputError(f"{path} cannot be read as a UTF-8 text file ({error})") from error
    configuration = parse(text, str(path))
    for override in overrides:
        _override(configuration, override)
    return configuration


def parse(text: str, source: str) -> Configuration:
    """Parse YAML text; see :func:`read`."""
    values, lines = _load(text, source)
    if values is None:
        raise InputError(f"{source} is empty: a configuration needs at least name, data, windows and models")
    if not isinstance(values, dict):
        raise InputError(f"{source} must be a YAML mapping of keys to values; got {type(values).__name__}")
    return Configuration(values, source, lines)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader; 1e-4 is a number, dates and keys are text, as everywhere but in YAML 1.1."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own attribute
        first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = "tag:yaml.org,2002:str"


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _load(text: str, source: str) -> tuple[Any, dict[KeyPath, int]]:
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines = dict(_lines(node, source, (), set()))
        return loader.construct_document(node), lines
    except InputError:
        raise
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        position = getattr(error, "position", None)  # of a character that no YAML may hold
        at = mark.line + 1 if mark is not None else None if position is None else text.count("\n", 0, position) + 1
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        tag = re.search(r"could not determine a constructor for the tag '(.*)'", problem)
        if tag is not None:
            problem = f"the tag {tag[1]} is not allowed: write plain values"
        elif "'\\t'" in problem:
            problem = "a tab stands where YAML wants spaces: replace tabs by spaces"
        raise InputError(
            f"{source}{'' if at is None else f', line {at}'}: not a plain YAML file ({problem})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not a plain YAML file ({error})") from error


def _lines(node: yaml.Node, source: str, path: KeyPath, seen: set[int]) -> Iterator[tuple[KeyPath, int]]:
    """Lines of the keys as they are written: what an alias repeats stands at the alias."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            line = key_node.start_mark.line + 1
            if key in keys:
                raise InputError(f"{source}, line {line}: {dotted((*path, key))} is given twice: keep one")
            keys.add(key)
            yield (*path, key), line
            yield from _lines(value_node, source, (*path, key), seen)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield (*path, position), item.start_mark.line + 1
            yield from _lines(item, source, (*path, position), seen)


def _override(configuration: Configuration, text: str) -> None:
    written_path, equals, written = text.partition("=")
    where = f"--set {written_path}"
    parts = written_path.split(".")
    if not equals or not all(parts):
        raise InputError(f"--set must have the form key.sub=value; got {text!r}")
    value, _ = _load(written, where)
    at: Any = configuration.values
    path: KeyPath = ()
    for part in parts[:-1]:
        key = _key(at, part, path, where)
        # What is changed is copied: an alias elsewhere in the file may share it.
        path = (*path, key)
        if _found(at, key) is None:
            at[key] = {}
            configuration.overrides.setdefault(path, where)
        else:
            at[key] = copy.copy(at[key])
        at = at[key]
    key = _key(at, parts[-1], path, where)
    at[key] = value
    path = (*path, key)
    for known in (configuration.lines, configuration.overrides):
        for below in [p for p in known if p[: len(path)] == path]:
            del known[below]
    configuration.overrides[path] = where


def _found(at: Any, key: str | int) -> Any:
    return at.get(key) if isinstance(at, dict) else at[key]


def _key(at: Any, part: str, path: KeyPath, where: str) -> str | int:
    """Return the key of a mapping or the position in a list that a part of an override's left side names."""
    if isinstance(at, dict):
        return part
    if isinstance(at, list):
        if not part.isdecimal() or int(part) >= len(at):
            raise InputError(f"{where}: {dotted(path)} is a list of {len(at)}; {part!r} must be a position below that")
        return int(part)
    raise InputError(f"{where}: {dotted(path)} is a single value and has no keys")
