"""Nodes on hosts of their own, and what goes wrong between hosts: networks that are cut or slow.
Every request ends with the bytes of an undisturbed run.

ATOLL_CHAOS_SEED chooses who is hurt and the draws of the relay.
"""

import random

import pytest

from cluster import SEED, Ledger, assert_clean, bodies, expected_of, is_healthy, pause, until
from hosts import Hosts, why_not

REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "hosts can be made here")
SECONDS = 5.0  # of a fault that lasts


def serving(transport):
    hosts = Hosts(transport)
    hosts.asked = bodies()
    return hosts


@pytest.fixture(scope="module")
def hosts():
    with serving("auto") as running:
        running.expected = expected_of(running.url, running.asked)
        yield running


@pytest.fixture(autouse=True)
def whole_again(hosts):
    yield
    until("the cluster is whole again", lambda: is_healthy(hosts), 60)


def choose(hosts, role):
    return random.Random(f"{SEED}/{role}").choice(hosts.of(role))


def last_through(hosts, what, fault, seconds=SECONDS):
    """Streams run before, during and after a fault, and all end well."""
    with Ledger(hosts.url, hosts.asked, 6) as ledger:
        until("streams run", lambda: len(ledger.answers) >= 2, 60)
        with fault:
            pause(seconds)
        during = len(ledger.answers)
        until("streams go on", lambda: len(ledger.answers) >= during + 6, 60)
    assert_clean(ledger, hosts.expected, what)


def test_data_between_hosts_goes_over_the_network_and_by_tls(hosts):
    assert all("data goes by tls over eth0" in hosts.said(n) for n in hosts.nodes[1:])
    expert = choose(hosts, "expert")
    before = hosts.sent_bytes(expert)
    expected_of(hosts.url, hosts.asked[:1])
    assert hosts.sent_bytes(expert) - before > 100_000


def test_an_expert_node_cut_off(hosts):
    victim = choose(hosts, "expert")
    last_through(hosts, f"{victim.name} cut off", hosts.cut(victim))


def test_one_direction_lost(hosts):
    source, target = choose(hosts, "expert"), choose(hosts, "attention")
    last_through(hosts, f"nothing from {source.name} to {target.name}",
                 hosts.rules(f'iifname "{source.port}" oifname "{target.port}"'))


def test_a_data_path_lost_while_control_lives(hosts):
    one, other = choose(hosts, "expert"), choose(hosts, "attention")
    last_through(hosts, f"nothing between {one.name} and {other.name}",
                 hosts.rules(f'iifname "{one.port}" oifname "{other.port}"',
                             f'iifname "{other.port}" oifname "{one.port}"'))


def test_a_slow_network(hosts):
    victim = choose(hosts, "expert")
    last_through(hosts, f"{victim.name} 100 to 400 ms away",
                 hosts.delayed(victim, 0.1, 0.4, SEED))


def test_the_coordinator_cut_off(hosts):
    last_through(hosts, "coordinator cut off", hosts.cut(hosts.of("coordinator")[0]))
