/* The caller-owned pool and its teams.
 *
 * Measured with one competing process on two cores, us a step at H=64 / 256 / 512, median (max): a pure spin barrier 45
 * (981) / 19 (2629) / 1073 (3519); claiming 0.7 (0.8) / 8 (68) / 169 (200). Bounded spinning, then yielding, and never
 * a block that only one thread may do.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "threads.h"

#include <assert.h>
#include <stdatomic.h>
#include "memory.h"
#include "os_threads.h"

enum {
  SPINS = 400,     /* about 10 us of pauses: longer than a phase of a small layer */
  INDEX_BITS = 28, /* a claim is (phase << INDEX_BITS) | blocks taken: up to 2^28 of them, and 2^36 phases */
};

typedef struct {
  _Alignas(FL_LINE) _Atomic uint64_t taken;
} claim;

struct fl_team {
  size_t members;
  _Alignas(FL_LINE) _Atomic uint64_t phase;
  _Alignas(FL_LINE) _Atomic size_t done;
  claim *claims; /* [members] */
};

/* ---- phases and blocks ------------------------------------------------------------------------------------------ */

static size_t part_begin(size_t blocks, size_t slot, size_t members) {
  return blocks / members * slot + (blocks % members < slot ? blocks % members : slot);
}

static int take_from(fl_team *team, uint64_t phase, size_t slot, size_t blocks, size_t *block) {
  const size_t begin = part_begin(blocks, slot, team->members);
  const size_t count = part_begin(blocks, slot + 1, team->members) - begin;
  uint64_t seen = atomic_load_explicit(&team->claims[slot].taken, memory_order_relaxed);
  while (seen >> INDEX_BITS == phase && (size_t)(seen & (((uint64_t)1 << INDEX_BITS) - 1)) < count) {
    if (atomic_compare_exchange_weak_explicit(&team->claims[slot].taken, &seen, seen + 1, memory_order_acquire,
                                              memory_order_relaxed)) {
      *block = begin + (size_t)(seen & (((uint64_t)1 << INDEX_BITS) - 1));
      return 1;
    }
  }
  return 0;
}

int fl_look(fl_member *member) {
  fl_halt *const halt = member->halt;
  if (!atomic_load_explicit(&halt->given_up, memory_order_relaxed)) {
    member->work = 0;
    if (!member->caller || !halt->cancel->ask(halt->cancel->data)) return 0;
    atomic_store_explicit(&halt->given_up, 1, memory_order_relaxed);
  }
  member->work = FL_LOOK_WORK; /* the next look too finds that it is */
  return 1;
}

int fl_next_shared(fl_member *member, size_t blocks, size_t *block) {
  assert(blocks && blocks >> INDEX_BITS == 0);
  fl_team *const team = member->team;
  for (size_t j = 0; j < team->members; j++) {
    if (take_from(team, member->phase, (member->slot + j) % team->members, blocks, block)) {
      member->done++;
      return 1;
    }
  }
  /* no block left: report, and either open the next phase or wait for whoever will */
  const size_t mine = member->done;
  member->done = 0;
  if (mine && atomic_fetch_add_explicit(&team->done, mine, memory_order_acq_rel) + mine == blocks) {
    atomic_store_explicit(&team->done, 0, memory_order_relaxed);
    for (size_t j = 0; j < team->members; j++)
      atomic_store_explicit(&team->claims[j].taken, (member->phase + 1) << INDEX_BITS, memory_order_relaxed);
    atomic_store_explicit(&team->phase, member->phase + 1, memory_order_release);
  } else {
    for (unsigned spins = 0; atomic_load_explicit(&team->phase, memory_order_acquire) <= member->phase; spins++) {
      if (spins < SPINS) {
        os_pause();
      } else {
        os_yield();
        fl_halted(member, FL_LOOK_WORK); /* the others are still at work, and look at what is found here */
      }
    }
  }
  member->phase++;
  return 0;
}

/* ---- pool ------------------------------------------------------------------------------------------------------- */

typedef struct {
  fl_pool *pool;
  size_t slot;
  os_thread thread;
} worker;

struct fl_pool {
  fl_team team;
  size_t threads, started;
  long process;
  os_lock lock;
  os_condition work, idle;
  worker *workers; /* [threads], slot 0 unused */
  void (*run)(void *, fl_member *);
  void *argument;
  fl_halt *halt;
  os_id caller;
  fl_parallel parallel; /* whose threads these are; NULL: workers of our own */
  _Atomic size_t came;  /* of borrowed threads, in this call */
  uint64_t call;        /* number of the call; a worker takes part once in each */
  int open;             /* a call is running, and may still be joined */
  int busy, stop;
  _Atomic size_t active; /* workers inside run */
};

