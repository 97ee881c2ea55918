#!/usr/bin/env python3
"""The figures of elastic experts, each against what is asked of it, measured in one run.

Usage: bench/elastic [--only ROW]... [--repeats N] [--json] [--binary ATOLL] [--transport ucx|tls]

Clusters are started by `atoll local up` on this machine: nodes, clients and changes share its
cores. The model is models/tiny, whose experts specialise; its prompts come from three domains in
turn (scripture, drama, poems), so that the hot experts shift. What is compared is measured by
turns. The row `day` runs build/bench/bench/elastic_day: the coordinator alone, with a thousand
nodes, in virtual time. Exit status: 0, or 1 where a row misses.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import transfer
from rows import (ROOT, arguments_of, chaos, percentile, run, tokens_per_second,
                  wide_checkpoint)
from unequal import UnequalCluster

DOMAINS = {
    "scripture": ["In the beginning God created", "And the LORD said unto Moses",
                  "Blessed are the meek:", "The words of the prophet", "And it came to pass",
                  "Thus saith the LORD of hosts", "Let us go up to the house", "The LORD is my"],
    "drama": ["ROMEO. But soft, what light", "HAMLET. To be, or not to be", "MACBETH. Is this a",
              "Enter the King, with Lords", "My lord, I have news", "KING HENRY. Once more unto",
              "What say you, gentle", "Exeunt all but the Duke"],
    "poems": ["床前明月光，", "春眠不觉晓，", "白日依山尽，", "千山鸟飞绝，", "明月松间照，",
              "国破山河在，", "君不见黄河之水", "独在异乡为异客，"],
}
EXPERT_NODES = 4
# Of 32 experts a layer 40 fit: a quarter of the slots is spare.
SPARE = ["--attention-nodes", "1", "--expert-nodes", str(EXPERT_NODES), "--replicas", "1",
         "--expert-memory", "4MB", "--batch-size", "16"]
SETTLE_S = 60.0
QUIET_S = 15.0


def up(options, *flags, model=chaos.MODEL):
    return chaos.LocalCluster("--data-transport", options.transport, *flags, model=model)


def bodies_of(domain, tokens=64):
    return [{"model": "tiny", "prompt": text, "max_tokens": tokens, "ignore_eos": True,
             "temperature": 0.8, "seed": i} for i, text in enumerate(DOMAINS[domain])]


def experts(running):
    return running.operator("expert", "list")


# ---- balance ------------------------------------------------------------------------------------

def plans(running):
    answer = running.operator("expert", "plans")
    return answer["items"] if isinstance(answer, dict) else answer


def measured(plan):
    return plan["measured"]["hottest_over_mean"]


def settled(running, known):
    """The last plan since `known`, carried out and measured by the coordinator from what nodes
    computed in ten seconds after it; None where there was nothing to do."""
    begin = time.monotonic()
    while time.monotonic() - begin < SETTLE_S * chaos.PATIENCE:
        made = [p for p in plans(running) if p["id"] > known]
        # One may follow another; after the last is measured there is rest.
        if made and max(made, key=lambda p: p["id"])["state"] == "done" and \
                measured(max(made, key=lambda p: p["id"])) is not None:
            return made
        if not made and time.monotonic() - begin > QUIET_S:
            return []
        chaos.pause(0.25)
    return [p for p in plans(running) if p["id"] > known]


def latest(running):
    return max((p["id"] for p in plans(running)), default=0)


def row_balance(options):
    """Of the worst layer, by domain: as measured after the last plan, and as found before the
    first."""
    after, before, count, failed = [], [], 0, 0
    with up(options, *SPARE, "--expert-policy", "auto") as running:
        for domain in list(DOMAINS) * options.turns:
            known = latest(running)
            with chaos.Ledger(running.url, bodies_of(domain), 16) as ledger:
                made = settled(running, known)
            failed += sum(1 for a in ledger.answers if a.error)
            count += len(made)
            done = [p for p in made if measured(p) is not None]
            if done:
                before.append(min(made, key=lambda p: p["id"])
                              ["predicted"]["before"]["hottest_over_mean"])
                after.append(measured(max(done, key=lambda p: p["id"])))
    if not after:
        sys.exit("bench/elastic: no plan was made")
    figure = max(after)
    return {"row": "balance", "figure": figure, "least": min(after), "most": max(after),
            "asked": "<= 1.15 in the worst layer, 0 failed", "met": figure <= 1.15 and failed == 0,
            "detail": f"left alone {max(before):.2f} ({min(before):.2f} to {max(before):.2f}); "
                      f"{count} plans; {failed} failed"}


# ---- a hot expert -------------------------------------------------------------------------------

def row_hot(options):
    """The load turns to another domain: how soon does the first plan that copies experts for it
    serve? What the parts of that are: until it is asked for, and from then on."""
    since_shift, until_asked, since_asked = [], [], []
    with up(options, *SPARE, "--expert-policy", "auto") as running:
        names = list(DOMAINS)
        with chaos.Ledger(running.url, bodies_of(names[0]), 16):
            settled(running, 0)
        for turn in range(1, options.repeats + 1):
            known, begin = latest(running), time.time()
            with chaos.Ledger(running.url, bodies_of(names[turn % 3]), 16):
                made = settled(running, known)
            done = [p for p in made if p["state"] == "done" and p["copies_made"] > 0]
            if not done:
                continue
            first = min(done, key=lambda p: p["id"])
            since_shift.append(first["ended_unix_ms"] / 1000 - begin)
            until_asked.append(first["created_unix_ms"] / 1000 - begin)
            since_asked.append((first["ended_unix_ms"] - first["created_unix_ms"]) / 1000)
    if not since_asked:
        sys.exit("bench/elastic: no plan that copies experts was carried out")
    figure, after = statistics.median(since_shift), statistics.median(since_asked)
    return {"row": "hot", "figure": figure, "least": min(since_shift), "most": max(since_shift),
            "asked": "<= 1 s from the shift, <= 0.1 s from the decision",
            "met": figure <= 1.0 and after <= 0.1,
            "detail": f"{len(since_asked)} shifts; found {statistics.median(until_asked):.3f} s "
                      f"after the shift, all copies {after:.3f} s after that "
                      f"({min(since_asked):.3f} to {max(since_asked):.3f})"}


# ---- streams while things change ----------------------------------------------------------------

def gaps_of(answers):
    return [b - a for answer in answers for a, b in zip(answer.times[1:], answer.times[2:])]


def look_on(running, begin, turns):
    """As many commands as `disturb` gave, at the same moments, that change nothing: they run on
    the cores of the nodes."""
    for at in turns:
        chaos.pause(max(0.0, begin + at - time.monotonic()))
        experts(running)
        running.operator("node", "list")


def disturb(running, begin, seconds):
    """Copies, moves, a drain and a node that joins again, one after the other. What was done, and
    when, in seconds since the beginning."""
    done = {"copies": 0, "moves": 0, "drains": 0, "joins": 0}
    everywhere = {n.id for n in running.of("expert")}
    turns = []
    while time.monotonic() < begin + seconds:
        turns.append(time.monotonic() - begin)
        turn = len(turns)
        expert = experts(running)[turn * 7 % 128]
        nodes = [r["node"] for r in expert["replicas"] if r["state"] == "serving"]
        free = sorted(everywhere - set(nodes))
        if turn % 8 == 4:
            victim = running.of("expert")[turn // 8 % EXPERT_NODES]
            running.operator("node", "drain", str(victim.id))
            running.operator("node", "uncordon", str(victim.id))
            done["drains"] += 1
        elif turn % 8 == 0:
            victim = running.of("expert")[turn // 8 % EXPERT_NODES]
            victim.signal(15)  # it leaves in order, and joins again
            chaos.until("the node is back", lambda: not victim.is_running(), 30)
            chaos.until("the cluster is whole",
                        lambda: running.is_whole() and chaos.is_healthy(running), 60)
            done["joins"] += 1
        elif turn % 2 and free:
            running.operator("expert", "replicate", expert["id"], str(len(nodes) + 1), check=False)
            done["copies"] += 1
        elif free:
            running.operator("expert", "move", expert["id"], str(free[0]), check=False)
            done["moves"] += 1
    return done, turns


def row_streams(options):
    asked = chaos.bodies(tokens=64)
    ratios, failed, different, said = [], 0, 0, {}
    flags = ["--attention-nodes", "1", "--expert-nodes", str(EXPERT_NODES), "--replicas", "2",
             "--restart", "--expert-policy", "off"]
    with up(options, *flags) as running:
        expected = chaos.expected_of(running.url, asked)
        for _ in range(options.repeats):
            with chaos.Ledger(running.url, asked, 8) as ledger:
                done, turns = disturb(running, time.monotonic(), options.phase)
            bad, other = ledger.check(expected)
            failed, different = failed + len(bad), different + len(other)
            said = {k: said.get(k, 0) + n for k, n in done.items()}
            with chaos.Ledger(running.url, asked, 8) as calm:
                look_on(running, time.monotonic(), turns)
            ratios.append(percentile(gaps_of(ledger.answers), 0.99)
                          / percentile(gaps_of(calm.answers), 0.99))
    ratio = statistics.median(ratios)
    return {"row": "streams", "figure": ratio, "least": min(ratios), "most": max(ratios),
            "asked": "p99 between tokens <= 1.3x, 0 failed",
            "met": ratio <= 1.3 and failed + different == 0,
            "detail": ", ".join(f"{n} {k}" for k, n in said.items())
                      + f"; {failed} failed, {different} differ"}


# ---- a node joins -------------------------------------------------------------------------------

def row_join(options):
    """From the start of an expert node's process until it has experts in use."""
    took = []
    flags = ["--attention-nodes", "1", "--expert-nodes", str(EXPERT_NODES), "--replicas", "2",
             "--restart"]
    with up(options, *flags) as running:
        asked = bodies_of("drama")
        with chaos.Ledger(running.url, asked, 4):
            for turn in range(options.repeats):
                node = running.of("expert")[turn % EXPERT_NODES]
                old = node.pid
                life = running.operator("node", "show", str(node.id))["life"]
                node.signal(15)

                def is_new():
                    running.follow_restarts()
                    return node.pid != old and node.is_running()
                chaos.until("the node's process is there again", is_new, 30)

                def serves():
                    shown = running.operator("node", "show", str(node.id), check=False)
                    return shown and shown["life"] > life and shown["experts_placed"] > 0
                chaos.until("the node serves", serves, 30)
                took.append(age_of(node.pid))
                chaos.until("the cluster is whole", lambda: chaos.is_healthy(running), 60)
    figure = statistics.median(took)
    return {"row": "join", "figure": figure, "least": min(took), "most": max(took),
            "asked": "<= 3 s", "met": figure <= 3.0, "detail": "seconds after the process began"}


