/* The caller-owned pool.
 *
 * Workers that a call does not use sleep on; those that it does are woken as a tree, each by the one above it: waking
 * one costs its waker 1 to 2 us. Who does not come in time is not waited for.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "threads.h"

#include <assert.h>
#include <stdatomic.h>
#include "cpus.h"
#include "os_threads.h"

enum {
  CLOCKED_NS = 20000,  /* 20 ticks of the coarsest clock */
  PATIENCE_NS = 30000, /* to wait before others are helped, and to look out for the next call before going to sleep: */
  CROWDED_NS = 1500,   /* waking takes 5 to 12 us. The second where a core may not be there for each */
};

typedef struct {
  fl_pool *pool;
  size_t slot;
  os_thread thread;
  os_lock lock;
  os_condition wake;
  _Atomic uint64_t invited; /* to this call, at last; LAST: to none any more */
  os_id lent;               /* of borrowed threads: who was here last */
  uint64_t lent_to;         /* the call; 0: nobody was */
} worker;

static const uint64_t LAST = UINT64_MAX;

/* The gate of a call: (number of the call << CALL_BITS) | workers inside * INSIDE | OPEN while more may come */
enum { OPEN = 1, INSIDE = 2, CALL_BITS = 16 };

struct fl_pool {
  fl_team team;
  size_t threads, started;
  long process;
  os_lock lock;
  os_condition idle;
  worker *workers;      /* [threads], slot 0 unused */
  fl_parallel parallel; /* whose threads these are; NULL: workers of our own */
  unsigned pauses;      /* in PATIENCE_NS */
  size_t cpus;          /* that there are for this process; 0 where it is held back by other means */
  /* of the call */
  fl_run run;
  void *argument;
  fl_halt *halt;
  os_id caller;
  uint64_t call; /* its number */
  unsigned patience;
  _Atomic int busy;
  _Alignas(FL_LINE) _Atomic uint64_t gate;
};

static fl_member member_of(fl_pool *pool, size_t slot, int caller) {
  fl_member member = {
      .team = &pool->team, .slot = slot, .patience = pool->patience, .halt = pool->halt, .caller = caller};
  fl_join_team(&pool->team, &member);
  return member;
}

/* ---- workers ---------------------------------------------------------------------------------------------------- */

static void invite(worker *who, uint64_t call) {
  os_acquire(&who->lock);
  atomic_store(&who->invited, call);
  os_release(&who->lock);
  os_wake_one(&who->wake);
}

/* those below a slot in the tree */
static void invite_next(fl_pool *pool, size_t slot) {
  for (size_t next = 2 * slot + 1; next <= 2 * slot + 2 && next < pool->team.members; next++)
    invite(&pool->workers[next], pool->call);
}

/* Into the call, if more may come. */
static int enter(fl_pool *pool, uint64_t call) {
  uint64_t seen = atomic_load(&pool->gate);
  while (seen >> CALL_BITS == call && seen & OPEN)
    if (atomic_compare_exchange_weak(&pool->gate, &seen, seen + INSIDE)) return 1;
  return 0;
}

static void leave(fl_pool *pool, uint64_t call) {
  if (atomic_fetch_sub(&pool->gate, INSIDE) != (call << CALL_BITS | INSIDE)) return; /* not the last, or still open */
  os_acquire(&pool->lock);
  os_wake_one(&pool->idle);
  os_release(&pool->lock);
}

/* the call that the worker is invited to next: awake for a while, since it may come soon, then asleep */
static uint64_t next_call(worker *self, uint64_t seen, unsigned patience) {
  for (unsigned k = 0; k < patience && atomic_load_explicit(&self->invited, memory_order_relaxed) == seen; k++)
    os_pause();
  os_acquire(&self->lock);
  while (atomic_load(&self->invited) == seen) os_wait(&self->wake, &self->lock);
  seen = atomic_load(&self->invited);
  os_release(&self->lock);
  return seen;
}

