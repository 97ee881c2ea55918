#!/usr/bin/env python3
"""The dashboard in Chromium, before a cluster of five processes. Part of tests/serve/run.sh.

Usage: cluster_dashboard_test.py --screenshot     writes docs/images/cluster-*.webp
"""

import base64
import http.client
import json
import pathlib
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import urlparse

import pytest
from playwright.sync_api import TimeoutError as Timeout
from playwright.sync_api import expect, sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/chaos"), str(ROOT / "tests/web")]

from cluster import BINARY, PATIENCE, Ledger, LocalCluster, bodies, is_healthy, until  # noqa: E402
from watched import CHROMIUM, Watched  # noqa: E402

OPTIONS = ("--attention-nodes", "1", "--expert-nodes", "2", "--replicas", "2")


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(*OPTIONS) as running:
        running.key = pathlib.Path(running.info["admin_key_file"]).read_text("ascii").strip()
        running.started = []
        yield running
        for process in running.started:
            process.terminate()
            process.wait(timeout=60 * PATIENCE)


def sign_in(seen, key):
    seen.at("#sign-in").click()
    seen.at("#ask-key").fill(key)
    seen.page.keyboard.press("Enter")


def signed_in(browser, cluster, **context):
    seen = Watched(browser, cluster.url, **context)
    sign_in(seen, cluster.key)
    expect(seen.at(".node")).to_have_count(len(cluster.nodes))
    return seen


def asked(cluster, method, path, body=None):
    """Status and answer of the coordinator's API."""
    request = urllib.request.Request(cluster.info["control"] + path, method=method,
                                     data=None if body is None else json.dumps(body).encode())
    request.add_header("Authorization", f"Bearer {cluster.key}")
    try:
        with urllib.request.urlopen(
                request, timeout=30 * PATIENCE,
                context=ssl.create_default_context(cafile=cluster.info["ca"])) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def card(seen, node):
    return seen.at(f'.node[data-key="{node.id}"]')


def focus(seen, selector):
    """Moves by the Tab key alone."""
    for _ in range(80):
        seen.page.keyboard.press("Tab")
        if seen.at(f"{selector}:focus").count():
            return
    raise AssertionError(f"the Tab key does not reach {selector}")


def test_only_operators_see_the_cluster(browser, cluster):
    with Watched(browser, cluster.url) as seen:
        expect(seen.at("#state")).to_have_text("Ready")
        expect(seen.at("#locked")).to_be_visible()
        expect(seen.at("#h-throughput")).to_be_visible()
        for hidden in ("#h-cluster", "#h-experts", "#h-events", "#h-operations", "#h-kv"):
            expect(seen.at(hidden)).to_be_hidden()
        sign_in(seen, "sk-atoll-wrong")
        expect(seen.at("#ask-why")).to_contain_text("does not know that key")
        seen.at("#ask-key").fill(cluster.key)
        seen.page.keyboard.press("Enter")
        expect(seen.at(".node")).to_have_count(5)
        expect(seen.at("#cluster-word")).to_have_text("Healthy")
        for node in cluster.nodes:
            expect(card(seen, node)).to_contain_text(node.name)
        expect(seen.at("#events")).to_contain_text("joined as attention")
        assert cluster.key not in seen.page.content() + "".join(seen.requests)
        seen.at("#forget").click()
        expect(seen.at("#locked")).to_be_visible()
        expect(seen.at("#h-cluster")).to_be_hidden()
        assert seen.page.evaluate("sessionStorage.length + localStorage.length") == 0
        seen.forgive("status of 401")


def test_a_death_is_shown_and_the_recovery(browser, cluster):
    victim = cluster.of("expert")[0]
    command = pathlib.Path(f"/proc/{victim.pid}/cmdline").read_text("utf-8").split("\0")[1:-1]
    with signed_in(browser, cluster, width=1600) as seen, \
            Ledger(cluster.url, bodies(64), 2) as ledger:
        expect(seen.at("#hottest")).to_contain_text("Hottest")
        expect(seen.at("#live-rows tr").first).to_be_visible()
        begun = time.monotonic()
        victim.kill()
        expect(card(seen, victim)).to_have_attribute(
            "data-state", re.compile("absent|suspect"), timeout=3000 * PATIENCE)
        shown = time.monotonic() - begun
        print(f"shown after {shown:.2f} s")
        expect(seen.at("#cluster-word")).to_have_text(re.compile("Reduced|Recovering"))
        expect(seen.at("#events")).to_contain_text(f"node {victim.id} died")
        expect(seen.at("#recoveries li").first).to_contain_text(
            re.compile(rf"node {victim.id} died.* later epoch"))
        with open(f"{cluster.info['dir']}/{victim.name}.log", "a", encoding="utf-8") as log:
            cluster.started.append(subprocess.Popen([BINARY, *command], stdout=log, stderr=log))
        expect(seen.at("#cluster-word")).to_have_text("Healthy", timeout=30000 * PATIENCE)
        expect(card(seen, victim)).to_have_attribute("data-state", "alive")
        assert seen.at("#health-strip rect").count() >= 3
        ledger.stop()
        assert ledger.answers and not [a.error for a in ledger.answers if a.error]
    victim.pid = cluster.started[-1].pid


