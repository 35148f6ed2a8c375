// fastlstm.hpp: the bits of fastlstm.h, owners that move, every size that is wrong refused, nothing allocated in a
// step. Built twice: with exceptions, and with -fno-exceptions.
//
// SPDX-License-Identifier: BSD-3-Clause
#include <fastlstm.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define CHECK(what)                                                           \
  do {                                                                        \
    if (!(what)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
      std::exit(1);                                                           \
    }                                                                         \
  } while (0)

namespace {

std::size_t allocations;

constexpr std::size_t I = 3, H = 5, P = 2, L = 2, T = 6, B = 4;

template <class Real>
struct Weights {
  std::vector<std::vector<Real>> parts;
  std::vector<fl_weights> rows;
  fl_config config{};

  explicit Weights(std::size_t directions) {
    parts.reserve(L * directions * 5);
    config.dtype = fastlstm::dtype_of<Real>();
    config.input_size = I;
    config.hidden_size = H;
    config.proj_size = P;
    config.num_layers = L;
    config.directions = directions;
    for (std::size_t k = 0; k < L * directions; k++) {
      fl_weights row{};
      row.weight_ih = part(4 * H * (k < directions ? I : directions * P));
      row.weight_hh = part(4 * H * P);
      row.bias_ih = part(4 * H);
      row.bias_hh = part(4 * H);
      row.weight_hr = part(P * H);
      rows.push_back(row);
    }
  }

