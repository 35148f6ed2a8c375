/* The only file that knows CPUs: one row per instruction set, best first.
 *
 * To add one: a header in kernels/simd/, a line in CMakeLists.txt, a row here.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifdef FASTLSTM_HAVE_AMX
#define _GNU_SOURCE /* syscall */
#include <sys/syscall.h>
#include <unistd.h>
#endif
#include <string.h>
#include "plan.h"

/* ---- what this CPU, and the system under it, can run ------------------------------------------------------------ */

static int always(void) {
  return 1;
}

#if defined(FASTLSTM_HAVE_AVX2) || defined(FASTLSTM_HAVE_AVX512)
#include <cpuid.h>

/* the register state that the system saves on a context switch: a CPU's AVX is of no use to a kernel that loses it */
static uint64_t saved_state(void) {
  uint32_t eax, edx;
  __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return ((uint64_t)edx << 32) | eax;
}

enum { XMM_YMM = 0x6, OPMASK_ZMM = 0xe0 };

/* x86-64-v3 */
static int has_avx2(void) {
  uint32_t eax, ebx, ecx, edx;
  const uint32_t leaf1 = bit_FMA | bit_MOVBE | bit_F16C | bit_AVX | bit_OSXSAVE;
  const uint32_t leaf7 = bit_AVX2 | bit_BMI | bit_BMI2;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & leaf1) != leaf1) return 0;
  if ((saved_state() & XMM_YMM) != XMM_YMM) return 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (ebx & leaf7) != leaf7) return 0;
  return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && (ecx & bit_LZCNT);
}

/* x86-64-v4 */
static int has_avx512(void) {
  uint32_t eax, ebx, ecx, edx;
  const uint32_t leaf7 = bit_AVX512F | bit_AVX512DQ | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;
  if (!has_avx2() || (saved_state() & OPMASK_ZMM) != OPMASK_ZMM) return 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ebx & leaf7) == leaf7;
}

/* AVX-VNNI, of which old compilers' headers do not know: leaf 7.1, EAX, bit 4 */
UNUSED static int has_avx2vnni(void) {
  uint32_t eax, ebx, ecx, edx;
  return has_avx2() && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && eax >= 1 &&
         __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & 1 << 4);
}

static int has_avx512vnni(void) {
  uint32_t eax, ebx, ecx, edx;
  return has_avx512() && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (ecx & bit_AVX512VNNI);
}
#endif

#ifdef FASTLSTM_HAVE_AMX
/* Tiles are 8 KiB of registers, which Linux keeps for processes that have asked: arch_prctl of asm/prctl.h. */
enum { GET_SUPPORTED = 0x1021, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, TILES_SAVED = 0x60000 };

static int has_amx(void) {
  uint32_t eax, ebx, ecx, edx;
  uint64_t known = 0;
  const uint32_t leaf7 = 1u << 24 | 1u << 25; /* AMX-TILE, AMX-INT8 */
  return has_avx512vnni() && (saved_state() & TILES_SAVED) == TILES_SAVED &&
         __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx & leaf7) == leaf7 &&
         !syscall(SYS_arch_prctl, GET_SUPPORTED, &known) && (known >> TILE_DATA & 1);
}

static int ask_for_amx(void) {
  return !syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA);
}
#endif

#ifdef FASTLSTM_HAVE_NEONDOT
#if defined(_WIN32)
#include <windows.h>
#elif defined(__APPLE__)
#include <TargetConditionals.h>
#elif defined(__linux__)
#include <sys/auxv.h>
#endif

/* FEAT_DotProd. Every Mac with AArch64 has it; of a system that is not here nothing is known. */
static int has_neondot(void) {
#if defined(_WIN32)
  return IsProcessorFeaturePresent(43) != 0; /* PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE */
#elif defined(__APPLE__)
  return TARGET_OS_OSX;
#elif defined(__linux__)
  return (getauxval(AT_HWCAP) & 1ul << 20) != 0; /* HWCAP_ASIMDDP */
#else
  return 0;
#endif
}
#endif

/* ---- the table -------------------------------------------------------------------------------------------------- */

typedef struct {
  const char *name, *description;
  int (*supported)(void);
  const fl_kernels *f32, *f64;
  const fl_weight_kernels
      *readers[FL_WEIGHTS_INT8_FAST + 1]; /* of float32 numbers, for each type of weights; [0] NULL */
  int for_integers; /* the best for weights of 8 bits alone: of all others, what another row has */
  int (*ask)(void); /* the system for permission, once it is named: such a row is not taken by itself. NULL: no need */
} fl_isa;

