import { randomUUID } from "node:crypto";
import { expect, test } from "../check/desk";

test("a paste that is too long is kept, and its length is said", async ({ desk, page }) => {
  await desk.open();
  await desk.field.fill("word ".repeat(1700));
  const length = page.locator(".length");
  await expect(length).toHaveText("499 characters over the limit of 8,000. Shorten it to send it.");
  await expect(page.getByTestId("notice")).toContainText("499 characters over the limit");
  await expect(page.getByRole("button", { name: "Send" })).toBeDisabled();
  await page.screenshot({ path: "build/screens/too-long.png" });
  await page.reload();
  expect((await desk.field.inputValue()).length).toBe(8500);
  await desk.field.fill("order 42");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(desk.conversation).toContainText("Order 42:");
});

test("a long conversation goes on, warns before its limit, and hands words over to a new one", async ({
  desk,
  page,
}) => {
  test.setTimeout(180_000);
  const thread = randomUUID();
  await desk.open();
  const talk = (turns: number) =>
    page.evaluate(
      async ([id, count]) => {
        for (let turn = 0; turn < Number(count); turn++) {
          const message = { id: crypto.randomUUID(), role: "user", content: "order 999" };
          const body = { threadId: id, runId: crypto.randomUUID(), messages: [message] };
          const answer = await fetch("/copilotkit/agent/default/run", {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify(body),
          });
          if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
          await answer.text();
        }
      },
      [thread, turns] as const,
    );
  await talk(60);
  await desk.open(`/t/${thread}`);
  await expect(desk.turns).toHaveCount(60);
  const asked = page.waitForRequest("**/copilotkit/agent/*/run");
  await desk.say("order 42");
  expect((await asked).postDataJSON().messages).toMatchObject([{ role: "user", content: "order 42" }]);
  await expect(desk.conversation).toContainText("Order 42:");
  await desk.settled();
  await expect(desk.turns).toHaveCount(61);
  await expect(page.locator(".room")).toHaveCount(0);

  await talk(37);
  await page.reload();
  await expect(page.locator(".room")).toContainText("This conversation can take 2 more messages.");
  await desk.say("order 43");
  await desk.settled();
  await expect(page.locator(".room")).toContainText("This conversation can take 1 more message.");
  await desk.say("order 44");
  await desk.settled();
  await expect(desk.turns).toHaveCount(100);
  await expect(page.locator(".room")).toContainText("This conversation has reached its limit.");
  await desk.field.fill("order 42");
  await expect(page.getByRole("button", { name: "Send" })).toBeDisabled();
  await page.screenshot({ path: "build/screens/limit-reached.png" });
  await page.getByRole("button", { name: "Take these words to a new conversation" }).click();
  await expect(page).toHaveURL(/\/$/);
  await expect(desk.field).toHaveValue("order 42");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(desk.conversation).toContainText("Order 42:");
  await expect(desk.turns).toHaveCount(1);
});

for (const [name, path] of [
  ["that nobody has", "/t/2f1c9b7e-0000-4000-8000-000000000000"],
  ["that cannot be", "/t/a/b"],
] as const) {
  test(`an address of a conversation ${name} says so, and leads on`, async ({ desk, page }) => {
    await page.goto(path);
    const heading = page.getByRole("heading", { name: "This conversation does not exist" });
    await expect(heading).toBeVisible();
    await expect(heading).toBeFocused();
    await expect(page.getByRole("heading", { name: "How may I help?" })).toHaveCount(0);
    await expect(desk.field).toHaveCount(0);
    await page.screenshot({ path: "build/screens/not-found.png" });
    await page.getByRole("button", { name: "Start a new conversation" }).click();
    await expect(page).toHaveURL(/\/$/);
    await expect(desk.field).toBeFocused();
    await desk.say("order 42");
    await expect(desk.conversation).toContainText("Order 42:");
  });
}

test("the conversation of another account looks like one that does not exist", async ({ page, browser, desk }) => {
  await desk.open();
  await desk.say("order 42");
  await expect(desk.conversation).toContainText("Order 42:");
  await desk.settled();
  const other = await browser.newContext({ extraHTTPHeaders: { "X-Agui-User": "somebody-else" } });
  const there = await other.newPage();
  await there.goto(page.url());
  await expect(there.getByRole("heading", { name: "This conversation does not exist" })).toBeVisible();
  await expect(there.locator("body")).not.toContainText("Order 42:");
  await other.close();
});
