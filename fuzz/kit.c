// The kit's endpoint of tunnels under libFuzzer: a gateway's lines and its tickets, and a client's frames.
//
// The first byte of an input chooses which of them the rest is. Sanitizers look for faults of memory, and `check` for states that
// stream.h excludes.
#include "../deploy/kit/source/holder/links.c"
#undef READ
#include "../deploy/kit/source/tunnel/endpoint.c"

#define UNUSED_PORT 1  // a port at which no sshd listens

static void check(bool right) {
  if (!right) abort();
}

static void check_stream(const struct stream *stream) {
  struct piece pieces[2];
  stream_deliverable(stream, pieces);
  check(pieces[0].length + pieces[1].length <= TUNNEL_WINDOW);
  check(stream_room(stream) <= TUNNEL_WINDOW);
  check(stream_unacknowledged(stream) <= TUNNEL_WINDOW + 1);
}

// Each step is a byte that says what happens, and one that says how much.
static void fuzz_frames(const uint8_t *at, size_t length) {
  static struct stream stream;
  struct piece pieces[3];
  int64_t now = 0;
  stream_start(&stream);
  while (length >= 2) {
    size_t count = at[1], bytes = count < length - 2 ? count : length - 2;
    switch (*at % 8) {
      case 0: stream_connect(&stream, now); break;
      case 1: stream_cut(&stream); break;
      case 2: if (stream_room(&stream) >= count) stream_take(&stream, (struct piece){at, 1 + count % 2}); break;
      case 3:
        bytes = stream_output(&stream, now, pieces);
        stream_sent(&stream, bytes < count ? bytes : count);
        bytes = 0;
        break;
      case 4:
        stream_deliverable(&stream, pieces);
        bytes = pieces[0].length + pieces[1].length;
        if (bytes) stream_delivered(&stream, bytes < count ? bytes : count, now);
        else if (stream_end_is_deliverable(&stream)) stream_delivered_end(&stream, now);
        bytes = 0;
        break;
      case 5: now += (int64_t)count * 100; break;
      default:
        if (stream.connected && stream_receive(&stream, (struct piece){at + 2, bytes})) stream_cut(&stream);
        at += bytes;
        length -= bytes;
    }
    check_stream(&stream);
    at += 2;
    length -= 2;
  }
  stream_free(&stream);
}

// Makes a link of a socket whose other end is closed, with `received` on it.
static void make_link(int number, int kind, struct piece received) {
  int ends[2];
  check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
  close(ends[1]);
  links[number] = (struct link){.fd = ends[0], .attached = kind == CONTROL};
  kinds[number] = kind;
  bytes_add(&links[number].received, received);
}

// The lines of a gateway, and after a zero byte what a client sends behind the ticket, if there is one.
static void fuzz_lines(const uint8_t *at, size_t length) {
  const uint8_t *end = memchr(at, 0, length);
  struct piece lines = {at, end ? (size_t)(end - at) : length}, frames = {0};
  if (end) frames = (struct piece){end + 1, length - lines.length - 1};
  make_link(0, CONTROL, lines);
  take_lines(0, 1);
  for EACH(kept) {
    uint8_t ticket[HEAD + TICKET] = {T_OPEN, [HEAD - 1] = TICKET};
    memcpy(ticket + HEAD, kept->ticket, TICKET);
    make_link(1, DATA, (struct piece){ticket, sizeof ticket});
    bytes_add(&links[1].received, frames);
    take_ticket(1, 2);
    if (links[1].fd) drop(1, 2);
    break;
  }
  tidy(TICKET_MS * 1000);
  if (links[0].fd) drop(0, 3);
  for EACH(kept) {
    check_stream(&kept->session.stream);
    session_free(&kept->session);
    free(kept->owner);
    kept->used = false;
  }
  places = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!size) return 0;
  endpoint_prepare();
  sshd_port = UNUSED_PORT;
  if (*data & 1) fuzz_frames(data + 1, size - 1);
  else fuzz_lines(data + 1, size - 1);
  return 0;
}
