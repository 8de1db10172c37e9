/** A conversation that has not begun. */
const EXAMPLES = ["Where is order 42?", "Refund order 42 for 80", "Research oak bookshelf"];

export function Welcome({ ask }: { ask: ((words: string) => void) | null }) {
  return (
    <div className="welcome">
      <h2>How may I help?</h2>
      <p>I look after orders and refunds, research products and book deliveries.</p>
      <ul>
        {EXAMPLES.map((words) => (
          <li key={words}>
            <button type="button" disabled={ask === null} onClick={() => ask?.(words)}>
              {words}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
