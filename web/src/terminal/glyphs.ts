/**
 * Glyphs that fit their cells. A font may draw a character wider than its cells, above all an emoji of one cell, which
 * would cover the next character. xterm.js pulls that back by a negative letter spacing and leaves the glyph as it is;
 * here the glyph is drawn smaller. Names with an underscore are xterm.js's own; if they are missing, glyphs stay as they are.
 */

import type { Terminal } from "@xterm/xterm";
import type { Cell, Colour } from "./contrast";

interface WidthCache {
  get(chars: string, bold: boolean, italic: boolean): number;
}

/** xterm.js's own maker of a row's elements. */
interface RowFactory {
  createRow?(...parts: unknown[]): HTMLElement[];
  _applyMinimumContrast?(element: HTMLElement, background: Colour, foreground: Colour, cell: Cell, ...more: unknown[]): boolean;
}

interface Core {
  _renderService?: { _renderer?: { value?: { _rowFactory?: RowFactory } } };
}

export function findRowFactory(term: Terminal): RowFactory | undefined {
  return (term as unknown as { _core?: Core })._core?._renderService?._renderer?.value?._rowFactory;
}

/** The part of a cell by which a glyph may be too wide, since fonts differ by fractions of a pixel. */
const SLACK = 0.15;
const CELL_WIDTH = 7;
const WIDTHS = 8;

/** Fit glyphs of a terminal that is open. */
export function fitGlyphs(term: Terminal): void {
  const factory = findRowFactory(term);
  const create = factory?.createRow?.bind(factory);
  if (factory === undefined || create === undefined) return;
  const segmenter = new Intl.Segmenter();
  factory.createRow = (...parts) => {
    const spans = create(...parts);
    const [cell, widths] = [Number(parts[CELL_WIDTH]), parts[WIDTHS] as WidthCache];
    for (const span of spans) {
      const spacing = Number.parseFloat(span.style.letterSpacing);
      if (spacing < -SLACK * cell) shrink(span, spacing, widths, segmenter);
    }
    return spans;
  };
}

/** Draw the characters of a span, each of them too wide by `-spacing`, as wide as their cells. */
function shrink(span: HTMLElement, spacing: number, widths: WidthCache, segmenter: Intl.Segmenter): void {
  const text = span.textContent ?? "";
  const characters = [...segmenter.segment(text)];
  const first = characters[0]?.segment ?? "";
  const natural = widths.get(first, span.classList.contains("xterm-bold"), span.classList.contains("xterm-italic"));
  if (natural + spacing <= 0) return;
  const glyphs = document.createElement("span");
  glyphs.textContent = text;
  glyphs.style.transform = `scale(${(natural + spacing) / natural})`;
  glyphs.style.transformOrigin = "0 50%";
  span.style.letterSpacing = "0";
  span.style.width = `${characters.length * (natural + spacing)}px`;
  span.replaceChildren(glyphs);
}
