import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFolder, parseOffer, encodePath, formatSize } from "../src/files/paths";

const hex = (text: string | Uint8Array): string => Buffer.from(text).toString("hex");
const offer = (text: string | Uint8Array): ReturnType<typeof parseOffer> => parseOffer(`StagedoorGet=${hex(text)}`);

test("a file is offered by its whole path", () => {
  assert.equal(offer("/root/a b.txt")?.shown, "/root/a b.txt");
  assert.equal(decodeURIComponent(offer("/root/你好")?.encoded ?? ""), "/root/你好");
  const bytes = Buffer.concat([Buffer.from("/tmp/"), Buffer.from([0xe9])]);
  assert.ok(offer(bytes)?.encoded.endsWith("%e9"), "a name need not be UTF-8");
});

test("what is no path, or not what it looks like, is no offer", () => {
  for (const text of ["", "a.txt", "../etc/passwd", "/root/../etc/passwd", "/..", "/a\0b", `/${"x".repeat(4096)}`])
    assert.equal(offer(text), undefined, text.slice(0, 20));
  for (const text of ["StagedoorGet=", "StagedoorGet=2", "StagedoorGet=zz", "StagedoorGet=2F", "File=x", `StagedoorGet=${"2f".repeat(1e6)}`])
    assert.equal(parseOffer(text), undefined, text.slice(0, 20));
});

test("a path that would be read as another shows what it holds", () => {
  assert.equal(offer("/a\x1b[2K\n\u202egnp.exe")?.shown, "/a\\x1b[2K\\x0a\\x202egnp.exe");
});

test("a shell says where it is", () => {
  assert.equal(parseFolder("file://host/root/a%20b")?.shown, "/root/a b");
  assert.equal(parseFolder("file:///srv")?.shown, "/srv");
  assert.equal(parseFolder("file:///a%e9")?.encoded, "%2f%61%e9");
  for (const text of ["", "/root", "http://host/root", "file://host", "file:///a%00b"]) assert.equal(parseFolder(text), undefined);
});

test("any text can be a path", () => {
  assert.equal(encodePath("~/\ud800").encoded, "%7e%2f%ef%bf%bd");
  assert.equal(encodePath("a&b#c?d").encoded, "%61%26%62%23%63%3f%64");
});

test("sizes are of few digits", () => {
  assert.deepEqual([0, 999, 1000, 12_345_678, 1_073_741_824].map(formatSize), ["0 B", "999 B", "1.0 KB", "12 MB", "1.1 GB"]);
});
