#!/usr/bin/env python3
"""Writes runtime/model/unicode_ranges.cpp from the reference's code-point classes.

Usage: tools/unicode_ranges.py [UNICODE_CLASSES_JSON] > runtime/model/unicode_ranges.cpp
The input holds, per class (L M N P S space), the code points of the tokenizers library's pattern
engine (Unicode 16.0) as [first, last] ranges. Ranges are written as first and last code point.
"""
import json
import pathlib
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = [("L", "letter"), ("M", "mark"), ("N", "number"), ("P", "punctuation"),
         ("S", "symbol"), ("space", "space")]


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else (
        ROOT / "tests/golden/tokenizer-deepseek/unicode_classes.json")
    classes = json.loads(pathlib.Path(path).read_text())["classes"]
    print("// Made by tools/unicode_ranges.py; do not edit.")
    print("// Unicode 16.0 general categories as the tokenizers library's pattern engine has them.")
    print('#include "runtime/model/unicode_classes.hpp"\n')
    print("namespace atl::model {\n\nnamespace {\n")
    print("// clang-format off")
    for key, name in NAMES:
        print(f"constexpr code_point_range {name}_ranges[] = {{")
        items = " ".join(f"{{{first},{last}}}," for first, last in classes[key])
        print("\n".join(textwrap.wrap(items, 99, break_on_hyphens=False)))
        print("};\n")
    print("// clang-format on\n\n}  // namespace\n")
    print("std::span<const code_point_range> ranges_of(unicode_class which) noexcept {")
    print("  switch (which) {")
    for _, name in NAMES:
        print(f"  case unicode_class::{name}: return {name}_ranges;")
    print("  }\n  return {};\n}\n\n}  // namespace atl::model")


main()
