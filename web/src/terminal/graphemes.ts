/**
 * How wide characters are, and which of them share a cell: as tmux counts, since a new terminal is tmux. Unicode 11's
 * widths, and what stands after a zero-width joiner is drawn into the cell before it (UAX 29, GB11: a family is one
 * picture). docs/decisions/0026-frontend.md has what was measured, and why it is not `addon-unicode-graphemes`.
 */

import { Unicode11Addon } from "@xterm/addon-unicode11";
import type { IUnicodeVersionProvider, Terminal } from "@xterm/xterm";

const JOINER = 0x200d;
/** A character's properties are a number: whether it joins, its width in two bits, and 24 bits for a provider's own use. */
const JOINS = 1;
const WIDTH = 0b110;
const AFTER_JOINER = 0b1000;
/** The printable characters of ASCII: none of them joins, and nothing but a mark joins one of them. */
const [FIRST, LAST] = [0x20, 0x7e];
const PICTOGRAPH = /\p{Extended_Pictographic}/u;

/** Of that version, with emoji joined. */
function joined(base: IUnicodeVersionProvider): IUnicodeVersionProvider {
  const plain = base.charProperties(FIRST, 0);
  return {
    version: "stagedoor",
    wcwidth: (code) => base.wcwidth(code),
    charProperties(code, preceding) {
      // Asked for each character that is shown. Without this a MB of text costs the page a fifth more.
      if (code >= FIRST && code <= LAST) return plain;
      if (preceding & AFTER_JOINER && PICTOGRAPH.test(String.fromCodePoint(code))) return (preceding & WIDTH) | JOINS;
      const found = base.charProperties(code, preceding & ~AFTER_JOINER);
      return code === JOINER && found & JOINS ? found | AFTER_JOINER : found;
    },
  };
}

export function joinEmoji(term: Pick<Terminal, "unicode">): void {
  // The add-on registers its provider with what it is given, and has no other way to it.
  const register = (base: IUnicodeVersionProvider) => term.unicode.register(joined(base));
  new Unicode11Addon().activate({ unicode: { register } } as unknown as Terminal);
  term.unicode.activeVersion = "stagedoor";
}
