"""The commands: what they print for people and for programs, and where settings come from."""

import errno
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from storefs.cli.main import main
from storefs.settings import TABLE
from storefs.testing.mounted import Mounted, run_storefs
from tests.mount.places import Mounts, Place, refused

pytestmark = pytest.mark.mount

_STATUS = {
    "version": str,
    "pid": int,
    "mountpoint": str,
    "store": {"url": str, "id": str},
    "node": int,
    "read_only": bool,
    "trouble": type(None),
    "commit": {"seq": int, "last_ns": int},
    "pending": {"changes": int, "files": int, "bytes": int, "limit_bytes": int},
    "cache": {"path": str, "bytes": int, "limit_bytes": int},
    "recovered": {
        "unclean": bool,
        "staged_files": int,
        "staged_bytes": int,
        "pending_changes": int,
        "damaged_files": list,
    },
    "requests": dict,
    "errors": int,
}
"""What programs may rely on: keys may be added, none goes or changes its type."""


def _lacking(wanted: dict[str, object], found: dict[str, object], at: str = "") -> list[str]:
    """Return the keys that are missing or of another type."""
    lacking = []
    for key, kind in wanted.items():
        value = found.get(key)
        if key not in found:
            lacking.append(f"{at}{key} is missing")
        elif isinstance(kind, dict) and isinstance(value, dict):
            lacking += _lacking(kind, value, f"{at}{key}.")
        elif isinstance(kind, type) and not isinstance(value, kind):
            lacking.append(f"{at}{key} is {value!r}")
    return lacking


@pytest.mark.parametrize("command", sorted(main.commands))
def test_help_has_an_example(command: str) -> None:
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0
    assert f"  storefs {command}" in shown.output


def test_help_lists_commands_exit_codes_and_settings() -> None:
    shown = CliRunner().invoke(main, ["-h"]).output
    assert all(f"\n  {command} " in shown for command in main.commands)
    assert "Exit codes: 0 done" in shown
    mount = CliRunner().invoke(main, ["mount", "-h"]).output
    assert [row.name for row in TABLE if f"--{row.name.replace('_', '-')}" not in mount] == []


