/** Byte strings. */

/** Return the pieces joined, in an array of its own. */
export function copyBytes(pieces: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Return the pieces joined. A single piece is returned as it is. */
export function joinBytes(pieces: Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer>;
export function joinBytes(pieces: Uint8Array[]): Uint8Array;
export function joinBytes(pieces: Uint8Array[]): Uint8Array {
  const [only] = pieces;
  return pieces.length === 1 && only !== undefined ? only : copyBytes(pieces);
}
