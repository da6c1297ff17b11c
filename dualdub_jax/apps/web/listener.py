"""The address that the page is served on."""

import socket

from dualdub_jax.errors import UserError


def open_listener(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        UserError: there is no such address, or the port is in use.
    """
    bare = host.strip("[]")
    try:
        family, kind, *_, address = socket.getaddrinfo(bare, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise UserError(f"--host {host}: no such address ({error.strerror or error}); give another") from None
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UserError(
            f"--port {port}: {host} cannot be listened on ({error.strerror}); choose another --port or --host"
        ) from None
    return listener
