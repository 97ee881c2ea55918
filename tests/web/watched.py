"""A page in Chromium, with what it complains of and where it goes."""

import re

CHROMIUM = "/usr/bin/chromium"


class Watched:
    """A page whose complaints and requests are kept."""

    def __init__(self, browser, url, width=1280, scheme="light", **context):
        self.url = url
        self.context = browser.new_context(viewport={"width": width, "height": 800},
                                           color_scheme=scheme, **context)
        self.errors, self.requests = [], []
        self.context.on("request", lambda r: self.requests.append(r.url))
        self.page = self.context.new_page()
        self.page.on("console", lambda m: m.type in ("error", "warning")
                     and self.errors.append(m.text))
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.goto(url, wait_until="domcontentloaded")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.context.close()
        if kind is None:
            assert not self.errors
            outside = [u for u in self.requests if not u.startswith(self.url + "/")]
            assert self.requests and not outside

    def at(self, selector):
        return self.page.locator(selector)

    def forgive(self, pattern):
        """Removes complaints that the test has provoked; there must be some."""
        kept = [e for e in self.errors if not re.search(pattern, e)]
        assert len(kept) < len(self.errors), self.errors
        self.errors[:] = kept
