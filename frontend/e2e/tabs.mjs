/**
 * Tabs of one browser, driven from outside: a JSON command a line on stdin, a JSON answer a line on stdout.
 *
 * For tests in which releases come and go while people have the page open: the tests are about releases, so something
 * else than Playwright's runner has to be in charge. `node e2e/tabs.mjs ORIGIN`
 *
 * {"do": "open", "tab": "a"}                                 -> {"version": "1.0.0"}
 * {"do": "say", "tab": "a", "words": "...", "hear": "..."}   -> {"turns": 1}     when the whole answer is there
 * {"do": "import", "tab": "a", "paths": ["/assets/x.js"]}    -> {"failed": []}   as the page loads its own later parts
 * {"do": "reload", "tab": "a", "turns": 3}                   -> {"version": ...} when so many turns are shown again
 * {"do": "facts", "tab": "a"}                                -> {"troubles": [], "assets": [...], "turns": 3}
 */
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium, expect } from "@playwright/test";

/** @typedef {{ do: string, tab: string, words?: string, hear?: string, paths?: string[], turns?: number }} Command */
/** @typedef {import("@playwright/test").Page} Page */

const origin = String(process.argv[2]);
const SECONDS = 15_000;
const system = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const executablePath = process.env.CHROMIUM ?? system;
const browser = await chromium.launch({ ...(executablePath ? { executablePath } : {}), args: ["--no-sandbox"] });
const context = await browser.newContext({ baseURL: origin });

class Tab {
  /** @type {string[]} what went wrong, in words */
  troubles = [];
  /** @type {Set<string>} paths of files that the page got */
  assets = new Set();

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.turns = page.getByRole("list", { name: "Conversation", exact: true }).locator("> li");
    page.on("pageerror", (error) => this.troubles.push(`script: ${error.message}`));
    page.on("response", (response) => {
      const { pathname } = new URL(response.url());
      if (response.status() >= 400) this.troubles.push(`${response.status()} ${pathname}`);
      else if (pathname.startsWith("/assets/")) this.assets.add(pathname);
    });
    page.on("requestfailed", (request) => {
      const why = request.failure()?.errorText;
      // a page that is left drops what it was still listening to
      if (why !== "net::ERR_ABORTED") this.troubles.push(`${why} ${new URL(request.url()).pathname}`);
    });
  }

  version() {
    return this.page.locator('meta[name="agui-version"]').getAttribute("content", { timeout: SECONDS });
  }

  /** @param {Command} command */
  async open({ tab }) {
    await this.page.goto("/");
    await expect(this.page.getByLabel("Your message"), tab).toBeVisible({ timeout: SECONDS });
    return { version: await this.version() };
  }

  /** @param {Command} command */
  async say({ words = "", hear = "" }) {
    const before = await this.turns.count();
    await this.page.getByLabel("Your message").fill(words);
    await this.page.getByRole("button", { name: "Send" }).click({ timeout: SECONDS });
    await expect(this.turns).toHaveCount(before + 1, { timeout: SECONDS });
    await expect(this.turns.last()).toContainText(words, { timeout: SECONDS });
    await expect(this.turns.last()).toContainText(hear, { timeout: SECONDS });
    const conversation = this.page.locator(".conversation");
    await expect(conversation).toHaveAttribute("data-running", "false", { timeout: SECONDS });
    await expect(this.page.getByRole("alert")).toHaveCount(0);
    return { turns: before + 1 };
  }

  /** @param {Command} command */
  async import({ paths = [] }) {
    const failed = await this.page.evaluate(async (wanted) => {
      const ended = await Promise.allSettled(wanted.map((path) => import(path)));
      return ended.flatMap((end, n) => (end.status === "rejected" ? [`${wanted[n]}: ${end.reason}`] : []));
    }, paths);
    return { failed };
  }

  /** @param {Command} command */
  async reload({ turns = 0 }) {
    await this.page.reload();
    await expect(this.turns).toHaveCount(turns, { timeout: SECONDS });
    return { version: await this.version() };
  }

  async facts() {
    return { troubles: this.troubles, assets: [...this.assets].sort(), turns: await this.turns.count() };
  }
}

/** @type {Map<string, Tab>} */
const tabs = new Map();

/** @param {Command} command */
async function obey(command) {
  const tab = tabs.get(command.tab) ?? new Tab(await context.newPage());
  tabs.set(command.tab, tab);
  switch (command.do) {
    case "open":
      return tab.open(command);
    case "say":
      return tab.say(command);
    case "import":
      return tab.import(command);
    case "reload":
      return tab.reload(command);
    case "facts":
      return tab.facts();
    default:
      throw new Error(`there is no command ${command.do}`);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  /** @type {object} */
  let answer;
  try {
    answer = await obey(JSON.parse(line));
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
