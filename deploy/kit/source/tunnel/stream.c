// One end of a resumable tunnel; stream.h says what it is.
#include "stream.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define SMALL (16 * 1024)  // bytes of an empty window that are not worth a system call

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// ---- A window: the byte of unit N is at N modulo TUNNEL_WINDOW.

static void window_add(struct window *window, struct piece bytes) {
  if (!bytes.length) return;
  if (!window->at) {
    window->at = mmap(NULL, TUNNEL_WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (window->at == MAP_FAILED) die("out of memory: %s", strerror(errno));
  }
  size_t to = (window->first + window->length) % TUNNEL_WINDOW, before_end = smaller(bytes.length, TUNNEL_WINDOW - to);
  memcpy(window->at + to, bytes.at, before_end);
  memcpy(window->at, bytes.at + before_end, bytes.length - before_end);
  window->length += bytes.length;
  window->touched += bytes.length;
}

// Drops the first `count` units.
static void window_drop(struct window *window, uint64_t count) {
  window->first += count;
  window->length -= smaller(count, window->length);
}

static void window_give_back(struct window *window) {
  if (window->length || window->touched <= SMALL) return;
  madvise(window->at, TUNNEL_WINDOW, MADV_DONTNEED);
  window->touched = 0;
}

// Sets `pieces` to `length` bytes from unit `at` on: one piece, or two where they wrap around.
static void window_read(const struct window *window, uint64_t at, size_t length, struct piece pieces[2]) {
  pieces[0] = pieces[1] = (struct piece){NULL, 0};
  if (!length) return;
  size_t from = at % TUNNEL_WINDOW, first = smaller(length, TUNNEL_WINDOW - from);
  pieces[0] = (struct piece){window->at + from, first};
  pieces[1] = (struct piece){window->at, length - first};
}

void stream_start(struct stream *stream) {
  memset(stream, 0, sizeof *stream);
  stream->ack_at = -1;
}

void stream_free(struct stream *stream) {
  if (stream->kept.at) munmap(stream->kept.at, TUNNEL_WINDOW);
  if (stream->pending.at) munmap(stream->pending.at, TUNNEL_WINDOW);
  stream->kept.at = stream->pending.at = NULL;
}

// Gives the memory of empty windows back. Called now and then: each page that is touched again costs a fault.
void stream_give_back(struct stream *stream) {
  window_give_back(&stream->kept);
  window_give_back(&stream->pending);
}

// ---- The local side.

size_t stream_room(const struct stream *stream) { return stream->closed ? 0 : TUNNEL_WINDOW - stream->kept.length; }

// Takes bytes from the local side, at most `stream_room` of them.
void stream_take(struct stream *stream, struct piece bytes) {
  window_add(&stream->kept, bytes);
  stream->taken += bytes.length;
}

void stream_take_end(struct stream *stream) {
  stream->taken += !stream->closed;
  stream->closed = true;
}

void stream_deliverable(const struct stream *stream, struct piece pieces[2]) {
  window_read(&stream->pending, stream->pending.first, stream->pending.length, pieces);
}

static void acknowledge(struct stream *stream, uint64_t units, int64_t now) {
  stream->delivered += units;
  if (stream->delivered - stream->ack_sent >= ACK_AFTER) stream->ack_at = now;
  else if (stream->ack_at < 0) stream->ack_at = now + ACK_DELAY_MS;
}

void stream_delivered(struct stream *stream, size_t count, int64_t now) {
  window_drop(&stream->pending, count);
  acknowledge(stream, count, now);
}

bool stream_end_is_deliverable(const struct stream *stream) {
  return stream->fin_received && !stream->pending.length && stream->delivered < stream->received;
}

void stream_delivered_end(struct stream *stream, int64_t now) {
  acknowledge(stream, 1, now);
  stream->ack_at = now;
}

uint64_t stream_unacknowledged(const struct stream *stream) { return stream->taken - stream->acked; }

bool stream_is_finished(const struct stream *stream) {
  bool sent = stream->closed && stream->acked == stream->taken;
  return sent && stream->fin_received && stream->delivered == stream->received;
}

// ---- The connection.

void stream_cut(struct stream *stream) {
  stream->connected = stream->greeted = stream->hello_due = stream->end_sent = stream->pong_due = false;
  stream->in_length = stream->data_left = stream->out_length = stream->body_left = 0;
  stream->ack_at = -1;
}

void stream_connect(struct stream *stream, int64_t now) {
  stream_cut(stream);
  stream->connected = stream->hello_due = true;
  if (stream->delivered) stream->ack_at = now;  // the last ACK may have been lost
}

// Sends END, and nothing after it. Only the first call counts.
void stream_end(struct stream *stream, uint64_t code, struct piece why) {
  if (stream->end_due) return;
  stream->end_due = true;
  stream->own_code = code;
  stream->own_why_length = smaller(why.length, MAX_WHY);
  if (stream->own_why_length) memcpy(stream->own_why, why.at, stream->own_why_length);
}

static void put_head(struct stream *stream, enum tunnel_kind kind, uint64_t number, size_t length) {
  put_number(put_number(put_number(stream->out + stream->out_length, kind, 1), number, 8), length, 4);
  stream->out_length += HEAD;
}

static void fill(struct stream *stream, int64_t now) {
  stream->out_start = 0;
  if (stream->hello_due) {
    stream->hello_due = false;
    put_head(stream, T_HELLO, stream->received, 1);
    stream->out[stream->out_length++] = TUNNEL_VERSION;
  }
  if (stream->end_due && !stream->end_sent) {
    put_head(stream, T_END, stream->own_code, stream->own_why_length);
    memcpy(stream->out + stream->out_length, stream->own_why, stream->own_why_length);
    stream->out_length += stream->own_why_length;
    stream->end_sent = true;
  }
  if (stream->end_sent || !stream->greeted) return;
  if (stream->pong_due) put_head(stream, T_PONG, stream->pong, 0);
  stream->pong_due = false;
  uint64_t begins = stream->next, stop = stream->acked + stream->kept.length;
  if (stop > begins + MAX_BODY) stop = begins + MAX_BODY;
  if (stream->ack_at >= 0 && (begins < stream->taken || now >= stream->ack_at)) {
    put_head(stream, T_ACK, stream->delivered, 0);
    stream->ack_sent = stream->delivered;
    stream->ack_at = -1;
  }
  if (begins < stop) {
    put_head(stream, T_DATA, begins, (size_t)(stop - begins));
    stream->body_at = begins;
    stream->body_left = (size_t)(stop - begins);
    stream->next = stop;
  } else if (begins < stream->taken) {
    put_head(stream, T_FIN, begins, 0);
    stream->next++;
  }
  if (stream->next > stream->top) stream->top = stream->next;
}

// Sets `pieces` to the bytes to write to the connection now, and returns how many there are.
size_t stream_output(struct stream *stream, int64_t now, struct piece pieces[3]) {
  if (!stream->out_length && !stream->body_left && stream->connected) fill(stream, now);
  pieces[0] = (struct piece){stream->out + stream->out_start, stream->out_length};
  window_read(&stream->kept, stream->body_at, stream->body_left, pieces + 1);
  return stream->out_length + stream->body_left;
}

void stream_sent(struct stream *stream, size_t count) {
  size_t of_out = smaller(count, stream->out_length);
  stream->out_start += of_out;
  stream->out_length -= of_out;
  stream->body_at += count - of_out;
  stream->body_left -= count - of_out;
}

bool stream_has_sent_end(const struct stream *stream) { return stream->end_sent && !stream->out_length; }

// ---- What arrives. A fault is a line for the log; after one the caller drops the connection.

static const char *receive_hello(struct stream *stream, uint64_t received) {
  if (received < stream->acked || received > stream->top) return "HELLO asks for a unit that is not kept";
  stream->greeted = true;
  stream->next = received;
  return NULL;
}

static const char *receive_ack(struct stream *stream, uint64_t acknowledged) {
  if (acknowledged < stream->acked || acknowledged > stream->next) return "an ACK of units that were not sent";
  window_drop(&stream->kept, acknowledged - stream->acked);
  stream->acked = acknowledged;
  return NULL;
}

// Takes a frame; of DATA it is the head.
static const char *receive_frame(struct stream *stream, unsigned kind, uint64_t number, size_t length) {
  if (kind == T_HELLO && !stream->greeted) return receive_hello(stream, number);
  if (kind == T_END) {
    stream->ended = true;
    return NULL;
  }
  if (!stream->greeted) return "a frame came before HELLO";
  bool expected = !stream->fin_received && number == stream->received;
  switch (kind) {
    case T_DATA:
      if (!expected) return "a unit is out of order";
      if (stream->pending.length + length > TUNNEL_WINDOW) return "more bytes than the window without an ACK";
      stream->data_left = length;
      return NULL;
    case T_FIN:
      if (!expected) return "a unit is out of order";
      stream->fin_received = true;
      stream->received++;
      return NULL;
    case T_ACK:
      return receive_ack(stream, number);
    case T_PING:
      stream->pong = number;
      stream->pong_due = true;
      return NULL;
    case T_PONG:
      return NULL;
  }
  return "a frame that does not belong here";
}

static bool may_have(unsigned kind, uint64_t number, size_t length) {
  if (number > MAX_NUMBER) return false;
  switch (kind) {
    case T_OPEN: return length == TICKET;
    case T_HELLO: return length >= 1 && length <= 64;
    case T_DATA: return length >= 1 && length <= MAX_BODY;
    case T_END: return length <= MAX_WHY;
    case T_FIN: case T_ACK: case T_PING: case T_PONG: return length == 0;
  }
  return false;
}

// Takes the next bytes of the frame in `in`. Returns how many it took; 0 and a `fault` if they cannot be right.
static size_t receive_part(struct stream *stream, struct piece bytes, const char **fault) {
  size_t length = 0, wanted = HEAD;
  if (stream->in_length >= HEAD) wanted += read_number(stream->in + 9, 4);
  size_t count = smaller(bytes.length, wanted - stream->in_length);
  memcpy(stream->in + stream->in_length, bytes.at, count);
  stream->in_length += count;
  if (stream->in_length < HEAD) return count;
  unsigned kind = stream->in[0];
  uint64_t number = read_number(stream->in + 1, 8);
  length = read_number(stream->in + 9, 4);
  if (!may_have(kind, number, length)) {
    *fault = "no frame";
    return 0;
  }
  if (kind != T_DATA && stream->in_length < HEAD + length) return count;
  stream->in_length = 0;
  *fault = receive_frame(stream, kind, number, length);
  return count;
}

// Takes bytes from the connection. Returns NULL, or a fault.
const char *stream_receive(struct stream *stream, struct piece bytes) {
  const char *fault = NULL;
  while (bytes.length && !stream->ended) {
    size_t count = smaller(bytes.length, stream->data_left);
    if (count) {
      window_add(&stream->pending, (struct piece){bytes.at, count});
      stream->received += count;
      stream->data_left -= count;
    } else count = receive_part(stream, bytes, &fault);
    if (fault) return fault;
    bytes.at += count;
    bytes.length -= count;
  }
  return NULL;
}

// Returns when stream_output must be called again, or -1 if not before the next event.
int64_t stream_wake_at(const struct stream *stream) { return stream->greeted ? stream->ack_at : -1; }
