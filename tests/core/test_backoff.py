"""Back-off: waits grow, vary and have a ceiling."""

from hypothesis import given
from hypothesis import strategies as st

from storefs.core.backoff import Backoff

chances = st.floats(0, 1)


@given(st.integers(1, 1000), chances)
def test_waits_lie_between_half_the_ceiling_and_the_ceiling(failed, chance):
    backoff = Backoff(first_s=0.5, factor=2, most_s=15)
    ceiling = min(15, 0.5 * 2 ** (failed - 1))
    assert ceiling / 2 <= backoff.wait_s(failed, chance) <= ceiling


def test_waits_grow_and_vary():
    backoff = Backoff(first_s=1, factor=2, most_s=8)
    assert [backoff.wait_s(failed, 1) for failed in (1, 2, 3, 4, 5)] == [1, 2, 4, 8, 8]
    assert backoff.wait_s(1, 0) < backoff.wait_s(1, 1)
