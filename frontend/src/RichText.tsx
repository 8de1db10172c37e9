/** Markdown as the agents write it. Raw html is never rendered, and links and images lead nowhere but to https. */
import ReactMarkdown from "react-markdown";
import remarkGfm from "remark-gfm";

const plugins = [remarkGfm];

export default function RichText({ children }: { children: string }) {
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
}
