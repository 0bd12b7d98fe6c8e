"""The variables DES_*."""

import pytest

from storefs.archive.environment import ArchiveEnvironment, archive_source
from storefs.errors import UsageError


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, ArchiveEnvironment()),
        ({"DES_BACKEND": "", "DES_BASE_DIR": "/x"}, ArchiveEnvironment()),
        ({"DES_N_BITS": "10"}, ArchiveEnvironment(n_bits=10)),
        ({"DES_BACKEND": "local", "DES_BASE_DIR": "/data/des"}, ArchiveEnvironment("local", None, "/data/des")),
        ({"DES_BACKEND": "s3", "DES_S3_BUCKET": "b"}, ArchiveEnvironment("s3", None, "s3://b/")),
        (
            {
                "DES_BACKEND": "s3",
                "DES_S3_BUCKET": "b",
                "DES_S3_PREFIX": "/a/b/",
                "DES_S3_REGION": "eu-central-1",
                "DES_S3_ENDPOINT_URL": "http://127.0.0.1:1",
                "DES_N_BITS": "12",
            },
            ArchiveEnvironment(
                "s3", 12, "s3://b/a/b", {"endpoint_url": "http://127.0.0.1:1", "region": "eu-central-1"}
            ),
        ),
        (
            {"DES_BACKEND": "multi_s3", "DES_ZONES_CONFIG": "zones.yaml"},
            ArchiveEnvironment("multi_s3", zones="zones.yaml"),
        ),
    ],
)
def test_what_the_variables_say(environ: dict[str, str], found: ArchiveEnvironment) -> None:
    assert archive_source(environ) == found


@pytest.mark.parametrize(
    ("environ", "complaint"),
    [
        ({"DES_BACKEND": "gcs"}, "local, s3 or multi_s3"),
        ({"DES_BACKEND": "local"}, "needs DES_BASE_DIR"),
        ({"DES_BACKEND": "s3", "DES_S3_BUCKET": ""}, "needs DES_S3_BUCKET"),
        ({"DES_BACKEND": "multi_s3"}, "needs DES_ZONES_CONFIG"),
        ({"DES_N_BITS": "eight"}, "DES_N_BITS"),
        ({"DES_N_BITS": "17"}, "4 to 16"),
    ],
)
def test_what_cannot_be(environ: dict[str, str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        archive_source(environ)
