"""Failures of object stores as errors that name the path, the cause and the remedy."""

import contextlib
import functools
import re
from collections.abc import Iterator

from dualdub_jax.errors import UserError
from dualdub_jax.stores.path import StorePath, is_remote

# Packages whose exceptions are failures of a store or of the way to it.
_LIBRARIES = {"aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "requests", "s3fs", "urllib3"}
# Words in types and texts of exceptions, tensorstore's included, which has no types of its own.
_DENIED = re.compile(
    "PermissionError|PERMISSION_DENIED|UNAUTHENTICATED|Forbidden|Unauthorized|Access ?Denied|"
    "InvalidAccessKeyId|SignatureDoesNotMatch|DefaultCredentialsError|RefreshError|ExpiredToken|InvalidToken|"
    "Anonymous caller|ProfileNotFound|(No|Partial)Credentials|[Ii]nvalid[ _]credentials|"
    "credentials (were )?not found|Unable to locate credentials"
)
_MISSING = re.compile("FileNotFoundError|NoSuchBucket|NOT_FOUND|bucket does not exist|404")
_UNREACHED = re.compile(
    "ClientConnect|EndpointConnection|ConnectTimeout|ReadTimeout|ConnectionError|TimeoutError|ServerDisconnected|"
    "TransportError|UNAVAILABLE|DEADLINE_EXCEEDED|Cannot connect|CURL|ConnectionRefused|ConnectionClosed|"
    "Max retries exceeded|retry attempts failed|Name or service not known"
)
_CREDENTIALS = {
    "gs": "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
}
_ENDPOINTS = {"gs": "STORAGE_EMULATOR_HOST", "s3": "AWS_ENDPOINT_URL"}


@contextlib.contextmanager
def store_errors(path: StorePath) -> Iterator[None]:
    """Raises failures of the body as a `UserError` that names `path`, if it is on an object store.

    Raises:
        UserError: credentials are missing or refused, there is no such bucket, the store cannot be reached,
            or it failed otherwise.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_remote(path) and _is_of_store(error):
            raise UserError(f"{path}: {_explained(error, str(path))}") from error
        raise


def is_outage(error: BaseException) -> bool:
    """Whether an error says that a store denied access or was not reached, and nothing about its objects."""
    text = _text(error)
    return _is_of_store(error) and bool(_DENIED.search(text) or _UNREACHED.search(text))


def reached(path: StorePath) -> StorePath:
    """`path`, once its bucket has been listed; a path on a local disk is returned as it is.

    Raises:
        UserError: as `store_errors`.
    """
    if is_remote(path):
        _reach(path)
    return path


@functools.cache
def _reach(path: StorePath) -> None:
    from dualdub_jax.stores.libraries import file_system

    bucket, _, key = str(path).partition("://")[2].partition("/")
    with store_errors(path):
        store = file_system(path)
        # An account may list the folder and not see the bucket itself, so the folder is listed.
        # fsspec's own methods do not tell a missing bucket from an empty folder.
        try:
            if str(path).startswith("gs://"):
                store.call("GET", "b/{}/o", bucket, prefix=key, maxResults=1)
            else:
                store.call_s3("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
        except FileNotFoundError as error:
            scheme = str(path).partition("://")[0]
            raise UserError(
                f"{path}: there is no bucket {scheme}://{bucket}, or this account may not see it; make it, "
                "or correct the name"
            ) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [*getattr(each, "exceptions", ()), *filter(None, (each.__cause__, each.__context__))]


def _is_of_store(error: BaseException) -> bool:
    return any(
        isinstance(each, OSError)
        or type(each).__module__.partition(".")[0] in _LIBRARIES
        # tensorstore
        or (
            isinstance(each, ValueError | RuntimeError)
            and any(word in str(each) for word in ("gs://", "s3://", "http", "Bad Request"))
        )
        for each in _chain(error)
    )


def _text(error: BaseException) -> str:
    return "\n".join(f"{type(each).__name__}: {each}" for each in _chain(error))


def _explained(error: BaseException, path: str) -> str:
    scheme, _, rest = path.partition("://")
    text = _text(error)
    reason = " ".join(text.partition("\n")[0].split())[:200]
    if _DENIED.search(text):
        return f"the store denies access ({reason}); {_CREDENTIALS[scheme]}, of an account with access to it"
    if _UNREACHED.search(text):
        return (
            f"the store is not reached ({reason}); check the network, and {_ENDPOINTS[scheme]} if it is set"
        )
    if _MISSING.search(text):
        bucket = rest.partition("/")[0]
        return (
            f"there is no such bucket or object ({reason}); check that the bucket {scheme}://{bucket} exists "
            "and that the upload is complete"
        )
    return f"the store failed ({reason}); run the command again"
