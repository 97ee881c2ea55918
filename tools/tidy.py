#!/usr/bin/env python3
"""House rules that compilers do not check: sizes, banned calls, unfinished words, dead files.

Usage: tidy.py [ROOT]     prints one line a finding (file:line: rule: what), exit status 1 if any.
Rules and the places that may break them, each with its reason, are the tables below.
"""

import os
import re
import sys

from gate_sources import CPP, code_only, listed, read

COLUMNS = 100
SOURCE_LINES = 600
HEADER_LINES = 250
FUNCTION_LINES = 70
SCRIPTS = (".py", ".sh")

# rule: (pattern on code without comments and literals, what to do instead)
BANNED = {
    "clock": (
        r"\b(?:steady|system|high_resolution)_clock::now\b|\bclock_gettime\s*\(|\bgettimeofday\s*\("
        r"|\bstd::time\s*\(",
        "take an atl::clock",
    ),
    "random": (
        r"\brandom_device\b|(?<![\w.>])s?rand\s*\(|\bstd::(?:ranges::)?shuffle\b",
        "take an atl::random_source or philox",
    ),
    "distribution": (
        r"\bstd::\w+_distribution\b",
        "its numbers differ between libraries: take an atl::random_source or philox",
    ),
    "sleep": (
        r"\bsleep_(?:for|until)\b|(?<![\w.>])(?:u|nano)?sleep\s*\(",
        "wait for a message or a condition; in tests, advance a virtual clock",
    ),
    "volatile": (r"(?<!asm )(?<!__asm__ )\bvolatile\b", "use a type of runtime/base"),
    "atomic": (r"\bstd::atomic\w*\s*[<&]|\b__atomic_\w+", "send a message or use a bounded queue"),
    "raw memory": (
        r"(?<![\w.>])new\s+(?!\()[A-Za-z_:]|(?<!= )\bdelete\b(?:\[\])?\s+[A-Za-z_*(]"
        r"|(?<![\w.>])(?:malloc|calloc|realloc)\s*\(",
        "use a container or make_unique",
    ),
    "detached thread": (r"\.detach\s*\(\s*\)", "join what you start"),
    "console": (
        r"\bstd::(?:cout|cerr|clog)\b|(?<![\w.>])(?:f?printf|puts)\s*\(",
        "return a result or log; only programs print",
    ),
    "heavy header": (
        r'#\s*include\s*[<"](?:caf/all|boost/asio|boost/beast)\.hpp[>"]',
        "include the parts that are used, and only in a .cpp",
    ),
}

# (rule, path prefix, reason)
EXCEPTIONS = [
    ("clock", "runtime/base/", "the clock seam itself"),
    ("random", "runtime/base/", "the random seam itself"),
    ("distribution", "tests/", "test data, compared with nothing stored"),
    ("distribution", "bench/", "data whose values do not matter"),
    ("sleep", "runtime/base/", "the only place that may wait"),
    ("volatile", "runtime/base/", "signal flags live here"),
    ("atomic", "runtime/base/", "atomics are written here, with their ordering explained"),
    ("atomic", "runtime/tensor/", "a device queue is itself a synchronisation primitive"),
    ("atomic", "actors/mailroom.hpp", "counts for people, relaxed, nothing depends on them"),
    ("atomic", "actors/local_cluster.cpp", "the next request's id, for callers on any thread"),
    ("atomic", "transport/ucx/arrivals.hpp", "counts for people, relaxed, nothing depends on them"),
    ("atomic", "tests/", "a test may count from several threads"),
    ("atomic", "bench/", "a benchmark may count from several threads"),
    ("raw memory", "runtime/base/", "the allocator seam itself"),
    ("raw memory", "actors/device_scheduler.cpp", "CAF and the device take ownership by pointer"),
    ("console", "runtime/base/assert.cpp", "the last words before abort"),
    ("console", "apps/", "programs print their results"),
    ("console", "tools/", "programs print their results"),
    ("console", "bench/", "programs print their results"),
    ("console", "tests/", "a test prints its seed"),
    ("heavy header", "*.cpp", "a source file pays for it once"),
    ("header size", "runtime/kernels/cpu/", "templates, compiled once for each instruction set"),
    ("unfinished", "tools/tidy.py", "names the words it looks for"),
    ("unfinished", "tests/tools/", "plants what the gate must find"),
]

