"""The container of the job tests: prints its arguments and environment, then ends as its arguments say.

Arguments: `exit N`, `sleep SECONDS`, `flaky` (fails at the first attempt only), or `log LINE...`, which fails after the
lines.
"""

from __future__ import annotations

import json
import os
import sys
import time

SHOWN = ("CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_ATTEMPT", "GREETING")

print(json.dumps({"args": sys.argv[1:], **{name: os.environ.get(name) for name in SHOWN}}), flush=True)
match sys.argv[1:]:
    case ["exit", code]:
        sys.exit(int(code))
    case ["sleep", seconds]:
        time.sleep(float(seconds))
    case ["flaky"]:
        sys.exit(0 if os.environ["CLOUD_RUN_TASK_ATTEMPT"] != "0" else 1)
    case ["log", *lines]:
        sys.exit("\n".join(lines))
