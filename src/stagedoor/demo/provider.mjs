// The identity provider of `stagedoor demo --sso`: npm's oidc-provider, which accepts any name with any password.
// Usage: node provider.mjs SETTINGS, a JSON file: { issuer, port, client_id, client_secret, redirect_uri }.
import { generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import Provider from "oidc-provider";

const given = JSON.parse(readFileSync(process.argv[2], "utf8"));
const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });
const provider = new Provider(given.issuer, {
  clients: [{
    client_id: given.client_id, client_secret: given.client_secret, redirect_uris: [given.redirect_uri],
    grant_types: ["authorization_code", "refresh_token"],
    backchannel_logout_uri: `${given.redirect_uri}/logout`, backchannel_logout_session_required: true,
  }],
  claims: { openid: ["sub", "sid"], profile: ["preferred_username", "groups"] },
  conformIdTokenClaims: false,
  features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  // Its own dispatcher reaches no loopback address, where the gateway is.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, preferred_username: id, groups: ["crew"] }) }),
  issueRefreshToken: (_, client) => client.grantTypeAllowed("refresh_token"),
  rotateRefreshToken: true,
  cookies: { keys: ["demo"] },
  jwks: { keys: [{ ...key, use: "sig", alg: "RS256", kid: "demo" }] },
  pkce: { required: () => true },
});
provider.listen(given.port, "127.0.0.1", () => console.log("ready"));
