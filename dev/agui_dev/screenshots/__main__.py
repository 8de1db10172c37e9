"""`python -m agui_dev.screenshots`: plays rollouts and photographs the dashboard into docs/images."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from agui_dev.paths import ROOT
from agui_dev.screenshots.browser import Page, browser
from agui_dev.screenshots.stage import Stage, stage
from agui_dev.testbed.load import load

IMAGES = ROOT / "docs" / "images"
LARGEST = 300_000  # bytes; a picture that is larger is no picture of a page


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture. `whole`: as high as the page is; else what the screen shows."""

    file: str
    path: str
    width: int = 1360
    height: int = 830
    dark: bool = False
    phone: bool = False
    whole: bool = False


SHOTS = (
    Shot("dashboard-list.png", "/"),
    Shot("dashboard-list-dark.png", "/", dark=True),
    Shot("dashboard-detail.png", "/d/retail/shop", height=1420),
    Shot("dashboard-detail-dark.png", "/d/retail/shop", height=1420, dark=True),
    Shot("dashboard-rolled-back.png", "/d/support/concierge", height=1180),
    Shot("dashboard-phone.png", "/", width=390, height=844, phone=True),
)


async def photograph(page: Page, address: str, shot: Shot) -> None:
    """Opens a page, waits until it follows the rollouts live, and takes the picture."""
    await page.look(width=shot.width, height=shot.height, dark=shot.dark, phone=shot.phone)
    await page.open(address + shot.path)
    await page.until("document.querySelector('.live').dataset.liveState === 'on'")
    target = IMAGES / shot.file
    await page.photograph(target, whole=shot.whole)
    size = target.stat().st_size
    print(f"{target.relative_to(ROOT)}: {size / 1000:.0f} kB")
    if size > LARGEST:
        raise RuntimeError(f"{shot.file} is {size} bytes, more than {LARGEST}")


async def photograph_all(made: Stage) -> None:
    async with browser() as page:
        for shot in SHOTS:
            await photograph(page, made.dashboard, shot)
        if page.problems:
            raise RuntimeError(f"the page has problems: {page.problems}")


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="agui-stage-", ignore_cleanup_errors=True) as folder,
        stage(Path(folder)) as made,
        load(made, "retail", rate=45),
    ):
        made.play()
        time.sleep(22)  # for the analysis to have looked often enough to draw a curve
        asyncio.run(photograph_all(made))


if __name__ == "__main__":
    main()
