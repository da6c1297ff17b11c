import numpy as np

from dualdub_jax.evaluation.analysis.track_memo import once_per_track


def test_a_track_is_analysed_once_and_another_anew():
    calls = []

    @once_per_track(max_size=2)
    def total(track, factor=1):
        calls.append(len(track))
        return factor * track.sum()

    one, other = np.arange(5.0), np.arange(6.0)
    assert [total(one), total(one.copy()), total(one, 3), total(other)] == [10, 10, 30, 15]
    assert calls == [5, 5, 6]
    assert total(one) == 10 and calls == [5, 5, 6, 5]  # forgotten in the meantime
    assert total(one.astype(np.float32)) == 10 and len(calls) == 5  # another precision
