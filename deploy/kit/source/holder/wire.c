// Converts frames of the terminal protocol to bytes and back: src/stagedoor/wire/terminal/codec.py does the same.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "holder.h"

// ---- Reading. A fault is a line of text; the first one is kept.

struct fields {
  const uint8_t *at, *end;
  const char *fault;
};

static char line[128];

__attribute__((format(printf, 2, 3))) static void blame(struct fields *fields, const char *text, ...) {
  if (fields->fault) return;
  va_list arguments;
  va_start(arguments, text);
  vsnprintf(line, sizeof line, text, arguments);
  va_end(arguments);
  fields->fault = line;
  fields->at = fields->end;
}

static uint64_t take(struct fields *fields, int bytes) {
  if (fields->end - fields->at < bytes) {
    blame(fields, "a frame that is cut short");
    return 0;
  }
  fields->at += bytes;
  return read_number(fields->at - bytes, bytes);
}

static uint64_t take_offset(struct fields *fields) {
  uint64_t number = take(fields, 8);
  if (number > MAX_OFFSET) blame(fields, "an offset beyond %llu", (unsigned long long)MAX_OFFSET);
  return number;
}

static struct size take_size(struct fields *fields) {
  struct size size;
  size.columns = (uint16_t)take(fields, 2);
  size.rows = (uint16_t)take(fields, 2);
  size.x_pixels = (uint16_t)take(fields, 2);
  size.y_pixels = (uint16_t)take(fields, 2);
  if (!size.columns || !size.rows || size.columns > MAX_SIZE || size.rows > MAX_SIZE)
    blame(fields, "a window of %u by %u; 1 to %d each", size.columns, size.rows, MAX_SIZE);
  return size;
}

// RFC 3629 §4.
static bool is_utf8(const uint8_t *at, const uint8_t *end) {
  while (at < end) {
    uint8_t first = *at++;
    int more = first < 0x80 ? 0 : first >= 0xc2 && first < 0xe0 ? 1 : first >= 0xe0 && first < 0xf0 ? 2
             : first >= 0xf0 && first < 0xf5 ? 3 : -1;
    if (more < 0 || end - at < more) return false;
    if (more && ((first == 0xe0 && *at < 0xa0) || (first == 0xed && *at > 0x9f) || (first == 0xf0 && *at < 0x90) ||
                 (first == 0xf4 && *at > 0x8f)))
      return false;
    for (; more; more--)
      if ((*at++ & 0xc0) != 0x80) return false;
  }
  return true;
}

static struct text take_text(struct fields *fields) {
  size_t length = take(fields, 2);
  if (!fields->fault && length > MAX_TEXT) blame(fields, "a text of %zu bytes; %d are the most", length, MAX_TEXT);
  if (!fields->fault && (size_t)(fields->end - fields->at) < length) blame(fields, "a frame that is cut short");
  if (fields->fault) return (struct text){"", 0};
  struct text text = {(const char *)fields->at, length};
  fields->at += length;
  if (!is_utf8(fields->at - length, fields->at)) blame(fields, "a text that is no UTF-8");
  else if (memchr(text.at, 0, length)) blame(fields, "a text with a NUL in it");
  return text;
}

static void take_hello(struct fields *fields, struct hello *hello) {
  unsigned mode = (unsigned)take(fields, 1);
  if (mode > WATCH) blame(fields, "%u is not a mode", mode);
  hello->mode = mode;
  hello->features = (uint32_t)take(fields, 4);
  hello->seen = take_offset(fields);
  hello->size = take_size(fields);
  struct text *texts[] = {&hello->ticket, &hello->terminal, &hello->attachment, &hello->term, &hello->lang, &hello->command};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) *texts[i] = take_text(fields);
}

// Reads a whole frame. Returns NULL, or a line that says what is wrong with it. Of a frame that only a holder sends, it
// reads no more than the kind: clients send none.
const char *wire_read(const uint8_t *data, size_t length, struct frame *frame) {
  struct fields fields = {.at = data, .end = data + length};
  memset(frame, 0, sizeof *frame);
  unsigned kind = (unsigned)take(&fields, 1);
  frame->kind = kind;
  switch (kind) {
    case HELLO:
      take_hello(&fields, &frame->hello);
      break;
    case IN:
      frame->at = take_offset(&fields);
      frame->data = fields.at;
      frame->length = (size_t)(fields.end - fields.at);
      if (!frame->length || frame->length > MAX_DATA) blame(&fields, "%zu bytes in one frame; 1 to %d are possible", frame->length, MAX_DATA);
      fields.at = fields.end;
      break;
    case ACK:
    case PING:
    case REMOVE:
      frame->at = take_offset(&fields);
      break;
    case LOCK:
      frame->at = take(&fields, 1);
      if (frame->at > 1) blame(&fields, "%u is neither yes nor no", (unsigned)frame->at);
      break;
    case RESIZE:
      frame->size = take_size(&fields);
      break;
    case DETACH:
      break;
    default:
      if (kind < WELCOME || kind > PEOPLE) blame(&fields, "an unknown frame, 0x%02x", kind);
      fields.at = fields.end;
  }
  if (fields.at != fields.end) blame(&fields, "%td bytes too many in %s", fields.end - fields.at, wire_name(kind));
  return fields.fault;
}

