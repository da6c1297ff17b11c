"""What no visitor reaches: other visitors' files, the server's files, routes that the page does not use."""

import contextlib
import re
import urllib.parse

import httpx
import pytest

from dualdub_jax.apps.web.access import make_login
from dualdub_jax.apps.web.limits import Limits
from dualdub_jax.apps.web.uploads import Uploads
from tests.apps.web.conftest import serving
from tests.apps.web.requests import request
from tests.apps.web.visitor import as_value, text_of
from tests.films import make_film


@pytest.fixture(scope="module")
def owner(served, tmp_path_factory):
    """A visitor with a finished film, an upload, and the addresses of both."""
    visitor = served.visitor()
    film = make_film(tmp_path_factory.mktemp("film") / "mine.mp4")
    visitor.call("take_film", visitor.uploaded(film))
    outputs = visitor.call("generate", *request("lay blue"))
    visitor.stored = {
        function: visitor.upload(name, b"a file of mine").json()[0]
        for function, name in (("take_film", "f.mp4"), ("take_script", "s.srt"), ("take_voice", "v.wav"))
    }
    visitor.player = re.search(r'src="([^"]+)"', outputs[1])[1]
    visitor.links = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]+)"', outputs[2])]
    return visitor


def test_the_owner_fetches_everything(owner):
    assert len(owner.links) == 7
    for link in [*owner.links, owner.player]:
        answer = owner.http.get(f"/{link}")
        assert answer.status_code == 200 and answer.content
    assert owner.http.get(f"/gradio_api/file={owner.stored['take_voice']}").content == b"a file of mine"
    part = owner.http.get(f"/{owner.player.split('player')[0]}mix.wav", headers={"Range": "bytes=0-9"})
    assert part.status_code == 206 and len(part.content) == 10  # players seek


def test_another_visitor_fetches_nothing_even_with_the_address(served, owner, visitor):
    for link in [*owner.links, owner.player]:
        assert visitor.http.get(f"/{link}").status_code == 404
    for stored in owner.stored.values():
        assert visitor.http.get(f"/gradio_api/file={stored}").status_code == 404
    assert httpx.get(f"{served.address}/{owner.player}").status_code == 404


@pytest.mark.parametrize("function", ["take_film", "take_script", "take_voice"])
def test_another_visitor_cannot_use_an_upload(owner, visitor, function):
    answer = visitor.join(function, as_value(owner.stored[function]))
    assert answer.status_code == 404
    assert answer.json() == {"detail": "the file is not kept any more; upload it again"}
    assert owner.http.get(f"/gradio_api/file={owner.stored[function]}").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd"),
        *("../project/project.json", "project.json", "", "."),
    ],
)
def test_no_path_leads_out_of_the_files(owner, path):
    base = owner.player.rsplit("/", 1)[0]
    for prefix in (f"/{base}/", "/media/", "/web/", "/assets/", "/static/", "/svelte/"):
        assert owner.http.get(f"{prefix}{path}").status_code in (400, 403, 404), prefix
    answer = owner.http.get(f"/gradio_api/file={path}")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../../etc/passwd", "/proc/self/environ", "/dev/zero", "", None, ["/etc/passwd"]),
        *("http://127.0.0.1/", "http://example.com/a.wav", "file:///etc/passwd"),
    ],
)
@pytest.mark.parametrize("meta", [{"meta": {"_type": "gradio.FileData"}}, {}])
def test_a_call_names_no_file_or_address_but_the_visitor_s_uploads(served, visitor, path, meta):
    before = set(served.server.root.rglob("*"))
    for value in ({"path": path} | meta, [{"value": {"path": path} | meta}]):
        assert visitor.join("take_voice", value).status_code == 404
    assert set(served.server.root.rglob("*")) == before  # Gradio would have copied or fetched it


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"session_hash": 1}'])
def test_calls_that_are_none_are_refused(visitor, body):
    answer = visitor.http.post("/gradio_api/queue/join", content=body)
    assert (answer.status_code, answer.json()) == (400, {"detail": "not a call of this page"})


def test_another_visitor_neither_reads_nor_joins_a_session(owner, visitor):
    query = {"session_hash": owner.session_hash}
    assert visitor.http.get("/gradio_api/queue/data", params=query).status_code == 404
    visitor.session_hash = owner.session_hash
    assert visitor.join("show").status_code == 404


