"""Kubeconfig files come from users: what is wrong with one is said in a sentence that names the file and the field."""

from __future__ import annotations

import base64
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_dev.controlplane.kubeconfig import Cluster, KubeconfigError, certificate_user, read_cluster, write_kubeconfig


def document(**cluster: Any) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [{"name": "other"}, {"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://example.test:6443", **cluster}}],
    }


def write(folder: Path, content: Any) -> Path:
    target = folder / "kubeconfig"
    target.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return target


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("", "holds no mapping", id="empty"),
        pytest.param("just text", "holds no mapping", id="text"),
        pytest.param("a: [", "is not YAML", id="broken-yaml"),
        pytest.param({"clusters": []}, "has no current-context", id="no-context-chosen"),
        pytest.param({**document(), "current-context": "gone"}, "names the context 'gone'", id="context-missing"),
        pytest.param({**document(), "contexts": None}, "names the context 'here'", id="no-contexts"),
        pytest.param({**document(), "clusters": [{"name": "x"}]}, "names the cluster 'c'", id="cluster-missing"),
        pytest.param(document(server=None), "no usable `server`", id="no-server"),
        pytest.param(document(server="example.test"), r"no usable `server` \(found 'example.test'\)", id="no-scheme"),
        pytest.param(
            document(**{"certificate-authority-data": "%%%"}),
            "certificate-authority-data is not base64",
            id="not-base64",
        ),
        pytest.param(
            document(**{"certificate-authority": "gone.pem"}), "certificate-authority can't be read", id="no-ca"
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_file_name(tmp_path: Path, content: Any, message: str) -> None:
    file = write(tmp_path, content)
    with pytest.raises(KubeconfigError, match=message) as caught:
        read_cluster(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="can't be read: No such file"):
        read_cluster(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KubeconfigError, match="is not YAML"):
        read_cluster(tmp_path / "binary")


def test_the_authority_is_read_from_data_or_from_a_file_beside(tmp_path: Path) -> None:
    data = base64.b64encode(b"PEM").decode()
    inline = read_cluster(write(tmp_path, document(**{"certificate-authority-data": data})))
    assert inline == Cluster("https://example.test:6443", b"PEM")
    (tmp_path / "ca.pem").write_bytes(b"FILE")
    beside = read_cluster(write(tmp_path, document(**{"certificate-authority": "ca.pem"})))
    assert beside.ca_pem == b"FILE"
    insecure = read_cluster(write(tmp_path, document(**{"insecure-skip-tls-verify": True})))
    assert insecure == Cluster("https://example.test:6443", None, insecure=True)


@pytest.mark.parametrize(
    "cluster", [Cluster("https://127.0.0.1:1", b"PEM"), Cluster("https://127.0.0.1:1", None, True)]
)
def test_what_is_written_is_read_back_and_private(tmp_path: Path, cluster: Cluster) -> None:
    target = write_kubeconfig(tmp_path / "kubeconfig", cluster, certificate_user(b"C", b"K"), namespace="shop")
    assert read_cluster(target) == cluster
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    written = yaml.safe_load(target.read_text())
    assert written["contexts"][0]["context"]["namespace"] == "shop"
    assert base64.b64decode(written["users"][0]["user"]["client-key-data"]) == b"K"
    assert [file.name for file in tmp_path.iterdir()] == ["kubeconfig"]
