/* Sharing a piece of work among the members of a team.
 *
 * Work is a fixed list of phases, each a number of blocks; every member walks the same list. A member takes blocks from
 * its own part of a phase first (so the same core sees the same weights at every time step), then from the others'; the
 * phase ends when all its blocks are done. Nobody waits for a member that is not there: one that starts late finds
 * phases done and walks past them, and one that the system has put aside delays the others by the one block that it
 * holds.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_THREADS_H
#define FASTLSTM_THREADS_H

#include <stdint.h>
#include "fastlstm.h"

typedef struct fl_team fl_team;

/* Whether a call is to be given up. */
typedef struct {
  const fl_cancel *cancel;
  _Atomic int given_up;
} fl_halt;

typedef struct {
  fl_team *team; /* NULL: alone */
  size_t slot;   /* 0 .. threads-1 */
  uint64_t phase;
  size_t done;   /* blocks finished in this phase and not yet reported */
  size_t next;   /* alone: the next block */
  fl_halt *halt; /* NULL: the call cannot be cancelled */
  int caller;    /* this is the thread that called, which alone asks */
  size_t work;   /* since it looked at halt, in multiply-adds */
} fl_member;

enum {
  FL_LOOK_WORK = 1 << 22, /* multiply-adds between two looks at fl_halt: 0.1 to 1 ms, and a look takes 50 ns */
  FL_CALL_WORK = 1 << 24  /* most of them in one call of a kernel, if that can be halved */
};

int fl_look(fl_member *member);

/* After `work` more multiply-adds: is the call to be given up? Once it is, the answer stays. A member that is not alone
 * may then leave between two phases for good, as if it had never come; or walk through the phases that are left without
 * doing anything. */
static inline int fl_halted(fl_member *member, size_t work) {
  return member->halt && (member->work += work) >= FL_LOOK_WORK && fl_look(member);
}

/* blocks of `grain` at most, of `work` multiply-adds each: no more of them in one call of a kernel than FL_CALL_WORK */
static inline size_t fl_short_calls(const fl_member *member, size_t grain, size_t work) {
  if (!member->halt || grain * work <= FL_CALL_WORK) return grain;
  return work < FL_CALL_WORK ? FL_CALL_WORK / work : 1;
}

int fl_next_shared(fl_member *member, size_t blocks, size_t *block);

/* The loop over the blocks of a phase: for (size_t b; fl_next(member, blocks, &b);) ... Returns 0 when all blocks of
 * the phase are done, by whomever; what they wrote is then visible. blocks > 0, the same for every member. Inline for
 * one who is alone: a small layer's step is 150 ns. */
static inline int fl_next(fl_member *member, size_t blocks, size_t *block) {
  if (member->team) return fl_next_shared(member, blocks, block);
  if (member->next < blocks) {
    *block = member->next++;
    return 1;
  }
  member->next = 0;
  return 0;
}

enum { FL_MOST_THREADS = 4096 };

/* parallel: whose threads they are, NULL for workers of our own */
fl_status fl_make_pool(fl_pool **pool, size_t threads, fl_parallel parallel);
void fl_free_pool(fl_pool *pool);

/* members that fl_pool_run may call; 1 for NULL */
size_t fl_pool_threads(const fl_pool *pool);

/* run(argument, member) on every thread of the pool, or on the caller's alone if the pool is NULL, busy, or of another
 * process. Returns when the caller's run has returned and no other is running: FL_OK, or FL_ERROR_CANCELLED. cancel may
 * be NULL. */
fl_status fl_pool_run(fl_pool *pool, void (*run)(void *argument, fl_member *member), void *argument,
                      const fl_cancel *cancel);

#endif
