"""Names that two mounts made, moved or removed at the same time."""

import pytest

from storefs.model import ROOT_INO
from storefs.testing.world import FILE_MODE, FOLDER_MODE, create, find, put_file, write
from storefs.tree import rebase
from storefs.volume.attributes import Changes
from tests.engine.pair import conflict


async def test_the_same_name_made_twice_keeps_both(pair, autojump_clock):
    await pair.begin()
    await put_file(pair.one, "file", b"first")
    mine = await put_file(pair.two, "file", b"second")
    await pair.meet()
    copy = conflict("file", pair.two, 2)
    assert await pair.files() == {"file": b"first", copy: b"second"}
    assert find(pair.two, copy) == mine, "who has it open goes on in it"


async def test_directories_of_one_name_become_one(pair, autojump_clock):
    await pair.begin()
    for volume, inside, deep in ((pair.one, b"1", b"one"), (pair.two, b"2", b"two")):
        folder = create(volume, "run", mode=FOLDER_MODE)
        await put_file(volume, "same", inside, folder)
        await put_file(volume, deep.decode(), inside, create(volume, "deep", folder, FOLDER_MODE))
    await pair.meet()
    copy = conflict("run/same", pair.two, 2)
    assert await pair.files() == {
        "run": None, "run/same": b"1", copy: b"2", "run/deep": None, "run/deep/one": b"1", "run/deep/two": b"2",
    }  # fmt: skip


async def test_a_directory_that_became_anothers_stays_for_who_is_in_it(pair, autojump_clock):
    await pair.begin()
    create(pair.one, "run", mode=FOLDER_MODE)
    mine = create(pair.two, "run", mode=FOLDER_MODE)
    pair.two.references.add(mine)
    await pair.one.files.fsync()
    await pair.two.files.fsync()
    assert pair.two.attributes.get(mine).nlink == 0
    pair.two.names.forget(mine, 1)
    await pair.meet()
    assert await pair.files() == {"run": None}


async def test_a_file_and_a_directory_of_one_name(pair, autojump_clock):
    await pair.begin()
    create(pair.one, "x", mode=FOLDER_MODE)
    await put_file(pair.two, "x", b"2")
    await pair.meet()
    assert await pair.files() == {"x": None, conflict("x", pair.two, 2): b"2"}


async def test_a_renamed_file_survives_the_removal_of_its_old_name(pair, autojump_clock):
    await put_file(pair.one, "a", b"0" * 5000)
    await put_file(pair.one, "b", b"1" * 5000)
    await pair.begin()
    pair.world.clock.at_ns += 1
    pair.one.names.unlink(ROOT_INO, b"a")
    pair.one.names.rename(ROOT_INO, b"b", ROOT_INO, b"b2")
    pair.two.names.rename(ROOT_INO, b"a", ROOT_INO, b"a2")
    pair.two.names.unlink(ROOT_INO, b"b")
    await pair.meet()
    assert await pair.files() == {"a2": b"0" * 5000, "b2": b"1" * 5000}


async def test_who_renames_first_has_named_it(pair, autojump_clock):
    await put_file(pair.one, "file", b"0")
    create(pair.one, "folder", mode=FOLDER_MODE)
    await pair.begin()
    for volume, to in ((pair.one, b"-1"), (pair.two, b"-2")):
        for name in (b"file", b"folder"):
            volume.names.rename(ROOT_INO, name, ROOT_INO, name + to)
    await pair.meet()
    assert await pair.files() == {"file-1": b"0", "folder-1": None}


async def test_links_made_on_both_sides(pair, autojump_clock):
    await put_file(pair.one, "file", b"0")
    await pair.begin()
    for volume, name in ((pair.one, b"one"), (pair.two, b"two")):
        volume.names.link(find(volume, "file"), ROOT_INO, name)
    await pair.meet()
    assert await pair.files() == {"file": b"0", "one": b"0", "two": b"0"}
    assert pair.one.attributes.get(find(pair.one, "file")).nlink == 3


