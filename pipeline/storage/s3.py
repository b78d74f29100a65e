"""Objects in S3 and compatible services, through boto3."""

import contextlib
import functools
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import boto3
from apache_beam.options.pipeline_options import PipelineOptions, S3Options
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from pipeline.errors import UsageError, one_line
from pipeline.storage.files import InputFile, printable_path
from pipeline.storage.objects import Content, GoneError, ObjectError

_CONNECTIONS = 64
_READ_ATTEMPTS = 5  # of a range, if the connection is lost
_PART = 64 * 1024 * 1024  # of an upload: S3 takes 10,000
_UPLOAD = TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=4)
_OPTIONS = (
    "s3_access_key_id", "s3_secret_access_key", "s3_session_token", "s3_region_name", "s3_endpoint_url",
    "s3_api_version", "s3_verify", "s3_disable_ssl",
)  # fmt: skip
_REASONS = {
    "NoSuchBucket": "no such bucket",
    "NoSuchKey": "no such object",
    "404": "no such bucket or object",
    "AccessDenied": "access denied: the credentials lack the permission, or the bucket is requester-pays",
    "403": "access denied: the credentials lack the permission, or the bucket is requester-pays",
    "ExpiredToken": "session token expired; renew it or set s3_session_token",
    "ExpiredTokenException": "session token expired; renew it or set s3_session_token",
    "InvalidToken": "invalid session token; set the s3_session_token that belongs to the keys",
    "InvalidAccessKeyId": "unknown access key; check s3_access_key_id",
    "SignatureDoesNotMatch": "wrong secret key; check s3_secret_access_key",
}
_GONE = (404, 412, 416)  # not found, another version, shorter than the range
_OTHER_REGION = ("301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")


def make_store(path: str, options: PipelineOptions) -> "S3Store":
    """Returns the store with credentials from Beam's options or AWS's default chain; UsageError if there are none."""
    given = options.view_as(S3Options)
    store = _make_store(*(getattr(given, name) for name in _OPTIONS))
    if not store.has_credentials:
        raise UsageError(f"{path}: no credentials for S3 (set s3_access_key_id, or AWS's own configuration)")
    return store


@functools.cache
def _make_store(
    key: str, secret: str, token: str, region: str, url: str, version: str, verify: Any, plain: bool
) -> "S3Store":
    session = boto3.Session(key, secret, token, region)
    config = Config(
        max_pool_connections=_CONNECTIONS,
        retries={"mode": "legacy", "total_max_attempts": 8},  # this mode alone retries 429 without a known code
        request_checksum_calculation="when_required",  # what other servers understand
        response_checksum_validation="when_required",
    )
    try:
        client = session.client(
            "s3", endpoint_url=url, api_version=version, verify=verify, use_ssl=not plain, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise UsageError(f"S3: {one_line(error)}") from None
    return S3Store(client, bool(session.get_credentials()))


class S3Store:
    """Pins objects by ETag."""

    def __init__(self, client: Any, has_credentials: bool) -> None:
        self._client, self.has_credentials = client, has_credentials

    def find(self, path: str) -> InputFile | None:
        try:
            with _explained():
                found = self._client.head_object(**_location(path))
        except GoneError:
            return None
        return _input_file(path, found["ContentLength"], found)

    def list(self, prefix: str) -> Iterator[InputFile]:
        bucket, start = _location(prefix).values()
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start)
        with _explained():
            for page in pages:
                for found in page.get("Contents", ()):
                    if not found["Key"].endswith("/"):
                        yield _input_file(f"s3://{bucket}/{found['Key']}", found["Size"], found)

    def read(self, file: InputFile, start: int, stop: int) -> Content:
        request = _location(file.path)
        if file.version:
            request["IfMatch"] = str(file.version)
        if (start, stop) != (0, file.size):
            request["Range"] = f"bytes={start}-{stop - 1}"
        for attempt in range(1, _READ_ATTEMPTS):
            with contextlib.suppress(HTTPClientError, ConnectionError):
                return self._get(file, request, stop - start)
            time.sleep(0.1 * 2**attempt)
        with _explained():
            return self._get(file, request, stop - start)

    def _get(self, file: InputFile, request: dict[str, str], count: int) -> Content:
        with _explained():
            answer = self._client.get_object(**request)
        with contextlib.closing(answer["Body"]) as body:
            if file.version and answer.get("ETag", file.version) != file.version:
                raise GoneError(_REASONS["NoSuchKey"])
            if answer["ContentLength"] != count:
                raise ObjectError(f"the server sent {answer['ContentLength']} bytes instead of {count}")
            return Content(body.read(), answer.get("ContentEncoding", ""))

    def put(self, path: str, stream: BinaryIO) -> None:
        bucket, key = _location(path).values()
        with _explained():  # boto3 abandons an upload that fails
            self._client.upload_fileobj(stream, bucket, key, Config=_UPLOAD)

    def delete(self, path: str) -> None:
        with _explained():
            self._client.delete_object(**_location(path))


def _location(path: str) -> dict[str, str]:
    bucket, _, key = path.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def _input_file(path: str, size: int, found: dict[str, Any]) -> InputFile:
    return InputFile(path, size, printable_path(path), int(found["LastModified"].timestamp()), found.get("ETag"))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        kind = GoneError if _status(error) in _GONE else ObjectError
        raise kind(_reason(error)) from None
    except (BotoCoreError, Boto3Error) as error:
        raise ObjectError(one_line(error)) from None


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _reason(error: ClientError) -> str:
    found = error.response.get("Error", {})
    code = str(found.get("Code", ""))
    if code in _OTHER_REGION:
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        region = found.get("Region") or headers.get("x-amz-bucket-region")
        return f"bucket in another region; set s3_region_name{f' {region}' if region else ''}"
    return _REASONS.get(code) or one_line(error)