static OS_THREAD(worker_main, argument) {
  worker *const self = argument;
  fl_pool *const pool = self->pool;
  unsigned patience = 0;
  for (uint64_t call = 0; (call = next_call(self, call, patience)) != LAST;) {
    if (!enter(pool, call)) continue;
    invite_next(pool, self->slot);
    fl_member member = member_of(pool, self->slot, 0);
    patience = member.patience;
    pool->run(pool->argument, &member);
    leave(pool, call);
  }
  OS_THREAD_RETURN;
}

/* ---- the pool --------------------------------------------------------------------------------------------------- */

/* At least: a pause that the system broke off counts as a long one. Clocks tick as seldom as once a microsecond. */
static unsigned pauses_in(uint64_t nanoseconds) {
  for (uint64_t pauses = 64;; pauses *= 2) {
    const uint64_t start = os_nanoseconds();
    for (uint64_t k = 0; k < pauses; k++) os_pause();
    const uint64_t took = os_nanoseconds() - start;
    if (took >= CLOCKED_NS) return (unsigned)(nanoseconds * pauses / took + 1);
  }
}

static int start_worker(fl_pool *pool) {
  worker *const next = &pool->workers[pool->started];
  *next = (worker){.pool = pool, .slot = pool->started};
  if (!os_lock_init(&next->lock)) return 0;
  if (!os_condition_init(&next->wake) || !os_start(&next->thread, worker_main, next)) return 0;
  pool->started++;
  return 1;
}

fl_status fl_make_pool(fl_pool **out, size_t threads, fl_parallel parallel) {
  assert(out && threads >= 1 && threads <= FL_MOST_THREADS);
  fl_pool *const pool = fl_allocate(sizeof *pool);
  if (!pool) return FL_ERROR_MEMORY;
  pool->threads = threads;
  pool->parallel = parallel;
  pool->process = os_process();
  pool->pauses = threads > 1 ? pauses_in(PATIENCE_NS) : 1;
  pool->cpus = fl_held_back() ? 0 : fl_cpus();
  pool->team.places = fl_allocate(threads * sizeof *pool->team.places);
  pool->workers = fl_allocate(threads * sizeof *pool->workers);
  const int lock = os_lock_init(&pool->lock), idle = os_condition_init(&pool->idle);
  fl_status status = pool->team.places && pool->workers && lock && idle ? FL_OK : FL_ERROR_MEMORY;
  pool->started = 1;
  while (status == FL_OK && !parallel && pool->started < threads)
    if (!start_worker(pool)) status = FL_ERROR_THREADS;
  if (status != FL_OK)
    fl_free_pool(pool);
  else
    *out = pool;
  return status;
}

void fl_free_pool(fl_pool *pool) {
  if (pool->process == os_process()) { /* after a fork the workers are not there, and the locks may be anyone's */
    for (size_t slot = 1; slot < pool->started; slot++) invite(&pool->workers[slot], LAST);
    for (size_t slot = 1; slot < pool->started; slot++) {
      os_join(pool->workers[slot].thread);
      os_lock_destroy(&pool->workers[slot].lock);
      os_condition_destroy(&pool->workers[slot].wake);
    }
    os_lock_destroy(&pool->lock);
    os_condition_destroy(&pool->idle);
  }
  fl_free(pool->team.places);
  fl_free(pool->workers);
  fl_free(pool);
}

size_t fl_pool_threads(const fl_pool *pool) {
  return pool ? pool->threads : 1;
}

size_t fl_pool_useful(const fl_pool *pool) {
  const size_t threads = fl_pool_threads(pool);
  return threads == 1 || fl_uses_all_threads() || threads < fl_cpus() ? threads : fl_cpus();
}

/* ---- a call ----------------------------------------------------------------------------------------------------- */

/* The first phase of a call, after all that the stamps of the calls before it can be of. */
static void begin_team(fl_team *team, size_t threads, size_t members) {
  uint64_t last = 0;
  for (size_t slot = 0; slot < team->members; slot++) {
    const uint64_t phase = atomic_load_explicit(&team->places[slot].finished, memory_order_relaxed) >> FL_STAMP_BITS;
    if (phase > last) last = phase;
  }
  team->members = members;
  team->base = last + 3; /* the last phase is stamped; base - 1 is of who has come and stamped none */
  if (team->base >> 35) {
    for (size_t slot = 0; slot < threads; slot++) {
      atomic_store(&team->places[slot].finished, 0);
      atomic_store(&team->places[slot].taken, 0);
    }
    team->base = 2;
  }
  atomic_store_explicit(&team->phase, team->base, memory_order_relaxed);
}

