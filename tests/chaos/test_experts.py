"""Experts are copied, moved, pinned and dropped by hand while streams run: every request ends once,
with the bytes of an undisturbed run, and what cannot be is refused with the reason."""

import pytest

from cluster import LocalCluster, Ledger, assert_clean, bodies, expected_of, until


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster("--attention-nodes", "1", "--expert-nodes", "3", "--replicas", "2",
                      "--data-transport", "tls") as running:
        running.asked = bodies()
        running.expected = expected_of(running.url, running.asked)
        yield running


def experts(cluster, layer=1):
    return cluster.operator("expert", "list", "--layer", str(layer))


def nodes_of(expert):
    assert all(r["state"] == "serving" for r in expert["replicas"]), expert
    return [r["node"] for r in expert["replicas"]]


def change(cluster, *arguments):
    operation = cluster.operator("expert", *arguments)
    assert (operation["state"], operation["percent"]) == ("done", 100), operation
    return operation


def test_changes_under_load_fail_no_request_and_change_no_byte(cluster):
    everywhere = {n.id for n in cluster.of("expert")}
    with Ledger(cluster.url, cluster.asked, 8) as ledger:
        until("streams run", lambda: len(ledger.answers) >= 4, 60)
        for expert in experts(cluster)[:8]:
            before = nodes_of(expert)
            to = (everywhere - set(before)).pop()
            moved = change(cluster, "move", expert["id"], str(to), "--from", str(before[0]))
            assert (moved["from"], moved["node"]) == (before[0], to)
            change(cluster, "replicate", expert["id"], "3")
            change(cluster, "unpin", expert["id"])
            change(cluster, "pin", expert["id"], str(before[0]))
            change(cluster, "drop", expert["id"], str(to))
        changed = len(ledger.answers)
        until("streams go on", lambda: len(ledger.answers) >= changed + 8, 60)
    assert_clean(ledger, cluster.expected, "changes of experts by hand")
    for expert in experts(cluster)[:8]:
        assert (expert["copies"], expert["copies_wanted"]) == (2, 2)
        assert expert["pins"] and set(expert["pins"]) <= set(nodes_of(expert))


def test_refusals_change_nothing(cluster):
    before = cluster.operator("expert", "map")
    last = experts(cluster, 2)[0]
    there = nodes_of(last)
    change(cluster, "drop", last["id"], str(there[0]))
    for arguments in (["drop", last["id"], str(there[1])], ["replicate", last["id"], "9"],
                      ["unpin", last["id"]], ["move", last["id"], str(there[1])]):
        with pytest.raises(AssertionError, match=": 2 .*409"):
            cluster.operator("expert", *arguments)
    for arguments in (["pin", "99:0", "2"], ["pin", "2:99", "2"], ["pin", last["id"], "99"]):
        with pytest.raises(AssertionError, match=": 5 .*404"):
            cluster.operator("expert", *arguments)
    change(cluster, "replicate", last["id"], "2")
    after = cluster.operator("expert", "map")
    sizes = [[len(e) for e in layer["experts"]] for layer in after["layers"]]
    assert sizes == [[len(e) for e in layer["experts"]] for layer in before["layers"]]
