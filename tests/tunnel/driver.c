// Lets a test drive one end of a tunnel: a command on each line of stdin, its answer on a line of stdout. Bytes are in
// hexadecimal digits, and "-" is none.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../deploy/kit/source/tunnel/stream.h"

static struct stream stream;
static char line[8 * 1024 * 1024], text[8 * 1024 * 1024];

void die(const char *format, ...) {
  fputs(format, stderr);
  exit(1);
}

static int digit(char of) { return of <= '9' ? of - '0' : of - 'a' + 10; }

static struct piece unhex(const char *digits) {
  size_t length = strlen(digits) / 2;
  uint8_t *bytes = malloc(length + 1);
  for (size_t at = 0; at < length; at++) bytes[at] = (uint8_t)(digit(digits[2 * at]) << 4 | digit(digits[2 * at + 1]));
  return (struct piece){bytes, length};
}

static void print(const struct piece *pieces, int count, size_t limit) {
  size_t written = 0;
  for (int i = 0; i < count; i++) {
    const uint8_t *bytes = pieces[i].at;
    for (size_t at = 0; at < pieces[i].length && written < limit; at++, written++) {
      putchar("0123456789abcdef"[bytes[at] >> 4]);
      putchar("0123456789abcdef"[bytes[at] & 15]);
    }
  }
  puts(written ? "" : "-");
}

int main(void) {
  stream_start(&stream);
  while (fgets(line, sizeof line, stdin)) {
    char word[16] = "";
    long long now = 0, count = 0;
    *text = 0;
    sscanf(line, "%15s %lld %lld %s", word, &now, &count, text);
    struct piece bytes = unhex(text), pieces[3] = {{0}};
    if (!strcmp(word, "new")) {
      stream_free(&stream);
      stream_start(&stream);
      puts("ok");
    } else if (!strcmp(word, "connect")) {
      stream_connect(&stream, now);
      puts("ok");
    } else if (!strcmp(word, "cut")) {
      stream_cut(&stream);
      puts("ok");
    } else if (!strcmp(word, "take")) {
      stream_take(&stream, bytes);
      puts("ok");
    } else if (!strcmp(word, "take_end")) {
      stream_take_end(&stream);
      puts("ok");
    } else if (!strcmp(word, "in")) {
      const char *fault = stream_receive(&stream, bytes);
      puts(fault ? fault : "ok");
    } else if (!strcmp(word, "out")) {
      size_t length = stream_output(&stream, now, pieces);
      if ((size_t)count > length) count = (long long)length;
      print(pieces, 3, (size_t)count);
      stream_sent(&stream, (size_t)count);
    } else if (!strcmp(word, "deliver")) {
      stream_deliverable(&stream, pieces);
      size_t length = pieces[0].length + pieces[1].length;
      if ((size_t)count > length) count = (long long)length;
      print(pieces, 2, (size_t)count);
      if (count) stream_delivered(&stream, (size_t)count, now);
    } else if (!strcmp(word, "deliver_end")) {
      stream_delivered_end(&stream, now);
      puts("ok");
    } else if (!strcmp(word, "end")) {
      stream_end(&stream, (uint64_t)count, bytes);
      puts("ok");
    } else if (!strcmp(word, "state")) {
      printf("%zu %llu %d %d %d %d %lld %d\n", stream_room(&stream), (unsigned long long)stream_unacknowledged(&stream),
             stream.greeted, stream_end_is_deliverable(&stream), stream_is_finished(&stream), stream_has_sent_end(&stream),
             (long long)stream_wake_at(&stream), stream.ended);
    } else puts("no such command");
    free((void *)bytes.at);
    fflush(stdout);
  }
  stream_free(&stream);
}
