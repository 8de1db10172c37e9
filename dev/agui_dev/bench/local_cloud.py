"""How fast localgcp starts, and what one call through its one port costs. Prints one JSON object.

`python -m agui_dev.bench.local_cloud [rounds]`
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import aiohttp
import grpc.aio
import psutil
from google.cloud import run_v2
from google.cloud.run_v2.services.services.transports import ServicesGrpcAsyncIOTransport

from agui_dev.testbed.images import SMALL_IMAGES
from agui_dev.testbed.local_cloud import LocalCloud

IMAGE = "us-central1-docker.pkg.dev/demo/agui/web:v1"


async def calls(cloud: LocalCloud, rounds: int) -> dict[str, float]:
    async with grpc.aio.insecure_channel(cloud.address) as channel, aiohttp.ClientSession() as http:
        client = run_v2.ServicesAsyncClient(transport=ServicesGrpcAsyncIOTransport(channel=channel))
        began = time.perf_counter()
        operation = await client.create_service(
            parent=cloud.parent, service_id="web", service={"template": {"containers": [{"image": IMAGE}]}}
        )
        await operation.result(timeout=30)
        created = time.perf_counter() - began
        name = f"{cloud.parent}/services/web"
        seen: dict[str, list[float]] = {"grpc": [], "rest": []}
        for _ in range(rounds):
            began = time.perf_counter()
            await client.get_service(name=name)
            seen["grpc"].append(time.perf_counter() - began)
            began = time.perf_counter()
            async with http.get(f"{cloud.endpoint}/v2/{name}") as response:
                await response.read()
            seen["rest"].append(time.perf_counter() - began)
    p50 = {f"get_service_{way}_ms_p50": round(median(times) * 1000, 2) for way, times in seen.items()}
    return {"first_revision_s": round(created, 2), **p50}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    starts = []
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for number in range(3):
            options = ("--catalogue", str(SMALL_IMAGES), "--lro-seconds", "0")
            cloud = LocalCloud(Path(folder) / f"state-{number}", *options)
            began = time.perf_counter()
            try:
                cloud.start()
                starts.append(time.perf_counter() - began)
                if number == 2:
                    figures = asyncio.run(calls(cloud, rounds))
                    figures["rss_mb"] = round(psutil.Process(cloud.pid).memory_info().rss / 2**20, 1)
            finally:
                cloud.stop()
    print(json.dumps({"start_s": round(median(starts), 2), **figures}))


if __name__ == "__main__":
    main()
