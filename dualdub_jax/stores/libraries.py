"""Settings of the libraries that read and write object stores: fsspec, its file systems, tensorstore.

Credentials and endpoints are found by the libraries, in the places that their documentation names: those of
Google Cloud (`GOOGLE_APPLICATION_CREDENTIALS`, `gcloud auth application-default login`, the metadata server)
and of AWS (`AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`, instance roles). Retries are theirs as
well.
"""

import functools
import logging
import os
from typing import Any

import fsspec


def prepare(scheme: str) -> None:
    """Makes the settings for a scheme, "gs" or "s3"; must precede its first use in a process."""
    _prepare_libraries(scheme)
    if scheme == "gs" and (emulator := os.environ.get("STORAGE_EMULATOR_HOST")):
        # The variable of Google's own libraries and gcsfs; tensorstore has others. Not once for all: a test
        # may start its emulator after another one has named a path.
        os.environ.setdefault("TENSORSTORE_GCS_HTTP_URL", emulator)
        os.environ.setdefault("GOOGLE_AUTH_TOKEN_FOR_TESTING", "emulator")


@functools.cache
def _prepare_libraries(scheme: str) -> None:
    # One implementation everywhere: with TensorFlow installed, etils would use TensorFlow's.
    os.environ.setdefault("EPATH_USE_TF", "false")
    protocols = {"gs": ("gs", "gcs"), "s3": ("s3", "s3a")}[scheme]
    for protocol in protocols:
        # Listings change behind fsspec's back: tensorstore and other processes write, too.
        fsspec.config.conf.setdefault(protocol, {}).setdefault("use_listings_cache", False)
    # Failures are reported once, by `store_errors`; gcsfs would log each with a traceback.
    for library in {"gs": ("gcsfs", "google.auth"), "s3": ("s3fs",)}[scheme]:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    if scheme == "gs":
        # Its file system for zonal buckets asks for each bucket's layout, with permissions that few accounts
        # have.
        os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def file_system(path: os.PathLike[str]) -> Any:
    """The fsspec file system of a path on a store."""
    return fsspec.core.url_to_fs(str(path))[0]