// Returns the kind's name, for messages.
const char *wire_name(unsigned kind) {
  static const char *const DOWN[] = {"HELLO", "IN", "ACK", "RESIZE", "PING", "DETACH", "REMOVE", "LOCK"};
  static const char *const UP[] = {"WELCOME", "OUT", "INACK", "GAP", "SNAPSHOT", "EXIT", "PONG", "SIZED", "NOTICE", "PEOPLE"};
  if (kind >= HELLO && kind <= LOCK) return DOWN[kind - HELLO];
  if (kind >= WELCOME && kind <= PEOPLE) return UP[kind - WELCOME];
  return "a frame";
}

// ---- Writing. The length comes before each frame.

#define HEAD (4 + 1 + 8 + 8 + 4 + 1 + 4 + 2)  // of the longest frame, WELCOME

static void send_frame(int link, enum kind kind, uint8_t *head, uint8_t *end, struct piece first, struct piece second) {
  put_number(head, (uint64_t)(end - head - 4) + first.length + second.length, 4);
  head[4] = kind;
  link_send(link, (struct piece[]){{head, (size_t)(end - head)}, first, second}, 3);
}

static const struct piece NOTHING = {"", 0};

void wire_welcome(int link, const char *attachment, uint64_t out_at, uint64_t in_at, enum mode mode, uint32_t features) {
  uint8_t head[HEAD], *at = put_number(put_number(put_number(put_number(head + 5, out_at, 8), in_at, 8), WINDOW, 4), mode, 1);
  at = put_number(at, features, 4);
  size_t length = strlen(attachment);
  send_frame(link, WELCOME, head, put_number(at, length, 2), (struct piece){attachment, length}, NOTHING);
}

void wire_out(int link, uint64_t offset, struct piece first, struct piece second) {
  uint8_t head[HEAD];
  send_frame(link, OUT, head, put_number(head + 5, offset, 8), first, second);
}

void wire_inack(int link, uint64_t to) {
  uint8_t head[HEAD];
  send_frame(link, INACK, head, put_number(head + 5, to, 8), NOTHING, NOTHING);
}

void wire_pong(int link, uint64_t number, bool busy) {
  uint8_t head[HEAD];
  send_frame(link, PONG, head, put_number(put_number(head + 5, number, 8), busy, 1), NOTHING, NOTHING);
}

void wire_gap(int link, uint64_t start, uint64_t end) {
  uint8_t head[HEAD];
  send_frame(link, GAP, head, put_number(put_number(head + 5, start, 8), end, 8), NOTHING, NOTHING);
}

void wire_snapshot(int link, const uint8_t *data, size_t length) {
  for (size_t done = 0, size; done < length; done += size) {
    uint8_t head[HEAD];
    size = length - done < MAX_DATA ? length - done : MAX_DATA;
    send_frame(link, SNAPSHOT, head, head + 5, (struct piece){data + done, size}, NOTHING);
  }
}

void wire_exit(int link, int32_t code, const char *signal) {
  uint8_t head[HEAD];
  size_t length = strlen(signal);
  send_frame(link, EXIT, head, put_number(put_number(head + 5, (uint32_t)code, 4), length, 2), (struct piece){signal, length}, NOTHING);
}

void wire_size(int link, struct size size) {
  uint8_t head[HEAD], *at = put_number(put_number(head + 5, size.columns, 2), size.rows, 2);
  send_frame(link, SIZE, head, put_number(put_number(at, size.x_pixels, 2), size.y_pixels, 2), NOTHING, NOTHING);
}

void wire_notice(int link, enum word word, const char *text) {
  uint8_t head[HEAD];
  size_t length = strlen(text);
  send_frame(link, NOTICE, head, put_number(put_number(head + 5, word, 1), length, 2), (struct piece){text, length}, NOTHING);
}

#define PERSON (8 + 1 + 1 + 1 + 4 + 2)

// Each name is marked as CLAIMED, which is 0: it is the one in its owner's HELLO.
void wire_people(int link, uint64_t you, bool rules, bool locked, const struct person *people, size_t count) {
  uint8_t head[HEAD];
  struct bytes all = {0};
  for (size_t i = 0; i < count; i++) {
    const struct person *each = &people[i];
    uint8_t fields[PERSON], *at = put_number(put_number(put_number(put_number(fields, each->number, 8), each->mode, 1), 0, 1), each->typed, 1);
    put_number(put_number(at, each->for_s, 4), each->name.length, 2);
    bytes_add(&all, (struct piece){fields, sizeof fields});
    bytes_add(&all, (struct piece){each->name.at, each->name.length});
  }
  uint8_t *end = put_number(put_number(put_number(put_number(head + 5, you, 8), rules, 1), locked, 1), count, 1);
  send_frame(link, PEOPLE, head, end, (struct piece){all.at + all.start, all.length}, NOTHING);
  bytes_free(&all);
}