async def test_link_there_and_removal_here(pair, autojump_clock):
    await put_file(pair.one, "a", b"0")
    await put_file(pair.one, "b", b"1")
    await pair.begin()
    pair.one.names.link(find(pair.one, "a"), ROOT_INO, b"a2")
    pair.one.names.unlink(ROOT_INO, b"b")
    pair.two.names.unlink(ROOT_INO, b"a")
    pair.two.names.link(find(pair.two, "b"), ROOT_INO, b"b2")
    await pair.meet()
    assert await pair.files() == {"a2": b"0", "b2": b"1"}


async def test_a_link_removed_here_and_the_other_one_there(pair, autojump_clock):
    file = await put_file(pair.one, "a", b"0")
    pair.one.names.link(file, ROOT_INO, b"b")
    await pair.begin()
    pair.one.names.unlink(ROOT_INO, b"a")
    pair.two.names.unlink(ROOT_INO, b"b")
    await pair.meet()
    assert await pair.files() == {}


@pytest.mark.parametrize("first", ["removal", "filling"])
async def test_a_directory_removed_there_and_filled_here_comes_back(pair, first, autojump_clock):
    deep = create(
        pair.one, "c", create(pair.one, "b", create(pair.one, "a", mode=FOLDER_MODE), FOLDER_MODE), FOLDER_MODE
    )
    await pair.begin()
    removing, filling = (pair.one, pair.two) if first == "removal" else (pair.two, pair.one)
    await put_file(filling, "kept", b"1", deep)
    a = find(removing, "a")
    b = find(removing, "b", a)
    removing.names.rmdir(b, b"c")
    removing.names.rmdir(a, b"b")
    removing.names.rmdir(ROOT_INO, b"a")
    await pair.meet()
    assert await pair.files() == {"a": None, "a/b": None, "a/b/c": None, "a/b/c/kept": b"1"}


async def test_a_directory_removed_there_comes_back_beside_what_has_its_name_now(pair, autojump_clock):
    folder = create(pair.one, "a", mode=FOLDER_MODE)
    await pair.begin()
    pair.one.names.rmdir(ROOT_INO, b"a")
    await put_file(pair.one, "a", b"now a file")
    await put_file(pair.two, "kept", b"1", folder)
    await pair.meet()
    copy = conflict("a", pair.two, 3)
    assert await pair.files() == {"a": b"now a file", copy: None, f"{copy}/kept": b"1"}


async def test_renames_that_would_form_a_cycle(pair, autojump_clock):
    create(pair.one, "x", create(pair.one, "a", mode=FOLDER_MODE), FOLDER_MODE)
    create(pair.one, "y", create(pair.one, "b", mode=FOLDER_MODE), FOLDER_MODE)
    await pair.begin()
    for volume, moved, into in ((pair.one, "a", ("b", "y")), (pair.two, "b", ("a", "x"))):
        target = find(volume, into[1], find(volume, into[0]))
        volume.names.rename(ROOT_INO, moved.encode(), target, b"moved")
    await pair.meet()
    assert await pair.files() == {"b": None, "b/y": None, "b/y/moved": None, "b/y/moved/x": None}


async def test_a_file_replaced_on_both_sides(pair, autojump_clock):
    await put_file(pair.one, "file", b"0" * 5000)
    await pair.begin()
    for volume, data in ((pair.one, b"1"), (pair.two, b"2")):
        await put_file(volume, f"new-{data.decode()}", data * 5000)
        volume.names.rename(ROOT_INO, f"new-{data.decode()}".encode(), ROOT_INO, b"file")
    await pair.meet()
    assert await pair.files() == {"file": b"1" * 5000, conflict("file", pair.two, 3): b"2" * 5000}


