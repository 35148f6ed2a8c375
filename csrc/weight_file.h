/* The flat file of weights that `fastlstm convert --to c` writes: docs/embedding.md has a line for every byte of it.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_WEIGHT_FILE_H
#define FASTLSTM_WEIGHT_FILE_H

#include "fastlstm.h"

enum { FL_FILE_BOUNDARY = 8 }; /* of the first byte in memory, which is then also that of every real */

typedef struct {
  fl_config config; /* without its form */
  fl_form form;
  int bias, integers, offsets; /* are there: biases; integers in the place of matrices; offsets of theirs */
} fl_file;

/* Is it a whole file of ours, with sizes that fill it? Whether a plan can have such a form, and such weights, is
 * not looked at. */
fl_status fl_parse_file(const void *data, size_t size, fl_file *file);

/* weights [L*D]: pointers into a file that has been parsed, and into integers [3*L*D], which may be NULL without. */
void fl_locate_weights(const void *data, const fl_file *file, fl_weights *weights, fl_integers *integers);

/* All bytes of a file; the caller frees them. No more is allocated than twice what there is to read. */
fl_status fl_read_file(const char *path, void **data, size_t *size);

#endif
