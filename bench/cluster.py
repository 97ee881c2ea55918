#!/usr/bin/env python3
"""The figures of a cluster of processes, each against what is asked of it, measured in one run.

Usage: bench/cluster [--only ROW]... [--repeats N] [--json] [--binary ATOLL] [--transport ucx|tls]

Every row starts clusters of its own by `atoll local up` on this machine: nodes, clients and faults
share its cores. What is compared is measured by turns, so that a change of the machine's other load
meets both sides. A gap is the longest time between two pieces of one stream; the figure is the
99th percentile over the streams that ran when the fault struck. Exit status: 0, or 1 where a row
misses.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import unequal
from rows import arguments_of, chaos, percentile, run, tokens_per_second, wide_checkpoint

IDLE_S = 10.0
SETTLE_S = 5.0


def up(options, *flags, model=chaos.MODEL, transport=None):
    return chaos.LocalCluster("--data-transport", transport or options.transport, *flags,
                              model=model)


def wait_healthy(running):
    def is_whole():
        running.follow_restarts()
        status = running.operator("cluster", "status", check=False)
        return status and status.get("state") == "healthy"
    chaos.until("the cluster is whole", is_whole, 60)


def expected_of(running, asked):
    answers = [chaos.stream(running.url, body, i) for i, body in enumerate(asked)]
    for answer in answers:
        if answer.error:
            sys.exit(f"bench/cluster: a request failed on the undisturbed cluster: {answer.error}")
    return answers


# ---- one process against four -------------------------------------------------------------------

def eight_streams(model, tokens=48):
    return [{"model": model, "max_tokens": tokens, "ignore_eos": True, "temperature": 0,
             "prompt": [(i * 997 + j * 31) % 5000 + 10 for j in range(16)]} for i in range(8)]


class OneProcess:
    def __init__(self, options, model, *flags):
        self.log = tempfile.TemporaryFile(mode="w+")
        self.process = subprocess.Popen(
            [options.binary, "serve", model, "--listen", "127.0.0.1:0", *flags],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.url = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def row_processes(options):
    ratios, ones, fours = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        model = wide_checkpoint(folder)
        name = Path(model).name
        flags = ["--batch-size", "8", "--max-seq-len", "256"]
        with OneProcess(options, model, *flags) as one, \
                up(options, "--attention-nodes", "1", "--expert-nodes", "3", "--replicas", "1",
                   *flags, model=model) as four:
            for url in (one.url, four.url):
                tokens_per_second(url, eight_streams(name))
            for _ in range(options.repeats):
                ones.append(tokens_per_second(one.url, eight_streams(name, 128)))
                fours.append(tokens_per_second(four.url, eight_streams(name, 128)))
                ratios.append(fours[-1] / ones[-1])
    ratio = statistics.median(ratios)
    return {"row": "processes", "figure": ratio, "least": min(ratios), "most": max(ratios),
            "asked": ">= 0.9", "met": ratio >= 0.9,
            "detail": f"one process {statistics.median(ones):.1f} tokens/s, 1 + 3 processes "
                      f"{statistics.median(fours):.1f}"}


# ---- unequal nodes ------------------------------------------------------------------------------

def row_unequal(options):
    """Expert nodes with quotas of 1 : 2 : 4: each alone, all with an even split, all balanced."""
    why = unequal.why_not()
    if why:
        return {"row": "unequal", "figure": 0, "least": 0, "most": 0, "asked": ">= 0.85",
                "met": True, "detail": f"skipped: {why}"}
    quotas = [options.quota * n for n in (1, 2, 4)]
    flags = ["--batch-size", "8", "--max-seq-len", "256", "--replicas", "1"]
    with tempfile.TemporaryDirectory() as folder:
        model = wide_checkpoint(folder, layers=3)
        name = Path(model).name

        def rate(quotas, *more, settle=0):
            with unequal.UnequalCluster(options.binary, model, quotas, *flags, *more) as cluster:
                begin = time.monotonic()
                tokens_per_second(cluster.url, eight_streams(name, 4))
                while time.monotonic() - begin < settle:
                    tokens_per_second(cluster.url, eight_streams(name, 16))
                seen = [tokens_per_second(cluster.url, eight_streams(name, 12))
                        for _ in range(max(1, options.repeats // 2))]
                nodes = [n for n in cluster.operator("node", "list") if n["role"] == "expert"]
                held = "/".join(str(n["experts"]) for n in nodes)
                speeds = "/".join(str(n["speed_now"] or n["speed"]) for n in nodes)
                return statistics.median(seen), f"{held} experts at {speeds} rows/s"
        alone = [rate([quota])[0] for quota in quotas]
        even, even_detail = rate(quotas, *policy(options, "off"))
        balanced, detail = rate(quotas, *policy(options, "auto"), settle=options.settle)
    ratio = balanced / sum(alone)
    return {"row": "unequal", "figure": ratio, "least": ratio, "most": ratio,
            "asked": ">= 0.85 of the sum alone", "met": ratio >= 0.85,
            "detail": f"balanced {balanced:.2f} tokens/s ({detail}), alone "
                      f"{' + '.join(f'{r:.2f}' for r in alone)}, even split {even:.2f} = "
                      f"{even / sum(alone):.3f} of the sum ({even_detail})"}


def policy(options, name):
    """The flag, where the program knows it."""
    said = subprocess.run([options.binary, "node", "run", "--help"], capture_output=True, text=True,
                          check=True).stdout
    return ["--expert-policy", name] if "--expert-policy" in said else []


# ---- faults -------------------------------------------------------------------------------------

def struck(options, hurt, role, streams=16, tokens=160):
    """Gaps of the streams that ran when the fault struck, and how many failed or differ."""
    gaps, failed, different = [], 0, 0
    asked = [{**body, "max_tokens": tokens} for body in chaos.bodies(count=streams)]
    with up(options, "--attention-nodes", "2", "--expert-nodes", "3", "--replicas", "2",
            "--restart", "--batch-size", str(streams)) as running:
        expected = expected_of(running, asked)
        for turn in range(options.repeats):
            wait_healthy(running)
            victims = running.of(role)
            ledger = chaos.Ledger(running.url, asked, streams, requests=streams)
            with ledger:
                pause_until_streams(running)
                hurt(victims[turn % len(victims)])
                ledger.wait()
            bad, other = ledger.check(expected)
            failed += len(bad)
            different += len(other)
            gaps += [a.longest_gap() for a in ledger.answers if not a.error]
    return gaps, failed, different


def pause_until_streams(running):
    def are_running():
        nodes = running.operator("node", "list", check=False) or []
        return sum(n.get("sequences", 0) for n in nodes) > 0
    chaos.until("streams run", are_running, 30)


def fault_row(name, options, hurt, role, limit):
    gaps, failed, different = struck(options, hurt, role)
    p99 = percentile(gaps, 0.99)
    return {"row": name, "figure": p99, "least": min(gaps, default=0), "most": max(gaps, default=0),
            "asked": f"<= {limit} s, 0 failed", "met": p99 <= limit and failed + different == 0,
            "detail": f"{failed} failed, {different} differ of {len(gaps) + failed} streams"}


def row_kill_expert(options):
    return fault_row("kill-expert", options, lambda n: n.kill(), "expert", 0.5)


def row_kill_attention(options):
    return fault_row("kill-attention", options, lambda n: n.kill(), "attention", 1.0)


def row_freeze(options):
    def freeze(node):
        node.freeze()

        def thaw():
            try:
                node.thaw()
            except ProcessLookupError:
                pass  # all streams had ended, and so has the cluster
        threading.Timer(6.0, thaw).start()
    return fault_row("freeze", options, freeze, "expert", 2.5)


def row_thousand(options):
    """1,000 requests while nodes are killed and started again every few seconds."""
    asked = chaos.bodies(tokens=24)
    source = random.Random(options.seed)
    with up(options, "--attention-nodes", "2", "--expert-nodes", "3", "--replicas", "2",
            "--restart") as running:
        expected = expected_of(running, asked)
        wait_healthy(running)
        base = {n.name: n.descriptors() for n in running.nodes}
        kills = 0
        begin = time.monotonic()
        with chaos.Ledger(running.url, asked, 16, requests=options.requests) as ledger:
            while any(t.is_alive() for t in ledger.threads):
                chaos.pause(source.uniform(1.0, 3.0))
                if not any(t.is_alive() for t in ledger.threads):
                    break
                source.choice(running.of("expert") + running.of("attention")).kill()
                kills += 1
                wait_healthy(running)
        seconds = time.monotonic() - begin
        failed, different = ledger.check(expected)
        wait_healthy(running)

        def is_back_at_base():
            nodes = running.operator("node", "list")
            return (sum(n.get("sequences", 0) + n.get("pages_used", 0) for n in nodes) == 0
                    and all(n.descriptors() <= base[n.name] + 8 for n in running.nodes))
        try:
            chaos.until("pages and descriptors are back", is_back_at_base, SETTLE_S)
            is_clean = True
        except AssertionError:
            is_clean = False
    for answer in failed[:3]:
        print(f"  request {answer.index}: {answer.error}", file=sys.stderr)
    return {"row": "thousand", "figure": len(failed) + len(different), "least": 0, "most": 0,
            "asked": "0 failed or different, all given back",
            "met": not failed and not different and is_clean,
            "detail": f"{len(ledger.answers)} requests, {kills} kills in {seconds:.0f} s; "
                      f"{len(failed)} failed, {len(different)} differ; "
                      f"{'all' if is_clean else 'NOT all'} given back"}


def row_idle(options):
    with up(options, "--attention-nodes", "1", "--expert-nodes", "2", "--replicas", "2") as running:
        wait_healthy(running)
        chaos.stream(running.url, chaos.bodies(tokens=4)[0])
        chaos.pause(2.0)
        before = {n.name: n.cpu_seconds() for n in running.nodes}
        chaos.pause(IDLE_S)
        shares = {n.name: (n.cpu_seconds() - before[n.name]) / IDLE_S * 100 for n in running.nodes}
    most = max(shares.values())
    return {"row": "idle", "figure": most, "least": min(shares.values()), "most": most,
            "asked": "<= 2 % of a core each", "met": most <= 2.0,
            "detail": ", ".join(f"{name} {share:.1f} %" for name, share in shares.items())}


ROWS = {"processes": row_processes, "kill-expert": row_kill_expert,
        "kill-attention": row_kill_attention, "freeze": row_freeze, "thousand": row_thousand,
        "idle": row_idle, "unequal": row_unequal}


def main():
    parser = arguments_of(__doc__, ROWS, repeats=5)
    parser.add_argument("--requests", type=int, default=1000, help="of the row `thousand`")
    parser.add_argument("--seed", type=int, default=1, help="of the kills of the row `thousand`")
    parser.add_argument("--quota", type=float, default=0.05,
                        help="of the slowest node of the row `unequal`, in processors")
    parser.add_argument("--settle", type=float, default=25,
                        help="seconds under load before `unequal` counts")
    return run(parser, ROWS)


if __name__ == "__main__":
    sys.exit(main())
