"""Requests that schemathesis makes from the OpenAPI document of a coordinator, and what it
promises. The cluster is one of processes; it must be healthy again afterwards."""

import json
import pathlib
import ssl
import sys
import urllib.error
import urllib.request

import hypothesis
import pytest
import schemathesis

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "chaos"))

from cluster import PATIENCE, LocalCluster, is_healthy, until  # noqa: E402

EXAMPLES = 8  # of each operation
METHODS = {"get", "put", "post", "delete", "patch"}
CHANGES = METHODS - {"get"}


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster("--attention-nodes", "1", "--expert-nodes", "2", "--replicas", "2") as one:
        one.key = pathlib.Path(one.info["admin_key_file"]).read_text("ascii").strip()
        until("it is healthy", lambda: is_healthy(one), 60)
        yield one


def asked(cluster, path, method="GET", key=None, body=None, server=None):
    """Status and body, whatever the status."""
    request = urllib.request.Request((server or cluster.info["control"]) + path, method=method,
                                     data=body)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    context = ssl.create_default_context(cafile=cluster.info["ca"])
    https = None if request.type == "http" else context
    try:
        with urllib.request.urlopen(request, timeout=30 * PATIENCE, context=https) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


@pytest.fixture(scope="module")
def document(cluster):
    status, text = asked(cluster, "/api/v1/openapi.json")
    assert status == 200
    return json.loads(text)


def calm(case):
    """Nobody waits for events here, and no node of this cluster is taken out of it."""
    if case.query:
        case.query.pop("wait", None)
    if case.path.startswith("/api/v1/nodes/{id}") and case.method.lower() != "get":
        try:
            case.path_parameters["id"] = 1000 + abs(int(case.path_parameters["id"]))
        except (TypeError, ValueError):
            pass
    return case


def no_failure(_, response, __):
    """The coordinator never fails; it may say that it cannot now."""
    assert response.status_code < 500 or response.status_code == 503, response.text


def test_answers_are_those_the_document_declares(cluster, document):
    """Of every operation: no server error; statuses, types and bodies as declared."""
    api = schemathesis.openapi.from_dict(document)
    api.config.update(base_url=cluster.info["control"])
    checks = [no_failure, *(
        getattr(schemathesis.specs.openapi.checks, name) for name in (
            "status_code_conformance", "content_type_conformance", "response_schema_conformance"))]
    tried = 0
    wrong = []
    for found in api.get_all_operations():
        operation = found.ok()

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
                             suppress_health_check=list(hypothesis.HealthCheck))
        def probe(case):
            calm(case).call_and_validate(
                checks=checks, verify=cluster.info["ca"],
                headers={"Authorization": f"Bearer {cluster.key}"})

        try:
            probe()
        except (Exception, BaseExceptionGroup) as failure:  # all that is wrong, at once
            wrong.append(f"{operation.label}: {failure}")
        tried += 1
    assert not wrong, "\n\n".join(wrong)
    assert tried >= 25
    # What it asked for by chance ends, or is ended, and the cluster is whole.
    for operation in cluster.operator("operation", "list"):
        if operation["state"] == "running":
            cluster.operator("operation", "cancel", str(operation["id"]), check=False)
    until("it is healthy", lambda: is_healthy(cluster), 60)


def test_every_path_asks_for_the_key_that_it_declares(cluster, document):
    """Without a key 401, with one whose scope does not reach so far 403 with the scope; and through
    a gateway the same."""
    open_paths = {"/live", "/ready", "/version", "/", "/static/{id}", "/api/v1/openapi.json"}
    for path, methods in document["paths"].items():
        for method in METHODS & set(methods):
            needs = methods[method].get("security", [])
            if path in open_paths or not needs:
                continue
            at = path.replace("{id}", "1")
            assert asked(cluster, at, method.upper())[0] == 401, (method, path)
            assert asked(cluster, at, method.upper(), "sk-atoll-wrong")[0] == 401, (method, path)
            if method in CHANGES:
                assert needs == [{"admin": []}], (method, path)
    status, text = asked(cluster, "/api/v1/nodes", server=cluster.url)
    assert status == 401 and json.loads(text)["status"] == 401
    assert asked(cluster, "/api/v1/nodes", key=cluster.key, server=cluster.url)[0] == 200
