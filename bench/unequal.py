"""Clusters of unequal nodes on one machine: expert nodes in control groups with processor quotas.

The front (coordinator, gateway, attention) is not limited; its share of the work is small beside
that of experts at these quotas. Each node's process starts inside its group, so that it sees its
quota when it measures itself.
"""

import contextlib
import json
import os
import pathlib
import select
import subprocess
import tempfile
import time

PERIOD_US = 20_000  # short, so that a node stands still for milliseconds and not for a tenth


class CpuGroup:
    """A control group with a processor quota, of version 2 or 1."""

    made = 0

    def __init__(self, processors):
        self.dir = None
        CpuGroup.made += 1
        name = f"atoll-unequal-{os.getpid()}-{CpuGroup.made}"
        for root, is_version_2 in self._roots():
            group = root / name
            with contextlib.suppress(OSError):
                group.mkdir()
                quota = max(int(processors * PERIOD_US), 1000)
                try:
                    if is_version_2:
                        (group / "cpu.max").write_text(f"{quota} {PERIOD_US}")
                    else:
                        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                        (group / "cpu.cfs_quota_us").write_text(str(quota))
                    self.dir = group
                    return
                except OSError:
                    group.rmdir()
        raise OSError("control groups with processor quotas cannot be made here")

    @staticmethod
    def _roots():
        """Where this process's own group is, of each hierarchy that may have the controller."""
        for line in pathlib.Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, names, own = line.split(":", 2)
            if not names:
                for root in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
                    yield pathlib.Path(root + own), True
            elif "cpu" in names.split(","):
                yield pathlib.Path(f"/sys/fs/cgroup/{names}{own}"), False

    def within(self):
        """Words in front of a program that runs in the group."""
        return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.dir)]

    def remove(self):
        with contextlib.suppress(OSError):
            self.dir.rmdir()


def why_not():
    """Why unequal nodes cannot be made on this machine; empty where they can."""
    try:
        CpuGroup(0.5).remove()
    except OSError as error:
        return str(error)
    return ""


class UnequalCluster:
    """One front and an expert node for each of `processors`: its quota, None for all there are."""

    def __init__(self, binary, model, processors, *front_flags):
        self.binary, self.model = binary, model
        self.undo = contextlib.ExitStack()
        self.dir = pathlib.Path(self.undo.enter_context(tempfile.TemporaryDirectory()))
        try:
            self._begin(processors, front_flags)
        except BaseException:
            self.undo.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.undo.close()

    def _begin(self, processors, front_flags):
        home, key = self.dir / "front", self.dir / "admin.key"
        self._run("cluster", "init", "--dir", str(home), "--admin-key-out", str(key))
        front = self._start("front", [], "--role", "coordinator,gateway,attention", "--dir",
                            str(home), "--model", self.model, "--listen", "127.0.0.1:0",
                            "--api-listen", "127.0.0.1:0", "--control", "127.0.0.1:0",
                            "--expert-nodes-min", str(len(processors)), "--threads", "1",
                            *front_flags)
        self.control = self._control_url(home)
        self.operator_flags = ["--server", self.control, "--ca", str(home / "ca.pem"),
                               "--admin-key-file", str(key)]
        token = self.dir / "expert.token"
        self.operator("join-token", "create", "--role", "expert", "--uses", str(len(processors)),
                      "--out", str(token))
        nodes = []
        for i, share in enumerate(processors):
            before = []
            if share is not None:
                group = CpuGroup(share)
                self.undo.callback(group.remove)
                before = group.within()
            nodes.append(self._expert(f"node-{i}", before, token, "--model", self.model))
        for node in nodes:
            self._ready(node)
        self.url = self._ready(front)["url"]

    def _expert(self, name, before, token, *flags):
        return self._start(name, before, "--role", "expert", "--dir", str(self.dir / name),
                           "--join", self.control, "--token-file", str(token), *flags)

    def join(self, name, *flags):
        """The process of one more expert node, which has just begun."""
        token = self.dir / f"{name}.token"
        self.operator("join-token", "create", "--role", "expert", "--uses", "1", "--out",
                      str(token))
        return self._expert(name, [], token, *flags)

    def _control_url(self, home):
        """The coordinator's API listens before the cluster has a placement."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, KeyError):
                kept = json.loads((home / "addresses.json").read_text(encoding="utf-8"))
                if kept["api"]:
                    return "https://" + kept["api"]
            select.select([], [], [], 0.1)
        raise AssertionError(f"the front did not start: {self.said('front')}")

    def _start(self, name, before, *flags):
        with open(self.dir / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [*before, self.binary, "node", "run", "--name", name, "--data-interface", "lo",
                 "--json", *flags], stdout=subprocess.PIPE, stderr=log, text=True)

        def end():
            process.kill()
            process.wait()
            process.stdout.close()
        self.undo.callback(end)
        process.name = name
        return process

    def _ready(self, process):
        ready, _, _ = select.select([process.stdout], [], [], 240)
        line = process.stdout.readline() if ready else ""
        if not line:
            raise AssertionError(f"{process.name} did not start: {self.said(process.name)}")
        return json.loads(line)

    def said(self, name):
        return (self.dir / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def _run(self, *arguments):
        done = subprocess.run([self.binary, *arguments], capture_output=True, text=True,
                              timeout=120, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(arguments)}: {done.returncode} {done.stderr}")
        return done.stdout

    def operator(self, *arguments):
        out = self._run(*arguments, *self.operator_flags, "--json")
        return json.loads(out) if out.strip() else None
