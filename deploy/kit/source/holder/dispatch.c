// Handles the frames of each link: admits or refuses the client, and passes its frames to state.c or people.c.
#include "holder.h"

#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

static enum { NONE, TO_WATCH, TO_TYPE } places[MAX_LINKS];  // kept until the link is gone

static void refuse(int number, enum word word, const char *why, int64_t now) {
  state_detach_link(number, now);
  wire_notice(number, word, why);
  link_close_soon(number);
  people_drop(number, now);
}

// Returns why there is no place for this client, or NULL if there is one.
static const char *no_place(const struct hello *hello) {
  int replaced = state_find_replaced(hello), watching = 0, typing = 0;
  for (int i = 0; i < MAX_LINKS; i++) {
    if (i == replaced) continue;
    watching += places[i] == TO_WATCH;
    typing += places[i] == TO_TYPE;
  }
  if (hello->ticket.length > MAX_OWNER) return "a HELLO with a user name of more than " TEXT(MAX_OWNER) " bytes";
  if (hello->mode == WATCH && watching >= WATCHING)
    return "this terminal is watched " TEXT(WATCHING) " times already, which is the limit; try again when another user has left";
  if (hello->mode == MIRROR && typing >= TYPING)
    return "this terminal is open " TEXT(TYPING) " times already, which is the limit; take it over, or try again when another user has left";
  return NULL;  // a client that takes over sends the others away
}

// Handles a frame of an admitted client.
static void handle_admitted(int number, const struct frame *frame, int64_t now) {
  bool rule = frame->kind == REMOVE || frame->kind == LOCK;
  if (frame->kind == IN) people_note_input(number);
  if (!rule || !people_may_rule(number)) state_handle_frame(number, frame, now);  // it sends away a client that may not do this
  else if (frame->kind == REMOVE) people_remove(number, frame->at, now);
  else people_lock(number, frame->at, now);
}

static void handle_frame(int number, const struct frame *frame, int64_t now) {
  if (link_is_attached(number)) {
    handle_admitted(number, frame, now);
    return;
  }
  const char *why = frame->kind == HELLO ? people_refusal(&frame->hello, now) : NULL;
  if (why) {
    refuse(number, DENIED, why, now);
    return;
  }
  why = frame->kind == HELLO ? no_place(&frame->hello) : "the first frame is no HELLO";
  if (!why && !program.pid) {
    why = program_start(&frame->hello);
    if (!why) state_start(frame->hello.size);
  }
  if (why) {
    refuse(number, FAULT, why, now);
    return;
  }
  link_attach(number);
  places[number] = frame->hello.mode == WATCH ? TO_WATCH : TO_TYPE;
  people_add(number, &frame->hello, now);
  state_attach_link(number, &frame->hello, now);
}

// Removes clients that were sent away from the list of people, although their last frame may still be unsent.
static void drop_removed(int64_t now) {
  for (int i = 0; i < MAX_LINKS; i++)
    if (link_is_closing(i)) people_drop(i, now);
}

// Handles all whole frames of a link. The length comes before each frame.
static void handle_frames(int number, int64_t now) {
  struct piece come;
  while ((come = link_received(number)).length >= 4) {
    const uint8_t *at = come.at;
    size_t length = read_number(at, 4);
    if (!length || length > MAX_FRAME) {
      refuse(number, FAULT, "a frame with an invalid length", now);
      return;
    }
    if (come.length - 4 < length) return;
    struct frame frame;
    const char *why = wire_read(at + 4, length, &frame);
    if (why) refuse(number, FAULT, why, now);
    else handle_frame(number, &frame, now);
    drop_removed(now);
    link_used(number, 4 + length);
  }
}

static void drop(int number, int64_t now) {
  link_drop(number);
  places[number] = NONE;
  people_drop(number, now);
  state_detach_link(number, now);
}

// Drops the links that are over. Called between events.
void dispatch_turn(int64_t now) {
  for (int i = 0; i < MAX_LINKS; i++)
    if (link_is_over(i, now)) drop(i, now);
}

void dispatch_serve(const struct pollfd *from, int64_t now) {
  for (int i = 0; i < MAX_LINKS; i++) {
    if (from[i].fd < 0 || !from[i].revents) continue;
    if (!link_serve(i, from[i].revents)) drop(i, now);
    else handle_frames(i, now);
  }
}
