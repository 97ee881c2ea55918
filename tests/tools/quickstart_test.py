"""quickstart on machines that are not ready: it says what to do, and does no harm."""

import os
import shutil
import subprocess
import tempfile
import unittest

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


class Quickstart(unittest.TestCase):
    """Runs a copy with stand-ins for the commands that look at the machine."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.project = os.path.join(self.folder.name, "a folder with spaces")
        self.bin = os.path.join(self.folder.name, "bin")
        os.makedirs(os.path.join(self.project, "tools"))
        os.mkdir(self.bin)
        shutil.copy(os.path.join(ROOT, "quickstart"), self.project)
        shutil.copy(os.path.join(ROOT, "tools", "setup.sh"), os.path.join(self.project, "tools"))
        lists = os.path.join("tools", "packages")
        shutil.copytree(os.path.join(ROOT, lists), os.path.join(self.project, lists))
        self.stand_in("sudo", "exit 1")

    def tearDown(self):
        self.folder.cleanup()

    def stand_in(self, name, script):
        path = os.path.join(self.bin, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{script}\n")
        os.chmod(path, 0o755)

    def run_it(self, *arguments, **environment):
        settings = dict(os.environ, PATH=f"{self.bin}:{os.environ['PATH']}", **environment)
        settings.pop("ATOLL_SKIP_PACKAGES", None)
        return subprocess.run(
            [os.path.join(self.project, "quickstart"), *arguments],
            cwd="/", env=settings, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=50, check=False,
        )

    def test_help_and_usage(self):
        self.assertEqual(self.run_it("--help").returncode, 0)
        wrong = self.run_it("--frobnicate")
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("Usage", wrong.stderr)

    def test_without_root_it_names_the_packages(self):
        self.stand_in("id", "echo 1000")
        self.stand_in("dpkg-query", "printf 'ii g++\\nii cmake\\nrc ninja-build\\n'; exit 1")
        self.stand_in("apt-get", "echo called >&2; exit 99")
        ran = self.run_it()
        self.assertEqual(ran.returncode, 2)
        line = [x for x in ran.stderr.split("\n") if "apt-get install" in x][0].split()
        self.assertIn("ninja-build", line)
        self.assertIn("libcaf-dev", line)
        self.assertNotIn("g++", line)
        self.assertNotIn("called", ran.stderr)

    def test_packages_are_named_before_they_are_installed(self):
        self.stand_in("id", "echo 0")
        self.stand_in("dpkg-query", "exit 1")
        self.stand_in("apt-get", "echo 'E: Failed to fetch http://x  Could not resolve'; exit 100")
        ran = self.run_it()
        self.assertEqual(ran.returncode, 2)
        self.assertLess(ran.stdout.index("libcaf-dev"), ran.stdout.index("Installing"))
        self.assertIn("network", ran.stderr)

    def test_a_full_disk_is_named(self):
        self.stand_in("id", "echo 0")
        self.stand_in("dpkg-query", "exit 1")
        self.stand_in("apt-get", "echo 'E: No space left on device'; exit 100")
        self.assertIn("disk is full", self.run_it().stderr)

    def test_a_disk_without_room_is_refused_first(self):
        self.stand_in("df", "echo header; echo x 1 1 1000 99% /")
        ran = self.run_it()
        self.assertEqual(ran.returncode, 2)
        self.assertIn("300 MB", ran.stderr)


if __name__ == "__main__":
    unittest.main()
