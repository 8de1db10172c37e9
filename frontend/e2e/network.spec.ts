import { expect, test } from "../check/desk";

const NETWORK =
  /Failed to (load|fetch)|ERR_INTERNET_DISCONNECTED|ERR_FAILED|network error|runAgent|connectAgent|NetworkError|fetch/i;

test("a reload in mid-answer shows what was said and the rest of it, once", async ({ desk, page }) => {
  await desk.open();
  await desk.say("what are the house rules");
  await expect(desk.conversation).toContainText("Rule 3 ");
  await page.reload();
  await expect(desk.conversation).toContainText("Rule 3 ");
  await expect(page.locator(".conversation")).toHaveAttribute("data-running", "true");
  await expect(desk.conversation).toContainText("Rule 40 of the house is kindness.", { timeout: 60_000 });
  await desk.settled();
  await expect(desk.turns).toHaveCount(1);
  expect((await desk.conversation.textContent())?.match(/Rule 7 /g)).toHaveLength(1);
});

test("a lost network is shown, and the answer is complete when it is back", async ({ desk, page, context }) => {
  desk.expected.push(NETWORK);
  await desk.open();
  await desk.say("what are the house rules");
  await expect(desk.conversation).toContainText("Rule 2 ");
  await context.setOffline(true);
  await expect(desk.fault).toContainText("You are offline");
  await expect(page.getByRole("button", { name: "Send" })).toHaveCount(0);
  await context.setOffline(false);
  await expect(desk.fault).toHaveCount(0);
  await expect(desk.conversation).toContainText("Rule 40 of the house is kindness.", { timeout: 60_000 });
  await desk.settled();
  await expect(desk.turns).toHaveCount(1);
  expect((await desk.conversation.textContent())?.match(/Rule 7 /g)).toHaveLength(1);
});

test("words that never arrived go back to the field", async ({ desk, page }) => {
  desk.expected.push(NETWORK);
  await desk.open();
  await desk.say("order 42");
  await expect(desk.conversation).toContainText("Order 42:");
  await desk.settled();
  await page.route("**/copilotkit/agent/**", (route) => route.abort("connectionreset"), { times: 1 });
  await desk.say("order 43");
  await expect(desk.field).toHaveValue("order 43");
  await expect(desk.turns).toHaveCount(1);
  await expect(desk.fault).toHaveCount(0);
  await page.getByRole("button", { name: "Send" }).click();
  await expect(desk.conversation).toContainText("Order 43:");
  await expect(desk.turns).toHaveCount(2);
});

test("a refusal is said in words, and nothing that was written is lost", async ({ desk, page }) => {
  desk.expected.push(NETWORK, /429/);
  await desk.open();
  await page.route(
    "**/copilotkit/agent/*/run",
    (route) =>
      route.fulfill({ status: 429, json: { error: "too_many_runs", message: "You have too many live runs." } }),
    { times: 1 },
  );
  await desk.say("order 42");
  await expect(desk.fault).toContainText("You have several answers under way.");
  await expect(desk.field).toHaveValue("order 42");
  await expect(desk.turns).toHaveCount(0);
  await page.getByRole("button", { name: "Send" }).click();
  await expect(desk.conversation).toContainText("Order 42:");
  await expect(desk.fault).toHaveCount(0);
});

test("a page that opens before its backend waits for it", async ({ desk, page }) => {
  desk.expected.push(NETWORK, /502/, /runtime|info/i);
  let down = true;
  await page.route("**/copilotkit/**", (route) => (down ? route.fulfill({ status: 502, body: "" }) : route.continue()));
  await desk.open();
  await expect(desk.fault).toContainText("Reconnecting");
  down = false;
  await expect(desk.fault).toHaveCount(0);
  await desk.say("order 42");
  await expect(desk.conversation).toContainText("Order 42:");
});

test("an approval that was lost on its way can be given again", async ({ desk, page }) => {
  desk.expected.push(NETWORK);
  await desk.open();
  await desk.say("Refund order 42 for 62");
  const approve = page.getByRole("button", { name: "Approve" });
  await expect(approve).toBeEnabled();
  await page.route("**/copilotkit/agent/*/run", (route) => route.abort("connectionreset"), { times: 1 });
  await approve.click();
  await expect(desk.fault).toContainText("Reconnecting");
  await expect(desk.fault).toHaveCount(0);
  await approve.click();
  await expect(desk.conversation).toContainText("I refunded 62.00 USD on order 42.");
});
