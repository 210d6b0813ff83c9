/** The transfer of files, which resumes after an interruption and never holds a file in the page's memory. */

import type { Path } from "./paths";
import { t } from "../language";

const RETRY_MS = [200, 500, 1000, 2000, 5000];
/** The most attempts in a row without progress, a few minutes in all. */
const MAX_TRIES = 40;
/** A connection without progress for this long counts as cut. TCP would wait for many minutes. */
const SILENT_MS = 30_000;
/** Status codes that are worth a retry. */
const RETRY_STATUS = [408, 429, 500, 502, 503, 504];

/** A transfer that is impossible; the message is for the user. */
export class Refused extends Error {}

/** Called with the bytes transferred so far, and a note for the user. */
export type Progress = (done: number, note: string) => void;

/** An entry of a folder; its name is percent-encoded. */
export interface Entry {
  name: string;
  shown: string;
  folder: boolean;
  size: number;
}

interface About {
  entries: Entry[];
  path: Path;
  kind: "file" | "folder" | "other";
  size: number;
}

class CutError extends Error {}

/** The gateway's API for files; `base` is the path of `/api/files/APP`, with the gateway's prefix. */
export class Mover {
  constructor(private readonly base: string) {}

  /** Return what is at a path; with `list`, the entries of a folder too. */
  async about(path: Path, signal?: AbortSignal, list = false): Promise<About> {
    const said = await this.request("POST", `${this.base}?path=${path.encoded}${list ? "&list=" : ""}`, signal);
    return {
      entries: (said.entries ?? []) as Entry[],
      path: { encoded: String(said.path), shown: String(said.shown) },
      kind: said.kind as About["kind"],
      size: Number(said.size),
    };
  }

  address(path: Path): string {
    return `${this.base}?path=${path.encoded}`;
  }

  /** Upload a file into a folder. Return the name that it has there. Throws Refused, or AbortError. */
  async upload(file: File, folder: Path, name: Path, signal: AbortSignal, report: Progress): Promise<string> {
    const id = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const url = `${this.base}/upload?folder=${folder.encoded}&name=${name.encoded}&size=${file.size}&id=${id}`;
    let done = 0;
    try {
      return await retry(signal, report, async () => {
        const { offset } = await this.request("POST", url, signal);
        const at = Number(offset);
        report(at, "");
        const came = at > done;
        done = Math.max(done, at);
        try {
          return await sendBytes(`${url}&at=${at}`, file.slice(at), signal, (loaded) => report(at + loaded, ""));
        } catch (error) {
          // A changed or removed file cannot be read any more, which the failed request does not say.
          await file.slice(0, 1).arrayBuffer().catch(() => {
            throw new Refused(t`this device cannot read it any more`);
          });
          throw error instanceof CutError && came ? new ProgressedError() : error;
        }
      }, () => done);
    } catch (error) {
      // A cancelled upload leaves no partial file.
      if (signal.aborted) void fetch(url, { method: "DELETE", keepalive: true }).catch(() => undefined);
      throw error;
    }
  }

  /** Download a file piece by piece to this device's disk. Throws Refused, or AbortError. */
  async download(path: Path, size: number, handle: FileSystemFileHandle, signal: AbortSignal, report: Progress): Promise<void> {
    const sink = await handle.createWritable();
    let at = 0;
    let tag = "";
    try {
      await retry(signal, report, async () => {
        const before = at;
        const watchdog = new Watchdog();
        try {
          const headers: HeadersInit = at > 0 && tag ? { range: `bytes=${at}-`, "if-range": tag } : {};
          const answer = await fetch(this.address(path), { headers, signal: AbortSignal.any([signal, watchdog.signal]), cache: "no-store" });
          if (!answer.ok) throw await readError(answer);
          if (answer.status === 200 && at > 0) {
            // The file has changed, so begin again.
            at = 0;
            await sink.truncate(0);
            await sink.seek(0);
          }
          tag = answer.headers.get("etag") ?? "";
          const reader = answer.body?.getReader();
          for (let piece = await reader?.read(); piece?.value !== undefined; piece = await reader?.read()) {
            watchdog.reset();
            await sink.write(piece.value);
            at += piece.value.length;
            report(at, "");
          }
          if (at < size) throw new CutError(t`it ended too early`);
        } catch (error) {
          if (at > before && !(error instanceof Refused) && !signal.aborted) throw new ProgressedError();
          throw error;
        } finally {
          watchdog.stop();
        }
      }, () => at);
      await sink.close();
    } catch (error) {
      await sink.abort().catch(() => undefined);
      throw error;
    }
  }

