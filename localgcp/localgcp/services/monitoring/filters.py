"""Cloud Monitoring's dialect of the filter language: functions, and other spellings of labels.

`metric.type = "..." AND resource.labels.revision_name = one_of("a", "b")`
Source: https://cloud.google.com/monitoring/api/v3/filters
"""

from __future__ import annotations

import dataclasses
import re

from localgcp.kit.filters import Comparison, Dialect


def _canonical(comparison: Comparison) -> Comparison:
    """`metric.label.code` is another spelling of `metric.labels.code`."""
    selector = re.sub(r"^(metric|resource)\.label\.", r"\1.labels.", comparison.selector)
    return dataclasses.replace(comparison, selector=selector)


MONITORING = Dialect(
    functions={
        "starts_with": lambda value, arguments: value.startswith(arguments[0]),
        "ends_with": lambda value, arguments: value.endswith(arguments[0]),
        "has_substring": lambda value, arguments: arguments[0] in value,
        "one_of": lambda value, arguments: value in arguments,
        "monitoring.regex.full_match": lambda value, arguments: re.fullmatch(arguments[0], value) is not None,
    },
    canonical=_canonical,
)
