// An OpenID provider that is not ours, on a port of this machine: `node provider.mjs`.
// It prints its address; a line `rotate` on its input lets the next key sign, and `asked` prints how often keys were fetched.
import { generateKeyPair, exportJWK } from "jose";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const generations = [];
let asked = 0;
let serve;

async function newKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: "sig", kid: `${alg}-${generations.length}` };
}

async function begin(issuer) {
  generations.unshift(await Promise.all(["ES256", "RS256"].map(newKey)));
  const provider = new Provider(issuer, {
    jwks: { keys: generations.slice(0, 2).flat() },
    clients: [{
      client_id: "machine",
      client_secret: "of-this-run-alone",
      token_endpoint_auth_method: "client_secret_post",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    }],
    scopes: ["kith:read"],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        // The algorithm is asked for as the resource; whatever it is, the token is for one audience.
        getResourceServerInfo: (_context, resource) => ({
          scope: "kith:read",
          audience: "kith",
          accessTokenFormat: "jwt",
          accessTokenTTL: 900,
          jwt: { sign: { alg: resource.split(":").at(-1) } },
        }),
      },
    },
    formats: {
      customizers: {
        jwt: (_context, _token, parts) => {
          parts.payload.nbf = parts.payload.iat;
          parts.payload.sub ??= parts.payload.client_id;
        },
      },
    },
  });
  serve = provider.callback();
}

const server = createServer((request, response) => {
  asked += request.url === "/jwks";
  serve(request, response);
});
server.listen(0, "127.0.0.1", async () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  await begin(issuer);
  console.log(`issuer ${issuer}`);
  createInterface({ input: process.stdin }).on("line", async (line) => {
    if (line === "rotate") await begin(issuer);
    console.log(`asked ${asked}`);
  }).on("close", () => process.exit());
});
