"""Search spaces: from a model's entry in the configuration to variants, and from an Optuna trial to a point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, get_origin

from pydantic import BaseModel, ConfigDict, Field, model_validator

from factor_ray.models.base import Hyperparameters

if TYPE_CHECKING:
    import optuna


_MOST_CHECKED = 256
"""Whole numbers of a range up to which every one is checked; of a longer range as many, evenly spaced.

Also the combinations of several ranges up to which every one is checked.
"""


class Range(BaseModel):
    """Values of one hyperparameter that the search may try; exactly one of the four is given."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"minProperties": 1, "maxProperties": 1})

    uniform: tuple[float, float] | None = Field(None, description="Any number between two bounds.")
    log_uniform: tuple[float, float] | None = Field(None, description="Any number, uniform in its logarithm.")
    integer: tuple[int, int] | None = Field(None, description="Any whole number between two bounds, both included.")
    choice: Annotated[tuple[Any, ...], Field(min_length=1)] | None = Field(
        None, description="One of the listed values."
    )

    @model_validator(mode="before")
    @classmethod
    def _names_its_kind(cls, value: Any) -> Any:
        if not isinstance(value, Mapping | Range):
            raise ValueError("a range must be written as {uniform: [low, high]}, or log_uniform, integer or choice")
        return value

    @model_validator(mode="after")
    def _is_one_range(self) -> Range:
        given = {name: value for name, value in self if value is not None}
        if len(given) != 1:
            raise ValueError(f"a range must be one of uniform, log_uniform, integer or choice; got {sorted(given)}")
        for bounds in (self.uniform, self.log_uniform, self.integer):
            if bounds is not None and not (all(map(math.isfinite, bounds)) and bounds[0] < bounds[1]):
                raise ValueError(f"a range must be [low, high], two finite numbers with low < high; got {list(bounds)}")
        if self.log_uniform is not None and self.log_uniform[0] <= 0:
            raise ValueError(f"a log_uniform range must start above 0; got {list(self.log_uniform)}")
        return self

    def ends(self) -> tuple[Any, ...]:
        """Return the bounds, or all choices."""
        return self.choice or self.uniform or self.log_uniform or self.integer or ()

    def values(self, most: int) -> tuple[Any, ...] | None:
        """Return every value of the range; None where they are more than ``most``."""
        if self.integer is not None and self.integer[1] - self.integer[0] < most:
            return tuple(range(self.integer[0], self.integer[1] + 1))
        return self.choice if self.choice is not None and len(self.choice) <= most else None

    def witnesses(self) -> tuple[Any, ...]:
        """Return the values that must be valid: ends and a fraction of real numbers, whole numbers and choices each.

        Of a range of many whole numbers it is the ends and a sample between them.
        """
        if self.integer is not None:
            low, high = self.integer
            steps = min(high - low, _MOST_CHECKED - 1)
            return tuple(low + (high - low) * step // steps for step in range(steps + 1))
        bounds = self.uniform or self.log_uniform
        return self.ends() if bounds is None else (*bounds, bounds[0] + (bounds[1] - bounds[0]) / 2**0.5)

    def suggest(self, trial: optuna.Trial, name: str) -> Any:
        """Ask Optuna for a value."""
        if self.uniform is not None:
            return trial.suggest_float(name, *self.uniform)
        if self.log_uniform is not None:
            return trial.suggest_float(name, *self.log_uniform, log=True)
        if self.integer is not None:
            return trial.suggest_int(name, *self.integer)
        choices = self.choice or ()
        return choices[trial.suggest_categorical(name, tuple(range(len(choices))))]


@dataclass(frozen=True)
class Space:
    """What one variant of a model may be: fixed hyperparameters and ranges over others.

    ``full`` is the label of the variant that it is an ablation of; None for one that may be selected.
    """

    settings: type[Hyperparameters]
    fixed: Mapping[str, Any]
    ranges: Mapping[str, Range]
    full: str | None = None

    def suggest(self, trial: optuna.Trial) -> Hyperparameters:
        """Return the point that Optuna's trial stands for."""
        sampled = {name: self.ranges[name].suggest(trial, name) for name in sorted(self.ranges)}
        return self.settings(**{**self.fixed, **sampled})

    def all_points(self, most: int) -> list[Hyperparameters] | None:
        """Return every point, in the order of the sorted names' values; None where they are more than ``most``."""
        names = sorted(self.ranges)
        listed = [self.ranges[name].values(most) for name in names]
        known = [values for values in listed if values is not None]
        if len(known) < len(listed) or math.prod(map(len, known)) > most:
            return None
        chosen = (dict(zip(names, combination, strict=True)) for combination in itertools.product(*known))
        return [self.settings(**{**self.fixed, **values}) for values in chosen]

    def first_point(self) -> Hyperparameters:
        """Return the point at the first end of every range."""
        return self.settings(**{**self.fixed, **self._starts()})

    def validate(self) -> None:
        """Build every witness, so that bad values show before any work.

        Raises
        ------
        pydantic.ValidationError
            With the hyperparameter's name and what it must be.
        """
        for _ in self.witnesses():
            pass

    def witnesses(self) -> Iterator[Hyperparameters]:
        """Yield the points that must be valid: at the witnesses of each range by itself, then of all ranges together.

        Together it is every value of the ranges that can be listed with the ends of the others, or where these
        combinations are too many those of ends, and none where these are too many as well.
        """
        yield self.first_point()
        start, ranges = self._starts(), self.ranges.values()
        for name, range_ in self.ranges.items():
            for value in range_.witnesses():
                yield self.settings(**{**self.fixed, **start, name: value})
        ends = [range_.ends() for range_ in ranges]
        listed = [range_.values(_MOST_CHECKED) or range_.ends() for range_ in ranges]
        for together in (listed, ends):
            if math.prod(map(len, together)) <= _MOST_CHECKED:
                for values in itertools.product(*together):
                    yield self.settings(**{**self.fixed, **dict(zip(self.ranges, values, strict=True))})
                return

    def _starts(self) -> dict[str, Any]:
        return {name: range_.ends()[0] for name, range_ in self.ranges.items()}


def variants(
    name: str,
    settings: type[Hyperparameters],
    given: Mapping[str, Any],
    ranges: Mapping[str, Range],
    ablations: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Space]:
    """Return the variants of a model: one for every combination of its list-valued hyperparameters, then ablations.

    A hyperparameter given as a list is a sweep, unless a list is what one value of it looks like (hidden layers); a
    list of lists is a sweep of those. Each ablation changes one hyperparameter of each of these, the others left alone.

    Returns
    -------
    dict of label to Space
        Labels as in ``cbapm[consensus_weight=0.3]``; the plain name where nothing is swept or ablated.
    """
    swept = sweeps(settings, given)
    plain = {key: value for key, value in given.items() if key not in swept}
    full, lacking = {}, {}
    for combination in itertools.product(*swept.values()):
        chosen = dict(zip(swept, combination, strict=True))
        label = _label(name, chosen)
        full[label] = Space(settings, {**plain, **chosen}, ranges)
        for key, value in ablations.items():
            fixed = {**plain, **chosen, key: value}
            lacking[_label(name, {**chosen, key: value})] = Space(settings, fixed, ranges, full=label)
    return {**full, **lacking}


def sweeps(settings: type[Hyperparameters], given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the list-valued hyperparameters whose every value is a variant."""
    return {key: list(value) for key, value in given.items() if _is_sweep(settings, key, value)}


def label_of(value: Any) -> str:
    """Write a swept value as it stands in a variant's label: as short as tells it from every other."""
    if isinstance(value, list | tuple):
        return "-".join(map(label_of, value))
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return str(value)


def _label(name: str, chosen: Mapping[str, Any]) -> str:
    label = ",".join(f"{key}={label_of(value)}" for key, value in chosen.items())
    return f"{name}[{label}]" if label else name


def _is_sweep(settings: type[Hyperparameters], name: str, value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    field = settings.model_fields.get(name)
    one_value_is_a_list = field is not None and get_origin(field.annotation) in (tuple, list)
    return not one_value_is_a_list or (len(value) > 0 and isinstance(value[0], list | tuple))
