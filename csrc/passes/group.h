/* Rows in the hands of one member, or of a whole team, and how a team shares the panels of a product.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_GROUP_H
#define FASTLSTM_GROUP_H

#include "base/threads.h"

/* order[first], order[first + stride], ...: n rows, longest first */
typedef struct {
  const size_t *order;
  size_t first, stride, n;
  size_t members;    /* of the call */
  fl_member *member; /* whose team shares the panels */
} fl_group;

/* where row r of the group is in the order */
static inline size_t fl_group_place(const fl_group *group, size_t r) {
  return group->first + r * group->stride;
}

static inline size_t fl_group_row(const fl_group *group, size_t r) {
  return group->order[fl_group_place(group, r)];
}

/* rows of the group among the first n of the order */
static inline size_t fl_group_among(const fl_group *group, size_t n) {
  return n > group->first ? (n - group->first + group->stride - 1) / group->stride : 0;
}

/* of B rows, those from `first` on, `stride` apart */
static inline fl_group fl_group_of(const size_t *order, size_t B, size_t first, size_t stride, size_t members,
                                   fl_member *member) {
  fl_group group = {.order = order, .first = first, .stride = stride, .members = members, .member = member};
  group.n = fl_group_among(&group, B);
  return group;
}

/* Panels first..end, which are the member's: for (fl_share s = fl_share_of(group, panels, work); fl_share_next(group,
 * &s);). Once the call is given up, those that are left are walked past. */
typedef struct {
  size_t panels, grain, work;
  size_t first, end;
} fl_share;

/* One rule for the panels in a block: two blocks a thread, two panels at least (four blocks cost 5-10 % at H=128, one
 * leaves nothing to claim from a thread that is late). `work`: multiply-adds of a panel. */
static inline fl_share fl_share_of(const fl_group *group, size_t panels, size_t work) {
  size_t grain = panels;
  if (group->member->team) {
    grain = (panels + 2 * group->members - 1) / (2 * group->members);
    if (grain < 2) grain = 2;
  }
  return (fl_share){.panels = panels, .grain = fl_short_calls(group->member, grain, work), .work = work};
}

static inline int fl_share_next(const fl_group *group, fl_share *share) {
  size_t block;
  do {
    if (!fl_next(group->member, (share->panels + share->grain - 1) / share->grain, &block)) return 0;
    share->first = block * share->grain;
    share->end = share->panels - share->first < share->grain ? share->panels : share->first + share->grain;
  } while (share->grain < share->panels && fl_halted(group->member, (share->end - share->first) * share->work));
  return 1;
}

#endif
