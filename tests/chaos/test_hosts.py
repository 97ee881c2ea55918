"""Nodes on hosts of their own, and what goes wrong between hosts: networks that are cut or slow.
Every request ends with the bytes of an undisturbed run.

ATOLL_CHAOS_SEED chooses who is hurt and the draws of the relay.
"""

import pathlib
import random
import subprocess
import sys

import pytest

from cluster import (MINUTES, SEED, Ledger, assert_clean, bodies, expected_of, is_healthy, pause,
                     sequences, until)
from hosts import Hosts, MemoryGroup, why_not
from schedule import BETWEEN_HOSTS, play

REASON = why_not()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON or "hosts can be made here")
SECONDS = 5.0  # of a fault that lasts
ANSWERS = {}


@pytest.fixture(scope="module")
def hosts(request):
    with Hosts(request.param) as running:
        running.asked = bodies()
        running.expected = expected_of(running.url, running.asked)
        yield running


by_tls = pytest.mark.parametrize("hosts", ["auto"], indirect=True)
by_ucx = pytest.mark.parametrize("hosts", ["ucx"], indirect=True)
by_both = pytest.mark.parametrize("hosts", ["auto", "ucx"], indirect=True)


@pytest.fixture(autouse=True)
def whole_again(hosts):
    yield
    for node in hosts.nodes:
        if not node.is_running():
            hosts.revive(node)  # the test has failed
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


def kill_and_restart(hosts, role):
    victim = choose(hosts, role)
    with Ledger(hosts.url, hosts.asked, 6) as ledger:
        until("streams run", lambda: len(ledger.answers) >= 2, 60)
        victim.kill()
        killed = len(ledger.answers)
        until("streams go on", lambda: len(ledger.answers) >= killed + 6, 60)
        hosts.restart(victim)
        back = len(ledger.answers)
        until("streams go on", lambda: len(ledger.answers) >= back + 6, 60)
    assert_clean(ledger, hosts.expected, f"kill -9 of {victim.name}")


@by_both
def test_data_between_hosts_goes_over_the_network(hosts):
    """By TLS, and by UCX only where the operator has named the network as trusted."""
    word = "tls" if hosts.transport == "auto" else hosts.transport
    assert all(f"data goes by {word} over eth0" in hosts.said(n) for n in hosts.nodes[1:])
    expert = choose(hosts, "expert")
    before = hosts.sent_bytes(expert)
    expected_of(hosts.url, hosts.asked[:1])
    assert hosts.sent_bytes(expert) - before > 100_000


@by_both
def test_one_answer_whatever_carries_it(hosts):
    """Bytes of the first such cluster are those of every other."""
    for body, wanted, first in zip(hosts.asked, hosts.expected, ANSWERS.setdefault(
            "first", hosts.expected)):
        assert wanted.same_as(first), body


@by_ucx
def test_an_expert_node_killed(hosts):
    kill_and_restart(hosts, "expert")


@by_ucx
def test_an_attention_node_killed(hosts):
    kill_and_restart(hosts, "attention")


@by_both
def test_an_expert_node_cut_off(hosts):
    victim = choose(hosts, "expert")
    last_through(hosts, f"{victim.name} cut off", hosts.cut(victim))


@by_ucx
def test_an_attention_node_cut_off(hosts):
    victim = choose(hosts, "attention")
    last_through(hosts, f"{victim.name} cut off", hosts.cut(victim))


@by_both
def test_one_frame_in_ten_lost(hosts):
    last_through(hosts, "10 % of the frames on data paths lost", hosts.lossy(10))


@by_tls
def test_one_direction_lost(hosts):
    source, target = choose(hosts, "expert"), choose(hosts, "attention")
    last_through(hosts, f"nothing from {source.name} to {target.name}",
                 hosts.rules(f'iifname "{source.port}" oifname "{target.port}"'))


@by_tls
def test_a_data_path_lost_while_control_lives(hosts):
    one, other = choose(hosts, "expert"), choose(hosts, "attention")
    last_through(hosts, f"nothing between {one.name} and {other.name}",
                 hosts.rules(f'iifname "{one.port}" oifname "{other.port}"',
                             f'iifname "{other.port}" oifname "{one.port}"'))


@by_tls
def test_a_slow_network(hosts):
    victim = choose(hosts, "expert")
    last_through(hosts, f"{victim.name} 100 to 400 ms away",
                 hosts.delayed(victim, 0.1, 0.4, SEED))


@by_tls
def test_the_coordinator_cut_off(hosts):
    last_through(hosts, "coordinator cut off", hosts.cut(hosts.of("coordinator")[0]))


