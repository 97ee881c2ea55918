"""Each gate finds what is planted for it, and leaves sound code alone."""

import os
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "tools"))

import check_layering  # noqa: E402
import tidy  # noqa: E402
from gate_sources import code_only, listed  # noqa: E402


def rules(name, text):
    return sorted({rule for _, rule, _ in tidy.check_text(name, text)})


class Tree:
    """A project in a temporary folder."""

    def __init__(self, files):
        self.files = files

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        for name, text in self.files.items():
            path = os.path.join(self.folder.name, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return self.folder.name

    def __exit__(self, *_):
        self.folder.cleanup()


class CodeOnly(unittest.TestCase):
    def test_keeps_lines_and_drops_comments_and_literals(self):
        text = '#include "a/b.hpp"\nint a = 1\'000; // rand()\n/* rand()\n */ f("rand()");\n'
        text += 'g(R"x(rand()\n")x");\n'
        code = code_only(text)
        self.assertEqual(code.count("\n"), text.count("\n"))
        self.assertNotIn("rand", code)
        self.assertIn('#include "a/b.hpp"', code)
        self.assertIn("1'000;", code)


class Tidy(unittest.TestCase):
    def test_sound_code_passes(self):
        self.assertEqual(rules("experts/a.hpp", "#pragma once\nnamespace atl {\nint f();\n}\n"), [])
        sound = "x() = delete;\nint y = brand(1); // new thing\n"
        self.assertEqual(rules("experts/a.cpp", sound), [])
        owned = "return std::unique_ptr<const thing>{new thing{1}};\n"
        self.assertEqual(rules("experts/a.cpp", owned), [])
        self.assertEqual(rules("experts/a.cpp", 'asm volatile("" : : : "memory");\n'), [])

    def test_columns_are_characters(self):
        self.assertEqual(rules("a.cpp", "// " + "静" * 97 + "\n"), [])
        self.assertEqual(rules("a.cpp", "// " + "静" * 98 + "\n"), ["columns"])

    def test_file_sizes(self):
        self.assertEqual(rules("a.cpp", "\n" * 600), [])
        self.assertEqual(rules("a.cpp", "\n" * 601), ["file size"])
        self.assertEqual(rules("a.hpp", "#pragma once" + "\n" * 251), ["file size"])

    def test_pragma_once(self):
        self.assertEqual(rules("a.hpp", "int f();\n"), ["pragma once"])

    def test_banned_calls(self):
        for line, rule in [
            ("auto t = std::chrono::steady_clock::now();", "clock"),
            ("auto t = std::chrono::system_clock::now();", "clock"),
            ("std::random_device d;", "random"),
            ("int x = rand();", "random"),
            ("std::shuffle(a, b, g);", "random"),
            ("std::uniform_int_distribution<int> d;", "distribution"),
            ("std::this_thread::sleep_for(1s);", "sleep"),
            ("usleep(5);", "sleep"),
            ("volatile int x;", "volatile"),
            ("std::atomic<int> x;", "atomic"),
            ("auto* p = new thing();", "raw memory"),
            ("delete p;", "raw memory"),
            ("std::thread(f).detach();", "detached thread"),
            ("std::cout << 1;", "console"),
        ]:
            self.assertEqual(rules("experts/a.cpp", line + "\n"), [rule], line)
        self.assertEqual(rules("runtime/base/clock.cpp", "steady_clock::now();\n"), [])
        self.assertEqual(rules("apps/a.cpp", "std::cout << 1;\n"), [])

    def test_heavy_headers(self):
        text = "#pragma once\n#include <caf/all.hpp>\n"
        self.assertEqual(rules("actors/a.hpp", text), ["heavy header"])
        self.assertEqual(rules("actors/a.cpp", text), [])

    def test_unfinished_words(self):
        self.assertEqual(rules("a.cpp", "// TODO: later\n"), ["unfinished"])
        self.assertEqual(rules("a.py", "# FIXME\n"), ["unfinished"])

    def test_function_sizes(self):
        def long(head, lines):
            return f"namespace a {{\n{head} {{\n" + "  f();\n" * lines + "}\n}  // namespace a\n"

        self.assertEqual(rules("a.cpp", long("void f(int x)", 68)), [])
        for head in [
            "void f(int x)",
            "thing::thing(int x) : a_{x}, b_(2)",
            "auto f() -> std::vector<int>",
            "TEST(a, b)",
            "template <class T>\nvoid f(T x = {})",
        ]:
            self.assertEqual(rules("a.cpp", long(head, 90)), ["function size"], head)
        members = "struct a {\n" + "  int f() { return 1; }\n" * 90 + "};\n"
        self.assertEqual(rules("a.cpp", members), [])
        table = "const std::array<row, 90> rows = {{\n" + "    {f(1)},\n" * 90 + "}};\n"
        self.assertEqual(rules("a.cpp", table), [])
        lambda_ = "f() {\n  g([] {\n" + "h();\n" * 90 + "});\n"
        self.assertEqual(rules("a.cpp", "void " + lambda_ + "}\n"), ["function size"])

    def test_dead_files(self):
        tree = {
            "CMakeLists.txt": "add_library(x experts/used.cpp)\n",
            "experts/used.cpp": '#include "experts/used.hpp"\n',
            "experts/used.hpp": "",
            "experts/dead.cpp": "",
            "experts/dead.hpp": '#include "experts/dead.hpp"\n',
        }
        with Tree(tree) as root:
            found = [name for name, *_ in tidy.dead_files(root, listed(root))]
        self.assertEqual(found, ["experts/dead.cpp", "experts/dead.hpp"])


class Layering(unittest.TestCase):
    KNOWN = {"runtime/base/a.hpp", "experts/a.hpp", "attention/a.hpp", "actors/a.hpp"}

    def wrong(self, name, path, bracket='"'):
        return check_layering.check_include(name, bracket, path, self.KNOWN) is not None

    def test_down_and_own_folder_are_allowed(self):
        self.assertFalse(self.wrong("experts/b.cpp", "runtime/base/a.hpp"))
        self.assertFalse(self.wrong("experts/b.cpp", "experts/a.hpp"))
        self.assertFalse(self.wrong("tests/unit/experts/b.cpp", "actors/a.hpp"))

    def test_sideways_and_up_are_refused(self):
        self.assertTrue(self.wrong("experts/b.cpp", "attention/a.hpp"))
        self.assertTrue(self.wrong("experts/b.cpp", "actors/a.hpp"))
        self.assertTrue(self.wrong("runtime/base/b.cpp", "experts/a.hpp"))

    def test_paths_start_at_the_root(self):
        self.assertTrue(self.wrong("experts/b.cpp", "a.hpp"))
        self.assertFalse(self.wrong("experts/b.cpp", "vector", "<"))

    def test_libraries_stay_behind_their_folder(self):
        self.assertTrue(self.wrong("experts/b.cpp", "caf/actor.hpp", "<"))
        self.assertFalse(self.wrong("actors/b.cpp", "caf/actor.hpp", "<"))
        self.assertTrue(self.wrong("actors/b.cpp", "ucp/api/ucp.h", "<"))
        self.assertTrue(self.wrong("actors/b.cpp", "transport/wire/frame_generated.h"))
        self.assertFalse(self.wrong("transport/wire/b.cpp", "transport/wire/frame_generated.h"))
        self.assertTrue(self.wrong("runtime/kernels/cpu/b.cpp", "cuda_runtime.h", "<"))

    def test_a_planted_include_is_reported_with_its_line(self):
        tree = {
            "experts/a.hpp": "#pragma once\n",
            "runtime/base/a.cpp": '// #include "experts/a.hpp"\n#include "experts/a.hpp"\n',
        }
        with Tree(tree) as root:
            found = check_layering.check(root)
        self.assertEqual([(f[0], f[1]) for f in found], [("runtime/base/a.cpp", 2)])


if __name__ == "__main__":
    unittest.main()
