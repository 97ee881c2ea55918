"""A cluster of real processes by `atoll local up`, its clients' ledger, and ways to hurt it.

Nothing here sleeps for a fixed time but the schedule of faults, which is drawn from a seed: waits
ask again and again, up to a deadline.
"""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time
from urllib.parse import urlparse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("ATOLL_BINARY", str(ROOT / "build/release/atoll"))
MODEL = str(ROOT / "models/tiny")
# On a machine that does other things too, everything may take so much longer.
PATIENCE = float(os.environ.get("ATOLL_PATIENCE", "1"))
SEED = int(os.environ.get("ATOLL_CHAOS_SEED", "1"))  # of faults
# Of the long run; 0: the short one.
MINUTES = float(os.environ.get("ATOLL_CHAOS_MINUTES", "0"))

# A shell's background jobs ignore it, and so would the programs that are to end by it.
signal.signal(signal.SIGINT, signal.default_int_handler)

_pause = threading.Event()


def pause(seconds):
    _pause.wait(seconds)


def until(what, condition, seconds=5.0):
    """The first true value of condition(); fails after `seconds`, saying what was awaited."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds * PATIENCE:.1f} s: {what}")
        pause(0.02)


class Node:
    """One process of the cluster. Its number and role stay when it is started again."""

    def __init__(self, entry):
        self.id = entry["id"]
        self.role = entry["role"]
        self.name = entry["name"]
        self.pid = entry["pid"]
        self.url = entry.get("url", "")

    def signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def is_running(self):
        try:
            with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class LocalCluster:
    """`atoll local up`. Leaving the `with` block ends it by SIGINT and wants exit code 0."""

    def __init__(self, *options, model=MODEL, environment=None):
        self.log = tempfile.NamedTemporaryFile(mode="w+", prefix="atoll-local-up-", suffix=".log")
        command = [BINARY, "local", "up", model, "--json", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env={**os.environ, **(environment or {})})
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise AssertionError(f"{' '.join(command)} ended with {self.process.returncode}: "
                                 f"{self.said()}")
        self.info = json.loads(line)
        self.url = self.info["url"]
        self.nodes = [Node(entry) for entry in self.info["nodes"]]

    def said(self):
        self.log.flush()
        return pathlib.Path(self.log.name).read_text(encoding="utf-8", errors="replace")[-4000:]

    def logs(self):
        """What `local up` said, and the end of what each node did."""
        files = sorted(pathlib.Path(self.info["dir"]).glob("*.log"))
        return {"local up": self.said(),
                **{f.name: f.read_text(encoding="utf-8", errors="replace")[-3000:] for f in files}}

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for node in self.nodes:
            try:
                node.thaw()
            except ProcessLookupError:
                pass
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(timeout=60 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if kind is None and code != 0:
            raise AssertionError(f"atoll local up ended with {code}: {self.said()}")

    def of(self, role):
        return [n for n in self.nodes if n.role == role]

    def operator(self, *arguments, check=True):
        """An operator's command, with what it printed as JSON where it did."""
        done = subprocess.run(
            [BINARY, *arguments, "--server", self.info["control"], "--ca", self.info["ca"],
             "--admin-key-file", self.info["admin_key_file"], "--json"],
            capture_output=True, text=True, timeout=120 * PATIENCE, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(arguments)}: {done.returncode} {done.stderr}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def follow_restarts(self):
        """Takes the processes of nodes that `--restart` has started again."""
        for node in self.nodes:
            if node.is_running():
                continue
            pid = self._pid_of(node.name)
            if pid:
                node.pid = pid

    def revive(self, _):
        """`--restart` does it."""

    def is_whole(self):
        self.follow_restarts()
        return all(n.is_running() for n in self.nodes)

    def _pid_of(self, name):
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                words = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if (b"node" in words and b"run" in words and name.encode() in words
                    and f"{self.info['dir']}/{name}".encode() in words):
                return int(entry)
        return None


class Answer:
    """What one client saw of one request, from its first byte to its end."""

    def __init__(self, index):
        self.index = index
        self.text = ""
        self.finish = None
        self.usage = None
        self.error = None
        self.is_turned_away = False  # before anything of it was taken
        self.is_done = False  # [DONE] came
        self.times = []       # of the first and each later piece

    def longest_gap(self):
        return max((b - a for a, b in zip(self.times, self.times[1:])), default=0.0)

    def same_as(self, other):
        return (self.text, self.finish, self.usage) == (other.text, other.finish, other.usage)


