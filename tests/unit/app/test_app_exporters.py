"""The door through which telemetry leaves: Google's endpoint is signed in to, and content stays in unless let out."""

from __future__ import annotations

import google.auth
import pytest
from google.auth.credentials import AnonymousCredentials
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from agui_app.settings import TelemetrySettings, read_settings
from agui_app.telemetry.exporters import TRACES, ContentlessSpans, span_exporters


@pytest.fixture
def spans():
    """Spans as they leave."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ContentlessSpans(kept)))
    yield provider.get_tracer("test"), kept
    provider.shutdown()


def test_an_exception_keeps_its_type_and_loses_its_text(spans):
    tracer, kept = spans

    def turn() -> None:
        with tracer.start_as_current_span("turn", attributes={"a": 1}) as span:
            span.add_event("seen", {"b": 2})
            raise ValueError("my dog Rosalind")

    with pytest.raises(ValueError):
        turn()
    (left,) = kept.get_finished_spans()
    assert (left.name, dict(left.attributes), left.status.status_code.name) == ("turn", {"a": 1}, "ERROR")
    seen, failed = left.events
    assert dict(seen.attributes) == {"b": 2}
    assert failed.attributes["exception.type"] == "ValueError"
    assert "Rosalind" not in left.to_json()
    assert left.end_time > left.start_time
    assert left.context.trace_id


def test_a_plain_span_passes_as_it_is(spans):
    tracer, kept = spans
    with tracer.start_as_current_span("turn"):
        pass
    (left,) = kept.get_finished_spans()
    assert left.status.status_code.name == "UNSET"


def test_googles_endpoint_is_signed_in_to(monkeypatch):
    asked = {}

    def default(**given):
        asked.update(given)
        return AnonymousCredentials(), "demo"

    monkeypatch.setattr(google.auth, "default", default)
    (exporter,) = span_exporters(TelemetrySettings(exporters=("gcp",), project="demo"))
    assert exporter._inner._endpoint == TRACES == "https://telemetry.googleapis.com/v1/traces"
    assert isinstance(exporter._inner._session.credentials, AnonymousCredentials)
    assert asked == {"scopes": ["https://www.googleapis.com/auth/trace.append"], "quota_project_id": "demo"}
    exporter.shutdown()


def test_content_leaves_only_when_it_is_switched_on(monkeypatch):
    wanted = TelemetrySettings(exporters=("otlp", "gcp"), trace_endpoint="http://127.0.0.1:1")
    assert {type(exporter) for exporter in span_exporters(wanted)} == {ContentlessSpans}
    monkeypatch.setenv("ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS", "true")
    assert ContentlessSpans not in {type(exporter) for exporter in span_exporters(wanted)}


def test_the_trace_endpoint_is_a_setting():
    settings = read_settings({"DATABASE_URL": "postgresql://x@h/d", "AGUI_TRACE_ENDPOINT": "http://127.0.0.1:4318/"})
    assert settings.telemetry.trace_endpoint == "http://127.0.0.1:4318"
