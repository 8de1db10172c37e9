"""Words of a workload that carry a secret: each shape, in each way in, must not come out. And none may cost time.

CASES is the payload table: a shape of a secret, and a text that has it. The ways in are those of the operator: a code
of an agent, a message of Cloud Run about a service, an execution or a job, an API's error, a log line.
"""

from __future__ import annotations

import base64
import json
import random
import string
import time
from collections.abc import Callable
from typing import Any

import pytest
from google.cloud import run_v2
from hypothesis import given
from hypothesis import strategies as st

from agui_operator.api.policy import Diagnostics
from agui_operator.core.errors import CloudError, told
from agui_operator.core.masking import LINE, LONGEST, MASK, bounded, masked
from agui_operator.core.words import LINES, PLACEHOLDER, UNDISCLOSED, Disclosure, LogLines, Words
from agui_operator.gcp.transport import run_views

MESSAGES, LOG_LINES = Disclosure(Diagnostics.MESSAGES), Disclosure(Diagnostics.LOG_LINES)
PASSWORD = "hunter2-never-shown"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nAbCdEfGhIjKl\n-----END PRIVATE KEY-----"

# Shape: how a text has it. {} is the secret.
SHAPES: dict[str, str] = {
    "assignment": "DB_PASSWORD={} was refused",
    "assignment in quotes": 'password = "{} and more" is wrong',
    "assignment in single quotes": "secret: '{}'",
    "assignment of a shell": "export API_KEY={}",
    "unfinished quote": 'token="{}',
    "JSON": '{{"client_secret": "{}", "step": 1}}',
    "JSON in JSON": '{{"error": "{{\\"password\\": \\"{}\\"}}"}}',
    "YAML": "apiKey: {}",
    "arrow": "credentials => {}",
    "prose": "the password is {} and it is wrong",
    "flag": "ran migrate --db-password {} and failed",
    "flag with =": "ran migrate --token={}",
    "URL": "could not connect to postgresql://shop:{}@db.internal:5432/shop",
    "URL without user": "redis://:{}@cache:6379/0",
    "URL with @": "amqp://u:{}@more@mq/",
    "URL with /": "postgres://u:{}/x@db/shop",
    "header": "request failed, Authorization: Bearer {}",
    "basic": "sent Basic {} to the proxy",
    "cookie": "Set-Cookie: session={}; HttpOnly",
    "DSN": "dsn=host=db password={} user=shop",
    "short name": "auth={}",
    "signed URL": "GET /o?sig={}",
    "query": "GET /callback?code=1&access_token={}&state=2",
    "connection string": "Server=db;User Id=sa;Password={};",
}
# Secrets that look like one wherever they stand.
KNOWN: dict[str, str] = {
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl",
    "AWS": "AKIAIOSFODNN7EXAMPLE",
    "AWS secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "GCP API key": "AIzaSyD-canary-canary-canary-canary-x",
    "GCP access token": "ya29.a0Acanarycanarycanary",
    "GCP client secret": "GOCSPX-canarycanarycanary",
    "GitHub": "ghp_canarycanarycanarycanarycanarycan",
    "Slack": "xoxb-1234-canary-canary",
    "Stripe": "sk_live_canarycanary",
    "model API": "sk-canarycanarycanarycanary",
    "hex": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "UUID": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
    "base64": base64.b64encode(bytes(range(40, 90))).decode(),
    "PEM": KEY,
    "half a PEM": KEY[:60],
}
CASES: list[Any] = [pytest.param(text.format(PASSWORD), PASSWORD, id=name) for name, text in SHAPES.items()]
CASES += [pytest.param(f"step 2 said {text} and stopped", text, id=name) for name, text in KNOWN.items()]


def service(text: str) -> Callable[[Disclosure], str]:
    failed = run_v2.Condition(type_="Ready", state=run_v2.Condition.State.CONDITION_FAILED, message=text)
    made = run_v2.Service(name="projects/p/locations/r/services/s", terminal_condition=failed, conditions=[failed])
    return run_views.service_view(made).why


def execution(text: str) -> Callable[[Disclosure], str]:
    failed = run_v2.Condition(type_="Completed", state=run_v2.Condition.State.CONDITION_FAILED, message=text)
    return run_views.execution_view(run_v2.Execution(name="projects/p/e", conditions=[failed])).why


def job(text: str) -> Callable[[Disclosure], str]:
    failed = run_v2.Condition(type_="Ready", state=run_v2.Condition.State.CONDITION_FAILED, message=text)
    view = run_views.job_view(run_v2.Job(name="projects/p/jobs/j", terminal_condition=failed)).execution
    assert view is not None
    return view.why


def api_error(text: str) -> Callable[[Disclosure], str]:
    error = CloudError(400, text, method="Services.UpdateService", resource="projects/p")
    return lambda disclosure: told(error, disclosure)


def operation_error(text: str) -> Callable[[Disclosure], str]:
    error = CloudError(400, Words.of_workload(text), method="Operation")
    return lambda disclosure: told(error, disclosure) + str(error) + repr(error) + f"{error}"


WAYS_IN: dict[str, Callable[[str], Callable[[Disclosure], str]]] = {
    "service": service,
    "execution": execution,
    "job": job,
    "API error": api_error,
    "operation": operation_error,
    "code": lambda text: lambda disclosure: Words.of_workload(text).among(frozenset({"KNOWN"}), disclosure),
    "log": lambda text: LogLines.of_workload(text.splitlines()).told,
}


