"""References against a plain dictionary of counts."""

from hypothesis import given
from hypothesis import strategies as st

from storefs.core.references import References

INOS = [1, 1 << 40, (1 << 40) + 1, (1 << 40) + 1023, (1 << 40) + 1024, (7 << 40) + 5]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(INOS), st.integers(1, 70)),
        st.tuples(st.just("remove"), st.sampled_from(INOS), st.integers(1, 130)),
        st.tuples(st.sampled_from(["stored", "unmark"]), st.sampled_from(INOS), st.just(0)),
    ),
    max_size=40,
)


@given(steps)
def test_it_counts_like_a_dictionary(plan):
    references, counts, stored = References(), {}, set()
    for verb, ino, number in plan:
        if verb == "add":
            counts[ino] = counts.get(ino, 0) + number
            for _ in range(number):
                references.add(ino)
        elif verb == "remove":
            left = max(0, counts.get(ino, 0) - number)
            assert references.remove(ino, number) == (left == 0)
            counts[ino] = left
            if not left:
                stored.discard(ino)
        elif verb == "unmark":
            references.unmark_stored(ino)
            stored.discard(ino)
        else:
            news = bool(counts.get(ino)) and ino not in stored
            assert references.mark_stored(ino) == news
            if news:
                stored.add(ino)
        assert len(references) == sum(count > 0 for count in counts.values())
        for one in INOS:
            assert (one in references) == (counts.get(one, 0) > 0)
            assert references.is_stored(one) == (one in stored)
        fresh = {one for one in INOS if counts.get(one) and one not in stored}
        assert references.fresh(INOS[1], INOS[-2]) == sorted(fresh - {INOS[0], INOS[-1]})


def test_pages_go_with_their_last_inode():
    references = References()
    for ino in range(5000):
        references.add(ino)
    for ino in range(5000):
        assert references.remove(ino, 1)
    assert not references._pages
    assert not references._held