def stream(url, body, index=0, timeout=60.0):
    """Sends one streaming completion and reads it to its end, however that comes."""
    answer = Answer(index)
    at = urlparse(url)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=timeout * PATIENCE)
    try:
        connection.request("POST", "/v1/completions",
                           json.dumps({**body, "stream": True,
                                       "stream_options": {"include_usage": True}}),
                           {"Content-Type": "application/json"})
        reply = connection.getresponse()
        if reply.status != 200:
            answer.is_turned_away = reply.status == 503
            answer.error = f"{reply.status} {reply.read(2000).decode(errors='replace')}"
            return answer
        answer.times.append(time.monotonic())
        for raw in reply:
            line = raw.decode().strip()
            if not line.startswith("data:"):
                continue
            answer.times.append(time.monotonic())
            data = line[5:].strip()
            if data == "[DONE]":
                answer.is_done = True
                continue
            piece = json.loads(data)
            if "error" in piece:
                answer.error = json.dumps(piece["error"])
                continue
            if piece.get("usage"):
                answer.usage = piece["usage"]
                # How much of a prompt was cached depends on who computed it before.
                answer.usage.pop("prompt_tokens_details", None)
            for choice in piece.get("choices", []):
                answer.text += choice.get("text", "")
                answer.finish = choice.get("finish_reason") or answer.finish
    except (OSError, http.client.HTTPException, ValueError) as failure:
        answer.is_turned_away = isinstance(failure, ConnectionRefusedError)
        answer.error = f"{type(failure).__name__}: {failure}"
    finally:
        connection.close()
    if answer.error is None and not (answer.is_done and answer.finish):
        answer.error = "the stream ended without its end"
    return answer


class Ledger:
    """Clients that ask one after the other until told to stop; every request is kept."""

    def __init__(self, url, bodies, clients, requests=None, comes_again=False):
        self.url = url
        self.comes_again = comes_again  # where it was turned away at the door
        self.bodies = bodies
        self.left = requests
        self.answers = []
        self.lock = threading.Lock()
        self.next = 0
        self.stopping = False
        self.threads = [threading.Thread(target=self._client, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        self.stopping = True
        self.wait()

    def wait(self, seconds=600.0):
        deadline = time.monotonic() + seconds * PATIENCE
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), "a client's request did not end"

    def _client(self):
        while True:
            with self.lock:
                if self.stopping or (self.left is not None and self.next >= self.left):
                    return
                index = self.next
                self.next += 1
            answer = stream(self.url, self.bodies[index % len(self.bodies)], index)
            while self.comes_again and answer.is_turned_away and not self.stopping:
                pause(0.1)
                answer = stream(self.url, self.bodies[index % len(self.bodies)], index)
            if answer.is_turned_away and self.stopping and self.comes_again:
                return
            with self.lock:
                self.answers.append(answer)

    def check(self, expected):
        """Failed answers, and those that differ from the undisturbed run's."""
        failed = [a for a in self.answers if a.error]
        different = [a for a in self.answers
                     if not a.error and not a.same_as(expected[a.index % len(expected)])]
        return failed, different


def bodies(tokens=48, count=8):
    """Requests of several kinds, each of which has one right answer."""
    texts = ["Once upon a time", "The old ship", "从前有一座山", "In the garden",
             "A small fox", "The river was", "My friend said", "At night the stars"]
    out = []
    for i in range(count):
        body = {"model": "tiny", "prompt": texts[i % len(texts)], "max_tokens": tokens,
                "ignore_eos": True, "temperature": 0}
        if i % 3 == 1:
            body.update(temperature=0.8, top_p=0.95, seed=100 + i)
        if i % 4 == 3:
            body["prompt"] = (texts[i % len(texts)] + ". ") * 20
        out.append(body)
    return out


def expected_of(url, asked):
    answers = [stream(url, body, i) for i, body in enumerate(asked)]
    for answer in answers:
        assert answer.error is None, answer.error
        assert answer.text
    return answers


def assert_clean(ledger, expected, what):
    failed, different = ledger.check(expected)
    assert not failed, f"seed {SEED}, {what}: {len(failed)} of {len(ledger.answers)} failed, " \
                       f"first: request {failed[0].index}: {failed[0].error}"
    assert not different, f"seed {SEED}, {what}: {len(different)} answers differ, first: request " \
                          f"{different[0].index}: {different[0].text!r}"


def sequences(cluster):
    """That the nodes hold for requests."""
    nodes = cluster.operator("node", "list", check=False) or []
    return sum(n.get("sequences", 0) for n in nodes)


def is_healthy(cluster):
    status = cluster.operator("cluster", "status", check=False)
    return status and status.get("state") == "healthy" and takes_requests(cluster.url)


def takes_requests(url):
    """A gateway joins a moment before its door is open."""
    at = urlparse(url)
    connection = http.client.HTTPConnection(at.hostname, at.port, timeout=5.0 * PATIENCE)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
