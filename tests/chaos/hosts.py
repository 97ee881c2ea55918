"""A cluster whose nodes are hosts: each a network namespace with an `eth0` on a bridge in one more.

Namespaces are named by this process and go when the `with` block ends. Shared memory passes between
network namespaces, so each node has an IPC namespace too. Clients and operators stand on the
gateway's host: `Hosts` moves the thread that makes it there, and threads and programs follow it.
"""

import contextlib
import ctypes
import fcntl
import heapq
import itertools
import json
import os
import pathlib
import random
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time

from cluster import BINARY, MODEL, PATIENCE, Node, until

NETWORK = "10.99.0"
_numbers = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: {done.returncode} {done.stderr}")
    return done.stdout


def remove_left_behind():
    """Namespaces of a run that was killed."""
    for line in run("ip", "netns", "list").splitlines():
        parts = line.split()[0].split("-")
        if parts[0] == "atoll" and len(parts) > 2 and not os.path.exists(f"/proc/{parts[1]}"):
            run("ip", "netns", "del", line.split()[0])


def why_not():
    """Why there can be no hosts here; empty where there can be."""
    for program in ("ip", "nft", "nsenter", "unshare", "setpriv"):
        if not shutil.which(program):
            return f"the program {program} is not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"atoll-{os.getpid()}-try"
    try:
        remove_left_behind()
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "add", "br0", "type", "bridge")
        run("ip", "netns", "exec", name, "nft", "add table bridge f")
    except AssertionError as failure:
        return f"network namespaces are not allowed: {failure}"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


def enter(path):
    """Moves this thread, and what it starts from now on, to another network namespace."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, 0x40000000) != 0:  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), f"setns {path}")
    finally:
        os.close(descriptor)


class Host(Node):
    """A node in a namespace. It can be started again, with the directory of before."""

    def __init__(self, number, role, name):
        super().__init__({"id": 0, "role": role, "name": name, "pid": 0})
        self.address = f"{NETWORK}.{number}"
        self.port = f"p{number}"  # of the switch
        self.arguments = []
        self.process = None


class MemoryGroup:
    """A control group that limits memory, of version 1 or 2, made below this process's own."""

    def __init__(self):
        self.dir = None
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, names, own = line.split(":", 2)
            if names == "memory":
                self.limit_name, self.oom_name = "memory.limit_in_bytes", "memory.oom_control"
                root = "/sys/fs/cgroup/memory"
            elif not names:
                self.limit_name, self.oom_name = "memory.max", "memory.events"
                root = "/sys/fs/cgroup"
            else:
                continue
            made = pathlib.Path(f"{root}{own}/atoll-{os.getpid()}-{next(_numbers)}")
            with contextlib.suppress(OSError):
                made.mkdir()
                if (made / self.limit_name).exists():
                    self.dir = made
                    return
                made.rmdir()

    def why_not(self):
        return "" if self.dir else "control groups that limit memory cannot be made here"

    def limit(self, size):
        (self.dir / self.limit_name).write_text(str(size))

    def within(self):
        """Words in front of a program that runs in the group."""
        return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.dir)]

    def killed(self):
        for line in (self.dir / self.oom_name).read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def remove(self):
        with contextlib.suppress(OSError):
            self.dir.rmdir()


