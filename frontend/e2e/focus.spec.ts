import { expect, test } from "../check/desk";

test("the writing field has the focus on arrival and after each action that takes its control away", async ({
  desk,
  page,
}) => {
  await desk.open();
  await expect(desk.field).toBeFocused();
  await page.getByRole("button", { name: "Where is order 42?", exact: true }).click();
  await expect(desk.conversation).toContainText("Order 42:");
  await expect(desk.field).toBeFocused();

  await desk.settled();
  await desk.say("Refund order 42 for 61");
  await page.getByRole("button", { name: "Approve" }).click();
  await expect(desk.field).toBeFocused();
  await expect(desk.conversation).toContainText("I refunded 61.00 USD");
  await desk.settled();

  await desk.say("what are the house rules");
  await page.getByRole("button", { name: "Stop" }).click();
  await desk.settled();
  await expect(desk.field).toBeFocused();
});

test("another conversation takes the focus, by its link and by the way back", async ({ desk, page }) => {
  await desk.open();
  await desk.say("Where is order 42?");
  await expect(desk.conversation).toContainText("Order 42:");
  await desk.settled();
  const first = page.url();
  await page.getByRole("button", { name: "New conversation" }).click();
  await expect(page.getByRole("heading", { name: "How may I help?" })).toBeVisible();
  await expect(desk.field).toBeFocused();
  await page.locator("#threads li", { hasText: "Where is order 42" }).first().getByRole("link").click();
  await expect(page).toHaveURL(first);
  await expect(desk.field).toBeFocused();
  await page.goBack();
  await expect(page.getByRole("heading", { name: "How may I help?" })).toBeVisible();
  await expect(desk.field).toBeFocused();
});

test("a page that reconnects leaves the focus where it is", async ({ desk, page }) => {
  desk.expected.push(/502|Failed|fetch|runtime|info/i);
  let down = true;
  await page.route("**/copilotkit/**", (route) => (down ? route.fulfill({ status: 502, body: "" }) : route.continue()));
  await desk.open();
  await expect(desk.fault).toContainText("Reconnecting");
  const begin = page.getByRole("button", { name: "New conversation" });
  await begin.focus();
  down = false;
  await expect(desk.fault).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Where is order 42?", exact: true })).toBeEnabled();
  await expect(begin).toBeFocused();
});

test("what has the focus can be seen, and the skip link leads past the list", async ({ desk, page }) => {
  await desk.open();
  const ring = () =>
    page.evaluate(() => {
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement as Element);
      return outlineStyle === "none" ? 0 : Number.parseFloat(outlineWidth);
    });
  const skip = page.getByRole("link", { name: "Skip to the conversation" });
  for (let steps = 0; steps < 200 && !(await skip.evaluate((link) => link === document.activeElement)); steps++) {
    expect(await ring(), await page.evaluate(() => document.activeElement?.outerHTML ?? "")).toBeGreaterThanOrEqual(2);
    await page.keyboard.press("Shift+Tab");
  }
  await expect(skip).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator("main")).toBeFocused();
});

test.describe(() => {
  test.use({ hasTouch: true, isMobile: true, viewport: { width: 390, height: 780 } });

  test("on a touch screen no keyboard opens by itself", async ({ desk, page }) => {
    await desk.open();
    await page.getByRole("button", { name: "Where is order 42?", exact: true }).tap();
    await expect(desk.conversation).toContainText("Order 42:");
    await expect(page.locator("main")).toBeFocused();
  });
});

test("a window of 640 by 400 shows a first visit from its top", async ({ desk, page }) => {
  await page.setViewportSize({ width: 640, height: 400 });
  await desk.open();
  await expect(page.getByRole("heading", { name: "How may I help?" })).toBeInViewport({ ratio: 1 });
});