@by_tls
def test_a_full_disk_of_the_coordinator(hosts):
    """The cluster serves, and heals, but changes nothing that it could not remember."""
    victim = choose(hosts, "expert")
    journal = str(hosts.disk / "journal")

    def is_refused():
        done = hosts.try_operator("node", "cordon", str(victim.id))
        return done if done.returncode != 0 else None

    with Ledger(hosts.url, hosts.asked, 6) as ledger:
        until("streams run", lambda: len(ledger.answers) >= 2, 60)
        with hosts.full(hosts.disk):
            # Some changes find room at the end of the last page.
            refused = until("a change is refused", is_refused, 60)
            assert journal in refused.stderr and "No space left" in refused.stderr, refused.stderr
            assert "nothing was changed" in refused.stderr, refused.stderr
            status = hosts.operator("cluster", "status", check=False)
            assert status["state"] == "degraded", status
            victim.kill()
            hosts.restart(victim)
            back = len(ledger.answers)
            until("streams go on", lambda: len(ledger.answers) >= back + 6, 60)
        until("changes are taken", lambda: hosts.try_operator(
            "node", "uncordon", str(victim.id)).returncode == 0, 10)
    assert_clean(ledger, hosts.expected, "full disk of the coordinator")
    said = (hosts.dir / f"{hosts.nodes[0].name}.log").read_text()
    assert 0 < said.count("No space left") < 6, "said when it begins, and not every second"
    # What was acknowledged is there after a restart.
    hosts.nodes[0].kill()
    hosts.restart(hosts.nodes[0])
    shown = hosts.operator("node", "show", str(victim.id))
    assert shown["state"] != "cordoned", shown


@by_tls
def test_a_full_disk_of_a_node(hosts):
    """It goes on; what it has to remember for its next life it says that it cannot write."""
    victim = choose(hosts, "expert")
    with Ledger(hosts.url, hosts.asked, 6) as ledger:
        until("streams run", lambda: len(ledger.answers) >= 2, 60)
        with hosts.full(hosts.home(victim)):
            full = len(ledger.answers)
            until("streams go on", lambda: len(ledger.answers) >= full + 6, 60)
            victim.kill()
            victim.process.wait()
            hosts.start(victim)
            assert victim.process.wait(60) == 1
            assert "/life: cannot write" in hosts.said(victim), hosts.said(victim)
            assert "No space left" in hosts.said(victim)
        hosts.restart(victim)
    assert_clean(ledger, hosts.expected, f"full disk of {victim.name}")


@pytest.fixture(name="group")
def memory_group():
    made = MemoryGroup()
    if made.why_not():
        pytest.skip(made.why_not())
    yield made
    made.remove()


@by_tls
def test_a_node_without_memory_for_its_share(hosts, group):
    """Refused with the sum, before anything is loaded or asked for."""
    victim = choose(hosts, "expert")
    group.limit(200 << 20)
    victim.kill()
    victim.process.wait()
    hosts.start(victim, *group.within())
    assert victim.process.wait(60) == 2
    said = hosts.said(victim).splitlines()[-1]
    assert "does not fit: 300 MiB for the process; this process may have 200 MiB" in said, said
    hosts.restart(victim)


# Takes memory in steps, and is the last that the kernel would end.
HOG = """
import time
open("/proc/self/oom_score_adj", "w").write("-1000")
held = []
while True:
    held.append(b"x" * (1 << 22))
    time.sleep(0.005)
"""


@by_tls
def test_a_node_that_the_kernel_ends_for_want_of_memory(hosts, group):
    victim = choose(hosts, "expert")
    victim.kill()
    group.limit(600 << 20)
    hosts.restart(victim, *group.within())
    pathlib.Path(f"/proc/{victim.pid}/oom_score_adj").write_text("1000")
    with Ledger(hosts.url, hosts.asked, 6) as ledger:
        until("streams run", lambda: len(ledger.answers) >= 2, 60)
        with subprocess.Popen([*group.within(), sys.executable, "-c", HOG]) as hog:
            try:
                until("the node is out of memory", lambda: not victim.is_running(), 60)
            finally:
                hog.kill()
        assert group.killed() >= 1
        dead = len(ledger.answers)
        until("streams go on", lambda: len(ledger.answers) >= dead + 6, 60)
        hosts.restart(victim)
    assert_clean(ledger, hosts.expected, f"{victim.name} out of memory")


@by_tls
@pytest.mark.skipif(not MINUTES, reason="a minute of waiting is for the long run (--minutes)")
def test_a_node_frozen_for_a_minute(hosts):
    """Given up meanwhile; when it wakes up it is refused, and joins again by itself."""
    for role in ("expert", "attention"):
        victim = choose(hosts, role)
        before = hosts.operator("node", "show", str(victim.id))["life"]
        with Ledger(hosts.url, hosts.asked, 4) as ledger:
            until("streams run", lambda: len(ledger.answers) >= 2, 60)
            victim.freeze()
            pause(60.0)
            assert hosts.operator("node", "show", str(victim.id))["state"] == "absent"
            victim.thaw()
            until("it is a member again", lambda: hosts.operator(
                "node", "show", str(victim.id))["state"] == "alive", 10)
            assert hosts.operator("node", "show", str(victim.id))["life"] > before
            assert "a new life begins" in hosts.said(victim)
        assert_clean(ledger, hosts.expected, f"{victim.name} frozen for a minute")
        until("the cluster is whole again", lambda: is_healthy(hosts), 60)


@by_both
def test_a_schedule_of_faults(hosts, capsys):
    def say(line):
        with capsys.disabled():
            print(line, flush=True)
    # In the long run both transports share the time.
    seconds = 30 * MINUTES if MINUTES else 15.0
    play(hosts, BETWEEN_HOSTS, SEED, seconds, say=say if MINUTES else print)
    until("the shards let go", lambda: sequences(hosts) == 0, 5.0)
