// The same program as embed.c in C++17: what is opened closes itself, what goes wrong is thrown.
//
//     embed_cpp WEIGHTS INPUT OUTPUT [THREADS]
//
// SPDX-License-Identifier: BSD-3-Clause
#include <fastlstm.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::size_t SESSIONS = 20;
using Bytes = std::vector<char>;

void check(const char *what, fl_status status) {
  if (status == FL_ERROR_MEMORY) throw std::bad_alloc();
  if (status != FL_OK) throw std::runtime_error(std::string(what) + ": " + fl_status_text(status));
}

struct Delete {
  void operator()(fl_plan *plan) const {
    fl_plan_destroy(plan);
  }
  void operator()(fl_pool *pool) const {
    fl_pool_destroy(pool);
  }
  void operator()(void *memory) const {
    ::operator delete(memory, std::align_val_t{64});
  }
};
using Plan = std::unique_ptr<fl_plan, Delete>;
using Pool = std::unique_ptr<fl_pool, Delete>;
using Memory = std::unique_ptr<void, Delete>;

Memory aligned(std::size_t bytes) {  // SIZE_MAX, which says that the sizes overflow, throws like any other too large
  return Memory(::operator new(bytes, std::align_val_t{64}));
}

Bytes read(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

class Lstm {
 public:
  explicit Lstm(const std::string &path) {
    const Bytes file = read(path);
    std::uint64_t sizes[7];
    if (file.size() < 8 + sizeof sizes || std::memcmp(file.data(), "fastlstm", 8) != 0)
      throw std::runtime_error(path + ": is not a file of write_weights.py");
    std::memcpy(sizes, file.data() + 8, sizeof sizes);
    if (std::any_of(std::begin(sizes), std::end(sizes), [](std::uint64_t n) { return n > 1 << 20; }))
      throw std::runtime_error(path + ": has an invalid size");
    config.dtype = static_cast<fl_dtype>(sizes[0]);
    config.input_size = sizes[1];
    config.hidden_size = sizes[2];
    config.proj_size = sizes[3];
    config.num_layers = sizes[4];
    config.directions = sizes[5];
    real = sizes[0] / 8;
    R = config.proj_size ? config.proj_size : config.hidden_size;
    const std::size_t H = config.hidden_size, D = config.directions;
    std::size_t at = 8 + sizeof sizes;
    const auto next = [&](std::size_t n) -> const void * {
      if (n > (file.size() - at) / std::max<std::size_t>(real, 1)) throw std::runtime_error(path + ": ends too early");
      at += n * real;
      return file.data() + at - n * real;  // 8-byte aligned: so are the vector's data, and everything before
    };
    std::vector<fl_weights> weights(config.num_layers * D);
    for (std::size_t k = 0; k < weights.size(); k++) {
      weights[k].weight_ih = next(4 * H * (k < D ? config.input_size : D * R));
      weights[k].weight_hh = next(4 * H * R);
      if (sizes[6]) weights[k].bias_ih = next(4 * H);
      if (sizes[6]) weights[k].bias_hh = next(4 * H);
      if (config.proj_size) weights[k].weight_hr = next(config.proj_size * H);
    }
    if (at != file.size()) throw std::runtime_error(path + ": goes on after its end");
    fl_plan *made = nullptr;
    check("plan", fl_plan_create(&made, &config, weights.data(), nullptr));
    plan.reset(made);
  }

  Bytes sequence(const Bytes &x, std::size_t T, fl_pool *pool, std::size_t threads) const {
    const std::size_t D = config.directions, n = config.num_layers * D, width = D * R;
    Bytes all((T * width + n * (R + config.hidden_size)) * real);
    fl_sequence s{};
    s.T = T;
    s.B = 1;
    s.input = x.data();
    s.input_t = s.input_b = static_cast<std::ptrdiff_t>(config.input_size * real);
    s.output = all.data();
    s.output_t = s.output_b = static_cast<std::ptrdiff_t>(width * real);
    s.h_n = all.data() + T * width * real;
    s.c_n = all.data() + (T * width + n * R) * real;
    const Memory workspace = aligned(fl_workspace_size(plan.get(), T, 1, threads));
    check("sequence", fl_forward(plan.get(), &s, pool, workspace.get()));
    return all;
  }

  Bytes stream(const Bytes &x, std::size_t T) const {
    const Memory memory = aligned(fl_stream_size(plan.get(), 1));
    fl_stream *const stream = fl_stream_init(plan.get(), 1, memory.get());
    if (!stream) throw std::runtime_error("stream: the plan is bidirectional");
    Bytes y(T * R * real);
    for (std::size_t t = 0; t < T; t++) {
      fl_stream_step(stream, x.data() + t * config.input_size * real, y.data() + t * R * real);
      fl_stream_advance(stream);  // once the answer is out: what the next step does not need its input for
    }
    return y;
  }

  // Session k starts at time k. They take a step newest first, so that their inputs stand in x as they are.
  Bytes sessions(const Bytes &x, std::size_t T, fl_pool *pool, std::size_t threads) const {
    const std::size_t row = config.input_size * real, width = R * real;
    const Memory memory = aligned(fl_sessions_size(plan.get(), SESSIONS));
    fl_sessions *const sessions = fl_sessions_init(plan.get(), SESSIONS, memory.get());
    if (!sessions) throw std::runtime_error("sessions: the plan is bidirectional");
    const Memory workspace = aligned(fl_sessions_workspace(plan.get(), SESSIONS, threads));
    Bytes all, y(SESSIONS * width);
    for (std::size_t t = 0; t < T; t++) {
      const std::size_t n = std::min(t + 1, SESSIONS);
      std::vector<std::size_t> slots(n);
      for (std::size_t k = 0; k < n; k++) slots[k] = n - 1 - k;
      fl_sessions_step(sessions, n, slots.data(), x.data() + (t + 1 - n) * row, static_cast<std::ptrdiff_t>(row),
                       y.data(), pool, workspace.get());
      for (std::size_t k = n; k-- > 0;) all.insert(all.end(), y.data() + k * width, y.data() + (k + 1) * width);
    }
    return all;
  }

  fl_config config{};
  std::size_t real = 0, R = 0;
  Plan plan;
};

void run(int argc, char **argv) {
  if (argc < 4 || argc > 5) throw std::runtime_error("usage: embed_cpp WEIGHTS INPUT OUTPUT [THREADS]");
  const std::size_t threads = argc == 5 ? std::stoul(argv[4]) : 1;
  const Lstm lstm(argv[1]);
  const Bytes x = read(argv[2]);
  const std::size_t row = lstm.config.input_size * lstm.real, T = x.size() / row;
  if (x.size() % row) throw std::runtime_error(std::string(argv[2]) + ": is not a whole number of inputs");
  Pool pool;
  if (threads != 1) {
    fl_pool *made = nullptr;
    check("threads", fl_pool_create(&made, threads));
    pool.reset(made);
  }
  std::ofstream out(argv[3], std::ios::binary);
  const auto write = [&](const Bytes &bytes) { out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())); };
  write(lstm.sequence(x, T, pool.get(), threads));
  if (lstm.config.directions == 1) {
    write(lstm.stream(x, T));
    write(lstm.sessions(x, T, pool.get(), threads));
  }
  if (!out.flush()) throw std::runtime_error(std::string(argv[3]) + ": cannot be written");
  std::cout << "fastlstm " << fl_version() << " on " << fl_plan_isa(lstm.plan.get()) << ": " << T << " steps, "
            << fl_plan_size(lstm.plan.get()) << " bytes of weights\n";
}

}  // namespace

int main(int argc, char **argv) {
  try {
    run(argc, argv);
    return 0;
  } catch (const std::exception &error) {
    std::cerr << "embed: " << error.what() << '\n';
    return 1;
  }
}
