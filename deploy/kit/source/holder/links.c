// Who is connected to the terminal: sockets, what has come from each and is no whole frame yet, and what each has yet to be
// sent.
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../kit.h"
#include "holder.h"

#define HELLO_MS 10000  // a link that has not said hello by then is closed; so is one that does not read its last words
#define READ (16 * 1024)
#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

static struct link {
  int fd;              // 0 where there is none
  bool attached;       // it has said hello
  bool closing;        // nothing more is read of it, and it is closed once it has been sent all
  bool cut;            // it can be sent nothing any more
  enum { NONE, TO_WATCH, TO_TYPE } place;  // kept until it is gone
  int64_t due_at;      // counts while it is not `attached`
  struct bytes received, unsent;
} links[MAX_LINKS];
static int listener;

void links_start(int socket) { listener = socket; }

bool links_any(void) {
  for (int i = 0; i < MAX_LINKS; i++)
    if (links[i].fd) return true;
  return false;
}

bool link_is_full(int link) { return links[link].unsent.length > FULL; }

// ---- What goes.

static void flush(struct link *link) {
  while (link->unsent.length && !link->cut) {
    ssize_t sent = send(link->fd, link->unsent.at + link->unsent.start, link->unsent.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) bytes_drop(&link->unsent, (size_t)sent);
    else if (errno == EAGAIN) return;
    else if (errno != EINTR) link->cut = true;
  }
}

// A frame's pieces, in order: what the socket does not take at once waits. One that does not read is cut where that
// becomes too much.
void link_send(int number, const struct piece *pieces, int count) {
  struct link *link = &links[number];
  if (!link->fd || link->closing || link->cut) return;
  struct iovec parts[4];
  size_t left = 0, done = 0;
  for (int i = 0; i < count; i++) {
    parts[i] = (struct iovec){(void *)pieces[i].at, pieces[i].length};
    left += pieces[i].length;
  }
  if (!link->unsent.length) {
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    ssize_t sent = sendmsg(link->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) link->cut = true;
    if (sent > 0) done = (size_t)sent;
  }
  if (link->unsent.length + left - done > MAX_UNSENT) link->cut = true;
  for (int i = 0; i < count && !link->cut; i++) {
    size_t skipped = done < pieces[i].length ? done : pieces[i].length;
    done -= skipped;
    bytes_add(&link->unsent, (struct piece){(const char *)pieces[i].at + skipped, pieces[i].length - skipped});
  }
}

// Once what it was sent is written.
void link_close_soon(int number) {
  struct link *link = &links[number];
  link->closing = true;
  link->attached = false;
  link->due_at = now_ms() + HELLO_MS;
  people_left(number, now_ms());
}

static void drop(int number, int64_t now) {
  struct link *link = &links[number];
  close(link->fd);
  bytes_free(&link->received);
  bytes_free(&link->unsent);
  *link = (struct link){0};
  people_left(number, now);
  state_lost(number, now);
}

static void refuse(int number, enum word word, const char *why, int64_t now) {
  state_lost(number, now);
  wire_notice(number, word, why);
  link_close_soon(number);
}

// ---- What comes.

// Why there is no place for one more; NULL where there is one.
static const char *no_place(const struct hello *hello) {
  int replaced = state_replaced_by(hello), watching = 0, typing = 0;
  for (int i = 0; i < MAX_LINKS; i++) {
    if (!links[i].fd || i == replaced) continue;
    watching += links[i].place == TO_WATCH;
    typing += links[i].place == TO_TYPE;
  }
  if (hello->ticket.length > MAX_OWNER) return "a HELLO for somebody with a name of more than " TEXT(MAX_OWNER) " bytes";
  if (hello->mode == WATCH && watching >= WATCHING)
    return "this terminal is watched " TEXT(WATCHING) " times already, which is the limit; try again when somebody has left";
  if (hello->mode == MIRROR && typing >= TYPING)
    return "this terminal is open " TEXT(TYPING) " times already, which is the limit; take it over, or try again when somebody has left";
  return NULL;  // who takes over sends the others away
}

