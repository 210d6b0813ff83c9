// The holder: one process for each terminal, beside its program, that outlives its clients.
//
// It does the same as src/stagedoor/holder in a tenth of the memory, and must pass the same tests (tests/holder). The
// protocol is that of src/stagedoor/wire/terminal/frames.py. A process holds one terminal, so the terminal's state is static.
//
// Memory is never allocated by a length that a peer sends: buffers grow with the bytes received, up to fixed bounds.
#ifndef STAGEDOOR_HOLDER_H
#define STAGEDOOR_HOLDER_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../kit.h"

// The protocol's limits.
#define MAX_DATA (64 * 1024)             // of terminal bytes in one frame
#define MAX_FRAME (MAX_DATA + 64)
#define MAX_OFFSET ((1ULL << 53) - 1)    // JavaScript's largest exact integer
#define MAX_TEXT 4096
#define MAX_SIZE 10000                   // columns or rows
#define FEATURE_PEOPLE 1u                // HELLO: the client reads PEOPLE
#define KNOWN_FEATURES FEATURE_PEOPLE    // all features of this version

// What a terminal keeps; src/stagedoor/holder/state.py has the reasons.
#define WINDOW (128 * 1024)
#define KEEP (1024 * 1024)
#define REPLAY (2 * MAX_DATA)
#define RESUME_GRACE_MS 60000

// How many clients it may have; src/stagedoor/holder/attachments.py has the reasons.
#define MAX_LINKS 64
#define WATCHING 40
#define TYPING 20
#define MAX_OWNER 128
#define REMEMBERED 64

// Bounds that the holder in Python does not need.
#define MAX_ATTACHMENTS (REMEMBERED + MAX_LINKS)
#define MAX_TYPED (4 * WINDOW)           // input of all clients that the program has not taken
#define MAX_TYPISTS 1024                 // runs of that input, each typed by one client
#define FULL (WINDOW + REPLAY)           // unsent bytes at which the holder stops reading from a link,
#define MAX_UNSENT (4 * FULL)            // and at which it cuts the link

enum kind {
  HELLO = 0x01, IN, ACK, RESIZE, PING, DETACH, REMOVE, LOCK,
  WELCOME = 0x81, OUT, INACK, GAP, SNAPSHOT, EXIT, PONG, SIZE, NOTICE, PEOPLE
};
enum mode { MIRROR, TAKE_OVER, WATCH };
enum word { PROGRESS, DENIED, REVOKED, TAKEN_OVER, RECORDED, FAULT };

struct size {
  uint16_t columns, rows, x_pixels, y_pixels;
};

// Text of a frame. It does not end in a NUL and contains none.
struct text {
  const char *at;
  size_t length;
};

// A client's name, which is kept. It does not end in a NUL.
struct owner {
  char at[MAX_OWNER];
  size_t length;
};

struct hello {
  enum mode mode;
  uint32_t features;
  uint64_t seen;
  struct size size;
  struct text ticket, terminal, attachment, term, lang, command;
};

// One frame from a client. Fields that its kind does not have are zero. It points into the bytes that it was read from.
struct frame {
  enum kind kind;
  uint64_t at;                           // IN, ACK, PING, REMOVE; LOCK: 0 or 1
  const uint8_t *data;                   // IN
  size_t length;
  struct size size;                      // RESIZE
  struct hello hello;
};

// bytes.c: a queue of bytes that gives its memory back when it is empty
struct bytes {
  uint8_t *at;
  size_t start, length, room;
};
void bytes_add(struct bytes *queue, struct piece piece);
void bytes_drop(struct bytes *queue, size_t count);
void bytes_free(struct bytes *queue);

// wire.c: frames to values, and values to frames for a link
const char *wire_read(const uint8_t *data, size_t length, struct frame *frame);
const char *wire_name(unsigned kind);
void wire_welcome(int link, const char *attachment, uint64_t out_at, uint64_t in_at, enum mode mode, uint32_t features);
void wire_out(int link, uint64_t at, struct piece first, struct piece second);
void wire_inack(int link, uint64_t to);
void wire_pong(int link, uint64_t number, bool busy);
void wire_gap(int link, uint64_t start, uint64_t end);
void wire_snapshot(int link, const uint8_t *data, size_t length);
void wire_exit(int link, int32_t code, const char *signal);
void wire_size(int link, struct size size);
void wire_notice(int link, enum word word, const char *text);

