"""What S3's and botocore's errors mean to storefs; no server is asked."""

import io
import random

import pytest
from botocore import exceptions as boto
from urllib3.exceptions import ProtocolError

from storefs.errors import (
    ObjectMissing,
    PreconditionFailed,
    StoreError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)
from storefs.objects.s3.faults import EXPECTED, explain
from storefs.objects.s3.multipart import PARTS_MAX, part_length
from storefs.objects.s3.window import PIECE_BYTES, Window

MIB = 1 << 20


def client_error(code: str, status: int) -> boto.ClientError:
    return boto.ClientError(
        {"Error": {"Code": code, "Message": "text"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "Operation",
    )


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("NoSuchKey", 404, ObjectMissing),
        ("404", 404, ObjectMissing),
        ("NoSuchBucket", 404, StoreError),
        ("PreconditionFailed", 412, PreconditionFailed),
        ("412", 412, PreconditionFailed),
        ("ConditionalRequestConflict", 409, StoreUnavailable),
        ("AccessDenied", 403, StoreRefused),
        ("403", 403, StoreRefused),
        ("InvalidAccessKeyId", 403, StoreRefused),
        ("SignatureDoesNotMatch", 403, StoreRefused),
        ("ExpiredToken", 400, StoreRefused),
        ("RequestTimeTooSkewed", 403, StoreRefused),
        ("InvalidObjectState", 403, StoreError),
        ("SlowDown", 503, StoreUnavailable),
        ("InternalError", 500, StoreUnavailable),
        ("RequestTimeout", 400, StoreUnavailable),
        ("SomethingNew", 503, StoreUnavailable),
        ("SomethingNew", 429, StoreUnavailable),
        ("NoSuchUpload", 404, StoreUnavailable),
        ("SomethingNew", 507, StoreFull),
        ("QuotaExceeded", 403, StoreFull),
        ("SomethingNew", 400, StoreError),
        ("", 301, StoreError),
    ],
)
def test_answers(code: str, status: int, kind: type[StoreError]) -> None:
    meant = explain(client_error(code, status), "get key", "s3://bucket/x", "credentials: found by 'env'")
    assert type(meant) is kind
    assert "get key at s3://bucket/x" in str(meant)
    if kind is StoreRefused:
        assert "found by 'env'" in str(meant)
    if code == "NoSuchBucket":
        assert "the bucket does not exist" in str(meant)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (boto.NoCredentialsError(), StoreRefused),
        (boto.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), StoreRefused),
        (boto.CredentialRetrievalError(provider="role", error_msg="no"), StoreRefused),
        (boto.EndpointConnectionError(endpoint_url="http://x"), StoreUnavailable),
        (boto.ConnectTimeoutError(endpoint_url="http://x"), StoreUnavailable),
        (boto.ReadTimeoutError(endpoint_url="http://x"), StoreUnavailable),
        (boto.ConnectionClosedError(endpoint_url="http://x"), StoreUnavailable),
        (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), StoreUnavailable),
        (boto.ResponseStreamingError(error="cut"), StoreUnavailable),
        (boto.SSLError(endpoint_url="https://x", error="EOF occurred in violation of protocol"), StoreUnavailable),
        (boto.SSLError(endpoint_url="https://x", error="[SSL: CERTIFICATE_VERIFY_FAILED]"), StoreError),
        (boto.ParamValidationError(report="bad"), StoreError),
        (ProtocolError("cut"), StoreUnavailable),
        (ConnectionResetError(), StoreUnavailable),
        (OSError(5, "Input/output error"), StoreError),
    ],
)
def test_no_answers(error: Exception, kind: type[StoreError]) -> None:
    assert isinstance(error, EXPECTED)
    assert type(explain(error, "get key", "s3://bucket", "")) is kind


def test_a_window_reads_as_a_file_of_its_own(seed: int) -> None:
    dice = random.Random(seed)
    content = dice.randbytes(1000)
    for _ in range(50):
        start = dice.randrange(1001)
        length = dice.randrange(1001 - start)
        mine, model = Window(io.BytesIO(content), start, length), io.BytesIO(content[start : start + length])
        for _ in range(20):
            size, offset = dice.randrange(-1, 300), dice.randrange(0, length + 1)
            match dice.randrange(4):
                case 0:
                    piece = mine.read(size)  # longer than asked for, perhaps
                    assert piece == model.read(len(piece))
                    assert piece or not size or mine.tell() == length
                    assert size >= 0 or mine.tell() == length
                case 1:
                    assert mine.seek(offset) == model.seek(offset)
                case 2:
                    assert mine.seek(0, io.SEEK_END) == model.seek(0, io.SEEK_END)
                case _:
                    assert mine.tell() == model.tell()


def test_pieces_are_worth_a_system_call(seed: int) -> None:
    content = random.Random(seed).randbytes(2 * PIECE_BYTES + 1)
    window = Window(io.BytesIO(content), 0, len(content))
    pieces = [bytes(piece) for piece in iter(lambda: window.read(16 << 10), b"")]
    assert [len(piece) for piece in pieces] == [PIECE_BYTES, PIECE_BYTES, 1]
    assert b"".join(pieces) == content


@pytest.mark.parametrize("size", [1, 64 * MIB, 156 * 1024 * MIB, 5 << 40])
def test_parts_are_never_too_many(size: int) -> None:
    length = part_length(size, 16 * MIB)
    assert length >= 16 * MIB
    assert length % MIB == 0
    assert -(-size // length) <= PARTS_MAX
