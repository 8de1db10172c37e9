"""Errors reach Error Reporting in its shape, and neither they nor anything else in the log hold words or secrets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap

import pytest
from pydantic import BaseModel, ValidationError

from agui_app.telemetry.logs import JsonFormatter, discreet, log
from agui_dev.ports import free_port
from agui_dev.testbed.app_instance import app_environment, json_lines, text_of, types_of

REPORTED = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"
SERVICE = {"service": "concierge", "version": "concierge-7"}
WORDS = "my dog Rosalind ate order 42"
EXTENSION = """
    class Broken(Exception):
        pass

    def tools(engine):
        async def estimate_delivery(order_id: int) -> dict:
            "Estimates a delivery."
            raise Broken("the carrier's table is empty")

        return {"orders": [estimate_delivery]}

    def extend(app):
        @app.get("/api/explode")
        async def explode(secret: str = "") -> None:
            from pydantic import TypeAdapter
            TypeAdapter(int).validate_python(secret)
    """


@pytest.fixture
def render():
    """Renders what `write(logger)` logs."""
    lines: list[dict] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(formatter.format(record)))

    formatter = JsonFormatter("concierge", "concierge-7", "r-7", "demo")
    logger = logging.getLogger("test.errors")
    logger.addHandler(handler := Keep())
    logger.setLevel(logging.INFO)
    logger.propagate = False

    def go(write) -> dict:
        write(logger)
        return lines.pop()

    yield go
    logger.removeHandler(handler)


def test_an_exception_has_the_stack_trace_as_its_message(render):
    def write(logger):
        try:
            raise ValueError("boom")
        except ValueError:
            logger.exception("it failed")

    line = render(write)
    assert (line["severity"], line["@type"], line["serviceContext"]) == ("ERROR", REPORTED, SERVICE)
    assert line["message"].startswith("Traceback (most recent call last):\n")
    assert line["message"].endswith("ValueError: boom\n")
    assert "context" not in line


def test_an_error_without_an_exception_is_grouped_by_its_place(render):
    line = render(lambda logger: log(logger, logging.ERROR, "audit_lost", rule="r1"))
    assert (line["severity"], line["@type"], line["serviceContext"]) == ("ERROR", REPORTED, SERVICE)
    assert (line["message"], line["event"], line["rule"]) == ("audit_lost", "audit_lost", "r1")
    place = line["context"]["reportLocation"]
    assert place["filePath"] == __file__
    assert place["functionName"] == "<lambda>"
    assert place["lineNumber"] > 0


def test_what_is_no_error_is_not_reported(render):
    def write(logger):
        try:
            raise ValueError("boom")
        except ValueError:
            logger.warning("it went on", exc_info=True)

    line = render(write)
    assert line["severity"] == "WARNING"
    assert line["error"] == "ValueError"
    assert "@type" not in line
    assert "Traceback" not in json.dumps(line)


def test_an_uncaught_exception_is_one_line(tmp_path):
    script = "from agui_app.telemetry.logs import configure_logs\n"
    script += "configure_logs('INFO', 'concierge', 'concierge-7')\n1 / 0\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    (line,) = json_lines(done.stdout)
    assert line["@type"] == REPORTED
    assert line["message"].endswith("ZeroDivisionError: division by zero\n")
    assert (done.returncode, done.stderr) == (1, "")


class Amount(BaseModel):
    amount: int


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("postgresql://app:hunter2@db:5432/app refused", "hunter2"),
        ("Authorization: Bearer abc.DEF-123", "abc.DEF"),
        ("connect(user='app', password='hunter2')", "hunter2"),
        ('{"api_key": "hunter2"}', "hunter2"),
        ("?key=1&client_secret=hunter2&x=1", "hunter2"),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln was refused", "eyJ"),
        ("ya29.a0AfH6SMBx-hunter2 expired", "hunter2"),
        ("invalid input for query argument $2: 'hunter2 ate it' (an integer is required)", "hunter2"),
        (
            'duplicate key value violates unique constraint "x"\nDETAIL:  Key (name)=(hunter2) already exists.',
            "hunter2",
        ),
        ("[SQL: INSERT]\n[parameters: ('hunter2', 3)]", "hunter2"),
    ],
)
def test_secrets_and_values_are_hidden(text, secret):
    assert secret in text
    assert secret not in discreet(text)
    assert "[hidden]" in discreet(text)


def test_what_a_model_refused_is_hidden():
    with pytest.raises(ValidationError) as refused:
        Amount(amount="hunter2")
    text = discreet(str(refused.value))
    assert "hunter2" not in text
    assert "unable to parse string as an integer" in text


@pytest.mark.parametrize(
    "text",
    [
        "the password is wrong",
        "https://storage.googleapis.com/bucket/file:1@2",
        'password authentication failed for user "app"',
        "http://127.0.0.1:8080/agent answered 500",
        "bearer of good news",
        "KeyError: 'order_id'",
        "postgresql://app@db:5432/app refused",
    ],
)
def test_ordinary_words_pass(text):
    assert discreet(text) == text


@pytest.fixture
def broken_app(start_app, seeded_url, tmp_path):
    """An instance with a tool and a route that fail, and a password that must not be seen."""
    (tmp_path / "broken_extension.py").write_text(textwrap.dedent(EXTENSION))
    script = tmp_path / "script.yaml"
    script.write_text(
        "version: 1\nagents:\n  concierge: {rules: [{when: dog, transfer: orders}]}\n"
        "  orders: {rules: [{when: dog, call: estimate_delivery, with: {order_id: 42}}]}\n"
    )
    return start_app(
        seeded_url.replace("postgres@", "postgres:hunter2@"),
        K_SERVICE="concierge",
        K_REVISION="concierge-7",
        AGUI_IDENTITY="development",
        AGUI_EXTENSIONS="broken_extension",
        AGUI_SCRIPT=str(script),
        PYTHONPATH=str(tmp_path),
        LOG_LEVEL="debug",
    )


def test_failures_of_a_run_and_of_a_route_are_reported_without_words_or_secrets(broken_app):
    events = broken_app.say("t1", WORDS, headers={"Authorization": "Bearer hunter2-token"})
    assert types_of(events)[-1] == "RUN_ERROR"
    assert text_of(events) == ""
    assert "table is empty" not in json.dumps(events)  # what went wrong inside is not the client's business
    exploded = broken_app.get("/api/explode", params={"secret": "hunter2 from the query"})
    assert (exploded.status_code, exploded.text) == (500, "Internal Server Error")
    assert broken_app.stop() == 0
    lines = broken_app.log()
    errors = [line for line in lines if line["severity"] == "ERROR"]
    assert all(line["@type"] == REPORTED and line["serviceContext"] == SERVICE for line in errors)
    traces = [line["message"] for line in errors if line["message"].startswith("Traceback")]
    assert len(traces) == len(errors) == 2  # one failure, one report
    assert "Broken: the carrier's table is empty" in traces[0]
    assert "ValidationError" in traces[1]
    written = broken_app.log_path.read_text()
    assert "Rosalind" not in written
    assert "hunter2" not in written


def test_a_start_that_fails_says_why_and_where(start_app, tmp_path, postgres_url):
    (tmp_path / "worse_extension.py").write_text("raise KeyError('hunter')\n")
    env = app_environment(
        postgres_url.replace("postgres@", "postgres:hunter2@"),
        AGUI_EXTENSIONS="worse_extension",
        PYTHONPATH=str(tmp_path),
        PORT=str(free_port()),
    )
    done = subprocess.run([sys.executable, "-m", "agui_app"], env=env, capture_output=True, text=True, timeout=60)
    lines = json_lines(done.stdout)
    assert done.returncode == 1
    (trace,) = [line for line in lines if line["message"].startswith("Traceback")]
    assert trace["@type"] == REPORTED
    assert "worse_extension.py" in trace["message"]
    assert lines[-1]["event"] == "start_failed"
    assert "hunter2" not in done.stdout + done.stderr
