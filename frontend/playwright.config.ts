/**
 * Flows in a real Chromium. Without E2E_BASE_URL they start the real application with its offline model and a real
 * PostgreSQL, and serve the built page; with it they run against whatever is deployed there.
 */
import { defineConfig } from "@playwright/test";

const port = () => String(20_000 + Math.floor(Math.random() * 20_000));
// in the environment, so that the workers, which read this file again, agree with the servers
process.env.E2E_BACKEND_PORT ??= port();
process.env.E2E_PAGE_PORT ??= port();
process.env.E2E_STRICT_BACKEND_PORT ??= port();
process.env.E2E_STRICT_PAGE_PORT ??= port();
const backend = `http://127.0.0.1:${process.env.E2E_BACKEND_PORT}`;
const strictBackend = `http://127.0.0.1:${process.env.E2E_STRICT_BACKEND_PORT}`; // an approval needs another person
const strictPage = `http://127.0.0.1:${process.env.E2E_STRICT_PAGE_PORT}`;
const page = `http://127.0.0.1:${process.env.E2E_PAGE_PORT}`;
const python = process.env.PYTHON ?? "../.venv/bin/python";
const out = process.env.E2E_OUT ?? "build"; // runs at the same time need a place each
const deployed = process.env.E2E_BASE_URL;

export default defineConfig({
  testDir: ".",
  testMatch: ["e2e/*.spec.ts", "check/*.spec.ts"],
  outputDir: `${out}/e2e-results`,
  reporter: [["list"]],
  workers: 1,
  timeout: 120_000,
  expect: { timeout: 30_000 },
  use: {
    baseURL: deployed ?? page,
    trace: "retain-on-failure",
    launchOptions: { executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] },
  },
  ...(deployed
    ? {}
    : {
        webServer: [
          {
            command: `exec ${python} -m agui_dev.testbed.page_stack ${process.env.E2E_BACKEND_PORT} ${process.env.E2E_STRICT_BACKEND_PORT}`,
            url: `${backend}/readyz`,
            timeout: 120_000,
            gracefulShutdown: { signal: "SIGTERM" as const, timeout: 20_000 },
          },
          {
            command: `npx vite build --outDir ${out}/e2e --emptyOutDir --logLevel warn && exec npx vite preview --outDir ${out}/e2e --host 127.0.0.1 --strictPort --port ${process.env.E2E_PAGE_PORT}`,
            url: page,
            timeout: 120_000,
            env: { AGUI_BACKEND: backend },
          },
          {
            // the same files, once they are built
            command: `while [ ! -f ${out}/e2e/index.html ]; do sleep 0.2; done; exec npx vite preview --outDir ${out}/e2e --host 127.0.0.1 --strictPort --port ${process.env.E2E_STRICT_PAGE_PORT}`,
            url: strictPage,
            timeout: 120_000,
            env: { AGUI_BACKEND: strictBackend },
          },
        ],
      }),
});
