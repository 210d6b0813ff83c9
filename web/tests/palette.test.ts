/** Which commands the palette finds, and in which order. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { findCommands, type Command } from "../src/palette/find";

const act = (): void => undefined;
const all: Command[] = ["Recordings", "api.staging", "Sign out", "billing-api", "api.production"].map((label) => ({ label, note: "", act }));
const labels = (typed: string): string[] => findCommands(all, typed).map(({ label }) => label);

test("commands that begin with what is typed come first, else the order stays", () => {
  assert.deepEqual(labels(""), ["Recordings", "api.staging", "Sign out", "billing-api", "api.production"]);
  assert.deepEqual(labels("api"), ["api.staging", "api.production", "billing-api"]);
  assert.deepEqual(labels("  PROD api "), ["api.production"]);
  assert.deepEqual(labels("nothing"), []);
});

test("no more are shown than fit a window", () => {
  const many = Array.from({ length: 500 }, (_, at) => ({ label: `app-${at}`, note: "", act }));
  assert.equal(findCommands(many, "app").length, 12);
});
