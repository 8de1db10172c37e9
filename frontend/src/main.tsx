/** Entry point. */
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { isFramed, refuseFrame } from "./framed";
import { reloadWhenFilesAreGone } from "./reload";
import "./styles.css";
import "./markdown.css";

reloadWhenFilesAreGone();

const root = document.getElementById("root");
if (root && isFramed()) refuseFrame(root);
else if (root) createRoot(root).render(<App />);
