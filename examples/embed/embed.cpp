// The same program as embed.c in C++17, with fastlstm.hpp: what is made frees itself, what goes wrong is thrown.
//
//     embed_cpp WEIGHTS INPUT OUTPUT [THREADS]
//
// SPDX-License-Identifier: BSD-3-Clause
#include <fastlstm.hpp>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr std::size_t SESSIONS = 20;

template <class Real>
using Reals = std::vector<Real>;

template <class Real>
Reals<Real> read(const std::string &path, std::size_t row) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error(path + ": cannot be opened");
  const auto bytes = static_cast<std::size_t>(file.tellg());
  if (bytes % (row * sizeof(Real))) throw std::runtime_error(path + ": is not a whole number of inputs");
  Reals<Real> made(bytes / sizeof(Real));
  file.seekg(0).read(reinterpret_cast<char *>(made.data()), static_cast<std::streamsize>(bytes));
  if (!file) throw std::runtime_error(path + ": ends too early");
  return made;
}

template <class Real>
void write(std::ostream &out, const Reals<Real> &reals, std::size_t n) {
  out.write(reinterpret_cast<const char *>(reals.data()), static_cast<std::streamsize>(n * sizeof(Real)));
}

template <class Real>
void run_sequence(const fastlstm::Plan &plan, const fastlstm::Pool &pool, const Reals<Real> &x, std::ostream &out) {
  const std::size_t T = x.size() / plan.input_size();
  Reals<Real> y(T * plan.output_size()), h(plan.passes() * plan.state_size()), c(plan.passes() * plan.hidden_size());
  fastlstm::Sequence<Real> sequence;
  sequence.T = T;
  sequence.input = x;
  sequence.output = y;
  sequence.h_n = h;
  sequence.c_n = c;
  fastlstm::Forward(plan, T, 1, &pool).run(sequence);
  for (const Reals<Real> *part : {&y, &h, &c}) write(out, *part, part->size());
}

template <class Real>
void run_stream(const fastlstm::Plan &plan, const Reals<Real> &x, std::ostream &out) {
  fastlstm::Stream stream(plan);
  Reals<Real> y(plan.output_size());
  for (std::size_t at = 0; at < x.size(); at += plan.input_size()) {
    stream.step<Real>({x.data() + at, plan.input_size()}, y);
    write(out, y, y.size());
    stream.advance();  // once the answer is out: what the next step does not need its input for
  }
}

// Session k starts at time k. They take a step oldest first, each with the input that came as many steps later.
template <class Real>
void run_sessions(const fastlstm::Plan &plan, const fastlstm::Pool &pool, const Reals<Real> &x, std::ostream &out) {
  const std::size_t I = plan.input_size(), R = plan.output_size();
  fastlstm::Sessions sessions(plan, SESSIONS, &pool);
  std::vector<std::int64_t> ids;
  Reals<Real> rows(SESSIONS * I), y(SESSIONS * R);
  for (std::size_t t = 0; t < x.size() / I; t++) {
    if (ids.size() < SESSIONS) ids.push_back(sessions.open());
    const std::size_t n = ids.size();
    for (std::size_t k = 0; k < n; k++) std::copy_n(x.data() + (t - k) * I, I, rows.data() + k * I);
    sessions.step<Real>(ids, {rows.data(), n * I}, {y.data(), n * R});
    write(out, y, n * R);
  }
}

template <class Real>
std::size_t run(const fastlstm::Plan &plan, const fastlstm::Pool &pool, char **argv) {
  const Reals<Real> x = read<Real>(argv[2], plan.input_size());
  std::ofstream out(argv[3], std::ios::binary);
  run_sequence(plan, pool, x, out);
  if (plan.config().directions == 1) {
    run_stream(plan, x, out);
    run_sessions(plan, pool, x, out);
  }
  if (!out.flush()) throw std::runtime_error(std::string(argv[3]) + ": cannot be written");
  return x.size() / plan.input_size();
}

fastlstm::Plan load(const char *path) {
  fastlstm::Plan plan;
  const fastlstm::Status status = fastlstm::Plan::try_load(plan, path);  // not load(): the message names the file
  if (status != FL_OK) throw std::runtime_error(std::string(path) + ": " + fl_status_text(status));
  return plan;
}

void run(int argc, char **argv) {
  if (argc < 4 || argc > 5) throw std::runtime_error("usage: embed_cpp WEIGHTS INPUT OUTPUT [THREADS]");
  const std::size_t threads = argc == 5 ? std::stoul(argv[4]) : 1;
  const fastlstm::Plan plan = load(argv[1]);
  fastlstm::Pool pool;  // the caller's thread alone
  if (threads != 1 && fastlstm::Pool::try_create(pool, threads) != FL_OK)
    throw std::runtime_error(std::string(argv[4]) + ": not a number of threads");
  const std::size_t T = plan.is_of<float>() ? run<float>(plan, pool, argv) : run<double>(plan, pool, argv);
  std::cout << "fastlstm " << fl_version() << " on " << plan.isa() << ": " << T << " steps, "
            << fl_plan_size(plan.get()) << " bytes of weights\n";
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
