/* Which block of a wavefront is next, and the wait for it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "wavefront.h"

#include <assert.h>
#include <stdatomic.h>
#include "os_threads.h"

enum { STAY = 2 }; /* diagonals that a member may be ahead of others to stay in a lane, whose weights its cache holds */

static size_t state_of(const fl_wavefront *front, size_t lane) {
  return atomic_load_explicit(&front->lane[lane].state, memory_order_acquire);
}

static int may_begin(const fl_wavefront *front, size_t lane, size_t number) {
  if (lane >= 1 && state_of(front, lane - 1) / 2 <= number) return 0;
  const size_t beyond = number + 2 < front->blocks ? number + 2 : front->blocks;
  return lane < 2 || state_of(front, lane - 2) / 2 >= beyond;
}

/* The best block for a member that comes from `last`: 0 where there is none. */
static int find_block(const fl_wavefront *front, const fl_wavefront_block *last, fl_wavefront_block *found) {
  size_t best = SIZE_MAX;
  for (size_t lane = 0; lane < front->lanes; lane++) {
    const size_t state = state_of(front, lane), number = state / 2;
    const size_t diagonal = lane + number + (lane == last->lane ? 0 : STAY);
    if (state % 2 || number == front->blocks || diagonal >= best || !may_begin(front, lane, number)) continue;
    best = diagonal;
    *found = (fl_wavefront_block){lane, number};
  }
  return best != SIZE_MAX;
}

void fl_wavefront_open(const fl_wavefront *front) {
  assert(front->lanes && front->blocks && front->blocks < SIZE_MAX / 4);
  for (size_t lane = 0; lane < front->lanes; lane++) atomic_init(&front->lane[lane].state, 0);
}

int fl_wavefront_next(const fl_wavefront *front, fl_member *member, fl_wavefront_block *block) {
  if (member->slot >= front->lanes && !member->caller) return 0;
  for (unsigned looks = 0; state_of(front, front->lanes - 1) / 2 < front->blocks; looks++) {
    fl_wavefront_block found;
    if (find_block(front, block, &found)) {
      size_t state = 2 * found.number;
      if (atomic_compare_exchange_strong_explicit(&front->lane[found.lane].state, &state, state + 1,
                                                  memory_order_acquire, memory_order_relaxed)) {
        *block = found;
        return 1;
      }
    } else if (looks < member->patience) {
      os_pause();
    } else {
      os_yield();
      if (fl_halted(member, FL_LOOK_WORK)) return 0; /* nobody may be at work any more */
    }
  }
  return 0;
}

void fl_wavefront_done(const fl_wavefront *front, const fl_wavefront_block *block) {
  atomic_store_explicit(&front->lane[block->lane].state, 2 * (block->number + 1), memory_order_release);
}
