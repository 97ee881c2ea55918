#!/usr/bin/env python3
"""The dashboard in Chromium, before a running server. Part of tests/serve/run.sh.

Usage: dashboard_test.py --screenshot     writes docs/images/dashboard.png
"""

import pathlib
import re
import sys
import threading

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/serve"), str(ROOT / "tests/web")]

from harness import PATIENCE, Server, run_atoll, until  # noqa: E402
from watched import CHROMIUM, Watched  # noqa: E402

PROMPTS = ("In the beginning God created", "ROMEO:", "床前明月光，")


@pytest.fixture(scope="module")
def server():
    with Server() as running:
        for prompt in PROMPTS:
            assert running.complete(prompt, max_tokens=40, ignore_eos=True).status_code == 200
        running.until_idle()
        yield running


def shown_latency(text):
    """In milliseconds."""
    value, unit = text.replace(",", "").split()
    return float(value) * (1000 if unit == "s" else 1)


def differences(seen, status):
    kv, prefix = status["kv"], status["prefix_cache"]
    expected = {
        "state": "Ready", "detail": status["description"], "model": "tiny",
        "description": status["system_fingerprint"], "running": "0", "waiting": "0",
        "tokens-total": f"{status['tokens']['generated']:,} tokens since start",
        "kv-note": f"{kv['pages_used']} used, {kv['pages_cached']} kept for later, of "
                   f"{kv['pages']} pages (25 MiB)",
        "prefix-note": f"{prefix['hits']} of {prefix['queries']}; 0 pages given up"}
    found = [(name, seen.at(f"#{name}").inner_text(), text) for name, text in expected.items()
             if seen.at(f"#{name}").inner_text() != text]
    for row in ("first_token", "inter_token", "request"):
        for column, name in enumerate(("p50", "p90", "p99")):
            text = seen.at(f"#{row} td").nth(column).inner_text()
            value = status["latency_ms"][row][name]
            if text == "–" or abs(shown_latency(text) - value) > max(0.06 * value, 0.006):
                found.append((row, name, text, value))
    return found


def test_figures_are_the_servers(browser, server):
    with Watched(browser, server.url) as seen:
        found = []

        def agrees():
            status = server.status()
            found[:] = differences(seen, status)
            # The numbers of all three requests, not those of a second ago.
            return not found and status["prefix_cache"]["queries"] >= status["tokens"]["prompt"]

        try:
            until("the page says what the server says", agrees, 20)
        except AssertionError as e:
            raise AssertionError(f"{e}: {found}") from None
        assert server.status()["tokens"]["generated"] >= 120


def test_throughput_rises_with_tokens(browser, server):
    with Watched(browser, server.url) as seen:
        expect(seen.at("#state")).to_have_text("Ready")
        server.complete(PROMPTS[0], max_tokens=200, ignore_eos=True)
        expect(seen.at("#spark-top")).to_have_text(re.compile(r"^[\d,.]+/s$"))
        until("the line has a length",
              lambda: "L" in seen.at("#spark-line").get_attribute("d"), 10)
        until("the rate is shown", lambda: float(
            seen.at("#tokens-rate").inner_text().replace(",", "")) > 0, 10)


class Cells:
    """What the heat map has to say of its cells, by the server's own numbers."""

    def __init__(self, server):
        said = server.http.get("/api/v1/experts").json()
        self.layers = {x["layer"]: x for x in said["layers"]}
        self.columns = said["experts_per_layer"]

    def told(self, layer, expert):
        rows, total = self.layers[layer]["experts"][expert], self.layers[layer]["tokens"]
        return f"Layer {layer}, expert {expert}: {rows:,} row{'' if rows == 1 else 's'}, " \
               f"{rows * self.columns / total:.2f}× the mean"

    def hottest(self):
        hot = max(self.layers.values(), key=lambda x: x["hottest_over_mean"])
        return f"layer {hot['layer']}, expert {hot['experts'].index(max(hot['experts']))},"


def until_told(server, seen, selector, text):
    """Waits until the page says what text(cells) says of the server's newest numbers."""
    until(f"{selector} agrees with the server",
          lambda: text(Cells(server)) in seen.at(selector).inner_text(), 10)


