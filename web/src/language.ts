/** The texts of scripts in the page's language. */

/** The texts by their English; the gateway's script has set them, unless the page is English. */
const texts = (globalThis as { stagedoorWords?: Partial<Record<string, string>> }).stagedoorWords ?? {};

/**
 * Return an English text of the code in the page's language, with its values: t`${name} has left`. The catalogue has it
 * as `{0} has left`; a text that it lacks stays English.
 */
export function t(pieces: TemplateStringsArray, ...values: unknown[]): string {
  const english = pieces.reduce((text, piece, at) => `${text}{${at - 1}}${piece}`);
  return (texts[english] ?? english).replace(/\{(\d+)\}/g, (_, at: string) => String(values[Number(at)]));
}
