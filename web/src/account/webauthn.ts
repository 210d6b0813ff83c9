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

export function bytes(text: string): Uint8Array<ArrayBuffer> {
  const plain = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(plain, (char) => char.charCodeAt(0));
}

function base64url(data: ArrayBuffer): string {
  const plain = String.fromCharCode(...new Uint8Array(data));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function descriptors(known: Known[] | undefined): PublicKeyCredentialDescriptor[] {
  return (known ?? []).map(({ type, id }) => ({ type, id: bytes(id) }));
}

/** Create a passkey and return the answer for the gateway. */
export async function attestation({ publicKey }: Creation): Promise<object> {
  const credential = await navigator.credentials.create({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey.challenge),
      user: { ...publicKey.user, id: bytes(publicKey.user.id) },
      excludeCredentials: descriptors(publicKey.excludeCredentials),
    },
  });
  if (!(credential instanceof PublicKeyCredential)) throw new Error(t`No passkey was made.`);
  const response = credential.response as AuthenticatorAttestationResponse;
  return answer(credential, { attestationObject: base64url(response.attestationObject) });
}

/** Prove possession of a passkey and return the answer for the gateway. */
export async function assertion({ publicKey }: Request): Promise<object> {
  const credential = await navigator.credentials.get({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey.challenge),
      allowCredentials: descriptors(publicKey.allowCredentials),
    },
  });
  if (!(credential instanceof PublicKeyCredential)) throw new Error(t`No passkey was used.`);
  const response = credential.response as AuthenticatorAssertionResponse;
  return answer(credential, {
    authenticatorData: base64url(response.authenticatorData),
    signature: base64url(response.signature),
    ...(response.userHandle === null ? {} : { userHandle: base64url(response.userHandle) }),
  });
}

function answer({ id, rawId, type, response }: PublicKeyCredential, more: object): object {
  const clientDataJSON = base64url(response.clientDataJSON);
  return { id, rawId: base64url(rawId), type, response: { clientDataJSON, ...more } };
}
