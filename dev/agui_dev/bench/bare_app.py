"""The application's agents behind ag-ui-adk's own endpoint and ADK's own session service, and nothing else.

What the application adds to a turn (log of events, guardrails, approvals, identity) is measured against this: the same
agents, tools, model and database. `DATABASE_URL` and `PORT` as for the application.
"""

from __future__ import annotations

import warnings

import uvicorn
from ag_ui_adk import ADKAgent, add_adk_fastapi_endpoint
from fastapi import FastAPI
from google.adk.apps import App, ResumabilityConfig
from google.adk.sessions import DatabaseSessionService

from agui_app.agents.audit import AuditTrail
from agui_app.agents.guardrails import load_guardrails
from agui_app.agents.offline_model import register
from agui_app.agents.run_context import RunContext, enter_run
from agui_app.agents.script import load_script
from agui_app.agents.tree import APP_NAME, _agent_tree
from agui_app.database.engine import create_engine
from agui_app.database.passwords import Connector
from agui_app.settings import read_settings
from agui_app.telemetry.measures import Measures


def bare_app() -> FastAPI:
    """One route, `POST /agent`."""
    settings = read_settings()
    register(load_script(settings.script))
    engine = create_engine(Connector(settings.database), settings.pool_size)
    rules = load_guardrails(settings.guardrails)
    root = _agent_tree(settings.model, engine, AuditTrail(engine, "", Measures()), rules, {})
    enter_run(RunContext("bench", "bench", "bench", customer=settings.access.development_customer))  # for all requests
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"\[EXPERIMENTAL\]")
        agent = ADKAgent.from_app(
            App(name=APP_NAME, root_agent=root, resumability_config=ResumabilityConfig(is_resumable=True)),
            user_id_extractor=lambda _: "bench",
            session_service=DatabaseSessionService(db_engine=engine),
            use_thread_id_as_session_id=True,
            delete_session_on_cleanup=False,
            save_session_to_memory_on_cleanup=False,
            emit_interrupt_outcome=True,
            emit_messages_snapshot=True,
            max_concurrent_executions=1000,
        )
    app = FastAPI()
    add_adk_fastapi_endpoint(app, agent, path="/agent")
    return app


if __name__ == "__main__":
    configured = read_settings()
    uvicorn.run(bare_app(), host="127.0.0.1", port=configured.port, log_config=None, access_log=False)
