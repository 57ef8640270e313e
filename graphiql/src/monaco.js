// Imported here and not lazily, so that Monaco's styles are in the page's one style sheet.
import "monaco-graphql/esm/monaco-editor.js";

globalThis.MonacoEnvironment = {
  getWorker: (_id, label) => new Worker(new URL(WORKERS[label] ?? WORKERS.editor, import.meta.url)),
};
