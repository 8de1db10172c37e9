"""The session store reads what ADK's own service reads, whoever wrote it and in whatever order."""

from __future__ import annotations

import uuid

import pytest
from google.adk.events import Event, EventActions
from google.adk.sessions import DatabaseSessionService
from google.adk.sessions.base_session_service import GetSessionConfig
from google.genai import types

from agui_app.agents.sessions import SessionStore
from agui_app.database.engine import create_engine
from agui_app.database.passwords import Connector
from agui_app.settings import database_settings

WHO = {"app_name": "concierge", "user_id": "ann", "session_id": "s1"}


@pytest.fixture
async def stores(seeded_url):
    """Two stores, as on two instances, and ADK's own service, on one database."""
    engines = [create_engine(Connector(database_settings({"DATABASE_URL": seeded_url}))) for _ in range(3)]
    yield SessionStore(engines[0]), SessionStore(engines[1]), DatabaseSessionService(db_engine=engines[2])
    for engine in engines:
        await engine.dispose()


def event(at: float, text: str = "x", **state) -> Event:
    return Event(
        id=uuid.uuid4().hex,
        author="user",
        invocation_id="i",
        timestamp=at,
        content=types.Content(role="user", parts=[types.Part(text=text)]),
        actions=EventActions(state_delta=state),
    )


async def append(store, *events: Event) -> None:
    for new in events:
        session = await store.get_session(**WHO)
        await store.append_event(session, new)


async def same_everywhere(stores) -> list[str]:
    """Asserts that all three read the same session; gives its texts."""
    first, *others = [await store.get_session(**WHO) for store in stores]
    for other in others:
        assert other.model_dump() == first.model_dump()
        assert other._storage_update_marker == first._storage_update_marker
    return [e.content.parts[0].text for e in first.events]


async def test_each_sees_what_the_others_wrote(stores):
    first, second, adk = stores
    assert await first.get_session(**WHO) is None
    await first.create_session(**WHO, state={"a": 1, "user:b": 2, "app:c": 3})
    assert await same_everywhere(stores) == []
    await append(first, event(100.0, "one", d=4))
    await append(second, event(101.0, "two"), event(101.0, "three"))
    await append(adk, event(102.5, "four", a=None, **{"user:b": 5}))
    texts = await same_everywhere(stores)
    assert (texts[0], sorted(texts[1:3]), texts[3]) == ("one", ["three", "two"], "four")
    assert (await first.get_session(**WHO)).state == {"a": None, "d": 4, "user:b": 5, "app:c": 3}


async def test_an_event_with_an_older_clock_is_not_missed(stores):
    first, second, _ = stores
    await first.create_session(**WHO)
    await append(first, event(200.0, "late"))
    assert await same_everywhere(stores) == ["late"]
    await append(second, event(150.0, "early"))
    assert await same_everywhere(stores) == ["early", "late"]


async def test_a_writer_that_lost_the_race_is_told(stores):
    first, second, _ = stores
    await first.create_session(**WHO)
    mine, theirs = await first.get_session(**WHO), await second.get_session(**WHO)
    await second.append_event(theirs, event(10.0))
    with pytest.raises(Exception, match=r"stale|modified"):
        await first.append_event(mine, event(11.0))


async def test_callers_cannot_change_what_others_read(stores):
    first, *_ = stores
    await first.create_session(**WHO, state={"list": [1]})
    await append(first, event(1.0))
    session = await first.get_session(**WHO)
    session.events.clear()
    session.state["list"].append(2)
    assert await same_everywhere(stores) == ["x"]


async def test_limits_are_adks_business_and_deleting_forgets(stores):
    first, *_ = stores
    await first.create_session(**WHO)
    await append(first, event(1.0, "one"), event(2.0, "two"))
    recent = await first.get_session(**WHO, config=GetSessionConfig(num_recent_events=1))
    assert [e.content.parts[0].text for e in recent.events] == ["two"]
    await first.delete_session(**WHO)
    assert await first.get_session(**WHO) is None
    await first.create_session(**WHO)
    assert await same_everywhere(stores) == []


async def test_old_sessions_are_dropped_from_memory(stores, monkeypatch):
    first, *_ = stores
    monkeypatch.setattr("agui_app.agents.sessions.MOST_EVENTS", 3)
    for number in range(4):
        who = WHO | {"session_id": f"s{number}"}
        session = await first.create_session(**who)
        await first.append_event(session, event(1.0))
        await first.append_event(session, event(2.0))
        assert len((await first.get_session(**who)).events) == 2
    assert list(first._known) == [("concierge", "ann", "s3")]