def test_a_node_is_drained_by_keyboard_after_a_question(browser, cluster):
    node = cluster.of("expert")[1]
    with signed_in(browser, cluster) as seen:
        drain = f'.node[data-key="{node.id}"] [data-key="drain"]'
        focus(seen, drain)
        seen.page.keyboard.press("Enter")
        expect(seen.at("#confirm")).to_be_visible()
        expect(seen.at("#confirm-says")).to_contain_text("Other nodes take over")
        seen.page.keyboard.press("Escape")
        expect(seen.at("#confirm")).to_be_hidden()
        expect(seen.at(f"{drain}:focus")).to_have_count(1)
        assert not cluster.operator("cluster", "status")["operations"]
        seen.page.keyboard.press("Enter")
        focus(seen, "#confirm-yes")
        seen.page.keyboard.press("Enter")
        expect(seen.at("#told")).to_contain_text(f"Drain, node {node.id} ({node.name}): asked for")
        expect(card(seen, node)).to_have_attribute("data-state", "drained")
        expect(seen.at("#operations-rows")).to_contain_text("drain")
        expect(seen.at("#moved-note")).to_contain_text("experts moved in epoch")
        focus(seen, f'.node[data-key="{node.id}"] [data-key="uncordon"]')
        seen.page.keyboard.press("Enter")
        focus(seen, "#confirm-yes")
        seen.page.keyboard.press("Enter")
        expect(card(seen, node)).to_have_attribute("data-state", "alive")


def test_the_heat_map_and_its_table_tell_where_copies_are(browser, cluster):
    names = {n.name for n in cluster.of("expert")}
    with signed_in(browser, cluster) as seen:
        focus(seen, "#heat")
        expect(seen.at("#readout")).to_contain_text(
            re.compile(r"Layer 1, expert 0: .*; on expert-\d \(50%\), expert-\d \(50%\)"))
        assert set(re.findall(r"expert-\d", seen.at("#readout").inner_text())) == names
        seen.at("#as-table summary").click()
        expect(seen.at("#table-rows tr")).to_have_count(50)
        expect(seen.at("#table-rows tr td:nth-child(4)").first).to_contain_text("expert-2 (50%)")
        for node in cluster.of("expert"):
            expect(card(seen, node)).to_contain_text("1.00× the mean load")
        assert set(seen.at("#chosen option").all_inner_texts()) == {"no node", *names}


def test_a_plan_is_explained_and_applied_after_a_question(browser, cluster):
    with signed_in(browser, cluster) as seen:
        expect(seen.at("#plans-policy")).to_contain_text("policy")
        focus(seen, "#plan-dry")
        seen.page.keyboard.press("Enter")
        expect(seen.at("#told")).to_contain_text("changes nothing until it is applied")
        made = re.search(r"Plan (\d+) was made", seen.at("#told").inner_text()).group(1)
        plan = seen.at(f'.plan[data-key="{made}"]')
        expect(plan.locator(".plan-state")).to_have_text("advised")
        expect(plan).to_contain_text(
            re.compile(r"Hottest node over the mean [\d.]+×, [\d.]+× predicted"))
        plan.locator("summary").click()
        expect(plan.locator(".plan-says li").first).to_be_visible()
        apply = plan.get_by_role("button", name=f"Apply plan {made}")
        apply.click()
        expect(seen.at("#confirm-title")).to_have_text(f"Apply plan {made}?")
        seen.page.keyboard.press("Escape")
        expect(plan.locator(".plan-state")).to_have_text("advised")
        apply.click()
        seen.at("#confirm-yes").click()
        expect(seen.at("#told")).to_contain_text(f"Plan {made}:")
        expect(plan.locator(".plan-state")).to_have_text("done")
        seen.at("#plan-now").click()
        expect(seen.at("#confirm-says")).to_contain_text("Requests go on meanwhile")
        seen.at("#confirm-yes").click()
        expect(seen.at("#told")).to_contain_text(re.compile(rf"Plan (?!{made}:)\d+: \w+"))


