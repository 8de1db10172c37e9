import { expect, test } from "../check/desk";

test("a conversation that waits for approval may be left for another, and comes back as it was", async ({
  desk,
  page,
}) => {
  await desk.open();
  await desk.say("research oak bookshelf");
  await expect(desk.conversation).toContainText("On oak bookshelf");
  await desk.settled();
  const first = new URL(page.url()).pathname;
  await page.getByRole("button", { name: "New conversation" }).click();
  await desk.say("Refund order 42 for 75");
  const card = page.getByRole("region", { name: "Refund 75 on order 42?" });
  await expect(card).toBeVisible();
  const second = new URL(page.url()).pathname;

  await page.locator(`a[href="${first}"]`).click();
  await expect(desk.conversation).toContainText("On oak bookshelf");
  await expect(desk.fault).toHaveCount(0);
  await expect(card).toHaveCount(0);

  await page.locator(`a[href="${second}"]`).click();
  await expect(card).toBeVisible();
  await card.getByRole("button", { name: "Refuse" }).click();
  await expect(desk.conversation).toContainText("The refund was not approved");
  await desk.settled();
});
