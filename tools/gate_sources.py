"""What the gates read: the project's files, and C++ text without comments and literals."""

import os
import re
import subprocess

CPP = (".cpp", ".hpp", ".h", ".inl", ".cu", ".cuh")
SKIPPED_FOLDERS = {".git", ".cache", "__pycache__", "build"}


def listed(root):
    """Relative paths of the project's files: those git knows or would add, or all without git."""
    if os.path.exists(os.path.join(root, ".git")):
        command = ["git", "-C", root, "ls-files", "-z", "-co", "--exclude-standard"]
        try:
            names = subprocess.run(command, check=True, capture_output=True).stdout
            found = [n for n in names.decode().split("\0") if n]
            return sorted(n for n in found if os.path.isfile(os.path.join(root, n)))
        except (OSError, subprocess.CalledProcessError):
            pass
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if f not in SKIPPED_FOLDERS]
        found += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return sorted(found)


def read(root, name):
    with open(os.path.join(root, name), encoding="utf-8") as file:
        return file.read()


_PIECES = re.compile(
    r"//[^\n]*"
    r"|/\*.*?\*/"
    r'|\bR"(?P<mark>[^(\s]*)\(.*?\)(?P=mark)"'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+'",
    re.DOTALL,
)


def code_only(text):
    """The same lines with comments gone and literals emptied; include lines keep their path."""

    def blank(match):
        piece = match.group(0)
        start = text.rfind("\n", 0, match.start()) + 1
        if text[start : match.start()].lstrip().startswith("#include"):
            return piece if piece[0] == '"' else ""
        lines = "\n" * piece.count("\n")
        if piece.startswith(("//", "/*")):
            return " " + lines
        return ('""' if piece[0] in 'R"' else "' '") + lines

    return _PIECES.sub(blank, text)
