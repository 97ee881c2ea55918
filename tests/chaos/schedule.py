"""Faults drawn from a seed: the same seed and length give the same faults in the same order.

Only one node is hurt at a time, and the cluster is whole before the next fault, so that what is
asked of it can be done. When a fault strikes what is the machine's affair: a schedule can be
played again, its exact course cannot.
"""

import dataclasses
import random
import time

from cluster import Ledger, assert_clean, is_healthy, pause, until

# What may happen to whom, and how long it lasts: least and most seconds.
LOCAL = {
    "kill": (["expert", "attention", "coordinator"], (0, 0)),
    "blink": (["expert", "attention", "coordinator"], (0.2, 0.2)),
    "freeze": (["expert", "attention", "coordinator"], (2.5, 5.0)),
}
BETWEEN_HOSTS = {
    **LOCAL,
    "cut": (["expert", "attention", "coordinator"], (1.0, 5.0)),
    "deaf": (["expert", "attention"], (1.0, 5.0)),   # sends and hears nothing
    "mute": (["expert", "attention"], (1.0, 5.0)),
    "loss": (["network"], (1.0, 5.0)),
    "delay": (["expert", "attention"], (1.0, 5.0)),
    "full": (["expert", "coordinator"], (1.0, 3.0)),
}


@dataclasses.dataclass
class Fault:
    after: float    # seconds since the cluster was whole
    kind: str
    role: str
    index: int      # of the nodes with that role, modulo their number
    seconds: float
    seed: int

    def __str__(self):
        return f"{self.kind} {self.role}[{self.index}] {self.seconds:.1f} s"


def draw(kinds, seed):
    """Faults without end."""
    source = random.Random(seed)
    while True:
        kind = source.choice(sorted(kinds))
        roles, (least, most) = kinds[kind]
        yield Fault(source.uniform(0.3, 1.5), kind, source.choice(roles), source.randrange(6),
                    source.uniform(least, most), source.randrange(1 << 30))


def strike(cluster, fault):
    """Hurts, waits, and heals as far as the fault ends by itself."""
    if fault.kind == "loss":
        with cluster.lossy(10):
            return pause(fault.seconds)
    nodes = cluster.of(fault.role)
    victim = nodes[fault.index % len(nodes)]
    if fault.kind == "kill":
        victim.kill()
        return cluster.revive(victim)
    if fault.kind in ("blink", "freeze"):
        victim.freeze()
        pause(fault.seconds)
        return victim.thaw()
    lasting = {"cut": lambda: cluster.cut(victim),
               "deaf": lambda: cluster.rules(f'oifname "{victim.port}"'),
               "mute": lambda: cluster.rules(f'iifname "{victim.port}"'),
               "delay": lambda: cluster.delayed(victim, 0.05, 0.4, fault.seed),
               "full": lambda: cluster.full(cluster.home(victim))}
    with lasting[fault.kind]():
        pause(fault.seconds)


def play(cluster, kinds, seed, seconds, clients=8, say=print):
    """Faults for so long under load; all requests end well, and what they held is free."""
    say(f"\nseed {seed}, {seconds:.0f} s of faults; again: "
        f"tests/chaos/run.sh --minutes {seconds / 60:g} --seed {seed}")
    began = time.monotonic()
    done = []
    with Ledger(cluster.url, cluster.asked, clients) as ledger:
        for fault in draw(kinds, seed):
            if time.monotonic() - began > seconds:
                break
            pause(fault.after)
            done.append(str(fault))
            say(f"{time.monotonic() - began:7.1f} s  {fault}; {len(ledger.answers)} answers")
            strike(cluster, fault)
            until(f"the cluster is whole again after {fault} (seed {seed}, fault {len(done)})",
                  lambda: cluster.is_whole() and is_healthy(cluster), 60)
            failed, different = ledger.check(cluster.expected)
            if failed or different:
                break  # told below, with what was done until then
    assert_clean(ledger, cluster.expected, f"seed {seed}: {'; '.join(done)}")
    assert len(ledger.answers) > len(done)
    say(f"{len(done)} faults, {len(ledger.answers)} requests: 0 failed, 0 different")
    return ledger
