/* Rows in the hands of one member, or of a whole team, and how a team shares the panels of a product.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_GROUP_H
#define FASTLSTM_GROUP_H

#include "base/team.h"

/* order[first], order[first + stride], ...: n rows, longest first */
typedef struct {
  const size_t *order;
  size_t first, stride, n;
  size_t members;    /* that share the panels */
  fl_member *member; /* one of them */
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

/* Panels part.first..part.end, which are the member's: for (fl_share s = fl_share_of(group, panels, work);
 * fl_share_next(group, &s);). Once the call is given up, those that are left are walked past. */
typedef struct {
  size_t panels, grain, work;
  fl_items part;
} fl_share;

enum { FL_PANELS_AT_ONCE = 8 };

/* One rule for the panels in a call of a kernel: a member's part at once if it is small, which gains 3 % at H=128; else
 * in two calls, so that something is left to take from a thread that is late. `work`: multiply-adds of a panel. */
static inline fl_share fl_share_of(const fl_group *group, size_t panels, size_t work) {
  size_t grain = panels;
  if (group->member->team) {
    grain = (panels + group->members - 1) / group->members;
    if (grain > FL_PANELS_AT_ONCE) grain = (grain + 1) / 2;
  }
  return (fl_share){.panels = panels, .grain = fl_short_calls(group->member, grain, work), .work = work};
}

static inline int fl_share_next(const fl_group *group, fl_share *share) {
  do {
    if (!fl_take(group->member, share->panels, share->grain, &share->part)) return 0;
  } while (share->grain < share->panels &&
           fl_halted(group->member, (share->part.end - share->part.first) * share->work));
  return 1;
}

#endif
