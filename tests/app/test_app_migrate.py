"""The migration job on a real PostgreSQL: forward, again, behind, ahead, locked, and its findings."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from agui_dev.testbed.app_instance import json_lines, migrate


def test_moves_an_empty_database_to_head_and_says_so(postgres_url):
    done = migrate(postgres_url, "upgrade", "head", "--seeds", "--verify", "schema,session-state,pipelines")
    lines = json_lines(done.stdout)
    assert done.returncode == 0
    assert lines[-1] | {"seconds": 0} == {
        "severity": "INFO",
        "event": "migrated",
        "from": None,
        "to": "0002",
        "seconds": 0,
    }
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (500,)
        assert connection.execute("SELECT value FROM adk_internal_metadata").fetchone() == ("1",)


def test_is_idempotent_with_seeds(seeded_url):
    with psycopg.connect(seeded_url) as connection:
        connection.execute("UPDATE orders SET status = 'lost' WHERE id = 7")
    again = json_lines(migrate(seeded_url, "upgrade", "head", "--seeds").stdout)
    assert (again[-1]["from"], again[-1]["to"]) == ("0002", "0002")
    with psycopg.connect(seeded_url) as connection:
        assert connection.execute("SELECT status FROM orders WHERE id = 7").fetchone() == ("lost",)


def test_an_older_image_leaves_a_newer_database_alone(seeded_url):
    done = migrate(seeded_url, "upgrade", "head", AGUI_SCHEMA_HEAD="0001")
    lines = json_lines(done.stdout)
    assert done.returncode == 0
    assert [line["event"] for line in lines] == ["database_is_ahead", "migrated"]
    assert lines[-1]["to"] == "0002"


def test_a_revision_this_image_does_not_have_counts_as_ahead(seeded_url):
    with psycopg.connect(seeded_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    done = migrate(seeded_url, "upgrade", "head")
    assert done.returncode == 0
    assert json_lines(done.stdout)[-1]["to"] == "0099"


def test_a_held_table_fails_the_job_instead_of_the_users(postgres_url):
    migrate(postgres_url, "upgrade", "0001")
    with psycopg.connect(postgres_url) as holder:
        holder.execute("LOCK TABLE orders IN ACCESS SHARE MODE")
        started = time.monotonic()
        done = migrate(postgres_url, "upgrade", "head", AGUI_LOCK_TIMEOUT_SECONDS="1")
        assert time.monotonic() - started < 15
    last = json_lines(done.stdout)[-1]
    assert done.returncode == 1
    assert last["event"] == "migration_failed"
    assert "lock timeout" in last["message"]
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)


def test_two_jobs_at_once_migrate_once(postgres_url):
    results = []
    threads = [threading.Thread(target=lambda: results.append(migrate(postgres_url, "upgrade"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.returncode for result in results] == [0, 0, 0]
    applied = [
        line["revision"]
        for result in results
        for line in json_lines(result.stdout)
        if line["event"] == "migration_applied"
    ]
    assert sorted(applied) == ["0001", "0002"]


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"DATABASE_URL": "postgresql://postgres:hunter2@127.0.0.1:1/none"}, "connection"),
        ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL must look like"),
        ({"AGUI_SCHEMA_HEAD": "0077"}, "AGUI_SCHEMA_HEAD is '0077'"),
        ({"AGUI_LOCK_TIMEOUT_SECONDS": "soon"}, "AGUI_LOCK_TIMEOUT_SECONDS must be a number"),
    ],
)
def test_failure_is_one_clear_line_without_the_password(postgres_url, env, said):
    done = migrate(postgres_url, "upgrade", "head", **env)
    (line,) = json_lines(done.stdout)
    assert done.returncode == 1
    assert line["severity"] == "ERROR"
    assert said in line["message"]
    assert "hunter2" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_verify_finds_what_was_broken_on_purpose(seeded_url):
    with psycopg.connect(seeded_url) as connection:
        connection.execute(
            "INSERT INTO sessions VALUES ('concierge', 'u', 's', '{\"x\": 1, \"user:y\": 2}', now(), now())"
        )
        connection.execute(
            "INSERT INTO briefs (id, user_id, session_id, topic, status) VALUES ('b', 'u', 's', 'desk', 'complete')"
        )
        connection.execute("DROP INDEX audit_events_at")
    for check, finding in (
        ("session-state", "state_differs_from_replay"),
        ("session-state", "scoped_key_in_session_state"),
        ("pipelines", "brief_incomplete"),
        ("schema", "schema_differs"),
    ):
        done = migrate(seeded_url, "verify", check)
        assert done.returncode == 1, check
        assert finding in {line.get("finding") for line in json_lines(done.stdout)}


def test_verify_refuses_an_unknown_check(postgres_url):
    done = migrate(postgres_url, "verify", "everything")
    assert done.returncode == 2
    assert "there are schema, session-state, pipelines" in done.stderr
