"""What may be shown of the words of a deployment's application and jobs: by policy, pure.

`diagnostics` is one more thing that a policy permits: it counts where the same policy permits all that the deployment
uses. A policy that can't be read may forbid it, so nothing is shown while there is one that names the namespace.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from agui_operator.api.backend import RESERVED_ENV
from agui_operator.api.deployment import AgUiDeploymentSpec
from agui_operator.api.policy import AgUiPolicySpec, Diagnostics
from agui_operator.core.environment import Place
from agui_operator.core.permitted import Unreadable, matches, refusals
from agui_operator.core.release import Release
from agui_operator.core.templates import from_json
from agui_operator.core.uses import of_spec
from agui_operator.core.words import Disclosure, highest


def disclosure_of(
    spec: AgUiDeploymentSpec | None,
    place: Place | None,
    namespace: str,
    policies: Sequence[AgUiPolicySpec],
    unreadable: Sequence[Unreadable] = (),
    releases: Iterable[Release | None] = (),
) -> Disclosure:
    """`releases`: others than the spec's whose words may come up; values of their environment are masked too."""
    hidden = [variable.value for variable in spec.backend.env] if spec is not None else []
    for release in releases:
        hidden += _values(release.template) if release is not None else ()
    return Disclosure(_level(spec, place, namespace, policies, unreadable), tuple(dict.fromkeys(hidden)))


@lru_cache(maxsize=512)
def _values(template: str) -> tuple[str, ...]:
    """Values of the variables that a release's spec set."""
    found = from_json(template)
    env = found.container.env if found is not None else {}
    return tuple(value for name, value in env.items() if name not in RESERVED_ENV)


def _level(
    spec: AgUiDeploymentSpec | None,
    place: Place | None,
    namespace: str,
    policies: Sequence[AgUiPolicySpec],
    unreadable: Sequence[Unreadable],
) -> Diagnostics:
    asked = [policy for policy in policies if policy.diagnostics is not Diagnostics.NONE]
    if (
        spec is None
        or place is None
        or not asked
        or any(matches(namespace, broken.namespaces) for broken in unreadable)
    ):
        return Diagnostics.NONE
    uses = of_spec(spec, place)
    return highest([policy.diagnostics for policy in asked if not refusals(uses, namespace, [policy])])
