// The last KEEP bytes that the program has written, by their offsets from its first byte.
//
// A client for which output is held back never misses any: WINDOW and one read are less than KEEP.
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "holder.h"

static uint8_t *kept;
static uint64_t end;

// Maps the memory. The kernel allocates its pages when they are first written.
void ring_start(void) {
  kept = mmap(NULL, KEEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (kept == MAP_FAILED) die("out of memory: %s", strerror(errno));
}

uint64_t ring_end(void) { return end; }

uint64_t ring_first(void) { return end > KEEP ? end - KEEP : 0; }

// Returns where the next bytes go, over the oldest, and how many fit there in one piece.
uint8_t *ring_room(size_t *length) {
  *length = KEEP - end % KEEP;
  return kept + end % KEEP;
}

void ring_filled(size_t length) { end += length; }

// Sets `pieces` to the bytes from `at` on, which must be kept: one piece, or two where they wrap around.
void ring_read(uint64_t at, size_t length, struct piece pieces[2]) {
  size_t from = at % KEEP, first = KEEP - from < length ? KEEP - from : length;
  pieces[0] = (struct piece){kept + from, first};
  pieces[1] = (struct piece){kept, length - first};
}
