"""The list of threads over HTTP: titles, order, pages, what waits for a person, and whose threads they are."""

from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from agui_dev.testbed.app_instance import interrupt_of, resumed

LIST = "/copilotkit/threads"


@pytest.fixture
def user() -> dict[str, str]:
    """Headers of a user whom no other test knows."""
    return {"X-Agui-User": f"user-{uuid.uuid4().hex[:8]}"}


def listed(app, user, **params):
    answer = app.get(LIST, headers=user, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


def test_threads_are_listed_with_their_first_words_and_the_last_used_first(app_instances, user):
    first, second = app_instances
    assert listed(first, user) == {
        "threads": [],
        "next": None,
        "limits": {"turns": 100, "runs": 200},
        "approvals": None,
    }
    first.say("a", "  where is\n order 42  ", headers=user)
    second.say("b", "hello " + "x" * 200, headers=user)
    first.say("a", "and order 43?", headers=user)
    newest, older = listed(second, user)["threads"]
    assert (newest["id"], newest["title"]) == ("a", "where is order 42")
    assert (older["id"], len(older["title"]), older["title"][-1]) == ("b", 80, "…")
    assert (newest["runs"], older["runs"]) == (2, 1)
    used = datetime.fromisoformat(newest["lastActivity"])
    assert timedelta(0) <= datetime.now(UTC) - used < timedelta(minutes=1)
    assert used >= datetime.fromisoformat(older["lastActivity"])


def test_what_waits_for_an_approval_says_so_until_it_is_answered(app_instances, user):
    first, second = app_instances
    asked = first.say("r", "refund order 42 for 80", headers=user)
    first.say("s", "where is order 42", headers=user)
    waiting = {thread["id"]: thread["waitingForApproval"] for thread in listed(second, user)["threads"]}
    assert waiting == {"r": True, "s": False}
    second.run(resumed("r", interrupt_of(asked), False), headers=user)
    assert not any(thread["waitingForApproval"] for thread in listed(first, user)["threads"])


def test_nobody_sees_the_threads_of_another_user(app_instances, user):
    app = app_instances[0]
    app.say("shared-name", "where is order 42", headers=user)
    other = {"X-Agui-User": user["X-Agui-User"] + "x"}
    app.say("shared-name", "hello", headers=other)
    assert [thread["title"] for thread in listed(app, user)["threads"]] == ["where is order 42"]
    assert [thread["title"] for thread in listed(app, other)["threads"]] == ["hello"]


def test_a_long_list_comes_in_pages_without_gap_or_repeat(app_instances, app_database, user):
    app = app_instances[0]
    name = user["X-Agui-User"]
    with psycopg.connect(app_database) as connection:
        # 25 at three moments only: pages must not part on the time alone
        connection.execute(
            "INSERT INTO sessions (app_name, user_id, id, state, create_time, update_time)"
            " SELECT 'concierge', %s, 's' || n, '{}', now() AT TIME ZONE 'UTC',"
            " timestamp '2026-01-01' + (n %% 3) * interval '1.000001 second' FROM generate_series(1, 25) AS n",
            (name,),
        )
    seen, cursor = [], ""
    for size in (10, 10, 5):
        page = listed(app, user, limit=10, cursor=cursor)
        assert len(page["threads"]) == size
        seen += [thread["id"] for thread in page["threads"]]
        cursor = page["next"]
    assert cursor is None
    assert sorted(seen) == sorted(f"s{n}" for n in range(1, 26))
    assert len(listed(app, user)["threads"]) == 25
    # somebody else's cursor gives the asker's own threads, not the other's
    stolen = listed(app, user, limit=1)["next"]
    assert listed(app, {"X-Agui-User": name + "y"}, cursor=stolen)["threads"] == []


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "!"},
        {"cursor": "AAAA"},
        {"cursor": base64.urlsafe_b64encode(b"2026-01-01T00:00:00+00:00 x").decode()},
        {"cursor": base64.urlsafe_b64encode(b"2026-01-01T00:00:00 \x00").decode()},
        {"limit": 0},
        {"limit": 101},
        {"limit": "many"},
    ],
)
def test_a_page_that_cannot_be_is_refused(app_instances, user, params):
    assert app_instances[0].get(LIST, headers=user, params=params).status_code == 422


def test_without_a_token_there_is_no_list(start_app, app_database):
    app = start_app(app_database, AGUI_IDENTITY="iap", AGUI_IDENTITY_AUDIENCE="/projects/1/x")
    answer = app.get(LIST, headers={"X-Agui-User": "ann"})
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthenticated")
