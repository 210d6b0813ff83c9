// One session of the endpoint: a stream between a connection to sshd and one connection of the client after another.
//
// It does the same as src/stagedoor/resume/session.py.
#ifndef STAGEDOOR_SESSION_H
#define STAGEDOOR_SESSION_H

#include <poll.h>

#include "stream.h"

enum end_code { CLOSED, LOST, REMOVED, AWAY, IDLE };  // of END: in order; sshd hung up; ended by the gateway; too long

struct session {
  struct stream stream;
  int sshd, link;                      // -1: none
  int64_t moved_at;                    // when the last byte came from sshd or went to it
  uint64_t sent, received;             // bytes that went to sshd and came from it
  int64_t alone_since;                 // since when no client is connected, or -1
  bool hung_up;                        // sshd has ended its direction
  bool deaf;                           // sshd takes no more bytes: what the client sends goes nowhere
  bool lost;                           // sshd's connection failed: END says so, after all its output
  bool ending, over;                   // `over`: nothing is left to do, and the caller should free it
  bool blocked_sshd, blocked_link;     // more can be written later
  enum end_code code;
  char why[MAX_WHY + 1];
  int64_t end_by;
};

void session_start(struct session *session, int sshd, int64_t now);
void session_free(struct session *session);
void session_connect(struct session *session, int link, int64_t now);
void session_receive(struct session *session, struct piece bytes, int64_t now);
void session_end(struct session *session, enum end_code code, const char *why, int64_t now);
void session_due(struct session *session, int64_t now);
void session_watch(const struct session *session, struct pollfd from[2]);
void session_serve(struct session *session, const struct pollfd from[2], int64_t now);

#endif
