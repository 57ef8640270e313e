import "./monaco.js";
import "@graphiql/react/style.css";
import "@graphiql/plugin-history/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "graphiql/graphiql.css";
import "./style.css";
import { useGraphiQL, useGraphiQLActions } from "@graphiql/react";
import { GraphiQL } from "graphiql";
import { useEffect, useRef } from "react";
import { createRoot } from "react-dom/client";
import { Bar, StatusLine } from "./bar.jsx";
import { dropSocket, fetcher } from "./fetcher.js";
import { checkIdentity, identity, SIGNED_IN, wasSignedIn } from "./identity.js";
import { resume } from "./signin.js";
import { operations } from "./operations.js";
import { storage } from "./storage.js";
import { useStore } from "./store.js";

function Explorer() {
  return (
    <>
      <Bar />
      <main id="kith-main">
        <GraphiQL
          fetcher={fetcher}
          storage={storage}
          defaultTabs={operations}
          defaultEditorToolsVisibility="variables"
          inputValueDeprecation
          schemaDescription
          shouldPersistHeaders={false}
          showPersistHeadersSettings={false}
        >
          <GraphiQL.Logo>
            <span />
          </GraphiQL.Logo>
          <FollowIdentity />
          <FollowSystemTheme />
        </GraphiQL>
      </main>
      <StatusLine />
    </>
  );
}

// A running subscription belongs to the person who started it; a schema that was refused is asked for again.
function FollowIdentity() {
  const { token } = useStore(identity);
  const { stop, introspect } = useGraphiQLActions();
  const hasSchema = useGraphiQL((state) => Boolean(state.schema));
  const before = useRef(token);
  useEffect(() => {
    if (before.current === token) return;
    before.current = token;
    stop();
    dropSocket();
    if (!hasSchema) introspect();
  }, [token, hasSchema, stop, introspect]);
  return null;
}

// GraphiQL reads the system's theme once; without this its editors keep the old colours when that changes.
function FollowSystemTheme() {
  const { setTheme } = useGraphiQLActions();
  const theme = useGraphiQL((state) => state.theme);
  useEffect(() => {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const follow = () => setTheme(theme);
    dark.addEventListener("change", follow);
    return () => dark.removeEventListener("change", follow);
  }, [theme, setTheme]);
  return null;
}

createRoot(document.getElementById("kith")).render(<Explorer />);
if (!(await resume(wasSignedIn)) && identity.get().person !== SIGNED_IN) checkIdentity();
