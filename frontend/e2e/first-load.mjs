/**
 * How long a person waits for the page: `node e2e/first-load.mjs ORIGIN COUNT` opens it COUNT times with an empty
 * cache and prints the seconds from the navigation until words can be sent, as a JSON list.
 */
import { chromium } from "@playwright/test";

const [origin, count] = process.argv.slice(2);
if (!origin || !count) throw new Error("usage: first-load.mjs ORIGIN COUNT");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox"],
});
const seconds = [];
try {
  // one more, which is not counted: it starts the browser's own processes
  for (let number = 0; number <= Number(count); number++) {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(origin, { waitUntil: "commit" });
    // the clock is the page's own and begins with the navigation
    const ready = await page.waitForFunction(
      () =>
        document.querySelector('.composer .hint[data-waits="false"]') &&
        performance.getEntriesByType("resource").some(({ name }) => name.endsWith("/info")) && // the backend answered
        performance.now(),
      null,
      { polling: "raf", timeout: 30_000 },
    );
    if (number > 0) seconds.push(Number(await ready.jsonValue()) / 1000);
    await context.close();
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seconds));