class Hosts:
    ROLES = ["coordinator", "gateway", "attention", "attention", "expert", "expert", "expert"]

    def __init__(self, transport):
        self.transport = transport
        self.prefix = f"atoll-{os.getpid()}-{next(_numbers)}"
        self.switch = f"{self.prefix}-switch"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="atoll-hosts-"))
        self.disk = self.dir / "coordinator"  # a small file system of its own, as has each node
        self.nodes = [Host(i, role, f"{role}-{i}") for i, role in enumerate(self.ROLES, 1)]
        self.undo = contextlib.ExitStack()

    def __enter__(self):
        try:
            self.undo.callback(shutil.rmtree, self.dir, ignore_errors=True)
            self._wire()
            self._begin()
        except BaseException:
            self.undo.close()
            raise
        return self

    def __exit__(self, *_):
        self.undo.close()

    def of(self, role):
        return [n for n in self.nodes if n.role == role]

    def home(self, node):
        """A node's state directory."""
        return self.disk if node.role == "coordinator" else self.dir / node.name

    def namespace(self, node):
        return f"/run/netns/{self.prefix}-{node.name}"

    def _add_namespace(self, name):
        run("ip", "netns", "add", name)
        self.undo.callback(subprocess.run, ["ip", "netns", "del", name], check=False)

    def _wire(self):
        self._add_namespace(self.switch)
        for bridge in ("br0", "br1"):
            run("ip", "-n", self.switch, "link", "add", bridge, "type", "bridge")
            run("ip", "-n", self.switch, "link", "set", bridge, "up")
        for node in self.nodes:
            own = f"{self.prefix}-{node.name}"
            self._add_namespace(own)
            run("ip", "link", "add", "eth0", "netns", own, "type", "veth",
                "peer", "name", node.port, "netns", self.switch)
            run("ip", "-n", self.switch, "link", "set", node.port, "master", "br0", "up")
            run("ip", "-n", own, "link", "set", "lo", "up")
            run("ip", "-n", own, "addr", "add", f"{node.address}/24", "dev", "eth0")
            run("ip", "-n", own, "link", "set", "eth0", "up")

    def _begin(self):
        home = f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net"
        self.undo.callback(os.close, (back := os.open(home, os.O_RDONLY)))
        self.undo.callback(enter, f"/proc/self/fd/{back}")
        coordinator, gateway = self.of("coordinator")[0], self.of("gateway")[0]
        enter(self.namespace(gateway))

        for node in self.nodes:
            home = self.home(node)
            home.mkdir(mode=0o700)
            run("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(home))
            self.undo.callback(subprocess.run, ["umount", "-l", str(home)], check=False)
        self.undo.callback(self._end)
        key = self.dir / "admin.key"
        run(BINARY, "cluster", "init", "--dir", str(self.disk), "--admin-key-out", str(key))
        self.operator_flags = ["--server", f"https://{coordinator.address}:7400",
                               "--ca", str(self.disk / "ca.pem"), "--admin-key-file", str(key)]
        coordinator.arguments = [
            "--listen", f"{coordinator.address}:7400", "--control", f"{coordinator.address}:7401",
            "--replicas", "2", "--expert-nodes-min", "3"]
        self.start(coordinator)
        self.wait_ready(coordinator)
        for role in ("expert", "attention", "gateway"):
            token = self.dir / f"{role}.token"
            self.operator("join-token", "create", "--role", role, "--uses",
                          str(len(self.of(role))), "--out", str(token))
            for node in self.of(role):
                node.arguments = [
                    "--join", f"https://{coordinator.address}:7400", "--token-file", str(token),
                    "--data-interface", "eth0", "--data-transport", self.transport,
                    "--threads", "1"]
                if self.transport == "ucx":
                    node.arguments += ["--trusted-network", f"{NETWORK}.0/24"]
                if role == "gateway":
                    node.arguments += ["--listen", "127.0.0.1:8000"]
                self.start(node)
        for node in self.nodes[1:]:
            self.wait_ready(node)
        self.url = gateway.url

    def start(self, node, *before):
        """`before`: words in front, of a program that becomes the node."""
        log = open(self.dir / f"{node.name}.log", "ab")
        node.process = subprocess.Popen(
            [*before, "setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.namespace(node)}",
             "unshare", "--ipc", BINARY, "node", "run", "--role", node.role, "--name", node.name,
             "--dir", str(self.home(node)),
             "--model", MODEL, "--json", *node.arguments],
            stdout=subprocess.PIPE, stderr=log, text=True)
        log.close()
        node.pid = node.process.pid

    def restart(self, node, *before):
        """Waits for the end of a node's process, which is at hand, and starts it again."""
        node.process.wait(60 * PATIENCE)
        node.process.stdout.close()
        self.start(node, *before)
        self.wait_ready(node)

    def revive(self, node):
        self.restart(node)

    def is_whole(self):
        return all(n.is_running() for n in self.nodes)

    def wait_ready(self, node):
        ready, _, _ = select.select([node.process.stdout], [], [], 60 * PATIENCE)
        line = node.process.stdout.readline() if ready else ""
        assert line, f"{node.name} did not start: {self.said(node)}"
        said = json.loads(line)
        node.id, node.url = said["id"], said.get("url", "")

    def said(self, node):
        log = self.dir / f"{node.name}.log"
        return log.read_text(encoding="utf-8", errors="replace")[-3000:]

    @contextlib.contextmanager
    def full(self, directory):
        """No byte more fits on the file system of a node's directory."""
        filling = directory / "filling"
        try:
            with open(filling, "wb", buffering=0) as file:
                for size in (65536, 1):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(b"x" * size)
            yield
        finally:
            filling.unlink(missing_ok=True)

    def logs(self):
        return {node.name: self.said(node) for node in self.nodes}

    def _end(self):
        for number in (signal.SIGCONT, signal.SIGKILL):
            for node in self.nodes:
                if node.process and node.process.poll() is None:
                    node.process.send_signal(number)
        for node in self.nodes:
            if node.process:
                node.process.wait()
                node.process.stdout.close()
                node.process = None

    def try_operator(self, *arguments):
        return subprocess.run([BINARY, *arguments, *self.operator_flags, "--json"], text=True,
                              capture_output=True, timeout=120 * PATIENCE, check=False)

    def operator(self, *arguments, check=True):
        done = self.try_operator(*arguments)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(arguments)}: {done.returncode} {done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def sent_bytes(self, node):
        """What the host of a node has sent over its cable."""
        said = json.loads(run("ip", "-j", "-s", "-n", self.switch, "link", "show", node.port))
        return said[0]["stats64"]["rx"]["bytes"]

    @contextlib.contextmanager
    def rules(self, *matches):
        """Frames that the switch forwards and that match are dropped inside. That some were is
        checked: a rule that never matches would be a fault that is always survived."""
        table = "".join(f"add rule bridge f c {match} counter drop\n" for match in matches)
        nft = ["ip", "netns", "exec", self.switch, "nft"]
        run(*nft, "-f", "-", input="add table bridge f\nadd chain bridge f c "
            "{ type filter hook forward priority 0; policy accept; }\n" + table)
        try:
            yield
            said = json.loads(run(*nft, "-j", "list", "table", "bridge", "f"))
            dropped = [part["counter"]["packets"] for entry in said["nftables"]
                       for part in entry.get("rule", {}).get("expr", []) if "counter" in part]
            assert len(dropped) == len(matches) and all(dropped), f"dropped {dropped} of {matches}"
        finally:
            run(*nft, "delete", "table", "bridge", "f")

    def lossy(self, percent):
        """Of all frames between nodes but the coordinator, so many are lost: the data paths."""
        return self.rules(f'iifname != "{self.nodes[0].port}" oifname != "{self.nodes[0].port}" '
                          f'numgen random mod 100 < {percent}')

    def cut(self, node):
        return self.rules(f'iifname "{node.port}"', f'oifname "{node.port}"')

    @contextlib.contextmanager
    def delayed(self, node, least_s, most_s, seed):
        """All frames from and to a node take so long, each its own time, in their order: its port
        goes to a second bridge, and a relay copies frames between the two."""
        relay = Relay(f"/run/netns/{self.switch}", least_s, most_s, seed)
        try:
            for tap, bridge in (("t0", "br0"), ("t1", "br1")):
                run("ip", "-n", self.switch, "link", "set", tap, "master", bridge, "up")
            run("ip", "-n", self.switch, "link", "set", node.port, "master", "br1")
            yield
            assert relay.copied > 0
        finally:
            run("ip", "-n", self.switch, "link", "set", node.port, "master", "br0")
            relay.stop()


class Relay:
    """Copies frames between the devices t0 and t1 of a namespace, late."""

    def __init__(self, namespace, least_s, most_s, seed):
        self.bounds = (least_s, most_s)
        self.random = random.Random(seed)
        self.taps = []
        self.copied = 0
        self.stopping = False
        self.thread = threading.Thread(target=self._work, args=(namespace,), daemon=True)
        self.thread.start()
        until("the relay's devices are there", lambda: len(self.taps) == 2)

    def _work(self, namespace):
        enter(namespace)
        taps = []
        for name in (b"t0", b"t1"):
            tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", name, 0x1002))  # TAP, no header
            taps.append(tap)
        self.taps = taps
        waiting = []  # (when, number, to, frame)
        last = {tap: 0.0 for tap in taps}
        numbers = itertools.count()
        while not self.stopping:
            pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.1
            for tap in select.select(taps, [], [], min(pause, 0.1))[0]:
                with contextlib.suppress(BlockingIOError):
                    frame = os.read(tap, 65536)
                    to = taps[1 - taps.index(tap)]
                    when = max(time.monotonic() + self.random.uniform(*self.bounds), last[tap])
                    last[tap] = when
                    heapq.heappush(waiting, (when, next(numbers), to, frame))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, to, frame = heapq.heappop(waiting)
                with contextlib.suppress(OSError):  # a device that is not up takes nothing
                    os.write(to, frame)
                    self.copied += 1
        for tap in taps:
            os.close(tap)

    def stop(self):
        self.stopping = True
        self.thread.join()
