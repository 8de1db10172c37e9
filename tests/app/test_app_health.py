"""Probes: alive at once, ready only when a request could be served, and always able to say why not."""

from __future__ import annotations

import time

import psycopg

from agui_dev.ports import free_port
from agui_dev.testbed.app_instance import migrate, said


def test_healthz_answers_long_before_readyz(start_process, seeded_url):
    started = time.monotonic()
    instance = start_process(seeded_url, ready=False)
    instance.wait("/healthz")
    alive = time.monotonic() - started
    instance.wait("/readyz")
    ready = time.monotonic() - started
    assert alive < ready
    assert instance.get("/health").json() == {"status": "alive"}


def test_readyz_is_red_until_the_schema_is_there(start_app, postgres_url):
    instance = start_app(postgres_url, ready=False)
    deadline = time.monotonic() + 120
    while "schema" not in instance.wait("/readyz", 503).json()["checks"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    (missing, sessions) = instance.get("/readyz").json()["missing"]
    assert missing == "schema: the database has no schema; this code needs 0001: run the migrations"
    assert sessions == "sessions: waits for the schema"
    migrate(postgres_url, "upgrade", "head")
    assert instance.wait("/readyz").json()["missing"] == []


def test_readyz_is_red_without_a_database_and_healthz_is_not(start_app):
    instance = start_app(f"postgresql://postgres@127.0.0.1:{free_port()}/none", ready=False)
    instance.wait("/health")
    deadline = time.monotonic() + 120
    while "database" not in instance.wait("/readyz", 503).json()["checks"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    body = instance.get("/readyz").json()
    assert body["missing"][0] == "database: the database cannot be reached (ConnectionRefusedError)"
    assert instance.get("/version").json()["schema"] == {"required": "0001", "database": None, "floor": None}
    assert instance.get("/api/orders/1").status_code == 503


def test_a_raised_floor_turns_old_code_red(start_app, seeded_url):
    with psycopg.connect(seeded_url) as connection:
        connection.execute("UPDATE schema_floor SET revision = '0002'")
    instance = start_app(seeded_url, ready=False)
    instance.wait("/health")
    deadline = time.monotonic() + 120
    while "schema" not in instance.wait("/readyz", 503).json()["checks"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "no longer supports code of schema 0001" in instance.get("/readyz").json()["missing"][0]


def test_version_names_release_revision_and_schemas(start_app, seeded_url):
    instance = start_app(
        seeded_url,
        K_SERVICE="concierge",
        K_REVISION="concierge-00007",
        AGUI_RELEASE="r-abc",
        AGUI_VERSION="1.0.0",
        AGUI_IDENTITY="development",
    )
    assert instance.get("/version").json() == {
        "release": "r-abc",
        "version": "1.0.0",
        "revision": "concierge-00007",
        "service": "concierge",
        "model": "offline/script",
        "schema": {"required": "0001", "database": "0002", "floor": "0001"},
        "agents": ["concierge", "orders", "research", "scheduling"],
        "extensions": [],
    }


def test_every_answer_names_its_revision(start_app, postgres_url):
    instance = start_app(postgres_url, ready=False, K_REVISION="concierge-00007", AGUI_RELEASE="r-abc")
    instance.wait("/health")
    instance.wait("/version")
    for path in ("/health", "/readyz", "/nowhere", "/api/orders/42"):
        headers = instance.get(path).headers
        assert (headers["x-agui-revision"], headers["x-agui-release"]) == ("concierge-00007", "r-abc"), path


def test_the_runtime_role_needs_no_right_to_change_the_schema(start_app, seeded_url):
    name = f"runtime_{seeded_url.rsplit('/', 1)[1]}"
    with psycopg.connect(seeded_url) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN")
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}")
        connection.execute(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}")
    instance = start_app(seeded_url.replace("postgres@", f"{name}@"))
    events = instance.say("t", "where is order 42")
    assert events[-1]["type"] == "RUN_FINISHED"
    instance.stop()
    with psycopg.connect(seeded_url) as connection:
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


def test_sigterm_lets_the_stream_end_and_exits_zero(start_process, seeded_url):
    instance = start_process(seeded_url)
    with instance.stream("POST", "/agent", json=said("t", "where is order 42")) as response:
        lines = response.iter_lines()
        assert "RUN_STARTED" in next(lines)
        instance.child.terminate()
        rest = "\n".join(lines)
    assert "RUN_FINISHED" in rest
    assert instance.stop() == 0


def test_bad_settings_end_the_process_with_one_line(start_app, postgres_url):
    instance = start_app(postgres_url, ready=False, K_SERVICE="concierge")
    assert instance.child.wait(60) == 1
    (line,) = instance.log()
    assert line["message"] == "AGUI_IDENTITY must be set on Cloud Run: iap or oidc"


def test_a_broken_guardrail_file_ends_the_process(start_app, postgres_url, tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text("version: 1\nrules: [{id: x1, kind: pattern, stage: input, action: block, patterns: ['(']}]\n")
    instance = start_app(postgres_url, ready=False, AGUI_GUARDRAILS=str(rules))
    assert instance.child.wait(60) == 1
    assert "is not a regular expression" in instance.log()[-1]["message"]
