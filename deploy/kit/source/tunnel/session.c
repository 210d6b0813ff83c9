// One session of the endpoint; session.h says what it is.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "session.h"

#define READ (256 * 1024)
#define TURNS 8            // frames that a session sends before the others have their turn
#define END_MS 5000        // for a client to read an END
#define LAST_BYTES_MS 10000  // for a client that is away to come back for the last bytes of an sshd that has hung up

static uint8_t data[READ];

// Takes a connection to sshd, which may not be complete yet.
void session_start(struct session *session, int sshd, int64_t now) {
  *session = (struct session){.sshd = sshd, .link = -1, .moved_at = now, .alone_since = now};
  stream_start(&session->stream);
}

static void drop_sshd(struct session *session) {
  if (session->sshd >= 0) close(session->sshd);
  session->sshd = -1;
}

static void drop_link(struct session *session, int64_t now) {
  if (session->link < 0) return;
  close(session->link);
  session->link = -1;
  session->alone_since = now;
  session->blocked_link = false;
  stream_cut(&session->stream);
}

void session_free(struct session *session) {
  drop_sshd(session);
  drop_link(session, 0);
  stream_free(&session->stream);
}

// Passes what the client has sent to sshd. After an error sshd is deaf: what it has sent before can still be read, and the
// error is reported there.
static void deliver(struct session *session, int64_t now) {
  struct stream *stream = &session->stream;
  struct piece pieces[2];
  session->blocked_sshd = false;
  while (stream_deliverable(stream, pieces), pieces[0].length && !session->blocked_sshd) {
    ssize_t sent = session->deaf ? (ssize_t)pieces[0].length : send(session->sshd, pieces[0].at, pieces[0].length, MSG_NOSIGNAL);
    if (sent >= 0) {
      stream_delivered(stream, (size_t)sent, now);
      session->sent += (uint64_t)sent;
      session->moved_at = now;
    } else if (errno == EAGAIN) session->blocked_sshd = true;
    else if (errno != EINTR) session->deaf = true;
  }
  if (stream_end_is_deliverable(stream)) {
    if (!session->deaf) shutdown(session->sshd, SHUT_WR);
    stream_delivered_end(stream, now);
  }
  if (session->deaf && session->hung_up) drop_sshd(session);
}

static void send_to_client(struct session *session, int64_t now) {
  session->blocked_link = false;
  if (session->link < 0) return;
  for (int turn = 0; turn < TURNS; turn++) {
    struct piece pieces[3];
    struct iovec parts[3];
    if (!stream_output(&session->stream, now, pieces)) return;
    for (int i = 0; i < 3; i++) parts[i] = (struct iovec){(void *)pieces[i].at, pieces[i].length};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
    ssize_t sent = sendmsg(session->link, &message, MSG_NOSIGNAL);
    if (sent >= 0) stream_sent(&session->stream, (size_t)sent);
    else if (errno == EAGAIN) break;
    else if (errno != EINTR) {
      drop_link(session, now);
      return;
    }
  }
  session->blocked_link = true;
}

// Moves what can be moved, and ends a session that has nothing left to move.
static void pump(struct session *session, int64_t now) {
  struct stream *stream = &session->stream;
  deliver(session, now);
  bool gone = session->deaf && session->hung_up && !stream_unacknowledged(stream);
  bool late = session->hung_up && session->alone_since >= 0 && now >= session->alone_since + LAST_BYTES_MS;
  if ((stream_is_finished(stream) || gone || late) && !session->ending) {
    if (session->lost) session_end(session, LOST, "the shell hung up", now);
    else session_end(session, CLOSED, "", now);
    return;
  }
  send_to_client(session, now);
  if (!session->ending || session->over) return;
  bool done = stream_has_sent_end(stream) || stream->ended || session->link < 0;
  session->over = done || now >= session->end_by;
}

// Hangs up on sshd, and sends END to a client that is connected. Only the first call counts.
void session_end(struct session *session, enum end_code code, const char *why, int64_t now) {
  if (session->ending) return;
  session->ending = session->deaf = session->hung_up = true;
  session->code = code;
  snprintf(session->why, sizeof session->why, "%s", why);
  session->end_by = now + END_MS;
  stream_end(&session->stream, code, (struct piece){session->why, strlen(session->why)});
  pump(session, now);
}

// Takes a new connection of the client, in place of an earlier one.
void session_connect(struct session *session, int link, int64_t now) {
  drop_link(session, now);
  session->link = link;
  session->alone_since = -1;
  stream_connect(&session->stream, now);
  pump(session, now);
}

// Takes bytes of the client's connection. A fault in them ends the connection, and not the session.
void session_receive(struct session *session, struct piece bytes, int64_t now) {
  if (stream_receive(&session->stream, bytes)) drop_link(session, now);
  if (session->stream.ended) session_end(session, CLOSED, "", now);
  pump(session, now);
}

// Does what is due by time: an ACK, or the end of a wait.
void session_due(struct session *session, int64_t now) {
  stream_give_back(&session->stream);
  int64_t wake_at = stream_wake_at(&session->stream);
  bool waits = session->ending || (session->hung_up && session->alone_since >= 0);
  if (waits || (wake_at >= 0 && now >= wake_at)) pump(session, now);
}

// Fills `from` with the connections to sshd and to the client. An entry without events has the fd -1, since poll(2) reports
// a hang-up for any events.
void session_watch(const struct session *session, struct pollfd from[2]) {
  short of_sshd = (stream_room(&session->stream) ? POLLIN : 0) | (session->blocked_sshd ? POLLOUT : 0);
  from[0] = (struct pollfd){.fd = of_sshd ? session->sshd : -1, .events = of_sshd};
  from[1] = (struct pollfd){.fd = session->link, .events = POLLIN | (session->blocked_link ? POLLOUT : 0)};
}

static void read_sshd(struct session *session, int64_t now) {
  size_t room = stream_room(&session->stream);
  if (!room || session->sshd < 0) return;
  ssize_t got = recv(session->sshd, data, room < READ ? room : READ, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0) {
    session->received += (uint64_t)got;
    session->moved_at = now;
    stream_take(&session->stream, (struct piece){data, (size_t)got});
    return;
  }
  // What was read before still goes to the client, and then END.
  session->hung_up = true;
  session->deaf |= session->lost = got < 0;
  stream_take_end(&session->stream);
}

static void read_client(struct session *session, int64_t now) {
  ssize_t got = recv(session->link, data, READ, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) drop_link(session, now);
  else session_receive(session, (struct piece){data, (size_t)got}, now);
}

// Serves the connections of `session_watch`, some of which have events.
void session_serve(struct session *session, const struct pollfd from[2], int64_t now) {
  if (!from[0].revents && !from[1].revents) return;
  if (from[0].fd >= 0 && from[0].revents & ~POLLOUT) read_sshd(session, now);
  if (from[1].fd >= 0 && from[1].revents & ~POLLOUT) read_client(session, now);
  pump(session, now);
}
