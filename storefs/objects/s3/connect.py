"""Makes the one boto3 client of a store, and says where its credentials came from."""

from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from storefs.errors import UsageError
from storefs.objects.s3.options import S3Options


def connect(options: S3Options) -> tuple[Any, str]:
    """Return a client (thread-safe) and a phrase that says which credentials it uses.

    Blocks while the chain of credentials is asked, which on some machines is a request to a metadata service. Raises
    UsageError for a profile, region or address that cannot be.
    """
    try:
        session = boto3.Session(profile_name=options.profile, region_name=options.region)
        return _client(session, options), _provenance(session, options)
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"cannot set up a connection to {options.url}: {error}") from error


def _client(session: boto3.Session, options: S3Options) -> Any:
    # Bodies stay out of the signature: hashing them costs more than everything else in a put, and whatever is stored
    # carries digests of its own. Nobody who can change a body under way is kept out by a signature over plain HTTP:
    # the answers to reads are not signed. TLS is what protects both.
    s3: Any = {"addressing_style": "path" if options.path_style else "auto", "payload_signing_enabled": False}
    config = Config(
        connect_timeout=options.connect_timeout_s,
        read_timeout=options.read_timeout_s,
        max_pool_connections=options.connections,
        # One attempt: a retry in here would hide that the answer to a conditional put was lost, and the put would
        # seem to have met another writer. RetryingObjects tries again, and knows.
        retries={"mode": "standard", "total_max_attempts": 1},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        tcp_keepalive=True,
        user_agent_extra="storefs",
        s3=s3,
    )
    ca_bundle = str(options.ca_bundle) if options.ca_bundle else None
    # mypy-boto3-s3 is not installed: the client has no type of its own.
    make: Any = session.client
    return make("s3", endpoint_url=options.endpoint_url, verify=ca_bundle, config=config)


def _provenance(session: boto3.Session, options: S3Options) -> str:
    """Say where credentials were looked for and found, without showing any."""
    place = f"profile {options.profile!r}" if options.profile else "environment, ~/.aws, container and instance role"
    credentials = session.get_credentials()
    found = f"found by {credentials.method!r}" if credentials else "found none"
    return f"credentials: looked in {place}; {found}"
