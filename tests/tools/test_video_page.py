"""The page of a video, in Chromium: it plays, is moved by mouse and keys, shows attention, and fetches nothing else."""

import json
import shutil
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from dataset.extraction.video import read_sound
from model import Event, Prediction
from model.prediction import events_of
from tests.videos import grey, silence, tone, write_video
from tools.predict.browser_video import playable
from tools.predict.event_files import as_tsv, as_vtt
from tools.predict.video_page import Found, chosen_classes, loudness, page_data, write_index, write_video_page

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NAMES = ["Horn", "<script>fail()</script> & ‮钟", "Bark", "Bell", "Truck", "Speech"]
THRESHOLD = 0.7
WARNING = "This network DOES NOT LOCALIZE EVENTS: <b>nowhere</b>."


def made_up(classes: np.ndarray, side: int = 3) -> Prediction:
    """A prediction of classes (t,) for ``NAMES``; attention is in the first region, then in the next, and so on."""
    t, k = len(classes), len(NAMES)
    event = np.where(classes < k, 0.9, 0.2)
    probability = np.full((t, k), 0.04)
    probability[np.arange(t), np.minimum(classes, k - 1)] = 0.8
    attention = np.eye(side * side)[np.arange(t) % (side * side)].reshape(t, side, side).astype(np.float32)
    observation = {"visual_attention": attention, "audio_guided_attention": attention[:, ::-1]}
    observation |= {f"gate_{value}": np.full(t, value, np.float32) for value in (0.2, 0.5, 0.8)}
    return Prediction(events_of(classes, event * 0.8, NAMES), classes, event, probability, observation)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A page of 12 seconds with events of two names, truth and warning, beside a folder with its film."""
    folder = tmp_path_factory.mktemp("a folder # of 100%")
    (folder / "films").mkdir()
    film = write_video(folder / "films/what? <i>#1.mp4", 12, lambda time: grey(20 * int(time)), tone(300, 2, 3, 4, 8))
    prediction = made_up(np.array([6, 6, 0, 0, 0, 6, 6, 6, 1, 6, 6, 6]))
    truth = events_of(np.array([6, 6, 6, 0, 0, 0, 6, 6, 6, 6, 6, 6]), np.ones(12), NAMES)
    found = Found(film, read_sound(film), prediction, NAMES, THRESHOLD, WARNING, truth)
    write_video_page(folder / "page.html", found)
    write_video_page(folder / "embedded.html", found._replace(warning=None, truth=None), embed=True)
    return folder


# ---------------------------------------------------------------------------------------------------- files


def test_tsv_has_a_line_per_event_with_file_and_seconds_as_dcase_has_it(predicted):
    assert (predicted / "events.tsv").read_text() == (
        "filename\tonset\toffset\tevent_label\nnew.mp4\t6.0\t10.0\tHorn\n"
    )
    text = as_tsv([("a.mp4", [Event('the "Horn"', 0, 3, 0.9)]), ("b.mp4", []), ("c.mp4", [Event("钟", 1, 2, 0.8)])])
    assert text.splitlines()[1:] == ['a.mp4\t0.0\t3.0\t"the ""Horn"""', "c.mp4\t1.0\t2.0\t钟"]


def test_vtt_has_a_cue_per_event_and_names_stay_text(predicted):
    assert (predicted / "new.vtt").read_text().startswith("WEBVTT\n\n00:00:06.000 --> 00:00:10.000\nHorn 0.")
    text = as_vtt([Event("a --> <b> & c", 3599, 3661, 0.875)])
    assert text == "WEBVTT\n\n00:59:59.000 --> 01:01:01.000\na --&gt; &lt;b&gt; &amp; c 0.88\n"


