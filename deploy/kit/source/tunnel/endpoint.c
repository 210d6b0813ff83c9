// The endpoint of resumable tunnels: a process beside sshd that keeps the sessions of clients which are away.
//
// A gateway logs in to sshd, which connects it to the endpoint's private socket (direct-streamlocal). There it asks to open
// a session, or to return to one, by lines of the messages in src/stagedoor/resume/messages.py, and gets a ticket. Its
// connection to the data port shows the ticket in an OPEN, and frames of the client follow. docs/decisions/0043-resumable-tunnels.md
// has the reasons.
//
// Both kinds of connections are links (holder/links.c) until their first message, for which they have 10 s.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../holder/holder.h"
#include "session.h"

#define GREETING "stagedoor-resume 1"
#define SOCKET_NAME "control"
#define MAX_LINE 4096
#define KEY 32                        // hexadecimal digits
#define SESSION 64                    // characters of a session's id, at most
#define MAX_SESSIONS 256
#define MAX_AWAY 64                   // sessions of one owner without a client; one more ends the oldest
#define TICKET_MS 10000
#define ORPHAN_MS 120000              // for a session without a gateway: none would end it when it is revoked
#define SILENT_MS 90000               // for a gateway that sends nothing: its machine may have died
#define TIDY_MS 500                   // between two looks at what is due by time

static struct kept_session {
  bool used;
  char key[KEY + 1], id[SESSION + 1], *owner;
  int64_t away_ms, idle_ms;           // idle_ms 0: no limit
  int control;                        // the link of the gateway that judges it; -1: none
  unsigned long number;               // that gateway's number for the client's connection
  int64_t orphan_since;
  long attempt;                       // of its last connection; -1: none yet
  // A ticket for its next connection; ticket_until 0: none.
  uint8_t ticket[TICKET];
  int64_t ticket_until;
  long next_attempt;
  int next_control;
  unsigned long next_number;
  struct session session;
} sessions[MAX_SESSIONS];
static int places;                    // in `sessions`, up to the last one that was ever used

static enum { NO_LINK, CONTROL, DATA } kinds[MAX_LINKS];
static int64_t heard_at[MAX_LINKS];   // when the gateway of a control link last sent a line
static int sshd_port;

// The processes of sshd that are connected to the private socket, by their links: shared with the first process.
static pid_t *gateways;

#define EACH(kept) (struct kept_session *kept = sessions; kept < sessions + places; kept++) if (kept->used)

// ---- Messages to gateways.

__attribute__((format(printf, 2, 3))) static void answer(int link, const char *text, ...) {
  char line[MAX_LINE + MAX_WHY];
  if (link < 0) return;
  va_list arguments;
  va_start(arguments, text);
  int length = vsnprintf(line, sizeof line - 1, text, arguments);
  va_end(arguments);
  if (length < 0) return;
  if (length > (int)sizeof line - 2) length = (int)sizeof line - 2;
  line[length++] = '\n';
  link_send(link, &(struct piece){line, (size_t)length}, 1);
}

// A gateway is gone: its sessions wait for another one.
static void lose_control(int link, int64_t now) {
  for EACH(kept) {
    if (kept->next_control == link) kept->next_control = -1;
    if (kept->control != link) continue;
    kept->control = -1;
    kept->orphan_since = now;
  }
}

static void drop(int link, int64_t now) {
  if (kinds[link] == CONTROL) lose_control(link, now);
  kinds[link] = NO_LINK;
  gateways[link] = 0;
  link_drop(link);
}

static void free_if_over(struct kept_session *kept) {
  if (!kept->session.over) return;
  struct session *session = &kept->session;
  answer(kept->control, "over %lu %d %llu %llu %s", kept->number, session->code, (unsigned long long)session->sent,
         (unsigned long long)session->received, session->why);
  session_free(&kept->session);
  free(kept->owner);
  kept->used = false;
}

static void end(struct kept_session *kept, enum end_code code, const char *why, int64_t now) {
  session_end(&kept->session, code, why, now);
  free_if_over(kept);
}

// ---- Requests of gateways.

static struct kept_session *find(const char *key) {
  for EACH(kept) if (!strcmp(kept->key, key)) return kept;
  return NULL;
}

