// One terminal, its output and its clients: all decisions, and no I/O. src/stagedoor/holder/state.py is the same, function
// for function, and its tests define what this file must do.
//
// A link is a connection. An attachment outlives it: it has the offsets, in both directions, with which a client whose
// connection was cut continues without losing or repeating a byte.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "holder.h"

#define NAME 32  // of an attachment, in hexadecimal digits

struct attachment {
  bool used, detached, exit_sent;
  bool other_size_sent;      // the last SIZE sent to it is not its own window's
  char name[NAME + 1];
  struct owner owner;        // the person it belongs to
  enum mode mode;
  int link;                  // -1 while it has no connection, since `lost_at`
  int64_t lost_at;
  struct size size;
  uint64_t sent, acked;      // output
  uint64_t in_at, taken;     // input was received up to `in_at`, and the program has taken it up to `taken`
  unsigned number;           // unique
};

static struct attachment attachments[MAX_ATTACHMENTS];
static struct attachment *by_link[MAX_LINKS];  // those of connected clients
static unsigned last_number;

// Who typed the bytes of `state_typed`, in order.
static struct {
  struct attachment *who;
  unsigned number;
  size_t size;
} typists[MAX_TYPISTS];
static size_t typist_count;
struct bytes state_typed;

static struct size size;
static struct {
  bool is;
  int32_t code;
  const char *signal;
} ended;

// ---- Owners.

// A HELLO with a name that is too long is refused before it is kept (dispatch.c).
struct owner owner_of(struct text text) {
  struct owner owner = {.length = text.length < MAX_OWNER ? text.length : MAX_OWNER};
  memcpy(owner.at, text.at, owner.length);
  return owner;
}

bool is_same_owner(const struct owner *one, const struct owner *other) {
  return one->length == other->length && !memcmp(one->at, other->at, one->length);
}

// Returns the name without its prefix: `user:alice` is alice.
struct text owner_name(const struct owner *owner) {
  const char *colon = memchr(owner->at, ':', owner->length), *end = owner->at + owner->length;
  return colon && colon + 1 < end ? (struct text){colon + 1, (size_t)(end - colon - 1)} : (struct text){"another user", 12};
}

// ---- The terminal.

void state_start(struct size first) {
  size = first;
  ring_start();
}

struct size state_size(void) { return size; }

static bool same_size(struct size one, struct size other) { return !memcmp(&one, &other, sizeof one); }

// Returns whether the client types, and lost its connection so recently that it may come back.
static bool is_awaited(const struct attachment *each, int64_t now) {
  if (!each->used || each->mode == WATCH || each->link >= 0) return false;
  return !each->detached && now - each->lost_at < RESUME_GRACE_MS;
}

// Returns whether to read from the terminal: not while a client that types is a whole window behind. A client without a
// connection does not hold up others that type, and holds up none once it has missed output.
bool state_is_output_due(int64_t now) {
  if (ended.is) return false;
  bool is_connected = false;
  for (int i = 0; i < MAX_LINKS; i++) {
    if (!by_link[i] || by_link[i]->mode == WATCH) continue;
    if (ring_end() - by_link[i]->acked >= WINDOW) return false;
    is_connected = true;
  }
  for (int i = 0; i < MAX_ATTACHMENTS && !is_connected; i++) {
    const struct attachment *each = &attachments[i];
    if (is_awaited(each, now) && each->acked >= ring_first() && ring_end() - each->acked >= WINDOW) return false;
  }
  return true;
}

// Returns when that may change through time alone, or -1.
int64_t state_wake_at(int64_t now) {
  int64_t first = -1;
  for (int i = 0; i < MAX_ATTACHMENTS; i++) {
    const struct attachment *each = &attachments[i];
    if (!is_awaited(each, now)) continue;
    int64_t at = each->lost_at + RESUME_GRACE_MS;
    if (first < 0 || at < first) first = at;
  }
  return first;
}

