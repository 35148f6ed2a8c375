/* What the C tests share.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_TESTS_SUPPORT_H
#define FASTLSTM_TESTS_SUPPORT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define FORBID(p, bytes) __asan_poison_memory_region(p, bytes)
#define ALLOW(p, bytes) __asan_unpoison_memory_region(p, bytes)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FORBID(p, bytes) __asan_poison_memory_region(p, bytes)
#define ALLOW(p, bytes) __asan_unpoison_memory_region(p, bytes)
#endif
#endif
#ifdef FORBID /* the address sanitizer reports any access in between */
#include <sanitizer/asan_interface.h>
#else
#define FORBID(p, bytes) ((void)(p), (void)(bytes))
#define ALLOW(p, bytes) ((void)(p), (void)(bytes))
#endif

#define CHECK(what)                                                 \
  do {                                                              \
    if (!(what)) {                                                  \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
      exit(1);                                                      \
    }                                                               \
  } while (0)

static inline void *allocated(size_t bytes) {
  void *const made = malloc(bytes ? bytes : 1);
  CHECK(made);
  return made;
}

/* 64-byte aligned and exactly `bytes` long: a sanitizer sees the first byte past the end; the caller frees *raw */
static inline void *aligned(size_t bytes, void **raw) {
  CHECK(bytes < SIZE_MAX - 64);
  *raw = allocated(bytes + 63);
  char *const at = (char *)(((uintptr_t)*raw + 63) & ~(uintptr_t)63);
  memset(at, 0x88, bytes);
  FORBID(at + bytes, (size_t)((char *)*raw + bytes + 63 - (at + bytes)));
  return at;
}

/* the finalizer of SplitMix64, as in csrc/passes/dropout.h */
static inline uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static const uint64_t GOLDEN = 0x9e3779b97f4a7c15u;

#endif