static void give_ticket(struct kept_session *kept, int link, unsigned long number, long attempt, int64_t now) {
  if (kept->ticket_until > now) answer(kept->next_control, "moved %lu", kept->next_number);
  if (getrandom(kept->ticket, TICKET, 0) != TICKET) die("there are no random bytes: %s", strerror(errno));
  kept->ticket_until = now + TICKET_MS;
  kept->next_attempt = attempt;
  kept->next_control = link;
  kept->next_number = number;
  char digits[2 * TICKET + 1];
  for (int i = 0; i < TICKET; i++) sprintf(digits + 2 * i, "%02x", kept->ticket[i]);
  const struct session *session = &kept->session;
  double away_s = session->alone_since < 0 ? 0 : (double)(now - session->alone_since) / 1000;
  answer(link, "ticket %lu %s %s %llu %llu %.3f", number, digits, kept->id, (unsigned long long)session->sent,
         (unsigned long long)session->received, away_s);
}

static void make_room(const char *owner, int64_t now) {
  struct kept_session *oldest = NULL;
  int away = 0;
  for EACH(kept) {
    if (kept->session.alone_since < 0 || kept->session.ending || strcmp(kept->owner, owner)) continue;
    away++;
    if (!oldest || kept->session.alone_since < oldest->session.alone_since) oldest = kept;
  }
  if (away >= MAX_AWAY) end(oldest, AWAY, "more than 64 sessions wait", now);
}

static void set_option(int fd, int level, int option, int value) { setsockopt(fd, level, option, &value, sizeof value); }

// Returns a connection to sshd, which may not be complete yet, or -1.
static int connect_sshd(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)sshd_port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (fd < 0 || !connect(fd, (struct sockaddr *)&address, sizeof address) || errno == EINPROGRESS) return fd;
  close(fd);
  return -1;
}

static void open_session(int link, unsigned long number, char *rest, int64_t now) {
  char *key = strsep(&rest, " "), *id = strsep(&rest, " "), *away = strsep(&rest, " "), *idle = strsep(&rest, " ");
  strsep(&rest, " ");  // the note is for the gateway's own endpoint
  bool is = rest && strlen(key) == KEY && strspn(key, "0123456789abcdef") == KEY && *id && strlen(id) <= SESSION;
  double away_s = is ? strtod(away, NULL) : 0, idle_s = is ? strtod(idle, NULL) : 0;
  if (!is || !(away_s > 0 && away_s < 1e9) || !(idle_s >= 0 && idle_s < 1e9)) {
    drop(link, now);
    return;
  }
  make_room(rest, now);
  struct kept_session *kept = sessions;
  while (kept < sessions + MAX_SESSIONS && kept->used) kept++;
  int sshd = -1;
  if (find(key)) answer(link, "gone %lu this session exists already", number);
  else if (kept == sessions + MAX_SESSIONS) answer(link, "gone %lu this shell keeps too many sessions", number);
  else if ((sshd = connect_sshd()) < 0) answer(link, "gone %lu the shell's sshd does not answer", number);
  if (sshd < 0) return;
  if (kept == sessions + places) places++;
  *kept = (struct kept_session){.used = true, .control = link, .number = number, .attempt = -1, .next_control = -1};
  strcpy(kept->key, key);
  strcpy(kept->id, id);
  kept->owner = need(strdup(rest));
  kept->away_ms = (int64_t)(away_s * 1000);
  kept->idle_ms = (int64_t)(idle_s * 1000);
  session_start(&kept->session, sshd, now);
  give_ticket(kept, link, number, 0, now);
}

static void return_to_session(int link, unsigned long number, char *rest, int64_t now) {
  const char *key = strsep(&rest, " "), *attempt = strsep(&rest, " ");
  struct kept_session *kept = rest ? find(key) : NULL;
  // The same answer for an unknown session and for one of another owner.
  if (!kept || kept->session.ending || strcmp(kept->owner, rest)) {
    answer(link, "gone %lu the session has ended", number);
    return;
  }
  long next = strtol(attempt, NULL, 10), last = kept->ticket_until > now ? kept->next_attempt : kept->attempt;
  if (next <= last) answer(link, "gone %lu a newer connection of this session exists", number);
  else give_ticket(kept, link, number, next, now);
}

