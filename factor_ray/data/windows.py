"""Windows: which months a model is fitted, selected and judged on. Pure functions of a calendar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from factor_ray.data.months import format_month, parse_month
from factor_ray.errors import InputError

MonthRange = tuple[int, int]
"""First and last month, both included."""


class Window(BaseModel):
    """One window: training, validation and test months, with the embargo between them left out.

    Attributes
    ----------
    train, validation, test : (int, int)
        First and last month (months since 1970-01), both included. ``validation`` is None without validation months.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: MonthRange
    validation: MonthRange | None
    test: MonthRange

    def label(self) -> str:
        """Name the window by its test months, as in ``2013-01..2013-12``."""
        return f"{format_month(self.test[0])}..{format_month(self.test[1])}"

    def dates(self) -> dict[str, list[str] | None]:
        """Return the window's dates as text, the way they enter a cell's identity and the run's files."""
        ranges = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: None if pair is None else [format_month(m) for m in pair] for name, pair in ranges.items()}


class Windows(BaseModel):
    """A scheme of windows. ``first_train_end`` fixes the test calendar as if the embargo were 0.

    An h-month target reaches h-1 months past the end of the set that it belongs to. The embargo moves the ends of
    training and validation back by that much, so that every target a window learns from is complete when its first
    test forecast is formed; test months never move, so that horizons are judged on the same months.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["expanding", "rolling", "single"] = Field(
        "expanding",
        description="expanding: training starts at the first month; rolling: it keeps `length` months; "
        "single: one split.",
    )
    first_train_end: str = Field(
        description="Last training month of the first window if the embargo were 0, YYYY-MM.",
        json_schema_extra={"pattern": r"^\d{4}-(0[1-9]|1[0-2])$"},
    )
    validation: int = Field(24, ge=0, description="Validation months.")
    test: int = Field(12, ge=1, description="Test months of a window; windows step by as many. Unused by `single`.")
    step: int | None = Field(None, ge=1, description="Months between windows; equals `test` where it is given.")
    length: int | None = Field(None, ge=1, description="Training months of a rolling window, at embargo 0.")
    embargo: int | Literal["auto"] = Field(
        "auto",
        description="Months kept free before validation and before test: auto is h-1 for h-month targets. Set 0 to "
        "reproduce papers that let training targets reach into the test months: the report marks it as looking ahead.",
    )

    @field_validator("first_train_end", mode="before")
    @classmethod
    def _is_month(cls, value: Any) -> str:
        parse_month(str(value))
        return str(value)

    @field_validator("embargo")
    @classmethod
    def _is_not_negative(cls, value: int | Literal["auto"]) -> int | Literal["auto"]:
        if value != "auto" and value < 0:
            raise ValueError(f"embargo must be auto or at least 0; got {value}")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Windows:
        if self.step is not None and self.step != self.test:
            raise ValueError(
                f"step must equal test, so that every month is forecast once; got {self.step} and {self.test}"
            )
        if (self.scheme == "rolling") != (self.length is not None):
            raise ValueError(
                "rolling needs windows.length, its training months"
                if self.length is None
                else f"length (training months) belongs to the rolling scheme; with {self.scheme} leave it out"
            )
        return self

    @classmethod
    def expanding(
        cls, *, first_train_end: str, validation: int = 24, test: int = 12, embargo: int | Literal["auto"] = "auto"
    ) -> Windows:
        """Training starts at the panel's first month and grows by ``test`` months a window."""
        return cls(
            scheme="expanding", first_train_end=first_train_end, validation=validation, test=test, embargo=embargo
        )

    @classmethod
    def rolling(
        cls,
        *,
        length: int,
        first_train_end: str,
        validation: int = 24,
        test: int = 12,
        embargo: int | Literal["auto"] = "auto",
    ) -> Windows:
        """Training keeps ``length`` months and moves by ``test`` months a window."""
        return cls(
            scheme="rolling",
            length=length,
            first_train_end=first_train_end,
            validation=validation,
            test=test,
            embargo=embargo,
        )

    @classmethod
    def single(cls, *, first_train_end: str, validation: int = 24, embargo: int | Literal["auto"] = "auto") -> Windows:
        """One split: all months after validation are test months."""
        return cls(scheme="single", first_train_end=first_train_end, validation=validation, embargo=embargo)

    def split(self, months: Sequence[int], horizon: int = 1) -> tuple[Window, ...]:
        """Lay the windows over a panel's months.

        Parameters
        ----------
        months : sequence of int
            The panel's months in order, without gaps.
        horizon : int
            h of the target, in months; decides the embargo where it is ``auto``.

        Returns
        -------
        tuple of Window
            In order of time. Their test months follow each other without gap up to the last month; the last window may
            be short.

        Raises
        ------
        InputError
            If the months do not hold one window.
        """
        first, last = int(months[0]), int(months[-1])
        gap, end = self.gap(horizon), parse_month(self.first_train_end)
        earliest, latest = self._possible_ends(first, last, horizon)
        if not earliest <= end <= latest:
            spans = f"the panel has {format_month(first)}..{format_month(last)}"
            wanting = (
                f"with {self.validation} validation months leaves no test month"
                if end > latest
                else f"leaves the first window no complete training set at horizon {horizon} (embargo {gap})"
            )
            raise InputError(
                f"windows.first_train_end {self.first_train_end} {wanting}: {spans}; choose one from "
                f"{format_month(earliest)} to {format_month(latest)}"
            )
        starts = [end + self.validation + 1]
        if self.scheme != "single":
            starts = list(range(starts[0], last + 1, self.test))
        return tuple(self._window(start, first, last, gap) for start in starts)

    def last_window(self, months: Sequence[int], horizon: int = 1) -> Window:
        """Return the window for live use: everything known at the last month's end, which is its one test month."""
        first, last = int(months[0]), int(months[-1])
        self._possible_ends(first, last, horizon)
        return self._window(last, first, last, self.gap(horizon))

    def gap(self, horizon: int) -> int:
        """Return the embargo in months for h-month targets."""
        return horizon - 1 if self.embargo == "auto" else self.embargo

    def looks_ahead(self, horizon: int) -> bool:
        """Whether training or validation targets reach past the first test month's formation."""
        return self.gap(horizon) < horizon - 1

    def _possible_ends(self, first: int, last: int, horizon: int) -> MonthRange:
        """Return the earliest and the latest ``first_train_end`` with which the months hold a window."""
        gap, months = self.gap(horizon), last - first + 1
        sets = 2 if self.validation else 1
        training = self.length or sets * gap + 1
        if training <= sets * gap:
            raise InputError(
                f"windows.length must be more than {sets * gap} at horizon {horizon}, whose embargo of {gap} takes as "
                f"many training months; got {training}: choose a longer one"
                + (" or a shorter target.horizon" if self.embargo == "auto" else "")
            )
        needed = training + self.validation + 1
        if months < needed:
            least, auto = self.length or 1, self.length or sets * (horizon - 1) + 1
            helps = {
                "a shorter target.horizon": self.embargo == "auto" and gap > 0 and least + self.validation < months,
                "windows.embargo auto": gap > horizon - 1 and auto + self.validation < months,
                "fewer windows.validation months": self.validation > 0 and (self.length or gap + 1) < months,
                "a shorter windows.length": self.length is not None and sets * gap + 1 + self.validation < months,
                "a longer panel": True,
            }
            raise InputError(
                f"windows at horizon {horizon} need at least {needed} months ({training} of training with an embargo "
                f"of {gap}, {self.validation} of validation, 1 of test); the panel has {months}: choose "
                f"{' or '.join(remedy for remedy, does in helps.items() if does)}"
            )
        return first + training - 1, last - self.validation - 1

    def _window(self, test_start: int, first: int, last: int, gap: int) -> Window:
        validation: MonthRange | None = None
        train_end = test_start - 1 - gap
        if self.validation:
            validation = (train_end - self.validation + 1, train_end)
            train_end = validation[0] - 1 - gap
        train_start = first if self.length is None else test_start - self.validation - self.length
        test_end = last if self.scheme == "single" else min(test_start + self.test - 1, last)
        return Window(train=(train_start, train_end), validation=validation, test=(test_start, test_end))