def test_films_that_browsers_may_not_play_get_a_copy_which_is_said_in_a_line(tmp_path, caplog):
    caplog.set_level("INFO")
    codecs = {
        "plain.mp4": {},
        "camera.mov": {},
        "web.webm": {"picture_codec": "libvpx-vp9", "sound_codec": "libopus", "sound_rate": 48000},
        "old.avi": {"picture_codec": "mpeg4", "sound_codec": "mp3"},
        "container.mkv": {},
        "phone.mp4": {"picture_codec": "libx265"},
        "broadcast.ts": {"picture_codec": "mpeg2video", "sound_codec": "mp2", "frame_rate": 25},
        "suffix.avi": {"options": {"f": "mp4"}},
    }
    copied = []
    for name, options in codecs.items():
        form = options.pop("options", {}).get("f")
        video = write_video(
            tmp_path / f"film.{form}" if form else tmp_path / name, 1, lambda _: grey(90), silence, **options
        )
        video = video.rename(tmp_path / name)
        (tmp_path / "pages").mkdir(exist_ok=True)
        film = playable(video, tmp_path / "pages")
        if film != video:
            copied.append(name)
            assert film == tmp_path / "pages" / f"{name}.mp4"
            assert playable(film, tmp_path) == film
    assert copied == ["old.avi", "container.mkv", "phone.mp4", "broadcast.ts", "suffix.avi"]
    said = [record.getMessage() for record in caplog.records if "browsers" in record.getMessage()]
    assert len(said) == len(copied)
    assert said[2] == "browsers may not play phone.mp4 (hevc and aac): its page plays a copy in H.264 and AAC"


def test_classes_shown_are_those_with_most_seconds_of_events_then_the_most_probable_ones():
    prediction = made_up(np.array([6, 2, 2, 6, 0, 6]))
    prediction.class_probability[:, 4] = 0.5
    found = Found(Path("film.mp4"), np.zeros(6 * 16000), prediction, NAMES, THRESHOLD)
    joint = prediction.event_probability[:, None] * prediction.class_probability
    assert chosen_classes(found, joint)[:3] == [2, 0, 4]
    data = page_data(found)
    assert [each["name"] for each in data["classes"]][:3] == ["Bark", "Horn", "Truck"]
    assert data["loudness"] is None  # silent
    blind = page_data(found._replace(prediction=prediction._replace(observation={})))
    assert (blind["attention"], blind["gates"]) == ({}, [])


def test_loudness_is_in_decibels_below_the_loudest():
    sound = np.concatenate([np.full(16000, level) for level in (1, 0.1, 0.0005)])
    levels = loudness(sound, 4)  # the last second has no sound
    np.testing.assert_allclose(levels[::10], [255, 255 * 2 / 3, 0, 0], atol=1e-3)


def test_data_of_an_hour_takes_less_than_a_megabyte():
    """The rest of the page is the picture of --plot, at most 32 inches high."""
    random, seconds = np.random.default_rng(0), 3600
    prediction = made_up(np.where(random.random(seconds) < 0.4, random.integers(0, 6, seconds), 6))
    maps, gates = random.random((2, seconds, 7, 7), np.float32), random.random((3, seconds), np.float32)
    prediction = prediction._replace(observation=dict(zip("abcde", [*maps, *gates], strict=True)))
    sound = np.tile(random.standard_normal(16000, np.float32), seconds)
    data = json.dumps(page_data(Found(Path("film.mp4"), sound, prediction, NAMES, THRESHOLD)))
    assert len(prediction.events) > 1000
    assert len(data) < 1e6


# -------------------------------------------------------------------------------------------------------- browser