def cancelled_in_time(seen, cluster, slow, wanted):
    """The plan, cancelled in the page before the node that holds it up is given up; else none."""
    slow.freeze()
    try:
        status, plan = asked(cluster, "PUT", "/api/v1/placement", {"experts": wanted})
        assert status == 202, plan
        shown = seen.at(f'.plan[data-key="{plan["id"]}"]')
        shown.get_by_role("button", name=f"Cancel plan {plan['id']}").click(timeout=1800)
        assert "applying" in shown.locator(".plan-state").inner_text()
        expect(seen.at("#confirm-says")).to_contain_text("as it was before the plan")
        seen.at("#confirm-yes").click()
    except Timeout:
        pass
    finally:
        slow.thaw()
    ended = until("it has ended", lambda: [
        p for p in cluster.operator("expert", "plans")
        if p["id"] == plan["id"] and p["state"] != "applying"], 30)[0]
    return ended if ended["state"] == "cancelled" else None


def test_a_plan_is_cancelled_while_it_is_applied(browser):
    with LocalCluster(*OPTIONS[:-1], "1") as cluster:
        cluster.key = pathlib.Path(cluster.info["admin_key_file"]).read_text("ascii").strip()
        until("it is healthy", lambda: is_healthy(cluster), 60)
        first, slow = cluster.of("expert")
        before = cluster.operator("placement", "get")["layers"]
        wanted = [{"layer": layer["layer"], "expert": i, "nodes": [first.id, slow.id]}
                  for layer in before for i in range(len(layer["experts"]))]
        with signed_in(browser, cluster) as seen, Ledger(cluster.url, bodies(32), 1) as ledger:
            for _ in range(5):  # a node that does not answer is given up within two seconds
                plan = cancelled_in_time(seen, cluster, slow, wanted)
                if plan:
                    break
                if seen.at("#confirm").is_visible():
                    seen.at("#confirm-no").click()
                # It had ended by then.
                seen.errors[:] = [e for e in seen.errors if "status of 409" not in e]
                until("it is healthy", lambda: is_healthy(cluster), 60)
                asked(cluster, "PUT", "/api/v1/placement", {"layers": before})
                until("all is as before", lambda: is_healthy(cluster) and
                      cluster.operator("placement", "get")["layers"] == before, 60)
            expect(seen.at("#told")).to_contain_text(f"Plan {plan['id']}: cancelled")
            shown = seen.at(f'.plan[data-key="{plan["id"]}"]')
            expect(shown.locator(".plan-state")).to_have_text("cancelled")
            expect(shown.locator(".plan-detail")).to_contain_text("copies go back")
            expect(shown.get_by_role("button", name=f"Cancel plan {plan['id']}")).to_have_count(0)
            until("copies are where they were",
                  lambda: cluster.operator("placement", "get")["layers"] == before, 60)
            ledger.stop()
            assert ledger.answers and not [a.error for a in ledger.answers if a.error]


def test_a_request_is_cancelled_after_a_question(browser, cluster):
    host = urlparse(cluster.url)
    client = http.client.HTTPConnection(host.hostname, host.port, timeout=60 * PATIENCE)
    body = {"prompt": "Once upon a time", "max_tokens": 1900, "ignore_eos": True, "n": 16,
            "stream": True}
    with signed_in(browser, cluster) as seen:
        expect(seen.at("#live-empty")).to_be_visible()
        client.request("POST", "/v1/completions", json.dumps(body),
                       {"Content-Type": "application/json", "X-Request-Id": "mine"})
        answer = client.getresponse()
        assert answer.readline().startswith(b"data: ")
        row = seen.at("#live-rows tr")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("generating")
        number = row.get_attribute("data-key")
        listed = cluster.operator("request", "list")
        assert [r["id"] for r in listed["items"]] == [number] and not listed["silent"]
        assert listed["items"][0]["request_id"] == "mine"
        assert cluster.operator("request", "show", number)["id"] == number
        assert "Once" not in json.dumps(listed)
        cancel = row.get_by_role("button", name=f"Cancel request {number}")
        cancel.click()
        expect(seen.at("#confirm-says")).to_contain_text("Its client is told")
        seen.page.keyboard.press("Escape")
        expect(seen.at("#confirm")).to_be_hidden()
        expect(cancel).to_be_visible()
        cancel.click()
        seen.at("#confirm-yes").click()
        expect(seen.at("#told")).to_have_text(f"Request {number}: cancelled.")
        rest = answer.read().decode()
        assert "an operator cancelled this request" in rest and "[DONE]" not in rest
        expect(seen.at("#live-empty")).to_be_visible()
        # What has ended is not there.
        assert asked(cluster, "DELETE", f"/api/v1/requests/{number}")[0] == 404
    client.close()


