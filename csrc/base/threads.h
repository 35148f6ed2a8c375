/* Threads that a call is shared among: the caller-owned pool, with workers of its own or borrowed ones.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_THREADS_H
#define FASTLSTM_THREADS_H

#include "team.h"

enum { FL_MOST_THREADS = 4096 };

/* parallel: whose threads they are, NULL for workers of our own */
fl_status fl_make_pool(fl_pool **pool, size_t threads, fl_parallel parallel);
void fl_free_pool(fl_pool *pool);

/* members that fl_pool_run may call; 1 for NULL */
size_t fl_pool_threads(const fl_pool *pool);

/* of them, as many as there are CPUs */
size_t fl_pool_useful(const fl_pool *pool);

typedef void (*fl_run)(void *argument, fl_member *member);

/* run(argument, member) on `members` threads of the pool (all, if it has fewer), the same ones in every call; on the
 * caller's alone if that is one, or the pool is NULL, busy, or of another process. Returns when the caller's run has
 * returned and no other is running: FL_OK, or FL_ERROR_CANCELLED. cancel may be NULL. */
fl_status fl_pool_run(fl_pool *pool, size_t members, fl_run run, void *argument, const fl_cancel *cancel);

#endif