def test_the_heat_map_tells_each_cell_to_the_keyboard(browser, server):
    with Watched(browser, server.url) as seen:
        expect(seen.at("#hottest")).to_contain_text("Hottest")
        assert sorted(Cells(server).layers) == [1, 2, 3, 4]
        until_told(server, seen, "#hottest", Cells.hottest)
        for _ in range(20):
            seen.page.keyboard.press("Tab")
            if seen.page.evaluate("document.activeElement.id") == "heat":
                break
        until_told(server, seen, "#readout", lambda c: c.told(1, 0))
        for key, cell in (("ArrowRight", (1, 1)), ("ArrowDown", (2, 1)), ("ArrowLeft", (2, 0)),
                          ("End", (2, 31)), ("ArrowRight", (2, 31)), ("PageDown", (4, 31)),
                          ("ArrowDown", (4, 31)), ("Home", (4, 0)), ("ArrowUp", (3, 0))):
            seen.page.keyboard.press(key)
            until_told(server, seen, "#readout", lambda c, cell=cell: c.told(*cell))
        seen.page.keyboard.press("Tab")
        expect(seen.at("#readout")).not_to_contain_text("Layer")


def test_the_heat_map_tells_each_cell_to_the_pointer_and_by_colour(browser, server):
    with Watched(browser, server.url) as seen:
        expect(seen.at("#hottest")).to_contain_text("Hottest")
        until_told(server, seen, "#hottest", Cells.hottest)
        seen.at("#heat").scroll_into_view_if_needed()
        box = seen.at("#heat").bounding_box()
        cell = (box["width"] - 76) / 32

        def place(layer, expert):
            return 30 + cell * (expert + 0.5), 16 + 22 * (layer - 0.5)

        def brightness(layer, expert):
            return seen.page.evaluate(
                """([x, y]) => {
                  const heat = document.getElementById('heat');
                  const copy = new OffscreenCanvas(heat.width, heat.height);
                  const read = copy.getContext('2d', { willReadFrequently: true });
                  read.drawImage(heat, 0, 0);
                  const [red, green, blue] = read.getImageData(x, y, 1, 1).data;
                  return red + green + blue;
                }""", place(layer, expert))

        expect(seen.at("#tip")).to_be_hidden()
        x, y = place(2, 5)
        seen.page.mouse.move(box["x"] + x, box["y"] + y)
        until_told(server, seen, "#tip", lambda c: c.told(2, 5).replace(": ", "\n"))
        seen.page.mouse.move(5, 5)
        expect(seen.at("#tip")).to_be_hidden()
        # On a light page, more is darker.
        for layer, x in Cells(server).layers.items():
            order = sorted(range(32), key=lambda e, x=x: x["experts"][e])
            assert brightness(layer, order[-1]) < brightness(layer, order[0])


def test_the_hottest_experts_are_a_table_too(browser, server):
    with Watched(browser, server.url) as seen:
        expect(seen.at("#hottest")).to_contain_text("Hottest")
        seen.at("#as-table summary").click()
        expect(seen.at("#table-rows tr")).to_have_count(50)

        def agrees():
            layers = Cells(server).layers.values()
            ratios = sorted((32 * n / x["tokens"] for x in layers for n in x["experts"]),
                            reverse=True)[:50]
            return seen.at("#table-rows td:nth-child(3)").all_inner_texts() == [
                f"{r:.2f}×" for r in ratios]

        until("the table has the 50 hottest in their order", agrees, 10)
        expect(seen.at("#choice")).to_be_hidden()


def test_the_last_minute_counts_from_when_the_page_was_opened(browser, server):
    with Watched(browser, server.url) as seen:
        expect(seen.at("#hottest")).to_contain_text("Hottest")
        until_told(server, seen, "#hottest", Cells.hottest)
        seen.page.reload(wait_until="domcontentloaded")
        seen.at("#span-minute").click()
        expect(seen.at("#hottest")).to_contain_text("No rows yet")
        server.complete(PROMPTS[1], max_tokens=20, ignore_eos=True)
        expect(seen.at("#hottest")).to_contain_text("Hottest")