// Obeys a line of a gateway that has greeted. A line that is no message drops its connection.
static void handle_line(int link, char *line, int64_t now) {
  const char *word = strsep(&line, " ");
  char *rest = line ? line : "", *digits = strsep(&rest, " ");
  unsigned long number = strtoul(digits, NULL, 10);
  if (!rest) rest = "";
  if (!strcmp(word, "open")) open_session(link, number, rest, now);
  else if (!strcmp(word, "back")) return_to_session(link, number, rest, now);
  else if (!strcmp(word, "end")) {
    for EACH(kept) if (kept->control == link && kept->number == number) end(kept, REMOVED, rest, now);
  } else if (!strcmp(word, "limit")) {
    double away_s = strtod(rest, NULL);
    for EACH(kept) if (kept->control == link && kept->number == number && away_s >= 0 && away_s < 1e9)
      kept->away_ms = (int64_t)(away_s * 1000);
  } else if (strcmp(word, "alive")) drop(link, now);
}

static void take_lines(int link, int64_t now) {
  while (kinds[link] == CONTROL) {
    struct piece received = link_received(link);
    const char *end = received.length ? memchr(received.at, '\n', received.length) : NULL;
    size_t length = end ? (size_t)(end - (const char *)received.at) : received.length;
    if (length >= MAX_LINE) drop(link, now);
    if (!end || length >= MAX_LINE) return;
    char line[MAX_LINE];
    memcpy(line, received.at, length);
    line[length] = 0;
    link_used(link, length + 1);
    heard_at[link] = now;
    if (link_is_attached(link)) handle_line(link, line, now);
    else if (!strcmp(line, GREETING)) link_attach(link);
    else drop(link, now);
  }
}

// ---- Connections of clients, by way of a gateway.

// Gives a session its new connection, and `more`, the bytes after the ticket.
static void connect_client(struct kept_session *kept, int fd, struct piece more, int64_t now) {
  kept->ticket_until = 0;
  if (kept->attempt >= 0) answer(kept->control, "moved %lu", kept->number);
  kept->control = kept->next_control;
  kept->number = kept->next_number;
  kept->attempt = kept->next_attempt;
  kept->orphan_since = now;
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  // A gateway whose machine has died sends nothing: its connection ends after half a minute.
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 15);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
  session_connect(&kept->session, fd, now);
  session_receive(&kept->session, more, now);
  free_if_over(kept);
}

static void take_ticket(int link, int64_t now) {
  static const uint8_t OPEN[HEAD] = {T_OPEN, [HEAD - 1] = TICKET};
  static uint8_t more[MAX_FRAME];
  struct piece received = link_received(link);
  const uint8_t *at = received.at;
  if (received.length < HEAD + TICKET) return;
  struct piece rest = {more, received.length - HEAD - TICKET};
  if (!memcmp(at, OPEN, HEAD) && rest.length <= sizeof more) {
    for EACH(kept) {
      if (kept->ticket_until <= now || kept->session.ending || memcmp(at + HEAD, kept->ticket, TICKET)) continue;
      memcpy(more, at + HEAD + TICKET, rest.length);
      kinds[link] = NO_LINK;
      int fd = link_release(link);
      if (fd >= 0) connect_client(kept, fd, rest, now);
      return;
    }
  }
  drop(link, now);
}

// ---- The loop.

static void tidy(int64_t now) {
  for EACH(kept) {
    char why[80];
    session_due(&kept->session, now);
    int64_t alone = kept->session.alone_since;
    snprintf(why, sizeof why, "no client came back within %g s", (double)kept->away_ms / 1000);
    if (alone >= 0 && now - alone >= kept->away_ms) session_end(&kept->session, AWAY, why, now);
    snprintf(why, sizeof why, "no byte moved for %g s", (double)kept->idle_ms / 1000);
    if (kept->idle_ms && now - kept->session.moved_at >= kept->idle_ms) session_end(&kept->session, IDLE, why, now);
    if (kept->control < 0 && now - kept->orphan_since >= ORPHAN_MS) session_end(&kept->session, LOST, "its gateway has ended", now);
    free_if_over(kept);
  }
  for (int i = 0; i < MAX_LINKS; i++)
    if (link_is_over(i, now) || (link_is_attached(i) && now - heard_at[i] >= SILENT_MS)) drop(i, now);
}