class Browser:
    """A Chromium that opens pages from disk, and what they log and ask for."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def open(self, page: Path | str, width: int = 1400) -> None:
        device = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", device)
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(page.as_uri() if isinstance(page, Path) else page)

    def js(self, expression: str):
        return self.driver.execute_script(f"return {expression}")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true; fails after a while."""
        end = time.monotonic() + 30
        while not self.js(expression):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        """The text of an element, without the marks that isolate names of letters from right to left."""
        return self.find(selector).text.replace("\u2068", "").replace("\u2069", "")

    def keys(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def time(self) -> float:
        """Where the video is, or is on its way to."""
        return self.js("now()")

    def at(self) -> float:
        """Where the line is, in percent of the axis that is shown."""
        return float(self.js("document.getElementById('timeline').style.getPropertyValue('--at')").rstrip("%"))

    def over(self, lane: str, second: float):
        """Actions that begin with the mouse over a lane at a time."""
        from selenium.webdriver import ActionChains

        plot = self.find(f"{lane} .plot")
        place = self.js(f"(({second}) - view.start) / (view.end - view.start) - 0.5")
        move = ActionChains(self.driver, duration=0).move_to_element_with_offset
        return move(plot, round(place * plot.size["width"]), 0)

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def requests(self) -> set[str]:
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return {each["request"]["url"] for each in sent if not each["request"]["url"].startswith(("data:", "blob:"))}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (CHROMIUM and DRIVER):
        pytest.skip("Chromium and its driver are not installed (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", profile, *quiet):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield Browser(driver)
    driver.quit()


@pytest.fixture
def page(browser, made) -> Browser:
    """The browser with the made-up page, its film loaded."""
    browser.open(made / "page.html")
    browser.wait("document.getElementById('video').readyState >= 2")
    return browser


@pytest.mark.slow
def test_page_of_a_prediction_plays_from_disk_and_asks_for_nothing_but_the_film(browser, predicted, clip):
    browser.open(predicted / "new.html")
    browser.wait("video.readyState >= 2")
    assert browser.js("video.duration") == pytest.approx(12, abs=0.2)
    before = browser.at()
    browser.find("#play").click()
    browser.wait("video.currentTime > 0.5")
    assert browser.at() > before + 100 * 0.4 / 12
    browser.find("#play").click()
    assert browser.js("video.paused")
    assert browser.errors() == []
    assert browser.requests() == {(predicted / "new.html").as_uri(), clip.as_uri()}
    browser.over(".events", 7.5).click().perform()  # in the middle of the event's bar
    browser.wait("video.currentTime === 6")
    assert browser.text("#now").startswith("Horn 0.")
    # The attention of a real forward pass: a 7 x 7 map.
    browser.find(".choice label:nth-child(3)").click()
    assert browser.js("[attention.width, attention.height]") == [7, 7]


@pytest.mark.slow
def test_index_links_to_the_pages_with_their_events(browser, made):
    events = [Event("Horn", 2, 5, 0.9)]
    write_index(made / "index.html", [("what? <i>#1.mp4", 12, events, made / "page.html")])
    browser.open(made / "index.html", 390)
    assert browser.text("a").split("\n") == ["what? <i>#1.mp4 0:12 · Horn"]
    browser.find("a").click()
    browser.wait("document.title === 'what? <i>#1.mp4'")


@pytest.mark.slow
def test_names_stay_text_and_the_warning_is_above_the_film(page):
    """An event called <script>, one in another script, a file name with every special letter."""
    assert NAMES[1] in page.text("#list")
    page.over(".events", 8.5).perform()
    assert page.text("#tip") == f"0:08 {NAMES[1]}, 0:08 to 0:09, probability 0.72"
    assert page.text(".notice") == WARNING
    assert page.text("h1") == "what? <i>#1.mp4"
    assert page.js("document.querySelectorAll('script').length") == 2
    assert page.js("document.querySelectorAll('header b, #list i, h1 i').length") == 0
    words = "cue.getCueAsHTML().textContent.slice(1)"
    cues = page.js(f"[...video.textTracks[0].cues].map(cue => [cue.startTime, cue.endTime, {words}])")
    assert cues == [[2, 5, "Horn\u2069 0.72"], [8, 9, f"{NAMES[1]}\u2069 0.72"]]
    page.find("#subtitles").click()
    assert page.js("video.textTracks[0].mode") == "showing"
    assert page.errors() == []


@pytest.mark.slow
def test_mouse_seeks_tells_and_zooms(page):
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    page.over(".events", 8.5).click().perform()
    assert page.time() == 8
    for lane, second, words in (
        (".probability", 2.5, "0:02 event probability: 0.90"),
        (".class", 3.5, "0:03 Horn: 0.72"),
        (".events", 3.5, "0:03 Horn, 0:02 to 0:05, probability 0.72"),
        (".truth", 0.5, "0:00 truth: background"),
        (".loudness", 1.5, "0:01 sound: silent"),
    ):
        page.over(lane, second).perform()
        assert page.text("#tip") == words
    page.over(".probability", 10.5).click().perform()
    assert page.time() == pytest.approx(10.5, abs=0.05)
    distance = round(page.js("axis.clientWidth / 4"))  # 3 s
    page.over(".probability", 1.5).click_and_hold().move_by_offset(distance, 0).release().perform()
    assert page.time() == pytest.approx(4.5, abs=0.05)

    whole = page.js("[view.start, view.end]")
    plot = page.find(".probability .plot")
    page.over(".probability", 6).scroll_from_origin(ScrollOrigin.from_element(plot), 0, -200).perform()
    start, end = page.js("[view.start, view.end]")
    assert 0 < start < 6 < end < 12
    assert end - start < 7
    assert (start + end) / 2 == pytest.approx(6, abs=0.1)  # stays under the mouse
    page.over(".probability", 6).double_click().perform()
    assert page.js("[view.start, view.end]") == whole == [0, 12]


@pytest.mark.slow
def test_two_fingers_zoom_and_one_seeks(page):
    left, top, width = page.js(
        "(box => [box.left, box.top, box.width])(document.querySelector('.events .plot').getBoundingClientRect())"
    )

    def touch(kind: str, *places: float) -> None:
        points = [{"x": left + place * width, "y": top + 5, "id": number} for number, place in enumerate(places)]
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.45)
    touch("touchStart", 0.45, 0.55)
    touch("touchMove", 0.4, 0.6)
    touch("touchEnd")
    start, end = page.js("[view.start, view.end]")
    assert end - start == pytest.approx(6, abs=0.2)
    assert (start + end) / 2 == pytest.approx(6, abs=0.1)
    touch("touchStart", 0.4)
    touch("touchEnd")
    assert page.time() == pytest.approx(start + 0.4 * (end - start), abs=0.1)


