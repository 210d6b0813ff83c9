/** The colours of dim text. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { mixHalf } from "../src/terminal/contrast";

test("dim text is halfway to its background", () => {
  const black = { css: "#000000", rgba: 0x000000ff };
  const cyan = { css: "#00ffff", rgba: 0x00ffffff };
  assert.deepEqual(mixHalf(black, cyan), { css: "#008080", rgba: 0x008080ff });
  assert.deepEqual(mixHalf({ css: "#ffffff", rgba: 0xffffffff }, { css: "#fe0000", rgba: 0xfe0000ff }), {
    css: "#ff8080", rgba: 0xff8080ff,
  });
});
