"""Users against each other's orders, pages of other sites against users, and limits against splitting: on processes
with a real login."""

from __future__ import annotations

import asyncio
import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import websockets
import yaml
from tests.support.token_issuer import token_issuer

from agui_dev.paths import ROOT
from agui_dev.testbed.app_instance import AppStarter, interrupt_of, resumed, said, text_of, tools_of

RULES = ROOT / "app/agui_app/data/guardrails.yaml"
EVIL = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}


@pytest.fixture(scope="module")
def issuer():
    with token_issuer() as running:
        yield running


@pytest.fixture(scope="module")
def shop(app_database, app_forks, tmp_path_factory, issuer):
    """Two instances with a login; refunds above 100 need another person on the second one."""
    folder = tmp_path_factory.mktemp("owners")
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["rules"]:
        rule |= {"approver": "another"} if rule["kind"] == "approval" else {}
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    starter = AppStarter(folder, app_forks)
    try:
        plain = starter(app_database, ready=False, **issuer.settings)
        strict = starter(
            app_database,
            ready=False,
            AGUI_GUARDRAILS=str(folder / "rules.yaml"),
            AGUI_APPROVERS="boss,ann",
            **issuer.settings,
        )
        for app in (plain, strict):
            app.wait()
        yield plain, strict
    finally:
        starter.stop_all()


@pytest.fixture
def thread() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


def paid(url: str, order: int) -> float:
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(amount), 0) FROM refunds WHERE order_id = %s", (order,)
        ).fetchone()
    return float(row[0])