@pytest.mark.slow
def test_keys_alone_are_enough(page):
    """Every control can be reached with Tab, and has a name for a screen reader."""
    from selenium.webdriver import Keys

    reached = []
    while True:
        page.keys(Keys.TAB)
        element = page.driver.switch_to.active_element
        if element.tag_name == "body":
            break
        reached.append((element.aria_role, element.accessible_name))
    roles = [role for role, _ in reached]
    assert all(name for _, name in reached)
    assert {"slider", "radio", "button"} <= set(roles)
    assert ("button", "Play") in reached
    assert ("slider", "Time") in reached
    page.driver.execute_script("document.activeElement.blur()")
    page.keys("n")
    assert page.time() == 2
    page.keys("n")
    assert page.time() == 8
    page.keys("p")
    assert page.time() == 2
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert page.time() == 3
    page.keys(" ")
    page.wait("video.currentTime > 3.1")
    page.keys(" ")
    assert page.js("video.paused")
    page.driver.execute_script("slider.focus()")
    page.keys(Keys.END)
    assert page.time() > 11.5
    page.keys(Keys.HOME)
    assert page.time() == 0
    page.keys(Keys.PAGE_UP)
    assert page.find("#slider").get_attribute("aria-valuetext") == "0:10, no event"
    page.keys("+")
    assert page.js("view.end - view.start") == 6
    page.keys("0")
    assert page.js("view.end - view.start") == 12


