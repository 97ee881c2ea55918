#!/usr/bin/env python3
"""A cluster as a person makes it: init, tokens, nodes that join, and what is refused.

Usage: cluster_program_test.py ATOLL PROJECT
"""

import json
import os
import pathlib
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest
import urllib.error
import urllib.request

ATOLL, PROJECT = sys.argv[1], pathlib.Path(sys.argv[2])
MODEL = str(PROJECT / "models/tiny")
PATIENCE = 60.0


def run(*arguments, environment=None):
    return subprocess.run([ATOLL, *map(str, arguments)], capture_output=True, text=True,
                          timeout=PATIENCE, check=False,
                          env={**os.environ, **(environment or {})})


class Node:
    """One `atoll node run` that became ready."""

    def __init__(self, log, *arguments):
        self.log = open(log, "w+", encoding="utf-8")
        self.process = subprocess.Popen(
            [ATOLL, "node", "run", "--data-interface", "lo", "--threads", "1", "--json",
             *map(str, arguments)], stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            raise AssertionError(f"ended with {self.process.returncode}: {self.said()}")
        self.line = json.loads(line)

    def said(self):
        self.log.flush()
        return pathlib.Path(self.log.name).read_text(encoding="utf-8")

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        code = self.process.wait()
        timer.cancel()
        self.process.stdout.close()
        self.log.close()
        return code


class Follower:
    """`atoll events --follow`, until the `with` block ends."""

    def __init__(self, test):
        self.events = []
        self.news = threading.Condition()
        self.process = subprocess.Popen(
            [ATOLL, "events", "--follow", "--jsonl", "--server", test.server, "--ca",
             test.dir / "c/ca.pem", "--admin-key-file", test.dir / "admin.key"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.events.append(json.loads(line))
                self.news.notify_all()

    def until(self, wanted):
        with self.news:
            if not self.news.wait_for(lambda: any(map(wanted, self.events)), PATIENCE):
                raise AssertionError(f"not among {self.events}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.said = self.process.stderr.read()
        self.reader.join()
        self.code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.process.stderr.close()


class ClusterProgram(unittest.TestCase):
    """All roles but experts' second copy in one process; others come and go."""

    @classmethod
    def setUpClass(cls):
        cls.dir = pathlib.Path(tempfile.mkdtemp(prefix="atoll-cluster-"))
        made = run("cluster", "init", "--dir", cls.dir / "c", "--admin-key-out",
                   cls.dir / "admin.key", "--json")
        assert made.returncode == 0, made.stderr
        cls.cluster = json.loads(made.stdout)["cluster"]
        cls.first = cls.start_first()
        cls.server = cls.first.line["control"]

    @classmethod
    def start_first(cls):
        return Node(cls.dir / "first.log", "--role", "coordinator,gateway,attention,expert",
                    "--dir", cls.dir / "c", "--model", MODEL, "--listen", "127.0.0.1:0",
                    "--api-listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--name", "first")

    @classmethod
    def tearDownClass(cls):
        code = cls.first.end()
        shutil.rmtree(cls.dir)
        assert code == 0, f"the coordinator ended with {code}"

    def at(self):
        return ("--server", self.server, "--ca", self.dir / "c/ca.pem", "--admin-key-file",
                self.dir / "admin.key")

    def operator(self, *arguments, code=0):
        done = run(*arguments, *self.at(), "--json")
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout) if done.stdout else done.stderr

    def token(self, role="expert"):
        file = self.dir / f"token-{time.monotonic_ns()}"
        self.operator("join-token", "create", "--role", role, "--out", file)
        return file

    def join(self, name, token, *more):
        return Node(self.dir / f"{name}.log", "--role", "expert", "--name", name, "--dir",
                    self.dir / name, "--join", self.server, "--token-file", token, *more)

    def refused(self, *arguments):
        """What a node says that does not start; no token is needed for it twice."""
        if "--data-interface" not in arguments:
            arguments = (*arguments, "--data-interface", "lo")
        done = run("node", "run", "--dir", self.dir / f"refused-{time.monotonic_ns()}", *arguments)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(done.stdout, "")
        return done.stderr.splitlines()[-1]

    def complete(self):
        body = json.dumps({"prompt": "In the beginning God created", "max_tokens": 12,
                           "temperature": 0}).encode()
        with urllib.request.urlopen(self.first.line["url"] + "/v1/completions", body,
                                    timeout=PATIENCE) as answer:
            return json.load(answer)["choices"][0]["text"]

    def test_a_cluster_is_made_once(self):
        again = run("cluster", "init", "--dir", self.dir / "c")
        self.assertEqual(again.returncode, 2)
        self.assertIn("already", again.stderr)
        self.assertEqual(again.stdout, "")

    def test_a_node_joins_works_drains_comes_back_and_is_removed(self):
        alone = self.complete()
        # Without a checkpoint: its experts come from the first node.
        node = self.join("guest", self.token())
        self.assertEqual(node.line["cluster"], self.cluster)
        number = node.line["id"]
        deadline = time.monotonic() + PATIENCE
        while not self.operator("node", "show", number)["experts_placed"]:
            self.assertLess(time.monotonic(), deadline, "no expert was placed on it")
        self.assertEqual(self.complete(), alone)
        self.assertEqual(self.operator("cluster", "status")["state"], "healthy")

        drained = self.operator("node", "drain", "guest")
        self.assertEqual(drained["state"], "done")
        shown = self.operator("node", "show", "guest")
        self.assertEqual((shown["state"], shown["experts"]), ("drained", 0))
        self.operator("node", "uncordon", "guest")
        self.assertEqual(self.complete(), alone)

        # It leaves by itself, and comes back without a token.
        self.assertEqual(node.end(), 0)
        self.assertEqual(self.operator("node", "show", number)["state"], "absent")
        self.assertEqual(self.operator("cluster", "status", code=1)["state"], "degraded")
        node = Node(self.dir / "guest.log", "--role", "expert", "--dir", self.dir / "guest")
        self.assertEqual(node.line["id"], number)

        # Experts may have come to it meanwhile.
        self.assertRegex(self.operator("node", "remove", number, code=2),
                         "only copy|not drained")
        self.operator("node", "remove", number, "--force")
        self.assertEqual(node.process.wait(PATIENCE), 1)
        self.assertIn("was removed from the cluster", node.said())
        node.end()
        again = run("node", "run", "--role", "expert", "--data-interface", "lo", "--dir",
                    self.dir / "guest")
        self.assertEqual(again.returncode, 1)
        self.assertIn("was removed from", again.stderr)
        self.assertEqual(self.complete(), alone)

    def test_the_coordinator_goes_on_where_it_was(self):
        token = self.token()
        tokens = self.operator("join-token", "list")
        with Follower(self) as follower:
            follower.until(lambda e: "joined" in e["kind"])
            self.assertEqual(self.first.end(), 0)
            type(self).first = self.start_first()
            self.assertEqual(self.first.line["control"], self.server)
            self.assertEqual(self.operator("join-token", "list"), tokens)
            node = self.join("later", token)
            follower.until(lambda e: e["kind"] == "joined" and e["node"] == node.line["id"])
            self.assertEqual(node.end(), 0)
            self.operator("node", "remove", "later")
            follower.until(lambda e: e["text"] == f"remove of node {node.line['id']} done")
        revisions = [e["revision"] for e in follower.events]
        self.assertEqual(revisions, sorted(set(revisions)))
        self.assertEqual([e["kind"] for e in follower.events].count("gap"), 1)
        self.assertIn("answers again", follower.said)

    def test_a_gateway_hands_on_a_stream_of_events(self):
        asked = urllib.request.Request(
            self.first.line["url"] + "/api/v1/events?since=1",
            headers={"Accept": "text/event-stream", "Authorization":
                     "Bearer " + (self.dir / "admin.key").read_text().strip()})
        with urllib.request.urlopen(asked, timeout=PATIENCE) as stream:
            self.assertEqual(stream.headers["content-type"], "text/event-stream")
            self.operator("node", "cordon", "1")
            self.operator("node", "uncordon", "1")
            seen, last = [], None
            while not (seen and "uncordon of node 1" in seen[-1]["text"]):
                line = stream.readline().decode().strip()
                if line.startswith("id: "):
                    last = int(line[4:])
                elif line.startswith("data: "):
                    seen.append(json.loads(line[6:]))
                    self.assertEqual(seen[-1].get("revision", last), last)
        asked.remove_header("Authorization")
        with self.assertRaises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=PATIENCE)
        self.assertEqual(refused.exception.code, 401)

    def test_top_shows_the_cluster_and_leaves_a_clean_terminal(self):
        # Other tests leave nodes behind that are away.
        code = {"healthy": 0, "degraded": 1}
        shown = json.loads(run("top", "--once", "--json", *self.at()).stdout)
        self.assertEqual([n["name"] for n in shown["nodes"] if n["id"] == 1], ["first"])
        at = ["top", *map(str, self.at())]
        plain = run(*at, "--once")
        self.assertEqual(plain.returncode, code[shown["state"]])
        self.assertIn("first", plain.stdout)
        self.assertNotIn("\x1b", plain.stdout)
        terminal, other = pty.openpty()
        termios.tcsetwinsize(terminal, (30, 60))
        before = termios.tcgetattr(other)
        process = subprocess.Popen([ATOLL, *at], stdout=other, stderr=other)
        seen = b""
        deadline = time.monotonic() + PATIENCE
        while seen.count(b"\x1b[H") < 2 and time.monotonic() < deadline:
            seen += os.read(terminal, 65536)
        frames = seen.decode().split("\x1b[H")
        self.assertIn("\x1b[?1049h", frames[0])
        self.assertIn("first", frames[1])
        for line in frames[1].split("\x1b[J")[0].splitlines():
            self.assertLessEqual(len(line.replace("\x1b[K", "")), 60)
        process.send_signal(signal.SIGINT)
        while not seen.endswith(b"\x1b[?25h\x1b[?1049l") and time.monotonic() < deadline:
            seen += os.read(terminal, 65536)
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertEqual(termios.tcgetattr(other), before)
        os.close(terminal)
        os.close(other)

    def test_changes_are_in_the_audit_log(self):
        self.operator("node", "cordon", "1")
        self.operator("node", "uncordon", "1")
        last = self.operator("audit")[-1]
        self.assertEqual((last["what"], last["who"], last["status"]),
                         ("POST /api/v1/nodes/1/uncordon", "admin", 200))
        kept = (self.dir / "c/audit.jsonl").read_text().splitlines()
        self.assertIn(last["number"], [json.loads(line)["number"] for line in kept])

    def test_tokens_are_refused_with_the_reason(self):
        used = self.token()
        node = self.join("once", used)
        self.assertEqual(node.end(), 0)
        self.operator("node", "remove", "once")
        to = ("--role", "expert", "--join", self.server, "--token-file")
        self.assertIn("used up", self.refused(*to, used))
        self.assertIn("not for these roles", self.refused(*to, self.token("gateway")))

        text = used.read_text()
        wrong = self.dir / "wrong.token"
        wrong.touch(0o600)
        wrong.write_text(text.rsplit(".", 1)[0] + "." + "0" * 64 + "\n")
        self.assertIn("not of the cluster that the token is for", self.refused(*to, wrong))
        self.assertIn("nothing was sent", self.refused(*to, wrong))
        wrong.chmod(0o644)
        self.assertIn("chmod 600", self.refused(*to, wrong))
        revoked = self.token()
        number = revoked.read_text().split("-")[2].split(".")[0]
        self.operator("join-token", "revoke", number)
        self.assertIn("revoked", self.refused(*to, revoked))
        events = [e["text"] for e in map(json.loads, self.lines("events"))]
        self.assertTrue(any("used up" in e for e in events), events)

    def lines(self, *arguments):
        done = run(*arguments, "--server", self.server, "--ca", self.dir / "c/ca.pem",
                   "--admin-key-file", self.dir / "admin.key", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def test_what_is_wrong_with_a_node_is_said_before_its_token_is_used(self):
        token = self.token()
        to = ("--join", self.server, "--token-file", token, "--role")
        self.assertIn("no such interface", self.refused(*to, "expert", "--data-interface", "no0"))
        self.assertIn("there is no role", self.refused(*to, "worker"))
        self.assertIn("--model", self.refused(*to, "attention"))
        self.assertIn("may be used", self.refused(*to, "attention", "--model", MODEL, "--memory",
                                                  "301M"))
        self.assertIn("does not fit", self.refused(*to, "expert", "--model", MODEL, "--memory",
                                                   "1G", "--expert-memory", "2G"))
        self.assertIn("each row goes to it once", self.refused(*to, "expert", "--model", MODEL,
                                                               "--expert-groups", "2"))
        self.assertIn("holds no node yet", self.refused("--role", "expert"))
        self.assertIn("https", self.refused("--join", "http://127.0.0.1:1", "--token-file", token,
                                            "--role", "expert"))
        tokens = self.operator("join-token", "list")
        mine = token.read_text().split("-")[2].split(".")[0]
        self.assertEqual([t["uses_left"] for t in tokens if t["id"] == mine], [1])

    def test_another_checkpoint_is_refused(self):
        other = self.dir / "other"
        shutil.copytree(MODEL, other)
        config = json.loads((other / "config.json").read_text())
        config["rms_norm_eps"] = 2 * config["rms_norm_eps"]
        (other / "config.json").write_text(json.dumps(config))
        token = self.token()
        nodes = len(self.operator("node", "list"))
        said = self.refused("--role", "expert", "--model", other, "--join", self.server,
                            "--token-file", token)
        self.assertIn("fingerprint", said)
        mine = token.read_text().split("-")[2].split(".")[0]
        uses = [t["uses_left"] for t in self.operator("join-token", "list") if t["id"] == mine]
        self.assertEqual(uses, [1])
        self.assertEqual(len(self.operator("node", "list")), nodes)

    def test_a_cluster_on_one_machine_says_at_once_what_cannot_be(self):
        for arguments in (["--expert-nodes", "0"], ["--gateways", "-1"], ["--replicas", "0"],
                          ["--data-transport", "udp"], ["--expert-memory", "much"]):
            refused = run("local", "up", MODEL, *arguments)
            self.assertEqual(refused.returncode, 2, refused.stderr)
            self.assertIn(arguments[0], refused.stderr)
        self.assertEqual(run("local", "up", self.dir / "nowhere").returncode, 2)
        small = run("local", "up", MODEL, "--expert-memory", "100k", "--expert-nodes", "1",
                    "--attention-nodes", "1", "--replicas", "1",
                    environment={"TMPDIR": str(self.dir)})
        self.assertEqual(small.returncode, 2, small.stderr)
        self.assertIn("no memory for 127 of 128 experts", small.stderr)
        logs = pathlib.Path(small.stderr.strip().rsplit(" ", 1)[1])
        self.assertTrue((logs / "expert.log").is_file(), small.stderr)

    def test_a_gateway_out_of_use_closes_its_door(self):
        url = self.first.line["url"]

        def status(path, body=None):
            try:
                with urllib.request.urlopen(url + path, body, timeout=PATIENCE) as answer:
                    return answer.status
            except urllib.error.HTTPError as refused:
                return refused.code

        def until(path, wanted):
            deadline = time.monotonic() + PATIENCE
            while status(path) != wanted:
                self.assertLess(time.monotonic(), deadline, f"{path} is not {wanted}")
        asks = json.dumps({"prompt": "In the", "max_tokens": 2}).encode()
        self.assertEqual(status("/v1/completions", asks), 200)
        self.operator("node", "cordon", "1")
        until("/ready", 503)
        self.assertEqual(status("/v1/completions", asks), 503)
        self.operator("node", "uncordon", "1")
        until("/ready", 200)
        self.assertEqual(status("/v1/completions", asks), 200)

    def test_one_directory_is_one_node(self):
        busy = run("node", "run", "--role", "coordinator", "--model", MODEL, "--dir",
                   self.dir / "c", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0")
        self.assertEqual(busy.returncode, 1)
        self.assertIn("another process runs this node", busy.stderr)

    def test_operators_are_told_what_is_wrong(self):
        at = ("--server", self.server, "--ca", self.dir / "c/ca.pem")
        self.assertEqual(run("node", "list", *at).returncode, 4)
        self.assertEqual(run("node", "list").returncode, 2)
        self.operator("node", "show", "nobody", code=5)
        self.assertIn("runs the coordinator", self.operator("node", "remove", "1", code=2))
        # The authority is the cluster's own: nobody else's certificate will do.
        strange = run("node", "list", "--server", self.server, "--admin-key-file",
                      self.dir / "admin.key")
        self.assertEqual(strange.returncode, 3)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
