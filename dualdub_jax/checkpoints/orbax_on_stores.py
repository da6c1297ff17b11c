"""Orbax on object stores: tensorstore's driver for S3 too, and retries that end.

Orbax 0.12 addresses gs:// by tensorstore's driver and everything else as a local file, although tensorstore
has a driver for S3 with the same semantics. There is no setting for it, so four names of orbax are replaced;
gs:// and local paths are treated as before, and a commit marker stands in place of a rename on both stores.
Tests of every operation on S3 notice a version of orbax in which the names differ.

By default tensorstore repeats a failing request 32 times, for a quarter of an hour, in silence: a save seems
to hang. `RETRIES` ends that after a minute and a half, with the store's error.
"""

import functools
import os
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint._src.path import gcs_utils
from orbax.checkpoint._src.serialization import tensorstore_utils

from dualdub_jax.errors import UserError

RETRIES = {"max_retries": 8, "initial_delay": "500ms", "max_delay": "16s"}
_STORES = ("gs://", "s3://")
_REPLACED = (
    (gcs_utils, "_GCS_PATH_PREFIX"),
    (gcs_utils, "get_kvstore_for_gcs"),
    (tensorstore_utils, "_use_gcs_driver"),
    (tensorstore_utils, "_normalize_path"),
    (tensorstore_utils, "_BASE_TS_CONTEXT"),
    (tensorstore_utils, "_DEFAULT_OCDBT_TS_CONTEXT"),
)


@functools.cache
def install() -> None:
    """Makes orbax take paths on s3:// in this process, and bounds the retries of both stores.

    Raises:
        UserError: this version of orbax has other names.
    """
    for module, name in _REPLACED:
        if not hasattr(module, name):
            raise UserError(
                f"gs:// and s3://: orbax-checkpoint {ocp.__version__} lacks {module.__name__}.{name}, by "
                "which DualDub writes there; pip install 'orbax-checkpoint==0.12.8', or use a local path"
            )
    # Decides between commit marker and rename; also where checkpoints are deleted.
    gcs_utils._GCS_PATH_PREFIX = _STORES
    tensorstore_utils._use_gcs_driver = lambda directory: directory.startswith(_STORES)
    tensorstore_utils._normalize_path = _normalised
    gcs_utils.get_kvstore_for_gcs = functools.partial(_kvstore, gcs_utils.get_kvstore_for_gcs)
    for context in (tensorstore_utils._BASE_TS_CONTEXT, tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT):
        context |= {"gcs_request_retries": RETRIES, "s3_request_retries": RETRIES}


def _normalised(path: str) -> str:
    scheme, separator, rest = path.rpartition("://")
    return scheme + separator + os.path.normpath(rest)


def _kvstore(for_gcs: Any, path: str) -> dict[str, Any]:
    if not path.startswith("s3://"):
        return for_gcs(path)
    bucket, _, key = path.removeprefix("s3://").partition("/")
    spec: dict[str, Any] = {"driver": "s3", "bucket": bucket, "path": key}
    # Variables of AWS's own libraries that tensorstore does not read.
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        spec |= {"endpoint": endpoint, "aws_region": region or "us-east-1"}
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        spec["aws_credentials"] = {"type": "environment"}
    return spec
