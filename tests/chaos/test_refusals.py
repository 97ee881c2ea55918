"""What a live cluster is lied to with, and what the machine it runs on gets wrong: each is refused
with a clear message where the person looks, and the cluster goes on as it was.
"""

import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import socket
import ssl
import struct
import subprocess
import time

import pytest

from cluster import (BINARY, MODEL, PATIENCE, SEED, LocalCluster, bodies, expected_of, is_healthy,
                     pause, stream, until)

FAKETIME = next(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
GARBAGE_SECONDS = 4.0
GROWTH_MAX = 16 << 20


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster("--attention-nodes", "1", "--expert-nodes", "2", "--replicas", "2",
                      "--data-transport", "tls", "--restart") as running:
        running.asked = bodies(tokens=16, count=4)
        running.expected = expected_of(running.url, running.asked)
        running.home = pathlib.Path(running.info["dir"])
        yield running


@pytest.fixture(autouse=True)
def as_it_was(cluster):
    yield
    until("the cluster is whole", lambda: is_healthy(cluster), 30)
    for body, wanted in zip(cluster.asked, cluster.expected):
        assert stream(cluster.url, body).same_as(wanted)


def log_of(cluster, node):
    name = node if isinstance(node, str) else node.name
    return (cluster.home / f"{name}.log").read_text(encoding="utf-8", errors="replace")


def coordinator_log(cluster):
    return log_of(cluster, cluster.of("coordinator")[0])


class Stranger:
    """A process that wants to be an expert node of the cluster."""

    def __init__(self, cluster, home, *arguments, environment=None):
        self.cluster = cluster
        self.home = home
        self.log = home.with_suffix(".said")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", BINARY, "node", "run", "--role", "expert",
                 "--dir", str(home), "--data-interface", "lo", "--data-transport", "tls",
                 "--threads", "1", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=log,
                env={**os.environ, **(environment or {})})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        card = self.home / "node.json"
        if card.exists():
            number = json.loads(card.read_text())["node"]
            self.cluster.operator("node", "remove", str(number), "--force", check=False)

    def said(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def end(self):
        return self.process.wait(60 * PATIENCE)


def make_token(cluster, tmp_path, *more):
    file = tmp_path / f"token-{time.monotonic_ns()}"
    cluster.operator("join-token", "create", "--role", "expert", "--out", str(file), *more)
    return ("--join", cluster.info["control"], "--token-file", file)


def test_a_token_that_has_expired(cluster, tmp_path):
    token = make_token(cluster, tmp_path, "--ttl", "1s")
    pause(1.5)
    with Stranger(cluster, tmp_path / "late", "--model", MODEL, *token) as late:
        assert late.end() != 0
        assert "expired" in late.said(), late.said()
    assert "expired" in coordinator_log(cluster)


def test_weights_that_differ_where_no_fingerprint_looks(cluster, tmp_path):
    """Same names, shapes and samples; in every matrix of an expert one bit is another."""
    other = tmp_path / "model"
    shutil.copytree(MODEL, other)
    changed = 0
    for file in other.glob("*.safetensors"):
        with open(file, "r+b") as weights:
            size = struct.unpack("<Q", weights.read(8))[0]
            tensors = json.loads(weights.read(size))
            for name, entry in tensors.items():
                first, last = entry.get("data_offsets", (0, 0))
                if ".experts." not in name or last - first <= 2 * 4096 + 64:
                    continue
                weights.seek(8 + size + (first + last) // 4 * 2)
                byte = weights.read(1)
                weights.seek(-1, os.SEEK_CUR)
                weights.write(bytes([byte[0] ^ 0x40]))
                changed += 1
    if not changed:
        pytest.skip("every byte of an expert is in the fingerprint: they are too small here")
    token = make_token(cluster, tmp_path)
    with Stranger(cluster, tmp_path / "odd", "--model", other, *token):
        until("it is told",
              lambda: "differently from the other holders" in coordinator_log(cluster), 30)


@pytest.mark.skipif(FAKETIME is None, reason="the package libfaketime is not installed")
@pytest.mark.parametrize("off", ["+1h", "-1h"])
def test_a_clock_that_is_an_hour_off(cluster, tmp_path, off):
    # Of the steady clock nothing is faked, or waits would never end.
    wrong = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": off, "DONT_FAKE_MONOTONIC": "1"}
    token = make_token(cluster, tmp_path)
    with Stranger(cluster, tmp_path / "off", "--model", MODEL, *token, environment=wrong) as joins:
        assert joins.end() != 0
        assert "clock" in joins.said() and "set them" in joins.said(), joins.said()
    right = Stranger(cluster, tmp_path / "off", "--model", MODEL, *token)
    until("it is ready", lambda: "is ready" in right.said(), 30)
    right.process.terminate()
    assert right.end() == 0
    begins = len(right.said())
    with Stranger(cluster, tmp_path / "off", "--model", MODEL, environment=wrong) as again:
        until("it says what is wrong", lambda: "clock" in again.said()[begins:], 30)
        pause(3.0)
        said = again.said()[begins:]
        assert "is ready" not in said, said
        assert said.count("set them") <= 2, said


def ports_of(pid):
    """That a process listens on."""
    sockets = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            sockets.add(os.readlink(f"/proc/{pid}/fd/{entry}"))
    found = []
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
            found.append(int(words[1].split(":")[1], 16))
    return sorted(found)


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) << 10
    return 0


def send_to(port, *pieces):
    """Says something on a port and reads a little of the answer."""
    with contextlib.suppress(OSError):
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as there:
            for piece in pieces:
                there.sendall(piece)
            there.settimeout(0.05)
            there.recv(4096)


def garbage(source):
    kind = source.randrange(4)
    if kind == 0:
        return source.randbytes(source.randrange(1, 4096))
    if kind == 1:  # a TLS record that claims the most
        return b"\x16\x03\x01\xff\xff" + source.randbytes(source.randrange(4096))
    if kind == 2:  # a frame without TLS that claims the most
        return b"ATOL\x01\x00\x05\x00" + b"\x00" * 4 + b"\xff" * 12 + source.randbytes(60)
    return b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999\r\n\r\n" + \
        source.randbytes(200)


def test_garbage_on_all_ports(cluster):
    """Memory and log stay small, and nobody else notices."""
    source = random.Random(SEED)
    victims = {node: ports_of(node.pid) for node in cluster.nodes if node.role != "gateway"}
    assert all(len(ports) >= 2 for ports in victims.values()), victims
    before = {node: (resident_bytes(node.pid), len(log_of(cluster, node).splitlines()),
                     node.descriptors()) for node in victims}
    sent = 0
    ends = time.monotonic() + GARBAGE_SECONDS
    while time.monotonic() < ends:
        for node, ports in victims.items():
            send_to(source.choice(ports), garbage(source))
            sent += 1
    assert sent > 20
    for node, (resident, lines, _) in before.items():
        said = log_of(cluster, node).splitlines()[lines:]
        assert resident_bytes(node.pid) - resident < GROWTH_MAX, node.name
        assert len(said) < 40, said
        assert any("refused" in line or "TLS" in line for line in said), (node.name, said)
    for node, (_, _, descriptors) in before.items():
        until(f"{node.name} has let go", lambda n=node, d=descriptors: n.descriptors() <= d + 8, 15)


def greeting(sender, life, receiver, version=1):
    return struct.pack("<IHHIIQQq", 0x474C5441, version, 0, sender, receiver, life, 0,
                       int(time.time())).ljust(64, b"\0")


def header(sender, life, receiver, **changed):
    f = {"magic": b"ATOL", "version": 1, "kind": 12, "flags": 0, "reserved": 0, "metadata": 0,
         "payload": 0, "sequence": 1, **changed}
    return struct.pack("<4sHHHHIQIIIIQQQQQ", f["magic"], f["version"], f["kind"], f["flags"],
                       f["reserved"], f["metadata"], f["payload"], sender, receiver, 4, 4, life, 0,
                       f["sequence"], 0, 0)


def test_frames_of_a_member_that_lie(cluster):
    """With a certificate of the cluster: bad greetings, and frames with bad headers."""
    liar = cluster.of("expert")[0]
    target = cluster.of("coordinator")[0]
    life = cluster.operator("node", "show", str(liar.id))["life"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cluster.home / liar.name / "ca.pem")
    context.load_cert_chain(cluster.home / liar.name / "node.pem",
                            cluster.home / liar.name / "node.key")
    control = int(json.loads((cluster.home / liar.name / "node.json").read_text())
                  ["control"].rsplit(":", 1)[1])
    resident = resident_bytes(target.pid)
    good = greeting(liar.id, life, target.id)
    lies = {
        "is over": greeting(liar.id, 1, target.id),
        "greets a node": greeting(liar.id + 1, life, target.id),
        "version": greeting(liar.id, life, target.id, version=9),
        "no greeting": b"\xff" * 64,
        "magic": good + header(liar.id, life, target.id, magic=b"LOTA"),
        "": good + header(liar.id, life, target.id, metadata=0xFFFFFFFF),
        " ": good + header(liar.id, life, target.id, payload=1 << 62),
        "source": good + header(liar.id + 1, life, target.id),
        "life": good + header(liar.id, life - 1, target.id),
        "checksum": good + header(liar.id, life, target.id, sequence=1 << 40),
    }
    for said, bytes_sent in lies.items():
        with socket.create_connection(("127.0.0.1", control), timeout=5 * PATIENCE) as plain:
            with context.wrap_socket(plain) as there:
                there.sendall(bytes_sent)
                with contextlib.suppress(ssl.SSLError, ConnectionResetError):
                    while there.recv(4096):  # until it is closed by the other side
                        pass
        until(f"the coordinator says why: {said}", lambda s=said: s in coordinator_log(cluster), 5)
    assert resident_bytes(target.pid) - resident < GROWTH_MAX


def test_a_copied_state_directory(cluster, tmp_path):
    """Two processes that are one node: one of them ends, and says why. Here the node of before is
    started again where it was that one, so that it is the copy in the end."""
    node = cluster.of("expert")[0]
    shutil.copytree(cluster.home / node.name, tmp_path / "copy")
    copy = Stranger(cluster, tmp_path / "copy", "--model", MODEL)
    try:
        until("the copy has ended", lambda: copy.process.poll() is not None, 60)
        assert copy.process.returncode != 0
        last = copy.said().splitlines()[-1]
        assert "another process is this node: two must not share one state directory" in last, last
        assert copy.said().count("another process is this node") <= 4, copy.said()
    finally:
        copy.process.kill()
        copy.process.wait()
    until("the node is back", cluster.is_whole, 60)


def test_a_certificate_of_another_authority(cluster, tmp_path):
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                           "ec_paramgen_curve:P-256", "-nodes", "-keyout", tmp_path / "key",
                           "-out", tmp_path / "pem", "-subj", "/CN=node-3", "-days", "2"],
                          capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(tmp_path / "pem", tmp_path / "key")
    for node in cluster.nodes:
        if node.role == "gateway":
            continue
        lines = len(log_of(cluster, node).splitlines())
        refused = 0
        for port in ports_of(node.pid):
            with contextlib.suppress(OSError):
                with socket.create_connection(("127.0.0.1", port), timeout=5 * PATIENCE) as plain:
                    with context.wrap_socket(plain) as there:
                        there.sendall(greeting(3, 1, node.id))
                        if there.recv(40):
                            continue
            refused += 1
        assert refused >= 1
        until("the refusal is said", lambda n=node, at=lines: re.search(
            "certificate|self-signed", "\n".join(log_of(cluster, n).splitlines()[at:])), 5)


