"""Who may use the page: this machine alone, or everybody who knows a password."""

import asyncio
import hmac
import ipaddress
import pathlib
from collections.abc import Awaitable, Callable, Mapping

from dualdub_jax.errors import UserError

Login = Callable[[str, str], Awaitable[bool]]
_FAILED_LOGIN_S = 1.0  # that a wrong password costs


def make_login(host: str, password: str | None, auth_file: pathlib.Path | None) -> Login | None:
    """The check of names and passwords; None: no password is required.

    Args:
        host: the address that the server listens on.
        password: one for everybody, under any name.
        auth_file: lines of `NAME:PASSWORD`.

    Raises:
        UserError: both or an empty password are given, the file cannot be used, or there is none of them
            although other machines reach the address.
    """
    if password is not None and auth_file is not None:
        raise UserError("--password and --auth-file: give one of them")
    if password is not None:
        if not password.strip():
            raise UserError("--password: is empty; give one that cannot be guessed")
        return _slow_when_wrong(lambda _, given: _equal(given, password))
    if auth_file is not None:
        passwords = _read_passwords(auth_file)
        return _slow_when_wrong(lambda name, given: _equal(given, passwords.get(name, "")))
    if not is_loopback(host):
        raise UserError(
            f"--host {host}: other machines reach this address, so a password is needed; add --password, or "
            "--auth-file with lines NAME:PASSWORD"
        )
    return None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _read_passwords(path: pathlib.Path) -> Mapping[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UserError(
            f"{path}: cannot be read ({reason}); give a text file with lines NAME:PASSWORD"
        ) from None
    passwords = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, password = line.partition(":")
        if not name.strip() or not password.strip():
            raise UserError(f"{path}: line {number} is not NAME:PASSWORD; correct it")
        passwords[name.strip()] = password.strip()
    if not passwords:
        raise UserError(f"{path}: holds no line NAME:PASSWORD; add one")
    return passwords


def _slow_when_wrong(is_right: Callable[[str, str], bool]) -> Login:
    async def login(name: str, password: str) -> bool:
        if is_right(name, password):
            return True
        await asyncio.sleep(_FAILED_LOGIN_S)
        return False

    return login


def _equal(given: str, password: str) -> bool:
    return bool(password) and hmac.compare_digest(given.encode(), password.encode())
