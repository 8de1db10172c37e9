import { expect, test } from "../check/desk";

test.slow(); // the pipeline takes its time, so that there is something to see

test("a pipeline shows each step while it works, also to a page that comes back", async ({ desk, page }) => {
  await desk.open();
  await desk.say("research slow oak bookshelf");
  const card = page.getByRole("region", { name: "Research slow oak bookshelf" });
  const step = (name: string) => card.getByRole("listitem").filter({ hasText: name });
  await expect(card).toHaveAttribute("data-state", "running");
  await expect(step("Open a brief")).toHaveAttribute("aria-current", "step");
  await expect(step("Write the brief")).toContainText("to do");
  await expect(page.getByTestId("announcer")).toContainText("0 of 4 steps done, now: Open a brief");

  await page.reload();
  await expect(card).toHaveAttribute("data-state", "running");
  await expect(step("Write the brief")).toHaveAttribute("aria-current", "step");
  await expect(step("Read the catalogue")).toHaveAttribute("data-state", "done");
  await expect(page.getByTestId("announcer")).toContainText("3 of 4 steps done");

  await expect(desk.conversation).toContainText("On slow oak bookshelf:");
  await desk.settled();
  await expect(card).toContainText("Complete");
  await expect(card.getByRole("listitem")).toHaveCount(4);
  await page.reload();
  await expect(card).toContainText("Complete");
  await expect(step("Read the catalogue")).toContainText(/\d+ products?/);
  await expect(page.locator(".pipeline")).toHaveCount(1);
});

test("a pipeline that is stopped says so, also after a reload", async ({ desk, page }) => {
  await desk.open();
  await desk.say("research slow lamp");
  const card = page.getByRole("region", { name: "Research slow lamp" });
  await expect(card).toHaveAttribute("data-state", "running");
  await page.getByRole("button", { name: "Stop" }).click();
  await desk.settled();
  await expect(card).toContainText("Stopped");
  await page.reload();
  await expect(card).toContainText("Stopped");
  await expect(card.locator('[data-state="running"]')).toHaveCount(0);
});
