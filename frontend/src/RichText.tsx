/** Markdown as the agents write it. Raw html is never rendered, and links and images lead nowhere but to https. */
import { type ReactNode, useRef } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import { Copy } from "./Copy";

const plugins = [remarkGfm];

/** Wide content scrolls by itself, also by keyboard, so that the page never does. */
function Wide({ name, className, children }: { name: string; className: string; children: ReactNode }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard
    <section className={className} aria-label={name} tabIndex={0}>
      {children}
    </section>
  );
}

function Code({ children }: { children?: ReactNode }) {
  const block = useRef<HTMLPreElement>(null);
  return (
    <div className="code">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard */}
      <pre ref={block} tabIndex={0}>
        {children}
      </pre>
      <Copy what="the code" text={() => (block.current?.textContent ?? "").replace(/\n$/, "")} />
    </div>
  );
}

const components: Components = {
  // an agent's picture would be a request to a stranger's server, with whatever its address says
  img: ({ alt }) => <span>{alt}</span>,
  a: ({ href, children: words }) => (
    <a href={href} target="_blank" rel="noreferrer noopener nofollow">
      {words}
    </a>
  ),
  table: ({ children: rows }) => (
    <Wide name="Table" className="table">
      <table>{rows}</table>
    </Wide>
  ),
  pre: ({ children: code }) => <Code>{code}</Code>,
  // below the page's own heading, whatever an agent begins with
  h1: ({ children: words }) => <h2>{words}</h2>,
  h2: ({ children: words }) => <h3>{words}</h3>,
  h3: ({ children: words }) => <h4>{words}</h4>,
  h4: ({ children: words }) => <h5>{words}</h5>,
  h5: ({ children: words }) => <h6>{words}</h6>,
  input: ({ checked }) => <input type="checkbox" disabled checked={checked} aria-label={checked ? "done" : "to do"} />,
};

export default function RichText({ children }: { children: string }) {
  return (
    <ReactMarkdown remarkPlugins={plugins} components={components}>
      {children}
    </ReactMarkdown>
  );
}
