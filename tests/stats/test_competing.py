"""Restricted means and competing risks, by hand."""

import numpy as np
import pytest

from dlrs.stats import competing, survival


def test_restricted_mean_and_competing_risks_by_hand():
    time = np.array([3.0, 10.0, 20.0, 40.0, 50.0])
    mean, se = competing.restricted_mean(time, np.ones(5), horizon=36)
    cut = np.minimum(time, 36)
    assert mean == pytest.approx(cut.mean()) and se == pytest.approx(cut.std() / np.sqrt(5))
    cause = [1, 2, 0, 1, 2]
    # 1/5 at 3; then 4/5 stay, 3/5 after the death at 10; at 40 half of those two at risk: 3/5 * 1/2
    assert competing.cumulative_incidence(time, cause, horizon=36) == pytest.approx(0.2)
    assert competing.cumulative_incidence(time, cause, horizon=40) == pytest.approx(0.5)
    alone = [1, 0, 0, 1, 0]
    survival_40 = survival.kaplan_meier(time, alone, at=[40])["survival"].item()
    assert competing.cumulative_incidence(time, alone, horizon=40) == pytest.approx(1 - survival_40)
