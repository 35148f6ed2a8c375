/* How a call is cut among steps and threads, and its rows in order of length.
 *
 * SPDX-License-Identifier: BSD-3-Clause */
#include "cut.h"

#include <assert.h>
#include "base/cpus.h"

enum {
  WHOLE_BYTES = 1 << 20, /* of W, up to which many rows take it with each step */
  WHOLE_ROWS = 32,
  WHOLE_ROWS_INT8 = 8,
  CHUNK_BYTES = 4 << 20,      /* of pre-activations: each chunk reads all of W, and 512 KiB cost up to 1.5 at H=1024 */
  L2_BYTES = 1536 * 1024,     /* of weights a core keeps from step to step: 2 MiB are over the edge */
  HALF_L2_BYTES = 640 * 1024, /* where two CPUs share a core's L2, as some do without telling: 800 KiB are over it */
  FRONT_LEAST = 10,           /* steps of a block, which reads all of W: 8 took 1.15 times as long at H=256 */
  FRONT_MOST = 20,            /* more gain nothing */
  FRONT_BLOCKS = 18,          /* of each thread but one: until all are at work, and when no longer, 5 % are lost */
  WAKE_NS = 4000,             /* until the first worker is at work, and for each: its waker's time */
  WAKE_EACH_NS = 150,
  PHASE_NS = 350, /* a phase of a team, with what its members' cores lose; and for each: one of them is the last */
  PHASE_EACH_NS = 60,
};

static const double MULTIPLIED = 50; /* float32 multiply-adds a ns, of one core with many rows */
static const double L2_READ = 60;    /* bytes a ns of weights that fit there: 110 where a core has one thread */
static const double READ = 35;       /* bytes a ns from farther away */
static const double HANDED = 2.5;    /* bytes a ns of what another core has written */
static const double GATES_NS = 1.5;  /* of a unit and row */
static const double GAIN = 0.05;     /* threads have to gain so much, and each another EACH */
static const double EACH = 0.01;

static fl_cut forced; /* for tests */

void fl_force_cut(size_t groups, size_t team, int diagonals) {
  forced = (fl_cut){.groups = groups, .team = team, .diagonals = diagonals};
}

/* is a call over before another thread is there? */
static int is_short(double took) {
  return took <= WAKE_NS && !fl_uses_all_threads();
}

/* ---- what a call takes, in ns ----------------------------------------------------------------------------------- */

static size_t parts(size_t n, size_t size) {
  return (n + size - 1) / size;
}

/* a product of m rows and k inputs with `panels` panels, whose weights are read once */
static double product_ns(const fl_extent *extent, size_t panels, size_t k, size_t m, double weights_read) {
  const double weights = (double)panels * (double)k * FL_PANEL, rows = (double)m;
  const double rate = MULTIPLIED * 4 / (double)extent->real * rows / (rows + 0.5);
  const double multiply = weights * rows / rate, read = weights * (double)extent->weight / weights_read;
  return multiply > read ? multiply : read;
}

/* weights of one core's, read at every step */
static double read_again(const fl_extent *extent, size_t panels, size_t k) {
  return panels * k * FL_PANEL * extent->weight <= L2_BYTES ? L2_READ : READ;
}

static size_t panels_of(size_t n) {
  return parts(n, FL_PANEL);
}

/* one step of the time loop of a group of m rows, by a team */
static double step_ns(const fl_plan *plan, const fl_extent *extent, size_t m, size_t team) {
  const size_t outputs = extent->back ? panels_of(plan->R) : plan->panels;
  const size_t k = extent->back ? plan->panels * FL_PANEL : plan->R;
  const size_t share = parts(outputs, team);
  double took = product_ns(extent, share, k, m, read_again(extent, share, k)) +
                GATES_NS * (double)(parts(plan->panels, team) * FL_UNITS * m);
  if (plan->P)
    took += product_ns(extent, parts(extent->back ? panels_of(plan->H) : plan->project_panels, team),
                       extent->back ? plan->P : plan->H, m, L2_READ);
  if (team == 1 || fl_uses_all_threads()) return took;
  const double handed = (double)(m * (extent->back ? k : plan->R) * extent->real) * (double)(team - 1) / (double)team;
  return took + handed / HANDED +
         (double)(PHASE_NS + PHASE_EACH_NS * team) * (double)(1 + extent->back + (plan->P > 0));
}

