"""A store that denies, lacks its bucket or is away: one line with the path, the cause and the remedy."""

import asyncio
import http.server
import threading
import types

import gcsfs
import gcsfs.retry
import pytest
import s3fs
import tensorstore
from orbax.checkpoint._src.path import gcs_utils
from orbax.checkpoint._src.serialization import tensorstore_utils

from dualdub_jax.apps.cli import main
from dualdub_jax.checkpoints import orbax_on_stores
from dualdub_jax.errors import UserError
from dualdub_jax.stores.failures import reached, store_errors
from dualdub_jax.stores.path import as_path

NOBODY = "http://127.0.0.1:9"


class _Denying(http.server.BaseHTTPRequestHandler):
    """Answers as a store whose credentials are not valid."""

    def do_GET(self):
        body = (
            b'{"error": {"code": 403, "message": "no storage.objects.list access"}}'
            if "/storage/v1/" in self.path
            else b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        )
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def denying(request):
    """The address of a server that denies, or of the handler that the test names."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), getattr(request, "param", _Denying))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def away(monkeypatch, stores_environment):
    """Sets the address of both stores, for file systems that are made from now on."""

    def to(url):
        # Both libraries retry for half a minute; here without a pause.
        monkeypatch.setattr(gcsfs.retry, "asyncio", types.SimpleNamespace(sleep=lambda _: asyncio.sleep(0)))
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        for name in ("STORAGE_EMULATOR_HOST", "AWS_ENDPOINT_URL"):
            monkeypatch.setenv(name, url)
        _forget_file_systems()

    yield to
    monkeypatch.undo()
    _forget_file_systems()


def _forget_file_systems():
    for file_system in (gcsfs.GCSFileSystem, s3fs.S3FileSystem):
        file_system.clear_instance_cache()


@pytest.mark.parametrize("scheme", ["gs", "s3"])
@pytest.mark.parametrize(
    "command",
    [
        ["data", "inspect", "URL"],
        ["data", "build", "puppet_stage", "--out", "URL"],
        ["train", "--config", "puppet:tiny", "--workdir", "URL"],
        ["export", "URL", "out"],
    ],
    ids=lambda command: command[0] + command[1],
)
def test_a_missing_bucket_is_named(scheme, command, stores_environment, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    url = f"{scheme}://no-such-bucket/x"
    assert main([part.replace("URL", url) for part in command]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"dualdub: {url}: there is no bucket {scheme}://no-such-bucket")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("scheme", "remedy"), [("gs", "gcloud auth"), ("s3", "AWS_ACCESS_KEY_ID")])
def test_denied_access_names_the_credentials(scheme, remedy, away, denying):
    away(denying)
    with pytest.raises(UserError, match=f"{scheme}://films/denied: the store denies access .*{remedy}"):
        reached(as_path(f"{scheme}://films/denied"))


def test_missing_credentials_are_named(away, stores_environment, monkeypatch):
    away(stores_environment["AWS_ENDPOINT_URL"])
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(UserError, match=r"s3://films/x1: the store denies access \(NoCredentialsError"):
        reached(as_path("s3://films/x1"))


@pytest.mark.parametrize(("scheme", "variable"), [("gs", "STORAGE_EMULATOR"), ("s3", "AWS_ENDPOINT")])
def test_a_store_that_is_away_is_named(scheme, variable, away):
    away(NOBODY)
    with pytest.raises(UserError, match=f"{scheme}://films/away: the store is not reached .*{variable}"):
        reached(as_path(f"{scheme}://films/away"))


class _Busy(_Denying):
    """Answers as a store that is overloaded, to every request."""

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_PUT = do_GET


@pytest.mark.parametrize("denying", [_Busy], indirect=True)
def test_a_save_to_a_store_that_keeps_failing_ends(denying, away, monkeypatch):
    """By tensorstore's defaults it would repeat its requests for a quarter of an hour."""
    away(denying)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "dummy")
    folder = as_path("s3://films/busy")
    orbax_on_stores.install()
    for context in (tensorstore_utils._BASE_TS_CONTEXT, tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT):
        assert context["s3_request_retries"] == context["gcs_request_retries"] == orbax_on_stores.RETRIES
        quick = {"max_retries": 3, "initial_delay": "10ms", "max_delay": "20ms"}
        monkeypatch.setitem(context, "s3_request_retries", quick)
    spec = gcs_utils.get_kvstore_for_gcs(str(folder))
    store = tensorstore.KvStore.open(spec, context=tensorstore_utils.get_ts_context()).result()
    with (
        pytest.raises(UserError, match=r"busy: the store is not reached .*3 retry attempts"),
        store_errors(folder),
    ):
        store.write("key", b"value").result()


def test_failures_of_tensorstore_are_explained():
    path = as_path("gs://films/run")
    for status, says in (
        ("PERMISSION_DENIED", "denies access"),
        ("UNAVAILABLE", "is not reached"),
        ("NOT_FOUND", "no such bucket or object"),
        ("INTERNAL", "the store failed"),
    ):
        with pytest.raises(UserError, match=f"gs://films/run: .*{says}"), store_errors(path):
            raise ValueError(f"{status}: Error reading gs://films/run/1/state/manifest.ocdbt")


def test_faults_of_ours_and_local_errors_pass():
    with pytest.raises(ValueError, match="ours"), store_errors(as_path("gs://films/run")):
        raise ValueError("ours")
    with pytest.raises(PermissionError), store_errors(as_path("run")):
        raise PermissionError("run")