def test_a_refusal_is_told_in_the_words_of_the_api(browser, cluster):
    made = subprocess.run([BINARY, "key", "create", "--file",
                           f"{cluster.info['dir']}/coordinator/keys", "--name", "looker",
                           "--scope", "read"], capture_output=True, text=True, check=True)
    reader = next(w for w in made.stdout.split() if w.startswith("sk-atoll-"))
    cluster.of("coordinator")[0].signal(signal.SIGHUP)
    until("the key is known", lambda: "reloaded" in cluster.logs()["coordinator.log"])
    with Watched(browser, cluster.url) as seen:
        sign_in(seen, reader)
        card(seen, cluster.of("attention")[0]).get_by_role("button", name="Cordon").click()
        seen.at("#confirm-yes").click()
        expect(seen.at("#confirm-error")).to_have_text(
            "this key's scopes are read; this asks for admin")
        seen.at("#confirm-no").click()
        expect(seen.at("#confirm")).to_be_hidden()
        seen.forgive("status of 403")


def test_the_coordinator_shows_the_same_by_itself(browser, cluster):
    with Watched(browser, cluster.info["control"], ignore_https_errors=True) as seen:
        expect(seen.at("#ask")).to_be_visible()
        seen.at("#ask-key").fill(cluster.key)
        seen.page.keyboard.press("Enter")
        expect(seen.at(".node")).to_have_count(5)
        expect(seen.at("#state")).to_have_text("Ready")
        expect(seen.at("#hottest")).to_contain_text("Hottest")
        expect(seen.at("#h-throughput")).to_be_hidden()
        expect(seen.at("#live-empty")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_the_page_fits_and_everything_has_a_name(browser, cluster, scheme, width):
    with signed_in(browser, cluster, width=width, scheme=scheme) as seen:
        expect(seen.at("#hottest")).to_contain_text("Hottest")
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        page = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness = sum(int(x) for x in re.findall(r"\d+", page)[:3]) / 3
        assert lightness > 200 if scheme == "light" else lightness < 50
        buttons = seen.page.get_by_role("button")
        for i in range(buttons.count()):
            assert buttons.nth(i).get_attribute("aria-label") or buttons.nth(i).inner_text()
        for role in ("Cluster", "Timeline", "Experts", "Operations", "Events"):
            assert seen.page.get_by_role("region", name=re.compile(f"^{role}")).count() >= 1


SHOTS = {"light": {"width": 1600, "height": 1360}, "dark": {"width": 1600, "height": 1360},
         "phone": {"width": 390, "height": 844}}


def screenshot(folder):
    with LocalCluster(*OPTIONS) as cluster, sync_playwright() as playwright, \
            Ledger(cluster.url, bodies(200), 6):
        cluster.key = pathlib.Path(cluster.info["admin_key_file"]).read_text("ascii").strip()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        pages = {name: signed_in(browser, cluster, width=size["width"],
                                 scheme="dark" if name == "dark" else "light")
                 for name, size in SHOTS.items()}
        line = pages["phone"].at("#lane-tokens-line")
        until("half a minute has been drawn", lambda: line.get_attribute("d").count("L") > 30, 60)
        cluster.of("expert")[0].kill()
        expect(card(pages["light"], cluster.of("expert")[0])).to_have_attribute(
            "data-state", "absent")
        strip = pages["phone"].at(".health-reduced")
        until("its absence is drawn", lambda: float(strip.get_attribute("width")) > 60, 30)
        for name, seen in pages.items():
            seen.page.set_viewport_size(SHOTS[name])
            shot = seen.context.new_cdp_session(seen.page).send(
                "Page.captureScreenshot", {"format": "webp", "quality": 82})
            (folder / f"cluster-{name}.webp").write_bytes(base64.b64decode(shot["data"]))
        browser.close()


if __name__ == "__main__":
    if sys.argv[1:] != ["--screenshot"]:
        sys.exit(__doc__)
    expect.set_options(timeout=20000)
    screenshot(ROOT / "docs/images")
