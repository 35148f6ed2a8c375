/* Chunks of the spans, each with its sum: threads share them, and a large array costs no more to keep than 0.4 %.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "digest.h"

#include <stdatomic.h>
#include <string.h>
#include "base/memory.h"
#include "plan.h"
#include "base/threads.h"

enum {
  LINE = FL_DIGEST_LANES * sizeof(uint64_t),
  CHUNK = 256 * LINE,
  SHARED = 1 << 20 /* bytes from which a second thread is worth its waking */
};

typedef uint64_t sums[FL_DIGEST_LANES];

struct fl_digest {
  const fl_kernels *kernels;
  size_t n, chunks, bytes;
  fl_span *spans; /* [n] */
  sums *kept;     /* [chunks] */
};

/* one walk over all chunks */
typedef struct {
  const fl_digest *digest;
  sums *to; /* where they go; NULL: to be compared */
  _Atomic int differs;
} walk;

static size_t chunks_of(size_t bytes) {
  return bytes / CHUNK + (bytes % CHUNK != 0);
}

static void sum_chunk(const fl_digest *digest, size_t chunk, sums out) {
  const fl_span *span = digest->spans;
  for (; chunk >= chunks_of(span->bytes); span++) chunk -= chunks_of(span->bytes);
  const char *const from = (const char *)span->data + chunk * CHUNK;
  const size_t left = span->bytes - chunk * CHUNK, bytes = left < CHUNK ? left : CHUNK, lines = bytes / LINE;
  memset(out, 0, sizeof(sums));
  digest->kernels->digest(from, lines, out);
  if (bytes % LINE) {
    char line[LINE] = {0};
    memcpy(line, from + lines * LINE, bytes % LINE);
    digest->kernels->digest(line, 1, out);
  }
}

static void walk_chunks(void *argument, fl_member *member) {
  walk *const work = argument;
  const fl_digest *const digest = work->digest;
  for (size_t chunk; fl_next(member, digest->chunks, &chunk);) {
    sums found;
    if (atomic_load_explicit(&work->differs, memory_order_relaxed)) continue;
    sum_chunk(digest, chunk, found);
    if (work->to)
      memcpy(work->to[chunk], found, sizeof found);
    else if (memcmp(digest->kept[chunk], found, sizeof found))
      atomic_store_explicit(&work->differs, 1, memory_order_relaxed);
  }
}

static int differs(const fl_digest *digest, sums *to, fl_pool *pool) {
  walk work = {.digest = digest, .to = to};
  if (digest->chunks) fl_pool_run(pool, digest->bytes < SHARED ? 1 : fl_pool_useful(pool), walk_chunks, &work, NULL);
  return atomic_load(&work.differs);
}

fl_status fl_digest_create(fl_digest **out, const fl_span *spans, size_t n, const char *isa, fl_pool *pool) {
  const char *found;
  *out = NULL;
  fl_digest digest = {.kernels = fl_kernels_of(isa, FL_FLOAT32, &found), .n = n};
  if (!digest.kernels) return FL_ERROR_ISA;
  for (size_t j = 0; j < n; j++) {
    digest.chunks += chunks_of(spans[j].bytes);
    digest.bytes += spans[j].bytes; /* they are in memory: no overflow */
  }
  fl_digest *const made = malloc(sizeof *made);
  digest.spans = malloc((n + 1) * sizeof *spans);
  digest.kept = fl_allocate(digest.chunks * sizeof(sums));
  if (!made || !digest.spans || !digest.kept) {
    free(made);
    free(digest.spans);
    fl_free(digest.kept);
    return FL_ERROR_MEMORY;
  }
  if (n) memcpy(digest.spans, spans, n * sizeof *spans);
  *made = digest;
  differs(made, made->kept, pool);
  *out = made;
  return FL_OK;
}

void fl_digest_destroy(fl_digest *digest) {
  if (!digest) return;
  free(digest->spans);
  fl_free(digest->kept);
  free(digest);
}

int fl_digest_same(const fl_digest *digest, fl_pool *pool) {
  return !differs(digest, NULL, pool);
}
