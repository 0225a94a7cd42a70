"""The experiment: a validated description of a run, and the door to running it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from factor_ray.configuration import Configuration, read
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.settings import AnySimulatedData, DataSettings
from factor_ray.data.universe import Universe
from factor_ray.data.windows import Windows
from factor_ray.errors import InputError
from factor_ray.models.macro_state import MacroStateSettings
from factor_ray.models.registry import model, model_names
from factor_ray.refusals import KeyPath, explain, nearest, refusal, shown
from factor_ray.runner.settings import ComputeSettings, EnsembleSettings, SearchSettings, TrackingSettings
from factor_ray.runner.space import Range, Space, label_of, sweeps, variants

if TYPE_CHECKING:
    from factor_ray.run_directory import Run

Horizon = Annotated[int, Field(ge=1, le=120)]
WithinName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
Level = Annotated[float, Field(gt=0, lt=1)]


class Target(BaseModel):
    """What is forecast: excess returns over the next h months, by their means or their quantiles."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    horizon: Annotated[tuple[Horizon, ...], Field(min_length=1)] = Field(
        (1,), description="Months ahead, one or a list."
    )
    quantiles: Annotated[tuple[Level, ...], Field(min_length=1)] = Field(
        (0.05, 0.5, 0.95), description="Levels of the return's quantiles, for quantile models."
    )
    rearrange: bool = Field(
        False,
        description="Sort the quantiles of each month and asset, so that they rise with their level; how often they "
        "crossed before is measured either way.",
    )

    @field_validator("horizon", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("must be a whole number of months, or a list of them")
        return (value,)

    @field_validator("horizon")
    @classmethod
    def _are_distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"horizons must differ from each other; got {list(value)}")
        return value

    @field_validator("quantiles")
    @classmethod
    def _are_ordered(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(high <= low for low, high in itertools.pairwise(value)):
            raise ValueError(f"levels must rise from one to the next; got {list(value)}")
        return value


class PortfolioSettings(BaseModel):
    """Portfolios that are formed on forecasts at the end of each test month and held over the next month."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    number: int = Field(10, ge=2, description="Quantile portfolios; high-minus-low is the top less the bottom one.")
    weights: Literal["auto", "equal", "value"] = Field(
        "auto", description="auto is by market capitalisation where the data has it, else equal."
    )
    costs: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = Field(
        (0.0, 25.0, 50.0, 75.0),
        description="Costs of trading, in basis points of turnover; 0 is measured whether it is listed or not.",
    )

    @field_validator("costs")
    @classmethod
    def _with_none(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted({0.0, *value}))


class ReportSettings(BaseModel):
    """What the report shows where it has to choose; no result depends on it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    assets: tuple[int | str, ...] = Field(
        (),
        description="Assets of which the report draws the quantiles month by month; without any a few with long "
        "histories, from calm to volatile.",
    )

    @field_validator("assets")
    @classmethod
    def _are_distinct(cls, value: tuple[int | str, ...]) -> tuple[int | str, ...]:
        if len(set(map(str, value))) < len(value):
            raise ValueError(f"assets must differ from each other; got {list(value)}")
        return value


class ModelEntry(BaseModel):
    """One model: its name, fixed or swept hyperparameters, ranges to search, and what is switched off to compare."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(description="One of the models that `factor-ray models` lists.")
    search: dict[str, Range] = Field({}, description="Ranges of hyperparameters that the search explores.")
    ablations: dict[str, Any] = Field(
        {},
        description="Hyperparameters and the values that switch them off, each alone: one more variant for each, which "
        "is compared with the full model and never selected.",
    )

    @property
    def given(self) -> Mapping[str, Any]:
        """Hyperparameters as they were written; a list is a sweep."""
        return dict(self.model_extra or {})

    def spaces(self, tau: float | None = None) -> dict[str, Space]:
        """Return the variants of the model, those of a quantile model at a level."""
        found = variants(self.name, model(self.name).Settings, self.given, self.search, self.ablations)
        if tau is None:
            return found
        return {label: replace(space, fixed={**space.fixed, "tau": tau}) for label, space in found.items()}

    @model_validator(mode="after")
    def _hyperparameters_are_valid(self) -> ModelEntry:
        if self.name not in model_names():
            raise refusal(f"there is no model {self.name!r}; {nearest(self.name, model_names())}", ("name",))
        settings = model(self.name).Settings
        known = [name for name in settings.model_fields if name != "tau"]
        if "tau" in {*self.given, *self.search, *self.ablations}:
            raise refusal("levels are those of target.quantiles, for all models: set them there", ("tau",))
        for section, names in (((), self.given), (("search",), self.search), (("ablations",), self.ablations)):
            for name in names:
                if name not in known:
                    hint = nearest(name, known if section else [*known, "search", "ablations"])
                    raise refusal(f"{self.name} has no hyperparameter {name!r}; {hint}", (*section, name))
        for name in sorted(set(self.given) & set(self.search)):
            raise refusal(f"{name} is both fixed and searched: keep one", ("search", name))
        swept = sweeps(settings, self.given)
        for name, values in swept.items():
            if not values:
                raise refusal(f"{name} is an empty list: give at least one value, or leave it out", (name,))
            labels = [label_of(value) for value in values]
            twice = next((label for label in labels if labels.count(label) > 1), None)
            if twice is not None:
                raise refusal(f"{name} lists {twice} twice: keep one", (name,))
        for space in self.spaces().values():
            try:
                space.validate()
            except ValidationError as error:
                path, sentence = explain(error, settings, {**dict.fromkeys(space.ranges), **space.fixed})
                raise refusal(f"{self.name}: {sentence}", self._where_written(path, space, swept)) from error
        self._require_ablations_that_differ(swept)
        return self

    def _require_ablations_that_differ(self, swept: Mapping[str, Sequence[Any]]) -> None:
        full = next(iter(self.spaces().values()))
        for name, value in self.ablations.items():
            for what, names in (("swept", swept), ("searched", self.search)):
                if name in names:
                    raise refusal(f"{name} is both {what} and switched off: keep one", ("ablations", name))
            if replace(full, fixed={**full.fixed, name: value}).first_point() == full.first_point():
                same = f"{name} is {shown(value)} in the full model too"
                raise refusal(f"{self.name}: {same}: give the value that switches it off", ("ablations", name))

    def _where_written(self, path: KeyPath, space: Space, swept: Mapping[str, Sequence[Any]]) -> KeyPath:
        """Return where the value of a point stands that a path names: alone, in a sweep, or in a range."""
        name = str(path[0]) if path else ""
        if name in self.search:
            return ("search", name)
        if space.full is not None and name in self.ablations:
            return ("ablations", *path)
        if name in swept:
            return (name, list(swept[name]).index(space.fixed[name]))
        return path


class Experiment(BaseModel):
    """A validated description of a run; see the README for what each key means.

    Build one from a file with :meth:`from_yaml` or from keywords. Nothing is read, fitted or written before
    :meth:`run`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run and of its directory.")
    data: DataSettings = Field(description="Where the panel comes from.")
    preprocess: Preprocess = Field(default_factory=lambda: Preprocess.model_validate({}))
    target: Target = Field(default_factory=lambda: Target.model_validate({}))
    windows: Windows
    macro_state: MacroStateSettings = Field(default_factory=lambda: MacroStateSettings.model_validate({}))
    models: tuple[ModelEntry, ...] = Field(min_length=1)
    search: SearchSettings = Field(default_factory=lambda: SearchSettings.model_validate({}))
    ensemble: EnsembleSettings = Field(default_factory=lambda: EnsembleSettings.model_validate({}))
    portfolios: PortfolioSettings = Field(default_factory=lambda: PortfolioSettings.model_validate({}))
    within: dict[WithinName, Universe] = Field(
        {},
        description="Universes, by name, in which the same forecasts are measured again beside all assets: nothing is "
        "fitted for them. preprocess.universe is what is fitted on.",
    )
    report: ReportSettings = Field(default_factory=lambda: ReportSettings.model_validate({}))
    compute: ComputeSettings = Field(default_factory=lambda: ComputeSettings.model_validate({}))
    tracking: TrackingSettings = Field(default_factory=lambda: TrackingSettings.model_validate({}))
    output: str | None = Field(
        None,
        description="Directory of runs: runs by default, ~/factor_ray/runs inside a Ray job. A job needs it absolute.",
    )

    @field_validator("models")
    @classmethod
    def _are_distinct(cls, value: tuple[ModelEntry, ...]) -> tuple[ModelEntry, ...]:
        names = [entry.name for entry in value]
        if len(set(names)) < len(names):
            raise ValueError(f"a model may be listed once (sweep its hyperparameters instead); got {names}")
        return value

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
        """Read and validate a configuration file.

        Parameters
        ----------
        path : str or Path
        overrides : sequence of str
            ``key.sub=value``, as the command line's ``--set``.

        Raises
        ------
        InputError
            Naming the file, line and key, what was expected and the nearest valid key.
        """
        return cls.from_configuration(read(path, overrides))

    @classmethod
    def from_configuration(cls, configuration: Configuration) -> Experiment:
        """Validate a configuration that was read already."""
        return configuration.build(lambda: cls.model_validate(configuration.values), cls)

    @property
    def directory(self) -> Path:
        """Where the run is kept.

        Raises
        ------
        InputError
            Inside a Ray job, if ``output`` is relative: the job's working directory is a copy that is thrown away.
        """
        return _output_directory(self.output) / self.name

    def require_readable_paths(self) -> None:
        """Refuse relative data paths inside a Ray job.

        Raises
        ------
        InputError
            Naming the key and the remedy.
        """
        if not in_ray_job() or isinstance(self.data, AnySimulatedData):
            return
        for key, path in self.data.paths().items():
            if not Path(path).is_absolute():
                raise InputError(
                    f"{key} must be absolute in a Ray job, which runs in a copy of this directory; got {path!r}: "
                    f"give the path as the cluster's nodes see it, as in --set {key}=/data/{Path(path).name}"
                )

    def run(self) -> Run:
        """Run the experiment, or go on with it where it stopped, and return the finished run."""
        from factor_ray.pipeline import run_experiment

        return run_experiment(self)


def in_ray_job() -> bool:
    """Whether this process was started by `ray job submit`."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _output_directory(output: str | None) -> Path:
    if output is None:
        return Path.home() / "factor_ray" / "runs" if in_ray_job() else Path("runs")
    if in_ray_job() and not Path(output).is_absolute():
        raise InputError(
            "output must be absolute in a Ray job, whose working directory is a copy that is thrown away; got "
            f"{output!r}: set it to a directory that outlives the job, as in --set output=/data/runs"
        )
    return Path(output).expanduser()
