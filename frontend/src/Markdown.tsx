/**
 * Markdown as the agents write it. Raw html is never rendered, and links and images lead nowhere but to https.
 * Exported as `Streamdown` too: it takes the place of the package of that name, which would bring a syntax
 * highlighter, a diagram engine and a formula engine into the first load.
 */
import { memo } from "react";
import ReactMarkdown from "react-markdown";
import remarkGfm from "remark-gfm";

const plugins = [remarkGfm];

export const Markdown = memo(function Markdown({ children }: { children?: string }) {
  return (
    <ReactMarkdown
      remarkPlugins={plugins}
      components={{
        // an agent's picture would be a request to a stranger's server, with whatever its address says
        img: ({ alt }) => <span>{alt}</span>,
        a: ({ href, children: words }) => (
          <a href={href} target="_blank" rel="noreferrer noopener nofollow">
            {words}
          </a>
        ),
      }}
    >
      {children}
    </ReactMarkdown>
  );
});

export const Streamdown = Markdown;
