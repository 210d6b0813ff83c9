/**
 * The width of characters, and which of them share a cell, as tmux counts, since a new terminal runs tmux: the widths
 * of Unicode 11, and a character after a zero-width joiner is drawn into the cell before it (UAX 29, GB11: a family is
 * one picture). docs/decisions/0026-frontend.md has the measurements, and why this is not `addon-unicode-graphemes`.
 */

import { Unicode11Addon } from "@xterm/addon-unicode11";
import type { IUnicodeVersionProvider, Terminal } from "@xterm/xterm";

const JOINER = 0x200d;
/** A character's properties are a number: whether it joins, its width in two bits, and 24 bits for a provider's own use. */
const JOINS = 1;
const WIDTH = 0b110;
const AFTER_JOINER = 0b1000;
/** The printable characters of ASCII: none of them joins, and only a combining mark joins one of them. */
const [FIRST, LAST] = [0x20, 0x7e];
const [FIRST_TONE, LAST_TONE] = [0x1f3fb, 0x1f3ff];
const PICTOGRAPH = /\p{Extended_Pictographic}/u;

/** Return the provider `base` with emoji joined. `tone` is called for each skin tone. */
function makeJoiningProvider(base: IUnicodeVersionProvider, tone: () => void): IUnicodeVersionProvider {
  const plain = base.charProperties(FIRST, 0);
  return {
    version: "stagedoor",
    wcwidth: (code) => base.wcwidth(code),
    charProperties(code, preceding) {
      // Called for each character. Without this shortcut a MB of text takes the page a fifth longer.
      if (code >= FIRST && code <= LAST) return plain;
      if (preceding & AFTER_JOINER && PICTOGRAPH.test(String.fromCodePoint(code))) return (preceding & WIDTH) | JOINS;
      if (code >= FIRST_TONE && code <= LAST_TONE) tone();
      const properties = base.charProperties(code, preceding & ~AFTER_JOINER);
      return code === JOINER && properties & JOINS ? properties | AFTER_JOINER : properties;
    },
  };
}

const CLUSTER = /\p{Extended_Pictographic}[\ufe0f\p{Emoji_Modifier}]*(?:\u200d\p{Extended_Pictographic}[\ufe0f\p{Emoji_Modifier}]*)*/gu;
const MODIFIER = /\p{Emoji_Modifier}/u;

/**
 * Return the ranges of a line with an emoji and its skin tone. tmux gives the tone two cells of its own, and drawn apart
 * from its emoji it would be a second picture over the next character. All cells stay, with one picture drawn in them.
 */
export function modifiedEmoji(line: string): [number, number][] {
  return [...line.matchAll(CLUSTER)]
    .filter(([cluster]) => cluster.length > 2 && MODIFIER.test(cluster))
    .map((match) => [match.index, match.index + match[0].length]);
}

/** Join emoji in a terminal that is not open yet. */
export function joinEmoji(term: Pick<Terminal, "unicode"> & Partial<Pick<Terminal, "registerCharacterJoiner">>): void {
  let joins = false;
  // Rows are searched for such emoji only after the first one.
  const tone = (): void => {
    if (joins) return;
    joins = true;
    term.registerCharacterJoiner?.(modifiedEmoji);
  };
  // The add-on exposes its provider only to the terminal that it is activated with.
  const register = (base: IUnicodeVersionProvider) => term.unicode.register(makeJoiningProvider(base, tone));
  new Unicode11Addon().activate({ unicode: { register } } as unknown as Terminal);
  term.unicode.activeVersion = "stagedoor";
}
