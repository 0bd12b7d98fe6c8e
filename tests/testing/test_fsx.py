"""The file exerciser finds no fault with a local file, does the same for the same seed, and tells every difference."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storefs.testing.fsx import ALL, FALLOCATE, Exerciser, FileDiffers

LOCAL = ALL - set(FALLOCATE)
"""What every local filesystem supports."""


def test_a_local_file_is_right(tmp_path: Path, seed: int) -> None:
    with Exerciser(tmp_path / "file", seed, operations=LOCAL) as exerciser:
        for _ in range(3):
            exerciser.run(500)
            exerciser.settle()
            exerciser.close()
            exerciser.check()
    assert (tmp_path / "file").read_bytes() == exerciser.model


def test_fallocate_where_it_is_supported(tmp_path: Path, seed: int) -> None:
    with Exerciser(tmp_path / "file", seed) as exerciser:
        try:
            exerciser.run(500)
        except FileDiffers as error:
            if f"[Errno {errno.EOPNOTSUPP}]" not in str(error):
                raise
            pytest.skip("this filesystem has no fallocate, or not all of it")
        exerciser.check()


def test_the_same_seed_does_the_same(tmp_path: Path, seed: int) -> None:
    models = []
    for name in ("one", "other"):
        with Exerciser(tmp_path / name, seed, operations=LOCAL) as exerciser:
            exerciser.run(300)
            models.append(bytes(exerciser.model))
    assert models[0] == models[1]
    with Exerciser(tmp_path / "third", seed + 1, operations=LOCAL) as exerciser:
        exerciser.run(300)
    assert exerciser.model != models[0]


@pytest.mark.parametrize("damage", ["a byte", "the length", "a stale end"])
def test_damage_is_told(tmp_path: Path, seed: int, damage: str) -> None:
    path = tmp_path / "file"
    with Exerciser(path, seed, operations={"write", "append", "read"}) as exerciser:
        exerciser.run(50)
        size = path.stat().st_size
        with path.open("r+b") as file:
            if damage == "a byte":
                file.seek(size // 2)
                file.write(bytes([exerciser.model[size // 2] ^ 1]))
            elif damage == "the length":
                file.truncate(size - 1)
            else:
                file.seek(size)
                file.write(b"x")
        with pytest.raises(FileDiffers) as caught:
            exerciser.check()
    said = str(caught.value)
    assert f"seed {seed}, operation 5" in said
    assert said.count("\n  ") == 20, "the last operations"
    if damage == "a byte":
        assert f"offset {size // 2}: expected {exerciser.model[size // 2]:02x}" in said


def test_a_failing_call_is_told(tmp_path: Path, seed: int) -> None:
    with Exerciser(tmp_path / "file", seed, operations={"append"}) as exerciser:
        exerciser.run(3)
        os.unlink(tmp_path / "file")
        with pytest.raises(FileDiffers, match=r"operation 4: append failed: FileNotFoundError.*\nlast:\n  1 append"):
            exerciser.run(1)


def test_the_command(tmp_path: Path, seed: int) -> None:
    what = ["--seed", str(seed), "--operations", "200", "--without", "fallocate"]
    line = [sys.executable, "-m", "storefs.testing.fsx", str(tmp_path / "file"), *what]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"seed {seed}" in done.stdout
