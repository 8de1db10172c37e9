/**
 * Makes index.html a release: it names its version and backend, and lets the browser refuse every changed file.
 *
 * Integrity: https://www.w3.org/TR/SRI/. The content security policy stands in the page itself, because a bucket
 * behind a load balancer adds no headers.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Plugin } from "vite";

export interface ReleaseFacts {
  readonly version: string;
  /** Absolute URL or a path on the page's own origin. */
  readonly runtimeUrl: string;
}

const sha384 = (data: Buffer) => createHash("sha384").update(data).digest("base64");

/** Adds `integrity` to each script, module preload and stylesheet of the page. Throws if one is from elsewhere. */
export function withIntegrity(html: string, read: (path: string) => Buffer): string {
  return html.replace(/<(script|link)\b([^>]*)>/g, (tag, name: string, attributes: string) => {
    if (name === "link" && !/\brel="(stylesheet|modulepreload)"/.test(attributes)) return tag;
    const address = /\b(?:src|href)="([^"]+)"/.exec(attributes)?.[1];
    if (!address?.startsWith("/"))
      throw new Error(`index.html loads ${address ?? "an inline script"}, which is not in the bundle`);
    const bare = attributes.replace(/\s+crossorigin(="[^"]*")?/, "").trimEnd();
    return `<${name}${bare} integrity="sha384-${sha384(read(address.slice(1)))}" crossorigin="anonymous">`;
  });
}

/** The policy of a page that talks to its own origin and to the backend, and to nobody else. */
export function contentPolicy(runtimeUrl: string): string {
  const backend = runtimeUrl.startsWith("/") ? "" : ` ${new URL(runtimeUrl).origin}`;
  return [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    `connect-src 'self'${backend}`,
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
  ].join("; ");
}

export function release({ version, runtimeUrl }: ReleaseFacts): Plugin {
  return {
    name: "release",
    apply: "build",
    transformIndexHtml: {
      order: "post",
      handler: () => [
        // first: a policy holds for what comes after it
        {
          tag: "meta",
          attrs: { "http-equiv": "Content-Security-Policy", content: contentPolicy(runtimeUrl) },
          injectTo: "head-prepend",
        },
        { tag: "meta", attrs: { name: "agui-version", content: version }, injectTo: "head" },
        { tag: "meta", attrs: { name: "agui-runtime-url", content: runtimeUrl }, injectTo: "head" },
      ],
    },
    writeBundle: {
      order: "post",
      handler({ dir = "dist" }) {
        const page = join(dir, "index.html");
        const html = withIntegrity(readFileSync(page, "utf8"), (path) => readFileSync(join(dir, path)));
        // the name that support asks for: a digest of all that the page loads, in the page itself
        const release = createHash("sha256").update(html).digest("hex").slice(0, 12);
        writeFileSync(page, html.replace("</head>", `  <meta name="agui-release" content="${release}">\n  </head>`));
      },
    },
  };
}
