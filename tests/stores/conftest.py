"""Object stores for the tests: a server for each scheme, with an empty bucket, and dummy credentials."""

import os
import pathlib
from collections.abc import Iterator

import pytest

from dualdub_jax.stores.libraries import file_system
from dualdub_jax.stores.path import StorePath, as_path
from tests.stores.servers import BUCKET, gcs_server, s3_server


@pytest.fixture(scope="session")
def stores_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Starts both servers; environment variables with which this and other processes use them."""
    with gcs_server() as gcs, s3_server() as s3, pytest.MonkeyPatch.context() as patch:
        variables = {
            "STORAGE_EMULATOR_HOST": gcs,
            "AWS_ENDPOINT_URL": s3,
            "AWS_ACCESS_KEY_ID": "dummy",
            "AWS_SECRET_ACCESS_KEY": "dummy",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        for scheme in ("gs", "s3"):
            bucket = as_path(f"{scheme}://{BUCKET}")
            file_system(bucket).mkdir(str(bucket), create_parents=True)
        yield os.environ | variables


@pytest.fixture(params=["gs", "s3"])
def store(
    request: pytest.FixtureRequest, stores_environment: dict[str, str], tmp_path: pathlib.Path
) -> StorePath:
    """A folder for one test, on either store; no object is in it."""
    return as_path(f"{request.param}://{BUCKET}/{tmp_path.name}")
