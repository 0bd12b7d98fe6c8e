"""Names of archived files: any uid has one, and no two share it."""

import random

import pytest

from storefs.archive.filenames import file_name


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("cat.jpg", b"cat.jpg"),
        ("a/b", b"a%2Fb"),
        ("100%", b"100%25"),
        ("a%2Fb", b"a%252Fb"),
        (".", b"%2E"),
        ("..", b"%2E%2E"),
        ("...", b"..."),
        ("\0", b"%00"),
        ("żółw", "żółw".encode()),
    ],
)
def test_names(uid: str, name: bytes) -> None:
    assert file_name(uid) == name


def test_long_ones_stay_different_and_whole_characters() -> None:
    names = {file_name(f"{'ż' * 300}{number}") for number in range(100)}
    assert len(names) == 100
    assert all(len(name) <= 255 and name.decode() for name in names)
    assert file_name("x" * 255) == b"x" * 255


def test_any_uid_is_one_name(seed: int) -> None:
    dice = random.Random(seed)
    uids = {"".join(dice.choices("./%\0aż25EF~", k=dice.randrange(1, 400))) for _ in range(2000)}
    names = {file_name(uid) for uid in uids}
    assert len(names) == len(uids)
    for name in names:
        assert 0 < len(name) <= 255
        assert b"/" not in name
        assert b"\0" not in name
        assert name not in (b".", b"..")
