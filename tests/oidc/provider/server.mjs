// An identity provider for the tests: the certified oidc-provider, with accounts that a test may change.
// Usage: node server.mjs SETTINGS, a JSON file: { port, clients, accounts, ttl, idTokenClaims }.
// PUT /test/accounts/NAME with claims makes or changes an account, DELETE removes one. Anybody may sign in as any
// account, by any password. PUT /test/token/down and /test/token/up: whether the token endpoint answers 503.
// PUT /test/logout/NAME with a session's id has the account logged out there, by the back channel; GET
// /test/posted is the form that was sent. GET /test/issued are the answers of the token endpoint so far.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import Provider from "oidc-provider";

const settings = JSON.parse(readFileSync(process.argv[2], "utf8"));
const accounts = new Map(Object.entries(settings.accounts));
const newKey = () => ({
  ...generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" }),
  use: "sig", alg: "RS256", kid: randomUUID(),
});

let down = false, posted = "";
const issued = [];
const provider = new Provider(settings.issuer, {
  clients: settings.clients,
  claims: { openid: ["sub", "sid"], profile: ["preferred_username", "name", "groups"], email: ["email", "email_verified"] },
  conformIdTokenClaims: !settings.idTokenClaims,
  cookies: { keys: ["tests"] },
  features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  // Its own dispatcher reaches no loopback address, where the gateway is.
  fetch: (url, { dispatcher, ...options }) => { posted = String(options.body); return fetch(url, options); },
  findAccount: (_, id) => accounts.has(id) ? { accountId: id, claims: () => ({ sub: id, ...accounts.get(id) }) } : undefined,
  issueRefreshToken: (_, client) => client.grantTypeAllowed("refresh_token"),
  rotateRefreshToken: true,
  jwks: { keys: [newKey()] },
  pkce: { required: () => true },
  ttl: { AccessToken: 600, AuthorizationCode: 60, Grant: 86400, IdToken: 600, Interaction: 600, RefreshToken: 86400, Session: 86400, ...settings.ttl },
});
provider.use(async (ctx, next) => {
  const [, test, kind, name] = ctx.path.split("/");
  if (test === "token" && down) { ctx.status = 503; return; }
  if (test !== "test") {
    await next();
    if (test === "token" && ctx.body) issued.push(ctx.body);
    return;
  }
  let body = "";
  for await (const part of ctx.req) body += part;
  if (kind === "accounts" && ctx.method === "PUT") accounts.set(name, JSON.parse(body));
  if (kind === "accounts" && ctx.method === "DELETE") accounts.delete(name);
  if (kind === "token") down = name === "down";
  if (kind === "logout") await (await provider.Client.find(settings.clients[0].client_id)).backchannelLogout(name, JSON.parse(body));
  ctx.status = 204;
  if (kind === "posted") { ctx.status = 200; ctx.body = posted; }
  if (kind === "issued") { ctx.status = 200; ctx.body = issued; }
});
provider.listen(settings.port, "127.0.0.1", () => console.log("ready"));
