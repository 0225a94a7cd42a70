"""Ranges and variants: what a configuration lists is what is tried, and nothing that fails later passes."""

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError, model_validator

from factor_ray.models.base import Hyperparameters, free, shape
from factor_ray.runner.space import Range, Space, label_of, sweeps, variants


class Toy(Hyperparameters):
    """Hyperparameters of no model."""

    hidden: tuple[int, ...] = shape((4,), "units")
    depth: int = shape(1, "layers", ge=1)
    rate: float = free(0.1, "step", gt=0, lt=1)
    weight: float = free(0.0, "penalty", ge=0)


def trial(**values: object) -> optuna.trial.FixedTrial:
    return optuna.trial.FixedTrial(values)


@pytest.mark.parametrize(
    ("written", "sampled", "value"),
    [
        ({"uniform": [0, 1]}, 0.25, 0.25),
        ({"log_uniform": [1e-4, 1]}, 0.01, 0.01),
        ({"integer": [1, 3]}, 3, 3),
        ({"choice": [[8, 4], [2]]}, 1, [2]),
        ({"choice": ["auto", 5, None]}, 2, None),
    ],
)
def test_a_trial_becomes_a_value(written, sampled, value):
    assert Range.model_validate(written).suggest(trial(x=sampled), "x") == value


def test_a_range_is_explored_within_its_bounds():
    ranges = {
        "rate": Range(log_uniform=(1e-3, 0.5)),
        "depth": Range(integer=(1, 3)),
        "hidden": Range(choice=([8], [2])),
    }
    space = Space(Toy, {"weight": 2.0}, ranges)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    points = [space.suggest(study.ask()) for _ in range(40)]
    assert all(1e-3 <= point.rate <= 0.5 and point.weight == 2.0 for point in points)
    assert {point.depth for point in points} == {1, 2, 3}
    assert {point.hidden for point in points} == {(8,), (2,)}


def test_the_order_of_ranges_does_not_matter():
    ranges = {"rate": Range(uniform=(0.1, 0.9)), "weight": Range(uniform=(0, 5))}
    found = []
    for names in (["rate", "weight"], ["weight", "rate"]):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        found.append(Space(Toy, {}, {name: ranges[name] for name in names}).suggest(study.ask()))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"uniform": [0, 1], "choice": [1]},
        {"uniform": [1, 1]},
        {"uniform": [2, 1]},
        {"uniform": [float("nan"), 1]},
        {"uniform": [0, float("inf")]},
        {"log_uniform": [0, 1]},
        {"integer": [1.5, 3]},
        {"choice": []},
        {"normal": [0, 1]},
        [0, 1],
        0.5,
        None,
    ],
)
def test_what_is_no_range(written):
    with pytest.raises(ValidationError):
        Range.model_validate(written)


@pytest.mark.parametrize(
    ("fixed", "ranges"),
    [
        ({}, {"rate": Range(uniform=(0.5, 1.0))}),
        ({}, {"rate": Range(uniform=(0.0, 0.5))}),
        ({}, {"rate": Range(choice=(0.5, 2.0, 0.1))}),
        ({}, {"depth": Range(uniform=(1, 3))}),
        ({}, {"depth": Range(log_uniform=(1, 1024))}),
        ({}, {"depth": Range(integer=(0, 3))}),
        ({"weight": -1}, {}),
        ({"wight": 1}, {}),
    ],
)
def test_points_that_would_fail_later_fail_now(fixed, ranges):
    with pytest.raises(ValidationError):
        Space(Toy, fixed, ranges).validate()


class Divided(Hyperparameters):
    """Hyperparameters of which one must divide another."""

    width: int = shape(30, "units")
    heads: int = shape(1, "heads", ge=1)

    @model_validator(mode="after")
    def _heads_divide_width(self):
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads; got heads {self.heads}")
        return self


def test_every_whole_number_of_a_range_is_checked_and_a_bad_one_named():
    Space(Divided, {}, {"heads": Range(integer=(1, 3))}).validate()
    with pytest.raises(ValidationError, match="got heads 4"):
        Space(Divided, {}, {"heads": Range(integer=(1, 5))}).validate()


def test_combinations_of_ranges_are_checked_where_they_are_few():
    width, heads = Range(choice=(16, 18)), Range(choice=(2, 8))
    Space(Divided, {}, {"width": Range(choice=(16, 24)), "heads": heads}).validate()
    with pytest.raises(ValidationError, match="got heads 8"):
        Space(Divided, {}, {"width": width, "heads": heads}).validate()
    # 200 and 2 values are too many together, their ends are not.
    with pytest.raises(ValidationError, match="got heads 8"):
        Space(Divided, {}, {"width": Range(integer=(8, 207)), "heads": Range(choice=(1, 8))}).validate()


def test_too_many_combinations_are_left_to_the_search():
    many = Range(choice=tuple(range(16, 16 * 19, 16)))
    space = Space(Divided, {}, {"width": many, "heads": Range(choice=(1, 2, 4, 8, 16, *[1] * 12))})
    assert len(list(space.witnesses())) == 1 + 18 + 17
    assert len(list(Space(Divided, {}, {"width": many}).witnesses())) == 1 + 18 + 18
    assert len(list(Space(Divided, {}, {}).witnesses())) == 2


@given(st.integers(-1000, 1000), st.integers(1, 5000))
def test_long_ranges_are_checked_at_their_ends_and_between(low, length):
    checked = Range(integer=(low, low + length)).witnesses()
    assert (checked[0], checked[-1]) == (low, low + length)
    assert len(checked) == min(length + 1, 256)
    assert list(checked) == sorted(set(checked))


@given(st.floats(0.01, 0.49), st.floats(0.01, 0.5))
def test_a_good_space_passes(low, width):
    Space(
        Toy, {"hidden": [3, 2]}, {"rate": Range(uniform=(low, low + width)), "depth": Range(integer=(1, 2))}
    ).validate()


def test_lists_are_sweeps_unless_one_value_is_a_list():
    assert sweeps(Toy, {"weight": [0, 1], "rate": 0.5, "hidden": [8, 4]}) == {"weight": [0, 1]}
    assert sweeps(Toy, {"hidden": [[8, 4], [2]], "depth": (1, 2)}) == {"hidden": [[8, 4], [2]], "depth": [1, 2]}
    assert sweeps(Toy, {"hidden": [], "unknown": [1]}) == {"unknown": [1]}


def test_variants_are_all_combinations_in_order():
    found = variants("toy", Toy, {"weight": [0.0, 0.3], "hidden": [[8, 4], [2]], "rate": 0.5}, {})
    assert list(found) == [
        "toy[weight=0,hidden=8-4]",
        "toy[weight=0,hidden=2]",
        "toy[weight=0.3,hidden=8-4]",
        "toy[weight=0.3,hidden=2]",
    ]
    assert found["toy[weight=0.3,hidden=2]"].fixed == {"rate": 0.5, "weight": 0.3, "hidden": [2]}
    assert list(variants("toy", Toy, {"rate": 0.5}, {})) == ["toy"]


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=2, unique=True))
def test_different_numbers_have_different_labels(values):
    assert label_of(values[0]) != label_of(values[1])


@pytest.mark.parametrize(
    ("value", "label"), [(0.30000000000000004, "0.30000000000000004"), (1e-5, "1e-05"), (1.0, "1"), (True, "True")]
)
def test_labels_are_short(value, label):
    assert label_of(value) == label
