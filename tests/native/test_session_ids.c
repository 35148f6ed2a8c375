/* Ids of sessions by themselves: a long life of opening, taking, giving back, closing and moving, each answer compared
 * with a plain list of all that was ever opened; and what an answer of no leaves as it was, byte by byte.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "fastlstm.h"
#include "support.h"

enum { CAPACITY = 13, MOST_EVER = 4000, ROUNDS = 40000, AT_ONCE = 6 };

static unsigned next(unsigned below) {
  static uint64_t state;
  return (unsigned)(mix(state += GOLDEN) % below);
}

/* ---- what is expected: every session that there ever was ------------------------------------------------------  */

typedef enum { IS_OPEN, IS_TAKEN, IS_CLOSED } life;

static struct {
  int64_t id;
  size_t slot;
  life life;
} ever[MOST_EVER];
static size_t known;

static size_t find(int64_t id) {
  size_t k = 0;
  while (k < known && ever[k].id != id) k++;
  return k;
}

static size_t answers[FL_ERROR_TAKEN + 1];

static size_t count(life which) {
  size_t n = 0;
  for (size_t k = 0; k < known; k++) n += ever[k].life == which;
  return n;
}

static size_t used(void) {
  return count(IS_OPEN) + count(IS_TAKEN);
}

/* how `n` ids are answered, and which is in the way */
static fl_status expected(size_t n, const int64_t *id, size_t *refused) {
  for (size_t j = 0; j < n; j++) {
    const size_t k = find(id[j]);
    *refused = j;
    if (k == known) return FL_ERROR_UNKNOWN;
    if (ever[k].life == IS_CLOSED) return FL_ERROR_CLOSED;
    for (size_t i = 0; i < j; i++)
      if (id[i] == id[j]) return FL_ERROR_TWICE;
    if (ever[k].life == IS_TAKEN) return FL_ERROR_TAKEN;
  }
  return FL_OK;
}

/* ---- the ids ----------------------------------------------------------------------------------------------------  */

static fl_session_ids *ids;
static void *raw, *memory;
static size_t capacity, bytes;

static void make(size_t room, fl_session_ids **made, void **block, void **at) {
  *at = aligned(fl_session_ids_size(room), block);
  *made = fl_session_ids_init(room, *at);
  CHECK(*made && fl_session_ids_used(*made) == 0 && fl_session_ids_taken(*made) == 0);
}

static void check_all(void) {
  int64_t open[2 * CAPACITY], last = -1;
  const size_t n = used();
  CHECK(fl_session_ids_used(ids) == n && fl_session_ids_taken(ids) == count(IS_TAKEN));
  CHECK(fl_session_ids_list(ids, open) == FL_OK);
  for (size_t j = 0; j < n; j++) {
    const size_t k = find(open[j]);
    CHECK(k < known && ever[k].life != IS_CLOSED && (int64_t)ever[k].slot > last); /* in the order of slots */
    last = (int64_t)ever[k].slot;
  }
}

static void open_one(void) {
  int64_t id = -7;
  size_t slot = 77;
  if (used() == capacity) {
    answers[FL_ERROR_FULL]++;
    CHECK(fl_session_ids_open(ids, &id, &slot) == FL_ERROR_FULL && id == -7 && slot == 77);
    return;
  }
  CHECK(known < MOST_EVER && fl_session_ids_open(ids, &id, &slot) == FL_OK);
  CHECK(id > 0 && find(id) == known); /* never one that there was before */
  size_t lowest = 0;
  for (int moved = 1; moved;) { /* the lowest that nobody has */
    moved = 0;
    for (size_t k = 0; k < known; k++)
      if (ever[k].life != IS_CLOSED && ever[k].slot == lowest) lowest++, moved = 1;
  }
  CHECK(slot == lowest && (id & 0xffffffff) == (int64_t)slot + 1);
  ever[known].id = id;
  ever[known].slot = slot;
  ever[known++].life = IS_OPEN;
}

