// Runs the public audit suite of GraphQL over HTTP against a server, and prints one line of JSON for each audit:
// node audit.mjs URL. An audit that neither holds nor fails (`warn`, `notice`) is printed as what it is.
import { serverAudits } from "graphql-http";

const [url] = process.argv.slice(2);
for (const audit of serverAudits({ url })) {
  const result = await audit.fn();
  process.stdout.write(`${JSON.stringify({ id: audit.id, name: audit.name, status: result.status, reason: result.reason })}\n`);
}
