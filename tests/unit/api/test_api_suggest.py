"""What was probably meant: the nearest field at the place of a key that no field has."""

from __future__ import annotations

import pytest

from agui_operator.api.lint import lint
from agui_operator.api.parse import SpecInvalid, parse_deployment
from agui_operator.api.suggest import nearest
from engine_fakes import sample

REQUEST = """apiVersion: agui.dev/v1alpha1
kind: AgUiDeployment
metadata: {name: a, annotations: {agui.dev/promote: "true", other: x}}
spec:
  environmentRef: {name: prod}
  backend: {image: a.example/b/c:1, serviceAccount: concierge}
"""
ENVIRONMENT = """apiVersion: agui.dev/v1alpha1
kind: AgUiEnvironment
metadata: {name: prod}
spec: {projectId: demo-1, region: us-central1}
"""


@pytest.mark.parametrize(
    ("change", "path", "name"),
    [
        ({"migration": {}}, "spec.migration", "migrations"),
        ({"backend": {"serviceAcount": "x"}}, "spec.backend.serviceAcount", "serviceAccount"),
        ({"backend": {"resources": {"Memory": "1Gi"}}}, "spec.backend.resources.Memory", "memory"),
        ({"smoke": [{"name": "a", "http": {"pth": "/"}}]}, "spec.smoke[0].http.pth", "path"),
        (
            {"strategy": {"canary": {"steps": [{"setweight": 5}]}}},
            "spec.strategy.canary.steps[0].setweight",
            "setWeight",
        ),
    ],
)
def test_a_misspelt_field_is_named_with_the_one_that_was_meant(change: dict[str, object], path: str, name: str) -> None:
    raw = sample("release-v2.yaml")
    for key, value in change.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) and key in raw else value
    with pytest.raises(SpecInvalid) as found:
        parse_deployment(raw)
    assert f"{path}: is not a known field; did you mean {name}?" in [str(error) for error in found.value.errors]


def test_nothing_is_suggested_for_what_is_like_no_field() -> None:
    assert nearest("imagePullPolicy", ["image", "command"]) is None
    with pytest.raises(SpecInvalid, match=r"is not a known field; correct its name or remove it"):
        parse_deployment({**sample("release-v2.yaml"), "zzz": 1})


def test_texts_are_checked_together_and_a_request_in_a_file_is_found() -> None:
    found = lint([("a.yaml", REQUEST), ("b.yaml", ENVIRONMENT), ("c.yaml", "kind: ConfigMap\napiVersion: v1")])
    assert (found.ours, len(found.passed_over)) == (2, 1)
    (finding,) = found.findings
    assert finding.startswith(
        "a.yaml[1] AgUiDeployment default/a: metadata.annotations[agui.dev/promote]: is a request"
    )
    other = lint([("a.yaml", REQUEST), ("b.yaml", ENVIRONMENT.replace("name: prod", "name: test"))])
    assert "no AgUiEnvironment default/prod in these files" in other.findings[-1]
    assert lint([("a.yaml", ENVIRONMENT), ("b.yaml", ENVIRONMENT)]).findings == (), "overlays may name the same objects"
