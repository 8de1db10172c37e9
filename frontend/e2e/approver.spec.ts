/** Two people: one asks for a refund, the other one approves it on the page for approvers. */
import AxeBuilder from "@axe-core/playwright";
import { type Browser, type BrowserContextOptions, expect, type Page, test } from "@playwright/test";
import { Desk } from "../check/desk";

const origin = `http://127.0.0.1:${process.env.E2E_STRICT_PAGE_PORT}`;
test.skip(Boolean(process.env.E2E_BASE_URL), "needs the strict application of agui_dev.testbed.page_stack");

/** A window of a person of that name. */
async function windowOf(browser: Browser, user: string, more: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ baseURL: origin, extraHTTPHeaders: { "X-Agui-User": user }, ...more });
  return context.newPage();
}

const approvals = (page: Page) => page.getByRole("link", { name: /^Approvals/ });
const request = (page: Page, name: RegExp) => page.getByRole("form", { name });

test("one person asks, another one approves or denies", async ({ browser }) => {
  const name = `ann-${Date.now()}`;
  const asker = await windowOf(browser, name);
  const desk = new Desk(asker);
  await desk.open();
  await expect(asker.getByRole("button", { name: "New conversation" })).toBeVisible();
  await expect(approvals(asker), "she is no approver").toHaveCount(0);
  await desk.say("Refund order 42 for 80");
  await asker.getByRole("button", { name: "Approve" }).click();
  await expect(desk.fault).toContainText("Another person has to approve this first");

  const approver = await windowOf(browser, "bea");
  await approver.goto("/");
  await expect(approvals(approver)).toContainText("1 waiting");
  await approvals(approver).click();
  await expect(approver).toHaveURL(/\/approvals$/);
  const card = request(approver, /Refund 80 on order 42/);
  await expect(card).toContainText(`Asked by ${name}`);
  await card.getByLabel(/Reason/).fill("the lamp is broken");
  await card.getByRole("button", { name: "Approve" }).click();
  await expect(card).toHaveCount(0);
  await expect(approver.getByTestId("notice")).toHaveText(/Approved: Refund 80 on order 42/);
  await expect(approvals(approver)).toContainText("none waiting");

  await asker.reload();
  await asker.getByRole("button", { name: "Approve" }).click();
  await expect(desk.conversation).toContainText("I refunded 80.00 USD");

  await asker.getByRole("button", { name: "New conversation" }).click();
  await desk.say("Refund order 42 for 70");
  await expect(asker.getByRole("button", { name: "Approve" })).toBeVisible();
  const denied = request(approver, /Refund 70 on order 42/); // comes by itself
  await denied.getByRole("button", { name: "Deny" }).click();
  await expect(denied).toHaveCount(0);
  await asker.getByRole("button", { name: "Approve" }).click();
  await expect(desk.conversation).toContainText("Another person has to approve");
});

test("whoever is no approver sees nothing there", async ({ browser }) => {
  const page = await windowOf(browser, "carl");
  await page.goto("/approvals");
  await expect(page.getByRole("alert")).toHaveText(/You are not an approver/);
});

test("requests are answered with the keyboard alone, and the focus stays in the list", async ({ browser }) => {
  const asker = new Desk(await windowOf(browser, "dan"));
  for (const amount of [61, 62]) {
    await asker.open();
    await asker.say(`Refund order 42 for ${amount}`);
    await expect(asker.page.getByRole("button", { name: "Approve" })).toBeVisible();
  }
  const page = await windowOf(browser, "bea");
  await page.goto("/approvals");
  await expect(page.getByRole("heading", { name: "Waiting for your approval" })).toBeFocused();
  await expect(request(page, /Refund 61/)).toBeVisible();
  await page.keyboard.press("Tab");
  await expect(request(page, /Refund 61/).getByLabel(/Reason/)).toBeFocused();
  await page.keyboard.type("no such lamp");
  await page.keyboard.press("Enter");
  await expect(request(page, /Refund 61/), "Enter decides nothing").toBeVisible();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await expect(request(page, /Refund 61/).getByRole("button", { name: "Deny" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "Refund 62 on order 42?" })).toBeFocused();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await expect(page.getByText("Nothing waits for you")).toBeVisible();
  await expect(page.getByRole("heading", { name: "Waiting for your approval" })).toBeFocused();
});

for (const colorScheme of ["light", "dark"] as const) {
  for (const viewport of [
    { width: 1280, height: 800 },
    { width: 390, height: 780 },
  ]) {
    test(`no finding of axe on the approvals: ${colorScheme}, ${viewport.width} wide`, async ({ browser }) => {
      const name = `eve-${colorScheme}-${viewport.width}-${"x".repeat(60)}`;
      const asker = new Desk(await windowOf(browser, name));
      await asker.open();
      await asker.say("Refund order 42 for 55");
      await expect(asker.page.getByRole("button", { name: "Approve" })).toBeVisible();
      const page = await windowOf(browser, "bea", { colorScheme, viewport, reducedMotion: "reduce" });
      await page.goto("/approvals");
      await expect(request(page, /Refund 55/).first()).toBeVisible();
      const sideways = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      expect(sideways).toBeLessThanOrEqual(0);
      const findings = async () => {
        const { violations } = await new AxeBuilder({ page }).analyze();
        return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
      };
      expect(await findings()).toEqual([]);
      await page.screenshot({ path: `build/screens/approvals-${colorScheme}-${viewport.width}.png` });
      const drawer = page.getByRole("button", { name: "Conversations" });
      if (await drawer.isVisible()) {
        await drawer.click();
        await expect(approvals(page)).toBeVisible();
        expect(await findings()).toEqual([]);
        await page.screenshot({ path: `build/screens/approvals-drawer-${colorScheme}.png` });
      }
    });
  }
}
