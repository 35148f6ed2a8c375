/* A wavefront: lanes of blocks, where a block may be done once the one before it in its lane is, and those as far along
 * in the lanes before its own. Blocks go to whoever comes, about along the anti-diagonals; there is no barrier.
 *
 * What a lane hands to the next may lie in two buffers in turn: lane l + 2 does not write over a block before lane l,
 * which wrote it, has gone on to the next.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_WAVEFRONT_H
#define FASTLSTM_WAVEFRONT_H

#include "memory.h"
#include "threads.h"

/* Its next block, twice; odd: somebody is at it. */
typedef struct {
  _Alignas(FL_LINE) _Atomic size_t state;
} fl_lane;

typedef struct {
  size_t lanes, blocks; /* blocks: of a lane */
  fl_lane *lane;        /* [lanes] */
} fl_wavefront;

typedef struct {
  size_t lane, number;
} fl_wavefront_block;

/* before anybody comes */
void fl_wavefront_open(const fl_wavefront *front);

/* The loop over the blocks: for (fl_wavefront_block b = {0}; fl_wavefront_next(front, member, &b);
 * fl_wavefront_done(front, &b)) ... What the blocks that it waited for have written is visible. 0 when all is done,
 * when the call has been given up, or where there are more members than lanes. */
int fl_wavefront_next(const fl_wavefront *front, fl_member *member, fl_wavefront_block *block);
void fl_wavefront_done(const fl_wavefront *front, const fl_wavefront_block *block);

#endif
