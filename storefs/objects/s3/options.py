"""How to reach a bucket: plain values, importable without boto3."""

from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class S3Options:
    """Where a store lies and how to talk to it. Credentials are not here: boto3's default chain finds them.

    Attributes:
        bucket: the bucket's name.
        prefix: where in the bucket the store lies, without slashes at its ends; empty for the whole bucket.
        endpoint_url: the server, for stores other than Amazon's; None asks the environment, then Amazon.
        region: the bucket's region; None asks the environment and the profile.
        profile: the profile of ~/.aws to use; None asks the environment.
        path_style: put the bucket's name into the path instead of the host name.
        ca_bundle: a file of certificates to trust instead of the system's.
        sse: server-side encryption of what is written: "AES256" or "aws:kms"; None leaves it to the bucket.
        kms_key: the key for "aws:kms".
        storage_class: the storage class of what is written; None leaves it to the bucket.
        request_payer: agree to pay for requests (buckets of "requester pays").
        connect_timeout_s: how long connecting may take.
        read_timeout_s: how long the server may stay silent.
        connections: the most requests at a time, each with its thread and connection.
        multipart_above: bodies longer than this many bytes are sent in parts.
        part_bytes: the length of a part; grows where a body would need more parts than S3 allows.
        part_workers: the most parts of one body sent at a time.
    """

    bucket: str
    prefix: str = ""
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    path_style: bool = False
    ca_bundle: Path | None = None
    sse: str | None = None
    kms_key: str | None = None
    storage_class: str | None = None
    request_payer: bool = False
    connect_timeout_s: float = 4.0
    read_timeout_s: float = 25.0
    connections: int = 16
    multipart_above: int = 128 * MIB
    part_bytes: int = 16 * MIB
    part_workers: int = 4

    @property
    def url(self) -> str:
        """``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix.strip('/')}".rstrip("/")

    @property
    def payer(self) -> dict[str, str]:
        """What every request carries."""
        return {"RequestPayer": "requester"} if self.request_payer else {}

    @property
    def written(self) -> dict[str, str]:
        """What every request that makes an object carries."""
        wanted = {"ServerSideEncryption": self.sse, "SSEKMSKeyId": self.kms_key, "StorageClass": self.storage_class}
        return self.payer | {name: value for name, value in wanted.items() if value}
