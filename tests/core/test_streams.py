"""Streams: reads in order are told from reads here and there, whoever makes them and however many do."""

import random

from storefs.core.streams import STREAMS_MAX, Streams

KIB, MIB = 1 << 10, 1 << 20
MOST = 64 * MIB


def read(streams, start, length, *, jump_window=0):
    stream = streams.note(start, start + length, jump_window=jump_window)
    if stream.is_long:
        stream.widen(MOST)
    return stream


def test_the_start_of_a_file_is_read_ahead_at_once_and_more_the_longer_it_goes_on():
    streams = Streams()
    windows = [read(streams, at, 128 * KIB).window for at in range(0, 32 * MIB, 128 * KIB)]
    assert windows[0] == MIB
    assert windows == sorted(windows)
    assert windows[-1] == MOST
    assert windows[15] <= 16 * MIB, "small reads do not make it grow faster than they go on"
    assert streams.jumps == 0


def test_elsewhere_it_takes_some_reads_in_order():
    streams = Streams()
    windows = [read(streams, 500 * MIB + at, 64 * KIB).window for at in range(0, 512 * KIB, 64 * KIB)]
    assert windows[:3] == [0, 0, 0]
    assert windows[-1] > 0


def test_samples_in_pages_are_not_read_ahead(seed):
    dice, streams = random.Random(seed), Streams()
    read(streams, 0, 4 * KIB)  # the header
    for _ in range(1000):
        start = dice.randrange(16 * MIB, 1 << 40, 4 * KIB)
        for at in range(start, start + 64 * KIB, 4 * KIB):
            stream = read(streams, at, 4 * KIB)
            assert stream.window == 0
            assert stream.run == at - start
    assert streams.jumps == 1000


def test_long_samples_are_samples_too(seed):
    dice, streams = random.Random(seed), Streams()
    for _ in range(100):
        assert read(streams, dice.randrange(1, 1 << 50), MIB).window == 0


def test_many_who_read_in_order_at_a_time_each_have_a_stream():
    streams = Streams()
    for at in range(0, 8 * MIB, 128 * KIB):
        for reader in range(STREAMS_MAX):
            stream = read(streams, (reader << 30) + at, 128 * KIB)
            assert stream.run == at
    assert stream.window >= 8 * MIB
    assert streams.jumps == STREAMS_MAX - 1


def test_reads_that_come_out_of_order_belong_to_their_stream():
    streams = Streams()
    first = read(streams, 0, MIB)
    for at in (2, 1, 3, 5, 4):
        assert read(streams, at * MIB, MIB) is first
    assert first.next == 6 * MIB
    assert streams.jumps == 0


def test_what_was_read_long_ago_is_forgotten():
    streams = Streams()
    first = read(streams, 0, MIB)
    for reader in range(1, STREAMS_MAX + 1):
        read(streams, reader << 30, MIB)
    assert read(streams, MIB, MIB) is not first
    assert streams.jumps == STREAMS_MAX + 1


def test_a_jump_has_the_window_it_is_given_and_keeps_it():
    streams = Streams()
    read(streams, 0, MIB)
    assert read(streams, 100 * MIB, MIB, jump_window=16 * MIB).window == 16 * MIB
    assert read(streams, 101 * MIB, MIB).window == 16 * MIB


def test_a_window_shrinks_to_what_there_is_room_for():
    streams = Streams()
    for at in range(0, 32 * MIB, MIB):
        stream = read(streams, at, MIB)
    stream.widen(4 * MIB)
    assert stream.window == 4 * MIB


def test_who_begins_where_a_stream_ended_that_was_left_goes_on_with_none(seed):
    dice, streams = random.Random(seed), Streams()
    for at in range(100 * MIB, 120 * MIB, MIB):
        assert read(streams, at, MIB).start == 100 * MIB
        assert read(streams, 400 * MIB + at, MIB).start == 500 * MIB, "two readers in turns"
    for _ in range(10):
        read(streams, dice.randrange(1 << 40), MIB)
    assert read(streams, 120 * MIB, MIB).start == 100 * MIB
    jumps = streams.jumps
    for at in range(600 * MIB, 860 * MIB, MIB):
        read(streams, at, MIB)
    again = read(streams, 121 * MIB, MIB)
    assert (again.start, again.window) == (121 * MIB, 0)
    assert streams.jumps == jumps + 2
    assert read(streams, 122 * MIB, MIB) is again


def test_a_reader_who_waits_for_the_store_is_not_taken_for_one_who_left():
    """Ranges of 8 MiB come to each of his fellows meanwhile."""
    streams = Streams()
    for at in range(0, 16 * MIB, 128 * KIB):
        for reader in range(32):
            read(streams, (reader << 30) + at, 128 * KIB)
    for reader in range(1, 32):
        for at in range(16 * MIB, 24 * MIB, 128 * KIB):
            read(streams, (reader << 30) + at, 128 * KIB)
    assert read(streams, 16 * MIB, 128 * KIB).start == 0
    assert streams.jumps == 31


def test_two_who_come_to_the_same_place_are_one_from_there_on():
    streams = Streams()
    for at in range(0, 4 * MIB, MIB):
        ahead = read(streams, 100 * MIB + at, MIB)
    for at in range(80 * MIB, 104 * MIB, MIB):
        behind = read(streams, at, MIB)
    assert behind is not ahead
    assert read(streams, 104 * MIB, MIB) is behind
    assert read(streams, 106 * MIB, MIB) is behind, "not the one that is no more"
    assert streams.jumps == 1


def test_samples_between_readers_in_order_do_not_disturb_them(seed):
    dice, streams = random.Random(seed), Streams()
    for at in range(0, 64 * MIB, 128 * KIB):
        for reader in range(8):
            stream = read(streams, (reader << 30) + at, 128 * KIB)
        read(streams, dice.randrange(1 << 40, 1 << 50), 4 * KIB)
    assert stream.run == 64 * MIB - 128 * KIB