/* all steps' products with the inputs of a layer: of the forward pass, or with dW, dU and dx; shared among all */
static double input_ns(const fl_plan *plan, const fl_extent *extent, size_t l, size_t members) {
  const double rows = (double)extent->T * (double)extent->B * (double)plan->D;
  const size_t I = l ? plan->D * plan->R : plan->I, k = extent->back ? 2 * I + plan->R : I;
  return rows * product_ns(extent, plan->panels, k, 16, READ) / 16 / (double)members;
}

/* with what threads have to gain, and their waking */
static double with_others_ns(double took, size_t members) {
  if (members == 1 || fl_uses_all_threads()) return took;
  return took * (1 + GAIN + EACH * (double)members) + (double)(WAKE_NS + WAKE_EACH_NS * members);
}

/* the whole call, cut so: what it takes, and what threads have to gain; members: 1, or one for each place */
static double call_ns(const fl_plan *plan, const fl_extent *extent, const fl_cut *cut) {
  const size_t in_turn = cut->members > 1 ? 1 : plan->D * cut->groups, members = cut->members;
  double took =
      input_ns(plan, extent, 0, members) +
      (double)(plan->L * extent->T * in_turn) * step_ns(plan, extent, parts(extent->B, cut->groups), cut->team);
  if (plan->L > 1) took += (double)(plan->L - 1) * input_ns(plan, extent, 1, members);
  return with_others_ns(took, members);
}

/* ---- the cut ---------------------------------------------------------------------------------------------------- */

/* the next number to try: all small ones, then a third more, and the largest; 0 when there is none */
static size_t next_of(size_t n, size_t most) {
  if (n >= most) return 0;
  const size_t next = n + (n < 3 ? 1 : n / 3);
  return next < most ? next : most;
}

/* `least` is what the cut that is the best so far takes; so here, and for layers side by side */
static void share(const fl_plan *plan, const fl_extent *extent, size_t threads, double *least, fl_cut *cut) {
  const size_t outputs = extent->back ? panels_of(plan->R) : plan->panels;
  const size_t most_groups = threads / plan->D < extent->B ? threads / plan->D : extent->B;
  for (size_t groups = 1; groups && groups <= most_groups; groups = next_of(groups, most_groups)) {
    const size_t most = threads / (plan->D * groups) < outputs ? threads / (plan->D * groups) : outputs;
    for (size_t team = 1; team; team = next_of(team, most)) {
      fl_cut other = {.groups = parts(extent->B, parts(extent->B, groups)), /* as few as leave nobody more to do */
                      .team = parts(outputs, parts(outputs, team))};
      other.members = plan->D * other.groups * other.team;
      const double took = call_ns(plan, extent, &other);
      if (took >= *least) continue;
      *least = took;
      *cut = other;
    }
  }
}

/* what all layers take side by side, blocks of `front` steps each; the first and the last leave some without work */
static double front_ns(const fl_plan *plan, const fl_extent *extent, const fl_cut *cut) {
  const fl_cut alone = {.groups = 1, .team = 1, .members = 1};
  const double blocks = (double)(plan->L * parts(extent->T, cut->front)), members = (double)cut->members;
  return with_others_ns(call_ns(plan, extent, &alone) * (1 / members + (members - 1) / blocks), cut->members);
}

/* what they take one step of all at a time, by one team, each member the same panels in every phase */
static double diagonals_ns(const fl_plan *plan, const fl_extent *extent, size_t team) {
  const size_t share = parts(plan->L * plan->panels, team), B = extent->B;
  const size_t inputs = plan->I + (plan->L - 1) * plan->R, k = parts(inputs, plan->L) + plan->R;
  const size_t layers = 1 + share / plan->panels; /* whose rows a member reads, of what others have written */
  const double handed = (double)((layers + 1) * B * plan->R * extent->real) * (double)(team - 1) / (double)team;
  const int fits = share * k * FL_PANEL * extent->weight <= HALF_L2_BYTES;
  const double step = product_ns(extent, share, k, B, fits ? L2_READ : READ) +
                      GATES_NS * (double)(share * FL_UNITS * B) + handed / HANDED + PHASE_NS +
                      PHASE_EACH_NS * (double)team;
  return with_others_ns((double)(extent->T + plan->L - 1) * step, team);
}

static int may_have_diagonals(const fl_plan *plan, const fl_extent *extent) {
  return plan->L > 1 && plan->D == 1 && !plan->P && !extent->train && !extent->back;
}

