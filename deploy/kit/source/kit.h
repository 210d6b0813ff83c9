// The kit's own program: one static binary with several names (main.c lists them).
// It needs nothing from the image that it runs in: no libc, no shell, no /etc/passwd.
#ifndef STAGEDOOR_KIT_H
#define STAGEDOOR_KIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// Paths. The kit is mounted at the same path everywhere, because its programs' interpreter and rpath contain it.
#define KIT "/kit"
#define TOOLS KIT "/tools"            // programs for the session: tmux, rsync, scp, sftp-server
#define APPLETS KIT "/busybox"        // busybox, one link for each applet
#define LIBEXEC KIT "/libexec"        // programs that TOOLS start
#define TERMINFO KIT "/share/terminfo"
#define RUN "/run/stagedoor"          // a small writable folder in memory
#define HOST "/etc/stagedoor/host"    // the Secret: host key and host certificate
#define SHELL "/etc/stagedoor/shell"  // the ConfigMap: keys and principals that may log in, settings, motd, notice
#define PORT 2222                     // sshd's, which needs no privilege
#define TUNNEL_PORT 2223              // of the endpoint of resumable tunnels
#define TUNNELS RUN "/tunnels"        // its folder

// A growing list of strings, ended by NULL, as execve(2) takes it.
struct strings {
  char **at;
  size_t count, room;
};

// A piece of memory.
struct piece {
  const void *at;
  size_t length;
};

// Numbers in network byte order.
static inline uint64_t read_number(const uint8_t *at, int bytes) {
  uint64_t number = 0;
  while (bytes--) number = number << 8 | *at++;
  return number;
}

// Returns the end of what it writes.
static inline uint8_t *put_number(uint8_t *at, uint64_t number, int bytes) {
  for (int i = bytes; i--; number >>= 8) at[i] = (uint8_t)number;
  return at + bytes;
}

// text.c
int64_t now_ms(void);
void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void reset_signals(void);
void *need(void *memory);
char *format(const char *format, ...) __attribute__((format(printf, 1, 2)));
void strings_add(struct strings *list, char *text);
bool starts_with(const char *text, const char *prefix);
bool is_control(char c);
char *read_file(const char *path, size_t *length);
bool write_all(int file, const void *bytes, size_t length);
void write_file(const char *path, mode_t mode, const char *bytes, size_t length);

// environment.c
void environment_save(char **environment);
struct strings environment_saved(void);
bool environment_is_saved(void);
const char *environment_get(const struct strings *list, const char *name);
void environment_set(struct strings *list, const char *name, const char *value);
void environment_copy(struct strings *list, char **from, const char *prefix);
void environment_unset(struct strings *list, const char *prefix);

// settings.c: KEY=VALUE lines of SHELL/settings, read again at each call of settings_read. In a run's pod they are elsewhere.
#define SETTINGS_OF_RUN RUN "/settings"
struct settings {
  char *login_name, *directory, *setup, *packages, *permit_listen;
  long grace_s;
};
struct settings settings_read(void);

// account.c: the one account that the kit's sshd knows
void account_write(const struct settings *settings);
char *account_name(void);

// find.c: programs and terminals in the image
char *find_program(const char *name, const char *path);
char *find_shell(const struct strings *environment);
bool has_terminal(const char *folder, const char *name);
void choose_terminal(struct strings *environment);
bool locale_is_known(const char *name);

// sshd.c
void sshd_prepare(const struct settings *settings);
bool sshd_note_keys(void);
void sshd_run(int log) __attribute__((noreturn));

// tunnel/endpoint.c: keeps resumable tunnels while their clients are away
void endpoint_prepare(void);
bool endpoint_is_gateway(pid_t session);
void endpoint_serve(const char *folder, int port, int sshd_port) __attribute__((noreturn));

// census.c: counts sessions, tmux servers and held terminals
struct census {
  int sessions, tmux;          // `tmux` counts servers
  int terminals, working;      // held terminals, with or without clients; and those in which a command runs
  pid_t *pids;                 // of `sessions`, and then of `terminals`; free() it
  bool tmux_on[1024];          // terminals that show a tmux client
};
struct census census_take(pid_t listener);

// The same, but looks for half a second whether a command runs: between two commands of a loop, a shell looks as if it
// waited at its prompt.
struct census census_take_surely(pid_t listener);
void write_to_terminals(const struct census *census, const char *message);

// login.c
void login_as(const char *command, char **instead) __attribute__((noreturn));

// start.c: `start stop` is the preStop hook of shells and runs. It waits until the first process has nothing left to do.
int become_first_process(void);
void let_hook_end(void);
void prepare_sessions(const struct settings *settings);

// The names that the program is called by.
int start_main(int argc, char **argv);
int login_main(int argc, char **argv);
int pane_main(int argc, char **argv);
int tool_main(int argc, char **argv);
int copy_main(int argc, char **argv);
int hold_main(int argc, char **argv);
int tunnels_main(int argc, char **argv);
int task_main(int argc, char **argv);

#endif