async def test_a_file_changed_there_that_replaced_another_here(pair, autojump_clock):
    await put_file(pair.one, "a", b"0" * 5000)
    await put_file(pair.one, "b", b"1" * 5000)
    await pair.begin()
    await pair.one.attributes.set(find(pair.one, "b"), Changes(mode=0o600))
    pair.two.names.rename(ROOT_INO, b"b", ROOT_INO, b"a")
    await pair.meet()
    assert await pair.files() == {"a": b"1" * 5000}


async def test_the_same_with_a_replaced_file_that_has_another_name(pair, autojump_clock):
    file = await put_file(pair.one, "a", b"0" * 5000)
    pair.one.names.link(file, ROOT_INO, b"a2")
    await put_file(pair.one, "b", b"1" * 5000)
    await pair.begin()
    await pair.one.attributes.set(find(pair.one, "b"), Changes(mode=0o600))
    pair.two.names.rename(ROOT_INO, b"b", ROOT_INO, b"a")
    await pair.meet()
    assert await pair.files() == {"a": b"1" * 5000, "a2": b"0" * 5000}


@pytest.mark.parametrize("first", ["replacing", "writing"])
async def test_a_file_replaced_here_and_written_there(pair, first, autojump_clock):
    await put_file(pair.one, "file", b"0" * 5000)
    await pair.begin()
    replacing, writing = (pair.one, pair.two) if first == "replacing" else (pair.two, pair.one)
    await put_file(replacing, "new", b"1" * 5000)
    replacing.names.rename(ROOT_INO, b"new", ROOT_INO, b"file")
    await write(writing, find(writing, "file"), b"2" * 5000)
    await pair.meet()
    one, two = (b"1", b"2") if first == "replacing" else (b"2", b"1")
    assert await pair.files() == {"file": one * 5000, conflict("file", pair.two, 3): two * 5000}


@pytest.mark.parametrize("there", ["moved", "removed"])
async def test_a_file_is_replaced_here_by_one_that_goes_elsewhere_there(pair, there, autojump_clock):
    await put_file(pair.one, "a", b"0" * 5000)
    await put_file(pair.one, "b", b"1" * 5000)
    await pair.begin()
    a = find(pair.two, "a")
    if there == "moved":
        pair.one.names.rename(ROOT_INO, b"a", ROOT_INO, b"c")
    else:
        pair.one.names.unlink(ROOT_INO, b"a")
    pair.two.names.rename(ROOT_INO, b"a", ROOT_INO, b"b")
    await write(pair.two, a, b"2")
    await pair.meet()
    name = "c" if there == "moved" else "b"
    assert await pair.files() == {name: b"2" + b"0" * 4999}


async def test_names_removed_on_two_mounts_do_not_take_what_a_third_wrote(pair, tmp_path, autojump_clock):
    """Neither removal was the last one, as its mount saw it, and neither mount knew what the file held by then."""
    file = await put_file(pair.one, "a", b"0" * 5000)
    pair.one.names.link(file, ROOT_INO, b"b")
    await pair.begin()
    async with pair.world.engine_at(tmp_path / "three") as three:
        pair.two.names.unlink(ROOT_INO, b"a")
        three.names.unlink(ROOT_INO, b"b")
        await write(pair.one, file, b"1" * 5000)
        await pair.one.files.fsync()
        await pair.two.engine.follower.poll()
        await three.files.fsync()
        await pair.meet()
    assert await pair.files() == {"a": b"1" * 5000}
    assert pair.two.engine.tree.local.unseen() == set()


async def test_names_removed_on_two_mounts_take_the_file_with_them(pair, autojump_clock):
    file = await put_file(pair.one, "a", b"0" * 5000)
    pair.one.names.link(file, ROOT_INO, b"b")
    await pair.begin()
    pair.two.names.unlink(ROOT_INO, b"a")
    pair.one.names.unlink(ROOT_INO, b"b")
    await pair.meet()
    assert await pair.files() == {}


