// Builds dist/: the page's assets under content-hashed names, manifest.json (written last) and THIRD_PARTY.txt.
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const HOME = fileURLToPath(new URL(".", import.meta.url));
const DIST = "dist";
const OPTIONS = {
  absWorkingDir: HOME,
  bundle: true,
  minify: true,
  metafile: true,
  outdir: DIST,
  target: "es2022",
  entryNames: "[name]-[hash]",
  chunkNames: "part-[hash]",
  assetNames: "[name]-[hash]",
  define: { "process.env.NODE_ENV": '"production"' },
  legalComments: "none", // THIRD_PARTY.txt carries the notices
  logLevel: "warning",
};

process.chdir(HOME);
await rm(DIST, { recursive: true, force: true });
await mkdir(DIST);

const workers = await build({
  ...OPTIONS,
  format: "iife",
  entryPoints: {
    "worker-editor": "monaco-editor/esm/vs/editor/editor.worker.js",
    "worker-json": "monaco-editor/esm/vs/language/json/json.worker.js",
    "worker-graphql": "monaco-graphql/esm/graphql.worker.js",
  },
});
const workerNames = Object.fromEntries(
  Object.keys(workers.metafile.outputs).map((path) => [/worker-(\w+)-/.exec(path)[1], basename(path)]),
);

const page = await build({
  ...OPTIONS,
  format: "esm",
  splitting: true,
  jsx: "automatic",
  entryPoints: { explorer: "src/main.jsx" },
  loader: { ".ttf": "file" },
  // The old names lead to CommonJS, whose parsers GraphiQL's dynamic imports would not find.
  alias: { "prettier/parser-graphql": "prettier/plugins/graphql", "prettier/parser-babel": "prettier/plugins/babel" },
  define: { ...OPTIONS.define, WORKERS: JSON.stringify(workerNames) },
});

const entry = Object.entries(page.metafile.outputs).find(([, output]) => output.entryPoint === "src/main.jsx");
await writeFile(join(DIST, "THIRD_PARTY.txt"), await notices([workers, page]));
const files = [workers, page].flatMap((result) => Object.keys(result.metafile.outputs).map((path) => basename(path)));
const manifest = { script: basename(entry[0]), style: basename(entry[1].cssBundle), files: files.sort() };
await writeFile(join(DIST, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);

async function notices(results) {
  const inputs = results.flatMap((result) => Object.keys(result.metafile.inputs));
  const folders = new Set(inputs.map((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]).filter(Boolean));
  const texts = await Promise.all([...folders].sort().map(notice));
  return `The explorer page contains these packages.\n\n${texts.join("\n")}`;
}

async function notice(folder) {
  const { name, version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const names = (await readdir(folder)).filter((file) => /^(licen[cs]e|notice|copying|thirdpartynotices)/i.test(file));
  const texts = await Promise.all(names.sort().map((file) => readFile(join(folder, file), "utf8")));
  return `${"=".repeat(80)}\n${name} ${version} (${license})\n\n${texts.join("\n")}`;
}
