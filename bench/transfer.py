"""How fast weights come to a node that joins, beside a plain copy of as many bytes."""

import multiprocessing
import os
import select
import socket
import time
from pathlib import Path

BLOCK = 4 << 20
LOOK_S = 0.005
REST_S = 2.0
WAIT_S = 60.0


def _send(port, total):
    block = memoryview(os.urandom(BLOCK))
    with socket.create_connection(("127.0.0.1", port)) as to:
        for _ in range(total // BLOCK):
            to.sendall(block)


def tcp_rate(total):
    """Bytes/s of a plain copy over loopback into fresh memory."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        sender = multiprocessing.Process(target=_send, args=(door.getsockname()[1], total))
        sender.start()
        connection, _ = door.accept()
        with connection:
            into = memoryview(bytearray(total))
            at, begin = 0, time.monotonic()
            while at < total and (taken := connection.recv_into(into[at:at + BLOCK])):
                at += taken
            seconds = time.monotonic() - begin
        sender.join()
    return at / seconds


def forget(path):
    """Out of the page cache, so that what reads it reads the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_rate(path, total):
    """Bytes/s of a plain read of a file that is not in memory."""
    forget(path)
    block = bytearray(BLOCK)
    at, begin = 0, time.monotonic()
    with open(path, "rb", buffering=0) as file:
        while at < total and (taken := file.readinto(block)):
            at += taken
    seconds = time.monotonic() - begin
    forget(path)
    return at / seconds


def weights_of(folder):
    return max(Path(folder).glob("*.safetensors"), key=lambda p: p.stat().st_size)


def _resident(process):
    with open(f"/proc/{process.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def load_rate(cluster, process, expert_bytes):
    """(bytes/s, bytes) of the weights of `process`, which has just begun to join: from a tenth to
    nine tenths of what its memory grows by. Until the first expert comes it holds little."""
    seen, grown_at = [], time.monotonic()
    while time.monotonic() - grown_at < (REST_S if seen and seen[-1][1] > 4 * expert_bytes
                                         else WAIT_S):
        now = (time.monotonic(), _resident(process))
        if not seen or now[1] > seen[-1][1] + BLOCK:
            grown_at = now[0]
        seen.append(now)
        select.select([], [], [], LOOK_S)
    node = next(n for n in cluster.operator("node", "list") if n["name"] == process.name)
    total = node["experts"] * expert_bytes
    base = seen[-1][1] - total
    first = next(t for t, held in seen if held >= base + 0.1 * total)
    last = next(t for t, held in seen if held >= base + 0.9 * total)
    return 0.8 * total / (last - first), total
