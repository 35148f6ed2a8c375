/* The table of the passes of one pair of types.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "passes.h"

const fl_passes TYPED(passes) = {
#define FL_ENTRY(result, name, arguments) .name = TYPED(name),
    FL_PASS_LIST(FL_ENTRY)
#if WEIGHTS_ARE_REALS
        FL_TRAINING_PASS_LIST(FL_ENTRY)
#endif
#undef FL_ENTRY
};
