import { expect, test } from "../check/desk";

const list = "Conversations";

test("the list is the user's, in every browser, with what waits for an approval", async ({ desk, page, browser }) => {
  await desk.open();
  await desk.say("Refund order 42 for 77");
  await expect(page.getByRole("button", { name: "Approve" })).toBeVisible();
  const line = page.getByRole("navigation", { name: list }).locator("li").first();
  await expect(line).toContainText("Refund order 42 for 77");
  await expect(line).toContainText("Waits for your approval");

  const other = await browser.newContext();
  const there = await other.newPage();
  await there.goto("/");
  await there
    .getByRole("link", { name: /Refund order 42 for 77/ })
    .first()
    .click();
  await there.getByRole("button", { name: "Refuse" }).click();
  await expect(there.getByRole("list", { name: "Conversation", exact: true })).toContainText("was not approved");
  const lineThere = there.getByRole("navigation", { name: list }).locator("li").first();
  await expect(lineThere).not.toContainText("Waits");
  await other.close();
});

test("the list follows an answer that goes on in another conversation", async ({ desk, page }) => {
  await desk.open();
  await desk.say("research slow birch stool");
  await expect(page.locator(".pipeline")).toBeVisible();
  await page.getByRole("button", { name: "New conversation" }).click();
  await expect(page.getByRole("heading", { name: "How may I help?" })).toBeVisible();
  const line = page.locator("#threads li", { hasText: "research slow birch stool" }).first();
  await expect(line).toContainText("Answering…");
  await expect(line.locator("time")).toBeVisible({ timeout: 15_000 });
  await line.getByRole("link").click();
  await expect(desk.conversation).toContainText("birch stool");
  await expect(page.locator(".pipeline")).toContainText("Complete");
});

test("without a network the list is what the browser remembers, and says so", async ({ desk, page }) => {
  desk.expected.push(/Failed to load resource/);
  await desk.open();
  await desk.say("Where is order 42?");
  await expect(desk.conversation).toContainText("Order 42:");
  await desk.settled();
  await page.route("**/copilotkit/threads*", (route) => route.abort("internetdisconnected"));
  await page.reload();
  const nav = page.getByRole("navigation", { name: list });
  await expect(nav).toContainText("Showing a saved copy");
  await expect(nav.getByRole("link", { name: /Where is order 42/ }).first()).toBeVisible();
});

test("on a phone the list is asked for when it is opened, and leads to the conversation", async ({ desk, page }) => {
  await page.setViewportSize({ width: 390, height: 780 });
  await desk.open();
  await desk.say("research walnut desk");
  await expect(desk.conversation).toContainText("walnut desk");
  await desk.settled();
  const opener = page.getByRole("button", { name: list });
  await opener.click();
  await page.getByRole("button", { name: "New conversation" }).click();
  await expect(page.getByRole("heading", { name: "How may I help?" })).toBeVisible();
  const asked = page.waitForRequest("**/copilotkit/threads");
  await opener.click();
  await asked;
  await page
    .getByRole("link", { name: /research walnut desk/ })
    .first()
    .click();
  await expect(desk.conversation).toContainText("walnut desk");
  await expect(page.getByRole("button", { name: "New conversation" })).toBeHidden();
});

test("words that were written into a new conversation survive a reload", async ({ desk, page }) => {
  await desk.open();
  await desk.field.fill("half a thought");
  await page.reload();
  await expect(desk.field).toHaveValue("half a thought");
  await desk.field.fill("order 42");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(desk.conversation).toContainText("Order 42:");
  await desk.settled();
  await desk.open(); // what has begun has an address, and the start page is a new one
  await expect(page.getByRole("heading", { name: "How may I help?" })).toBeVisible();
  await expect(desk.field).toHaveValue("");
});