// Returns whether the program has ended, and each client that may want its last output has had it.
bool state_is_over(int64_t now) {
  if (!ended.is) return false;
  for (int i = 0; i < MAX_ATTACHMENTS; i++)
    if (is_awaited(&attachments[i], now)) return false;
  for (int i = 0; i < MAX_LINKS; i++)
    if (by_link[i]) return false;
  return true;
}

// ---- Output.

// Sends the last lines to a client that has not seen them. A full-screen program draws its own screen; the lines below it
// are visible again when it ends.
static void send_screen(int link) {
  struct bytes shown = {0};
  uint64_t first = ring_first(), end = modes_alternate_screen() ? modes_primary_end() : ring_end();
  if (first + REPLAY < end) first = end - REPLAY;
  if (first < end) {
    struct piece pieces[2];
    ring_read(first, (size_t)(end - first), pieces);
    for (int i = 0; i < 2; i++) bytes_add(&shown, pieces[i]);
    if (first) {  // begin with a whole line
      uint8_t *line = memchr(shown.at, '\n', shown.length);
      bytes_drop(&shown, line ? (size_t)(line + 1 - shown.at) : shown.length);
    }
    if (shown.length) shown.length = drop_queries(shown.at + shown.start, shown.length);
  }
  modes_redo(&shown);
  if (shown.length) wire_snapshot(link, shown.at + shown.start, shown.length);
  bytes_free(&shown);
}

// Sends GAP to a client that has missed output which is no longer kept, and then the present screen.
static void skip_output(struct attachment *each, uint64_t start) {
  uint64_t end = ring_end();
  each->sent = each->acked = end;
  wire_gap(each->link, start, end);
  send_screen(each->link);
}

static void send_output(struct attachment *each) {
  uint64_t end = ring_end();
  if (each->sent < ring_first()) {
    // The client only watches, or acknowledges what it has not read. Send the screen once it has acknowledged the earlier
    // output, so that one that never does is not sent screens without end.
    if (each->acked < each->sent || link_is_full(each->link)) return;
    skip_output(each, each->sent);
  }
  while (each->sent < end && each->sent - each->acked < WINDOW && !link_is_full(each->link)) {
    uint64_t room = WINDOW - (each->sent - each->acked), left = end - each->sent;
    size_t length = (size_t)(left < room ? left : room);
    if (length > MAX_DATA) length = MAX_DATA;
    struct piece pieces[2];
    ring_read(each->sent, length, pieces);
    wire_out(each->link, each->sent, pieces[0], pieces[1]);
    each->sent += length;
  }
  if (ended.is && each->sent == end && !each->exit_sent) {
    each->exit_sent = true;
    wire_exit(each->link, ended.code, ended.signal);
  }
}

// Sends output to all clients, to each as much as it has room for.
void state_pump(void) {
  for (int i = 0; i < MAX_LINKS; i++)
    if (by_link[i]) send_output(by_link[i]);
}

void state_note_exit(int32_t code, const char *signal) {
  ended.is = true;
  ended.code = code;
  ended.signal = signal;
  state_drop_taken(state_typed.length);
  state_pump();
}

// ---- Clients that attach and leave.

static void cut(struct attachment *each, int64_t now) {
  if (each->link >= 0) by_link[each->link] = NULL;
  each->link = -1;
  each->lost_at = now;
}

void state_detach_link(int link, int64_t now) {
  if (by_link[link]) cut(by_link[link], now);
}

static void expel(struct attachment *each, const char *why, int64_t now) {
  int link = each->link;
  cut(each, now);
  wire_notice(link, FAULT, why);
  link_close_soon(link);
}

// Sets the window to that of the client that acted last, and sends SIZE to all others. That client gets SIZE as well if the
// last one sent to it had another size: it may arrive after what the client did.
static void resize(const struct attachment *by, struct size wanted) {
  if (same_size(wanted, size)) return;
  size = wanted;
  terminal_resize(size);
  for (int i = 0; i < MAX_LINKS; i++) {
    struct attachment *each = by_link[i];
    if (!each) continue;
    if (each != by || each->other_size_sent) wire_size(i, size);
    each->other_size_sent = each != by;
  }
}