@pytest.mark.slow
def test_attention_of_the_current_second_lies_over_the_picture(page):
    page.keys("n")
    assert not page.find("#attention").is_displayed()
    for name, region in (
        ("visual", [2, 0]),
        ("audio guided", [2, 2]),
    ):  # the third region, of the second from the bottom
        page.driver.execute_script("document.querySelector(`[value='${arguments[0]} attention']`).click()", name)
        assert page.find("#attention").is_displayed()
        colour = "[...attention.getContext('2d').getImageData({}, {}, 1, 1).data]"
        assert page.js(colour.format(*region)) == [253, 231, 36, 255]  # the end of viridis
        assert page.js(colour.format(1, 1)) == [68, 1, 84, 255]  # its beginning
        assert page.text("#scale").split() == ["0", "9.0,", "even:", "1"]
        shown, film = (
            page.js(f"(box => [box.left, box.top, box.right, box.bottom])({name}.getBoundingClientRect())")
            for name in ("attention", "video")
        )
        assert shown[2] - shown[0] == pytest.approx(shown[3] - shown[1])  # the film is square, the element is wide
        assert shown[1::2] == pytest.approx(film[1::2])
        assert shown[0] + shown[2] == pytest.approx(film[0] + film[2])


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_cut_off_on_a_phone_or_a_desktop(page, made, width):
    page.open(made / "page.html", width)
    page.driver.execute_script("document.querySelector('details').open = true")
    page.wait("video.readyState >= 2")
    assert page.js("document.documentElement.scrollWidth") <= width
    outside = """[...document.querySelectorAll('body *')]
      .filter(element => !element.closest('.plot, #axis, svg, [hidden]'))
      .filter(element => (box => box.right > innerWidth + 0.5 || box.left < 0)(element.getBoundingClientRect()))
      .map(element => element.outerHTML.slice(0, 80))"""
    assert page.js(outside) == []
    cut = """[...document.querySelectorAll('h1, h2, p, button, label, .choice span, time, b')]
      .filter(element => element.scrollWidth > element.clientWidth + 1 && element.clientWidth)
      .map(element => element.outerHTML.slice(0, 80))"""
    assert page.js(cut) == []
    smallest = (
        "Math.min(...[...document.querySelectorAll('main *')].map(each => parseFloat(getComputedStyle(each).fontSize)))"
    )
    assert page.js(smallest) >= 13


@pytest.mark.slow
def test_page_whose_film_was_moved_says_so_and_shows_the_rest(browser, made, tmp_path):
    browser.open(Path(shutil.copy(made / "page.html", tmp_path)))
    browser.wait("!missing.hidden")
    assert "films/what? <i>#1.mp4" in browser.text("#missing")
    browser.over(".events", 4.5).click().perform()
    assert browser.text("#now") == "Horn 0.72"


@pytest.mark.slow
def test_embedded_film_plays_without_a_file_beside_the_page(browser, made, tmp_path):
    page = Path(shutil.copy(made / "embedded.html", tmp_path))
    browser.open(page)
    browser.wait("video.readyState >= 2")
    browser.keys("n")
    browser.wait("video.currentTime === 2 && !video.seeking")
    assert browser.errors() == []
    assert browser.requests() == {page.as_uri()}


@pytest.mark.slow
def test_without_javascript_the_page_is_the_picture_and_the_film(browser, made):
    try:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.open(made / "page.html")
        browser.wait("document.querySelector('noscript img').complete")
        assert browser.js("document.querySelector('noscript img').naturalWidth") > 1000
        assert browser.js("document.getElementById('video').controls")
        assert not browser.find("#controls").is_displayed()
        assert "0:02 \N{EN DASH} 0:05" in browser.text("#list")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.slow
def test_browser_shows_the_vtt_as_a_track(browser, predicted):
    """From a server: from disk, browsers refuse tracks."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    video = '<video src="new.mp4"><track id="track" src="new.vtt" default></video>'
    (predicted / "track.html").write_text(f'<!doctype html><link rel="icon" href="data:,">{video}')
    try:
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=predicted)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            browser.open(f"http://127.0.0.1:{server.server_port}/track.html")
            browser.wait("track.readyState === 2")
            cues = browser.js("[...track.track.cues].map(cue => [cue.startTime, cue.endTime, cue.text.slice(0, 6)])")
            server.shutdown()
    finally:
        (predicted / "track.html").unlink()
    assert cues == [[6, 10, "Horn 0"]]
    assert browser.errors() == []