async def test_who_removes_a_name_after_it_saw_what_was_written_removes_it(pair, tmp_path, autojump_clock):
    """What was unseen once is not so for ever."""
    file = await put_file(pair.one, "a", b"0" * 5000)
    for name in (b"b", b"c"):
        pair.one.names.link(file, ROOT_INO, name)
    await pair.begin()
    pair.two.names.unlink(ROOT_INO, b"a")
    await write(pair.one, file, b"1" * 5000)
    await pair.meet()
    pair.two.names.unlink(ROOT_INO, b"b")
    pair.one.names.unlink(ROOT_INO, b"c")
    await pair.meet()
    assert await pair.files() == {}


@pytest.mark.parametrize("mode", [FOLDER_MODE, FILE_MODE], ids=["a directory", "a file"])
async def test_a_name_that_was_taken_away_and_given_back_there_is_moved_here(pair, autojump_clock, monkeypatch, mode):
    """What is left of it there is another place in the listing; that says nothing of what the name leads to."""
    monkeypatch.setattr(pair.world.clock, "now_ns", lambda: 10**18)  # so that no ctime changes
    create(pair.one, "e", mode=mode)
    await pair.begin()
    for name, new in ((b"e", b"x"), (b"x", b"e")):
        pair.one.names.rename(ROOT_INO, name, ROOT_INO, new)
    pair.two.names.rename(ROOT_INO, b"e", ROOT_INO, b"a")
    await pair.meet()
    assert list(await pair.files()) == ["a"]


@pytest.mark.parametrize("mode", [FOLDER_MODE, FILE_MODE], ids=["a directory", "a file"])
async def test_a_name_that_was_moved_there_is_taken_away_and_given_back_here(pair, autojump_clock, monkeypatch, mode):
    monkeypatch.setattr(pair.world.clock, "now_ns", lambda: 10**18)  # so that no ctime changes
    create(pair.one, "e", mode=mode)
    await pair.begin()
    pair.one.names.rename(ROOT_INO, b"e", ROOT_INO, b"a")
    for name, new in ((b"e", b"x"), (b"x", b"e")):
        pair.two.names.rename(ROOT_INO, name, ROOT_INO, new)
    await pair.meet()
    assert list(await pair.files()) == ["a"]


async def test_what_fits_nowhere_row_by_row_is_merged_inode_by_inode(pair, autojump_clock, monkeypatch, caplog):
    """A defect in telling what both sides touch costs a line in the log, not the mount."""
    monkeypatch.setattr(rebase, "_renewed", lambda _mine, _there: set())
    monkeypatch.setattr(pair.world.clock, "now_ns", lambda: 10**18)
    folder = create(pair.one, "e", mode=FOLDER_MODE)
    await put_file(pair.one, "old", b"0" * 5000)
    await pair.begin()
    for name, new in ((b"e", b"x"), (b"x", b"e")):
        pair.one.names.rename(ROOT_INO, name, ROOT_INO, new)
    pair.two.names.rename(ROOT_INO, b"e", ROOT_INO, b"a")
    await put_file(pair.two, "inside", b"2" * 5000, folder)
    await write(pair.two, find(pair.two, "old"), b"2" * 100)
    await pair.meet()
    assert await pair.files() == {"a": None, "a/inside": b"2" * 5000, "old": b"2" * 100 + b"0" * 4900}
    assert [record.levelname for record in caplog.records if record.name == "storefs.tree.rebase"] == ["ERROR"]


async def test_a_tree_removed_here_and_given_other_modes_there_is_removed(pair, autojump_clock):
    folder = create(pair.one, "folder", mode=FOLDER_MODE)
    inner = create(pair.one, "inner", folder, FOLDER_MODE)
    files = [await put_file(pair.one, f"{number}", b"0" * 100, inner) for number in range(3)]
    await pair.begin()
    for ino in (folder, inner, *files):
        await pair.one.attributes.set(ino, Changes(mode=0o700))
    for name in (b"0", b"1", b"2"):
        pair.two.names.unlink(inner, name)
    pair.two.names.rmdir(folder, b"inner")
    pair.two.names.rmdir(ROOT_INO, b"folder")
    await pair.meet()
    assert await pair.files() == {}
