/** xterm.js's own computing of colours (its `src/common/Color.ts`, which its package has and does not export); see build.mjs. */
declare module "xterm-color" {
  interface Color {
    css: string;
  }
  export const css: { toColor(text: string): Color };
  export const color: { ensureContrastRatio(background: Color, foreground: Color, ratio: number): Color | undefined };
}
