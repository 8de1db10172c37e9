/** Entry point. */
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { reloadWhenFilesAreGone } from "./reload";
import "./styles.css";
import "./markdown.css";

reloadWhenFilesAreGone();

const root = document.getElementById("root");
if (root) createRoot(root).render(<App />);
