import assert from "node:assert/strict";
import { test } from "node:test";

(globalThis as { stagedoorWords?: object }).stagedoorWords = { "{0} of {1}": "{1} 的 {0}", "Close": "关闭" };
const { t } = await import("../src/language");

test("a text is in the page's language, with its values in that order", () => {
  assert.equal(t`Close`, "关闭");
  assert.equal(t`${1} of ${2}`, "2 的 1");
});

test("a text without a translation stays English, and a value is no text", () => {
  assert.equal(t`${"{1}"} of ${"secret"}`, "secret 的 {1}");
  assert.equal(t`Open ${"Close"}`, "Open Close");
});
