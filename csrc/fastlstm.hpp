// fastlstm in C++17: what fastlstm.h has, with owners. Move-only objects free what they hold; sizes are checked where
// an array comes as a span; nothing is allocated but what the C interface asks for.
//
//   const fastlstm::Plan plan = fastlstm::Plan::load("decoder.flw");
//   fastlstm::Stream stream(plan);
//   std::vector<float> x(plan.input_size()), y(plan.output_size());
//   stream.step<float>(x, y);
//   stream.advance();
//
// Errors, as you like: step() throws fastlstm::Error (std::bad_alloc where memory is missing); try_step() returns the
// status and throws nothing. For what is made, Plan(...) throws and Plan::try_create(plan, ...) returns the status.
// With exceptions turned off (-fno-exceptions) only the latter of each pair is there.
//
// An object that has been moved from, or was made by its constructor without arguments, holds nothing: every call on it
// is FL_ERROR_ARGUMENT. A plan has to outlive what was made with it, moved or not. Threads: as fastlstm.h says.
//
// SPDX-License-Identifier: BSD-3-Clause
#ifndef FASTLSTM_HPP
#define FASTLSTM_HPP

#include <fastlstm.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define FASTLSTM_EXCEPTIONS 1
#include <exception>
#else
#define FASTLSTM_EXCEPTIONS 0
#endif

namespace fastlstm {

using Status = fl_status;

// Pointer and size; of anything that has data() and size(), or of an array.
template <class T>
class Span {
 public:
  constexpr Span() noexcept = default;
  constexpr Span(T *data, std::size_t size) noexcept : data_(data), size_(size) {
  }
  template <std::size_t N>
  constexpr Span(T (&array)[N]) noexcept : data_(array), size_(N) {
  }
  template <class Container,
            class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<Container &>().data()), T *>>>
  constexpr Span(Container &&container) noexcept : data_(container.data()), size_(container.size()) {
  }

  constexpr T *data() const noexcept {
    return data_;
  }
  constexpr std::size_t size() const noexcept {
    return size_;
  }
  constexpr bool is(std::size_t size) const noexcept {
    return size_ == size && (data_ || !size);
  }
  constexpr bool is_or_empty(std::size_t size) const noexcept {
    return is(size) || (!data_ && !size_);
  }

 private:
  T *data_ = nullptr;
  std::size_t size_ = 0;
};

#if FASTLSTM_EXCEPTIONS
// A status that is not FL_OK.
class Error : public std::exception {
 public:
  explicit Error(Status status) noexcept : status_(status) {
  }
  Status status() const noexcept {
    return status_;
  }
  const char *what() const noexcept override {
    return fl_status_text(status_);
  }

 private:
  Status status_;
};

inline void check(Status status) {
  if (status == FL_ERROR_MEMORY) throw std::bad_alloc();
  if (status != FL_OK) throw Error(status);
}
#endif

template <class Real>
constexpr fl_dtype dtype_of() noexcept {
  static_assert(std::is_same_v<Real, float> || std::is_same_v<Real, double>, "reals are float or double");
  return std::is_same_v<Real, float> ? FL_FLOAT32 : FL_FLOAT64;
}

namespace detail {

struct Delete {
  void operator()(fl_plan *plan) const noexcept {
    fl_plan_destroy(plan);
  }
  void operator()(fl_pool *pool) const noexcept {
    fl_pool_destroy(pool);
  }
  void operator()(void *memory) const noexcept {
    ::operator delete(memory, std::align_val_t{64});
  }
};

}  // namespace detail

// Memory on a boundary of 64 bytes, as workspaces and what is laid out in memory want it.
class Memory {
 public:
  Memory() noexcept = default;

  // `bytes` may be what an fl_..._size function returns: SIZE_MAX is FL_ERROR_ARGUMENT.
  [[nodiscard]] static Status try_create(Memory &made, std::size_t bytes) noexcept {
    if (bytes == SIZE_MAX) return FL_ERROR_ARGUMENT;
    void *const block = ::operator new(bytes, std::align_val_t{64}, std::nothrow);
    if (!block) return FL_ERROR_MEMORY;
    made.block_.reset(block);
    made.size_ = bytes;
    return FL_OK;
  }
#if FASTLSTM_EXCEPTIONS
  explicit Memory(std::size_t bytes) {
    check(try_create(*this, bytes));
  }
#endif

