/**
 * What agents write. The renderer is loaded with the first answer, so that the page is there sooner; until then, and
 * if it cannot be loaded at all, the words are shown as they are.
 *
 * Exported as `Streamdown` too: it takes the place of the package of that name, which would bring a syntax
 * highlighter, a diagram engine and a formula engine into the first load.
 */
import { Component, lazy, memo, type ReactNode, Suspense } from "react";
import { late } from "./reload";

const RichText = lazy(() => late(() => import("./RichText")));

class Plainly extends Component<{ words: ReactNode; children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError() {
    return { failed: true };
  }

  override render() {
    return this.state.failed ? this.props.words : this.props.children;
  }
}

export const Markdown = memo(function Markdown({ children = "" }: { children?: string }) {
  const words = <p className="plain">{children}</p>;
  return (
    <Plainly words={words}>
      <Suspense fallback={words}>
        <RichText>{children}</RichText>
      </Suspense>
    </Plainly>
  );
});

export const Streamdown = Markdown;