#define FL_ROW(isa, description, supported, base, integers, ask)                                                      \
  {#isa,                                                                                                              \
   description,                                                                                                       \
   supported,                                                                                                         \
   &fl_kernels_##base##_f32,                                                                                          \
   &fl_kernels_##base##_f64,                                                                                          \
   {NULL, &fl_kernels_##base##_f32_float16, &fl_kernels_##base##_f32_bfloat16, &fl_kernels_##isa##_f32_int8,          \
    &fl_kernels_##isa##_f32_int8_fast},                                                                               \
   integers,                                                                                                          \
   ask},
#define FL_ISA(isa, description, supported) FL_ROW(isa, description, supported, isa, 0, NULL)
#define FL_INTEGER_TABLES(isa) \
  extern const fl_weight_kernels fl_kernels_##isa##_f32_int8, fl_kernels_##isa##_f32_int8_fast;
#define FL_TABLES(isa)                                                                          \
  extern const fl_kernels fl_kernels_##isa##_f32, fl_kernels_##isa##_f64;                       \
  extern const fl_weight_kernels fl_kernels_##isa##_f32_float16, fl_kernels_##isa##_f32_bfloat16; \
  FL_INTEGER_TABLES(isa)

/* FASTLSTM_HAVE_*: set by CMake for the objects that it built */
#ifdef FASTLSTM_HAVE_AMX
FL_INTEGER_TABLES(amx)
#endif
#ifdef FASTLSTM_HAVE_AVX512VNNI
FL_INTEGER_TABLES(avx512vnni)
#endif
#ifdef FASTLSTM_HAVE_AVX2VNNI
FL_INTEGER_TABLES(avx2vnni)
#endif
#ifdef FASTLSTM_HAVE_AVX512
FL_TABLES(avx512)
#endif
#ifdef FASTLSTM_HAVE_AVX2
FL_TABLES(avx2)
#endif
#ifdef FASTLSTM_HAVE_NEONDOT
FL_INTEGER_TABLES(neondot)
#endif
#ifdef FASTLSTM_HAVE_NEON
FL_TABLES(neon)
#endif
FL_TABLES(scalar)

static const fl_isa table[] = {
#ifdef FASTLSTM_HAVE_AVX512VNNI
    FL_ROW(avx512vnni, "x86-64-v4 with AVX512-VNNI: for weights of 8 bits", has_avx512vnni, avx512, 1, NULL)
#endif
#ifdef FASTLSTM_HAVE_AVX512
        FL_ISA(avx512, "x86-64-v4: 512-bit vectors with FMA", has_avx512)
#endif
#ifdef FASTLSTM_HAVE_AVX2VNNI
            FL_ROW(avx2vnni, "x86-64-v3 with AVX-VNNI: for weights of 8 bits", has_avx2vnni, avx2, 1, NULL)
#endif
#ifdef FASTLSTM_HAVE_AVX2
                FL_ISA(avx2, "x86-64-v3: 256-bit vectors with FMA", has_avx2)
#endif
#ifdef FASTLSTM_HAVE_AMX
                    FL_ROW(amx, "x86-64-v4 with AMX: for weights of 8 bits, where it is named", has_amx, avx512, 1,
                           ask_for_amx)
#endif
#ifdef FASTLSTM_HAVE_NEONDOT
                        FL_ROW(neondot, "AArch64 with the dot product: for weights of 8 bits", has_neondot, neon, 1,
                               NULL)
#endif
#ifdef FASTLSTM_HAVE_NEON
                            FL_ISA(neon, "AArch64: 128-bit vectors with FMA", always)
#endif
                                FL_ISA(scalar, "portable C: exact fma(), in software where the CPU has none", always)};

enum { ROWS = sizeof table / sizeof table[0] };

/* CPUID costs microseconds under a hypervisor, so each answer is kept: 0 not asked yet, 1 no, 2 yes. A fact about the
 * machine, not a choice: racing threads write the same value. */
static int supported(size_t row) {
  static _Atomic signed char known[ROWS];
  if (!known[row]) known[row] = table[row].supported() ? 2 : 1;
  return known[row] == 2;
}

static int is_listed(size_t row, fl_weight_type weights) {
  return (fl_has_integers(weights) || !table[row].for_integers) && supported(row);
}

/* of a name */
static const fl_isa *find(const char *name) {
  for (size_t j = 0; j < ROWS; j++)
    if (!strcmp(name, table[j].name) && supported(j)) return &table[j];
  return NULL;
}

/* of a name, if it may run, or the best for weights of the type */
static const fl_isa *choose(const char *name, fl_weight_type weights) {
  const fl_isa *const row = name ? find(name) : NULL;
  if (name) return row && (!row->ask || row->ask()) ? row : NULL;
  for (size_t j = 0; j < ROWS; j++)
    if (!table[j].ask && is_listed(j, weights)) return &table[j];
  return NULL;
}

const fl_kernels *fl_kernels_of(const char *isa, fl_dtype dtype, const char **found) {
  const fl_isa *const row = choose(isa, FL_WEIGHTS_REAL);
  if (!row) return NULL;
  *found = row->name;
  return dtype == FL_FLOAT32 ? row->f32 : row->f64;
}

int fl_choose_kernels(fl_kernels *chosen, const char *isa, fl_dtype dtype, fl_weight_type weights, const char **found) {
  const fl_isa *const row = choose(isa, weights);
  if (!row) return 0;
  *found = row->name;
  *chosen = dtype == FL_FLOAT32 ? *row->f32 : *row->f64;
  const fl_weight_kernels *const readers = row->readers[weights];
  if (!readers) return 1;
#define FL_TAKE(name, arguments) chosen->name = readers->name;
  FL_WEIGHT_KERNEL_LIST(FL_TAKE)
#undef FL_TAKE
  return 1;
}

static const char *isa_name(size_t index, fl_weight_type weights) {
  for (size_t j = 0; j < ROWS; j++)
    if (is_listed(j, weights) && index-- == 0) return table[j].name;
  return NULL;
}

const char *fl_isa_name(size_t index) {
  return isa_name(index, FL_WEIGHTS_REAL);
}

const char *fl_integer_isa_name(size_t index) {
  return isa_name(index, FL_WEIGHTS_INT8);
}

const char *fl_isa_description(const char *name) {
  const fl_isa *const row = name ? find(name) : NULL;
  return row ? row->description : NULL;
}
