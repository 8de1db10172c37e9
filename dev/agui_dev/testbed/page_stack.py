"""The real backend for the flows of frontend/e2e: PostgreSQL with seeds, and the application with its offline model.

`python -m agui_dev.testbed.page_stack PORT STRICT_PORT` serves until it is ended. At STRICT_PORT is another application
with a database of its own, where a refund needs the approval of another person than the asker: of `bea`.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

import psycopg
import yaml

from agui_dev.paths import ROOT
from agui_dev.testbed.app_instance import AppStarter, seeded_database
from agui_dev.testbed.postgres import running_postgres

SCRIPT = ROOT / "app" / "agui_app" / "data" / "script.yaml"
RULES = ROOT / "app" / "agui_app" / "data" / "guardrails.yaml"
LONG_ANSWER = " ".join(f"Rule {number} of the house is kindness." for number in range(1, 41))


# a pipeline on a "slow ..." topic takes its time where it opens and closes its record
SLOW_PIPELINES = """
CREATE FUNCTION take_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.topic LIKE 'slow %' THEN PERFORM pg_sleep(2); END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER take_time BEFORE INSERT OR UPDATE ON briefs FOR EACH ROW EXECUTE FUNCTION take_time();
"""


def slow_script(folder: Path) -> Path:
    """The application's script, word by word, with one answer that is long enough to be interrupted."""
    script = yaml.safe_load(SCRIPT.read_text(encoding="utf-8"))
    script |= {"words_per_chunk": 2, "pause_ms": 40}
    script["agents"]["concierge"]["rules"].insert(0, {"when": "house rules", "say": LONG_ANSWER})
    path = folder / "script.yaml"
    path.write_text(yaml.safe_dump(script), encoding="utf-8")
    return path


def strict_rules(folder: Path) -> Path:
    """The application's guardrails, whose approvals need another person."""
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for rule in rules["rules"]:
        rule |= {"approver": "another"} if rule["kind"] == "approval" else {}
    path = folder / "guardrails.yaml"
    path.write_text(yaml.safe_dump(rules), encoding="utf-8")
    return path


def main(port: str, strict_port: str) -> int:
    """Serves until SIGTERM; the first application's exit code."""
    with running_postgres() as server, tempfile.TemporaryDirectory(prefix="agui-e2e-") as folder:
        url = seeded_database(server)
        with psycopg.connect(url) as connection:
            connection.execute(SLOW_PIPELINES)
        start = AppStarter(Path(folder))
        settings = {"AGUI_IDENTITY": "development", "AGUI_SCRIPT": str(slow_script(Path(folder)))}
        instance = start(url, ready=False, PORT=port, **settings)
        strict = {"AGUI_GUARDRAILS": str(strict_rules(Path(folder))), "AGUI_APPROVERS": "bea"}
        start(seeded_database(server), ready=False, PORT=strict_port, **settings, **strict)
        signal.signal(signal.SIGTERM, lambda *_: instance.child.terminate())
        signal.signal(signal.SIGINT, lambda *_: instance.child.terminate())
        code = instance.child.wait()
        if code:
            print(instance.child.output(), file=sys.stderr)
        start.stop_all()
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
