"""Where the operator's pod may connect: names, the API server, public addresses by TLS, the metadata server."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from agui_operator.checks import addresses

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
POLICY = yaml.safe_load((MANIFESTS / "base" / "network-policy.yaml").read_text())
RULES: list[dict[str, Any]] = POLICY["spec"]["egress"]
GKE = ("dev", "staging", "prod")


def patched(overlay: str) -> list[dict[str, Any]]:
    """The egress rules of an overlay: its JSON patches of the policy, applied."""
    kustomization = yaml.safe_load((MANIFESTS / "overlays" / overlay / "kustomization.yaml").read_text())
    rules: list[dict[str, Any]] = yaml.safe_load(yaml.safe_dump(RULES))
    for patch in kustomization["patches"]:
        if patch["target"]["kind"] != "NetworkPolicy":
            continue
        for step in yaml.safe_load(patch["patch"]):
            assert step["op"] == "replace"
            *_, rule, field = step["path"].split("/")
            rules[int(rule)][field] = step["value"]
    return rules


def lets(rules: list[dict[str, Any]], address: str, port: int, protocol: str = "TCP") -> bool:
    """Whether an address outside of any selected pod can be reached. A rule without `to` is one for every address."""
    found = ip_address(address)

    def holds(block: dict[str, Any]) -> bool:
        inside = found in ip_network(block["cidr"])
        return inside and not any(found in ip_network(kept_out) for kept_out in block.get("except", ()))

    return any(
        {"port": port, "protocol": protocol} in rule["ports"]
        and ("to" not in rule or any(holds(to["ipBlock"]) for to in rule["to"] if "ipBlock" in to))
        for rule in rules
    )


def test_every_rule_names_where_it_leads_to() -> None:
    assert POLICY["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule.get("to") and rule.get("ports") for rule in RULES)


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("199.36.153.8", 443),  # private.googleapis.com
        ("199.36.153.4", 443),  # restricted.googleapis.com
        ("142.250.74.202", 443),  # an address of googleapis.com
        ("34.120.1.1", 443),  # a load balancer
        ("2a00:1450:4001:80b::200a", 443),
        ("169.254.169.254", 80),
        ("169.254.169.252", 988),
    ],
)
def test_what_the_operator_needs_is_open(address: str, port: int) -> None:
    assert lets(RULES, address, port)


@pytest.mark.parametrize("overlay", GKE)
@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.5",
        "10.128.0.9",
        "172.17.0.2",
        "192.168.1.1",
        "100.64.0.1",
        "34.118.224.10",
        "127.0.0.1",
        "169.254.169.254",
        "fd00::1",
        "fe80::1",
        "::1",
        "2002:a00:1::1",
    ],
)
def test_services_of_the_cluster_are_closed_on_gke(overlay: str, address: str) -> None:
    rules = patched(overlay)
    for port in (443, 6443, 8443, 5432, 3307):
        assert not lets(rules, address, port), port


@pytest.mark.parametrize("overlay", GKE)
def test_an_overlay_names_its_control_plane(overlay: str) -> None:
    rules = patched(overlay)
    (control_plane,) = [rule for rule in rules if {"port": 6443, "protocol": "TCP"} in rule["ports"]]
    networks = [ip_network(to["ipBlock"]["cidr"]) for to in control_plane["to"]]
    assert networks
    assert all(network.prefixlen >= 28 for network in networks), "a control plane, and not the cluster"
    assert all(lets(rules, str(network[1]), 443) for network in networks)


@pytest.mark.parametrize(("address", "port"), [("8.8.8.8", 53), ("34.120.1.1", 80), ("34.120.1.1", 6443)])
def test_public_addresses_are_open_for_tls_only(address: str, port: int) -> None:
    assert not lets(RULES, address, port)
    assert not lets(RULES, address, port, "UDP")


def test_names_are_asked_of_the_clusters_resolver_only() -> None:
    (dns,) = [rule for rule in RULES if {"port": 53, "protocol": "UDP"} in rule["ports"]]
    pods = [to for to in dns["to"] if "ipBlock" not in to]
    assert all("namespaceSelector" in to and "podSelector" in to for to in pods)
    assert {to["ipBlock"]["cidr"] for to in dns["to"] if "ipBlock" in to} == {"169.254.20.10/32", "169.254.169.254/32"}


def test_the_policy_keeps_out_what_the_guard_of_the_checks_keeps_out() -> None:
    """One list in two places: a block that is added to one is added to the other."""
    (public,) = [rule for rule in RULES if len(rule["ports"]) == 1 and rule["ports"][0]["port"] == 443]
    kept_out = {to["ipBlock"]["cidr"]: set(to["ipBlock"]["except"]) for to in public["to"]}
    assert kept_out["0.0.0.0/0"] == {str(network) for network in addresses._V4_SPECIAL}
    assert kept_out[str(addresses._V6_GLOBAL)] == {str(network) for network in addresses._V6_SPECIAL}
