"""Files below assets/ are served on the origin of every tenant that shares the bucket: none may become a script there,
and none may keep another tenant's release from being published."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
import urllib.request
from collections.abc import AsyncIterator

import pytest

from agui_dev.testbed.local_cloud import LocalCloud
from agui_operator.core.actions import AssetsPublished, Bundle
from agui_operator.core.release import frontend_id
from agui_operator.gcp.kinds.storage import release_assets
from agui_operator.gcp.kinds.storage.bundle import BundleRefused
from agui_operator.gcp.transport.clients import Cloud, CloudSettings, connect
from bundle_reading import read_here

SCRIPT = b"<svg xmlns='http://www.w3.org/2000/svg'><script>steal()</script></svg>"
PAGE = b"<script>steal()</script>"
Files = dict[str, tuple[bytes, str]]


def archive(files: Files) -> bytes:
    files = {"index.html": (b"<html>", "text/html"), **files}
    listed = [
        {
            "path": path,
            "sha384": base64.b64encode(hashlib.sha384(data).digest()).decode(),
            "size": len(data),
            "contentType": content_type,
        }
        for path, (data, content_type) in files.items()
    ]
    manifest = {"schemaVersion": 1, "entrypoint": "index.html", "runtimeUrl": "/copilotkit", "files": listed}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, (data, _) in {**files, "manifest.json": (json.dumps(manifest).encode(), "")}.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)


DOCUMENTS = [
    ("assets/promo.html", "text/html"),
    ("assets/promo.html", "text/html; charset=utf-8"),
    ("assets/deep/promo.htm", "text/html"),
    ("assets/promo", "text/html"),
    ("assets/promo.png", "text/html"),
    ("assets/promo.xhtml", "application/xhtml+xml"),
    ("assets/promo.xml", "text/xml"),
    ("assets/promo.xml", "application/xml"),
    ("assets/promo.rss", "application/rss+xml"),
    ("assets/promo.xsl", "text/xsl"),
    ("assets/promo.mht", "multipart/related"),
    ("assets/promo.mml", "application/mathml+xml"),
    ("assets/promo.swf", "application/x-shockwave-flash"),
    ("assets/promo.eml", "message/rfc822"),
    ("assets/promo.vtt", "text/vtt"),
]


@pytest.mark.parametrize(("path", "content_type"), DOCUMENTS)
def test_what_could_run_as_a_document_is_refused_in_the_pool(path: str, content_type: str) -> None:
    with pytest.raises(BundleRefused, match=f"{path} has contentType .* all releases share it"):
        read_here(archive({path: (PAGE, content_type)}))


@pytest.mark.parametrize(("path", "content_type"), DOCUMENTS)
def test_it_may_be_in_the_folder_of_its_own_release(path: str, content_type: str) -> None:
    assert read_here(archive({path.removeprefix("assets/"): (PAGE, content_type)})).files


@pytest.fixture
async def cloud(fresh_cloud: LocalCloud) -> AsyncIterator[Cloud]:
    for name in ("assets", "artifacts"):
        fresh_cloud.call("/storage/v1/b?project=demo", "POST", {"name": name})
    cloud = await connect(CloudSettings(endpoint=fresh_cloud.endpoint))
    yield cloud
    await cloud.close()


def release(local: LocalCloud, files: Files) -> AssetsPublished:
    data = archive(files)
    digest = hashlib.sha256(data).hexdigest()
    url = f"{local.endpoint}/upload/storage/v1/b/artifacts/o?uploadType=media&name={digest}"
    request = urllib.request.Request(url, data, {"Content-Type": "application/gzip"}, method="POST")
    with urllib.request.urlopen(request) as reply:
        assert reply.status == 200
    return AssetsPublished(Bundle("artifacts", digest, digest), frontend_id(digest), "assets", "/copilotkit")


def served(local: LocalCloud, name: str) -> tuple[bytes, str | None]:
    url = f"{local.endpoint}/storage/v1/b/assets/o/{name.replace('/', '%2F')}?alt=media"
    with urllib.request.urlopen(url) as reply:
        return reply.read(), reply.headers["Content-Disposition"]


async def test_a_browser_saves_a_pictures_script_instead_of_running_it(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    files: Files = {
        "assets/steal-1.svg": (SCRIPT, "image/svg+xml"),
        "assets/a-1.js": (b"1", "text/javascript"),
        "favicon.svg": (SCRIPT, "image/svg+xml"),
    }
    action = release(fresh_cloud, files)
    await release_assets.apply(cloud, action, "attacker")
    assert served(fresh_cloud, "assets/steal-1.svg") == (SCRIPT, "attachment")
    assert served(fresh_cloud, "assets/a-1.js") == (b"1", None)
    assert served(fresh_cloud, f"releases/{action.frontend}/favicon.svg") == (SCRIPT, None)


async def test_a_name_that_carries_its_digest_can_not_be_taken_by_others(cloud: Cloud, fresh_cloud: LocalCloud) -> None:
    data = b"the victim's script"
    name = f"assets/app-{hashlib.sha256(data).hexdigest()[:32]}.js"
    await release_assets.apply(cloud, release(fresh_cloud, {name: (PAGE, "text/javascript")}), "attacker")
    assert served(fresh_cloud, name)[0] == PAGE
    await release_assets.apply(cloud, release(fresh_cloud, {name: (data, "text/javascript")}), "victim")
    assert served(fresh_cloud, name)[0] == data
    again = release(fresh_cloud, {name: (PAGE, "text/javascript"), "robots.txt": (b"", "text/plain")})
    with pytest.raises(BundleRefused) as refused:
        await release_assets.apply(cloud, again, "attacker")
    assert served(fresh_cloud, name)[0] == data
    assert base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode() not in str(refused.value)


@pytest.mark.parametrize("digits", [8, 31])
async def test_a_short_digest_replaces_nothing(cloud: Cloud, fresh_cloud: LocalCloud, digits: int) -> None:
    """Somebody could find other bytes with the same digits."""
    data = b"the second script"
    name = f"assets/app-{hashlib.sha256(data).hexdigest()[:digits]}.js"
    await release_assets.apply(cloud, release(fresh_cloud, {name: (b"the first", "text/javascript")}), "first")
    with pytest.raises(BundleRefused, match="32 or more hex digits of its sha256"):
        await release_assets.apply(cloud, release(fresh_cloud, {name: (data, "text/javascript")}), "second")
    assert served(fresh_cloud, name)[0] == b"the first"
