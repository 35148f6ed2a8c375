/* Sharing a piece of work among the members of a team.
 *
 * Work is a fixed list of phases, each a number of items; every member walks the same list. A member takes the items of
 * its own part of a phase, the same at every step and in every call, so that what they read stays in its core's cache;
 * the phase ends when all items are done. Nobody waits long for a member that is not there: items of one that has not
 * come, or has been put aside by the system, are taken by those who wait; one that starts late finds phases done and
 * walks past them.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#ifndef FASTLSTM_TEAM_H
#define FASTLSTM_TEAM_H

#include <stdint.h>
#include "arena.h"
#include "fastlstm.h"

/* Stamps: (phase << FL_STAMP_BITS) | items; up to 2^28 of them, and 2^36 phases. */
enum { FL_STAMP_BITS = 28 };

/* of one member; lines of their own: the first its own and a helper's, the second read by whoever gathers */
typedef struct {
  _Alignas(FL_LINE) _Atomic uint64_t taken;    /* stamp: items of its part that someone has begun */
  _Alignas(FL_LINE) _Atomic uint64_t finished; /* stamp: items, of any part, that it has finished */
  _Atomic int sat;                             /* at a table: someone has this place */
} fl_place;

typedef struct {
  size_t members;
  uint64_t base;                            /* the first phase of a call; stamps before base - 1 are of others */
  fl_place *places;                         /* [members] */
  _Alignas(FL_LINE) _Atomic uint64_t phase; /* all before it are over; two members do without */
  _Alignas(FL_LINE) _Atomic int over;       /* at a table: the task is done */
} fl_team;

/* Whether a call is to be given up. */
typedef struct {
  const fl_cancel *cancel;
  _Atomic int given_up;
} fl_halt;

typedef struct {
  fl_team *team; /* NULL: alone */
  size_t slot;   /* 0 .. members-1 */
  uint64_t phase;
  size_t done;       /* items finished in this phase */
  size_t next;       /* alone: the next item */
  unsigned patience; /* pauses to wait before it helps others, and lets others have the core */
  unsigned waited;   /* in this phase */
  int spent;         /* its own part has been begun in this phase, all of it */
  int helped, eager; /* someone has been missing: in this phase, in the one before */
  fl_halt *halt;     /* NULL: the call cannot be cancelled */
  int caller;        /* this is the thread that called, which alone asks */
  size_t work;       /* since it looked at halt, in multiply-adds */
} fl_member;

enum {
  FL_LOOK_WORK = 1 << 22, /* multiply-adds between two looks at fl_halt: 0.1 to 1 ms, and a look takes 50 ns */
  FL_CALL_WORK = 1 << 24  /* most of them in one call of a kernel, if that can be halved */
};

int fl_look(fl_member *member);

/* After `work` more multiply-adds: is the call to be given up? Once it is, the answer stays. A member that is not alone
 * may then leave between two phases for good, as if it had never come; or walk through the phases that are left without
 * doing anything. */
static inline int fl_halted(fl_member *member, size_t work) {
  return member->halt && (member->work += work) >= FL_LOOK_WORK && fl_look(member);
}

/* items of `grain` at most, of `work` multiply-adds each: no more of them in one call of a kernel than FL_CALL_WORK */
static inline size_t fl_short_calls(const fl_member *member, size_t grain, size_t work) {
  if (!member->halt || grain * work <= FL_CALL_WORK) return grain;
  return work < FL_CALL_WORK ? FL_CALL_WORK / work : 1;
}

/* ---- phases ----------------------------------------------------------------------------------------------------- */

/* some of a phase's items, side by side */
typedef struct {
  size_t first, end;
} fl_items;

/* to be called once, with team and slot set */
void fl_join_team(fl_team *team, fl_member *member);

int fl_take_shared(fl_member *member, size_t items, size_t grain, fl_items *taken);

/* The loop over the items of a phase, at most `grain` at a time: for (fl_items some; fl_take(member, items, grain,
 * &some);) ... Returns 0 when all items of the phase are done, by whomever; what they wrote is then visible. items > 0,
 * the same for every member. Inline for one who is alone: a small layer's step is 150 ns. */
static inline int fl_take(fl_member *member, size_t items, size_t grain, fl_items *taken) {
  if (member->team) return fl_take_shared(member, items, grain, taken);
  if (member->next < items) {
    taken->first = member->next;
    taken->end = member->next = items - member->next < grain ? items : member->next + grain;
    return 1;
  }
  member->next = 0;
  return 0;
}

/* one by one: for (size_t b; fl_next(member, blocks, &b);) ... */
static inline int fl_next(fl_member *member, size_t blocks, size_t *block) {
  fl_items one;
  const int got = fl_take(member, blocks, 1, &one);
  if (got) *block = one.first;
  return got;
}

/* ---- tasks with teams of their own ------------------------------------------------------------------------------ */

/* A number of tasks, each a list of phases for a team of `size`. Members sit down at their own place first, then
 * wherever a place is free at a task that is not done. */
typedef struct {
  size_t tasks, size;
  fl_team *teams; /* [tasks]; NULL for one who is alone */
} fl_tables;

/* Lay them out, free of all members. */
fl_tables fl_carve_tables(fl_arena *arena, size_t tasks, size_t size);
void fl_clear_tables(const fl_tables *tables);

typedef struct {
  size_t task;
  size_t person;    /* the slot of who sits there: scratch goes by it, since the seat at the next table is another's */
  fl_member member; /* of the task's team, or alone where the person is, or teams have one member */
} fl_seat;

/* for (fl_seat seat; fl_sit(&tables, member, &seat); fl_rise(&tables, member, &seat)) ... walks a task's whole list.
 * Returns 0 when all tasks are done, or the call is given up: fl_halted says which. Who has to leave in the middle of
 * a task does not rise. */
int fl_sit(const fl_tables *tables, fl_member *member, fl_seat *seat);
void fl_rise(const fl_tables *tables, fl_member *member, fl_seat *seat);

#endif