/* mostly sessions of late, at times nonsense */
static int64_t any_id(void) {
  const int64_t far = (int64_t)1 << 32, nonsense[] = {0, -1, CAPACITY + 900, INT64_MAX, INT64_MIN, far, 5 * far + 1};
  if (!known || next(16) == 0) return nonsense[next(7)];
  const size_t back = next(8) ? 2 * CAPACITY : MOST_EVER;
  const size_t k = known - 1 - next((unsigned)(known < back ? known : back));
  return next(40) ? ever[k].id : ever[k].id + ((int64_t)1 << 40); /* or one of the far future */
}

/* Take or close some; a copy of the memory tells that a no has changed nothing. */
static void take_or_close(int closes) {
  int64_t id[AT_ONCE];
  size_t slots[AT_ONCE], refused = 99, wrong = 99;
  const size_t n = next(AT_ONCE + 1);
  for (size_t j = 0; j < n; j++) {
    do id[j] = any_id();
    while (next(4) && expected(1, &id[j], &refused) != FL_OK);
  }
  refused = 99;
  char *const before = allocated(bytes);
  memcpy(before, memory, bytes);
  const fl_status answer = expected(n, id, &refused);
  answers[answer]++;
  size_t *const told = next(5) ? &wrong : NULL;
  CHECK((closes ? fl_session_ids_close(ids, n, id, told) : fl_session_ids_take(ids, n, id, slots, told)) == answer);
  if (answer != FL_OK) {
    CHECK(!told || wrong == refused);
    CHECK(!memcmp(before, memory, bytes));
  }
  free(before);
  for (size_t j = 0; answer == FL_OK && j < n; j++) {
    const size_t k = find(id[j]);
    CHECK(closes || slots[j] == ever[k].slot);
    ever[k].life = closes ? IS_CLOSED : IS_TAKEN;
  }
}

static void give(void) {
  size_t slots[2 * CAPACITY + 1], n = 0;
  for (size_t k = 0; k < known; k++)
    if (ever[k].life == IS_TAKEN && next(2)) slots[n++] = ever[k].slot;
  char *const before = allocated(bytes);
  memcpy(before, memory, bytes);
  slots[n] = n && next(2) ? slots[0] : next(2) ? capacity : SIZE_MAX; /* twice, or none */
  CHECK(fl_session_ids_give(ids, n + 1, slots) == FL_ERROR_ARGUMENT && !memcmp(before, memory, bytes));
  free(before);
  CHECK(fl_session_ids_give(ids, n, slots) == FL_OK);
  for (size_t k = 0; k < known; k++)
    for (size_t j = 0; j < n; j++)
      if (ever[k].life == IS_TAKEN && ever[k].slot == slots[j]) ever[k].life = IS_OPEN;
}

static void move(size_t room) {
  fl_session_ids *more;
  void *block, *at;
  make(room, &more, &block, &at);
  int64_t id;
  size_t slot;
  for (size_t k = 0; k < room; k++) CHECK(fl_session_ids_open(more, &id, &slot) == FL_OK); /* does not count */
  const fl_status answer = count(IS_TAKEN) ? FL_ERROR_TAKEN : room < capacity ? FL_ERROR_FULL : FL_OK;
  CHECK(fl_session_ids_move(more, ids) == answer);
  if (answer != FL_OK) {
    free(block);
    return;
  }
  free(raw);
  ids = more;
  raw = block;
  memory = at;
  capacity = room;
  bytes = fl_session_ids_size(room);
}

static void live_long(void) {
  make(capacity = CAPACITY, &ids, &raw, &memory);
  bytes = fl_session_ids_size(CAPACITY);
  for (size_t round = 0; round < ROUNDS; round++) {
    switch (next(8)) {
      case 0:
      case 1:
      case 2:
      case 3: open_one(); break;
      case 4: take_or_close(0); break;
      case 5: take_or_close(1); break;
      case 6: give(); break;
      default:
        if (next(20) == 0) move(capacity + 1 > 2 * CAPACITY || next(3) == 0 ? capacity - 1 : capacity + 1);
    }
    if (round % 16 == 0) check_all();
  }
  for (int status = FL_OK; status <= FL_ERROR_TAKEN; status++) /* every answer has been given, many times */
    CHECK((status > FL_OK && status < FL_ERROR_FULL) || answers[status] > 100);
  free(raw);
}

/* ---- the ends of the ranges -------------------------------------------------------------------------------------  */

