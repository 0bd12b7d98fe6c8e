"""A real S3 server for tests: SeaweedFS on ports and a directory of its own, which can be stopped and brought back."""

import atexit
import datetime as dt
import hashlib
import hmac
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

from storefs.errors import StorefsError

_SERVICES = ("s3", "master", "volume", "filer", "admin")
_PORTS = range(10_000, 22_000)  # with the 10,000 added they stay below the ports that outgoing connections take
_GRPC_OFFSET = 10_000

_READY_TRIES = 300
_READY_PAUSE_S = 0.1
_STOP_S = 20
_REGION = "us-east-1"
_READY_BUCKET = "ready-check"

_LEASH = '("$@" </dev/null; kill -9 0) & read -r _; kill -9 0'
"""Runs a command until it ends or the pipe to this shell closes, as it does however the tests' process ends."""


class ServerFailed(StorefsError):
    """The S3 server did not start, or refused what a test needs to begin."""


class S3Server:
    """SeaweedFS with everything below ``folder``; ``with`` starts and stops it. All methods block.

    Attributes:
        endpoint: its address, the same after every start.
        access_key: the access key of its only user, who may do anything.
        secret_key: the secret key.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = _free_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._ports['s3']}"
        self.access_key = "storefs-test"
        self.secret_key = "only-for-tests"
        atexit.register(self.stop)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        atexit.unregister(self.stop)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables by which boto3, in any process, finds this server's user and nothing else."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": _REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start the server and wait until it takes a put. Raises ServerFailed with the end of its log."""
        if self._process is not None:
            return
        data = self._folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        keys = {"accessKey": self.access_key, "secretKey": self.secret_key}
        user = {"name": "test", "credentials": [keys], "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
        (self._folder / "s3.json").write_text(json.dumps({"identities": [user]}))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _LEASH, "weed", *self._command(data)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                start_new_session=True,
            )
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Kill the server with all its processes; what it took stays in its folder."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(_STOP_S)
        assert process.stdin is not None
        process.stdin.close()

    def create_bucket(self, name: str) -> None:
        """Make a bucket (3 letters or more); one that exists is no error. Raises ServerFailed."""
        status = self._put(f"/{name}", b"")
        if status not in {http.HTTPStatus.OK, http.HTTPStatus.CONFLICT}:
            raise ServerFailed(f"making the bucket {name} was answered with {status}\n{self._log_tail()}")

    @property
    def _log(self) -> Path:
        """Where the server writes what it thinks."""
        return self._folder / "log.txt"

    def _command(self, data: Path) -> list[str]:
        """Return the command line of the server."""
        return [
            str(Path(sys.executable).parent / "weed"),
            "mini",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.config={self._folder / 's3.json'}",
            *(f"-{service}.port={port}" for service, port in self._ports.items()),
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.autoCreateBucket=false",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
        ]

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Return once a put works."""
        for _ in range(_READY_TRIES):
            try:
                if (
                    self._put(f"/{_READY_BUCKET}", b"")
                    and self._put(f"/{_READY_BUCKET}/probe", b"1") == http.HTTPStatus.OK
                ):
                    return
            except (OSError, http.client.HTTPException):
                pass
            try:
                process.wait(_READY_PAUSE_S)
            except subprocess.TimeoutExpired:
                continue
            break
        self.stop()
        raise ServerFailed(f"the S3 server at {self.endpoint} did not start; its log ends:\n{self._log_tail()}")

    def _put(self, path: str, body: bytes) -> int:
        """Send a signed PUT (AWS signature version 4) and return its HTTP status."""
        # boto3 has one door only, and this is not it.
        host = f"127.0.0.1:{self._ports['s3']}"
        now = dt.datetime.now(dt.UTC)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        signed = ";".join(headers)
        listed = "".join(f"{name}:{value}\n" for name, value in headers.items())
        request = f"PUT\n{path}\n\n{listed}\n{signed}\n{digest}"
        scope = f"{day}/{_REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self.secret_key}".encode()
        for part in (*scope.split("/"), text):
            key = hmac.digest(key, part.encode(), "sha256")
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{scope}, SignedHeaders={signed}, Signature={key.hex()}"
        )
        connection = http.client.HTTPConnection(host, timeout=10)
        try:
            connection.request("PUT", path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def _log_tail(self) -> str:
        """Return the last lines of the log."""
        with self._log.open(errors="replace") as log:
            return "".join(deque(log, maxlen=20))


def _free_ports() -> dict[str, int]:
    """Return a free port for each service, whose neighbour 10,000 above is free as well."""
    found: list[int] = []
    for port in random.sample(_PORTS, k=len(_PORTS)):
        if all(_is_free(number) for number in (port, port + _GRPC_OFFSET)):
            found.append(port)
        if len(found) == len(_SERVICES):
            return dict(zip(_SERVICES, found, strict=True))
    raise ServerFailed("no free ports")


def _is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` now."""
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
