// One end of a resumable tunnel: a state machine without I/O that survives any number of connections.
//
// It does the same as src/stagedoor/wire/tunnel/stream.py, which explains each step; both replay tests/wire/tunnels.json. Only
// the client's end sends PINGs. The local side is sshd, the peer is the client. A unit is a byte, or the end of a direction.
// Times are ms of a clock that only goes forward; -1 is none. Memory is never allocated by a number of the peer's.
#ifndef STAGEDOOR_STREAM_H
#define STAGEDOOR_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../kit.h"

#define TUNNEL_VERSION 1
#define HEAD 13                        // kind u8, number u64, length of the body u32
#define MAX_BODY (64 * 1024)           // of DATA
#define MAX_NUMBER (1ULL << 62)
#define TICKET 32
#define MAX_WHY 500                    // bytes in an END
#define TUNNEL_WINDOW (2 * 1024 * 1024)  // units of one direction without an ACK
#define ACK_AFTER (256 * 1024)
#define ACK_DELAY_MS 500

enum tunnel_kind { T_OPEN = 1, T_HELLO, T_DATA, T_FIN, T_ACK, T_PING, T_PONG, T_END };

// The bytes of a direction from the unit `first` on, in memory that is mapped when the first byte comes.
struct window {
  uint8_t *at;
  uint64_t first;
  size_t length, touched;              // touched: the bytes that were added since memory was given back
};

struct stream {
  bool connected, greeted;
  bool ended;                          // the peer's END came
  // The rest belongs to stream.c.
  struct window kept, pending;
  uint64_t acked, taken, next, top, received, delivered, ack_sent, pong, own_code;
  bool closed, fin_received, hello_due, pong_due, end_due, end_sent;
  uint8_t in[HEAD + MAX_WHY];          // a frame that is not complete, but not the body of a DATA
  size_t in_length, data_left;
  uint8_t out[6 * HEAD + 1 + MAX_WHY];
  size_t out_start, out_length, body_left;
  uint64_t body_at;
  char own_why[MAX_WHY];
  size_t own_why_length;
  int64_t ack_at;
};

void stream_start(struct stream *stream);
void stream_free(struct stream *stream);
void stream_give_back(struct stream *stream);
size_t stream_room(const struct stream *stream);
void stream_take(struct stream *stream, struct piece bytes);
void stream_take_end(struct stream *stream);
void stream_deliverable(const struct stream *stream, struct piece pieces[2]);
void stream_delivered(struct stream *stream, size_t count, int64_t now);
bool stream_end_is_deliverable(const struct stream *stream);
void stream_delivered_end(struct stream *stream, int64_t now);
uint64_t stream_unacknowledged(const struct stream *stream);
bool stream_is_finished(const struct stream *stream);
void stream_connect(struct stream *stream, int64_t now);
void stream_cut(struct stream *stream);
void stream_end(struct stream *stream, uint64_t code, struct piece why);
size_t stream_output(struct stream *stream, int64_t now, struct piece pieces[3]);
void stream_sent(struct stream *stream, size_t count);
bool stream_has_sent_end(const struct stream *stream);
const char *stream_receive(struct stream *stream, struct piece bytes);
int64_t stream_wake_at(const struct stream *stream);

#endif