/* A slot's id after 2^31 closings is its first again. Nobody waits for them: the counter is set, where it lies. */
static void wraps(void) {
  int64_t id, again;
  size_t slot, refused;
  make(2, &ids, &raw, &memory);
  CHECK(fl_session_ids_open(ids, &id, &slot) == FL_OK && id == 1 && slot == 0);
  CHECK(fl_session_ids_close(ids, 1, &id, NULL) == FL_OK);
  uint32_t *const closings = (uint32_t *)((char *)memory + 64);
  CHECK(closings[0] == 1 && closings[1] == 0);
  closings[0] = 0x7fffffff;
  CHECK(fl_session_ids_open(ids, &again, &slot) == FL_OK && again == ((int64_t)0x7fffffff << 32 | 1));
  CHECK(fl_session_ids_close(ids, 1, &id, &refused) == FL_ERROR_CLOSED && refused == 0);
  CHECK(fl_session_ids_close(ids, 1, &again, NULL) == FL_OK && closings[0] == 0);
  CHECK(fl_session_ids_close(ids, 1, &again, NULL) == FL_ERROR_UNKNOWN);
  CHECK(fl_session_ids_open(ids, &again, &slot) == FL_OK && again == id);
  free(raw);
}

static void no_room(void) {
  int64_t id;
  size_t slot;
  make(0, &ids, &raw, &memory);
  CHECK(fl_session_ids_open(ids, &id, &slot) == FL_ERROR_FULL && fl_session_ids_list(ids, NULL) == FL_OK);
  id = 1;
  CHECK(fl_session_ids_take(ids, 1, &id, &slot, NULL) == FL_ERROR_UNKNOWN);
  free(raw);
}

static void refuses(void) {
  int64_t id = 1;
  size_t slot = 0;
  const fl_status no = FL_ERROR_ARGUMENT;
  make(2, &ids, &raw, &memory);
  CHECK(!fl_session_ids_init(2, NULL) && !fl_session_ids_init(2, (char *)memory + 8));
  if (SIZE_MAX > UINT32_MAX) {
    const size_t most = UINT32_MAX;
    CHECK(fl_session_ids_size(most) != SIZE_MAX && fl_session_ids_size(most + 1) == SIZE_MAX);
    CHECK(!fl_session_ids_init(most + 1, memory));
  }
  CHECK(fl_session_ids_size(SIZE_MAX) == SIZE_MAX);
  CHECK(fl_session_ids_used(NULL) == 0 && fl_session_ids_taken(NULL) == 0 && fl_session_ids_list(NULL, &id) == no);
  CHECK(fl_session_ids_open(NULL, &id, &slot) == no && fl_session_ids_open(ids, NULL, &slot) == no);
  CHECK(fl_session_ids_open(ids, &id, NULL) == no && fl_session_ids_used(ids) == 0);
  CHECK(fl_session_ids_open(ids, &id, &slot) == FL_OK && fl_session_ids_list(ids, NULL) == no);
  CHECK(fl_session_ids_take(NULL, 1, &id, &slot, NULL) == no && fl_session_ids_take(ids, 1, NULL, &slot, NULL) == no);
  CHECK(fl_session_ids_take(ids, 1, &id, NULL, NULL) == no && fl_session_ids_taken(ids) == 0);
  CHECK(fl_session_ids_give(NULL, 1, &slot) == no && fl_session_ids_give(ids, 1, NULL) == no);
  CHECK(fl_session_ids_close(NULL, 1, &id, NULL) == no && fl_session_ids_close(ids, 1, NULL, NULL) == no);
  CHECK(fl_session_ids_move(NULL, ids) == no && fl_session_ids_move(ids, NULL) == no);
  CHECK(fl_session_ids_take(ids, 0, NULL, NULL, NULL) == FL_OK && fl_session_ids_give(ids, 0, NULL) == FL_OK);
  CHECK(fl_session_ids_close(ids, 0, NULL, NULL) == FL_OK && fl_session_ids_move(ids, ids) == FL_OK);
  CHECK(fl_session_ids_used(ids) == 1 && fl_session_ids_taken(ids) == 0);
  free(raw);
}

int main(void) {
  live_long();
  wraps();
  no_room();
  refuses();
  printf("fastlstm session ids: %zu sessions, each told from all others\n", known);
  return 0;
}
