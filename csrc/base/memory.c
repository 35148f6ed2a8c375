/* Memory from malloc, or for a large block from the system. On Linux such a block begins on a large page's boundary and
 * asks for large pages: weights that just fill an L2 are read up to 2.6 times faster on them, since on small pages they
 * collide in its sets. Where it does not get them, the block is as any other.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#if defined(__linux__)
#define _DEFAULT_SOURCE 1
#include <sys/mman.h>
#include <unistd.h>
#endif
#include "memory.h"

/* in the line before the memory */
typedef struct {
  void *start;
  size_t mapped; /* bytes; 0: it is malloc's */
} origin;

_Static_assert(sizeof(origin) <= FL_LINE, "an origin is in one line");

static origin *origin_of(void *made) {
  return (origin *)((char *)made - sizeof(origin));
}

#if defined(MADV_HUGEPAGE)
enum {
  LARGE_PAGE = 2 << 20,
  WORTH_ONE = 3 << 19, /* for fewer bytes too much of a page would lie idle */
};

/* bytes to map for so many: what is past the last whole large page lies on small ones, unless it nearly fills one */
static size_t mapped_for(size_t bytes) {
  const size_t small = (size_t)sysconf(_SC_PAGESIZE), page = bytes % LARGE_PAGE < WORTH_ONE ? small : LARGE_PAGE;
  return (bytes + page - 1) / page * page;
}

/* zeroed; NULL: have it from malloc */
static void *allocate_large(size_t bytes) {
  if (bytes < WORTH_ONE - FL_LINE) return NULL;
  const size_t mapped = mapped_for(bytes + FL_LINE);
  char *const got = mmap(NULL, mapped + LARGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) return NULL;
  const size_t before = -(uintptr_t)got % LARGE_PAGE;
  char *const start = got + before;
  if (before) munmap(got, before);
  munmap(start + mapped, LARGE_PAGE - before);
  madvise(start, mapped, MADV_HUGEPAGE); /* refused: small pages */
  void *const made = start + FL_LINE;
  *origin_of(made) = (origin){start, mapped};
  return made;
}

static void free_large(origin from) {
  munmap(from.start, from.mapped);
}
#else
static void *allocate_large(size_t bytes) {
  (void)bytes;
  return NULL;
}

static void free_large(origin from) {
  (void)from;
}
#endif

void *fl_allocate(size_t bytes) {
  if (bytes > (size_t)PTRDIFF_MAX - 2 * FL_LINE) return NULL;
  void *const large = allocate_large(bytes);
  if (large) return large;
  char *const start = calloc(1, bytes + 2 * FL_LINE);
  if (!start) return NULL;
  void *const made = (void *)fl_align((uintptr_t)(start + sizeof(origin)));
  *origin_of(made) = (origin){.start = start};
  return made;
}

void fl_free(void *made) {
  if (!made) return;
  const origin from = *origin_of(made);
  if (from.mapped)
    free_large(from);
  else
    free(from.start);
}