  private async request(method: string, url: string, signal?: AbortSignal): Promise<Record<string, unknown>> {
    const deadline = AbortSignal.timeout(SILENT_MS * 4); // a shell may have to start
    const answer = await fetch(url, { method, cache: "no-store", signal: signal ? AbortSignal.any([signal, deadline]) : deadline });
    if (!answer.ok) throw await readError(answer);
    return (await answer.json()) as Record<string, unknown>;
  }
}

/** A watchdog whose signal aborts after `SILENT_MS` without progress. */
class Watchdog {
  private readonly control = new AbortController();
  private timer: number | undefined;
  readonly signal = this.control.signal;

  constructor() {
    this.reset();
  }

  /** Note progress. */
  reset(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.control.abort(), SILENT_MS);
  }

  stop(): void {
    clearTimeout(this.timer);
  }
}

/** An interruption after some progress. */
class ProgressedError extends CutError {}

async function readError(answer: Response): Promise<Error> {
  const said = (await answer.json().catch(() => ({}))) as { message?: string };
  const text = said.message ?? t`the gateway answered with status ${answer.status}`;
  return RETRY_STATUS.includes(answer.status) ? new CutError(text) : new Refused(text);
}

/** Run `act` again until it succeeds, is refused, or makes no progress for `MAX_TRIES` attempts. */
async function retry<T>(signal: AbortSignal, report: Progress, act: () => Promise<T>, done: () => number): Promise<T> {
  let why = "";
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    try {
      return await act();
    } catch (error) {
      if (signal.aborted || error instanceof Refused) throw error;
      if (error instanceof ProgressedError) tries = 0;
      why = error instanceof CutError && error.message ? error.message : t`the connection was lost`;
    }
    report(done(), t`Interrupted, trying again: ${why}`);
    await pause(RETRY_MS[Math.min(tries, RETRY_MS.length - 1)] ?? 0, signal);
  }
  throw new Refused(why);
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const over = (): void => {
      clearTimeout(timer);
      removeEventListener("online", over);
      signal.removeEventListener("abort", over);
      if (signal.aborted) reject(signal.reason as Error);
      else resolve();
    };
    const timer = setTimeout(over, ms);
    addEventListener("online", over);
    signal.addEventListener("abort", over);
  });
}

/** Send bytes, which the browser reads from the disk. fetch() does not report the progress of an upload. */
function sendBytes(url: string, bytes: Blob, signal: AbortSignal, progress: (loaded: number) => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const watchdog = new Watchdog();
    const abort = (): void => request.abort();
    const cut = (): void => reject(new CutError(t`the connection was lost`));
    request.open("PATCH", url);
    request.upload.onprogress = (event) => {
      watchdog.reset();
      progress(event.loaded);
    };
    request.onerror = request.ontimeout = cut;
    request.onabort = () => (signal.aborted ? reject(signal.reason as Error) : cut());
    request.onloadend = () => {
      watchdog.stop();
      signal.removeEventListener("abort", abort);
    };
    request.onload = () => {
      const answer = new Response(request.responseText, { status: request.status || 500 });
      if (answer.ok) resolve((JSON.parse(request.responseText) as { name: string }).name);
      else void readError(answer).then(reject, cut);
    };
    signal.addEventListener("abort", abort);
    watchdog.signal.addEventListener("abort", abort);
    request.send(bytes);
  });
}
