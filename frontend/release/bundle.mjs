/**
 * Builds the release bundle: `npm run bundle` writes build/concierge-<version>.tar.gz and build/size.json.
 *
 * Deterministic: the same sources give the same bytes, in whatever folder they lie, so that the archive's sha256 can
 * stand in a release. The operator refuses an archive whose files are not exactly as manifest.json says. Fails if the
 * first load exceeds the budget. Read from the environment: AGUI_VERSION (default: package.json), AGUI_BUNDLE_DIR
 * (default: build), AGUI_REVISION (default: what git says), VITE_COPILOTKIT_RUNTIME_URL (default: /copilotkit).
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { create } from "tar";
import { build } from "vite";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const OUT = resolve(ROOT, process.env.AGUI_BUNDLE_DIR || "build");
const BUDGET = 380_000; // bytes of gzip: scripts that the page needs before it shows anything
/** @type {Readonly<Record<string, string>>} */
const CONTENT_TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
};

/** @typedef {{ file: string, isEntry?: boolean, imports?: readonly string[] }} Chunk a part of Vite's manifest */

/**
 * Files of the entry and of all that it imports statically.
 * @param {Readonly<Record<string, Chunk>>} chunks
 */
function firstLoad(chunks) {
  /** @type {Set<string>} */
  const seen = new Set();
  /** @param {string} name */
  const visit = (name) => {
    const chunk = chunks[name];
    if (!chunk || seen.has(chunk.file)) return;
    seen.add(chunk.file);
    for (const next of chunk.imports ?? []) visit(next);
  };
  for (const [name, chunk] of Object.entries(chunks)) if (chunk.isEntry) visit(name);
  return [...seen].filter((file) => file.endsWith(".js")).sort();
}

/** @param {string} dist */
function filesOf(dist) {
  return readdirSync(dist, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dist.length + 1))
    .filter((path) => !path.startsWith(".vite/"))
    .sort();
}

/** @param {readonly string[]} words */
const git = (...words) =>
  execFileSync("git", words, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();

/**
 * The commit that last changed these sources, marked when they differ from it; null outside of a repository and in a
 * shallow clone that does not reach back so far: there the newest commit would be taken for the last change.
 */
function revision() {
  if (process.env.AGUI_REVISION) return process.env.AGUI_REVISION;
  try {
    const [commit, parents] = git("log", "-1", "--format=%H%n%P", "--", ".").split("\n");
    if (!commit || (!parents && git("rev-parse", "--is-shallow-repository") === "true")) return null;
    return git("status", "--porcelain", "--", ".") ? `${commit}-changed` : commit;
  } catch {
    return null;
  }
}

async function main() {
  process.chdir(ROOT);
  const { version } = JSON.parse(readFileSync("package.json", "utf8"));
  const name = process.env.AGUI_VERSION ?? version;
  process.env.AGUI_VERSION = name;
  const dist = mkdtempSync(join(tmpdir(), "concierge-"));
  try {
    await build({ root: ROOT, logLevel: "warn", build: { outDir: dist, emptyOutDir: true } });
    const paths = filesOf(dist);
    const files = paths.map((path) => {
      const data = readFileSync(join(dist, path));
      const contentType = CONTENT_TYPES[extname(path)];
      if (!contentType) throw new Error(`${path}: no content type is known for this kind of file`);
      return { path, sha384: createHash("sha384").update(data).digest("base64"), size: data.length, contentType };
    });
    const manifest = {
      schemaVersion: 1,
      entrypoint: "index.html",
      runtimeUrl: process.env.VITE_COPILOTKIT_RUNTIME_URL || "/copilotkit",
      version: name,
      revision: revision(),
      files,
    };
    writeFileSync(join(dist, "manifest.json"), `${JSON.stringify(manifest, null, 1)}\n`);
    mkdirSync(OUT, { recursive: true });
    const archive = join(OUT, `concierge-${name}.tar.gz`);
    const fixed = { cwd: dist, portable: true, mtime: new Date(0), noDirRecurse: true, gzip: { level: 9 } };
    await create({ ...fixed, file: archive }, [...paths, "manifest.json"]);
    const first = firstLoad(JSON.parse(readFileSync(join(dist, ".vite/manifest.json"), "utf8")));
    const entry = first.reduce((sum, file) => sum + gzipSync(readFileSync(join(dist, file)), { level: 9 }).length, 0);
    const total = files.reduce((sum, file) => sum + file.size, 0);
    const sizes = Object.fromEntries(files.map(({ path, size }) => [path, size]));
    const report = { entryGzipBytes: entry, budgetBytes: BUDGET, totalBytes: total, files: files.length, sizes };
    writeFileSync(join(OUT, "size.json"), `${JSON.stringify(report, null, 1)}\n`);
    const digest = createHash("sha256").update(readFileSync(archive)).digest("hex");
    console.log(`${archive.slice(ROOT.length)} ${digest}`);
    console.log(`first load ${(entry / 1000).toFixed(1)} kB gzip of ${BUDGET / 1000} kB, ${files.length} files`);
    if (entry > BUDGET) throw new Error(`the first load is ${entry - BUDGET} bytes above the budget`);
  } finally {
    rmSync(dist, { recursive: true, force: true });
  }
}

await main();
