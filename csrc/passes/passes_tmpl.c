/* The table of the passes of one real type.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "passes.h"

const fl_passes TYPED(passes) = {
#define FL_ENTRY(result, name, arguments) .name = TYPED(name),
    FL_PASS_LIST(FL_ENTRY)
#undef FL_ENTRY
};
