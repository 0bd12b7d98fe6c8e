"""Ranges of objects, asked for with less machinery: signed by botocore and sent by its session, nothing in between.

A client's get_object builds, dispatches and parses for milliseconds, with the interpreter's lock held; all that a range
needs is a signature. Whatever is not a plain answer is left to get_object, which knows how to explain it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.awsrequest import AWSRequest

from storefs.objects.s3.options import S3Options

_PARTIAL = 206
_PROBE = "storefs-probe"


class RangedGets:
    """Gets ranges over the connections of a client, in any thread."""

    def __init__(self, client: Any, options: S3Options) -> None:
        # No public door leads to a client's signer and session. Should they move, ranges take the long way.
        self._signer = getattr(client, "_request_signer", None)
        self._session = getattr(getattr(client, "_endpoint", None), "http_session", None)
        self._headers = {"x-amz-request-payer": "requester"} if options.request_payer else {}
        self._client = client
        self._bucket = options.bucket
        self._base: str | None = None

    def get(self, key: str, first: int, last: int) -> bytes | None:
        """Return the bytes ``first`` to ``last`` of an object, or None where the answer was not plainly that.

        Raises botocore's errors of connections.
        """
        length = last - first + 1
        with self._answer(key, first, length) as answer:
            data: bytes | None = answer.read() if answer is not None else None
        return data if data is not None and len(data) == length else None

    def fill(self, key: str, first: int, memory: memoryview) -> bool:
        """Fill ``memory`` with the bytes of an object from ``first`` on; False where the answer was not plainly that.

        Raises botocore's errors of connections, and OSError.
        """
        filled, complete = 0, False
        with self._answer(key, first, len(memory)) as answer:
            if answer is not None:
                # The response below is read into memory as it comes: urllib3's own way makes a copy of everything.
                source = getattr(answer, "_fp", answer)
                while filled < len(memory) and (got := source.readinto(memory[filled:])):
                    filled += got
                complete = filled == len(memory) and not source.read(1)
                if not complete:
                    answer.close()  # what is still to come would be taken for the next answer
        return complete

    @contextmanager
    def _answer(self, key: str, first: int, length: int) -> Iterator[Any]:
        """Ask for a range; give the response of urllib3 to read it from, or None."""
        if self._signer is None or self._session is None:
            yield None
            return
        if self._base is None:
            # Not before: it takes credentials, and a store without them is to say so when it is asked.
            self._base = _base_url(self._client, self._bucket)
        headers = {**self._headers, "Range": f"bytes={first}-{first + length - 1}"}
        request = AWSRequest(method="GET", url=self._base + quote(key, safe="/~"), headers=headers, stream_output=True)
        self._signer.sign("GetObject", request)
        answer = self._session.send(request.prepare())
        try:
            if answer.status_code == _PARTIAL and answer.headers.get("Content-Length", str(length)) == str(length):
                yield answer.raw
            else:
                answer.raw.drain_conn()
                yield None
        except BaseException:
            answer.raw.close()  # what is still to come would be taken for the next answer
            raise
        finally:
            answer.raw.release_conn()


def _base_url(client: Any, bucket: str) -> str:
    """Return what comes before a key in the address of an object: botocore decides between path and host name."""
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": _PROBE}, ExpiresIn=60)
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path.removesuffix(_PROBE)}"
