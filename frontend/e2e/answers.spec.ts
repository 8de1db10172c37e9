import AxeBuilder from "@axe-core/playwright";
import { expect, test } from "../check/desk";

const CODE = 'kubectl -n demo annotate agd concierge agui.dev/promote=true --overwrite --field-manager="a person"';
const RICH = `## Four desks

| Model | Width | Delivery | From | Remarks on the finish |
|---|---|---|---|---|
| Bookshelf Kyoto | 80 centimetres | Wednesday | Copenhagen | untreated, to be oiled before its first use |
| Writing desk Aalborg | 1,200 millimetres | Donnerstag | Friedrichshafen | Donaudampfschifffahrtsgesellschaft |

> Prices hold until Friday.

- [x] measured
- [ ] ordered

---

1. Promote it:

\`\`\`sh
${CODE}
\`\`\`

Then **read** \`status.phase\`. هل وصل الطلب؟`;

for (const width of [1280, 390]) {
  test(`a table breaks no word and the page does not scroll sideways, ${width} wide`, async ({ desk, page }) => {
    await page.setViewportSize({ width, height: 780 });
    await desk.open();
    await desk.answerWith(RICH);
    await desk.say("compare desks");
    const table = page.getByRole("region", { name: "Table" });
    await expect(table).toContainText("Friedrichshafen");
    const broken = await table.evaluate((region) => {
      const found: string[] = [];
      const texts = document.createTreeWalker(region, NodeFilter.SHOW_TEXT);
      while (texts.nextNode()) {
        const node = texts.currentNode;
        for (const { 0: word, index } of (node.textContent ?? "").matchAll(/\S+/g)) {
          const range = document.createRange();
          range.setStart(node, index);
          range.setEnd(node, index + word.length);
          if (range.getClientRects().length > 1) found.push(word);
        }
      }
      return found;
    });
    expect(broken).toEqual([]);
    const sideways = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    expect(sideways).toBeLessThanOrEqual(0);
    if (width < 1000) {
      await table.focus();
      await page.keyboard.press("ArrowRight");
      await expect.poll(() => table.evaluate((region) => region.scrollLeft)).toBeGreaterThan(0);
    }
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      const { violations } = await new AxeBuilder({ page }).analyze();
      expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`)).toEqual([]);
      await page.screenshot({ path: `build/screens/answer-${colorScheme}-${width}.png` });
    }
  });
}

test("an answer and a block of code are copied, with the keyboard and read out", async ({ desk, page, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  await desk.open();
  await desk.answerWith(RICH);
  await desk.say("compare desks");
  const answer = page.getByRole("button", { name: "Copy the answer" });
  await expect(answer).toBeVisible();
  await page.keyboard.press("Shift+Tab"); // from the writing field, the last control before it
  await expect(answer).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(answer).toHaveText("Copied");
  await expect(page.getByTestId("notice")).toHaveText("Copied the answer");
  expect(await clipboard()).toBe(RICH);
  await page.getByRole("button", { name: "Copy the code" }).click();
  await expect(page.getByTestId("notice")).toHaveText("Copied the code");
  expect(await clipboard()).toBe(CODE);
});
