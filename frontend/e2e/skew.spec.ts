import { expect, test } from "../check/desk";

test("a file that is gone loads the page again once, and then the words are shown as they are", async ({
  desk,
  page,
}) => {
  desk.expected.push(/Failed to load resource/, /RichText|dynamically imported module/, /error occurred in/);
  let loads = 0;
  let refused = 0;
  page.on("framenavigated", (frame) => {
    if (frame === page.mainFrame() && frame.url().startsWith("http")) loads += 1;
  });
  await page.route(/\/assets\/RichText-[^/]*\.js$/, (route) => {
    refused += 1;
    return route.fulfill({ status: 404, body: "" });
  });
  await desk.open();
  await desk.say("order 42");
  await expect(desk.conversation).toContainText("Order 42:");
  // loaded, loaded again; the address of the new conversation counts too
  await expect.poll(() => refused).toBe(2);
  await desk.settled();
  await expect(desk.conversation.locator(".plain")).toContainText("Order 42:");
  const before = loads;
  await page.waitForTimeout(1500);
  expect([loads, refused]).toEqual([before, 2]);
  await expect(desk.turns).toHaveCount(1);

  await desk.say("order 43"); // the page is whole, only plainer
  await expect(desk.conversation).toContainText("Order 43:");
  await desk.settled();
  expect(refused).toBe(2);
});

test("an open page whose release was replaced finds its way to the current one by itself", async ({ desk, page }) => {
  desk.expected.push(/Failed to load resource/);
  let gone = true;
  await page.route(/\/assets\/RichText-[^/]*\.js$/, (route) =>
    gone ? route.fulfill({ status: 404, body: "" }) : route.continue(),
  );
  await desk.open();
  await desk.field.fill("order 42");
  const reloaded = page.waitForEvent("load");
  await page.getByRole("button", { name: "Send" }).click();
  await reloaded;
  gone = false;
  await expect(desk.conversation).toContainText("Order 42:");
  await desk.settled();
  await expect(desk.turns).toHaveCount(1);
});
