/* Who is open, who is taken: ids of sessions become slots here. An id is a slot + 1, so never 0, and above 32 bits how
 * often the slot has been closed. Nothing here knows a number of an LSTM.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <string.h>
#include "base/arena.h"
#include "inside.h"

enum { CLOSED, OPEN, TAKEN };

struct fl_session_ids {
  size_t capacity, used, taken;
  size_t lowest;      /* no slot below it is closed */
  uint32_t *closings; /* [capacity]: how often; below 2^31 */
  uint8_t *status;    /* [capacity] */
};

static fl_session_ids *carve_ids(size_t capacity, fl_arena *arena) {
  fl_session_ids made = {.capacity = capacity};
  fl_session_ids *const there = fl_carve(arena, 1, sizeof made);
  made.closings = fl_carve(arena, capacity, sizeof *made.closings);
  made.status = fl_carve(arena, capacity, sizeof *made.status);
  if (there) *there = made;
  return there;
}

size_t fl_measure_ids(size_t capacity) {
  fl_arena arena = {0};
  if ((uint64_t)capacity > UINT32_MAX) return SIZE_MAX; /* a slot + 1 has 32 bits */
  carve_ids(capacity, &arena);
  return arena.overflow ? SIZE_MAX : arena.used;
}

fl_session_ids *fl_make_ids(size_t capacity, void *memory) {
  fl_arena arena = {.at = memory};
  fl_session_ids *const ids = carve_ids(capacity, &arena);
  assert(ids && !arena.overflow);
  memset(ids->closings, 0, capacity * sizeof *ids->closings);
  memset(ids->status, CLOSED, capacity);
  return ids;
}

size_t fl_count_ids(const fl_session_ids *ids, int taken) {
  return taken ? ids->taken : ids->used;
}

static int64_t id_of(const fl_session_ids *ids, size_t slot) {
  return (int64_t)ids->closings[slot] << 32 | (int64_t)(slot + 1);
}

void fl_list_ids(const fl_session_ids *ids, int64_t *open) {
  size_t n = 0;
  for (size_t slot = 0; slot < ids->capacity; slot++)
    if (ids->status[slot] != CLOSED) open[n++] = id_of(ids, slot);
  assert(n == ids->used);
}

fl_status fl_open_id(fl_session_ids *ids, int64_t *id, size_t *slot) {
  if (ids->used == ids->capacity) return FL_ERROR_FULL;
  size_t found = ids->lowest;
  while (ids->status[found] != CLOSED) found++;
  ids->status[found] = OPEN;
  ids->used++;
  ids->lowest = found + 1;
  *id = id_of(ids, found);
  *slot = found;
  return FL_OK;
}

/* the slot that an id names, whatever it is worth: a huge one for an id of 0 in its lower half */
static size_t slot_of(int64_t id) {
  return (size_t)((uint64_t)id & UINT32_MAX) - 1;
}

static fl_status look_up(const fl_session_ids *ids, int64_t id) {
  const size_t slot = slot_of(id);
  if (id < 0 || slot >= ids->capacity || id >> 32 > (int64_t)ids->closings[slot]) return FL_ERROR_UNKNOWN;
  if (id >> 32 < (int64_t)ids->closings[slot]) return FL_ERROR_CLOSED;
  if (ids->status[slot] == CLOSED) return FL_ERROR_UNKNOWN; /* its next one */
  return ids->status[slot] == OPEN ? FL_OK : FL_ERROR_TAKEN;
}

/* Take all n, or none: then *refused tells which one is in the way. */
static fl_status take(fl_session_ids *ids, size_t n, const int64_t *given, size_t *refused) {
  for (size_t j = 0; j < n; j++) {
    fl_status status = look_up(ids, given[j]);
    if (status == FL_OK) {
      ids->status[slot_of(given[j])] = TAKEN;
      continue;
    }
    for (size_t k = 0; k < j; k++) {
      ids->status[slot_of(given[k])] = OPEN;
      if (given[k] == given[j]) status = FL_ERROR_TWICE;
    }
    if (refused) *refused = j;
    return status;
  }
  ids->taken += n;
  return FL_OK;
}

fl_status fl_take_ids(fl_session_ids *ids, size_t n, const int64_t *given, size_t *slots, size_t *refused) {
  const fl_status status = take(ids, n, given, refused);
  for (size_t j = 0; status == FL_OK && j < n; j++) slots[j] = slot_of(given[j]);
  return status;
}

fl_status fl_give_ids(fl_session_ids *ids, size_t n, const size_t *slots) {
  for (size_t j = 0; j < n; j++) {
    if (slots[j] < ids->capacity && ids->status[slots[j]] == TAKEN) {
      ids->status[slots[j]] = OPEN;
      continue;
    }
    while (j) ids->status[slots[--j]] = TAKEN;
    return FL_ERROR_ARGUMENT;
  }
  ids->taken -= n;
  return FL_OK;
}

fl_status fl_close_ids(fl_session_ids *ids, size_t n, const int64_t *given, size_t *refused) {
  const fl_status status = take(ids, n, given, refused);
  if (status != FL_OK) return status;
  for (size_t j = 0; j < n; j++) {
    const size_t slot = slot_of(given[j]);
    ids->status[slot] = CLOSED;
    ids->closings[slot] = (ids->closings[slot] + 1) & 0x7fffffff; /* so that an id is never negative */
    if (slot < ids->lowest) ids->lowest = slot;
  }
  ids->taken -= n;
  ids->used -= n;
  return FL_OK;
}

fl_status fl_move_ids(fl_session_ids *to, const fl_session_ids *from) {
  if (from->taken || to->taken) return FL_ERROR_TAKEN;
  if (to->capacity < from->capacity) return FL_ERROR_FULL;
  if (to == from) return FL_OK;
  const size_t more = to->capacity - from->capacity;
  memcpy(to->closings, from->closings, from->capacity * sizeof *from->closings);
  memcpy(to->status, from->status, from->capacity);
  memset(to->closings + from->capacity, 0, more * sizeof *to->closings);
  memset(to->status + from->capacity, CLOSED, more);
  to->used = from->used;
  to->lowest = from->lowest;
  return FL_OK;
}