def test_visitors_who_send_the_same_file_have_it_each_for_themselves(served, new_visitor, tmp_path):
    film = make_film(tmp_path / "same.mp4")
    visitors = [new_visitor() for _ in range(4)]
    uploads = [visitor.uploaded(film) for visitor in visitors]
    assert len({upload["path"] for upload in uploads}) == len(visitors)
    for visitor, upload in zip(visitors, uploads, strict=True):
        (shown,) = visitor.call("take_film", upload)
        assert text_of(shown).startswith("same.mp4: 2.00 s")
        visitor.call("take_film", None)
    assert not list(served.server.root.rglob("same.mp4"))


def test_equal_files_that_arrive_at_the_same_time_are_all_kept(tmp_path):
    store = Uploads(tmp_path / "uploads")
    stored = store.root / "digest" / "film.mp4"
    stored.parent.mkdir()
    inboxes = [store.make_inbox() for _ in range(2)]
    with contextlib.ExitStack() as receiving:
        for _ in inboxes:
            receiving.enter_context(store.receiving(8))
            stored.write_bytes(b"the same")
        with store.receiving(8):  # another is done first
            pass
        paths = [store.hand_over(stored, inbox) for inbox in inboxes]
    assert not stored.parent.exists()
    assert [path.read_bytes() for path in paths] == [b"the same"] * 2


def test_a_typed_script_is_never_a_path(served, visitor, tmp_path):
    visitor.call("take_film", visitor.uploaded(make_film(tmp_path / "film.mp4")))
    outputs = visitor.call("generate", *request("/etc/passwd"))
    player = visitor.http.get("/" + re.search(r'src="([^"]+)"', outputs[1])[1]).json()
    assert "root" not in player["words"][0]["text"]
    assert player["words"][0]["text"].split()[-1] == "passwd"


@pytest.mark.parametrize(
    "path",
    [
        *("/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/file=http://example.com/", "/monitoring"),
        *(
            "/gradio_api/run/predict",
            "/gradio_api/call/x",
            "/gradio_api/vibe-code",
            "/gradio_api/runs",
            "/docs",
        ),
        *("/openapi.json", "/gradio_api/openapi.json", "/gradio_api/component_server"),
    ],
)
def test_routes_that_the_page_does_not_use_do_not_exist(visitor, path):
    assert visitor.http.get(path).status_code == 404
    assert visitor.http.post(path, json={}).status_code == 404


def test_the_cookie_cannot_be_read_by_scripts_and_the_browser_asks_no_other_host(served):
    answer = httpx.get(served.address)
    # Named for the port: two servers of one machine would otherwise overwrite each other's.
    port = served.address.rsplit(":", 1)[1]
    cookie = rf"dualdub-{port}=[\w-]{{43}}; HttpOnly; SameSite=Lax; Path=/"
    assert re.fullmatch(cookie, answer.headers["set-cookie"])
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert httpx.post(f"{served.address}/gradio_api/upload", files={"files": ("x", b"x")}).status_code == 403


def test_with_a_password_nothing_is_reached_without_it(checkpoint, tmp_path):
    login = make_login("0.0.0.0", "open sesame", None)
    with serving(checkpoint, Limits(), login) as running:
        stranger = httpx.Client(base_url=running.address)
        stranger.get("/")
        for answer in (
            stranger.get("/config"),
            stranger.post("/gradio_api/upload", files={"files": ("x.mp4", b"x")}),
            stranger.post(
                "/gradio_api/queue/join", json={"data": [None], "fn_index": 0, "session_hash": "s"}
            ),
        ):
            assert answer.status_code == 401
        assert stranger.post("/login", data={"username": "a", "password": "wrong"}).status_code == 400
        known = running.visitor(("anybody", "open sesame"))
        (shown,) = known.call("take_film", known.uploaded(make_film(tmp_path / "film.mp4")))
        assert text_of(shown).startswith("film.mp4: 2.00 s")


def test_file_names_are_quoted_in_the_page(visitor, tmp_path):
    film = make_film(tmp_path / "a <b>bold<i> & 'film'.mp4", num_frames=125)
    (shown,) = visitor.call("take_film", visitor.uploaded(film))
    assert "<b>" not in shown
    outputs = visitor.call("generate", *request("<img src=x onerror=alert(1)> lay blue"))
    assert outputs[1] is not None, outputs[0]
    assert "<img" not in "".join(outputs[:3])
    for link in re.findall(r'href="([^"]+)"', outputs[2]):
        assert visitor.http.get("/" + link.replace("&amp;", "&")).status_code == 200
        assert urllib.parse.urlsplit(link).scheme == ""
