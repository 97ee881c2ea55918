"""The commands of docs/operations.md, run as they stand, in a network of their own."""

import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from harness import BINARY, PATIENCE

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/operations.md"
IN_ITS_OWN_NETWORK = ["unshare", "--user", "--map-root-user", "--net", "--"]


def blocks():
    """(heading, text) of the blocks of a shell."""
    heading, out = "", []
    for part in re.split(r"^(## [^\n]*|```sh\n.*?^```)$", PAGE.read_text("utf-8"),
                         flags=re.MULTILINE | re.DOTALL):
        if part.startswith("## "):
            heading = part[3:]
        elif part.startswith("```sh\n"):
            out.append((heading, part[6:-3]))
    return out


def script():
    text = "set -euo pipefail\nip link set lo up\n"
    for i, (heading, block) in enumerate(blocks()):
        text += f"echo '==== {i}: {heading}'\n{block}\n"
    return text + "echo '==== the end'\n"


@pytest.fixture()
def folder(tmp_path):
    # Nodes ask for a directory that nobody else may write to.
    tmp_path.chmod(0o700)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/atoll").symlink_to(BINARY)
    return tmp_path


def test_the_commands_of_the_page_do_what_it_says(folder):
    if not shutil.which("ip") or subprocess.run([*IN_ITS_OWN_NETWORK, "true"], check=False,
                                                capture_output=True).returncode != 0:
        pytest.skip("a network namespace cannot be made here")
    environment = {**os.environ, "MODEL": str(ROOT / "models/tiny"),
                   "PATH": f"{folder}/bin:{os.environ['PATH']}"}
    with open(folder / "said", "w+", encoding="utf-8") as said:
        process = subprocess.Popen([*IN_ITS_OWN_NETWORK, "bash", "-c", script()], cwd=folder,
                                   env=environment, stdout=said, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            code = process.wait(timeout=35 * PATIENCE)
        except subprocess.TimeoutExpired:
            code = "no end in time"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        text = (folder / "said").read_text("utf-8")
    logs = "".join(f"---- {log.name}\n{log.read_text('utf-8')[-1500:]}"
                   for log in sorted(folder.glob("*.log")))
    assert code == 0, f"{code}\n{text[-4000:]}\n{logs}"
    assert text.rstrip().endswith("==== the end")
    assert len(blocks()) >= 10
    assert '"choices"' in text  # the first answer
    assert re.search(r"POST /api/v1/nodes/\d+/drain", (folder / "restored/audit.jsonl").read_text())
