// The main loop of the process that holds one terminal: its program, its socket and the attached clients.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holder.h"

#define LAST_READS 8   // reads of the output that is left when the program has ended; together less than KEEP
#define WRITE (16 * 1024)
#define FIRST_HELLO_MS 10000  // a holder ends if no client has asked it to start a program by then
#define HANG_UP_MS 800   // for a program to save its data; the kit's first process waits 1 s for a holder

static struct {
  int signals;
  int64_t first_hello_by;
  bool is_ending;  // SIGTERM came: end
  bool marked_locked;
} loop;

// Reads output of the program, at most MAX_DATA. Returns false if there was none.
static bool read_output(void) {
  size_t taken = 0;
  while (taken < MAX_DATA) {
    size_t room;
    uint8_t *to = ring_room(&room);
    if (room > MAX_DATA - taken) room = MAX_DATA - taken;
    ssize_t got = read(program.fd, to, room);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      // EIO: no process has the other end open any more (pty(7)).
      if (got == 0 || errno != EAGAIN) program.hung_up = true;
      break;
    }
    modes_feed(to, (size_t)got);
    ring_filled((size_t)got);
    taken += (size_t)got;
  }
  if (taken) state_pump();
  return taken;
}

static void write_input(void) {
  size_t length = state_typed.length < WRITE ? state_typed.length : WRITE;
  ssize_t written = write(program.fd, state_typed.at + state_typed.start, length);
  if (written > 0) state_drop_taken((size_t)written);
}

// Reaps the program if it has ended. Its last output is still in the terminal. Processes that it has left in the background
// may write without end, so they are not waited for.
static void reap(void) {
  int status;
  if (!program.pid || program.ended || waitpid(program.pid, &status, WNOHANG) != program.pid) return;
  for (int i = 0; i < LAST_READS && read_output(); i++) continue;
  close(program.fd);
  program.ended = true;
  if (WIFSIGNALED(status)) state_note_exit(128 + WTERMSIG(status), signal_name(WTERMSIG(status)));
  else state_note_exit(WEXITSTATUS(status), "");
}

static void take_signals(void) {
  struct signalfd_siginfo signal;
  while (read(loop.signals, &signal, sizeof signal) == sizeof signal)
    if (signal.ssi_signo == SIGTERM) loop.is_ending = true;
  reap();
}

static bool is_over(int64_t now) {
  if (links_any()) return false;
  return program.pid ? program.ended && state_is_over(now) : now >= loop.first_hello_by;
}

static int wait_ms(int64_t now) {
  int64_t moments[] = {links_wake_at(), program.pid ? state_wake_at(now) : links_any() ? -1 : loop.first_hello_by,
                       program.grow_at ? program.grow_at : -1, people_due_at()};
  int64_t first = -1;
  for (int i = 0; i < 4; i++)
    if (moments[i] >= 0 && (first < 0 || moments[i] < first)) first = moments[i];
  return first < 0 ? -1 : first <= now ? 0 : (int)(first - now);
}

static void watch(struct pollfd from[2], int64_t now) {
  from[0] = (struct pollfd){.fd = loop.signals, .events = POLLIN};
  from[1] = (struct pollfd){.fd = -1};
  if (!program.pid || program.ended || program.hung_up) return;
  if (state_is_output_due(now)) from[1].events |= POLLIN;
  if (state_typed.length) from[1].events |= POLLOUT;
  if (from[1].events) from[1].fd = program.fd;  // poll(2) reports a hang-up for any events
}

// Serves until the program has ended and its last output is sent, or until SIGTERM.
void serve(int listener, struct place place, const char *name) {
  sigset_t ours;
  sigemptyset(&ours);
  sigaddset(&ours, SIGCHLD);
  sigaddset(&ours, SIGTERM);
  sigprocmask(SIG_SETMASK, &ours, NULL);
  signal(SIGCHLD, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
  loop.signals = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
  if (loop.signals < 0) die("cannot take signals: %s", strerror(errno));
  program.name = name;
  loop.first_hello_by = now_ms() + FIRST_HELLO_MS;
  fcntl(listener, F_SETFL, O_NONBLOCK);
  while (!loop.is_ending) {
    struct pollfd from[3 + MAX_LINKS];
    int64_t now = now_ms();
    people_notify(now);
    if (people_locked() != loop.marked_locked) place_mark_locked(place, name, loop.marked_locked = people_locked());
    dispatch_turn(now);
    if (is_over(now)) return;
    if (program.grow_at && now >= program.grow_at) {
      program.grow_at = 0;
      terminal_resize(state_size());
    }
    watch(from, now);
    from[2] = (struct pollfd){.fd = listener, .events = POLLIN};
    links_watch(from + 3);
    if (poll(from, 3 + MAX_LINKS, wait_ms(now)) < 0) {
      if (errno != EINTR) die("cannot wait: %s", strerror(errno));
      continue;
    }
    now = now_ms();
    if (from[1].revents & POLLOUT) write_input();
    if (from[1].revents & ~POLLOUT) read_output();
    if (from[0].revents) take_signals();
    dispatch_serve(from + 3, now);
    if (from[2].revents) links_accept(listener, now);
    state_pump();  // for links that were full
  }
}

// Hangs up on the program, as a lost line does, and gives it HANG_UP_MS to end.
void serve_hang_up(void) {
  if (!program.pid || program.ended) return;
  close(program.fd);
  int64_t until = now_ms() + HANG_UP_MS;
  struct pollfd from = {.fd = loop.signals, .events = POLLIN};
  for (int64_t left = HANG_UP_MS; left > 0; left = until - now_ms()) {
    if (waitpid(program.pid, NULL, WNOHANG) == program.pid) return;
    struct signalfd_siginfo signal;
    if (poll(&from, 1, (int)left) > 0 && read(loop.signals, &signal, sizeof signal) < 0) return;
  }
}