static void send_others_away(const struct attachment *by, int64_t now) {
  char why[MAX_OWNER + 32];
  struct text name = owner_name(&by->owner);
  snprintf(why, sizeof why, "taken over by %.*s", (int)name.length, name.at);
  for (int i = 0; i < MAX_LINKS; i++) {
    struct attachment *other = by_link[i];
    if (!other || other == by || other->mode == WATCH) continue;
    cut(other, now);
    other->detached = true;
    wire_notice(i, TAKEN_OVER, why);
    link_close_soon(i);
  }
}

// Returns the attachment that a client resumes, or NULL. Only its owner can resume it, even if others know its name.
static struct attachment *find_resumed(const struct hello *hello) {
  struct owner owner = owner_of(hello->ticket);
  for (int i = 0; i < MAX_ATTACHMENTS && hello->attachment.length == NAME; i++) {
    struct attachment *each = &attachments[i];
    if (!each->used || memcmp(each->name, hello->attachment.at, NAME)) continue;
    return is_same_owner(&each->owner, &owner) && hello->seen <= each->sent ? each : NULL;
  }
  return NULL;
}

// Returns the old link of a client that resumes before the holder knew that its connection was cut, or -1.
int state_find_replaced(const struct hello *hello) {
  const struct attachment *each = find_resumed(hello);
  return each ? each->link : -1;
}

// Returns whether `each` is forgotten before `other`. Clients that watch go first: they may be many, and lose nothing that
// they cannot see again.
static bool goes_first(const struct attachment *each, const struct attachment *other) {
  bool watches = each->mode == WATCH;
  return watches == (other->mode == WATCH) ? each->lost_at < other->lost_at : watches;
}

// Returns a place for a new client: once REMEMBERED attachments are kept, that of one without a connection. There are as
// many places as links and remembered attachments together, so one is always free.
static struct attachment *new_attachment(void) {
  struct attachment *fresh = NULL, *oldest = NULL;
  int count = 0;
  for (int i = 0; i < MAX_ATTACHMENTS; i++) {
    struct attachment *each = &attachments[i];
    if (!each->used) fresh = each;
    else count++;
    if (each->used && each->link < 0 && (!oldest || goes_first(each, oldest))) oldest = each;
  }
  if (count >= REMEMBERED && oldest) fresh = oldest;
  if (!fresh) die("no free attachment: a bug in the holder");
  uint8_t chance[NAME / 2];
  if (getrandom(chance, sizeof chance, 0) != sizeof chance) die("no random bytes: %s", strerror(errno));
  *fresh = (struct attachment){.used = true, .number = ++last_number};
  for (int i = 0; i < NAME / 2; i++) snprintf(fresh->name + 2 * i, 3, "%02x", chance[i]);
  return fresh;
}

static void resume(struct attachment *each, int link, const struct hello *hello) {
  if (each->link >= 0) {
    // The same client comes back before its old connection was known to be cut.
    by_link[each->link] = NULL;
    link_close_soon(each->link);
  }
  each->link = link;
  each->mode = hello->mode;
  each->size = hello->size;
  each->detached = each->exit_sent = each->other_size_sent = false;
}

static void welcome(struct attachment *each, uint64_t out_at, uint32_t features) {
  wire_welcome(each->link, each->name, out_at, each->taken, each->mode, features & KNOWN_FEATURES);
}

// Attaches a client on a new link.
void state_attach_link(int link, const struct hello *hello, int64_t now) {
  struct attachment *each = find_resumed(hello);
  bool back = each != NULL;
  if (back) {
    resume(each, link, hello);
  } else {
    each = new_attachment();
    each->owner = owner_of(hello->ticket);
    each->mode = hello->mode;
    each->link = link;
    each->size = hello->size;
    each->sent = each->acked = ring_end();
  }
  by_link[link] = each;
  if (each->mode == TAKE_OVER) send_others_away(each, now);
  if (!back) {
    welcome(each, each->sent, hello->features);
    send_screen(link);
  } else {
    welcome(each, hello->seen, hello->features);
    each->sent = each->acked = hello->seen;
    if (hello->seen < ring_first()) skip_output(each, hello->seen);
  }
  if (each->mode != WATCH) resize(each, hello->size);
  else if (!same_size(hello->size, size)) wire_size(link, size);
  if (modes_alternate_screen() && each->sent == ring_end()) terminal_redraw(size);
  state_pump();
}