@pytest.mark.parametrize("way", WAYS_IN)
@pytest.mark.parametrize(("text", "secret"), CASES)
def test_no_way_in_lets_a_secret_out(way: str, text: str, secret: str) -> None:
    for disclosure in (UNDISCLOSED, MESSAGES, LOG_LINES):
        shown = WAYS_IN[way](text)(disclosure)
        for piece in secret.split():
            assert len(piece) < 8 or piece in ("PRIVATE", "KEY-----") or piece not in shown, shown


@pytest.mark.parametrize("way", WAYS_IN)
def test_words_are_shown_where_they_may_be(way: str) -> None:
    text = "column email already exists"
    assert text in WAYS_IN[way](text)(LOG_LINES)
    assert (text in WAYS_IN[way](text)(MESSAGES)) is (way != "log")
    assert (text in WAYS_IN[way](text)(UNDISCLOSED)) is (way == "API error"), "what answers our own request is shown"


@pytest.mark.parametrize(
    "made", [Words.of_workload(PASSWORD), Words.of_api(PASSWORD), LogLines.of_workload([PASSWORD])]
)
def test_words_cannot_be_formatted_without_asking(made: Words | LogLines) -> None:
    shown = (f"{made}", f"{made!r}", f"{made!s:>20}", "{}".format(made), "%s %r" % (made, made), str([made]))  # noqa: UP031, UP032
    assert not [text for text in shown if PASSWORD in text]
    assert PLACEHOLDER in shown[0]
    with pytest.raises(TypeError):
        json.dumps(made)


def test_values_of_the_spec_are_masked_in_all_words() -> None:
    hidden = Disclosure(Diagnostics.LOG_LINES, ("mauve", "blue", "x"))
    assert Words.of_api("mauve, mauve2 and blue but not x").told(hidden) == f"{MASK}, {MASK}2 and {MASK} but not x"
    assert LogLines.of_workload(["the colour is mauve"]).told(hidden) == f"the colour is {MASK}"


def test_a_secret_that_spans_lines_is_masked_as_a_whole() -> None:
    shown = LogLines.of_workload(["starting", *KEY.splitlines(), "stopped"]).told(LOG_LINES)
    assert shown == f"starting | {MASK} | stopped"


@given(st.text(max_size=20_000))
def test_what_is_shown_is_one_short_printable_line(text: str) -> None:
    shown = bounded(text)
    assert len(shown) <= LONGEST
    assert shown.isprintable()
    lines = LogLines.of_workload(text.split("a")).told(LOG_LINES)
    assert len(lines) <= LINES * (LINE + 3)


@given(
    st.sampled_from(sorted(SHAPES.keys() - {"basic"})),  # whose alphabet is that of base64
    st.text(string.ascii_letters + string.digits + "-._!#$%^*+/", min_size=8, max_size=60),
    st.text(max_size=300),
    st.text(max_size=300),
)
def test_no_shape_shows_any_secret(shape: str, secret: str, before: str, after: str) -> None:
    secret = f"kX9{secret}"
    text = f"{before}\n {SHAPES[shape].format(secret)} \n{after}"
    if secret not in before + after:
        assert secret not in masked(text)
        assert secret not in bounded(text)


@given(st.integers(), st.sampled_from([24, 32, 48]), st.sampled_from(["urlsafe", "hex", "base32", "base64"]))
def test_random_strings_are_masked_wherever_they_stand(seed: int, size: int, encoding: str) -> None:
    raw = random.Random(seed).randbytes(size)
    encoders: dict[str, Callable[[bytes], bytes]] = {
        "urlsafe": base64.urlsafe_b64encode,
        "hex": lambda data: data.hex().encode(),
        "base32": base64.b32encode,
        "base64": base64.b64encode,
    }
    secret = encoders[encoding](raw).decode().rstrip("=")
    assert secret not in masked(f"step 2 used {secret} and stopped")


@given(st.integers(0, 200), st.integers(0, 4000))
def test_a_cut_leaves_no_half_of_a_secret(begin: int, padding: int) -> None:
    """The longest part of a secret that stays is shorter than what a guess could start from."""
    text = "x " * padding + f"postgres://u:{PASSWORD * 20}@db " + "y" * begin
    assert PASSWORD not in bounded(text)


ORDINARY = (
    "the container was ended by signal: 9",
    "author: somebody, design: nobody, unassigned: 3",
    "Revision 'shop-3f9c12ab-00001' is not ready and cannot serve traffic.",
    "Permission 'run.services.create' denied on resource 'projects/demo/locations/us-central1/services/shop-frontend'",
    "ModuleNotFoundError: No module named 'psycopg2'",
    'sqlalchemy.exc.ProgrammingError: (psycopg2.errors.DuplicateColumn) column "email" already exists',
    'password authentication failed for user "shop"',
    'File "/app/agui_app/main.py", line 3, in main',
    "Image 'us-central1-docker.pkg.dev/demo/agui/concierge:v1' not found.",
    "Quota exceeded for metric 'Write requests' of service 'run.googleapis.com' for consumer 'projects/1'.",
    "HTTPSConnectionPool(host='db', port=443): Max retries exceeded (Caused by NewConnectionError)",
)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_messages_stay_readable(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    "unit", ["password=", "a://", "-----BEGIN A-----", "eyJ", 'x="', "--token ", "a.", "https://u:p", "aB3", "\\\"'"]
)
def test_masking_takes_linear_time(unit: str) -> None:
    def seconds(size: int) -> float:
        text = unit * (size // len(unit))
        began = time.process_time()
        masked(text)
        return time.process_time() - began

    seconds(1000)
    assert seconds(256_000) < 4.0, "a backtracking engine needs hours for some of these"
