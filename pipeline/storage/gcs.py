"""Objects in Google Cloud Storage, through its own client."""

import contextlib
import functools
import io
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

from apache_beam.io.gcp.gcsio import create_storage_client
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from google.api_core.exceptions import (
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RequestRangeNotSatisfiable,
    RetryError,
)
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Blob
from google.cloud.storage.retry import DEFAULT_RETRY
from requests import RequestException
from requests.adapters import HTTPAdapter

from pipeline.errors import one_line
from pipeline.storage.files import InputFile, printable_path
from pipeline.storage.objects import Content, GoneError, ObjectError

_CONNECTIONS = 32  # one per reading thread; by default the client keeps ten
_FIELDS = "items(name,size,generation,updated),nextPageToken"
_REASONS = {
    401: "credentials invalid or expired; renew them with `gcloud auth application-default login`",
    403: "access denied: the credentials lack the permission",
    404: "no such bucket or object",
}
_REQUESTER_PAYS = "requester-pays buckets are not supported; copy the objects into a bucket of your own"

_stores: dict[tuple[Any, ...], "GcsStore"] = {}


def make_store(path: str, options: PipelineOptions) -> "GcsStore":
    """Returns the store with Google's credentials as Beam finds them; cached by options."""
    google = options.view_as(GoogleCloudOptions)
    key = (google.project, str(google.impersonate_service_account), os.environ.get("STORAGE_EMULATOR_HOST"))
    return _stores.setdefault(key, GcsStore(options))


class GcsStore:
    """Pins objects by generation."""

    def __init__(self, options: PipelineOptions) -> None:
        self._options = options

    @functools.cached_property
    def _client(self) -> Any:  # finding credentials may need requests
        with _explained():
            client = create_storage_client(self._options)
        for scheme in ("http://", "https://"):
            client._http.mount(scheme, HTTPAdapter(pool_maxsize=_CONNECTIONS))
        return client

    def find(self, path: str) -> InputFile | None:
        bucket, name = _split(path)
        with _explained():
            found = self._client.bucket(bucket).get_blob(name)
        return found and _input_file(found)

    def list(self, prefix: str) -> Iterator[InputFile]:
        bucket, start = _split(prefix)
        with _explained():
            for found in self._client.list_blobs(bucket, prefix=start, fields=_FIELDS):
                if not found.name.endswith("/"):
                    yield _input_file(found)

    def read(self, file: InputFile, start: int, stop: int) -> Content:
        blob, target = self._blob(file.path, file.version), _Exactly(stop - start)
        span = {} if (start, stop) == (0, file.size) else {"start": start, "end": stop - 1}
        with _explained():
            blob.download_to_file(target, raw_download=True, checksum=None, **span)
        if file.version and str(blob.generation or file.version) != file.version:
            raise GoneError(_REASONS[404])
        return Content(target.all(), blob.content_encoding or "")

    def put(self, path: str, stream: BinaryIO) -> None:
        with _explained():
            self._blob(path).upload_from_file(
                stream, size=stream.seek(0, os.SEEK_END), rewind=True, retry=DEFAULT_RETRY
            )

    def delete(self, path: str) -> None:
        with contextlib.suppress(GoneError), _explained():
            self._blob(path).delete()

    def _blob(self, path: str, version: Any = None) -> Blob:
        bucket, name = _split(path)
        return self._client.bucket(bucket).blob(name, generation=version and int(version))


class _Exactly(io.BytesIO):
    """Accepts exactly `count` bytes, since a server may ignore the range and send gigabytes."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._count:
            raise ObjectError(f"the server sent more than the expected {self._count} bytes")
        return super().write(data)

    def all(self) -> bytes:
        """Returns the bytes."""
        if self.tell() < self._count:
            raise ObjectError(f"the server sent {self.tell()} bytes instead of {self._count}")
        return self.getvalue()


def _split(path: str) -> tuple[str, str]:
    bucket, _, name = path.removeprefix("gs://").partition("/")
    return bucket, name


def _input_file(blob: Blob) -> InputFile:
    path = f"gs://{blob.bucket.name}/{blob.name}"
    modified = int(blob.updated.timestamp()) if blob.updated else 0
    return InputFile(path, int(blob.size or 0), printable_path(path), modified, str(blob.generation))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (NotFound, PreconditionFailed, RequestRangeNotSatisfiable):
        raise GoneError(_REASONS[404]) from None
    except GoogleAPICallError as error:
        raise ObjectError(_reason(error)) from None
    except RetryError as error:
        raise ObjectError(one_line(error.cause or error)) from None
    except (GoogleAuthError, RequestException) as error:
        raise ObjectError(one_line(error)) from None


def _reason(error: GoogleAPICallError) -> str:
    if "requester pays" in str(error):
        return _REQUESTER_PAYS
    return _REASONS.get(error.code) or one_line(error)