def new_order(url: str, customer: str, amount: int = 5000) -> int:
    """An order that no other test refunds."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "INSERT INTO orders (id, customer, item, amount, status) SELECT max(id) + 1, %s, 'bench', %s, 'placed'"
            " FROM orders RETURNING id",
            (customer, amount),
        ).fetchone()
    return row[0]


def test_orders_are_told_to_nobody_without_a_login(shop):
    for order in range(1, 6):
        assert shop[0].get(f"/api/orders/{order}").status_code == 401


def test_an_order_is_its_customers(shop, issuer, app_database, thread):
    app = shop[0]
    order = new_order(app_database, f"c-{thread}")
    owner, other, nobody = issuer.user("ann", f"c-{thread}"), issuer.user("bob", "c-2"), issuer.user("eve")
    assert app.get(f"/api/orders/{order}", headers=owner).json()["order_id"] == order
    missing = app.get("/api/orders/999999", headers=other)
    for headers in (other, nobody, other | {"X-Agui-Customer": f"c-{thread}"}):
        answer = app.get(f"/api/orders/{order}", headers=headers)
        assert (answer.status_code, answer.text) == (404, missing.text.replace("999999", str(order)))
        told = app.say(f"{thread}-{uuid.uuid4().hex[:4]}", f"where is order {order}", headers=headers)
        assert text_of(told) == f"There is no order {order}."
        for words in (f"refund order {order} for 20", f"schedule order {order} on monday morning"):
            told = app.say(f"{thread}-{uuid.uuid4().hex[:4]}", words, headers=headers)
            assert "outcome" not in told[-1]
            assert "no such order" in text_of(told) or "There is no order" in text_of(told)
    assert paid(app_database, order) == 0
    assert "Order" in text_of(app.say(thread, f"where is order {order}", headers=owner))


def test_what_one_customer_alone_bought_is_in_nobodys_research(shop, issuer, thread):
    told = shop[0].say(thread, "research furnishing", headers=issuer.user("bob", "c-2"))
    assert tools_of(told) == ["research_brief"]
    assert "120 rooms" not in json.dumps(told)


def test_a_release_check_logs_in_and_converses(shop, issuer, thread):
    app, headers = shop[0], issuer.check()
    asked = app.say(thread, "refund order 42 for 80", headers=headers)
    assert "I refunded 80.00" in text_of(app.run(resumed(thread, interrupt_of(asked), True), headers=headers))
    assert app.post("/agent", said(thread, "hello"), headers=issuer.check("other@x.iam")).status_code == 401
    assert app.get("/copilotkit/threads", headers=issuer.user("zoe")).json()["threads"] == []

    async def greet() -> str:
        async with websockets.connect(f"{app.ws_url}/ws/{thread}", additional_headers=headers) as socket:
            return json.loads(await socket.recv())["type"]

    assert asyncio.run(greet()) == "ready"


@pytest.mark.parametrize(
    ("path", "kind", "extra"),
    [
        ("/agent", "text/plain", {}),
        ("/agent", "application/x-www-form-urlencoded", {}),
        ("/agent", "multipart/form-data; boundary=x", {}),
        ("/agent", "application/json", {}),
        ("/copilotkit/agent/default/run", "text/plain", {}),
        ("/copilotkit", "text/plain", {}),
        ("/agent", "text/plain", {"Origin": "null"}),
        ("/agent", "text/plain", {"Sec-Fetch-Site": "same-site", "Origin": "https://evil.shop.example"}),
    ],
)
def test_a_form_on_another_site_pays_nothing(shop, issuer, app_database, thread, path, kind, extra):
    customer = f"c-{thread}"
    order = new_order(app_database, customer)
    body: dict = said(thread, f"refund order {order} for 50")
    body = {"method": "agent/run", "params": {"agentId": "default"}, "body": body} if path == "/copilotkit" else body
    headers = issuer.user("ann", customer) | EVIL | extra | {"Content-Type": kind}
    assert shop[0].ask("POST", path, content=json.dumps(body), headers=headers).status_code == 403
    assert paid(app_database, order) == 0
    own = issuer.user("ann", customer) | {"Content-Type": kind}
    if kind != "application/json":  # nor without the headers of a browser
        assert shop[0].ask("POST", path, content=json.dumps(body), headers=own).status_code == 415
    assert paid(app_database, order) == 0


def test_nor_does_it_stop_a_run_or_open_a_socket(shop, issuer, thread):
    user = issuer.user("ann")
    stopped = shop[0].ask("POST", f"/copilotkit/agent/default/stop/{thread}", headers=user | EVIL)
    assert stopped.status_code == 403

    async def greet() -> tuple[str, str]:
        url = f"{shop[0].ws_url}/ws/{thread}"
        async with websockets.connect(url, additional_headers=user, origin="https://evil.example") as socket:
            frame = json.loads(await socket.recv())
            return frame["type"], frame["code"]

    assert asyncio.run(greet()) == ("error", "forbidden_origin")


def test_parts_of_a_refund_add_up(shop, issuer, app_database, thread):
    customer = f"c-{thread}"
    order, user = new_order(app_database, customer), issuer.user("ann", customer)
    for part in range(10):
        shop[0].say(f"{thread}-{part}", f"refund order {order} for 50", headers=user)
    assert paid(app_database, order) == 50
    asked = shop[0].say(f"{thread}-x", f"refund order {order} for 0.01", headers=user)
    assert asked[-1]["outcome"]["type"] == "interrupt"


def test_parts_over_many_orders_add_up(shop, issuer, app_database, thread):
    customer = f"c-{thread}"
    user, orders = issuer.user("ann", customer), [new_order(app_database, customer) for _ in range(8)]
    for order in orders:
        shop[0].say(f"{thread}-{order}", f"refund order {order} for 50", headers=user)
    assert sum(paid(app_database, order) for order in orders) == 200


def test_parts_at_once_add_up(shop, issuer, app_database, thread):
    customer = f"c-{thread}"
    order, user = new_order(app_database, customer), issuer.user("ann", customer)
    bodies = [said(f"{thread}-{n}", f"refund order {order} for 30") for n in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda body: shop[0].post("/agent", body, headers=user), bodies))
    assert paid(app_database, order) == 30


def waiting_in(app, approver: dict[str, str], thread: str) -> list[dict]:
    """Questions of this thread that the approver may answer."""
    found = app.get("/api/approvals", headers=approver).json()["approvals"]
    return [question for question in found if question["thread"] == thread]


def number_waiting(app, headers: dict[str, str]) -> int | None:
    """What the page is told beside the list of conversations."""
    return app.get("/copilotkit/threads", headers=headers).json()["approvals"]


def reasons(url: str, thread: str) -> list[str]:
    """Reasons of other people's answers in the audit trail."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT details->>'reason' FROM audit_events WHERE session_id = %s AND event LIKE 'approval.%%_by_another'",
            (thread,),
        )
        return [row[0] for row in rows]