/* Take the pool for a call, or say that it cannot be had. */
static int open_call(fl_pool *pool, size_t members, fl_run run, void *argument, fl_halt *halt) {
  if (!pool || pool->threads == 1 || members == 1 || pool->process != os_process()) return 0;
  if (atomic_exchange(&pool->busy, 1)) return 0;
  if (members > pool->threads) members = pool->threads;
  pool->run = run;
  pool->argument = argument;
  pool->halt = halt;
  pool->caller = os_self();
  pool->patience =
      members <= pool->cpus ? pool->pauses : (unsigned)((uint64_t)pool->pauses * CROWDED_NS / PATIENCE_NS + 1);
  pool->call++;
  begin_team(&pool->team, pool->threads, members);
  atomic_store(&pool->gate, pool->call << CALL_BITS | OPEN);
  if (!pool->parallel) invite_next(pool, 0);
  return 1;
}

/* Of borrowed threads, the slot that this one had in the last call, else one whose thread of then has not come since,
 * or that nobody had, else any: callers that take turns have threads of their own. Slot 0 is the caller's. 0: there is
 * none for it. */
static size_t lent_slot(fl_pool *pool) {
  size_t found = 0, kept_for_another = 0;
  os_acquire(&pool->lock);
  for (size_t slot = 1; slot < pool->team.members; slot++) {
    const worker *const place = &pool->workers[slot];
    const int kept = place->lent_to && place->lent_to + 1 >= pool->call;
    if (kept && place->lent_to < pool->call && os_same(place->lent, os_self())) {
      found = slot;
      break;
    }
    if (!found && !kept) found = slot;
    if (!kept_for_another && place->lent_to < pool->call) kept_for_another = slot;
  }
  if (!found) found = kept_for_another;
  if (found) {
    pool->workers[found].lent = os_self();
    pool->workers[found].lent_to = pool->call;
  }
  os_release(&pool->lock);
  return found;
}

/* A borrowed thread: any number of them may come, or the caller's alone. */
static void take_part(void *data) {
  fl_pool *const pool = data;
  const int caller = os_same(pool->caller, os_self());
  const size_t slot = caller ? 0 : lent_slot(pool);
  if (!caller && !slot) return;
  fl_member member = member_of(pool, slot, caller);
  pool->run(pool->argument, &member);
}

static void close_call(fl_pool *pool) {
  const uint64_t closed = pool->call << CALL_BITS;
  atomic_fetch_and(&pool->gate, ~(uint64_t)OPEN); /* who has not come by now finds nothing to do */
  for (unsigned k = 0; k < pool->patience && atomic_load(&pool->gate) != closed; k++) os_pause();
  if (atomic_load(&pool->gate) != closed) {
    os_acquire(&pool->lock);
    while (atomic_load(&pool->gate) != closed) os_wait(&pool->idle, &pool->lock);
    os_release(&pool->lock);
  }
  atomic_store(&pool->busy, 0);
}

fl_status fl_pool_run(fl_pool *pool, size_t members, fl_run run, void *argument, const fl_cancel *cancel) {
  fl_halt halt = {.cancel = cancel};
  fl_halt *const asked = cancel ? &halt : NULL;
  if (open_call(pool, members, run, argument, asked)) {
    if (pool->parallel) {
      pool->parallel(take_part, pool, (unsigned)pool->threads, 0); /* always as many: libgomp ends those left over */
    } else {
      fl_member member = member_of(pool, 0, 1);
      run(argument, &member);
    }
    close_call(pool);
  } else {
    fl_member alone = {.halt = asked, .caller = 1};
    run(argument, &alone);
  }
  return atomic_load(&halt.given_up) ? FL_ERROR_CANCELLED : FL_OK;
}
