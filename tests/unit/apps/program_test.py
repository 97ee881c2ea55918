#!/usr/bin/env python3
"""The program atoll as a person starts it, on models/tiny.

Usage: program_test.py ATOLL SOURCE_DIR
"""

import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import unittest

ATOLL, SOURCE = sys.argv[1], sys.argv[2]
TINY = os.path.join(SOURCE, "models", "tiny")
GOLDEN = json.load(open(os.path.join(SOURCE, "tests/golden/tiny/golden.json"), encoding="utf-8"))


def atoll(*args, stdin="", **more):
    return subprocess.run([ATOLL, *args], input=stdin, capture_output=True, text=True,
                          encoding="utf-8", timeout=60, check=False, **more)


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name, content=None):
        path = os.path.join(self.folder, name)
        if content is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(content)
        return path

    def refused(self, ran, *words, code=2):
        self.assertEqual(ran.returncode, code, ran.stderr)
        self.assertEqual(ran.stdout, "")
        self.assertEqual(ran.stderr.count("atoll: "), 1, ran.stderr)
        for word in words:
            self.assertIn(word, ran.stderr)


class Plan(Folder):
    def test_plans_and_keeps_what_it_planned(self):
        asked = {"nodes": [{"id": i, "slots": 3} for i in range(4)],
                 "loads": [[8, 1, 1, 1, 1, 4, 4, 4]],
                 "options": {"cover": False}}
        ran = atoll("plan", "--input", self.path("in.json", json.dumps(asked)), "--json")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        answer = json.loads(ran.stdout)
        load = [0.0] * 4
        for r in answer["layers"][0]["replicas"]:
            load[r["node"]] += asked["loads"][0][r["expert"]] * r["share"]
        self.assertAlmostEqual(max(load) / 6, answer["layers"][0]["hottest_over_mean"])
        self.assertLess(max(load), 6.01)  # 24 rows on 4 nodes, 12 slots for 8 experts
        asked["previous"] = answer["layers"]
        ran = atoll("plan", "--input", "-", stdin=json.dumps(asked))
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn("moves 0 experts", ran.stdout)

    def test_refuses(self):
        empty = self.path("in.json", '{"nodes":[]}')
        self.refused(atoll("plan", "--input", empty), "in.json", "loads")
        self.refused(atoll("plan", "--input", self.path("absent.json")), "absent.json")
        self.refused(atoll("plan"), "--input")


