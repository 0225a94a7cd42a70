"""Coefficients of factors from window to window: paired with those before, their signs agreeing."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_loadings import finished
from toy_model import Toy

from factor_ray.data.months import month_ends
from factor_ray.models import registry
from factor_ray.models.base import Description, RowWise
from factor_ray.window_loadings import follow, window_loading_frame


@given(
    seed=st.integers(0, 2**32 - 1), factors=st.integers(1, 5), extra=st.integers(0, 2), noise=st.sampled_from([0, 0.05])
)
def test_factors_that_were_shuffled_and_turned_are_found_again(seed, factors, extra, noise):
    rng = np.random.default_rng(seed)
    known, _ = np.linalg.qr(rng.standard_normal((9, factors + extra)))
    known = known.T
    order, sign = rng.permutation(factors + extra), rng.choice([-1.0, 1.0], factors + extra)
    now = (known[order] + noise * rng.standard_normal(known.shape)) * sign[:, None]
    places, signed = follow(known[:factors], now)
    wanted = np.where(order < factors, order, -1)
    assert places[wanted >= 0].tolist() == wanted[wanted >= 0].tolist()
    assert sorted(places.tolist()) == list(range(factors + extra))  # the new ones come after
    np.testing.assert_allclose(signed[wanted >= 0], (now * sign[:, None])[wanted >= 0])


def test_fewer_factors_keep_the_places_of_those_that_they_go_on():
    known = np.eye(3, 5)
    places, signed = follow(known, -known[[2, 0]])
    assert places.tolist() == [2, 0]
    np.testing.assert_array_equal(signed, known[[2, 0]])
    assert follow(np.zeros((0, 5)), known)[0].tolist() == [0, 1, 2]


class Turning(Toy):
    """The toy with two factors that change places and signs whenever it is asked what it is made of."""

    name: ClassVar[str] = "turning"
    asked: ClassVar[list[int]] = []

    @classmethod
    def fitted(cls, point: Any, weights: Any) -> Any:
        plain = Toy.fitted(point, weights)

        class Member(RowWise):
            def describe(self) -> Any:
                cls.asked.append(0)
                time = len(cls.asked)
                factors = np.array([[0.1, 3.0], [0.2, 1.0], [0.1, 9.0]])
                loadings = np.vstack([np.full(9, 0.1 * time), np.arange(-4.0, 5.0)])
                return Description(np.arange(3), factors[:, :: (-1) ** time], (-1.0) ** time * loadings)

        return Member(plain.predict)


def test_every_window_has_its_rows_aligned_with_the_first(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(registry._OURS, "turning", "test_window_loadings:Turning")
    monkeypatch.setitem(registry._OURS, "toy", "toy_model:Toy")
    campaign, inputs = finished(tmp_path, "turning")
    quest = campaign.quests[0]
    Turning.asked.clear()
    frame = window_loading_frame(quest, inputs.panel, campaign.store)
    assert list(frame) == ["model", "horizon", "tau", "window", "month", "factor", "characteristic", "coefficient"]
    assert len(frame) == len(quest.windows) * 2 * 9
    wide = frame.pivot_table(index="window", columns=["factor", "characteristic"], values="coefficient", sort=False)
    growing = min((wide[1], wide[2]), key=lambda factor: np.ptp(factor.iloc[0]))
    sign = np.sign(growing.iloc[0, 0])
    np.testing.assert_allclose(growing.iloc[:, 0], sign * 0.1 * np.arange(1, 1 + len(quest.windows)))
    other = max((wide[1], wide[2]), key=lambda factor: np.ptp(factor.iloc[0]))
    assert other.std().max() < 1e-12
    last = [(window.validation or window.train)[1] for window in quest.windows]
    wanted = pd.to_datetime(month_ends(np.array(last, dtype=np.int32)))
    assert frame.drop_duplicates("window")["month"].tolist() == wanted.tolist()
    campaign, inputs = finished(tmp_path / "plain", "toy")
    assert window_loading_frame(campaign.quests[0], inputs.panel, campaign.store).empty