// ---- Input.

// Records that the program has taken the first `count` bytes of the input, and acknowledges them to those who typed them.
void state_drop_taken(size_t count) {
  struct attachment *acknowledged[MAX_ATTACHMENTS];
  size_t acks = 0, gone = 0;
  if (count) bytes_drop(&state_typed, count);
  while (count) {
    size_t size = typists[gone].size < count ? typists[gone].size : count;
    struct attachment *who = typists[gone].who;
    count -= size;
    typists[gone].size -= size;
    if (who->number == typists[gone].number) {  // else the client has been forgotten
      who->taken += size;
      size_t i = 0;
      while (i < acks && acknowledged[i] != who) i++;
      if (i == acks) acknowledged[acks++] = who;
    }
    if (!typists[gone].size) gone++;
  }
  typist_count -= gone;
  memmove(typists, typists + gone, typist_count * sizeof *typists);
  for (size_t i = 0; i < acks; i++)
    if (acknowledged[i]->link >= 0) wire_inack(acknowledged[i]->link, acknowledged[i]->taken);
}

static void take_input(struct attachment *each, const struct frame *frame, int64_t now) {
  char why[96];
  if (frame->at > each->in_at) {
    snprintf(why, sizeof why, "input at offset %llu arrived, but %llu was expected", (unsigned long long)frame->at,
             (unsigned long long)each->in_at);
    expel(each, why, now);
    return;
  }
  uint64_t known = each->in_at - frame->at;
  size_t fresh = known < frame->length ? frame->length - (size_t)known : 0;
  if (each->in_at + fresh - each->taken > WINDOW || state_typed.length + fresh > MAX_TYPED) {
    expel(each, "more input than the window has room for", now);
    return;
  }
  bool goes_on = typist_count && typists[typist_count - 1].who == each && typists[typist_count - 1].number == each->number;
  bool typed = fresh && each->mode != WATCH && !ended.is;
  if (typed && !goes_on && typist_count == MAX_TYPISTS) {
    expel(each, "too many clients are typing while the program reads no input", now);
    return;
  }
  each->in_at += fresh;
  if (!typed) {
    if (each->mode == WATCH || ended.is) each->taken = each->in_at;
    wire_inack(each->link, each->taken);
    return;
  }
  bytes_add(&state_typed, (struct piece){frame->data + known, fresh});
  if (!goes_on) {
    typists[typist_count].who = each;
    typists[typist_count].number = each->number;
    typists[typist_count++].size = 0;
  }
  typists[typist_count - 1].size += fresh;
  resize(each, each->size);
}

// Handles a frame from a link after its HELLO.
void state_handle_frame(int link, const struct frame *frame, int64_t now) {
  struct attachment *each = by_link[link];
  if (!each) return;
  char why[64];
  switch (frame->kind) {
    case IN:
      take_input(each, frame, now);
      break;
    case ACK:
      if (frame->at < each->acked || frame->at > each->sent) {
        expel(each, "ACK does not belong here", now);
        break;
      }
      each->acked = frame->at;
      state_pump();
      break;
    case RESIZE:
      each->size = frame->size;
      if (each->mode != WATCH) resize(each, frame->size);
      break;
    case PING:
      wire_pong(link, frame->at, terminal_is_busy());
      break;
    case DETACH:
      cut(each, now);
      each->detached = true;
      link_close_soon(link);
      break;
    default:
      snprintf(why, sizeof why, "%s does not belong here", wire_name(frame->kind));
      expel(each, why, now);
  }
}
