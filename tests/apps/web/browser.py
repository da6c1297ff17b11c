"""Drives the page in a real browser, with the bundled model: `make browser-test`.

Uploads, generates, plays, mutes, selects a region and redoes it, chooses a take, downloads; then bad uploads,
a second visitor, keyboard and phone. Leaves screenshots. Needs the extra `dev`, `pip install playwright`, and
Debian's `chromium` (or another Chromium: --chromium PATH). Not a part of CI.

    .venv/bin/python -m tests.apps.web.browser --out out/browser
"""

import argparse
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.films import make_film, make_sound_only

_DEMO = pathlib.Path(__file__).parents[3] / "dualdub_jax" / "assets" / "demo"
_DESKTOP = {"width": 1280, "height": 900}
_PHONE = {"width": 390, "height": 844}
# As root, in containers, there is no sandbox; the microphone is a machine that beeps.
_CHROMIUM = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
_GENERATED_MS = 240_000
_SHOWN_MS = 20_000


@contextlib.contextmanager
def running_page(*options: str) -> Iterator[str]:
    """`dualdub web` on a free port; yields its address."""
    command = [sys.executable, "-m", "dualdub_jax.apps.cli", "web", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                if found := re.search(r"http://\S+", line):
                    break
            else:
                sys.exit("dualdub web did not start")
            yield found[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)
    assert process.returncode == 130, process.returncode


class Checks:
    """The checks; each prints its name when it has passed."""

    def __init__(self, browser: Browser, address: str, out: pathlib.Path, films: pathlib.Path) -> None:
        self.browser, self.address, self.out, self.films = browser, address, out, films
        self.foreign: list[str] = []
        self.errors: list[str] = []

    def open(self, viewport: dict[str, int], **options: object) -> Page:
        """A page of a new visitor."""
        page = self.browser.new_context(viewport=viewport, accept_downloads=True, **options).new_page()
        page.on("request", self._note_request)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("response", lambda answer: answer.status >= 500 and self.errors.append(answer.url))
        page.goto(self.address)
        expect(page.locator("#generate")).to_be_visible(timeout=_SHOWN_MS)
        return page

    def _note_request(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.foreign.append(request.url)

    def shot(self, page: Page, name: str) -> None:
        page.screenshot(path=self.out / f"{name}.png", full_page=True)

    def upload(self, page: Page, index: int, path: pathlib.Path) -> None:
        """Gives a file to the film (0), the script (1) or the voice (2)."""
        page.locator("input[type=file]").nth(index).set_input_files(path)

    def give_inputs(self, page: Page) -> None:
        self.upload(page, 0, _DEMO / "clip.mp4")
        expect(page.locator("#film-facts")).to_contain_text("clip.mp4: 3.60 s", timeout=_SHOWN_MS)
        page.get_by_label("Script: the words").fill((_DEMO / "script.txt").read_text())
        self.upload(page, 1, _DEMO / "voice.wav")

    def generate(self, page: Page) -> None:
        page.locator("#generate").click()
        expect(page.locator("#status")).to_contain_text("Done.", timeout=_GENERATED_MS)
        expect(page.locator("dualdub-player video")).to_be_visible(timeout=_SHOWN_MS)

    # ---- the checks

    def films_are_dubbed(self) -> Page:
        page = self.open(_DESKTOP)
        page.get_by_role("button", name="Settings").click()
        expect(page.get_by_label("Loudness")).to_be_visible()
        self.shot(page, "1_empty")
        self.give_inputs(page)
        page.locator("#generate").click()
        expect(page.locator("#status progress")).to_be_visible(timeout=_SHOWN_MS)
        expect(page.locator("#cancel")).to_be_visible()
        self.shot(page, "2_running")
        expect(page.locator("#status")).to_contain_text("Done.", timeout=_GENERATED_MS)
        expect(page.locator("dualdub-player .wave svg")).to_have_count(2, timeout=_SHOWN_MS)
        self.shot(page, "3_done")
        return page

    def film_plays_with_its_tracks(self, page: Page) -> None:
        player = page.locator("dualdub-player")
        player.get_by_role("button", name="Play", exact=True).click()
        page.wait_for_timeout(1500)
        times = player.evaluate("p => [p.video, ...Object.values(p.sounds)].map((m) => m.currentTime)")
        assert times[0] > 0.5 and max(times) - min(times) < 0.1, times
        assert audible(player) == ["video"], audible(player)
        player.get_by_role("button", name="Mute Background").click()
        assert audible(player) == ["speech"]
        expect(player.locator(".hearing")).to_have_text(re.compile("speech$"))
        player.get_by_role("button", name="Mute Background").click()
        player.get_by_role("button", name="Solo Background").click()
        assert audible(player) == ["background"]
        player.get_by_role("button", name="Solo Background").click()
        player.get_by_role("button", name="Pause").click()
        assert player.evaluate("p => p.video.paused && Object.values(p.sounds).every((s) => s.paused)")

    def region_is_selected_by_mouse_and_keyboard(self, page: Page) -> None:
        player = page.locator("dualdub-player")
        surface = player.get_by_role("slider")
        box = surface.bounding_box()
        page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 100, steps=5)
        page.mouse.up()
        region = player.evaluate("p => p.region")
        assert abs(region["start"] - 0.9) < 0.05 and abs(region["end"] - 1.8) < 0.05, region
        surface.focus()
        page.keyboard.press("Home")
        for _ in range(5):
            page.keyboard.press("ArrowRight")
        assert abs(player.evaluate("p => p.video.currentTime") - 0.5) < 0.02
        player.get_by_role("button", name="Region from here").click()
        assert player.evaluate("p => p.region.start") == 0.5
        expect(page.locator("#region-start textarea, #region-start input")).to_have_value("0.5")

    def a_region_is_redone_and_a_take_chosen(self, page: Page) -> None:
        player = page.locator("dualdub-player")
        page.locator("#region-start textarea, #region-start input").fill("1")
        page.locator("#region-end textarea, #region-end input").fill("2.2")
        page.locator("#region-end textarea, #region-end input").press("Tab")
        page.wait_for_function("() => document.querySelector('dualdub-player').region?.end === 2.2")
        page.locator("#redo").click()
        expect(player.locator(".takes li")).to_have_count(2, timeout=_GENERATED_MS)
        page.wait_for_timeout(500)
        assert player.evaluate("p => p.region") == {"start": 1, "end": 2.2}  # to be redone again
        self.shot(page, "4_takes")
        player.get_by_role("button", name="Listen").first.click()
        page.wait_for_timeout(800)
        assert audible(player) == ["mix"] and not player.evaluate("p => p.video.paused")
        expect(player.locator(".hearing")).to_contain_text("Take 1, mix")
        player.get_by_role("button", name="Use this").click()
        expect(player.locator(".takes li").first.get_by_role("button", name="In use")).to_be_visible(
            timeout=_GENERATED_MS
        )

    def files_are_downloaded(self, page: Page) -> None:
        for name in (
            "clip.dubbed.mp4",
            "speech.wav",
            "background.wav",
            "mix.wav",
            "clip.receipt.json",
            "clip.srt",
        ):
            with page.expect_download() as download:
                page.locator("#downloads a", has_text=name).click()
            path = self.out / name
            download.value.save_as(path)
            assert path.stat().st_size > 40
            path.unlink()

    def last_film_is_there_after_a_reload(self, page: Page) -> None:
        page.reload()
        expect(page.locator("dualdub-player video")).to_be_visible(timeout=_SHOWN_MS)

    def bad_uploads_are_explained(self) -> None:
        page = self.open(_DESKTOP)
        bad = {
            "letter.mp4": ("letter.mp4: not a media file", lambda p: p.write_text("Dear all,\n" * 99)),
            "song.mp4": ("song.mp4: no video stream", make_sound_only),
            "empty.mp4": ("empty.mp4: the file is empty", lambda p: p.touch()),
            "three_hours.mp4": (
                "three_hours.mp4: is 3:03:20 long",
                lambda p: make_film(p, num_frames=11, rate="1/1000"),
            ),
        }
        for name, (message, make) in bad.items():
            make(self.films / name)
            self.upload(page, 0, self.films / name)
            expect(page.locator("#film-facts [role=alert]")).to_contain_text(message, timeout=_SHOWN_MS)
            self.shot(page, "5_bad_upload")
            page.get_by_role("button", name="Clear").first.click()
        (self.films / "huge.mp4").write_bytes(bytes(30_000_000))
        self.upload(page, 0, self.films / "huge.mp4")
        expect(page.get_by_text(re.compile("maximum allowed size|at most 20 MB can be sent"))).to_be_visible()
        (self.films / "noise.srt").write_bytes(bytes(range(256)) * 9)
        self.upload(page, 1, self.films / "noise.srt")
        expect(page.locator("#script-error")).to_contain_text("noise.srt: is a binary file")
        page.locator("#generate").click()
        expect(page.locator("#status")).to_contain_text("no film yet")
        page.context.close()

    def two_visitors_wait_for_each_other(self) -> None:
        pages = [self.open(_DESKTOP), self.open(_DESKTOP)]
        for page in pages:
            self.give_inputs(page)
        pages[0].locator("#generate").click()
        expect(pages[0].locator("#status progress")).to_be_visible(timeout=_SHOWN_MS)
        pages[1].locator("#generate").click()
        expect(pages[1].locator("#status")).to_contain_text("1 film is before yours", timeout=_SHOWN_MS)
        self.shot(pages[1], "6_waiting")
        pages[1].locator("#cancel").click()
        expect(pages[1].locator("#status")).to_contain_text("Cancelled.", timeout=_SHOWN_MS)
        expect(pages[0].locator("#status")).to_contain_text("Done.", timeout=_GENERATED_MS)
        for page in pages:
            page.context.close()

    def a_voice_is_recorded(self) -> None:
        page = self.open(_DESKTOP, permissions=["microphone"])
        voice = page.locator("#voice")
        voice.get_by_label("Record audio").click()
        voice.get_by_role("button", name="Record", exact=True).click()
        page.wait_for_timeout(2500)
        voice.get_by_role("button", name="Stop").click()
        with page.expect_response(lambda answer: "/upload" in answer.url) as answer:
            pass
        assert answer.value.ok
        expect(page.locator("#voice-error [role=alert]")).to_have_count(0)
        page.context.close()

    def a_phone_shows_everything(self) -> None:
        page = self.open(_PHONE, device_scale_factor=2, is_mobile=True, has_touch=True)
        self.give_inputs(page)
        self.generate(page)
        page.wait_for_timeout(500)
        for name, scheme in (("7_phone", "light"), ("8_phone_dark", "dark")):
            page.emulate_media(color_scheme=scheme)
            page.reload()
            expect(page.locator("dualdub-player .wave svg")).to_have_count(2, timeout=_SHOWN_MS)
            width, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert width <= window, f"the page is {width} wide on {window}"
            self.shot(page, name)
        page.context.close()


def audible(player) -> list[str]:
    """Names of the player's media that are not muted."""
    return player.evaluate(
        "p => Object.entries({video: p.video, ...p.sounds}).filter(([, m]) => !m.muted).map(([n]) => n)"
    )


def main() -> None:
    """Runs all checks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/browser"))
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--address", help="a server that runs (default: one is started)")
    args = parser.parse_args()
    if not os.access(args.chromium, os.X_OK):
        sys.exit(f"{args.chromium}: no such program; apt install chromium, or give --chromium PATH")
    args.out.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.nullcontext(args.address)
        if args.address
        else running_page("--max-upload", "20") as address,
        tempfile.TemporaryDirectory() as films,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=args.chromium, args=_CHROMIUM)
        checks = Checks(browser, address, args.out, pathlib.Path(films))
        page = checks.films_are_dubbed()
        for check in (
            checks.film_plays_with_its_tracks,
            checks.region_is_selected_by_mouse_and_keyboard,
            checks.a_region_is_redone_and_a_take_chosen,
            checks.files_are_downloaded,
            checks.last_film_is_there_after_a_reload,
        ):
            check(page)
            print(f"passed: {check.__name__}", flush=True)
        page.context.close()
        for check in (
            checks.bad_uploads_are_explained,
            checks.a_voice_is_recorded,
            checks.two_visitors_wait_for_each_other,
            checks.a_phone_shows_everything,
        ):
            check()
            print(f"passed: {check.__name__}", flush=True)
        browser.close()
    assert not checks.foreign, f"requests left this machine: {checks.foreign}"
    assert not checks.errors, checks.errors
    print(f"all passed; no request has left {address}; screenshots in {args.out}")


if __name__ == "__main__":
    main()
