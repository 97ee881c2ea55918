#!/usr/bin/env python3
"""An include points down the layers, and a third-party library stays behind its folder.

Usage: check_layering.py [ROOT]     prints one line a finding, exit status 1 if any.
"""

import os
import re
import sys

from gate_sources import CPP, code_only, listed, read

# A folder may include its own files and those of folders with a lower number.
LAYERS = {
    "runtime/base": 0,
    "runtime/tensor": 1,
    "runtime/kernels": 2,
    "transport": 2,
    "runtime/model": 3,
    "runtime/schedule": 3,
    "experts": 4,
    "attention": 4,
    "cluster": 5,
    "actors": 6,
    "apps": 7,
    "tools": 7,
    "tests": 8,
    "bench": 8,
}

# (library, pattern of the included path, folders that may include it)
BORDERS = [
    ("CAF", r"^caf/", ("actors/", "apps/", "tests/unit/actors/", "tests/sim/")),
    ("UCX", r"^uc[pst]/", ("transport/",)),
    ("FlatBuffers", r"^flatbuffers/|_generated\.h$", ("transport/", "tests/unit/transport/")),
    ("OpenSSL", r"^openssl/",
     ("transport/", "apps/serve/", "apps/openai/", "apps/http/", "tests/unit/apps/http/",
      "tests/unit/transport/tls/")),
    ("CUDA", r"^(?:cuda|cublas|nccl|cub/|thrust/)",
     ("runtime/tensor/cuda/", "runtime/kernels/cuda/")),
    ("Boost.Beast", r"^boost/beast", ("apps/", "tests/fuzz/")),
    ("Boost.Asio", r"^boost/asio", ("apps/", "transport/")),
    ("CLI11", r"^CLI/", ("apps/", "tools/", "bench/", "tests/sim/")),
    ("toml++", r"^toml\+\+/", ("apps/",)),
    ("PCRE2", r"^pcre2", ("runtime/model/",)),
    ("GoogleTest", r"^g(?:test|mock)/", ("tests/",)),
    ("Google Benchmark", r"^benchmark/", ("bench/",)),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def folder_of(path):
    """The layer's folder that holds path, or None."""
    for folder in LAYERS:
        if path.startswith(folder + "/"):
            return folder
    return None


def check_include(name, bracket, path, known):
    """What is wrong with one include of file name, or None."""
    for library, pattern, folders in BORDERS:
        if re.search(pattern, path):
            if name.startswith(folders):
                return None
            return f"{library} may only be included in {', '.join(folders)}"
    if bracket == "<":
        return None
    if path not in known:
        return "no such file from the repository root"
    mine, other = folder_of(name), folder_of(path)
    if mine is None or other is None:
        return "folder without a layer"
    if mine != other and LAYERS[other] >= LAYERS[mine]:
        return f"layer {LAYERS[mine]} ({mine}) must not use layer {LAYERS[other]} ({other})"
    return None


def check(root):
    names = listed(root)
    known = set(names)
    found = []
    for name in names:
        if not name.endswith(CPP):
            continue
        code = code_only(read(root, name))
        for match in INCLUDE.finditer(code):
            what = check_include(name, match.group(1), match.group(2), known)
            if what:
                line = code.count("\n", 0, match.start(2)) + 1
                found.append((name, line, match.group(2), what))
    return found


def main():
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    findings = check(os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else default))
    for name, line, path, what in findings:
        print(f"{name}:{line}: layering: {path}: {what}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
