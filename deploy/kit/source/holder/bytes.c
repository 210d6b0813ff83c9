// A queue of bytes that gives its memory back when it is empty.
#include <stdlib.h>
#include <string.h>

#include "holder.h"

void bytes_add(struct bytes *queue, struct piece piece) {
  if (!piece.length) return;
  if (queue->start + queue->length + piece.length > queue->room) {
    if (queue->start) memmove(queue->at, queue->at + queue->start, queue->length);
    queue->start = 0;
    size_t room = queue->room ? queue->room : 512;
    while (room < queue->length + piece.length) room *= 2;
    if (room > queue->room) queue->at = need(realloc(queue->at, queue->room = room));
  }
  memcpy(queue->at + queue->start + queue->length, piece.at, piece.length);
  queue->length += piece.length;
}

void bytes_drop(struct bytes *queue, size_t count) {
  queue->start += count;
  queue->length -= count;
  if (!queue->length) bytes_free(queue);
}

void bytes_free(struct bytes *queue) {
  free(queue->at);
  *queue = (struct bytes){0};
}
