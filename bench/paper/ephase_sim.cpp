// The E-phase on SimGrid: one actor per rank, which sleeps while it computes and passes blocks through mailboxes.
//
//   ephase_sim PLATFORM.xml CASE.txt [--cfg=...]
//
// simulate.py writes both files and says what the fields of a case are. The schedule comes from
// pycryo.parallel.belt_plan as tables; this program only follows it. Hosts are called n0, n1, ... The result is one
// line of JSON.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <random>
#include <simgrid/s4u.hpp>
#include <string>
#include <vector>

namespace sg = simgrid::s4u;

namespace {

// Blocks of one ring, see BeltPlan: items[round·n_rank + owner], owner[rank·n_rank + step].
struct Plan {
  int n_rank = 0, n_round = 0;
  std::vector<int> items, owner;
};

struct Case {
  bool gather = false;              // collect all items first
  bool overlap = true;              // messages travel while a rank compares
  int n_rank = 0, block = 0;        // block: items compared at a time after a gather
  double item_bytes = 0, step = 0;  // step: seconds of a rank's own time to begin and end a transfer
  double jitter = 0;                // standard deviation over mean of each block's time
  unsigned seed = 0;
  std::vector<double> make, compare;  // seconds for a block of 0, 1, ... items
  std::vector<Plan> plans;
  std::vector<int> ring_first, ring_plan;  // first rank and plan of each ring
};

struct Account {
  double making = 0, comparing = 0, waiting = 0, bytes = 0, end = 0;
};

template <class T>
std::vector<T> read_list(std::istream& in) {
  std::size_t size = 0;
  in >> size;
  std::vector<T> list(size);
  for (T& value : list) in >> value;
  return list;
}

Case read_case(const char* path) {
  std::ifstream in(path);
  Case c;
  std::size_t n_plan = 0;
  in >> c.gather >> c.overlap >> c.n_rank >> c.block >> c.item_bytes >> c.step >> c.jitter >> c.seed;
  c.make = read_list<double>(in);
  c.compare = read_list<double>(in);
  in >> n_plan;
  c.plans.resize(n_plan);
  for (Plan& plan : c.plans) {
    in >> plan.n_rank >> plan.n_round;
    plan.items = read_list<int>(in);
    plan.owner = read_list<int>(in);
  }
  c.ring_first = read_list<int>(in);
  c.ring_plan = read_list<int>(in);
  if (!in) throw std::runtime_error(std::string("cannot read ") + path);
  return c;
}

// Mean 1; `relative` is its standard deviation.
std::lognormal_distribution<double> around_one(double relative) {
  const double variance = std::log1p(relative * relative);
  return std::lognormal_distribution<double>(-0.5 * variance, std::sqrt(variance));
}

class Rank {
 public:
  Rank(const Case& c, const Plan& plan, int first, int rank, Account& account)
      : case_(c), plan_(plan), rank_(rank), account_(account), random_(c.seed + 7919u * (first + rank)) {
    in_ = sg::Mailbox::by_name(std::to_string(first + rank));
    out_ = sg::Mailbox::by_name(std::to_string(first + (rank + 1) % plan.n_rank));
    noise_ = around_one(c.jitter);
  }

  void run() {
    if (case_.gather) {
      gather();
    } else {
      for (int round = 0; round < plan_.n_round; ++round) belt(round);
    }
    account_.end = sg::Engine::get_clock();
  }

 private:
  int items(int round, int step) const {
    return plan_.items[round * plan_.n_rank + plan_.owner[rank_ * plan_.n_rank + step]];
  }

  double work(double seconds, double own = 0) {
    const double actual = seconds * (case_.jitter > 0 ? noise_(random_) : 1.0);
    if (actual + own > 0) sg::this_actor::sleep_for(actual + own);
    return actual;
  }

  // Seconds of the rank's own time.
  double begin(int leaving, int coming) {
    if (coming > 0) receive_ = in_->get_async<int>(&received_);
    if (leaving > 0) send_ = out_->put_async(&token_, static_cast<uint64_t>(leaving * case_.item_bytes));
    account_.bytes += leaving * case_.item_bytes;
    return coming > 0 || leaving > 0 ? case_.step : 0;
  }

  void finish() {
    const double start = sg::Engine::get_clock();
    if (receive_) receive_->wait();
    if (send_) send_->wait();
    receive_ = send_ = nullptr;
    account_.waiting += sg::Engine::get_clock() - start;
  }

  void belt(int round) {
    const int n = plan_.n_rank;
    account_.making += work(case_.make[items(round, 0)]);
    for (int step = 0; step < n; ++step) {
      const int leaving = step < n - 1 ? items(round, step) : 0, coming = step < n - 1 ? items(round, step + 1) : 0;
      const double own = case_.overlap ? begin(leaving, coming) : 0;
      account_.comparing += work(case_.compare[items(round, step)], own);
      if (!case_.overlap) work(0, begin(leaving, coming));
      finish();
    }
  }

  // The ring algorithm of MPI libraries for long messages (Thakur, Rabenseifner, Gropp 2005).
  void gather() {
    int all = 0;
    account_.making += work(case_.make[items(0, 0)]);
    for (int step = 0; step < plan_.n_rank; ++step) {
      if (step < plan_.n_rank - 1) work(0, begin(items(0, step), items(0, step + 1)));
      finish();
      all += items(0, step);
    }
    for (; all > 0; all -= case_.block) account_.comparing += work(case_.compare[std::min(all, case_.block)]);
  }

  const Case& case_;
  const Plan& plan_;
  int rank_;
  Account& account_;
  std::mt19937_64 random_;
  std::lognormal_distribution<double> noise_;
  sg::Mailbox *in_, *out_;
  sg::CommPtr send_, receive_;
  int token_ = 0;
  int* received_ = nullptr;
};

void print(const std::vector<Account>& accounts) {
  Account mean, most;
  const double share = 1.0 / accounts.size();
  for (const Account& a : accounts) {
    mean.making += a.making * share;
    mean.comparing += a.comparing * share;
    mean.waiting += a.waiting * share;
    most.bytes = std::max(most.bytes, a.bytes);
    most.end = std::max(most.end, a.end);
  }
  std::printf("{\"seconds\": %.9g, \"making\": %.9g, \"comparing\": %.9g, \"waiting\": %.9g, \"bytes\": %.9g}\n",
              most.end, mean.making, mean.comparing, mean.waiting, most.bytes);
}

}  // namespace

int main(int argc, char** argv) {
  sg::Engine engine(&argc, argv);
  if (argc != 3) {
    std::cerr << "usage: ephase_sim PLATFORM.xml CASE.txt\n";
    return 2;
  }
  engine.load_platform(argv[1]);
  const Case c = read_case(argv[2]);
  std::vector<Account> accounts(c.n_rank);
  for (std::size_t ring = 0; ring < c.ring_first.size(); ++ring) {
    const Plan& plan = c.plans[c.ring_plan[ring]];
    for (int rank = 0; rank < plan.n_rank; ++rank) {
      const int first = c.ring_first[ring], world = first + rank;
      sg::Actor::create(
          "rank", sg::Host::by_name("n" + std::to_string(world)),
          [&c, &plan, first, rank, &account = accounts[world]] { Rank(c, plan, first, rank, account).run(); });
    }
  }
  engine.run();
  print(accounts);
  return 0;
}