class Complete(Folder):
    def test_text_goes_on_as_it_was_learnt(self):
        ran = atoll("complete", TINY, "-p", "In the beginning God created", "-n", "32")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertTrue(ran.stdout.startswith(" the heaven and the earth"), ran.stdout)
        self.assertRegex(ran.stderr, "^atoll: .*prompt 8 tokens, .*generated 32 tokens, .*tokens/s")
        ran = atoll("complete", "--model-path", TINY, "-p", "床前明月光，", "-q")
        self.assertEqual((ran.returncode, ran.stdout, ran.stderr), (0, "疑是地上霜。\n", ""))

    def test_tokens_equal_the_golden_ones_together_and_in_order(self):
        prompts = "".join(json.dumps({"id": f"c{c['index']}", "tokens": c["tokens"],
                                      "n": len(c["greedy_tokens"])}) + "\n" for c in GOLDEN)
        ran = atoll("complete", TINY, "--prompts", "-", "--json", stdin=prompts)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        answers = lines(ran.stdout)
        self.assertEqual([a["id"] for a in answers], [f"c{c['index']}" for c in GOLDEN])
        for case, answer in zip(GOLDEN, answers):
            ends = case["greedy_tokens"][-1] == 1
            expected = case["greedy_tokens"][:-1] if ends else case["greedy_tokens"]
            # A golden margin near zero may fall either way.
            safe = next((i for i, m in enumerate(case["greedy_margins"]) if m < 1e-3),
                        len(expected))
            self.assertEqual(answer["tokens"][:safe], expected[:safe], case["index"])
            self.assertEqual(answer["finish_reason"], "stop" if ends else "length")
            usage = answer["usage"]
            self.assertEqual(usage["prompt_tokens"], len(case["tokens"]))
            self.assertEqual(usage["completion_tokens"], len(answer["tokens"]))
            self.assertGreater(answer["timings"]["total_s"], 0)

    def test_stop_strings_cut_across_tokens(self):
        ran = atoll("complete", TINY, "-p", "In the beginning God created", "-n", "32", "--json",
                    "--stop", "zebra", "--stop", "n and the ear")
        answer = lines(ran.stdout)[0]
        self.assertEqual(answer["text"], " the heave")
        self.assertEqual(answer["finish_reason"], "stop")

    def test_a_seed_gives_one_text(self):
        def text(seed):
            return atoll("complete", TINY, "-p", "ROMEO:", "-n", "24", "--temperature", "1",
                         "--seed", seed).stdout
        first = text("7")
        self.assertEqual(first, text("7"))
        self.assertNotEqual(first, text("8"))

    def test_a_model_without_a_tokenizer_answers_in_tokens(self):
        model = self.path("bare")
        os.mkdir(model)
        for name in ("config.json", "generation_config.json", "model.safetensors"):
            os.symlink(os.path.join(TINY, name), os.path.join(model, name))
        case = GOLDEN[1]
        ran = atoll("complete", model, "--prompts", "-", "--json",
                    stdin=json.dumps({"tokens": case["tokens"]}))
        answer = lines(ran.stdout)[0]
        self.assertIsNone(answer["text"])
        self.assertEqual(answer["tokens"], case["greedy_tokens"][:-1])
        self.refused(atoll("complete", model, "-p", "hi"), "-p", "tokenizer.json")

    def test_an_interrupt_ends_it_with_what_is_there(self):
        # Unbuffered: what a buffer held beyond the first byte, communicate() would not give.
        with subprocess.Popen([ATOLL, "complete", TINY, "-p", "And", "-n", "2000", "--ignore-eos"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              bufsize=0) as running:
            first = running.stdout.read(1)
            running.send_signal(signal.SIGINT)
            rest, _ = running.communicate(timeout=30)
        self.assertEqual(running.returncode, 130)
        self.assertTrue((first + rest).endswith(b"\n"))

    def test_an_interrupt_ends_it_while_it_waits_for_prompts(self):
        for command in ("complete", "logits"):
            with subprocess.Popen([ATOLL, command, TINY, "--prompts", "-"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
                # Reading: the pipe has been emptied.
                running.stdin.write(b"\n")
                running.stdin.flush()
                while fcntl.ioctl(running.stdin, termios.FIONREAD, b"\0" * 4) != b"\0" * 4:
                    self.assertIsNone(running.poll())
                running.send_signal(signal.SIGINT)
                running.wait(timeout=30)
            self.assertEqual(running.returncode, -signal.SIGINT)

    def test_a_lost_terminal_leaves_no_half_file(self):
        out = self.path("out.jsonl")
        with subprocess.Popen([ATOLL, "complete", TINY, "-p", "And", "-n", "2000", "--ignore-eos",
                               "-o", out], stderr=subprocess.PIPE) as running:
            while not os.listdir(self.folder):
                self.assertIsNone(running.poll())
            running.send_signal(signal.SIGHUP)
            _, said = running.communicate(timeout=30)
        self.assertEqual(running.returncode, 128 + signal.SIGHUP)
        self.assertEqual(os.listdir(self.folder), [])
        self.assertIn(b"interrupted", said)

    def test_interrupted_logits_are_whole_lines(self):
        prompts = self.path("in.jsonl", '{"tokens":[%s1]}\n' % ("1," * 60) * 60)
        with subprocess.Popen([ATOLL, "logits", TINY, "--prompts", prompts, "-q"], bufsize=0,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            first = running.stdout.read(1)
            running.send_signal(signal.SIGINT)
            rest, said = running.communicate(timeout=30)
        self.assertEqual((running.returncode, said), (130, b"atoll: interrupted\n"))
        self.assertTrue((first + rest).endswith(b"}\n"))
        for line in (first + rest).splitlines():
            self.assertTrue(line.startswith(b'{"id":') and line.endswith(b"}"))

    def test_several_answers_are_told_apart(self):
        prompts = '{"id":"a b","text":"床前明月光，"}\n{"text":"床前明月光，","n":0}\n'
        ran = atoll("complete", TINY, "--prompts", "-", "-q", stdin=prompts)
        self.assertEqual((ran.returncode, ran.stdout),
                         (0, '== "a b" ==\n疑是地上霜。\n== 1 ==\n\n'), ran.stderr)

    def test_speeds_that_cannot_be_told_are_null(self):
        prompts = "".join('{"text":"And","n":%d,"ignore_eos":true}\n' % n for n in (0, 1, 2))
        ran = atoll("complete", TINY, "--prompts", "-", "--json", stdin=prompts)
        times = [a["timings"] for a in lines(ran.stdout)]
        self.assertEqual([t["first_token_s"] is None for t in times], [True, False, False])
        self.assertEqual([t["tokens_per_second"] is None for t in times], [True, True, False])

    def test_a_reader_that_leaves_ends_it_without_noise(self):
        with subprocess.Popen([ATOLL, "complete", TINY, "-p", "And", "-n", "2000", "--ignore-eos",
                               "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            running.stdout.read(1)
            running.stdout.close()
            self.assertEqual(running.stderr.read(), b"")
            self.assertEqual(running.wait(timeout=30), 1)


class Refusals(Folder):
    def test_input_lines(self):
        for line, *words in (
                ('{"tokens":[0,6144]}', "tokens", "6144", "6143"),
                ('{"tokens":[]}', "tokens"),
                ('{"text":""}', "empty"),
                ('{"tokens":[%s1]}' % ("1," * 2048), "2049", "2048"),
                ('{"text":"a","tempo":1}', '"tempo"'),
                ('{"text":"a","temperature":-1}', "temperature", "-1"),
                ('{"text":"a","text":"b"}', "twice"),
                ('{"text":"a","id":null}', '"id" is null'),
                ('{"text":"a"', "not valid JSON", '{"id":1,"text":"..."}')):
            prompts = self.path("in.jsonl", '{"text":"fine"}\n' + line + "\n")
            ran = atoll("complete", TINY, "--prompts", prompts)
            self.refused(ran, prompts + ":2", *words)
            self.assertNotIn("line 1", ran.stderr)
        self.refused(atoll("complete", TINY, "--prompts", self.path("none")), self.path("none"))

    def test_usage(self):
        self.refused(atoll("complet"), "did you mean complete?")
        self.refused(atoll("complete", TINY, "-p", "a", "--temprature", "1"),
                     "did you mean --temperature?")
        self.refused(atoll("complete", "-p", "a"), "MODEL")
        self.refused(atoll("complete", TINY), "-p")
        self.refused(atoll("complete", TINY, "-p", ""), "empty")
        self.refused(atoll("complete", TINY, "-p", "a", "--isa", "sse"), "--isa sse")
        self.refused(atoll("complete", TINY, "-p", "a", "--device", "cuda"), "--device cuda")
        self.refused(atoll("complete", TINY, "-p", "a", "--kv-memory", "2X"), "--kv-memory 2X")
        self.refused(atoll("complete", TINY, "-p", "a", "--memory", "1M"), "--memory")
        self.refused(atoll("complete", TINY, "-p", "a", "--max-seq-len", "4096"), "--max-seq-len")
        self.refused(atoll("chat", TINY, "-q", "a", "--chat-format", "v9"), "--chat-format v9")
        self.refused(atoll("bench", "modl"), "did you mean model?", "Try: atoll bench --help")
        self.refused(atoll("bench", "model", TINY, "-p", "3000"), "-p 3000", "-d 0", "-n 64",
                     "2048")
        self.refused(atoll("complete", TINY, "-p", "a", "-n", "-1"), "-1", "from 0 to",
                     "Try: atoll complete --help")
        self.refused(atoll("complete", TINY, "-p", "a", "--seed", "-1"), "--seed", "from 0 to")
        self.refused(atoll("complete", TINY, "-p", "a", "--top-k", "9" * 11), "--top-k",
                     "from 0 to")
        self.refused(atoll("complete", TINY, "-p", "a", "--replicas", "2"), "--expert-groups")
        for args in ((), ("complete",), ("bench", "model")):
            ran = atoll(*args, "--help")
            self.assertEqual(ran.returncode, 0)
            self.assertIn("atoll", ran.stdout)

    def test_memory(self):
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        for options in (("--memory", "300M"), ("--kv-memory", str(there))):
            self.refused(atoll("complete", TINY, "-p", "a", *options), "for weights", "300 MiB",
                         "--kv-memory")
            ran = atoll("doctor", TINY, *options)
            self.assertEqual(ran.returncode, 2)
            self.assertIn("TOO MUCH", ran.stdout)
        self.refused(atoll("complete", TINY, "-p", "a", "--memory", str(2 * there)),
                     "give at most that")

    def test_models(self):
        self.refused(atoll("complete", self.path("none"), "-p", "a"), self.path("none"))
        model = self.path("model")
        shutil.copytree(TINY, model)
        config = os.path.join(model, "config.json")
        with open(config, encoding="utf-8") as file:
            fields = json.load(file)
        fields["hidden_size"] = -1
        self.path("model/config.json", json.dumps(fields))
        for command in ("complete", "logits"):
            source = self.path("in.jsonl", '{"text":"a"}')
            self.refused(atoll(command, model, "--prompts", source), "config.json", "hidden_size",
                         "-1")
        ran = atoll("inspect", model, "--json")
        told = json.loads(ran.stdout)
        self.assertEqual((ran.returncode, told["supported"], told["field"]),
                         (2, False, "hidden_size"))
        self.assertIn("hidden_size is -1", told["message"])
        shutil.copy(os.path.join(TINY, "config.json"), config)
        self.path("model/tokenizer.json", "{")
        self.refused(atoll("tokenize", model, "a"), "tokenizer.json")
        self.refused(atoll("complete", model, "-p", "a"), "tokenizer.json")
        os.remove(os.path.join(model, "tokenizer.json"))
        with open(os.path.join(model, "model.safetensors"), "r+b") as file:
            file.truncate(1000000)
        self.refused(atoll("complete", model, "--prompts", "-", stdin='{"tokens":[1]}'),
                     "model.safetensors")

    def test_a_full_disk_leaves_nothing(self):
        prompts = self.path("in.jsonl", '{"text":"In the beginning"}\n')
        out = self.path("out.jsonl")
        # A file that may not grow fails its writes as a full disk does.
        ran = atoll("logits", TINY, "--prompts", prompts, "-o", out,
                    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000)))
        self.refused(ran, out, code=1)
        self.assertEqual(os.listdir(self.folder), ["in.jsonl"])
        if os.path.exists("/dev/full"):
            with open("/dev/full", "w", encoding="utf-8") as full:
                ran = subprocess.run([ATOLL, "tokenize", TINY, "a"], stdout=full, timeout=60,
                                     stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual(ran.returncode, 1)
            self.assertIn("standard output", ran.stderr)


class OtherCommands(Folder):
    def test_logits(self):
        case = GOLDEN[0]
        out = self.path("out.jsonl")
        ran = atoll("logits", TINY, "--prompts", "-", "-o", out, "--hidden", "--routing",
                    stdin=json.dumps({"id": 5, "tokens": case["tokens"]}))
        self.assertEqual((ran.returncode, ran.stdout), (0, ""), ran.stderr)
        with open(out, encoding="utf-8") as file:
            line = json.load(file)
        count = len(case["tokens"])
        self.assertEqual((line["id"], line["tokens"]), (5, case["tokens"]))
        self.assertEqual((len(line["logits"]), len(line["logits"][0])), (count, 6144))
        last = line["logits"][-1]
        self.assertEqual(last.index(max(last)), case["greedy_tokens"][0])
        self.assertEqual([len(line["hidden"]), len(line["hidden"][0]), len(line["hidden"][0][0])],
                         [5, count, 256])
        self.assertEqual([r["layer"] for r in line["routing"]], [1, 2, 3, 4])
        for layer in line["routing"]:
            self.assertEqual([len(e) for e in layer["experts"]], [4] * count)
            self.assertEqual([len(w) for w in layer["weights"]], [4] * count)

    def test_chat(self):
        ran = atoll("chat", TINY, "-q", "请背诵《静夜思》 李白")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertTrue(ran.stdout.startswith("床前明月光，疑是地上霜。"), ran.stdout)
        poem = "请背诵《静夜思》 李白\n"
        ran = atoll("chat", TINY, "--quiet", stdin=poem + "/reset\n" + poem + "/exit\n" + poem)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertEqual(ran.stdout.count("床前明月光，疑是地上霜。"), 2)

    def test_chat_says_when_the_context_is_full(self):
        poem = "请背诵《静夜思》 李白\n"
        ran = atoll("chat", TINY, "--max-seq-len", "64", stdin=poem * 3 + "/reset\n" + poem)
        self.assertEqual(ran.returncode, 0)
        self.assertEqual(ran.stdout.count("床前明月光，疑是地上霜。"), 3, ran.stdout)
        self.assertIn("(cut: the context of 64 tokens is full", ran.stderr)
        self.assertIn("/reset", ran.stderr)
        ran = atoll("chat", TINY, "-q", poem, "-n", "3")
        self.assertIn("(cut after 3 tokens; -n", ran.stderr)

    def test_tokenize_and_back(self):
        text = "In the <｜User｜>beginning 床前"
        ran = atoll("tokenize", TINY, "--file", "-", stdin=json.dumps({"text": text}))
        tokens = lines(ran.stdout)[0]["tokens"]
        self.assertIn(3, tokens)
        plain = atoll("tokenize", TINY, text, "--no-added-tokens", "--bos")
        self.assertEqual(json.loads(plain.stdout)[0], 0)
        self.assertNotIn(3, json.loads(plain.stdout))
        ran = atoll("detokenize", os.path.join(TINY, "tokenizer.json"), "--file", "-",
                    stdin=json.dumps({"tokens": [0, *tokens]}))
        self.assertEqual(lines(ran.stdout)[0]["text"], "<｜begin▁of▁sentence｜>" + text)
        ran = atoll("detokenize", "--model-path", TINY, "--skip-special", plain.stdout)
        self.assertEqual(ran.stdout, text + "\n")

    def test_inspect_doctor_version(self):
        report = json.loads(atoll("inspect", TINY, "--json").stdout)
        self.assertTrue(report["supported"])
        ran = atoll("doctor", TINY)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        for word in ("avx2", "amx", "gpu", "memory", "supported"):
            self.assertIn(word, ran.stdout)
        self.assertNotIn("WRONG", ran.stdout)
        version = json.loads(atoll("version", "--json").stdout)
        self.assertRegex(version["version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual(atoll("--version").stdout, atoll("version").stdout)

    def test_bench_model(self):
        ran = atoll("bench", "model", TINY, "-p", "16", "-n", "8", "-d", "0,20", "-b", "1,2", "-r",
                    "2", "--threads", "1", "--plain", "--json")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        rows = json.loads(ran.stdout)
        shapes = [(r["n_batch"], r["n_depth"], r["n_prompt"], r["n_gen"]) for r in rows]
        self.assertEqual(shapes, [(b, d, p, n) for b in (1, 2) for d in (0, 20)
                                  for p, n in ((16, 0), (0, 8))])
        for row in rows:
            self.assertEqual((row["n_threads"], len(row["samples"])), (1, 2))
            self.assertGreater(row["tokens_per_second"], 0)
            self.assertGreater(row["bytes_per_token"], 0)
        # Two sequences share the step's reads: fewer bytes for each token.
        self.assertLess(rows[5]["bytes_per_token"], rows[1]["bytes_per_token"])
        self.assertIn("actor_overhead_us_per_token_and_layer", rows[1])

    def test_bench_model_counts_the_rows_that_travel(self):
        counted = {}
        for form in ("f32", "bf16", "fp8"):
            ran = atoll("bench", "model", TINY, "-p", "16", "-n", "0", "-r", "1", "--threads", "1",
                        "--activations", form, "--json")
            self.assertEqual(ran.returncode, 0, ran.stderr)
            row = json.loads(ran.stdout)[0]
            self.assertEqual(row["activations"], form)
            counted[form] = row["row_bytes_per_token"]
        self.assertAlmostEqual(2 * counted["bf16"], counted["f32"], delta=2)
        self.assertLess(counted["fp8"], counted["f32"] * 0.27)
        self.assertGreater(counted["fp8"], counted["f32"] * 0.25)

    def test_bench_model_beside_peers(self):
        peer = {"peer": "other", "n_prompt": 16, "n_gen": 0, "n_threads": 1,
                "tokens_per_second": 0.5}
        peers = self.path("peers.json", json.dumps([peer, dict(peer, n_batch=2)]))
        args = ("bench", "model", TINY, "-p", "16", "-n", "8", "-r", "1", "-t", "1", "--peers")
        prompt, answer = json.loads(atoll(*args, peers, "--json").stdout)
        self.assertEqual(len(prompt["peers"]), 1)
        self.assertEqual((prompt["peers"][0]["peer"], prompt["peers"][0]["tokens_per_second"]),
                         ("other", 0.5))
        self.assertAlmostEqual(prompt["peers"][0]["ratio"], prompt["tokens_per_second"] / 0.5, 2)
        self.assertNotIn("peers", answer)
        self.assertRegex(atoll(*args, peers).stdout, r"\d x other\n")
        bad = self.path("bad.json", '[{"peer":"other","n_prompt":16}]')
        self.refused(atoll(*args, bad), bad, "[0].n_gen")
        self.refused(atoll(*args, self.path("none")), "none")

    def test_bench_load(self):
        ran = atoll("bench", "load", TINY, "-r", "2", "--json")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        told = json.loads(ran.stdout)
        for side in ("load", "read"):
            self.assertEqual(len(told[side]["samples"]), 2)
            self.assertGreater(told[side]["bytes"], 1000000)
        self.assertAlmostEqual(
            told["share"], told["load"]["bytes_per_second"] / told["read"]["bytes_per_second"], 3)
        self.assertRegex(atoll("bench", "load", TINY, "-r", "1").stdout, r"share +[\d.]+ %")
        self.refused(atoll("bench", "load", TINY, "-r", "0"), "-r 0")

    def completed(self, *words):
        """What bash offers for the last word."""
        script = "source <(\"$1\" completion bash); shift; COMP_WORDS=(\"$@\"); " \
                 "COMP_CWORD=$(($# - 1)); _atoll; printf '%s\\n' \"${COMPREPLY[@]}\""
        done = subprocess.run(["bash", "-c", script, "-", ATOLL, "atoll", *words],
                              capture_output=True, text=True, check=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_completion_of_commands_and_options(self):
        self.assertEqual(self.completed("clus"), ["cluster"])
        self.assertEqual(self.completed("node", "dr"), ["drain"])
        self.assertEqual(self.completed("node", "drain", "3", "--dead"), ["--deadline"])
        self.assertIn("--listen", self.completed("node", "run", "--role", "expert", "--l"))
        self.assertEqual(self.completed("nothing", "drain", "--dead"), [])
        for shell in ("zsh", "fish"):
            script = atoll("completion", shell).stdout
            self.assertIn("expert", script)
            self.assertIn("deadline", script)
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=script, text=True, check=True)
        self.refused(atoll("completion", "tcsh"), "expected bash, zsh or fish")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
