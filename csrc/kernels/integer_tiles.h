/* Tiles of sums for more than a few rows (AMX): what integers.h has panels_by_planes for elsewhere.
 *
 * Eight tiles of 16 x 64 bytes: four of sums, 16 rows by half a panel each; two of rounded rows, and both halves of
 * 64 k of a panel's weights, which are packed as the instruction wants them. The second two tiles of sums are the fast
 * form's next rows, or the accurate one's low plane. A row is laid out for it, in lines of 64 bytes, zeros after its
 * end:
 *
 *   fast      a line for every 64 k
 *   accurate  two, the high plane, then the low one
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_INTEGER_TILES_H
#define FASTLSTM_INTEGER_TILES_H

enum { TILE = 16, LINE = 64 };

/* GCC (12) does not know that tiles are loaded from memory. */
#define WRITTEN() __asm__ volatile("" ::: "memory")

/* Rows of a tile: as many in each, so that the last may begin before the one before it ends. */
INLINE size_t rows_of_tile(size_t m) {
  const size_t tiles = (m + TILE - 1) / TILE;
  return (m + tiles - 1) / tiles;
}

static NOINLINE void begin_tiles(size_t m) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } shape = {.palette = 1};
  for (size_t j = 0; j < 8; j++) {
    shape.bytes[j] = LINE;
    shape.rows[j] = (uint8_t)(j < 6 ? rows_of_tile(m) : TILE);
  }
  WRITTEN();
  _tile_loadconfig(&shape);
}

static void end_tiles(void) {
  _tile_release();
}

/* rounded rows of one or two tiles, of a block */
typedef struct {
  const int8_t *a, *b;
  size_t row, step; /* bytes from a row to the next, from 64 k to the next */
} tile_lines;

/* A block of one panel: s[2][TILE][FL_PANEL], or the first half of it. */
INLINE void sum_tiles(const int two, tile_lines q, const uint8_t *w, size_t groups, int32_t *s) {
  _Alignas(64) uint8_t last[TILE * GROUP_BYTES];
  _tile_zero(0);
  _tile_zero(1);
  if (two) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (size_t g = 0; g < groups; g += TILE, w += TILE * GROUP_BYTES, q.a += q.step, q.b += q.step) {
    const uint8_t *from = w;
    if (groups - g < TILE) { /* past them there may be nothing */
      memset(last, 0, sizeof last);
      from = memcpy(last, w, (groups - g) * GROUP_BYTES);
    }
    WRITTEN();
    _tile_loadd(6, from, GROUP_BYTES);
    _tile_loadd(7, from + LINE, GROUP_BYTES);
    _tile_loadd(4, q.a, q.row);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    if (two) {
      _tile_loadd(5, q.b, q.row);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
    }
  }
  _tile_stored(0, s, 4 * FL_PANEL);
  _tile_stored(1, s + TILE, 4 * FL_PANEL);
  if (two) {
    _tile_stored(2, s + TILE * FL_PANEL, 4 * FL_PANEL);
    _tile_stored(3, s + TILE * FL_PANEL + TILE, 4 * FL_PANEL);
  }
  WRITTEN();
}

/* rows from `first` on, of one tile, or with `two` in the fast form of two, against one panel */
INLINE void tiled_rows(const int fast, const int two, size_t m, size_t first, const integer_slice *slice,
                       const integer_result *to) {
  _Alignas(64) int32_t s[2 * TILE * FL_PANEL];
  _Alignas(64) real part[2 * TILE * FL_PANEL];
  const size_t size = rows_of_tile(m), blocks = blocks_of(slice->k), step = fast ? LINE : 2 * LINE;
  const size_t begin[2] = {first + size < m ? first : m - size, first + 2 * size < m ? first + size : m - size};
  if (blocks > 1) memset(part, 0, sizeof part);
  for (size_t block = 0; block < blocks; block++) {
    const size_t done = block * BLOCK_GROUPS, left = groups_of(slice->k) - done;
    const int8_t *const a = slice->row[begin[0]].q + block * (BLOCK / LINE) * step;
    const int8_t *const b = slice->row[begin[1]].q + block * (BLOCK / LINE) * step;
    const tile_lines lines = {a, fast ? b : a + LINE, slice->row_bytes, step};
    sum_tiles(two || !fast, lines, slice->w + HEADER_ROWS * FL_PANEL + done * GROUP_BYTES,
              left < BLOCK_GROUPS ? left : BLOCK_GROUPS, s);
    for (size_t tile = 0; tile < (two ? 2 : 1); tile++)
      for (size_t r = first + tile * size; r < m && r < first + (tile + 1) * size; r++) {
        const size_t at = (tile * TILE + r - begin[tile]) * FL_PANEL;
        if (!fast) join_planes(s + at, s + at + TILE * FL_PANEL, FL_PANEL);
        take_sums(slice, to, r, 0, 0, FL_PANEL, s + at, block, part + at);
      }
  }
}

/* m rounded rows against `panels` panels */
static NOINLINE void tiled_panels(const int fast, size_t m, const integer_slice *slice, const integer_result *to,
                                  size_t panels) {
  const size_t size = rows_of_tile(m);
  for (size_t p = 0; p < panels; p++) {
    const integer_slice at = integers_from(*slice, p);
    const integer_result there = result_from(*to, p);
    for (size_t first = 0; first < m; first += (fast ? 2 : 1) * size) {
      if (fast && first + size < m)
        tiled_rows(fast, 1, m, first, &at, &there);
      else
        tiled_rows(fast, 0, m, first, &at, &there);
    }
  }
}

#endif