def tls_to(port, home):
    """A connection with the certificate of a directory, as that node makes one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(home / "ca.pem")
    context.load_cert_chain(home / "node.pem", home / "node.key")
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=5 * PATIENCE))


def is_greeted(port, sender, life, receiver, home):
    """Whether a node answers that it is welcome; not, where TLS refuses it."""
    with contextlib.suppress(OSError):
        with tls_to(port, home) as there:
            there.sendall(greeting(sender, life, receiver))
            said = there.recv(64)
            return len(said) == 64 and said[6:8] == b"\0\0"
    return False


def ready_stranger(cluster, home, token):
    joins = Stranger(cluster, home, "--model", MODEL, *token)
    until("it is ready", lambda: "is ready" in joins.said(), 30)
    return joins, json.loads((home / "node.json").read_text())["node"]


def test_a_removed_node_is_believed_by_nobody(cluster, tmp_path):
    """Nor by one that has never met it; and what it has open is closed."""
    home = tmp_path / "gone"
    gone, number = ready_stranger(cluster, home, make_token(cluster, tmp_path))
    with gone:
        life = cluster.operator("node", "show", str(number))["life"]
        others = [n for n in cluster.nodes if n.role in ("expert", "attention")]
        doors = [(n, p) for n in others for p in ports_of(n.pid)
                 if is_greeted(p, number, life, n.id, home)]
        assert {n.name for n, _ in doors} == {n.name for n in others}
        kept = [tls_to(port, home) for _, port in doors]
        for there, (node, _) in zip(kept, doors):
            there.sendall(greeting(number, life, node.id))
            assert len(there.recv(64)) == 64
        gone.process.send_signal(19)  # SIGSTOP: it goes on later, and knows nothing
        cluster.operator("node", "remove", str(number), "--force")
        removed = time.monotonic()
        for there in kept:
            there.settimeout(5 * PATIENCE)
            with contextlib.suppress(OSError):
                assert there.recv(1) == b"", "it is closed"
            there.close()
        for node, port in doors:
            assert not is_greeted(port, number, life, node.id, home)
            assert f"the certificate of node {number} is revoked" in log_of(cluster, node)
        assert time.monotonic() - removed < 5 * PATIENCE
        later, _ = ready_stranger(cluster, tmp_path / "later", make_token(cluster, tmp_path))
        with later:
            own = json.loads((tmp_path / "later" / "node.json").read_text())["node"]
            for port in ports_of(later.process.pid):
                assert not is_greeted(port, number, life, own, home)
            assert f"the certificate of node {number} is revoked" in later.said()
        gone.process.send_signal(18)
        assert gone.end() != 0
        assert f"node {number} was removed from the cluster" in gone.said(), gone.said()


def test_a_revoked_certificate(cluster, tmp_path):
    home = tmp_path / "leaked"
    leaked, number = ready_stranger(cluster, home, make_token(cluster, tmp_path))
    with leaked:
        mine = [c for c in cluster.operator("certificate", "list") if c["node"] == number]
        assert [c["state"] for c in mine] == ["valid"]
        serial = mine[0]["serial"]
        assert cluster.operator("certificate", "revoke", serial)["state"] == "revoked"
        assert leaked.end() != 0
        assert f"certificate {serial} of node {number} was revoked; join again with a new token" \
            in leaked.said().splitlines()[-1], leaked.said()
        assert "is revoked" in coordinator_log(cluster)
        shown = [c["state"] for c in cluster.operator("certificate", "list") if c["node"] == number]
        assert shown == ["revoked"]
        with pytest.raises(AssertionError, match=": 5 .*404"):
            cluster.operator("certificate", "revoke", "0" * 32)
        # Nor is it let in from the start.
        again = Stranger(cluster, home, "--model", MODEL)
        assert again.end() != 0
        assert "was revoked" in again.said().splitlines()[-1], again.said()
