/**
 * A page inside a frame of another site could be clicked without being seen (https://owasp.org/www-community/attacks/Clickjacking).
 * The edge forbids framing by a header; this holds where a bucket answers without one.
 */
export function isFramed(here: Window = window): boolean {
  try {
    return here.top !== here.self;
  } catch {
    return true; // what may not even be asked is another site's
  }
}

/** What a framed page shows instead of the conversation: nothing that can be clicked but a way out. */
export function refuseFrame(root: HTMLElement): void {
  const link = document.createElement("a");
  link.href = window.location.href;
  link.target = "_blank";
  link.rel = "noopener";
  link.textContent = "Open this page in a window of its own.";
  root.replaceChildren(link);
}
