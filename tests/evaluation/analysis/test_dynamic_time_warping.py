import numpy as np
import pytest

from dualdub_jax.evaluation.analysis.dynamic_time_warping import cheapest_path


def _cost_by_double_loop(x, y):
    cost = np.full((len(x) + 1, len(y) + 1), np.inf)
    cost[0, 0] = 0
    for i in range(len(x)):
        for j in range(len(y)):
            step = min(cost[i, j], cost[i, j + 1], cost[i + 1, j])
            cost[i + 1, j + 1] = np.linalg.norm(x[i] - y[j]) + step
    return cost[-1, -1]


@pytest.mark.parametrize("num_x, num_y", [(1, 1), (1, 7), (9, 1), (12, 12), (17, 9), (8, 21)])
def test_path_is_allowed_and_as_cheap_as_the_double_loop_finds(num_x, num_y):
    rng = np.random.default_rng(num_x * 31 + num_y)
    x, y = rng.standard_normal((num_x, 3)), rng.standard_normal((num_y, 3))
    i, j = cheapest_path(x, y)
    assert (i[0], j[0], i[-1], j[-1]) == (0, 0, num_x - 1, num_y - 1)
    steps = set(zip(np.diff(i).tolist(), np.diff(j).tolist(), strict=True))
    assert steps <= {(1, 0), (0, 1), (1, 1)}
    assert np.linalg.norm(x[i] - y[j], axis=1).sum() == pytest.approx(_cost_by_double_loop(x, y))


def test_equal_sequences_go_straight_on_and_a_held_frame_is_waited_for():
    x = np.arange(5.0)[:, None]
    i, j = cheapest_path(x, x)
    assert i.tolist() == j.tolist() == [0, 1, 2, 3, 4]
    i, j = cheapest_path(x, x[[0, 1, 1, 1, 2, 3, 4]])
    assert i.tolist() == [0, 1, 1, 1, 2, 3, 4]
