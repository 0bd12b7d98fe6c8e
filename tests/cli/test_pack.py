"""``storefs pack`` as somebody types it: shards, answers, exit codes; killed and interrupted."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result

from storefs.archive.routing import route_index
from storefs.cli.main import main
from storefs.shard.reader import ShardFile
from storefs.testing.s3server import S3Server
from tests.conftest import BUCKET
from tests.shard import golden

TIME = "2024-01-01T00:00:00Z"
FILES = {"uid-1": b"one", "text.txt": b"line\n" * 1000, "17": b"seventeen", "żółw": b"", "big": bytes(range(256)) * 20}
PACK = [sys.executable, "-m", "storefs.cli.main", "pack"]


@pytest.fixture(autouse=True)
def caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in [name for name in os.environ if name.startswith("DES_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STOREFS_CACHE_DIR", str(tmp_path / "caches"))
    return tmp_path / "caches"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def listed(folder: Path, files: Mapping[str, bytes | None]) -> list[dict[str, Any]]:
    """Write files, and return the entries that name them; a file that is None is not there."""
    folder.mkdir(exist_ok=True)
    entries = []
    for number, (uid, content) in enumerate(files.items()):
        path = folder / str(number)
        if content is not None:
            path.write_bytes(content)
        size = 3 if content is None else len(content)
        entries.append({"uid": uid, "created_at": TIME, "size_bytes": size, "source_path": str(path)})
    return entries


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(listed(tmp_path / "files", FILES)))
    return path


def run(*words: str | Path, code: int = 0, stdin: bytes | None = None, command: str = "pack") -> Result:
    """Run ``storefs pack`` here."""
    result = CliRunner().invoke(main, [command, *map(str, words)], input=stdin)
    assert result.exit_code == code, result.output
    return result


def shards(target: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in target.iterdir() if path.suffix == ".des"}


def got(target: Path | str, uid: str, *words: str) -> bytes:
    return run("get", target, uid, TIME, *words, command="archive").stdout_bytes


# --- what is made -----------------------------------------------------------------------------------------------------


def test_files_are_packed_and_the_same_again_adds_nothing(manifest, target, caches):
    first = run(manifest, target, "--big-file-threshold", "5119", "--jobs", "2").stdout.splitlines()
    assert first[0].startswith("5 shards hold 4 files, stored as ")
    assert first[1:] == ["1 big files lie beside them", "9.9 KiB packed in all"]
    assert {uid: got(target, uid) for uid in FILES} == FILES
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    again = run(manifest, target, "--big-file-threshold", "5119", "--jobs", "2").stdout.splitlines()
    assert again == ["0 shards hold 0 files, stored as 0 B", "0 B packed in all", "5 files were there already"]
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before
    assert list(caches.iterdir()) == []


def test_the_options_of_des_pack_are_kept(manifest, target, tmp_path):
    run(manifest, target, "--n-bits", "4", "--max-shard-size", "5000")
    kept = tmp_path / "kept"
    run("--input-json", manifest, "--output-dir", kept, "--max-shard-size", "5000", "--n-bits", "4")
    assert shards(kept) == shards(target)
    assert {name.split("_")[1] for name in shards(target)} == {f"{route_index(uid, 4):X}" for uid in FILES}


def test_the_golden_shard_comes_out_byte_for_byte(target, tmp_path):
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(listed(tmp_path / "files", {golden.GOLDEN_NAME: golden.GOLDEN_CONTENT})))
    run(manifest, target, "--no-digest", "--compression", "none")
    expected = (
        "44455332 02000000 66696c6520310a 01000000 0700 7569642d313233 00 0800000000000000 0700000000000000 00"
        "0700000000000000 0700000000000000 00000000 44455349 3300000000000000"
    )
    assert list(shards(target).values()) == [bytes.fromhex(expected)]


@pytest.mark.parametrize("words", [("none",), ("lz4", "--level", "9"), ("zstd", "--level", "19")])
def test_compression_is_chosen(manifest, target, words):
    told = json.loads(run(manifest, target, "--compression", *words, "--json").stdout)
    assert (told["stored"] < told["bytes"]) == (words[0] != "none")
    assert {uid: got(target, uid) for uid in FILES} == FILES


def test_a_manifest_comes_by_standard_input_too(manifest, target, monkeypatch):
    run("-", target, stdin=manifest.read_bytes())
    # JSON is UTF-8, whatever the terminal is.
    done = subprocess.run(
        [*PACK, "-", target], input=json.dumps(json.loads(manifest.read_text()), ensure_ascii=False).encode(),
        env=os.environ | {"PYTHONIOENCODING": "latin-1"}, capture_output=True, check=True,
    )  # fmt: skip
    assert b"5 files were there already" in done.stdout


def test_programs_read_what_was_done(manifest, target):
    told = json.loads(run(manifest, target, "--json").stdout)
    assert (told["files"], told["shard_count"], told["bytes"], told["failed"]) == (5, 5, 10_132, 0)
    assert {one["key"]: one["size"] for one in told["shards"]} == {
        name: len(content) for name, content in shards(target).items()
    }
    assert json.loads(run(manifest, target, "--json").stdout)["present"] == 5


def test_a_dry_run_makes_nothing(manifest, target, caches):
    lines = run(manifest, target, "--dry-run", "--big-file-threshold", "5100").stdout.splitlines()
    assert lines == [
        f"{name}: 5 files, 9.9 KiB; at most 5 shards and 1 big files with 5.0 KiB" for name in ("20240101", "in all")
    ]
    day = json.loads(run(manifest, target, "--dry-run", "--json").stdout)["days"]["20240101"]
    assert day == {"files": 5, "bytes": 10_132, "big_files": 0, "big_bytes": 0, "shards": 5}
    assert not target.exists()
    assert list(caches.iterdir()) == []


# --- what is wrong ----------------------------------------------------------------------------------------------------


def test_bad_entries_are_named_and_stop_nothing(target, tmp_path):
    manifest = tmp_path / "manifest.json"
    entries = listed(tmp_path / "files", {"good": b"good", "gone": None, "better": b"better"})
    manifest.write_text(json.dumps([*entries, {"uid": "late"}]))
    result = run(manifest, target, code=1)
    assert result.stderr.splitlines() == [
        "storefs: entry 4 (late): it has no created_at",
        "storefs: entry 2 (gone): it cannot be read: No such file or directory",
        "storefs: 2 entries could not be packed",
    ]
    assert "2 shards hold 2 files" in result.stdout
    assert got(target, "better") == b"better"
    told = json.loads(run(manifest, target, "--json", code=1).stdout)
    assert (told["failed"], told["present"], {one["uid"] for one in told["failures"]}) == (2, 2, {"gone", "late"})


def test_a_store_is_no_target(manifest, target):
    target.mkdir()
    (target / "store.json").write_text("{}")
    assert "is a storefs store: name another place" in run(manifest, target, code=2).stderr
    assert [path.name for path in target.iterdir() if not path.name.startswith(".")] == ["store.json"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "what is to be packed?"),
        (("MANIFEST",), "which archive?"),
        (("MANIFEST", "TARGET", "more"), "one argument too many: more"),
        (("none.json", "TARGET"), "cannot read the manifest none.json"),
        (("MANIFEST", "TARGET", "--n-bits", "17"), "n_bits is 4 to 16"),
        (("MANIFEST", "TARGET", "--level", "20"), "levels of zstd are 1 to 19"),
        (("MANIFEST", "TARGET", "--compression", "none", "--level", "3"), "levels of none are 0 to 0"),
        (("MANIFEST", "TARGET", "--max-shard-size", "much"), "'much' is not"),
        (("MANIFEST", "TARGET", "--jobs", "0"), "--jobs"),
        (("MANIFEST", "ftp://host/x"), "not ftp://"),
    ],
)
def test_wrong_usage_is_said(manifest, target, words, complaint):
    named = {"MANIFEST": str(manifest), "TARGET": str(target)}
    assert complaint in run(*(named.get(word, word) for word in words), code=2).stderr
    assert not target.exists()


def test_a_manifest_that_is_none_makes_nothing(manifest, target):
    manifest.write_text(f"{manifest.read_text()[:-1]},\n 17]")
    assert "the manifest cannot be read, line 2: an entry is a JSON object" in run(manifest, target, code=2).stderr
    assert not target.exists()


# --- which archive ----------------------------------------------------------------------------------------------------


def test_variables_name_the_archive(manifest, target, monkeypatch):
    monkeypatch.setenv("DES_BACKEND", "local")
    monkeypatch.setenv("DES_BASE_DIR", str(target))
    monkeypatch.setenv("DES_N_BITS", "4")
    run(manifest)
    assert {len(name.split("_")[1]) for name in shards(target)} == {1}
    assert "5 files were there already" in run("--input-json", manifest).stdout


@pytest.mark.s3
def test_from_a_bucket_into_a_bucket(manifest, s3_bucket, s3_server: S3Server, monkeypatch):
    from storefs.objects.s3.client import S3Objects  # noqa: PLC0415 - boto3 is heavy, and not every test's

    entries = json.loads(manifest.read_text())

    async def copy() -> None:
        store = S3Objects(s3_bucket)
        for number, entry in enumerate(entries):
            await store.put(f"in/{number}", Path(entry["source_path"]))
        await store.close()

    trio.run(copy)
    for number, entry in enumerate(entries):
        entry["source_path"] = f"s3://{BUCKET}/{s3_bucket.prefix}/in/{number}"
        if number % 2:
            del entry["size_bytes"]
    missing = {"uid": "gone", "created_at": TIME, "source_path": f"s3://{BUCKET}/{s3_bucket.prefix}/none"}
    elsewhere = {**missing, "uid": "nowhere", "size_bytes": 3, "source_path": "s3://no-such-bucket/key"}
    manifest.write_text(json.dumps([*entries, missing, elsewhere]))
    for name, value in {"BACKEND": "s3", "S3_BUCKET": BUCKET, "S3_PREFIX": f"{s3_bucket.prefix}/out"}.items():
        monkeypatch.setenv(f"DES_{name}", value)
    monkeypatch.setenv("DES_S3_ENDPOINT_URL", s3_server.endpoint)
    first = run(manifest, "--big-file-threshold", "5100", code=1)
    assert ["(gone): it cannot be read" in first.stderr, "(nowhere): it cannot be read" in first.stderr] == [True, True]
    assert "5 shards hold 4 files" in first.stdout
    source, endpoint = f"s3://{BUCKET}/{s3_bucket.prefix}/out", f"endpoint_url={s3_server.endpoint}"
    assert {uid: got(source, uid, "-o", endpoint) for uid in FILES} == FILES
    again = run(manifest, source, "-o", endpoint, "--big-file-threshold", "5100", code=1)
    assert "0 shards" in again.stdout
    assert "5 files were there already" in again.stdout


# --- cut off ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def interruptible() -> Iterator[None]:
    """See that a process started here can be interrupted, though the tests may run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def cut_off(tmp_path: Path, target: Path, seed: int, number: signal.Signals) -> tuple[dict[str, bytes], int, str]:
    """Send a packer a signal when it is halfway; return what it was to pack, its exit code, and what it said then.

    Files that are missing tell when: routes are packed in order, and of the first half of them everything is there.
    There are many, so that it cannot come to its end before: nobody reads what it says of them.
    """
    dice = random.Random(seed)
    files = {str(uid): dice.randbytes(1000) for uid in range(2000)}
    missing = {uid: None for uid in files if route_index(uid, 8) >= 128 and int(uid) % 3 == 0}
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(listed(tmp_path / "files", files | missing)))
    command = [*PACK, manifest, target, "--jobs", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, pipesize=4096, text=True) as process:
        assert process.stderr is not None
        assert "it cannot be read" in process.stderr.readline()
        process.send_signal(number)
        said = process.stderr.read()  # until its workers are gone, too
    manifest.write_text(json.dumps(listed(tmp_path / "files", files)))
    return files, process.returncode, said