// A frame of one who has been let in.
static void heed(int number, const struct frame *frame, int64_t now) {
  bool rule = frame->kind == REMOVE || frame->kind == LOCK;
  if (frame->kind == IN) people_typed(number);
  if (frame->kind == PING && frame->at == TELL_PEOPLE) people_tell(number);
  if (!rule || !people_may_rule(number)) state_received(number, frame, now);  // which sends one away who may not
  else if (frame->kind == REMOVE) people_remove(number, frame->at, now);
  else people_lock(number, frame->at, now);
}

static void take(int number, const struct frame *frame, int64_t now) {
  struct link *link = &links[number];
  if (link->attached) {
    heed(number, frame, now);
    return;
  }
  const char *why = frame->kind == HELLO ? people_refusal(&frame->hello, now) : NULL;
  if (why) {
    refuse(number, DENIED, why, now);
    return;
  }
  why = frame->kind == HELLO ? no_place(&frame->hello) : "the first frame is no HELLO";
  if (!why) why = serve_start(&frame->hello);
  if (why) {
    refuse(number, FAULT, why, now);
    return;
  }
  link->attached = true;
  link->place = frame->hello.mode == WATCH ? TO_WATCH : TO_TYPE;
  people_came(number, &frame->hello, now);
  state_hello(number, &frame->hello, now);
}

// Each frame stands behind its length.
static void take_frames(int number, int64_t now) {
  struct link *link = &links[number];
  size_t used = 0;
  while (!link->closing && link->received.length - used >= 4) {
    const uint8_t *at = link->received.at + link->received.start + used;
    size_t length = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
    if (!length || length > MAX_FRAME) {
      refuse(number, FAULT, "a frame of a length that is not possible", now);
      break;
    }
    if (link->received.length - used - 4 < length) break;
    struct frame frame;
    const char *why = wire_read(at + 4, length, &frame);
    if (why) refuse(number, FAULT, why, now);
    else take(number, &frame, now);
    used += 4 + length;
  }
  if (used) bytes_drop(&link->received, used);
}

static void receive(int number, int64_t now) {
  static uint8_t data[READ];
  struct link *link = &links[number];
  ssize_t got = recv(link->fd, data, sizeof data, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    drop(number, now);
    return;
  }
  bytes_add(&link->received, (struct piece){data, (size_t)got});
  take_frames(number, now);
}

static void come(int64_t now) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  for (int i = 0; i < MAX_LINKS; i++) {
    if (links[i].fd) continue;
    links[i] = (struct link){.fd = fd, .due_at = now + HELLO_MS};
    return;
  }
  close(fd);
}

// ---- The loop's turn.

static bool wants(const struct link *link) { return !link->closing && link->unsent.length <= FULL; }

void links_turn(int64_t now) {
  for (int i = 0; i < MAX_LINKS; i++) {
    struct link *link = &links[i];
    if (!link->fd) continue;
    bool late = !link->attached && now >= link->due_at;
    if (late || link->cut || (link->closing && !link->unsent.length)) drop(i, now);
  }
}

int64_t links_wake_at(void) {
  int64_t first = -1;
  for (int i = 0; i < MAX_LINKS; i++)
    if (links[i].fd && !links[i].attached && (first < 0 || links[i].due_at < first)) first = links[i].due_at;
  return first;
}

// The listener, then one for each link; a place without a link is passed over (poll(2)).
int links_watch(struct pollfd *from) {
  from[0] = (struct pollfd){.fd = listener, .events = POLLIN};
  for (int i = 0; i < MAX_LINKS; i++) {
    const struct link *link = &links[i];
    from[1 + i] = (struct pollfd){.fd = link->fd ? link->fd : -1};
    if (wants(link)) from[1 + i].events |= POLLIN;
    if (link->unsent.length) from[1 + i].events |= POLLOUT;
  }
  return 1 + MAX_LINKS;
}

void links_serve(const struct pollfd *from, int64_t now) {
  for (int i = 0; i < MAX_LINKS; i++) {
    struct link *link = &links[i];
    short events = from[1 + i].revents;
    if (from[1 + i].fd < 0 || !events || !link->fd) continue;
    if (events & (POLLOUT | POLLERR | POLLHUP)) flush(link);
    // A hang-up is found by reading, or, where nothing is read any more, by what cannot be written.
    if (wants(link) && !link->cut) {
      if (events & (POLLIN | POLLERR | POLLHUP)) receive(i, now);
    } else if (events & (POLLERR | POLLHUP)) {
      link->cut = true;
    }
  }
  if (from[0].revents) come(now);
}
