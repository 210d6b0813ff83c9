/**
 * WebAuthn's objects as JSON and back (Web Authentication Level 3 §5.1.8 to §5.1.10), by hand: browsers of 2024 have
 * passkeys, and not yet `toJSON`.
 */

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

export function base64url(data: ArrayBuffer): string {
  const plain = String.fromCharCode(...new Uint8Array(data));
  return btoa(plain).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function descriptors(known: Known[] | undefined): PublicKeyCredentialDescriptor[] {
  return (known ?? []).map((one) => ({ type: one.type, id: bytes(one.id) }));
}

/** Make a passkey; the answer for the gateway. */
export async function attestation({ publicKey }: Creation): Promise<object> {
  const made = await navigator.credentials.create({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey.challenge),
      user: { ...publicKey.user, id: bytes(publicKey.user.id) },
      excludeCredentials: descriptors(publicKey.excludeCredentials),
    },
  });
  if (!(made instanceof PublicKeyCredential)) throw new Error("No passkey was made.");
  const response = made.response as AuthenticatorAttestationResponse;
  return answer(made, { attestationObject: base64url(response.attestationObject) });
}

/** Prove that the person has one; the answer for the gateway. */
export async function assertion({ publicKey }: Request): Promise<object> {
  const made = await navigator.credentials.get({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey.challenge),
      allowCredentials: descriptors(publicKey.allowCredentials),
    },
  });
  if (!(made instanceof PublicKeyCredential)) throw new Error("No passkey was used.");
  const response = made.response as AuthenticatorAssertionResponse;
  return answer(made, {
    authenticatorData: base64url(response.authenticatorData),
    signature: base64url(response.signature),
    ...(response.userHandle === null ? {} : { userHandle: base64url(response.userHandle) }),
  });
}

function answer(made: PublicKeyCredential, more: object): object {
  const clientDataJSON = base64url(made.response.clientDataJSON);
  return { id: made.id, rawId: base64url(made.rawId), type: made.type, response: { clientDataJSON, ...more } };
}
