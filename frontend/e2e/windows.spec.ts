import type { BrowserContext } from "@playwright/test";
import { Desk, expect, test } from "../check/desk";

/** The same conversation in a second window of the same person. */
async function second(context: BrowserContext, address: string): Promise<Desk> {
  const other = new Desk(await context.newPage());
  await other.page.goto(address);
  await expect(other.turns.first()).toBeVisible();
  return other;
}

test("what is being answered in one window can be followed from another that did not know", async ({
  desk,
  page,
  context,
}) => {
  await desk.open();
  await desk.say("hello");
  await expect(desk.conversation).toContainText("I am the concierge");
  await desk.settled();
  const other = await second(context, page.url());
  await desk.say("what are the house rules");
  await expect(desk.conversation).toContainText("Rule 2 ");
  await other.say("order 42");
  await expect(other.conversation).toContainText("Rule 40 of the house is kindness.", { timeout: 60_000 });
  await expect(other.field).toHaveValue("order 42");
  await other.settled();
  await other.page.getByRole("button", { name: "Send" }).click();
  await expect(other.conversation).toContainText("Order 42:");
  await expect(other.turns).toHaveCount(3);
});

test("an approval that another window asked for is fetched, and nothing that was written is lost", async ({
  desk,
  page,
  context,
}) => {
  desk.expected.push(/This question is not open/); // an answer that comes too late is refused
  await desk.open();
  await desk.say("order 42");
  await expect(desk.conversation).toContainText("Order 42:");
  await desk.settled();
  const other = await second(context, page.url());
  await desk.say("refund order 42 for 66");
  await expect(page.getByRole("button", { name: "Approve" })).toBeVisible();

  await other.say("order 43");
  await expect(other.page.getByRole("region", { name: "Refund 66 on order 42?" })).toBeVisible();
  await expect(other.field).toHaveValue("order 43");
  await expect(other.fault).toHaveCount(0);
  await other.page.getByRole("button", { name: "Refuse" }).click();
  await expect(other.conversation).toContainText("was not approved");
  await other.settled();

  // the first window still shows the card: its answer comes too late, and the page says what happened meanwhile
  await page.getByRole("button", { name: "Approve" }).click();
  await expect(desk.conversation).toContainText("was not approved");
  await expect(page.getByRole("button", { name: "Approve" })).toHaveCount(0);
  await desk.settled();
  await other.page.getByRole("button", { name: "Send" }).click();
  await expect(other.conversation).toContainText("Order 43:");
});
