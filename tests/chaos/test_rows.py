"""Rows that travel rounded: the cheaper forms give the same answers in a cluster as in one process
with the same setting, over both transports, and who has another setting is no member.
"""

import contextlib
import json
import pathlib
import select
import subprocess
import urllib.request

import pytest

from cluster import BINARY, MODEL, PATIENCE, LocalCluster, bodies

FORMS = ["bf16", "fp8"]


@contextlib.contextmanager
def one_process(form):
    with subprocess.Popen(
            [BINARY, "serve", MODEL, "--listen", "127.0.0.1:0", "--quiet", "--threads", "1",
             "--activations", form], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True) as process:
        try:
            ready, _, _ = select.select([process.stdout], [], [], 60 * PATIENCE)
            url = process.stdout.readline().strip() if ready else ""
            assert url.startswith("http"), "no address was printed"
            yield url
        finally:
            process.kill()


def answers(url):
    """Text and log-probabilities, which show every bit of what the experts answered."""
    said = []
    for body in bodies(tokens=16, count=4):
        asked = json.dumps({**body, "logprobs": 2}).encode()
        request = urllib.request.Request(url + "/v1/completions", asked,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60 * PATIENCE) as reply:
            said.append(json.load(reply)["choices"])
    return said


@pytest.fixture(scope="module")
def alone():
    """What one process answers, by form."""
    said = {}
    for form in ["f32", *FORMS]:
        with one_process(form) as url:
            said[form] = answers(url)
    assert said["f32"] != said["bf16"] != said["fp8"] != said["f32"], "rounding changes something"
    return said


def other_form(form):
    return FORMS[1 - FORMS.index(form)]


@pytest.mark.parametrize("transport", ["ucx", "tls"])
@pytest.mark.parametrize("form", FORMS)
def test_a_cluster_answers_as_one_process_does(alone, form, transport, tmp_path):
    with LocalCluster("--attention-nodes", "2", "--expert-nodes", "2", "--replicas", "2",
                      "--data-transport", transport, "--threads", "1", "--activations",
                      form) as cluster:
        assert answers(cluster.url) == alone[form]
        for role in ("attention", "gateway"):
            refuses_another_form(cluster, role, form, transport, tmp_path)


def refuses_another_form(cluster, role, form, transport, tmp_path):
    token = tmp_path / f"{role}.token"
    cluster.operator("join-token", "create", "--role", role, "--out", str(token))
    more = ["--listen", "127.0.0.1:0"] if role == "gateway" else []
    joins = subprocess.run(
        [BINARY, "node", "run", "--role", role, "--dir", str(tmp_path / role), "--join",
         cluster.info["control"], "--token-file", str(token), "--model", MODEL,
         "--data-interface", "lo", "--data-transport", transport, "--threads", "1",
         "--activations", other_form(form), *more],
        capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
    assert joins.returncode != 0
    why = f"runs with --activations {other_form(form)}, the cluster with {form}"
    assert why in joins.stderr.splitlines()[-1], joins.stderr
    log = pathlib.Path(cluster.info["dir"]) / f"{cluster.of('coordinator')[0].name}.log"
    assert why in log.read_text(encoding="utf-8", errors="replace")
    number = json.loads((tmp_path / role / "node.json").read_text())["node"]
    cluster.operator("node", "remove", str(number))