def test_version() -> None:
    done = run_storefs("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("storefs, version ")


def test_status(shared: Mounted) -> None:
    done = run_storefs("status", shared.path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert _lacking(_STATUS, document) == []
    assert (document["pid"], document["mountpoint"]) == (shared.pid, str(shared.path))
    assert document["store"]["url"] == Path(shared.source).as_uri()
    everything = json.loads(run_storefs("status", "--json").stdout)
    assert str(shared.path) in [one["mountpoint"] for one in everything]
    people = run_storefs("status", shared.path).stdout
    assert people.startswith(f"{shared.path}: {Path(shared.source).as_uri()} (")
    for word in ("last commit", "pending", "cache", "requests", "errors"):
        assert f"\n  {word}" in people


def test_sync(shared: Mounted, folder: Path) -> None:
    before = shared.status()["commit"]["seq"]
    (folder / "file").write_bytes(b"content")
    done = run_storefs("sync", shared.path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    status = shared.status()
    assert status["commit"]["seq"] > before
    assert (status["pending"]["changes"], status["pending"]["files"]) == (0, 0)


def test_the_verb_is_a_write(shared: Mounted, folder: Path) -> None:
    control = shared.path / ".storefs"
    (folder / "file").write_bytes(b"content")
    (control / "sync").write_text("1\n")
    assert shared.status()["pending"]["changes"] == 0
    with refused(errno.EACCES):
        (control / "status").write_text("1")
    assert json.loads((control / "status").read_text())["errors"] == shared.status()["errors"]


def test_info(shared: Mounted, folder: Path) -> None:
    file = folder / "with blank ä"
    file.write_bytes(os.urandom(3 << 20))
    shared.sync()
    document = json.loads(run_storefs("info", file, "--json").stdout)
    assert document["path"].endswith("/with blank ä")
    assert (document["size"], document["inode"]) == (3 << 20, file.stat().st_ino)
    assert document["stored_bytes"] >= 3 << 20
    assert document["staged_bytes"] == document["uncommitted_chunks"] == 0
    assert len(document["shards"]) == document["shards_total"] >= 1
    assert all((Path(shared.source) / shard).is_file() for shard in document["shards"])
    assert "3.0 MiB" in run_storefs("info", file).stdout
    assert run_storefs("info", folder).returncode == 0
    assert run_storefs("info", folder / "none").returncode == 2


def test_doctor(directory_place: Place, mounts: Mounts) -> None:
    place = directory_place
    Path(place.source).mkdir()
    empty = run_storefs("doctor", place.source)
    assert empty.returncode == 0, empty.stderr
    assert "empty" in empty.stdout
    assert "conditional puts are exclusive" in empty.stdout
    assert place.objects() == [], "what it tried is removed again"
    mount = mounts(place)
    found = run_storefs("doctor", place.source)
    assert f"a storefs store, id {mount.status()['store']['id']}" in found.stdout


@pytest.mark.parametrize(
    ("flag", "variable", "file", "wins"),
    [
        ("7M", "8M", "9M", 7),
        (None, "8M", "9M", 8),
        (None, None, "9M", 9),
    ],
)
def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    directory_place: Place,
    mountpoint: Path,
    tmp_path: Path,
    flag: str | None,
    variable: str | None,
    file: str,
    wins: int,
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'dirty_limit = "{file}"\npoll_interval = 2\n')
    arguments = ["--dirty-limit", flag] if flag else []
    environment = {"STOREFS_CONFIG": str(config)}
    if variable:
        environment["STOREFS_DIRTY_LIMIT"] = variable
    done = run_storefs("mount", directory_place.source, mountpoint, *arguments, environment=environment)
    assert (done.returncode, done.stdout) == (0, f"{directory_place.source} is mounted at {mountpoint}\n"), done.stderr
    status = json.loads(run_storefs("status", mountpoint, "--json").stdout)
    assert status["pending"]["limit_bytes"] == wins << 20
    assert run_storefs("umount", mountpoint).returncode == 0


def test_settings_that_cannot_be_read(directory_place: Place, mountpoint: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    for text, says in (("dirty_limit = [", config), ("dirt_limit = 1", "dirt_limit"), ('ro = "perhaps"', "ro takes")):
        config.write_text(text)
        done = run_storefs("mount", directory_place.source, mountpoint, "--config", config)
        assert done.returncode == 2
        assert str(says) in done.stderr
    done = run_storefs("mount", directory_place.source, mountpoint, environment={"STOREFS_RO": "perhaps"})
    assert done.returncode == 2
    assert "STOREFS_RO: ro takes yes or no, not 'perhaps'" in done.stderr
    done = run_storefs("mount", directory_place.source, mountpoint, "--config", tmp_path / "none.toml")
    assert done.returncode == 2
    assert "none.toml" in done.stderr


@pytest.mark.parametrize("options", [{}, {"bridge": "no"}, {"ro": "yes"}], ids=["bridge", "plain", "ro"])
def test_warm(directory_place: Place, mounts: Mounts, options: dict[str, str]) -> None:
    writer = mounts(directory_place)
    deeper = writer.path / ".hidden" / "deeper"
    deeper.mkdir(parents=True)
    for number in range(50):
        (deeper / f"{number:02}").write_bytes(os.urandom(9000))
    writer.sync()  # what comes now goes to another shard: none of it is a neighbour that comes along
    (writer.path / "beside").write_bytes(os.urandom(1 << 20))
    writer.umount()
    mount = mounts(directory_place, **options)
    before = mount.status()["fetch"]["bytes"]
    done = run_storefs("warm", mount.path / ".hidden")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{mount.path / '.hidden'} is here\n")
    asked = mount.status()["fetch"]["requests"]
    assert 50 * 9000 <= mount.status()["fetch"]["bytes"] - before < 60 * 9000
    assert sum(len(path.read_bytes()) for path in (mount.path / ".hidden" / "deeper").iterdir()) == 50 * 9000
    assert mount.status()["fetch"]["requests"] == asked, "reading what is warm asks the store for nothing"
    assert run_storefs("warm", mount.path / ".hidden").returncode == 0
    assert mount.status()["fetch"]["requests"] == asked


def test_warm_says_why_it_cannot(directory_place: Place, mounts: Mounts, tmp_path: Path) -> None:
    writer = mounts(directory_place)
    (writer.path / "large").write_bytes(os.urandom(9 << 20))
    writer.umount()
    small = mounts(directory_place, cache_size="8M")
    done = run_storefs("warm", small.path / "large")
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert small.status()["fetch"]["bytes"] == 0
    out_of_reach = mounts(directory_place, ro="yes", bridge="no")
    done = run_storefs("warm", out_of_reach.path / "large")
    assert done.returncode == 6
    assert "'storefs warm' cannot reach it" in done.stderr
    assert run_storefs("warm", tmp_path).returncode == 2
