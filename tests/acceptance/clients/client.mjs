// Runs one operation through a public client library, and prints what happens as lines of JSON:
// node client.mjs ws|sse URL TOKEN '{"query": …, "variables": …}'. It resumes as docs/realtime.md says.
import { createClient as createSseClient } from "graphql-sse";
import { createClient as createWsClient } from "graphql-ws";
import WebSocket from "ws";

const [protocol, url, token, json] = process.argv.slice(2);
const request = JSON.parse(json);
const authorization = `Bearer ${token}`;
const print = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let wait = 200;
let refused;

function overWebSocket() {
  return createWsClient({
    url: url.replace("http", "ws"),
    webSocketImpl: WebSocket,
    connectionParams: { authorization },
    retryAttempts: 300,
    retryWait: () => sleep(wait),
    shouldRetry: () => true,
    on: {
      connected: (_socket, _payload, again) => print({ connected: again }),
      closed: ({ code, reason }) => {
        if (code === 1001) wait = JSON.parse(reason).retryAfterMs;
        print({ closed: code, reason });
      },
    },
  });
}

// This library takes any status but success for a failing network, and asks again, unless `retry` does not let it.
async function fetchAndSee(...request) {
  const response = await fetch(...request);
  refused = [400, 401, 403].includes(response.status) ? response.status : undefined;
  return response;
}

async function waitUnlessRefused() {
  if (refused) throw Object.assign(new Error("refused"), { code: refused });
  await sleep(wait);
}

function overEvents() {
  return createSseClient({
    url,
    headers: { authorization },
    retryAttempts: 300,
    fetchFn: fetchAndSee,
    retry: waitUnlessRefused,
    on: { connected: (again) => print({ connected: again }) },
  });
}

const client = protocol === "ws" ? overWebSocket() : overEvents();
client.subscribe(request, {
  next(result) {
    const event = Object.values(result.data ?? {})[0];
    // Both libraries send the request again when they connect again: what it holds then is where they resume.
    if (event?.cursor) request.variables = { ...request.variables, after: event.cursor };
    print({ next: result });
  },
  error(error) {
    print({ error: error.code ?? error.response?.status ?? String(error) });
    process.exit(0);
  },
  complete() {
    print({ complete: true });
    process.exit(0);
  },
});
