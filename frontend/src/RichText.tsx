/** Markdown as the agents write it. Raw html is never rendered, and links and images lead nowhere but to https. */
import { type ReactNode, useRef } from "react";
import ReactMarkdown, { type Components } from "react-markdown";
import remarkGfm from "remark-gfm";
import { Copy } from "./Copy";

interface Node {
  readonly type: string;
  readonly children?: readonly Node[];
  depth?: number;
}

/** Headings go one level down at a time, from below the page's own, whatever levels an agent uses. */
function levelled() {
  return (root: Node) => {
    const open: number[] = [];
    const visit = (node: Node) => {
      if (node.type === "heading" && node.depth !== undefined) {
        while ((open.at(-1) ?? 0) >= node.depth) open.pop();
        open.push(node.depth);
        node.depth = Math.min(6, 1 + open.length);
      }
      node.children?.forEach(visit);
    };
    visit(root);
  };
}

const plugins = [remarkGfm, levelled];

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
      <Copy what="the code" text={() => (block.current?.textContent ?? "").replace(/\n$/, "")} />
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard */}
      <pre ref={block} tabIndex={0}>
        {children}
      </pre>
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
  input: ({ checked }) => <input type="checkbox" disabled checked={checked} aria-label={checked ? "done" : "to do"} />,
};

export default function RichText({ children }: { children: string }) {
  return (
    <ReactMarkdown remarkPlugins={plugins} components={components}>
      {children}
    </ReactMarkdown>
  );
}