static void share_diagonals(const fl_plan *plan, const fl_extent *extent, size_t threads, double *least, fl_cut *cut) {
  const size_t items = plan->L * plan->panels, most = threads < items ? threads : items;
  const int can_be = fl_uses_all_threads() && threads > plan->L; /* for tests: then they are */
  for (size_t n = 2; n && n <= most; n = next_of(n, most)) {
    const size_t team = parts(items, parts(items, n));
    const double took = diagonals_ns(plan, extent, team);
    if (took >= *least && !can_be) continue;
    *least = took;
    *cut = (fl_cut){.groups = 1, .team = team, .members = team, .diagonals = 1};
  }
}

static void share_front(const fl_plan *plan, const fl_extent *extent, size_t threads, double *least, fl_cut *cut) {
  fl_cut front = {.groups = 1, .team = 1, .members = threads < plan->L ? threads : plan->L};
  const size_t wanted = extent->T * plan->L / (FRONT_BLOCKS * (front.members - 1));
  front.front = wanted < FRONT_LEAST ? FRONT_LEAST : wanted < FRONT_MOST ? wanted : FRONT_MOST;
  const int can_be = fl_uses_all_threads() && cut->groups == 1; /* for tests: then it is */
  const double took = front_ns(plan, extent, &front);
  if (took >= *least && !can_be) return;
  *least = took;
  *cut = front;
}

/* Layers side by side where that is better; what walks back through time has them one after the other. */
static void share_layers(const fl_plan *plan, const fl_extent *extent, size_t threads, double *least, fl_cut *cut) {
  if (extent->back || plan->L < 2 || plan->D > 1) return;
  if (extent->T >= 2 * FRONT_LEAST) share_front(plan, extent, threads, least, cut);
  if (may_have_diagonals(plan, extent)) share_diagonals(plan, extent, threads, least, cut);
}

/* Do steps take the input and the state together? Many rows read the weights at the speed of multiply-adds, if these
 * stay in an L2; a chunk's pre-activations, 4H reals a row and step, then only go to memory and back. In C 1.0 to 1.1
 * times as fast (AVX-512), 0.97 to 1.1 (AVX2); weights of 8 bits, whose products take less time, from fewer rows on.
 * With H = 1024, where each step would read W from memory, 0.64. */
static int is_whole_step(const fl_plan *plan, const fl_extent *extent, const fl_cut *cut) {
  const size_t inputs = plan->L > 1 && plan->D * plan->R > plan->I ? plan->D * plan->R : plan->I;
  return !extent->train && cut->rows >= (fl_has_integers(plan->weights) ? WHOLE_ROWS_INT8 : WHOLE_ROWS) &&
         inputs <= WHOLE_BYTES / (plan->panels * FL_PANEL * extent->weight);
}

/* steps per input product */
static void cut_time(const fl_plan *plan, const fl_extent *extent, fl_cut *cut) {
  const size_t T = extent->T;
  const size_t step = plan->panels * FL_PANEL * extent->real * (cut->rows ? cut->rows : 1);
  if (cut->diagonals || is_whole_step(plan, extent, cut)) return;
  cut->chunk = step > CHUNK_BYTES ? 1 : CHUNK_BYTES / step;
  if (cut->chunk > T) cut->chunk = T;
  if (cut->front && cut->chunk > cut->front) cut->chunk = cut->front;
  if (cut->chunk <= 1) cut->chunk = 0;
  if (cut->front && cut->chunk) cut->front -= cut->front % cut->chunk; /* whole chunks */
}

fl_cut fl_decide(const fl_plan *plan, const fl_extent *extent, size_t threads) {
  assert(threads >= 1);
  fl_cut cut = {.groups = 1, .team = 1, .members = 1};
  if (threads > 1 && !fl_uses_all_threads() && threads > fl_cpus()) threads = fl_cpus();
  if (forced.team && plan->D * forced.groups * forced.team <= threads && forced.groups <= extent->B) {
    cut = forced;
    cut.diagonals = forced.diagonals && forced.groups == 1 && may_have_diagonals(plan, extent);
    cut.members = plan->D * forced.groups * forced.team;
  } else if (threads > 1 && extent->T && extent->B) {
    double least = call_ns(plan, extent, &cut);
    if (!is_short(least)) {
      share(plan, extent, threads, &least, &cut);
      share_layers(plan, extent, threads, &least, &cut);
    }
  }
  cut.rows = parts(extent->B, cut.groups);
  cut_time(plan, extent, &cut);
  return cut;
}

/* ---- the cut of one step ---------------------------------------------------------------------------------------- */