  const Real *part(std::size_t n) {
    parts.emplace_back(n);
    for (std::size_t k = 0; k < n; k++)
      parts.back()[k] = static_cast<Real>((k * 37 + parts.size() * 11) % 101) / 101 - Real(0.5);
    return parts.back().data();
  }
};

template <class Real>
std::vector<Real> inputs(std::size_t n) {
  std::vector<Real> made(n);
  for (std::size_t k = 0; k < n; k++) made[k] = static_cast<Real>((k * 13) % 29) / 29 - Real(0.5);
  return made;
}

template <class Real>
struct Run {
  std::vector<Real> y, h, c;
  Run(std::size_t D, std::size_t rows) : y(T * rows * D * P), h(L * D * rows * P), c(L * D * rows * H) {
  }
};

// all steps of all rows
template <class Real>
fastlstm::Sequence<Real> sequence_of(const std::vector<Real> &x, Run<Real> &run) {
  fastlstm::Sequence<Real> s;
  s.T = T;
  s.B = B;
  s.input = x;
  s.output = run.y;
  s.h_n = run.h;
  s.c_n = run.c;
  return s;
}

// by fastlstm.h alone
template <class Real>
Run<Real> expected(const Weights<Real> &weights, const std::vector<Real> &x) {
  const std::size_t D = weights.config.directions;
  Run<Real> run(D, B);
  fl_plan *plan = nullptr;
  CHECK(fl_plan_create(&plan, &weights.config, weights.rows.data(), nullptr) == FL_OK);
  fl_sequence s{};
  s.T = T;
  s.B = B;
  s.input = x.data();
  s.input_t = B * I * sizeof(Real);
  s.input_b = I * sizeof(Real);
  s.output = run.y.data();
  s.output_t = static_cast<std::ptrdiff_t>(B * D * P * sizeof(Real));
  s.output_b = static_cast<std::ptrdiff_t>(D * P * sizeof(Real));
  s.h_n = run.h.data();
  s.c_n = run.c.data();
  fastlstm::Memory workspace;
  CHECK(fastlstm::Memory::try_create(workspace, fl_workspace_size(plan, T, B, 1)) == FL_OK);
  CHECK(fl_forward(plan, &s, nullptr, workspace.get()) == FL_OK);
  fl_plan_destroy(plan);
  return run;
}

template <class Real>
bool same(const std::vector<Real> &a, const std::vector<Real> &b) {
  return a.size() == b.size() && !std::memcmp(a.data(), b.data(), a.size() * sizeof(Real));
}

template <class Real>
void check_forward(const fastlstm::Plan &plan, const Run<Real> &wanted, const std::vector<Real> &x) {
  const std::size_t D = plan.config().directions;
  fastlstm::Pool pool;
  CHECK(fastlstm::Pool::try_create(pool, 2) == FL_OK && pool.threads() == 2);
  CHECK(fastlstm::Pool::try_create(pool, 0) == FL_ERROR_ARGUMENT && pool.threads() == 2);
  for (const fastlstm::Pool *with :
       {static_cast<const fastlstm::Pool *>(nullptr), static_cast<const fastlstm::Pool *>(&pool)}) {
    Run<Real> run(D, B);
    fastlstm::Forward forward;
    fastlstm::Sequence<Real> s = sequence_of(x, run);
    CHECK(forward.try_run(s) == FL_ERROR_ARGUMENT);
    CHECK(fastlstm::Forward::try_create(forward, plan, T, B, with) == FL_OK);
    const std::size_t before = allocations;
    CHECK(forward.try_run(s) == FL_OK);
    CHECK(allocations == before);
    CHECK(same(run.y, wanted.y) && same(run.h, wanted.h) && same(run.c, wanted.c));
    fastlstm::Forward moved = std::move(forward);
    CHECK(forward.try_run(s) == FL_ERROR_ARGUMENT);  // NOLINT: what has been moved from holds nothing
    CHECK(moved.try_run(s) == FL_OK);
    const fastlstm::Sequence<Real> good = s;
    s.input = {x.data(), x.size() - 1};
    CHECK(moved.try_run(s) == FL_ERROR_ARGUMENT);
    s = good;
    s.output = {run.y.data(), run.y.size() + 1};
    CHECK(moved.try_run(s) == FL_ERROR_ARGUMENT);
    s = good;
    s.h_0 = {x.data(), 1};
    CHECK(moved.try_run(s) == FL_ERROR_ARGUMENT);
    s = good;
    s.T = T + 1;
    CHECK(moved.try_run(s) == FL_ERROR_ARGUMENT);
    s = good;
    s.B = SIZE_MAX / 2;
    CHECK(moved.try_run(s) == FL_ERROR_ARGUMENT);
    const std::int64_t lengths[B + 1] = {T, 0, 1, 2, 3};
    s = good;
    s.lengths = lengths;
    CHECK(moved.try_run(s) == FL_ERROR_ARGUMENT);
    s.lengths = {lengths, B};
    CHECK(moved.try_run(s) == FL_OK && !same(run.y, wanted.y));
  }
}

template <class Real>
void check_stream(const fastlstm::Plan &plan, const Run<Real> &wanted, const std::vector<Real> &x) {
  Run<Real> run(1, B);
  fastlstm::Stream empty, stream;
  CHECK(empty.try_step<Real>(x, run.y) == FL_ERROR_ARGUMENT && empty.try_advance() == FL_ERROR_ARGUMENT);
  CHECK(fastlstm::Stream::try_create(empty, fastlstm::Plan()) == FL_ERROR_ARGUMENT);
  CHECK(fastlstm::Stream::try_create(stream, plan, B) == FL_OK);
  const std::size_t before = allocations;
  for (std::size_t t = 0; t < T; t++) {
    if (t == T / 2) {
      empty = std::move(stream);
      CHECK(stream.try_advance() == FL_ERROR_ARGUMENT);  // NOLINT
      stream = std::move(empty);
    }
    CHECK(stream.try_step<Real>({x.data() + t * B * I, B * I}, {run.y.data() + t * B * P, B * P}) == FL_OK);
    CHECK(stream.try_advance() == FL_OK);
  }
  CHECK(stream.try_get<Real>(run.h, run.c) == FL_OK);
  CHECK(allocations == before);
  CHECK(same(run.y, wanted.y) && same(run.h, wanted.h) && same(run.c, wanted.c));
  CHECK(stream.try_step<Real>({x.data(), B * I - 1}, {run.y.data(), B * P}) == FL_ERROR_ARGUMENT);
  CHECK(stream.try_step<Real>({x.data(), B * I}, {run.y.data(), B * P + 1}) == FL_ERROR_ARGUMENT);
  CHECK(stream.try_step<Real>({nullptr, B * I}, {run.y.data(), B * P}) == FL_ERROR_ARGUMENT);
  CHECK(stream.try_get<Real>({run.h.data(), 1}, run.c) == FL_ERROR_ARGUMENT);
  CHECK(stream.try_set<Real>(run.h, {run.c.data(), 1}) == FL_ERROR_ARGUMENT);
  CHECK(stream.try_reset() == FL_OK && stream.try_set<Real>(run.h, {}) == FL_OK);
  using Other = std::conditional_t<std::is_same_v<Real, float>, double, float>;
  const std::vector<Other> other_x(B * I);
  std::vector<Other> other_y(B * P);
  CHECK(stream.template try_step<Other>(other_x, other_y) == FL_ERROR_ARGUMENT);
}

// four sessions that take the steps of the four rows
template <class Real>
void check_sessions(const fastlstm::Plan &plan, const Run<Real> &wanted, const std::vector<Real> &x) {
  Run<Real> run(1, B);
  std::int64_t ids[B + 1] = {};
  fastlstm::Sessions sessions;
  CHECK(sessions.try_open(ids[0]) == FL_ERROR_ARGUMENT && sessions.used() == 0);
  CHECK(sessions.try_advance(ids) == FL_ERROR_ARGUMENT);
  CHECK(fastlstm::Sessions::try_create(sessions, plan, B) == FL_OK);
  const std::size_t before = allocations;
  for (std::size_t k = 0; k < B; k++) CHECK(sessions.try_open(ids[k]) == FL_OK);
  CHECK(sessions.try_open(ids[B]) == FL_ERROR_FULL && sessions.used() == B);
  const fastlstm::Span<const std::int64_t> all(ids, B);
  for (std::size_t t = 0; t < T; t++) {
    CHECK(sessions.try_step<Real>(all, {x.data() + t * B * I, B * I}, {run.y.data() + t * B * P, B * P}) == FL_OK);
    CHECK(sessions.try_advance(all) == FL_OK);
  }
  CHECK(allocations == before);
  CHECK(same(run.y, wanted.y));
  CHECK(sessions.try_step<Real>(all, {x.data(), B * I}, {run.y.data(), B * P - 1}) == FL_ERROR_ARGUMENT);
  CHECK(sessions.try_advance(ids) == FL_ERROR_ARGUMENT);
  CHECK(sessions.try_close(ids[1]) == FL_OK && sessions.try_close(ids[1]) == FL_ERROR_CLOSED);
  CHECK(sessions.try_advance(all) == FL_ERROR_CLOSED);
  std::vector<Real> h(L * P), c(L * H), h2(L * P), c2(L * H);
  CHECK(sessions.try_get<Real>(ids[0], h, c) == FL_OK && sessions.try_set<Real>(ids[2], h, c) == FL_OK);
  CHECK(sessions.try_get<Real>(ids[2], h2, c2) == FL_OK && same(h, h2) && same(c, c2));
  CHECK(sessions.try_get<Real>(ids[1], h, c) == FL_ERROR_CLOSED &&
        sessions.try_get<Real>(99, h, c) == FL_ERROR_UNKNOWN);
}

// Every second step of two units: what a step begins with and ends with fit together, and the outputs are a run's.
template <class Real>
void check_trace(const fastlstm::Plan &plan, const Run<Real> &wanted, const std::vector<Real> &x) {
  const std::size_t D = plan.config().directions, S = (T + 1) / 2, rows = L * D * S * B;
  const std::size_t units[] = {2, 0};
  Run<Real> run(D, B), all(D, B);
  std::vector<Real> i(rows * 2), c(rows * 2), h(rows * P), whole(L * D * T * B * H);
  fastlstm::Sequence<Real> s = sequence_of(x, run);
  fastlstm::Trace<Real> t;
  t.every = 2;
  t.units = units;
  t.i = i;
  t.c = c;
  t.h = h;
  fastlstm::Forward forward, plain;
  CHECK(forward.try_trace(s, t) == FL_ERROR_ARGUMENT);
  CHECK(fastlstm::Forward::try_create(plain, plan, T, B) == FL_OK);
  CHECK(plain.try_trace(s, t) == FL_ERROR_ARGUMENT);
  CHECK(fastlstm::Forward::try_create(forward, plan, T, B, nullptr, true) == FL_OK);
  const std::size_t before = allocations;
  CHECK(forward.try_trace(s, t) == FL_OK);
  CHECK(allocations == before);
  CHECK(same(run.y, wanted.y) && same(run.h, wanted.h) && same(run.c, wanted.c));
  fastlstm::Trace<Real> every;
  every.c = whole;
  CHECK(forward.try_trace(s, every) == FL_OK);
  for (std::size_t pass = 0; pass < L * D; pass++)
    for (std::size_t step = 0; step < S; step++)
      for (std::size_t k = 0; k < B * 2; k++)
        CHECK(c[(pass * S + step) * B * 2 + k] == whole[((pass * T + 2 * step) * B + k / 2) * H + units[k % 2]]);
  for (const Real gate : i) CHECK(gate > 0 && gate < 1);
  for (std::size_t step = 0; step < S; step++)  // of the last layer, forward in time
    for (std::size_t k = 0; k < B * P; k++)
      CHECK(h[((L - 1) * D * S + step) * B * P + k] == run.y[(2 * step * B + k / P) * D * P + k % P]);
  for (const std::size_t wrong : {i.size() - 1, i.size() + 1}) {
    every = t;
    every.i = {i.data(), wrong};
    CHECK(forward.try_trace(s, every) == FL_ERROR_ARGUMENT);
  }
  every = t;
  every.every = 0;
  CHECK(forward.try_trace(s, every) == FL_ERROR_ARGUMENT);
  every = t;
  every.h_prev = {i.data(), 1};
  CHECK(forward.try_trace(s, every) == FL_ERROR_ARGUMENT);
  CHECK(forward.try_run(s) == FL_OK);
}

template <class Real>
void check_type() {
  const std::vector<Real> x = inputs<Real>(T * B * I);
  for (std::size_t D = 1; D <= 2; D++) {
    const Weights<Real> weights(D);
    const Run<Real> wanted = expected(weights, x);
    fastlstm::Plan plan, none;
    CHECK(fastlstm::Plan::try_create(plan, weights.config, {weights.rows.data(), 1}) == FL_ERROR_ARGUMENT);
    CHECK(fastlstm::Plan::try_create(plan, weights.config, weights.rows, "none") == FL_ERROR_ISA);
    CHECK(!plan.get() && !plan.isa() && !plan.is_of<Real>());
    CHECK(fastlstm::Plan::try_create(plan, weights.config, weights.rows) == FL_OK);
    CHECK(plan.output_size() == D * P && plan.state_size() == P && plan.passes() == L * D && plan.is_of<Real>());
    CHECK(fastlstm::Plan::try_load(plan, "no such file") == FL_ERROR_FILE && plan.get());  // what it holds stays
    none = std::move(plan);
    CHECK(!plan.get() && none.get());  // NOLINT
    plan = std::move(none);
    check_forward(plan, wanted, x);
    check_trace(plan, wanted, x);
    if (D == 1) check_stream(plan, wanted, x);
    if (D == 1) check_sessions(plan, wanted, x);
    fastlstm::Stream stream;
    fastlstm::Sessions sessions;
    CHECK(D == 1 || fastlstm::Stream::try_create(stream, plan) == FL_ERROR_ARGUMENT);
    CHECK(D == 1 || fastlstm::Sessions::try_create(sessions, plan, 3) == FL_ERROR_ARGUMENT);
    CHECK(fastlstm::Stream::try_create(stream, plan, SIZE_MAX / 2) == FL_ERROR_ARGUMENT && !stream.get());
  }
}

void check_memory() {
  fastlstm::Memory memory;
  CHECK(fastlstm::Memory::try_create(memory, SIZE_MAX) == FL_ERROR_ARGUMENT && !memory.get());
  CHECK(fastlstm::Memory::try_create(memory, 100) == FL_OK && memory.size() == 100);
  CHECK(reinterpret_cast<std::uintptr_t>(memory.get()) % 64 == 0);
  const fastlstm::Memory other = std::move(memory);
  CHECK(!memory.get() && memory.size() == 0 && other.size() == 100);  // NOLINT
}

#if FASTLSTM_EXCEPTIONS
template <class Work>
fl_status thrown(Work work) {
  try {
    work();
  } catch (const fastlstm::Error &error) {
    CHECK(!std::strcmp(error.what(), fl_status_text(error.status())));
    return error.status();
  }
  return FL_OK;
}

void check_exceptions() {
  const Weights<float> weights(1);
  const std::vector<float> x = inputs<float>(T * B * I);
  const Run<float> wanted = expected(weights, x);
  const fastlstm::Plan plan(weights.config, weights.rows);
  fastlstm::Stream stream(plan, B);
  std::vector<float> y(B * P), h(L * B * P), c(L * B * H);
  stream.step<float>({x.data(), B * I}, y);
  CHECK(!std::memcmp(y.data(), wanted.y.data(), y.size() * sizeof(float)));
  stream.advance();
  stream.get<float>(h, c);
  stream.set<float>(h, {});
  stream.reset();
  CHECK(thrown([&] { stream.step<float>(x, y); }) == FL_ERROR_ARGUMENT);
  CHECK(thrown([&] { fastlstm::Plan::load("no such file"); }) == FL_ERROR_FILE);
  CHECK(thrown([&] { fastlstm::Plan::read("", 0); }) != FL_OK);
  CHECK(thrown([&] { fastlstm::Pool pool(0); }) == FL_ERROR_ARGUMENT);
  CHECK(thrown([&] { fastlstm::Forward(plan, T, SIZE_MAX / 2); }) == FL_ERROR_ARGUMENT);
  fastlstm::Sessions sessions(plan, 1);
  const std::int64_t id[] = {sessions.open()};
  CHECK(thrown([&] { sessions.open(); }) == FL_ERROR_FULL);
  std::vector<float> one(P);
  sessions.step<float>(id, {x.data(), I}, one);
  sessions.advance(id);
  sessions.close(id[0]);
  CHECK(thrown([&] { sessions.advance(id); }) == FL_ERROR_CLOSED);
}
#endif

static_assert(!std::is_copy_constructible_v<fastlstm::Plan> && std::is_nothrow_move_constructible_v<fastlstm::Plan>);
static_assert(!std::is_copy_constructible_v<fastlstm::Pool> && std::is_nothrow_move_assignable_v<fastlstm::Pool>);
static_assert(!std::is_copy_constructible_v<fastlstm::Stream> && std::is_nothrow_move_assignable_v<fastlstm::Stream>);
static_assert(!std::is_copy_assignable_v<fastlstm::Sessions> && std::is_nothrow_move_assignable_v<fastlstm::Sessions>);
static_assert(!std::is_copy_constructible_v<fastlstm::Forward> && std::is_nothrow_move_assignable_v<fastlstm::Forward>);

}  // namespace

// Aligned blocks are counted: what fastlstm.hpp allocates is all of that kind.
void *operator new(std::size_t bytes, std::align_val_t boundary, const std::nothrow_t &) noexcept {
  allocations++;
  const std::size_t at = static_cast<std::size_t>(boundary);
  char *const raw = static_cast<char *>(std::malloc(bytes + at));
  if (!raw) return nullptr;
  char *const made = raw + (at - reinterpret_cast<std::uintptr_t>(raw) % at);
  made[-1] = static_cast<char>(made - raw);
  return made;
}

void operator delete(void *memory, std::align_val_t) noexcept {
  char *const made = static_cast<char *>(memory);
  if (made) std::free(made - made[-1]);
}

int main() {
  check_memory();
  check_type<float>();
  check_type<double>();
  CHECK(allocations > 20);
#if FASTLSTM_EXCEPTIONS
  check_exceptions();
  std::puts("ok, with exceptions");
#else
  std::puts("ok, without exceptions");
#endif
  return 0;
}