def test_another_person_has_to_approve(shop, issuer, app_database, thread):
    strict, customer = shop[1], f"c-{thread}"
    order, ann = new_order(app_database, customer), issuer.user("ann", customer)
    boss, bob = issuer.user("boss", "staff"), issuer.user("bob", customer)
    asked = strict.say(thread, f"refund order {order} for 80", headers=ann)
    question = interrupt_of(asked)
    alone = strict.run(resumed(thread, question, True), headers=ann)
    assert (alone[-1]["type"], alone[-1]["code"]) == ("RUN_ERROR", "APPROVAL_PENDING")
    assert paid(app_database, order) == 0
    (waiting,) = waiting_in(strict, boss, thread)
    assert (waiting["user"], waiting["tool"], waiting["arguments"]["order_id"]) == ("ann", "issue_refund", order)
    answer = {"user": "ann", "thread": thread, "call": waiting["call"], "confirmed": True}
    refused = [
        (ann, answer, 404),  # her own question, although she is an approver
        (bob, answer, 403),
        (issuer.check(), answer, 403),
        (boss, answer | {"thread": "x"}, 404),
        (boss, answer | {"call": "x"}, 404),
        (boss, answer | {"user": "bob"}, 404),
        *((boss, answer | {"confirmed": odd}, 422) for odd in ("true", 1, None, "yes", {}, [True])),
        (boss, answer | {"more": 1}, 422),
        (boss, {k: v for k, v in answer.items() if k != "confirmed"}, 422),
    ]
    for headers, body, status in refused:
        assert strict.post("/api/approvals", body, headers=headers).status_code == status, body
    for odd in (7, ["x"], "two\nlines", "x" * 501):
        assert strict.post("/api/approvals", answer | {"reason": odd}, headers=boss).status_code == 422, odd
    assert strict.get("/api/approvals", headers=bob).status_code == 403
    assert number_waiting(strict, bob) is None
    assert number_waiting(strict, boss) == len(strict.get("/api/approvals", headers=boss).json()["approvals"]) > 0
    again = strict.run(resumed(thread, question, True), headers=ann)
    assert again[-1]["code"] == "APPROVAL_PENDING", "none of those was an answer"
    reasoned = answer | {"reason": "the lamp is broken"}
    assert strict.post("/api/approvals", reasoned, headers=boss).json() == {"status": "granted"}
    assert reasons(app_database, thread) == ["the lamp is broken"]
    assert waiting_in(strict, boss, thread) == [], "who has answered is not asked again"
    assert strict.post("/api/approvals", answer | {"confirmed": False}, headers=boss).status_code == 404
    done = strict.run(resumed(thread, question, True), headers=ann)
    assert "I refunded 80.00" in text_of(done)
    assert paid(app_database, order) == 80
    assert waiting_in(strict, boss, thread) == []


def test_another_persons_no_outweighs_the_askers_yes(shop, issuer, app_database, thread):
    strict, customer = shop[1], f"c-{thread}"
    order, bob, boss = new_order(app_database, customer), issuer.user("bob", customer), issuer.user("boss", "staff")
    question = interrupt_of(strict.say(thread, f"refund order {order} for 80", headers=bob))
    (waiting,) = waiting_in(strict, boss, thread)
    answer = {"user": "bob", "thread": thread, "call": waiting["call"], "confirmed": False}
    assert strict.post("/api/approvals", answer, headers=boss).json() == {"status": "denied"}
    told = strict.run(resumed(thread, question, True), headers=bob)
    assert "Another person has to approve" in text_of(told)
    assert paid(app_database, order) == 0
