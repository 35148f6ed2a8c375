/* A wavefront by itself: every block once, by one of the members, after those that it waits for; and the end of all
 * that wait when a call is given up.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "base/wavefront.h"
#include "base/os_threads.h"
#include "support.h"

enum { MOST_LANES = 7, MOST_BLOCKS = 23, MOST_THREADS = 6 };

typedef struct {
  fl_wavefront front;
  /* what blocks write, and read of others: plain memory, so that a sanitizer of threads sees a wait that is missing */
  int done[MOST_LANES][MOST_BLOCKS];
  int buffer[2][MOST_BLOCKS]; /* the lane that wrote it last, and 1 */
  size_t stop;                /* the block of the last lane that is never done; SIZE_MAX: none */
  _Atomic int asked;
} work;

static void do_block(work *w, size_t lane, size_t k) {
  for (uint64_t late = mix(lane * MOST_BLOCKS + k) % 8; late > 4; late--) os_yield();
  CHECK(lane < w->front.lanes && k < w->front.blocks && !w->done[lane][k]);
  CHECK(k == 0 || w->done[lane][k - 1]);
  if (lane) CHECK(w->done[lane - 1][k] && w->buffer[(lane - 1) % 2][k] == (int)lane);
  /* a lane reads what it wrote last, its state, from the buffer */
  if (k) CHECK(w->buffer[lane % 2][k - 1] == (int)lane + 1);
  w->buffer[lane % 2][k] = (int)lane + 1;
  w->done[lane][k] = 1;
}

static void member_main(void *argument, fl_member *member) {
  work *const w = argument;
  for (fl_wavefront_block b = {0}; fl_wavefront_next(&w->front, member, &b); fl_wavefront_done(&w->front, &b)) {
    if (b.lane + 1 == w->front.lanes && b.number == w->stop) {
      while (!fl_halted(member, FL_LOOK_WORK)) continue;
      return;
    }
    do_block(w, b.lane, b.number);
  }
}

static int ask(void *data) {
  work *const w = data;
  w->asked = 1;
  return 1;
}

static void run(size_t lanes, size_t blocks, size_t threads, size_t stop) {
  static fl_lane lane[MOST_LANES];
  work w = {.front = {lanes, blocks, lane}, .stop = stop};
  const fl_cancel cancel = {ask, &w};
  fl_pool *pool = NULL;
  CHECK(fl_make_pool(&pool, threads, NULL) == FL_OK);
  fl_wavefront_open(&w.front);
  const int stops = stop < blocks;
  CHECK(fl_pool_run(pool, threads, member_main, &w, stops ? &cancel : NULL) == (stops ? FL_ERROR_CANCELLED : FL_OK));
  CHECK(w.asked == stops);
  for (size_t l = 0; l < lanes; l++)
    for (size_t k = 0; k < blocks; k++) CHECK(w.done[l][k] || (stops && k >= stop) || (stops && l + 1 < lanes));
  if (stops) CHECK(!w.done[lanes - 1][stop]);
  fl_free_pool(pool);
}

int main(void) {
  for (size_t lanes = 1; lanes <= MOST_LANES; lanes++)
    for (size_t threads = 1; threads <= MOST_THREADS; threads++) {
      static const size_t blocks[] = {1, 2, 3, MOST_BLOCKS};
      for (size_t j = 0; j < sizeof blocks / sizeof blocks[0]; j++) {
        run(lanes, blocks[j], threads, SIZE_MAX);
        run(lanes, blocks[j], threads, blocks[j] / 2);
      }
    }
  puts("a wavefront: every block once, in order");
  return 0;
}
