"""A real browser on a hostile page, against a real localgcp: what the page sends has no effect.

The other tests of these attacks send bytes as a browser would; this one lets a browser choose them.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agui_dev.setup import browser
from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud
from hostile_pages import RUN, job

pytestmark = pytest.mark.e2e

PATIENCE = 60.0
PAGE = """<!doctype html><body>
<form id=f method=post enctype=text/plain target=t action="%(api)s%(run)s/jobs?jobId=form">
<input name='{"labels": {"a": "' value='"}}'></form><iframe name=t></iframe><script>
const api = "%(api)s", done = {};
const image = (src) => new Promise((ok, no) => Object.assign(new Image(), { onload: ok, onerror: no, src }));
const opened = (url) => new Promise((ok, no) => Object.assign(new WebSocket(url), { onopen: ok, onerror: no }));
const body = %(job)s;
const attacks = {
  simple: () => fetch(api + "%(run)s/jobs?jobId=evil", { method: "POST", mode: "no-cors", body }),
  run: () => fetch(api + "%(run)s/jobs/evil:run", { method: "POST", mode: "no-cors" }),
  reset: () => fetch(api + "/_localgcp/reset", { method: "POST", mode: "no-cors" }),
  read: () => fetch(api + "/_localgcp/status"),
  blind: () => fetch(api + "/v2/projects/demo/locations/us-central1/jobs", { mode: "no-cors" }),
  image: () => image(api + "/_localgcp/ledger"),
  socket: () => opened(api.replace("http", "ws") + "/"),
  form: async () => document.getElementById("f").submit(),
};
(async () => {
  for (const [name, attack] of Object.entries(attacks)) {
    try { done[name] = (await attack())?.type ?? "done"; } catch (error) { done[name] = "failed"; }
  }
  await new Promise((later) => setTimeout(later, 500));
  await fetch("/report", { method: "POST", body: JSON.stringify(done) });
})();
</script>"""


class Site:
    """A web site on a random port of this machine. `report` is what its page told of its attacks."""

    def __init__(self) -> None:
        self.report: dict[str, str] = {}
        self.page = ""
        self.told = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(site.page.encode())

            def do_POST(self) -> None:
                site.report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(b"")
                site.told.set()

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join(10)


@contextmanager
def running(folder: Path, *options: str) -> Iterator[LocalCloud]:
    cloud = LocalCloud(folder / "state", "--lro-seconds", "0", "--catalogue", str(SMALL_IMAGES), *options)
    try:
        cloud.start()
        yield cloud
    finally:
        cloud.stop()


def visit(site: Site, host: str, cloud: LocalCloud, folder: Path) -> dict[str, str]:
    """What the page told after its attacks on `cloud`, opened in a browser under one of the site's names."""
    program = browser.find()
    if program is None:
        pytest.skip("there is no Chromium on PATH (or set CHROMIUM to one)")
    site.page = PAGE % {"api": cloud.endpoint, "run": RUN, "job": json.dumps(job("id"))}
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    options.append("--host-resolver-rules=MAP evil.example 127.0.0.1")
    address = f"http://{host}:{site.port}/"
    with subprocess.Popen(
        [program, *options, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as visitor:
        try:
            assert site.told.wait(PATIENCE), "the page did not report"
        finally:
            visitor.terminate()
    return site.report


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "evil.example"])
def test_a_hostile_page_has_no_effect(site: Site, tmp_path: Path, host: str) -> None:
    with running(tmp_path) as cloud:
        since = cloud.last
        report = visit(site, host, cloud, tmp_path)
        assert report["read"] == report["image"] == report["socket"] == "failed"
        assert cloud.ledger(since) == []


def test_the_same_page_has_one_where_its_origin_is_allowed(site: Site, tmp_path: Path) -> None:
    """The control: without the guard the browser's requests would arrive and do what they say."""
    with running(tmp_path, "--allow-origin", f"http://localhost:{site.port}") as cloud:
        since = cloud.last
        visit(site, "localhost", cloud, tmp_path)
        assert ("create", f"{cloud.parent}/jobs/evil") in cloud.effects(since)
        assert cloud.ledger(since, method="Jobs.RunJob")
        assert not cloud.ledger(since, method="reset"), "the admin API asks for its token still"
        assert cloud.call(f"{RUN}/jobs/evil")["name"] == f"{cloud.parent}/jobs/evil"
