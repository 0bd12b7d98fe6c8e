"""``storefs archive`` as somebody types it: answers, exit codes, and which archive is meant."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from storefs.cli.main import main
from storefs.objects.directory import DirectoryObjects
from storefs.ports import Offload
from storefs.testing.s3server import S3Server
from tests.archive.archives import DAY, File, place, put, put_all, same_route
from tests.conftest import BUCKET

BIG = bytes(range(256)) * 20
FILES = {"uid-1": b"one", "uid-2": b"two\n" * 100, "żółw": b"", "a\tb": b"tab"}
TIME = "2024-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("DES_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STOREFS_CACHE_DIR", str(tmp_path / "caches"))


@pytest.fixture
def root(tmp_path: Path, offload: Offload) -> Path:
    store = DirectoryObjects(tmp_path / "archive", offload)

    async def make() -> None:
        await put_all(store, [*(File(uid, content) for uid, content in FILES.items()), File("big", BIG, block=1000)])
        await put(store, [File("uid-1", b"newer")], 1, DAY + timedelta(days=1))

    trio.run(make)
    return tmp_path / "archive"


def run(*words: str | Path, code: int = 0) -> Result:
    """Run ``storefs archive`` here."""
    result = CliRunner().invoke(main, ["archive", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


# --- get and ls -------------------------------------------------------------------------------------------------------


def test_a_file_is_written_to_standard_output(root):
    for uid, content in (FILES | {"big": BIG}).items():
        assert run("get", root, uid, TIME).stdout_bytes == content
    assert run("get", root, "uid-1", "2024-01-02").stdout_bytes == b"newer"


def test_a_file_is_written_whole_or_not_at_all(root, tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"before")
    assert "no file nobody of 20240101" in run("get", root, "nobody", TIME, "-O", target, code=2).stderr
    (beside,) = (root / "_bigFiles").iterdir()
    beside.write_bytes(BIG[:3000] + b"x" + BIG[3001:])
    assert "entry big: block 3" in run("get", root, "big", TIME, "-O", target, code=1).stderr
    assert target.read_bytes() == b"before"
    run("get", root, "uid-2", TIME, "-O", target)
    assert target.read_bytes() == FILES["uid-2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "target"]
    assert "cannot write" in run("get", root, "uid-2", TIME, "-O", tmp_path / "no" / "target", code=1).stderr


def test_what_is_wrong_is_said(root, tmp_path):
    assert "what is needed" in run("get", "uid-1", code=2).stderr
    assert "is not a time such as" in run("get", root, "uid-1", "yesterday", code=2).stderr
    assert "there is no directory" in run("get", tmp_path / "none", "uid-1", TIME, code=3).stderr
    assert "which archive?" in run("ls", code=2).stderr
    assert "a day is YYYYMMDD" in run("ls", root, "--day", "2024-01-01", code=2).stderr
    assert "name the right --n-bits" in run("ls", root, "--n-bits", "12", code=2).stderr
    assert "n_bits is 4 to 16" in run("ls", root, "--n-bits", "17", code=2).stderr
    assert "--prune looks at the whole" in run("rebuild", root, "--prune", "--day", "20240101", code=2).stderr


def test_files_are_listed(root):
    lines = [line.split("\t") for line in run("ls", root).stdout.splitlines()]
    expected = [
        ("20240101", uid, str(len(content))) for uid, content in (FILES | {"big": BIG}).items() if uid != "a\tb"
    ]
    expected += [("20240101", '"a\\tb"', "3"), ("20240102", "uid-1", "5")]
    assert sorted((day, uid, size) for day, uid, size, _ in lines) == sorted(expected)
    assert all(shard.startswith(day) and shard.endswith(".des") for day, _, _, shard in lines)
    only = [json.loads(line) for line in run("ls", root, "--day", "20240102", "--json").stdout.splitlines()]
    (one,) = only
    assert (one["uid"], one["size"], one["codec"], one["proven"], one["sha256"]) == ("uid-1", 5, "none", True, None)


# --- verify and rebuild -----------------------------------------------------------------------------------------------


def test_a_clean_archive_is_called_so(root):
    result = run("verify", root)
    assert "clean; " in result.stdout
    assert "6 good entries (1 big files)" in result.stdout
    assert "0 entries have no digest" in result.stdout
    assert json.loads(run("verify", root, "--json").stdout)["proof"]["faults"] == []


def test_damage_is_a_line_and_exits_with_1(root):
    shard = root / f"{place('uid-2').prefix}0000.des"
    body = bytearray(shard.read_bytes())
    body[9] ^= 1
    shard.write_bytes(body)
    result = run("verify", root, "--day", "20240101", code=1)
    fault, summary = result.stdout.splitlines()
    assert fault.startswith(f"fault: {shard.name}, entry uid-2 at 8: ")
    assert "1 faults; " in summary
    assert len(json.loads(run("verify", root, "--json", code=1).stdout)["proof"]["faults"]) == 1
    run("rebuild", root)
    assert "clean" in run("verify", root, "--day", "20240102").stdout


def test_a_rebuild_tidies(root, offload, tmp_path):
    store = DirectoryObjects(root, offload)
    more = same_route("uid-1", 2)
    trio.run(put, store, [File(more[1], b"more", proven=False)], 7)
    assert "1 of 6 routes would be rewritten, with 2 files" in run("rebuild", root, "--dry-run").stdout
    before = sorted(path.name for path in root.iterdir())
    assert "1 of 6 routes rewritten, with 2 files; 0 superseded entries left out, 1 entries given digests" in (
        run("rebuild", root).stdout
    )
    after = sorted(path.name for path in root.iterdir())
    assert set(after) - set(before) == {f"{place('uid-1').prefix}0008.des"}
    assert len(after) == len(before) - 1
    assert run("get", root, more[1], TIME).stdout_bytes == b"more"
    assert json.loads(run("rebuild", root, "--json").stdout)["rebuilt"]["rewritten"] == 0
    unnamed = root / "_bigFiles" / ("0" * 64)
    unnamed.write_bytes(b"x")
    os.utime(unnamed, (0, 0))
    assert f"big file without a name: _bigFiles/{unnamed.name}" in run("rebuild", root).stdout
    assert unnamed.exists()
    assert "1 big files without a name, 1 B, deleted" in run("rebuild", root, "--prune").stdout
    assert not unnamed.exists()
    assert list((tmp_path / "caches").iterdir()) == []


# --- which archive ----------------------------------------------------------------------------------------------------


def zones_file(tmp_path: Path, *places: dict[str, object]) -> Path:
    path = tmp_path / "zones.json"
    middle = [{"start": 0, "end": 127}, {"start": 128, "end": 255}]
    zones = [
        {"name": f"z{n}", "range": bounds, **where}
        for n, (bounds, where) in enumerate(zip(middle, places, strict=True))
    ]
    path.write_text(json.dumps({"zones": zones}))
    return path


def test_variables_name_the_archive(root, monkeypatch):
    monkeypatch.setenv("DES_BACKEND", "local")
    assert "DES_BACKEND=local needs DES_BASE_DIR" in run("ls", code=2).stderr
    monkeypatch.setenv("DES_BASE_DIR", str(root))
    assert run("get", "uid-1", TIME).stdout_bytes == b"one"
    assert "clean" in run("verify").stdout
    monkeypatch.setenv("DES_N_BITS", "12")
    assert "not of an archive with 12 bits" in run("ls", code=2).stderr
    assert "not of an archive with 12 bits" in run("ls", root, code=2).stderr
    assert run("ls", "--n-bits", "8").stdout == run("ls", root, "-o", "n_bits=8").stdout


def test_zones_name_several(root, tmp_path, monkeypatch):
    path = zones_file(tmp_path, {"path": str(root)}, {"path": "archive"})
    assert run("get", f"zones:{path}", "uid-1", TIME).stdout_bytes == b"one"
    assert len(run("ls", f"zones:{path}").stdout.splitlines()) == 6
    assert "its zones say 8 bits, not 9" in run("ls", f"zones:{path}", "--n-bits", "9", code=2).stderr
    monkeypatch.setenv("DES_BACKEND", "multi_s3")
    monkeypatch.setenv("DES_ZONES_CONFIG", str(path))
    assert run("get", "uid-2", TIME).stdout_bytes == FILES["uid-2"]
    assert "clean" in run("verify").stdout
    path.write_text("{}")
    assert "'zones' is missing" in run("ls", code=2).stderr


def test_it_works_as_a_process(root):
    words = [sys.executable, "-m", "storefs.cli.main", "archive"]
    done = subprocess.run([*words, "get", root, "big", TIME], capture_output=True, check=True)
    assert done.stdout == BIG
    listing = subprocess.Popen([*words, "ls", root], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    listing.stdout.close()
    assert b"Traceback" not in listing.stderr.read()
    listing.wait(30)
    listing.stderr.close()


@pytest.mark.s3
def test_it_works_with_s3(root, s3_bucket, s3_server: S3Server, tmp_path, monkeypatch):
    from storefs.objects.s3.client import S3Objects  # noqa: PLC0415 - boto3 is heavy, and not every test's

    async def copy() -> None:
        store = S3Objects(s3_bucket)
        for path in root.rglob("*"):
            if path.is_file() and ".tmp" not in path.parts:
                await store.put(str(path.relative_to(root)), path)
        await store.close()

    trio.run(copy)
    source = f"s3://{BUCKET}/{s3_bucket.prefix}"
    endpoint = ("-o", f"endpoint_url={s3_server.endpoint}")
    assert run("get", source, "big", TIME, *endpoint).stdout_bytes == BIG
    assert "clean" in run("verify", source, *endpoint).stdout
    bucket = {"bucket": BUCKET, "prefix": f"{s3_bucket.prefix}/", "endpoint_url": s3_server.endpoint}
    path = zones_file(tmp_path, {"s3": bucket}, {"s3": bucket})
    assert len(run("ls", f"zones:{path}").stdout.splitlines()) == 6
    for name, value in {"BACKEND": "s3", "S3_BUCKET": BUCKET, "S3_PREFIX": s3_bucket.prefix}.items():
        monkeypatch.setenv(f"DES_{name}", value)
    monkeypatch.setenv("DES_S3_ENDPOINT_URL", s3_server.endpoint)
    assert run("get", "uid-1", TIME).stdout_bytes == b"one"