// A person at a terminal, as in PEOPLE.
struct person {
  uint64_t number;
  struct text name;
  enum mode mode;
  bool typed;
  uint32_t for_s;
};
void wire_people(int link, uint64_t you, bool rules, bool locked, const struct person *people, size_t count);

// ring.c: the last KEEP bytes of the output
void ring_start(void);
uint64_t ring_first(void);
uint64_t ring_end(void);
uint8_t *ring_room(size_t *length);
void ring_filled(size_t length);
void ring_read(uint64_t at, size_t length, struct piece pieces[2]);

// modes.c: the modes that the program has switched on
void modes_feed(const uint8_t *data, size_t length);
bool modes_alternate_screen(void);
uint64_t modes_primary_end(void);
void modes_redo(struct bytes *out);

// replay.c
size_t drop_queries(uint8_t *data, size_t length);

// state.c: the terminal's decisions. Time is in ms of a clock that only goes forward.
void state_start(struct size size);
bool state_is_output_due(int64_t now);
int64_t state_wake_at(int64_t now);
bool state_is_over(int64_t now);
struct size state_size(void);
int state_find_replaced(const struct hello *hello);
void state_attach_link(int link, const struct hello *hello, int64_t now);
void state_handle_frame(int link, const struct frame *frame, int64_t now);
void state_detach_link(int link, int64_t now);
void state_pump(void);
void state_drop_taken(size_t count);
void state_note_exit(int32_t code, const char *signal);
extern struct bytes state_typed;
struct owner owner_of(struct text text);
bool is_same_owner(const struct owner *one, const struct owner *other);
struct text owner_name(const struct owner *owner);

// people.c: the people at the terminal, the last one who typed, and the lock
void people_add(int link, const struct hello *hello, int64_t now);
void people_drop(int link, int64_t now);
void people_note_input(int link);
bool people_may_rule(int link);
void people_remove(int by, uint64_t number, int64_t now);
void people_lock(int by, bool on, int64_t now);
bool people_locked(void);
const char *people_refusal(const struct hello *hello, int64_t now);
int64_t people_due_at(void);
void people_notify(int64_t now);

// links.c: the connected clients, as streams of bytes
void links_watch(struct pollfd *from);
int links_accept(int listener, int64_t now);
pid_t link_peer(int link);
void links_make_room(void);
int64_t links_wake_at(void);
bool links_any(void);
void link_send(int link, const struct piece *pieces, int count);
bool link_is_full(int link);
void link_close_soon(int link);
bool link_is_closing(int link);
bool link_is_over(int link, int64_t now);  // the caller should drop it
void link_drop(int link);
int link_release(int link);
void link_attach(int link);              // after its HELLO
bool link_is_attached(int link);
bool link_serve(int link, short events);
struct piece link_received(int link);
void link_used(int link, size_t count);

// dispatch.c: handles the frames of the links; above state.c and people.c
void dispatch_turn(int64_t now);           // between events
void dispatch_serve(const struct pollfd *from, int64_t now);  // an entry for each link

// A private folder of sockets.
struct place {
  int folder;
  const char *path;
};

// serve.c: the loop; above all others
void serve(int listener, struct place place, const char *name);
void serve_hang_up(void);

// program.c: the program in the terminal, and its window
extern struct program {
  pid_t pid;              // 0 before it is started
  int fd;                 // of its terminal
  const char *name;
  int64_t grow_at;        // when its window gets its last row back; 0: it has it
  bool hung_up;           // no process has the terminal open any more
  bool ended;
} program;
const char *program_start(const struct hello *hello);
const char *signal_name(int number);
void terminal_resize(struct size size);
void terminal_redraw(struct size size);
bool terminal_is_busy(void);

// tmux.c
#define TMUX_TERM "tmux-256color"
enum { TMUX_WORDS = 11 };
bool tmux_is_requested(const char *command);
char **tmux_words(char *words[TMUX_WORDS], const char *program, const char *defaults, const char *name);
char *tmux_defaults(const char *name, bool described);
void tmux_run(pid_t pid, int output, const char *const *command);

// end.c
bool end_terminal(struct place place, const char *name);
bool print_history(struct place place, const char *name);

// place.c
char *place_of_terminals(void);
struct place place_open(const char *path);
void place_check_name(const char *name);
int place_connect(struct place place, const char *name);
int place_lock(struct place place, const char *name);
int place_listen(struct place place, const char *name);
void place_mark_locked(struct place place, const char *name, bool locked);
void place_list(struct place place);
char *place_file(const char *name, const char *suffix);
#define BACKLOG 16
#define SOCKET ".terminal"

#endif
