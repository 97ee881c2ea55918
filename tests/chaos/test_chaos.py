"""Real processes, real transports, real signals: every request ends exactly once, with the bytes of
an undisturbed run.

ATOLL_CHAOS_SEED chooses the schedule of faults. Data goes by UCX here; by TLS in the long run and
in test_hosts.py.
"""

import time

import pytest

from cluster import (MINUTES, SEED, LocalCluster, Ledger, Node, assert_clean, bodies, expected_of,
                     is_healthy, pause, sequences, stream, until)
from schedule import LOCAL, play

SECONDS = 15.0  # of a short schedule
short_only = pytest.mark.skipif(MINUTES > 0, reason="the long run has its own schedule")
QUIET_WITHIN = 5.0  # everything that requests held is free by then


@pytest.fixture(scope="module", params=["ucx", "tls"] if MINUTES else ["ucx"])
def cluster(request):
    with LocalCluster("--attention-nodes", "2", "--expert-nodes", "3", "--replicas", "2",
                      "--data-transport", request.param, "--restart") as running:
        running.asked = bodies()
        running.expected = expected_of(running.url, running.asked)
        yield running


@pytest.fixture(autouse=True)
def healthy_again(cluster):
    yield
    for node in cluster.nodes:
        try:
            node.thaw()
        except ProcessLookupError:
            pass

    until("the cluster is whole again", lambda: cluster.is_whole() and is_healthy(cluster), 60)


def test_one_answer_however_many_machines(cluster):
    with LocalCluster("--attention-nodes", "1", "--expert-nodes", "1", "--replicas", "1",
                      "--data-transport", "tls") as other:
        for body, wanted in zip(cluster.asked, cluster.expected):
            assert stream(other.url, body).same_as(wanted)


def hurt_once(cluster, hurt, clients=16, answers=64):
    """Streams run, then `hurt` strikes, and all go on to their ends."""
    with Ledger(cluster.url, cluster.asked, clients, requests=answers) as ledger:
        until("streams run", lambda: len(ledger.answers) >= 4, 60)
        hurt()
        ledger.wait()
    return ledger


def test_an_expert_node_killed(cluster):
    victim = cluster.of("expert")[SEED % 3]
    ledger = hurt_once(cluster, victim.kill)
    assert_clean(ledger, cluster.expected, f"kill -9 of {victim.name}")


def test_an_attention_node_killed(cluster):
    victim = cluster.of("attention")[SEED % 2]
    ledger = hurt_once(cluster, victim.kill)
    assert_clean(ledger, cluster.expected, f"kill -9 of {victim.name}")


@pytest.mark.parametrize("seconds", [0.2, 5.0])
@pytest.mark.parametrize("role", ["expert", "attention", "coordinator"])
def test_a_frozen_node(cluster, role, seconds):
    victim = cluster.of(role)[SEED % len(cluster.of(role))]

    def freeze():
        victim.freeze()
        pause(seconds)
        victim.thaw()
    ledger = hurt_once(cluster, freeze)
    assert_clean(ledger, cluster.expected, f"{victim.name} frozen for {seconds} s")


def test_the_coordinator_killed(cluster):
    victim = cluster.of("coordinator")[0]
    ledger = hurt_once(cluster, victim.kill)
    assert_clean(ledger, cluster.expected, "kill -9 of the coordinator")


def test_a_lost_gateway_frees_what_its_streams_held(cluster):
    victim = cluster.of("gateway")[0]
    with Ledger(cluster.url, cluster.asked, 8, requests=8) as ledger:
        until("streams run", lambda: sequences(cluster) > 0, 30)
        victim.kill()
        killed = time.monotonic()
        ledger.wait()
    for answer in ledger.answers:
        assert answer.error or answer.is_done
        assert not (answer.is_done and answer.error), "cut streams do not end as if whole"
    until("the shards let go", lambda: sequences(cluster) == 0, 3.0)
    assert time.monotonic() - killed < 30


def test_drain_moves_work_and_ends(cluster):
    victim = cluster.of("expert")[0]
    with Ledger(cluster.url, cluster.asked, 8) as ledger:
        until("streams run", lambda: len(ledger.answers) >= 2, 60)
        cluster.operator("node", "drain", str(victim.id), "--deadline", "60s")
        drained = len(ledger.answers)
        until("streams go on", lambda: len(ledger.answers) >= drained + 8, 60)
        cluster.operator("node", "uncordon", str(victim.id))
    assert_clean(ledger, cluster.expected, f"drain of {victim.name}")


def test_a_rolling_restart_of_every_node(cluster):
    """The gateway, too: it ends what it has taken, and who finds its door closed comes again."""
    with Ledger(cluster.url, cluster.asked, 8, comes_again=True) as ledger:
        until("streams run", lambda: len(ledger.answers) >= 2, 60)
        for node in cluster.nodes:
            old = node.pid
            node.signal(15)

            def is_back(node: Node = node, old=old):
                cluster.follow_restarts()
                return node.pid != old and node.is_running() and is_healthy(cluster)
            until(f"{node.name} is back", is_back, 60)
            back = len(ledger.answers)
            until("streams go on", lambda: len(ledger.answers) > back, 60)
    assert_clean(ledger, cluster.expected, "rolling restart")


@short_only
def test_a_schedule_of_faults(cluster):
    play(cluster, LOCAL, SEED, SECONDS)
    until("the shards let go", lambda: sequences(cluster) == 0, QUIET_WITHIN)


@short_only
def test_a_node_leaves_in_order_when_the_coordinator_has_just_started(cluster):
    coordinator = cluster.of("coordinator")[0]
    old = coordinator.pid
    coordinator.kill()

    def is_back():
        cluster.follow_restarts()
        return coordinator.pid != old and cluster.operator("node", "list", check=False)
    until("the coordinator answers again", is_back, 30)
    victim = cluster.of("expert")[SEED % 3]
    pid, began = victim.pid, time.monotonic()
    victim.signal(15)

    def is_another():
        cluster.follow_restarts()
        return victim.pid != pid
    until("the node is started again", is_another, 30)
    assert time.monotonic() - began < 20, "it waited for a coordinator that had not heard it"
    assert "it goes all the same" not in cluster.logs()[f"{victim.name}.log"]