  Memory(Memory &&other) noexcept : block_(std::move(other.block_)), size_(std::exchange(other.size_, 0)) {
  }
  Memory &operator=(Memory &&other) noexcept {
    block_ = std::move(other.block_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  void *get() const noexcept {
    return block_.get();
  }
  std::size_t size() const noexcept {
    return size_;
  }

 private:
  std::unique_ptr<void, detail::Delete> block_;
  std::size_t size_ = 0;
};

// Threads of its own, or borrowed ones.
class Pool {
 public:
  Pool() noexcept = default;

  [[nodiscard]] static Status try_create(Pool &made, std::size_t threads) noexcept {
    fl_pool *pool = nullptr;
    const Status status = fl_pool_create(&pool, threads);
    if (status == FL_OK) made = Pool(pool, threads);
    return status;
  }
  [[nodiscard]] static Status try_borrow(Pool &made, std::size_t threads, fl_parallel parallel) noexcept {
    fl_pool *pool = nullptr;
    const Status status = fl_pool_borrow(&pool, threads, parallel);
    if (status == FL_OK) made = Pool(pool, threads);
    return status;
  }
#if FASTLSTM_EXCEPTIONS
  explicit Pool(std::size_t threads) {
    check(try_create(*this, threads));
  }
  static Pool borrow(std::size_t threads, fl_parallel parallel) {
    Pool made;
    check(try_borrow(made, threads, parallel));
    return made;
  }
#endif

  Pool(Pool &&other) noexcept : pool_(std::move(other.pool_)), threads_(std::exchange(other.threads_, 1)) {
  }
  Pool &operator=(Pool &&other) noexcept {
    pool_ = std::move(other.pool_);
    threads_ = std::exchange(other.threads_, 1);
    return *this;
  }

  // NULL, and 1, for one that holds nothing: the caller's thread alone.
  fl_pool *get() const noexcept {
    return pool_.get();
  }
  std::size_t threads() const noexcept {
    return threads_;
  }

 private:
  Pool(fl_pool *pool, std::size_t threads) noexcept : pool_(pool), threads_(threads) {
  }

  std::unique_ptr<fl_pool, detail::Delete> pool_;
  std::size_t threads_ = 1;
};

// Packed weights. Immutable: any number of threads may use one at once.
class Plan {
 public:
  Plan() noexcept = default;

  // weights: [L*D], index layer*D + direction
  [[nodiscard]] static Status try_create(Plan &made, const fl_config &config, Span<const fl_weights> weights,
                                         const char *isa = nullptr) noexcept {
    const bool fits = config.directions && weights.size() % config.directions == 0 &&
                      weights.size() / config.directions == config.num_layers;
    fl_plan *plan = nullptr;
    const Status status = fits ? fl_plan_create(&plan, &config, weights.data(), isa) : FL_ERROR_ARGUMENT;
    return made.take(plan, status);
  }
  // of a file at a path, and of one in memory, on a boundary of 8 bytes
  [[nodiscard]] static Status try_load(Plan &made, const char *path, const char *isa = nullptr) noexcept {
    fl_plan *plan = nullptr;
    const Status status = fl_plan_load(&plan, path, isa);
    return made.take(plan, status);
  }
  [[nodiscard]] static Status try_read(Plan &made, const void *data, std::size_t size,
                                       const char *isa = nullptr) noexcept {
    fl_plan *plan = nullptr;
    const Status status = fl_plan_read(&plan, data, size, isa);
    return made.take(plan, status);
  }
#if FASTLSTM_EXCEPTIONS
  Plan(const fl_config &config, Span<const fl_weights> weights, const char *isa = nullptr) {
    check(try_create(*this, config, weights, isa));
  }
  static Plan load(const char *path, const char *isa = nullptr) {
    Plan made;
    check(try_load(made, path, isa));
    return made;
  }
  static Plan read(const void *data, std::size_t size, const char *isa = nullptr) {
    Plan made;
    check(try_read(made, data, size, isa));
    return made;
  }
#endif

  Plan(Plan &&other) noexcept : plan_(std::move(other.plan_)), config_(std::exchange(other.config_, fl_config{})) {
  }
  Plan &operator=(Plan &&other) noexcept {
    plan_ = std::move(other.plan_);
    config_ = std::exchange(other.config_, fl_config{});
    return *this;
  }

  const fl_plan *get() const noexcept {
    return plan_.get();
  }
  const fl_config &config() const noexcept {
    return config_;
  }
  std::size_t input_size() const noexcept {
    return config_.input_size;
  }
  std::size_t hidden_size() const noexcept {
    return config_.hidden_size;
  }
  std::size_t passes() const noexcept {
    return config_.num_layers * config_.directions;
  }
  // of h of one direction: P, or H without a projection
  std::size_t state_size() const noexcept {
    return config_.proj_size ? config_.proj_size : config_.hidden_size;
  }
  std::size_t output_size() const noexcept {
    return config_.directions * state_size();
  }
  const char *isa() const noexcept {
    return plan_ ? fl_plan_isa(plan_.get()) : nullptr;
  }
  template <class Real>
  bool is_of() const noexcept {
    return plan_ && config_.dtype == dtype_of<Real>();
  }

 private:
  Status take(fl_plan *plan, Status status) noexcept {
    if (status != FL_OK) return status;
    plan_.reset(plan);
    return fl_plan_get_config(plan, &config_);
  }

  std::unique_ptr<fl_plan, detail::Delete> plan_;
  fl_config config_{};
};

// A whole sequence, all arrays contiguous. For strides, lengths, resets: fl_sequence with fl_forward, and plan.get().
template <class Real>
struct Sequence {
  std::size_t T = 0, B = 1;
  Span<const Real> input;            // [T, B, I]
  Span<Real> output;                 // [T, B, D*R]
  Span<Real> h_n, c_n;               // [L*D, B, R], [L*D, B, H]
  Span<const Real> h_0, c_0;         // the same; empty for zeros
  Span<const std::int64_t> lengths;  // [B], each 0..T; empty if all are T
};

// The gates, cells and outputs of the steps 0, every, 2 every, ..., S of them, as fl_trace has them: each is empty if
// it is not wanted. K: units.size(), or H for no units; O: P with a projection, else K.
template <class Real>
struct Trace {
  std::size_t every = 1;
  Span<const std::size_t> units;   // each below H; empty for all
  Span<Real> i, f, g, o, c, cell;  // [L, D, S, B, K]
  Span<Real> h;                    // [L, D, S, B, O]
  Span<Real> c_prev, h_prev;       // as c and h
};

namespace detail {

// a b c in one, or more than any array has
inline std::size_t product(std::initializer_list<std::size_t> sizes) noexcept {
  std::size_t made = 1;
  for (const std::size_t size : sizes) {
    if (size && made > SIZE_MAX / size) return SIZE_MAX;
    made *= size;
  }
  return made;
}

// what spans are compared with; all zero, and of no type, for an object that holds nothing
struct Shape {
  constexpr Shape() noexcept = default;
  explicit Shape(const Plan &plan) noexcept
      : dtype(plan.config().dtype),
        I(plan.input_size()),
        H(plan.hidden_size()),
        R(plan.state_size()),
        P(plan.config().proj_size),
        D(plan.config().directions),
        passes(plan.passes()) {
  }
  template <class Real>
  bool is_of() const noexcept {
    return dtype == dtype_of<Real>();
  }
  std::size_t h(std::size_t B) const noexcept {
    return product({passes, B, R});
  }
  std::size_t c(std::size_t B) const noexcept {
    return product({passes, B, H});
  }

  int dtype = 0;
  std::size_t I = 0, H = 0, R = 0, P = 0, D = 0, passes = 0;
};

template <class Real>
bool fits(const Shape &shape, const Sequence<Real> &s) noexcept {
  const std::size_t h = shape.h(s.B), c = shape.c(s.B);
  return shape.is_of<Real>() && s.input.is(product({s.T, s.B, shape.I})) &&
         s.output.is(product({s.T, s.B, shape.D, shape.R})) && s.h_n.is(h) && s.c_n.is(c) && s.h_0.is_or_empty(h) &&
         s.c_0.is_or_empty(c) && s.lengths.is_or_empty(s.B);
}

template <class Real>
bool fits(const Shape &shape, const Sequence<Real> &s, const Trace<Real> &t) noexcept {
  if (!t.every || !t.units.is_or_empty(t.units.size())) return false;
  const std::size_t steps = s.T / t.every + (s.T % t.every != 0);
  const std::size_t units = t.units.size() ? t.units.size() : shape.H;
  const std::size_t k = product({shape.passes, steps, s.B, units});
  const std::size_t h = product({shape.passes, steps, s.B, shape.P ? shape.P : units});
  for (const Span<Real> *const array : {&t.i, &t.f, &t.g, &t.o, &t.c, &t.cell, &t.c_prev})
    if (!array->is_or_empty(k)) return false;
  return t.h.is_or_empty(h) && t.h_prev.is_or_empty(h);
}

template <class Real>
fl_trace trace_of(const Trace<Real> &t) noexcept {
  return {t.every,         t.units.size() ? t.units.data() : nullptr,
          t.units.size(),  t.i.data(),
          t.f.data(),      t.g.data(),
          t.o.data(),      t.c.data(),
          t.cell.data(),   t.h.data(),
          t.c_prev.data(), t.h_prev.data()};
}

template <class Real>
fl_sequence sequence_of(const Shape &shape, const Sequence<Real> &s) noexcept {
  const auto in = static_cast<std::ptrdiff_t>(shape.I * sizeof(Real));
  const auto out = static_cast<std::ptrdiff_t>(shape.D * shape.R * sizeof(Real));
  const auto rows = static_cast<std::ptrdiff_t>(s.B);
  fl_sequence made{};
  made.T = s.T;
  made.B = s.B;
  made.input = s.input.data();
  made.input_t = rows * in;
  made.input_b = in;
  made.output = s.output.data();
  made.output_t = rows * out;
  made.output_b = out;
  made.h_0 = s.h_0.data();
  made.c_0 = s.c_0.data();
  made.h_n = s.h_n.data();
  made.c_n = s.c_n.data();
  made.lengths = s.lengths.data();
  return made;
}

}  // namespace detail

// Runs whole sequences of up to T steps and B rows, in scratch memory that it keeps; made with `traces`, it writes
// traces too. One thread at a time. The plan and the pool, which may be NULL, have to outlive it.
class Forward {
 public:
  Forward() noexcept = default;

  [[nodiscard]] static Status try_create(Forward &made, const Plan &plan, std::size_t T, std::size_t B,
                                         const Pool *pool = nullptr, bool traces = false) noexcept {
    Forward next;
    const std::size_t threads = pool ? pool->threads() : 1;
    if (!plan.get()) return FL_ERROR_ARGUMENT;
    const std::size_t run = fl_workspace_size(plan.get(), T, B, threads);
    const std::size_t trace = traces ? fl_trace_workspace(plan.get(), T, B, threads) : 0;
    const Status status = Memory::try_create(next.workspace_, run > trace ? run : trace);
    if (status != FL_OK) return status;
    next.traces_ = traces;
    next.shape_ = detail::Shape(plan);
    next.plan_ = plan.get();
    next.pool_ = pool ? pool->get() : nullptr;
    next.T_ = T;
    next.B_ = B;
    made = std::move(next);
    return FL_OK;
  }

  template <class Real>
  [[nodiscard]] Status try_run(const Sequence<Real> &sequence) noexcept {
    if (!workspace_.get() || sequence.T > T_ || sequence.B > B_) return FL_ERROR_ARGUMENT;
    if (!detail::fits(shape_, sequence)) return FL_ERROR_ARGUMENT;
    const fl_sequence s = detail::sequence_of(shape_, sequence);
    return fl_forward(plan_, &s, pool_, workspace_.get());
  }
  // the same with the gates of every step: with the bits of try_run
  template <class Real>
  [[nodiscard]] Status try_trace(const Sequence<Real> &sequence, const Trace<Real> &trace) noexcept {
    if (!workspace_.get() || !traces_ || sequence.T > T_ || sequence.B > B_) return FL_ERROR_ARGUMENT;
    if (!detail::fits(shape_, sequence) || !detail::fits(shape_, sequence, trace)) return FL_ERROR_ARGUMENT;
    const fl_sequence s = detail::sequence_of(shape_, sequence);
    const fl_trace t = detail::trace_of(trace);
    return fl_forward_trace(plan_, &s, &t, nullptr, pool_, workspace_.get(), nullptr);
  }
#if FASTLSTM_EXCEPTIONS
  Forward(const Plan &plan, std::size_t T, std::size_t B, const Pool *pool = nullptr, bool traces = false) {
    check(try_create(*this, plan, T, B, pool, traces));
  }
  template <class Real>
  void trace(const Sequence<Real> &sequence, const Trace<Real> &trace) {
    check(try_trace(sequence, trace));
  }
  template <class Real>
  void run(const Sequence<Real> &sequence) {
    check(try_run(sequence));
  }
#endif

 private:
  Memory workspace_;
  detail::Shape shape_;
  const fl_plan *plan_ = nullptr;
  fl_pool *pool_ = nullptr;
  std::size_t T_ = 0, B_ = 0;
  bool traces_ = false;
};

// B rows step by step. One thread at a time.
class Stream {
 public:
  Stream() noexcept = default;

  [[nodiscard]] static Status try_create(Stream &made, const Plan &plan, std::size_t B = 1) noexcept {
    Stream next;
    if (!plan.get()) return FL_ERROR_ARGUMENT;
    const Status status = Memory::try_create(next.memory_, fl_stream_size(plan.get(), B));
    if (status != FL_OK) return status;
    next.stream_ = fl_stream_init(plan.get(), B, next.memory_.get());
    if (!next.stream_) return FL_ERROR_ARGUMENT;
    next.shape_ = detail::Shape(plan);
    next.B_ = B;
    made = std::move(next);
    return FL_OK;
  }

  // x [B, I], y [B, R], which may be x
  template <class Real>
  [[nodiscard]] Status try_step(Span<const Real> x, Span<Real> y) noexcept {
    const bool fits = shape_.is_of<Real>() && x.is(B_ * shape_.I) && y.is(B_ * shape_.R);
    return fits ? fl_stream_step(stream_, x.data(), y.data()) : FL_ERROR_ARGUMENT;
  }
  [[nodiscard]] Status try_advance() noexcept {
    return fl_stream_advance(stream_);
  }
  // h [L, B, R], c [L, B, H]; to set, either may be empty for zeros
  template <class Real>
  [[nodiscard]] Status try_get(Span<Real> h, Span<Real> c) const noexcept {
    const bool fits = shape_.is_of<Real>() && h.is(shape_.h(B_)) && c.is(shape_.c(B_));
    return fits ? fl_stream_get(stream_, h.data(), c.data()) : FL_ERROR_ARGUMENT;
  }
  template <class Real>
  [[nodiscard]] Status try_set(Span<const Real> h, Span<const Real> c) noexcept {
    const bool fits = shape_.is_of<Real>() && h.is_or_empty(shape_.h(B_)) && c.is_or_empty(shape_.c(B_));
    return fits ? fl_stream_set(stream_, h.data(), c.data()) : FL_ERROR_ARGUMENT;
  }
  [[nodiscard]] Status try_reset() noexcept {
    return fl_stream_set(stream_, nullptr, nullptr);
  }
#if FASTLSTM_EXCEPTIONS
  explicit Stream(const Plan &plan, std::size_t B = 1) {
    check(try_create(*this, plan, B));
  }
  template <class Real>
  void step(Span<const Real> x, Span<Real> y) {
    check(try_step<Real>(x, y));
  }
  void advance() {
    check(try_advance());
  }
  template <class Real>
  void get(Span<Real> h, Span<Real> c) const {
    check(try_get<Real>(h, c));
  }
  template <class Real>
  void set(Span<const Real> h, Span<const Real> c) {
    check(try_set<Real>(h, c));
  }
  void reset() {
    check(try_reset());
  }
#endif

  Stream(Stream &&other) noexcept {
    *this = std::move(other);
  }
  Stream &operator=(Stream &&other) noexcept {
    memory_ = std::move(other.memory_);
    shape_ = std::exchange(other.shape_, detail::Shape());
    stream_ = std::exchange(other.stream_, nullptr);
    B_ = std::exchange(other.B_, 0);
    return *this;
  }

  fl_stream *get() const noexcept {
    return stream_;
  }

 private:
  Memory memory_;
  detail::Shape shape_;
  fl_stream *stream_ = nullptr;
  std::size_t B_ = 0;
};

// Up to `capacity` sequences in any company, and the ids of those that are open. Everything that is asked of one object
// comes one at a time; where slots are to be used by several threads at once, fl_sessions has what it takes. The pool,
// which may be NULL, has to outlive it.
class Sessions {
 public:
  Sessions() noexcept = default;

  [[nodiscard]] static Status try_create(Sessions &made, const Plan &plan, std::size_t capacity,
                                         const Pool *pool = nullptr) noexcept {
    Sessions next;
    if (!plan.get()) return FL_ERROR_ARGUMENT;
    const Status status = next.allocate(plan.get(), capacity, pool ? pool->threads() : 1);
    if (status != FL_OK) return status;
    next.sessions_ = fl_sessions_init(plan.get(), capacity, next.memory_.get());
    next.ids_ = fl_session_ids_init(capacity, next.ids_memory_.get());
    if (!next.sessions_ || !next.ids_) return FL_ERROR_ARGUMENT;
    next.shape_ = detail::Shape(plan);
    next.pool_ = pool ? pool->get() : nullptr;
    const Status advances = fl_sessions_advance_init(next.sessions_, next.advances_.get());
    if (advances == FL_OK) made = std::move(next);
    return advances;
  }

  // a session whose state is zero; FL_ERROR_FULL where there is no room
  [[nodiscard]] Status try_open(std::int64_t &id) noexcept {
    std::size_t slot = 0;
    const Status status = fl_session_ids_open(ids_, &id, &slot);
    return status == FL_OK ? fl_sessions_set(sessions_, slot, nullptr, nullptr) : status;
  }
  [[nodiscard]] Status try_close(std::int64_t id) noexcept {
    return fl_session_ids_close(ids_, 1, &id, nullptr);
  }

  // x [n, I], y [n, R], no alias; all of them take a step, or none; n is up to the capacity
  template <class Real>
  [[nodiscard]] Status try_step(Span<const std::int64_t> ids, Span<const Real> x, Span<Real> y) noexcept {
    const std::size_t n = ids.size();
    if (!shape_.is_of<Real>() || !x.is(detail::product({n, shape_.I})) || !y.is(detail::product({n, shape_.R})))
      return FL_ERROR_ARGUMENT;
    const auto row = static_cast<std::ptrdiff_t>(shape_.I * sizeof(Real));
    return with(ids, [&](const std::size_t *slots) noexcept {
      return fl_sessions_step(sessions_, n, slots, x.data(), row, y.data(), pool_, workspace_.get());
    });
  }
  [[nodiscard]] Status try_advance(Span<const std::int64_t> ids) noexcept {
    return with(ids, [&](const std::size_t *slots) noexcept {
      return fl_sessions_advance(sessions_, ids.size(), slots, pool_, workspace_.get());
    });
  }
  // h [L, R], c [L, H]; to set, either may be empty for zeros
  template <class Real>
  [[nodiscard]] Status try_get(std::int64_t id, Span<Real> h, Span<Real> c) noexcept {
    if (!shape_.is_of<Real>() || !h.is(shape_.h(1)) || !c.is(shape_.c(1))) return FL_ERROR_ARGUMENT;
    return with({&id, 1}, [&](const std::size_t *slots) noexcept {
      return fl_sessions_get(sessions_, *slots, h.data(), c.data());
    });
  }
  template <class Real>
  [[nodiscard]] Status try_set(std::int64_t id, Span<const Real> h, Span<const Real> c) noexcept {
    if (!shape_.is_of<Real>() || !h.is_or_empty(shape_.h(1)) || !c.is_or_empty(shape_.c(1))) return FL_ERROR_ARGUMENT;
    return with({&id, 1}, [&](const std::size_t *slots) noexcept {
      return fl_sessions_set(sessions_, *slots, h.data(), c.data());
    });
  }
#if FASTLSTM_EXCEPTIONS
  Sessions(const Plan &plan, std::size_t capacity, const Pool *pool = nullptr) {
    check(try_create(*this, plan, capacity, pool));
  }
  std::int64_t open() {
    std::int64_t id = 0;
    check(try_open(id));
    return id;
  }
  void close(std::int64_t id) {
    check(try_close(id));
  }
  template <class Real>
  void step(Span<const std::int64_t> ids, Span<const Real> x, Span<Real> y) {
    check(try_step<Real>(ids, x, y));
  }
  void advance(Span<const std::int64_t> ids) {
    check(try_advance(ids));
  }
  template <class Real>
  void get(std::int64_t id, Span<Real> h, Span<Real> c) {
    check(try_get<Real>(id, h, c));
  }
  template <class Real>
  void set(std::int64_t id, Span<const Real> h, Span<const Real> c) {
    check(try_set<Real>(id, h, c));
  }
#endif

  Sessions(Sessions &&other) noexcept {
    *this = std::move(other);
  }
  Sessions &operator=(Sessions &&other) noexcept {
    memory_ = std::move(other.memory_);
    ids_memory_ = std::move(other.ids_memory_);
    advances_ = std::move(other.advances_);
    workspace_ = std::move(other.workspace_);
    slots_ = std::move(other.slots_);
    shape_ = std::exchange(other.shape_, detail::Shape());
    sessions_ = std::exchange(other.sessions_, nullptr);
    ids_ = std::exchange(other.ids_, nullptr);
    pool_ = std::exchange(other.pool_, nullptr);
    return *this;
  }

  std::size_t used() const noexcept {
    return fl_session_ids_used(ids_);
  }
  fl_sessions *get() const noexcept {
    return sessions_;
  }
  fl_session_ids *ids() const noexcept {
    return ids_;
  }

 private:
  Status allocate(const fl_plan *plan, std::size_t capacity, std::size_t threads) noexcept {
    struct {
      Memory &memory;
      std::size_t bytes;
    } const wanted[] = {{memory_, fl_sessions_size(plan, capacity)},
                        {ids_memory_, fl_session_ids_size(capacity)},
                        {advances_, fl_sessions_advance_size(plan, capacity)},
                        {workspace_, fl_sessions_workspace(plan, capacity, threads)},
                        {slots_, detail::product({capacity, sizeof(std::size_t)})}};
    for (const auto &part : wanted) {
      const Status status = Memory::try_create(part.memory, part.bytes);
      if (status != FL_OK) return status;
    }
    return FL_OK;
  }

  // what is done with the slots of sessions while they are taken
  template <class Work>
  Status with(Span<const std::int64_t> ids, Work work) noexcept {
    std::size_t *const slots = static_cast<std::size_t *>(slots_.get());
    if (!slots || !ids.is(ids.size()) || ids.size() > slots_.size() / sizeof *slots) return FL_ERROR_ARGUMENT;
    const Status taken = fl_session_ids_take(ids_, ids.size(), ids.data(), slots, nullptr);
    if (taken != FL_OK) return taken;
    const Status status = work(slots);
    const Status given = fl_session_ids_give(ids_, ids.size(), slots);
    return status == FL_OK ? given : status;
  }

  Memory memory_, ids_memory_, advances_, workspace_, slots_;
  detail::Shape shape_;
  fl_sessions *sessions_ = nullptr;
  fl_session_ids *ids_ = nullptr;
  fl_pool *pool_ = nullptr;
};

}  // namespace fastlstm

#endif
