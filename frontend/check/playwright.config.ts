/**
 * The release's own check in a browser, as a Cloud Run job runs it: `npx playwright test -c check/playwright.config.ts`.
 *
 * The operator says what to look at: AGUI_ORIGIN is where users go, AGUI_STAGE is `candidate` before any of them meets
 * AGUI_RELEASE and `promoted` afterwards, AGUI_BACKEND_URL is where this release's own backend answers, AGUI_FRONTEND
 * is the folder of its page. With E2E_BASE_URL alone it checks whatever is deployed there.
 */
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig } from "@playwright/test";

const { AGUI_STAGE, AGUI_RELEASE, AGUI_ORIGIN, E2E_BASE_URL, CHROMIUM } = process.env;
const baseURL = E2E_BASE_URL ?? AGUI_ORIGIN;
if (!baseURL) throw new Error("Set E2E_BASE_URL to the origin that is to be checked, such as https://app.example.com");

const system = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const executablePath = CHROMIUM ?? system; // else the one that Playwright installed into the image
const candidate = AGUI_STAGE === "candidate" && AGUI_RELEASE ? { "x-agui-release": AGUI_RELEASE } : {};

export default defineConfig({
  testDir: ".",
  testMatch: "release.spec.ts",
  outputDir: join(tmpdir(), `agui-smoke-${process.pid}`),
  reporter: [["line"]],
  workers: 1,
  maxFailures: 1, // the release is taken back for one as for four, only sooner
  timeout: 30_000,
  expect: { timeout: 10_000 },
  use: {
    baseURL,
    extraHTTPHeaders: { "x-agui-synthetic": "smoke", ...candidate },
    launchOptions: { ...(executablePath ? { executablePath } : {}), args: ["--no-sandbox", "--disable-dev-shm-usage"] },
  },
});
