/* How fast the machine is with an instruction set: what benchmarks hold times against. Not public.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_MACHINE_H
#define FASTLSTM_MACHINE_H

#include "fastlstm.h"

/* Multiply and add n times: float32 numbers in registers, as many as are under way at a time. `done` gets how many
 * multiply-adds that were. FL_ERROR_ISA for an instruction set that is not there. */
fl_status fl_limit_multiply(const char *isa, size_t n, double *done);

/* Read memory n times, to and fro: of data larger than a cache, as much as fits is found there. `done` gets the bytes:
 * what is past the last 256 is left out. */
fl_status fl_limit_read(const char *isa, const void *data, size_t bytes, size_t n, double *done);

#endif