def age_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        started = int(stat.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/uptime", encoding="ascii") as uptime:
        return float(uptime.read().split()[0]) - started / os.sysconf("SC_CLK_TCK")


# ---- weights on their way ------------------------------------------------------------------------

EXPERT_BYTES = 3 * 2048 * 1408 * 2  # of v2-lite, bfloat16


def row_transfer(options):
    """A node without a checkpoint fetches from the one that has all, then one loads from its own,
    which is not in memory; each beside a plain copy of as many bytes."""
    by_peer, by_disk, rates = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        model = wide_checkpoint(folder, layers=3)
        own = shutil.copytree(model, Path(folder) / "own")
        for _ in range(options.repeats):
            with UnequalCluster(options.binary, model, [None], "--max-seq-len", "256",
                                "--replicas", "1") as running:
                rate, total = transfer.load_rate(running, running.join("fetcher"), EXPERT_BYTES)
                plain = transfer.tcp_rate(total)
                read = transfer.disk_rate(transfer.weights_of(own), total)
                loaded, _ = transfer.load_rate(
                    running, running.join("loader", "--model", str(own)), EXPERT_BYTES)
            by_peer.append(rate / plain)
            by_disk.append(loaded / read)
            rates.append((rate, plain, loaded, read))
    peer, disk = statistics.median(by_peer), statistics.median(by_disk)
    said = [statistics.median(column) / 1e9 for column in zip(*rates)]
    return {"row": "transfer", "figure": min(peer, disk), "least": min(by_peer + by_disk),
            "most": max(by_peer + by_disk), "asked": ">= 0.7 of a plain copy",
            "met": min(peer, disk) >= 0.7,
            "detail": f"from a peer {said[0]:.2f} GB/s, plain TCP {said[1]:.2f}: {peer:.2f}; from "
                      f"disk {said[2]:.2f} GB/s, plain read {said[3]:.2f}: {disk:.2f}"}


# ---- what it costs ------------------------------------------------------------------------------

def row_machinery(options):
    """The same even load in one cluster, with one placement, under the policies auto and off.
    Measured as auto, off, off, auto: what drifts with the machine falls out."""
    ratios = []
    names = list(DOMAINS)
    asked = [bodies_of(names[i % 3], 96)[i] for i in range(8)]
    with up(options, *SPARE, "--expert-policy", "auto") as running:
        with chaos.Ledger(running.url, sum((bodies_of(d) for d in DOMAINS), []), 16):
            chaos.pause(QUIET_S)

        def rate(policy):
            running.operator("expert", "policy", policy)
            return tokens_per_second(running.url, asked)
        for _ in range(4 * options.repeats):
            first, off, still_off, last = (rate(p) for p in ("auto", "off", "off", "auto"))
            ratios.append((first + last) / (off + still_off))
    ratio = statistics.median(ratios)
    return {"row": "machinery", "figure": ratio, "least": min(ratios), "most": max(ratios),
            "asked": ">= 0.99 of the tokens/s", "met": ratio >= 0.99,
            "detail": f"{len(ratios)} times auto, off, off, auto"}


# ---- a day of a thousand nodes ------------------------------------------------------------------

def row_day(options):
    program = ROOT / "build/bench/bench/elastic_day"
    if not program.exists():
        sys.exit("bench/elastic: build it first: cmake --preset bench && ninja -C build/bench "
                 "elastic_day")
    begin = time.monotonic()
    done = subprocess.run([str(program)] + (["--json"] if options.json else []),
                          stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - begin
    if not options.json:
        print(done.stdout, end="")
    return {"row": "day", "figure": seconds, "least": seconds, "most": seconds,
            "asked": "<= 300 s", "met": done.returncode == 0 and seconds <= 300,
            "detail": json.loads(done.stdout) if options.json else "see the table above"}


ROWS = {"balance": row_balance, "hot": row_hot, "streams": row_streams, "join": row_join,
        "transfer": row_transfer, "machinery": row_machinery, "day": row_day}


def main():
    parser = arguments_of(__doc__, ROWS, repeats=3)
    parser.add_argument("--turns", type=int, default=1,
                        help="of the three domains, for the row `balance`")
    parser.add_argument("--phase", type=float, default=20.0,
                        help="seconds of each phase of the row `streams`")
    return run(parser, ROWS)


if __name__ == "__main__":
    sys.exit(main())
