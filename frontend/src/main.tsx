/** Entry point. */
import { createRoot } from "react-dom/client";
import { App } from "./App";
import "./styles.css";

const RELOADED = "concierge.reloaded";

// A lazily loaded file of an old release is gone: the current release has its own. Once a minute at most, so that a
// release that lacks a file does not reload for ever.
window.addEventListener("vite:preloadError", (event) => {
  const before = Number(window.sessionStorage.getItem(RELOADED));
  if (Date.now() - before < 60_000) return;
  event.preventDefault();
  window.sessionStorage.setItem(RELOADED, String(Date.now()));
  window.location.reload();
});

const root = document.getElementById("root");
if (root) createRoot(root).render(<App />);
