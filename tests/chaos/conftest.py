"""What every node said, where a test of a cluster fails."""

import contextlib

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if not report.failed:
        return
    for name, value in getattr(item, "funcargs", {}).items():
        if hasattr(value, "logs"):
            with contextlib.suppress(OSError):  # it is gone already
                for node, said in value.logs().items():
                    report.sections.append((f"{name}: {node}", said))
