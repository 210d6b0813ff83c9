/**
 * WebAuthn's objects as JSON and back (Web Authentication Level 3 §5.1.8 to §5.1.10). Browsers of 2024 support
 * passkeys, but not `toJSON` yet.
 */
import { t } from "../language";

interface Known {
  id: string;
  type: "public-key";
}

export interface Creation {
  publicKey: {
    challenge: string;
    user: { id: string; name: string; displayName: string };
    excludeCredentials?: Known[];
  } & Omit<PublicKeyCredentialCreationOptions, "challenge" | "user" | "excludeCredentials">;
}

export interface Request {
  publicKey: { challenge: string; allowCredentials?: Known[] } & Omit<
    PublicKeyCredentialRequestOptions,
    "challenge" | "allowCredentials"
  >;
}

function decodeBase64url(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (char) => char.charCodeAt(0));
}

function encodeBase64url(data: ArrayBuffer): string {
  const plain = String.fromCharCode(...new Uint8Array(data));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function listDescriptors(known: Known[] | undefined): PublicKeyCredentialDescriptor[] {
  return (known ?? []).map(({ type, id }) => ({ type, id: decodeBase64url(id) }));
}

/** Create a passkey and return the answer for the gateway. */
export async function createAttestation({ publicKey }: Creation): Promise<object> {
  const credential = await navigator.credentials.create({
    publicKey: {
      ...publicKey,
      challenge: decodeBase64url(publicKey.challenge),
      user: { ...publicKey.user, id: decodeBase64url(publicKey.user.id) },
      excludeCredentials: listDescriptors(publicKey.excludeCredentials),
    },
  });
  if (!(credential instanceof PublicKeyCredential)) throw new Error(t`No passkey was made.`);
  const response = credential.response as AuthenticatorAttestationResponse;
  return makeAnswer(credential, { attestationObject: encodeBase64url(response.attestationObject) });
}

/** Prove possession of a passkey and return the answer for the gateway. */
export async function getAssertion({ publicKey }: Request): Promise<object> {
  const credential = await navigator.credentials.get({
    publicKey: {
      ...publicKey,
      challenge: decodeBase64url(publicKey.challenge),
      allowCredentials: listDescriptors(publicKey.allowCredentials),
    },
  });
  if (!(credential instanceof PublicKeyCredential)) throw new Error(t`No passkey was used.`);
  const response = credential.response as AuthenticatorAssertionResponse;
  return makeAnswer(credential, {
    authenticatorData: encodeBase64url(response.authenticatorData),
    signature: encodeBase64url(response.signature),
    ...(response.userHandle === null ? {} : { userHandle: encodeBase64url(response.userHandle) }),
  });
}

function makeAnswer({ id, rawId, type, response }: PublicKeyCredential, more: object): object {
  const clientDataJSON = encodeBase64url(response.clientDataJSON);
  return { id, rawId: encodeBase64url(rawId), type, response: { clientDataJSON, ...more } };
}
