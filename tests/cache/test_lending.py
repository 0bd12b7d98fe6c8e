"""Memory that is lent: nobody gets what somebody else still has a view of."""

import ctypes
import random

from storefs.cache.lending import Pieces

LENGTH = 64 << 10


def place(view):
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


def test_pieces_that_are_in_use_are_not_lent_again():
    pieces = Pieces(3, LENGTH)
    held = [pieces.take(LENGTH) for _ in range(3)]
    assert len({place(view) for view in held}) == 3
    assert pieces.bytes == 3 * LENGTH
    assert pieces.take(1) is None
    part, where = held[1][100:200], place(held[1])
    held[1] = None
    assert pieces.take(1) is None, "a part of it is in use"
    del part
    assert place(pieces.take(LENGTH)) == where
    del held
    assert pieces.bytes == 0


def test_a_piece_is_no_longer_than_it_is():
    assert Pieces(3, LENGTH).take(LENGTH + 1) is None


def test_whatever_is_kept_holds_what_was_written_to_it(seed):
    dice, pieces, held = random.Random(seed), Pieces(4, LENGTH), []
    for number in range(2000):
        view = pieces.take(dice.randrange(1, LENGTH + 1))
        assert (view is None) == (len(held) == 4)
        if view is not None:
            assert place(view) % 4096 == 0
            view[:4] = number.to_bytes(4, "big")
            held.append((view[:4], number))
        if held and dice.random() < 0.5:
            held.pop(dice.randrange(len(held)))
        del view
        assert all(int.from_bytes(kept, "big") == expected for kept, expected in held)