static OS_THREAD(worker_main, argument) {
  const worker *const self = argument;
  fl_pool *const pool = self->pool;
  uint64_t seen = 0;
  os_acquire(&pool->lock);
  for (;;) {
    while (!pool->stop && !(pool->open && pool->call != seen)) os_wait(&pool->work, &pool->lock);
    if (pool->stop) break;
    seen = pool->call;
    atomic_fetch_add(&pool->active, 1);
    os_release(&pool->lock);
    fl_member member = {.team = &pool->team, .slot = self->slot, .halt = pool->halt};
    pool->run(pool->argument, &member);
    os_acquire(&pool->lock);
    if (atomic_fetch_sub(&pool->active, 1) == 1) os_wake_one(&pool->idle);
  }
  os_release(&pool->lock);
  OS_THREAD_RETURN;
}

fl_status fl_make_pool(fl_pool **out, size_t threads, fl_parallel parallel) {
  assert(out && threads >= 1 && threads <= FL_MOST_THREADS);
  fl_pool *const pool = fl_allocate(sizeof *pool);
  if (!pool) return FL_ERROR_MEMORY;
  pool->threads = threads;
  pool->parallel = parallel;
  pool->process = os_process();
  pool->team.members = threads;
  pool->team.claims = fl_allocate(threads * sizeof(claim));
  pool->workers = fl_allocate(threads * sizeof *pool->workers);
  const int lock = os_lock_init(&pool->lock), work = os_condition_init(&pool->work),
            idle = os_condition_init(&pool->idle);
  fl_status status = pool->team.claims && pool->workers && lock && work && idle ? FL_OK : FL_ERROR_MEMORY;
  pool->started = 1;
  while (status == FL_OK && !parallel && pool->started < threads) {
    worker *const next = &pool->workers[pool->started];
    *next = (worker){.pool = pool, .slot = pool->started};
    if (os_start(&next->thread, worker_main, next))
      pool->started++;
    else
      status = FL_ERROR_THREADS;
  }
  if (status != FL_OK)
    fl_free_pool(pool);
  else
    *out = pool;
  return status;
}

void fl_free_pool(fl_pool *pool) {
  if (pool->process == os_process()) { /* after a fork the workers are not there, and the lock may be anyone's */
    os_acquire(&pool->lock);
    pool->stop = 1;
    os_wake_all(&pool->work);
    os_release(&pool->lock);
    for (size_t slot = 1; slot < pool->started; slot++) os_join(pool->workers[slot].thread);
    os_lock_destroy(&pool->lock);
    os_condition_destroy(&pool->work);
    os_condition_destroy(&pool->idle);
  }
  fl_free(pool->team.claims);
  fl_free(pool->workers);
  fl_free(pool);
}

size_t fl_pool_threads(const fl_pool *pool) {
  return pool ? pool->threads : 1;
}

/* Take the pool for a call, or say that it cannot be had. */
static int open_call(fl_pool *pool, void (*run)(void *, fl_member *), void *argument, fl_halt *halt) {
  if (!pool || pool->threads == 1 || pool->process != os_process()) return 0;
  os_acquire(&pool->lock);
  const int got = !pool->busy;
  if (got) {
    pool->busy = pool->open = 1;
    pool->run = run;
    pool->argument = argument;
    pool->halt = halt;
    pool->caller = os_self();
    pool->call++;
    atomic_store(&pool->team.phase, 0);
    atomic_store(&pool->team.done, 0);
    for (size_t j = 0; j < pool->threads; j++) atomic_store(&pool->team.claims[j].taken, 0);
    atomic_store(&pool->came, 0);
    if (!pool->parallel) os_wake_all(&pool->work);
  }
  os_release(&pool->lock);
  return got;
}

/* A borrowed thread: any number of them may come, or the caller's alone. */
static void take_part(void *data) {
  fl_pool *const pool = data;
  fl_member member = {.team = &pool->team,
                      .slot = atomic_fetch_add(&pool->came, 1),
                      .halt = pool->halt,
                      .caller = os_same(pool->caller, os_self())};
  if (member.slot < pool->threads) pool->run(pool->argument, &member);
}

static void close_call(fl_pool *pool) {
  os_acquire(&pool->lock);
  pool->open = 0; /* who has not come by now finds nothing to do */
  os_release(&pool->lock);
  for (unsigned spins = 0; spins < SPINS && atomic_load(&pool->active); spins++) os_pause();
  os_acquire(&pool->lock);
  while (atomic_load(&pool->active)) os_wait(&pool->idle, &pool->lock);
  pool->busy = 0;
  os_release(&pool->lock);
}

fl_status fl_pool_run(fl_pool *pool, void (*run)(void *, fl_member *), void *argument, const fl_cancel *cancel) {
  fl_halt halt = {.cancel = cancel};
  fl_halt *const asked = cancel ? &halt : NULL;
  if (open_call(pool, run, argument, asked)) {
    if (pool->parallel) {
      pool->parallel(take_part, pool, (unsigned)pool->threads, 0);
    } else {
      fl_member member = {.team = &pool->team, .halt = asked, .caller = 1};
      run(argument, &member);
    }
    close_call(pool);
  } else {
    fl_member alone = {.halt = asked, .caller = 1};
    run(argument, &alone);
  }
  return atomic_load(&halt.given_up) ? FL_ERROR_CANCELLED : FL_OK;
}
