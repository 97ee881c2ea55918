"""What the benchmarks of clusters share: one row for each thing that is asked for, and how streams
are measured."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/chaos"))
import cluster as chaos  # noqa: E402  (its folder is known now)


def wide_checkpoint(folder, layers=5):
    """v2-lite with few layers and the small model's words, so that a server takes it."""
    path = Path(folder) / "v2-lite"
    subprocess.run([str(ROOT / "tools/make_checkpoint"), "v2-lite", str(path), "--layers",
                    str(layers)],
                   check=True, stdout=subprocess.DEVNULL)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        source = ROOT / "models/tiny" / name
        if source.exists():
            shutil.copy(source, path / name)
    return str(path)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def tokens_per_second(url, asked):
    """All streams begin together; the time counts from the last first token to the first end."""
    answers = [None] * len(asked)

    def ask(i):
        answers[i] = chaos.stream(url, asked[i], i, timeout=300)
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        if answer.error:
            sys.exit(f"{Path(sys.argv[0]).name}: {answer.error}")
    begin = max(a.times[1] for a in answers)
    end = min(a.times[-2] for a in answers)
    pieces = sum(sum(1 for t in a.times[1:-1] if begin < t <= end) for a in answers)
    return pieces / (end - begin)


def arguments_of(doc, rows, repeats):
    """A parser with what all of them take; options of single rows are added to it."""
    parser = argparse.ArgumentParser(description=doc.split("\n\n", maxsplit=1)[0],
                                     epilog="rows: " + ", ".join(rows))
    parser.add_argument("--only", action="append", choices=rows,
                        help="just this row; may be repeated")
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--transport", default="ucx", choices=["ucx", "tls"])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--binary", default=chaos.BINARY)
    return parser


def run(parser, rows):
    """Measures row after row, a line for each. The exit status: 1 where one misses."""
    options = parser.parse_args()
    chaos.BINARY = options.binary
    os.environ.setdefault("ATOLL_LOG_LEVEL", "warning")
    done = []
    for name in options.only or rows:
        done.append(rows[name](options))
        if not options.json:
            r = done[-1]
            print(f"{r['row']:<15} {r['figure']:8.3f}  ({r['least']:.3f} to {r['most']:.3f})  "
                  f"asked {r['asked']}: {'met' if r['met'] else 'MISSED'}; {r['detail']}",
                  flush=True)
    if options.json:
        print(json.dumps(done))
    return 0 if all(r["met"] for r in done) else 1
