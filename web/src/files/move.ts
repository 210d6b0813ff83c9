/** Files on their way: tried again where they were cut, never held in the page's memory. */

import type { Path } from "./words";

const RETRY_MS = [200, 500, 1000, 2000, 5000];
/** Tries in a row that bring nothing, some minutes in all. */
const MAX_TRIES = 40;
/** A line on which nothing moves for so long is taken for cut: TCP would wait for many minutes. */
const SILENT_MS = 30_000;
/** Answers that may be another one soon. */
const SOON = [408, 429, 500, 502, 503, 504];

/** It cannot be done, in words for the person. */
export class Refused extends Error {}

/** How many bytes are there; `note` is what else is to be known. */
export type Tell = (done: number, note: string) => void;

export interface About {
  path: Path;
  kind: "file" | "folder" | "other";
  size: number;
}

class CutError extends Error {}

/** The gateway's side: `base` is `/api/files/APP` with what stands before it. */
export class Mover {
  constructor(private readonly base: string) {}

  async about(path: Path, signal?: AbortSignal): Promise<About> {
    const said = await this.ask("POST", `${this.base}?path=${path.encoded}`, signal);
    return {
      path: { encoded: String(said.path), shown: String(said.shown) },
      kind: said.kind as About["kind"],
      size: Number(said.size),
    };
  }

  address(path: Path): string {
    return `${this.base}?path=${path.encoded}`;
  }

  /** Send a file into a folder; the name that it has there. Throws Refused, or AbortError. */
  async send(file: File, folder: Path, name: Path, signal: AbortSignal, tell: Tell): Promise<string> {
    const id = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const upload = `${this.base}/upload?folder=${folder.encoded}&name=${name.encoded}&size=${file.size}&id=${id}`;
    let done = 0;
    try {
      return await again(signal, tell, async () => {
        const { offset } = await this.ask("POST", upload, signal);
        const at = Number(offset);
        tell(at, "");
        const came = at > done;
        done = Math.max(done, at);
        try {
          return await put(`${upload}&at=${at}`, file.slice(at), signal, (loaded) => tell(at + loaded, ""));
        } catch (error) {
          // A file that was changed, or has gone, cannot be read any more; nobody else says so.
          await file.slice(0, 1).arrayBuffer().catch(() => {
            throw new Refused("this device cannot read it any more");
          });
          throw error instanceof CutError && came ? new ProgressedError() : error;
        }
      }, () => done);
    } catch (error) {
      // A person who does not want it does not want a part of it either.
      if (signal.aborted) void fetch(upload, { method: "DELETE", keepalive: true }).catch(() => undefined);
      throw error;
    }
  }

  /** Take a file out, piece by piece onto this device's disk. Throws Refused, or AbortError. */
  async take(path: Path, size: number, handle: FileSystemFileHandle, signal: AbortSignal, tell: Tell): Promise<void> {
    const sink = await handle.createWritable();
    let at = 0;
    let tag = "";
    try {
      await again(signal, tell, async () => {
        const before = at;
        const silence = new Silence();
        try {
          const headers: HeadersInit = at > 0 && tag ? { range: `bytes=${at}-`, "if-range": tag } : {};
          const answer = await fetch(this.address(path), { headers, signal: AbortSignal.any([signal, silence.signal]), cache: "no-store" });
          if (!answer.ok) throw await wrong(answer);
          if (answer.status === 200 && at > 0) {
            // It is another file by now.
            at = 0;
            await sink.truncate(0);
            await sink.seek(0);
          }
          tag = answer.headers.get("etag") ?? "";
          const reader = answer.body?.getReader();
          for (let piece = await reader?.read(); piece?.value !== undefined; piece = await reader?.read()) {
            silence.broken();
            await sink.write(piece.value);
            at += piece.value.length;
            tell(at, "");
          }
          if (at < size) throw new CutError("it ended too early");
        } catch (error) {
          if (at > before && !(error instanceof Refused) && !signal.aborted) throw new ProgressedError();
          throw error;
        } finally {
          silence.over();
        }
      }, () => at);
      await sink.close();
    } catch (error) {
      await sink.abort().catch(() => undefined);
      throw error;
    }
  }

  private async ask(method: string, url: string, signal?: AbortSignal): Promise<Record<string, unknown>> {
    const patience = AbortSignal.timeout(SILENT_MS * 4); // a shell may have to start
    const answer = await fetch(url, { method, cache: "no-store", signal: signal ? AbortSignal.any([signal, patience]) : patience });
    if (!answer.ok) throw await wrong(answer);
    return (await answer.json()) as Record<string, unknown>;
  }
}

/** Gives its signal once nothing has happened for long. */
class Silence {
  private readonly control = new AbortController();
  private timer: number | undefined;
  readonly signal = this.control.signal;

  constructor() {
    this.broken();
  }

  /** Something has happened. */
  broken(): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.control.abort(), SILENT_MS);
  }

  over(): void {
    clearTimeout(this.timer);
  }
}

/** It was cut, but more is there than before. */
class ProgressedError extends CutError {}

async function wrong(answer: Response): Promise<Error> {
  const said = (await answer.json().catch(() => ({}))) as { message?: string };
  const text = said.message ?? `the gateway answers ${answer.status}`;
  return SOON.includes(answer.status) ? new CutError(text) : new Refused(text);
}

/** Do it until it is done, it is refused, or nothing has come of it for long. */
async function again<T>(signal: AbortSignal, tell: Tell, act: () => Promise<T>, done: () => number): Promise<T> {
  let why = "";
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    try {
      return await act();
    } catch (error) {
      if (signal.aborted || error instanceof Refused) throw error;
      if (error instanceof ProgressedError) tries = 0;
      why = error instanceof CutError && error.message ? error.message : "the line was cut";
    }
    tell(done(), `Cut, coming back: ${why}`);
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

/** Send bytes; the browser reads them from the disk as they go. fetch() tells no progress. */
function put(url: string, bytes: Blob, signal: AbortSignal, progress: (loaded: number) => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const silence = new Silence();
    const abort = (): void => request.abort();
    const cut = (): void => reject(new CutError("the line was cut"));
    request.open("PATCH", url);
    request.upload.onprogress = (event) => {
      silence.broken();
      progress(event.loaded);
    };
    request.onerror = request.ontimeout = cut;
    request.onabort = () => (signal.aborted ? reject(signal.reason as Error) : cut());
    request.onloadend = () => {
      silence.over();
      signal.removeEventListener("abort", abort);
    };
    request.onload = () => {
      const answer = new Response(request.responseText, { status: request.status || 500 });
      if (answer.ok) resolve((JSON.parse(request.responseText) as { name: string }).name);
      else void wrong(answer).then(reject, cut);
    };
    signal.addEventListener("abort", abort);
    silence.signal.addEventListener("abort", abort);
    request.send(bytes);
  });
}
