import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { contentPolicy, withIntegrity } from "../release/page";

const data = Buffer.from("export {}");
const digest = createHash("sha384").update(data).digest("base64");

describe("withIntegrity", () => {
  it("covers scripts, preloads and stylesheets, and leaves the icon alone", () => {
    const html = withIntegrity(
      '<link rel="icon" href="/i.svg"><script type="module" crossorigin src="/assets/a.js"></script><link rel="modulepreload" crossorigin href="/assets/b.js"><link rel="stylesheet" crossorigin href="/assets/c.css">',
      () => data,
    );
    expect(html.match(/integrity="sha384-[^"]+" crossorigin="anonymous"/g)).toHaveLength(3);
    expect(html).toContain(digest);
    expect(html).toContain('<link rel="icon" href="/i.svg">');
  });

  it.each(['<script src="https://cdn.example/x.js"></script>', "<script>alert(1)</script>"])("refuses %s", (html) => {
    expect(() => withIntegrity(html, () => data)).toThrow(/not in the bundle/);
  });
});

describe("contentPolicy", () => {
  it("lets the page talk to its backend alone", () => {
    expect(contentPolicy("/copilotkit")).toContain("connect-src 'self';");
    expect(contentPolicy("https://api.example/copilotkit")).toContain("connect-src 'self' https://api.example;");
    expect(contentPolicy("/copilotkit")).not.toMatch(/unsafe|\*/);
  });
});
