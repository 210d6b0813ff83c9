// The connected clients: their sockets, the bytes received from each that are no whole frame yet, and the unsent bytes for
// each.
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "holder.h"

#define HELLO_MS 10000  // for a HELLO, and for reading the last frames: a link that takes longer is closed
#define READ (16 * 1024)

static struct link {
  int fd;              // 0: no link
  bool attached;       // after its HELLO
  bool closing;        // nothing more is read from it, and it is closed once all bytes are sent
  bool cut;            // nothing more can be sent to it
  int64_t due_at;      // its deadline while it is not `attached`
  struct bytes received, unsent;
} links[MAX_LINKS];

bool links_any(void) {
  for (int i = 0; i < MAX_LINKS; i++)
    if (links[i].fd) return true;
  return false;
}

bool link_is_full(int link) { return links[link].unsent.length > FULL; }

// ---- Sending.

static void flush(struct link *link) {
  while (link->unsent.length && !link->cut) {
    ssize_t sent = send(link->fd, link->unsent.at + link->unsent.start, link->unsent.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) bytes_drop(&link->unsent, (size_t)sent);
    else if (errno == EAGAIN) return;
    else if (errno != EINTR) link->cut = true;
  }
}

// Sends a frame's pieces in order. Bytes that the socket does not take at once are queued; a link with more than
// MAX_UNSENT of them is cut.
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
    bytes_add(&link->unsent, (struct piece){pieces[i].at + skipped, pieces[i].length - skipped});
  }
}

// Closes a link once its unsent bytes are written.
void link_close_soon(int number) {
  struct link *link = &links[number];
  link->closing = true;
  link->attached = false;
  link->due_at = now_ms() + HELLO_MS;
}

bool link_is_closing(int link) { return links[link].closing; }

void link_drop(int number) {
  struct link *link = &links[number];
  close(link->fd);
  bytes_free(&link->received);
  bytes_free(&link->unsent);
  *link = (struct link){0};
}

// ---- Receiving.

void link_attach(int link) { links[link].attached = true; }

bool link_is_attached(int link) { return links[link].attached; }

// Returns the received bytes that are not used yet; none for a link that is closing.
struct piece link_received(int number) {
  const struct link *link = &links[number];
  if (link->closing || !link->received.length) return (struct piece){0};
  return (struct piece){link->received.at + link->received.start, link->received.length};
}

void link_used(int link, size_t count) { bytes_drop(&links[link].received, count); }

// Reads once from a link. Returns false if the connection is gone.
static bool receive(struct link *link) {
  static uint8_t data[READ];
  ssize_t got = recv(link->fd, data, sizeof data, MSG_DONTWAIT);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (got <= 0) return false;
  bytes_add(&link->received, (struct piece){data, (size_t)got});
  return true;
}

// Accepts a connection, and returns its link; -1 if there is none, or no place for it.
int links_accept(int listener, int64_t now) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return -1;
  for (int i = 0; i < MAX_LINKS; i++) {
    if (links[i].fd) continue;
    links[i] = (struct link){.fd = fd, .due_at = now + HELLO_MS};
    return i;
  }
  close(fd);
  return -1;
}

// Returns the process that connected to a Unix socket.
pid_t link_peer(int link) {
  struct ucred peer = {0};
  getsockopt(links[link].fd, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){sizeof peer});
  return peer.pid;
}

// Drops the link that has waited longest for its first message, if there is no place for another one.
void links_make_room(void) {
  int oldest = -1;
  for (int i = 0; i < MAX_LINKS; i++) {
    if (!links[i].fd) return;
    if (!links[i].attached && (oldest < 0 || links[i].due_at < links[oldest].due_at)) oldest = i;
  }
  if (oldest >= 0) link_drop(oldest);
}

// Gives the connection of a link to the caller.
int link_release(int number) {
  int fd = dup(links[number].fd);
  link_drop(number);
  return fd;
}

// ---- The loop's turn.

static bool wants(const struct link *link) { return !link->closing && link->unsent.length <= FULL; }

bool link_is_over(int number, int64_t now) {
  const struct link *link = &links[number];
  if (!link->fd) return false;
  bool late = !link->attached && now >= link->due_at;
  return late || link->cut || (link->closing && !link->unsent.length);
}

int64_t links_wake_at(void) {
  int64_t first = -1;
  for (int i = 0; i < MAX_LINKS; i++)
    if (links[i].fd && !links[i].attached && (first < 0 || links[i].due_at < first)) first = links[i].due_at;
  return first;
}

// Fills `from` with an entry for each of MAX_LINKS links. One without a link has the fd -1, which poll(2) ignores.
void links_watch(struct pollfd *from) {
  for (int i = 0; i < MAX_LINKS; i++) {
    const struct link *link = &links[i];
    from[i] = (struct pollfd){.fd = link->fd ? link->fd : -1};
    if (wants(link)) from[i].events |= POLLIN;
    if (link->unsent.length) from[i].events |= POLLOUT;
  }
}

// Writes and reads as much as possible. Returns false if the connection is gone.
bool link_serve(int number, short events) {
  struct link *link = &links[number];
  if (!link->fd) return true;
  if (events & (POLLOUT | POLLERR | POLLHUP)) flush(link);
  // Reading detects a hang-up. On a link that is no longer read, the events of poll(2) do.
  if (wants(link) && !link->cut) return !(events & (POLLIN | POLLERR | POLLHUP)) || receive(link);
  if (events & (POLLERR | POLLHUP)) link->cut = true;
  return true;
}