def completed(tmp_path: Path, target: Path, files: dict[str, bytes]) -> None:
    """Hold that what lies there is whole, and that packing again completes it."""
    there = 0
    for path in target.glob("*.des"):
        with ShardFile(path) as shard:
            assert all(shard.read(entry) == files[entry.name] for entry in shard.entries)
            there += len(shard.entries)
    assert 900 < there < 2000
    told = json.loads(run(tmp_path / "manifest.json", target, "--json").stdout)
    assert (told["present"], told["files"]) == (there, 2000 - there)
    assert "clean; " in run("verify", target, command="archive").stdout


def test_a_packer_that_is_killed_leaves_whole_shards(tmp_path, target, caches, seed):
    files, code, _ = cut_off(tmp_path, target, seed, signal.SIGKILL)
    assert code == -signal.SIGKILL
    (left,) = caches.iterdir()
    os.utime(left, (0, 0))
    completed(tmp_path, target, files)
    assert list(caches.iterdir()) == []


def test_a_packer_that_is_interrupted_cleans_up(tmp_path, target, caches, interruptible, seed):
    files, code, said = cut_off(tmp_path, target, seed, signal.SIGINT)
    others = [line for line in said.splitlines() if line and "it cannot be read" not in line]
    assert (code, others) == (1, ["Aborted!"])
    assert list(caches.iterdir()) == []
    completed(tmp_path, target, files)
