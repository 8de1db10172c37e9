import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig, loadEnv } from "vite";
import { release } from "./release/page.ts";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig(({ mode }) => {
  const env = { ...loadEnv(mode, here("."), ""), ...process.env };
  const backend = env.AGUI_BACKEND ?? "http://127.0.0.1:8080";
  // the page's own host name goes on to the backend, which refuses what a page of another origin sends
  const target = { target: backend, changeOrigin: false };
  const proxy = { "/copilotkit": target, "/api": target };
  const version = env.AGUI_VERSION ?? env.npm_package_version ?? "dev";
  return {
    plugins: [react(), release({ version, runtimeUrl: env.VITE_COPILOTKIT_RUNTIME_URL || "/copilotkit" })],
    define: { __VERSION__: JSON.stringify(version) },
    resolve: {
      // what CopilotKit brings and this page never shows: each file there says why it may be left out
      alias: [
        { find: /^streamdown$/, replacement: here("./src/Markdown.tsx") },
        { find: /^@copilotkit\/a2ui-renderer$/, replacement: here("./src/left-out/a2ui.ts") },
        {
          find: /^@copilotkit\/web-components\/threads-drawer$/,
          replacement: here("./src/left-out/threads-drawer.ts"),
        },
        { find: /^phoenix$/, replacement: here("./src/left-out/phoenix.ts") },
        {
          find: /^(@copilotkit\/web-inspector|@copilotkit\/mcp-apps-renderer|@jetbrains\/websandbox|katex\/dist\/katex\.min\.css)$/,
          replacement: here("./src/left-out/nothing.ts"),
        },
      ],
    },
    build: {
      manifest: true,
      target: "es2022",
      assetsInlineLimit: 0,
      chunkSizeWarningLimit: 1400,
      reportCompressedSize: false,
    },
    server: { proxy },
    preview: { proxy },
  };
});