static double parts_ns(const fl_plan *plan, const fl_extent *extent, size_t n) {
  const size_t m = parts(extent->B, n);
  double took = 0;
  for (size_t l = 0; l < plan->L; l++)
    took += product_ns(extent, plan->panels, plan->layers[l].input_size + plan->R, m, READ) +
            GATES_NS * (double)(plan->H * m);
  return with_others_ns(took, n);
}

static double team_ns(const fl_plan *plan, const fl_extent *extent, size_t team) {
  const size_t share = parts(plan->panels, team), inputs = plan->I + (plan->L - 1) * plan->R;
  const double read = read_again(extent, share, inputs + plan->L * plan->R), m = (double)extent->B;
  const double handed = m * (double)(plan->R * extent->real) * (double)(team - 1) / (double)team / HANDED;
  double took = 0;
  for (size_t l = 0; l < plan->L; l++) {
    took += product_ns(extent, share, plan->layers[l].input_size + plan->R, extent->B, read) +
            GATES_NS * (double)(share * FL_UNITS) * m;
    if (team > 1 && !fl_uses_all_threads()) took += handed + (double)(PHASE_NS + PHASE_EACH_NS * team);
  }
  return with_others_ns(took, team);
}

fl_step_cut fl_decide_step(const fl_plan *plan, const fl_extent *extent, fl_step_cut most) {
  fl_step_cut best = {1, 1};
  if (most.parts <= 1 && most.team <= 1) return best; /* this may be a real-time thread, and fl_cpus may read files */
  const size_t cpus = fl_uses_all_threads() ? SIZE_MAX : fl_cpus();
  const size_t most_parts = most.parts < cpus ? most.parts : cpus, most_team = most.team < cpus ? most.team : cpus;
  if (!extent->B) return best;
  double least = parts_ns(plan, extent, 1);
  if (is_short(least)) return best;
  for (size_t n = 2; n && n <= most_parts; n = next_of(n, most_parts)) {
    const double took = parts_ns(plan, extent, n);
    if (took >= least) continue;
    least = took;
    best = (fl_step_cut){n, 1};
  }
  for (size_t n = 2; n && n <= most_team; n = next_of(n, most_team)) {
    const size_t team = parts(plan->panels, parts(plan->panels, n));
    const double took = team_ns(plan, extent, team);
    if (took >= least) continue;
    least = took;
    best = (fl_step_cut){1, team};
  }
  return best;
}

/* ---- tables ----------------------------------------------------------------------------------------------------- */

fl_tables *fl_carve_layers(fl_arena *arena, const fl_cut *cut, const fl_plan *plan) {
  fl_tables *const tables = fl_carve(arena, plan->L, sizeof *tables);
  for (size_t l = 0; l < plan->L; l++) {
    const size_t tasks = plan->D * cut->groups;
    const fl_tables made = cut->members > 1 ? fl_carve_tables(arena, tasks, cut->team) : (fl_tables){tasks, 1, NULL};
    if (arena->at) tables[l] = made;
  }
  return tables;
}

void fl_clear_layers(const fl_tables *tables, size_t L) {
  for (size_t l = 0; l < L; l++) fl_clear_tables(&tables[l]);
}

/* ---- rows in order of length ------------------------------------------------------------------------------------ */

/* a before b: longer, or as long and earlier */
static int before(const fl_sequence *sequence, size_t a, size_t b) {
  const size_t of_a = fl_length(sequence, a), of_b = fl_length(sequence, b);
  return of_a != of_b ? of_a > of_b : a < b;
}

static void swap(size_t *a, size_t *b) {
  const size_t old = *a;
  *a = *b;
  *b = old;
}

static void sift(const fl_sequence *sequence, size_t *order, size_t root, size_t n) {
  for (size_t child; (child = 2 * root + 1) < n; root = child) {
    if (child + 1 < n && before(sequence, order[child], order[child + 1])) child++;
    if (!before(sequence, order[root], order[child])) return;
    swap(&order[root], &order[child]);
  }
}

/* heapsort: qsort may allocate */
void fl_sort_rows(const fl_sequence *sequence, size_t *order) {
  size_t n = sequence->B;
  for (size_t b = 0; b < n; b++) order[b] = b;
  if (!sequence->lengths) return;
  for (size_t root = n / 2; root-- > 0;) sift(sequence, order, root, n);
  while (n > 1) {
    swap(&order[0], &order[--n]);
    sift(sequence, order, 0, n);
  }
}