# A private constructor is out of make_unique's reach; what is owned at once is no raw memory.
OWNED_NEW = re.compile(r"(\b(?:unique|shared)_ptr<[^;{}()]*>\s*[({]\s*)new\b")

UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b")


def excepted(rule, name):
    for which, where, _ in EXCEPTIONS:
        if which == rule and (name.startswith(where) or where == "*" + os.path.splitext(name)[1]):
            return True
    return False


def functions(code):
    """(first line, last line) of each function body in code without comments and literals.

    Follows braces; a brace glued to a name is an initialiser (clang-format writes bodies with a
    space before). Only outermost bodies count, so a lambda counts with the function around it.
    """
    code = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m[0].count("\n"), code,
                  flags=re.MULTILINE)
    found = []
    scopes = []
    head = ""
    head_line = line = 1
    for at, letter in enumerate(code):
        if letter == "\n":
            line += 1
        if letter == "{":
            if re.match(r"[\w>,({=]", code[at - 1]) or re.search(r"=\s*$", head):
                kind = "value"
            elif re.search(r"\b(?:namespace|class|struct|union|enum|extern)\b[^()]*$", head):
                kind = "scope"
            else:
                kind = "body" if ")" in head else "scope"
            inside = any(k in ("body", "value") for k, _ in scopes)
            scopes.append(("inner" if inside else kind, head_line))
            if kind != "value":
                head = ""
        elif letter == "}" and scopes:
            kind, first = scopes.pop()
            if kind == "body":
                found.append((first, line))
            if kind != "value":
                head = ""
        elif letter == ";" and not any(k in ("body", "value") for k, _ in scopes):
            head = ""
        else:
            if not head.strip():
                head = ""
                head_line = line
            head += letter
    return found


def check_text(name, text):
    """Findings (line, rule, what) in one file."""
    found = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS and not re.match(r"^\s*(?://|#)?\s*\S*https?://\S+$", line):
            found.append((number, "columns", f"{len(line)} characters, at most {COLUMNS}"))
        if UNFINISHED.search(line) and not excepted("unfinished", name):
            found.append((number, "unfinished", "finish it, or leave it out"))
    if not name.endswith(CPP):
        return found
    is_header = name.endswith((".hpp", ".h", ".cuh"))
    is_short = is_header and not excepted("header size", name)
    limit = HEADER_LINES if is_short else SOURCE_LINES
    if len(lines) - 1 > limit:
        what = f"{len(lines) - 1} lines, at most {limit}: split by noun"
        found.append((limit, "file size", what))
    if is_header and not re.search(r"^#pragma once$", text, re.MULTILINE):
        found.append((1, "pragma once", "missing"))
    code = code_only(text)
    owned = OWNED_NEW.sub(r"\1   ", code)
    for rule, (pattern, instead) in BANNED.items():
        if excepted(rule, name):
            continue
        for match in re.finditer(pattern, owned):
            number = code.count("\n", 0, match.start()) + 1
            found.append((number, rule, f"{match.group(0).strip()}: {instead}"))
    for first, last in functions(code):
        if last - first + 1 > FUNCTION_LINES:
            what = f"{last - first + 1} lines, at most {FUNCTION_LINES}"
            found.append((first, "function size", what))
    return found


def dead_files(root, names):
    """C++ sources that no CMake file lists, and headers that nothing includes."""
    built = set()
    for name in names:
        if os.path.basename(name) == "CMakeLists.txt":
            for word in re.findall(r"[\w./-]+\.(?:cpp|cu)\b", read(root, name)):
                built.add(os.path.normpath(os.path.join(os.path.dirname(name), word)))
    included = set()
    for name in names:
        if name.endswith(CPP):
            lines = re.findall(r'^\s*#\s*include\s*"([^"]+)"', read(root, name), re.MULTILINE)
            included.update(line for line in lines if line != name)
    for name in names:
        if name.endswith((".cpp", ".cu")) and name not in built:
            yield name, 1, "dead file", "listed in no CMakeLists.txt"
        if name.endswith((".hpp", ".h", ".cuh")) and name not in included:
            yield name, 1, "dead file", "included by nothing"


def check(root):
    names = listed(root)
    found = []
    for name in names:
        if name.endswith(CPP + SCRIPTS):
            found += [(name, *finding) for finding in check_text(name, read(root, name))]
    return found + list(dead_files(root, names))


def main():
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    findings = check(os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else default))
    for name, line, rule, what in findings:
        print(f"{name}:{line}: {rule}: {what}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
