// The people at the terminal, the last one who typed, and the lock: src/stagedoor/holder/people.py does the same.
//
// All connected clients are in this list, however they came. Their names are those in their HELLO; the gateway knows which
// of them it has admitted.
#include <stdio.h>
#include <string.h>

#include "holder.h"

#define NOTIFY_MS 500
#define LOCK_GRACE_MS 60000

static struct here {
  uint64_t number;      // unique; 0: this link has no client
  bool gets_people;     // its HELLO has FEATURE_PEOPLE
  enum mode mode;
  int64_t since;
  struct owner owner;
} here[MAX_LINKS];
static uint64_t numbers, last_typed;
static struct owner lock;
static bool locked, changed;
static int64_t lock_until = -1;  // -1: its owner is connected
static int64_t notified_at = -NOTIFY_MS;

static bool begins(const struct owner *owner, const char *with) {
  return owner->length >= strlen(with) && !memcmp(owner->at, with, strlen(with));
}

static bool rules(const struct here *each) { return each->mode != WATCH && begins(&each->owner, "user:"); }

// Returns whether the lock keeps a client out. It does not apply to people who watch by an administrator's grant.
static bool is_out(const struct owner *owner, enum mode mode) {
  return !(mode == WATCH && begins(owner, "watch:")) && !is_same_owner(owner, &lock);
}

void people_add(int link, const struct hello *hello, int64_t now) {
  here[link] = (struct here){.number = ++numbers, .mode = hello->mode == WATCH ? WATCH : MIRROR, .since = now};
  here[link].owner = owner_of(hello->ticket);
  here[link].gets_people = hello->features & FEATURE_PEOPLE;
  if (locked && is_same_owner(&here[link].owner, &lock)) lock_until = -1;
  changed = true;
}

void people_drop(int link, int64_t now) {
  struct here gone = here[link];
  if (!gone.number) return;
  here[link] = (struct here){0};
  changed = true;
  if (!locked || !is_same_owner(&gone.owner, &lock)) return;
  for (int i = 0; i < MAX_LINKS; i++)
    if (here[i].number && is_same_owner(&here[i].owner, &lock)) return;
  lock_until = now + LOCK_GRACE_MS;
}

void people_note_input(int link) {
  if (!here[link].number || here[link].mode == WATCH || here[link].number == last_typed) return;
  last_typed = here[link].number;
  changed = true;
}

bool people_may_rule(int link) { return here[link].number && rules(&here[link]); }

// ---- Sending away.

static char why[MAX_OWNER + 160];

static const char *line_about(const struct owner *owner, const char *what) {
  struct text name = owner_name(owner);
  snprintf(why, sizeof why, "%.*s %s", (int)name.length, name.at, what);
  return why;
}

static const char *kept(const struct owner *owner) {
  return line_about(owner, "has locked this terminal; ask them to unlock it, or open another terminal by a name");
}

static void send_away(int link, const char *text, int64_t now) {
  static const struct frame detach = {.kind = DETACH};
  wire_notice(link, REVOKED, text);
  state_handle_frame(link, &detach, now);
}

void people_remove(int by, uint64_t number, int64_t now) {
  for (int i = 0; i < MAX_LINKS; i++)
    if (number && here[i].number == number) {
      send_away(i, line_about(&here[by].owner, "has removed you from this terminal"), now);
      return;
    }
}

void people_lock(int by, bool on, int64_t now) {
  lock = here[by].owner;
  locked = on;
  lock_until = -1;
  changed = true;
  for (int i = 0; on && i < MAX_LINKS; i++)
    if (here[i].number && is_out(&here[i].owner, here[i].mode)) send_away(i, kept(&lock), now);
}

static void expire_lock(int64_t now) {
  if (lock_until < 0 || now < lock_until) return;
  locked = false;
  lock_until = -1;
  changed = true;
}

bool people_locked(void) { return locked; }

// Returns why the lock keeps a client out now, or NULL if it may attach.
const char *people_refusal(const struct hello *hello, int64_t now) {
  expire_lock(now);
  struct owner owner = owner_of(hello->ticket);
  return locked && is_out(&owner, hello->mode) ? kept(&lock) : NULL;
}

// ---- Notifying clients.

static bool has_news(void) {
  for (int i = 0; changed && i < MAX_LINKS; i++)
    if (here[i].gets_people) return true;
  return false;
}

// Returns when `people_notify` should be called next, or -1 if only an event can change anything.
int64_t people_due_at(void) {
  int64_t notify_at = has_news() ? notified_at + NOTIFY_MS : -1;
  return notify_at < 0 || (lock_until >= 0 && lock_until < notify_at) ? lock_until : notify_at;
}

// Sends PEOPLE if it is due, and ends a lock whose owner has stayed away.
void people_notify(int64_t now) {
  expire_lock(now);
  if (!has_news() || now < notified_at + NOTIFY_MS) return;
  changed = false;
  notified_at = now;
  // Sort people by the order in which they came.
  struct person people[MAX_LINKS];
  size_t count = 0;
  for (int i = 0; i < MAX_LINKS; i++) {
    const struct here *each = &here[i];
    if (!each->number) continue;
    size_t to = count++;
    for (; to && people[to - 1].number > each->number; to--) people[to] = people[to - 1];
    people[to] = (struct person){.number = each->number, .name = {each->owner.at, each->owner.length}, .mode = each->mode,
                                 .typed = each->number == last_typed, .for_s = (uint32_t)((now - each->since) / 1000)};
  }
  for (int i = 0; i < MAX_LINKS; i++)
    if (here[i].gets_people && !link_is_full(i)) wire_people(i, here[i].number, rules(&here[i]), locked, people, count);
}