static void serve_links(const struct pollfd *from, int64_t now) {
  for (int i = 0; i < MAX_LINKS; i++) {
    if (from[i].fd < 0 || !from[i].revents) continue;
    if (!link_serve(i, from[i].revents)) drop(i, now);
    else if (kinds[i] == CONTROL) take_lines(i, now);
    else if (kinds[i] == DATA) take_ticket(i, now);
  }
}

static void accept_link(int listener, int kind, int64_t now) {
  links_make_room();
  int link = links_accept(listener, now);
  if (link < 0) return;
  kinds[link] = kind;
  gateways[link] = kind == CONTROL ? link_peer(link) : 0;
  if (kind == CONTROL) answer(link, GREETING);
}

// Returns a socket that listens for data, of IPv6 and IPv4 where the pod has both.
static int listen_for_data(int port) {
  struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  struct sockaddr *address = (struct sockaddr *)&any;
  socklen_t size = sizeof any;
  if (fd >= 0) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  else {
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address = (struct sockaddr *)&any4;
    size = sizeof any4;
  }
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(fd, address, size) || listen(fd, SOMAXCONN))
    die("resumable tunnels are off: port %d cannot be listened on: %s", port, strerror(errno));
  return fd;
}

// Call this before the fork whose child serves.
void endpoint_prepare(void) {
  size_t size = MAX_LINKS * sizeof *gateways;
  if (!gateways) gateways = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (gateways == MAP_FAILED) die("out of memory");
  memset(gateways, 0, size);
}

// Returns whether a session is only a gateway's way to the endpoint. The tunnels themselves are sessions.
bool endpoint_is_gateway(pid_t session) {
  for (int i = 0; i < MAX_LINKS; i++)
    if (gateways[i] == session) return true;
  return false;
}

// Serves until the process is ended. Ends the program if its folder or its port cannot be had.
void endpoint_serve(const char *folder, int port, int to_port) {
  static struct pollfd from[2 + MAX_LINKS + 2 * MAX_SESSIONS];
  signal(SIGPIPE, SIG_IGN);
  sshd_port = to_port;
  struct place place = place_open(folder);
  int listeners[] = {place_listen(place, SOCKET_NAME), listen_for_data(port)};
  fcntl(listeners[0], F_SETFL, O_NONBLOCK);
  int64_t tidy_at = 0;
  for (;;) {
    int64_t now = now_ms();
    if (now >= tidy_at) {
      tidy(now);
      tidy_at = now + TIDY_MS;
    }
    bool busy = links_any();
    nfds_t count = 2 + MAX_LINKS + 2 * (nfds_t)places;
    for (int i = 0; i < 2; i++) from[i] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
    links_watch(from + 2);
    struct pollfd *of_sessions = from + 2 + MAX_LINKS;
    for (int i = 0; i < 2 * places; i++) of_sessions[i] = (struct pollfd){.fd = -1};
    for EACH(kept) {
      session_watch(&kept->session, of_sessions + 2 * (kept - sessions));
      busy = true;
    }
    if (poll(from, count, busy ? (int)(tidy_at - now) : -1) < 0) {
      if (errno != EINTR) die("cannot wait: %s", strerror(errno));
      continue;
    }
    now = now_ms();
    for EACH(kept) {
      session_serve(&kept->session, of_sessions + 2 * (kept - sessions), now);
      free_if_over(kept);
    }
    serve_links(from + 2, now);
    for (int i = 0; i < 2; i++)
      if (from[i].revents) accept_link(listeners[i], i ? DATA : CONTROL, now);
  }
}

// `tunnels PORT SSHD_PORT`: the endpoint of a server that is no pod, as a service of its own.
int tunnels_main(int argc, char **argv) {
  if (argc != 3) die("usage: tunnels PORT SSHD_PORT");
  endpoint_prepare();
  endpoint_serve(TUNNELS, atoi(argv[1]), atoi(argv[2]));
}