def test_a_live_request_is_shown_while_it_lives(browser, server):
    with Watched(browser, server.url) as seen:
        expect(seen.at("#live-empty")).to_be_visible()
        with httpx.stream("POST", f"{server.url}/v1/completions", timeout=60 * PATIENCE,
                          headers={"X-Request-Id": "<b>mine</b>"},
                          json={"prompt": PROMPTS[1], "max_tokens": 2000, "ignore_eos": True,
                                "n": 16, "stream": True}) as answer:
            chunks = answer.iter_text()
            next(chunks)
            row = seen.at("#live-rows tr")
            expect(row).to_have_count(1)
            shown = row.first.inner_text()
            own = server.status()["live"][0]
            assert own["id"] in shown and own["state"] == "generating"
            assert "generating" in shown and "streamed" in shown
            expect(seen.at("#running")).not_to_have_text("0")
        expect(seen.at("#live-empty")).to_be_visible()
        expect(seen.at("#live")).to_be_hidden()
        assert seen.at("#live-rows b").count() == 0
    server.until_idle()


def create_key(path, scope):
    made = run_atoll("key", "create", "--file", str(path), "--name", scope, "--scope", scope)
    assert made.returncode == 0, made.stderr
    return next(w for w in made.stdout.split() if w.startswith("sk-atoll-"))


def test_a_key_is_asked_for_once(browser, tmp_path):
    path = tmp_path / "keys"
    read, infer = create_key(path, "read"), create_key(path, "infer")
    with Server("--keys", str(path), key=read) as server, Watched(browser, server.url) as seen:
        def give(key):
            seen.at("#ask-key").fill(key)
            seen.page.keyboard.press("Enter")

        expect(seen.at("#ask")).to_be_visible()
        give("sk-atoll-wrong")
        expect(seen.at("#ask-why")).to_contain_text("does not know")
        give(infer)
        expect(seen.at("#ask-why")).to_contain_text("lacks the scope read")
        give(read)
        expect(seen.at("#ask")).to_be_hidden()
        expect(seen.at("#state")).to_have_text("Ready")
        seen.page.reload(wait_until="domcontentloaded")
        expect(seen.at("#state")).to_have_text("Ready")
        expect(seen.at("#ask")).to_be_hidden()
        assert read not in seen.page.content()
        seen.at("#forget").click()
        expect(seen.at("#ask")).to_be_visible()
        assert seen.page.evaluate("sessionStorage.length + localStorage.length") == 0
        seen.forgive(r"status of 40[13]")


def test_a_restart_is_survived(browser):
    with Server() as server:
        port = server.port
        seen = Watched(browser, server.url)
        with seen:
            server.complete(PROMPTS[0])
            expect(seen.at("#tokens-total")).to_have_text("8 tokens since start")
            server.terminate()
            server.wait_exit()
            expect(seen.at("#state")).to_have_text(re.compile(r"^No answer since \d\d:\d\d:\d\d$"))
            expect(seen.at("#tokens-total")).to_have_text("8 tokens since start")
            with Server("--listen", f"127.0.0.1:{port}") as again:
                expect(seen.at("#state")).to_have_text("Ready")
                expect(seen.at("#tokens-total")).to_have_text("0 tokens since start")
                expect(seen.at("#first_token td").first).to_have_text("–")
                until_told(again, seen, "#hottest", Cells.hottest)
                seen.forgive(r"ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE"
                             r"|status of 503")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 400, 800, 1280])
def test_the_page_fits(browser, server, scheme, width):
    with Watched(browser, server.url, width, scheme) as seen:
        expect(seen.at("#state")).to_have_text("Ready")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        page = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness = sum(int(x) for x in re.findall(r"\d+", page)[:3]) / 3
        assert lightness > 200 if scheme == "light" else lightness < 50


def screenshot(path):
    with Server() as server, sync_playwright() as playwright:
        done = threading.Event()

        def load(which):
            for seed in range(1000):
                if done.is_set():
                    break
                httpx.post(f"{server.url}/v1/chat/completions", timeout=None, json={
                    "messages": [{"role": "system", "content": 12 * (PROMPTS[0] + " ")},
                                 {"role": "user", "content": PROMPTS[which % len(PROMPTS)]}],
                    "max_tokens": 300 * (which + 1), "ignore_eos": True, "seed": seed})

        threads = [threading.Thread(target=load, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 940})
        page.goto(server.url, wait_until="domcontentloaded")
        line = page.locator("#spark-line")
        until("two minutes have been drawn", lambda: line.get_attribute("d").count("L") > 115, 300)
        path.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(path))
        browser.close()
        done.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    if sys.argv[1:] != ["--screenshot"]:
        sys.exit(__doc__)
    screenshot(ROOT / "docs/images/dashboard.png")
