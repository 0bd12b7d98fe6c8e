"""What botocore's errors mean: one table from S3's codes to the errors of storefs."""

import urllib3.exceptions
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from storefs.errors import (
    ObjectMissing,
    PreconditionFailed,
    StoreError,
    StorefsError,
    StoreFull,
    StoreRefused,
    StoreUnavailable,
)

EXPECTED: tuple[type[Exception], ...] = (
    boto.BotoCoreError,
    boto.ClientError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    OSError,
)
"""What a call of the client may raise for reasons that lie outside this program."""

_BY_CODE: dict[str, type[StoreError]] = {
    **dict.fromkeys(("NoSuchKey", "NotFound", "404"), ObjectMissing),
    **dict.fromkeys(("PreconditionFailed", "412"), PreconditionFailed),
    **dict.fromkeys(("QuotaExceeded", "StorageFull", "XMinioStorageFull"), StoreFull),
    **dict.fromkeys(("InvalidObjectState", "PermanentRedirect", "AuthorizationHeaderMalformed"), StoreError),
    **dict.fromkeys(
        (
            "AccessDenied",
            "AllAccessDisabled",
            "AuthFailure",
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSecurity",
            "InvalidToken",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
            "TokenRefreshRequired",
        ),
        StoreRefused,
    ),
    **dict.fromkeys(
        (
            "BadDigest",
            "BandwidthLimitExceeded",
            "ConditionalRequestConflict",
            "IncompleteBody",
            "InternalError",
            "NoSuchUpload",
            "OperationAborted",
            "RequestLimitExceeded",
            "RequestThrottled",
            "RequestTimeout",
            "RequestTimeoutException",
            "ServiceUnavailable",
            "SlowDown",
            "Throttling",
            "ThrottlingException",
            "TooManyRequests",
            "TooManyRequestsException",
            "XAmzContentSHA256Mismatch",
        ),
        StoreUnavailable,
    ),
}
"""The codes that say more than their HTTP status."""

_BY_STATUS: dict[int, type[StoreError]] = {
    401: StoreRefused,
    403: StoreRefused,
    408: StoreUnavailable,
    412: PreconditionFailed,
    429: StoreUnavailable,
    507: StoreFull,
}

_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.NoAuthTokenError,
    boto.TokenRetrievalError,
    boto.SSOError,
)

_ANSWERLESS = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
    TimeoutError,
)

_ADVICE = {
    "ExpiredToken": "The session's token has expired: renew it (for example `aws sso login`).",
    "InvalidAccessKeyId": "The server does not know this access key: check the profile and the endpoint.",
    "RequestTimeTooSkewed": "This machine's clock is wrong: set it.",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key: check both.",
}
_GENERAL_ADVICE = (
    "Check that they are those of this store, and that they allow s3:ListBucket on the bucket and s3:GetObject, "
    "s3:PutObject and s3:DeleteObject below the prefix."
)


def explain(error: Exception, doing: str, url: str, provenance: str) -> StorefsError:
    """Return the error of storefs that ``error`` means, for the request ``doing`` at ``url``.

    ``provenance`` says which credentials were used; it is shown when they were refused.
    """
    what = f"{doing} at {url}"
    if isinstance(error, boto.ClientError):
        answer = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return by_code(str(answer.get("Code", "")), str(answer.get("Message", "")), status, what, provenance)
    if isinstance(error, _CREDENTIALS):
        return _refused(what, str(error), "", provenance)
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return StoreError(f"{what}: {error}. If the server has a certificate of your own, name its CA in ca_bundle.")
    if isinstance(error, _ANSWERLESS):
        return StoreUnavailable(f"{what}: {error}")
    return StoreError(f"{what}: {error}")


def by_code(code: str, message: str, status: int, what: str, provenance: str) -> StorefsError:
    """Return the error that S3's ``code`` (or else the HTTP ``status``) means."""
    text = f"{what}: {code} {message}".rstrip()
    if code == "NoSuchBucket":
        return StoreError(f"{what}: the bucket does not exist. Make it first, or check its name and the endpoint.")
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if kind is StoreRefused:
        return _refused(what, f"{code} {message}", code, provenance)
    if kind is None:
        kind = StoreUnavailable if status >= 500 else StoreError  # noqa: PLR2004 - the class of server errors
    return kind(text)


def _refused(what: str, reason: str, code: str, provenance: str) -> StoreRefused:
    """Return a refusal that says whose credentials were refused and what to do."""
    return StoreRefused(f"{what}: {reason.strip()} ({provenance}). {_ADVICE.get(code, _GENERAL_ADVICE)}")
