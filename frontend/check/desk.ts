/** The page as a user of it: what the flows do and look at. Every flow also fails on an error that nobody expected. */
import { test as base, expect, type Page } from "@playwright/test";

export class Desk {
  /** Patterns of console errors that the flow provokes. */
  readonly expected: RegExp[] = [];
  readonly complaints: string[] = [];

  constructor(readonly page: Page) {
    const origin = () => new URL(page.url()).origin;
    page.on("console", (message) => {
      if (message.type() === "error") this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(error.message));
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (url.protocol.startsWith("http") && page.url() !== "about:blank" && url.origin !== origin()) {
        this.complaints.push(`asked a stranger: ${url}`);
      }
    });
  }

  get field() {
    return this.page.getByLabel("Your message");
  }

  get conversation() {
    return this.page.getByRole("list", { name: "Conversation", exact: true });
  }

  get fault() {
    return this.page.getByRole("alert");
  }

  async open(path = "/"): Promise<void> {
    await this.page.goto(path);
    await expect(this.field).toBeVisible();
  }

  async say(words: string): Promise<void> {
    await this.field.fill(words);
    await this.page.getByRole("button", { name: "Send" }).click();
  }

  /** The next message is answered with `markdown`, whatever it is. The backend never hears of it. */
  async answerWith(markdown: string): Promise<void> {
    await this.page.route(
      "**/copilotkit/agent/*/run",
      async (route) => {
        const { threadId, runId } = route.request().postDataJSON();
        const message = { messageId: "m1" };
        const events = [
          { type: "RUN_STARTED", threadId, runId },
          { type: "TEXT_MESSAGE_START", ...message, role: "assistant" },
          { type: "TEXT_MESSAGE_CONTENT", ...message, delta: markdown },
          { type: "TEXT_MESSAGE_END", ...message },
          { type: "RUN_FINISHED", threadId, runId },
        ];
        const body = events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join("");
        await route.fulfill({ contentType: "text/event-stream", body });
      },
      { times: 1 },
    );
  }

  /** The answer has ended. */
  async settled(): Promise<void> {
    await expect(this.page.locator(".conversation")).toHaveAttribute("data-running", "false");
  }

  get turns() {
    return this.conversation.locator("> li");
  }
}

export const test = base.extend<{ desk: Desk }>({
  desk: async ({ page }, use) => {
    const desk = new Desk(page);
    await use(desk);
    const left = desk.complaints.filter((text) => !desk.expected.some((pattern) => pattern.test(text)));
    expect(left).toEqual([]);
  },
});

export { expect };
