// The M-phase on SimGrid: one actor per rank, which sleeps while it computes; messages go through mailboxes.
//
//   mphase_sim PLATFORM.xml CASE.txt [--cfg=...]
//
// mphase.py writes both files: what each rank does is a list of operations, the same for all ranks but for the numbers.
// Group g of the ranks 0 ... n_rank - 1 is on the hosts n<g·n_rank + rank>; all groups do the same. The result is one
// line of JSON.

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <simgrid/s4u.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace sg = simgrid::s4u;

namespace {

using List = std::vector<double>;

// Rank r sends out[r]·in[d] bytes to rank d. `before` and `after`: seconds of each rank before it is sent and when all
// has come.
struct Round {
  List before, out, in, after;
};

// work      each rank computes for `first`[rank] seconds
// stage     the clock is recorded
// ring      n - 1 steps: pieces of `first`[piece] bytes go round; who gets one works for `second`[piece] seconds
// exchange  n - 1 steps: `round` with rank + 1, rank + 2, ...; `after` is for each step
// load      `rounds`; the messages of one travel while the next is prepared
// store     `rounds`; the messages of one travel while the one before is worked on
struct Operation {
  std::string kind;
  List first, second;
  std::vector<Round> rounds;
};

struct Case {
  int n_group = 0, n_rank = 0;
  bool overlap = true;  // messages travel while a rank computes
  double step = 0;      // seconds of a rank's own time to begin and end an exchange
  std::vector<Operation> operations;
};

struct Account {
  double computing = 0, waiting = 0, bytes = 0, messages = 0;
  List stages;
};

List read_list(std::istream& in, int size) {
  List list(size);
  for (double& value : list) in >> value;
  return list;
}

Operation read_operation(std::istream& in, int n_rank) {
  Operation o;
  in >> o.kind;
  if (o.kind == "work" || o.kind == "ring") o.first = read_list(in, n_rank);
  if (o.kind == "ring") o.second = read_list(in, n_rank);
  std::size_t n_round = 0;
  if (o.kind == "exchange" || o.kind == "load" || o.kind == "store") in >> n_round;
  o.rounds.resize(n_round);
  for (Round& round : o.rounds) {
    for (List* list : {&round.before, &round.out, &round.in, &round.after}) *list = read_list(in, n_rank);
  }
  return o;
}

Case read_case(const char* path) {
  std::ifstream in(path);
  Case c;
  std::size_t n_operation = 0;
  in >> c.n_group >> c.n_rank >> c.overlap >> c.step >> n_operation;
  for (std::size_t i = 0; i < n_operation; ++i) c.operations.push_back(read_operation(in, c.n_rank));
  if (!in) throw std::runtime_error(std::string("cannot read ") + path);
  return c;
}

class Rank {
 public:
  Rank(const Case& c, int group, int rank, Account& account)
      : case_(c), n_(c.n_rank), first_(group * c.n_rank), rank_(rank), account_(account) {}

  void run() {
    for (const Operation& o : case_.operations) {
      if (o.kind == "work") {
        compute(o.first[rank_]);
      } else if (o.kind == "stage") {
        account_.stages.push_back(sg::Engine::get_clock());
      } else if (o.kind == "ring") {
        ring(o.first, o.second);
      } else if (o.kind == "exchange") {
        for (const Round& round : o.rounds) exchange(round);
      } else {
        in_background(o.rounds, o.kind == "load");
      }
    }
  }

 private:
  // Messages that one step of an exchange has on their way.
  struct Pair {
    sg::CommPtr send, receive;
    void wait() const {
      if (receive) receive->wait();
      if (send) send->wait();
    }
  };

  // Two exchanges may be under way: each has mailboxes of its own, or one would take the other's messages.
  sg::Mailbox* mailbox(int source, int destination, bool odd) const {
    return sg::Mailbox::by_name(std::to_string(first_ + source) + (odd ? "+" : ">") +
                                std::to_string(first_ + destination));
  }

  Pair begin(int destination, double leaving, int source, double coming, bool odd = false) {
    Pair pair;
    if (coming >= 1) pair.receive = mailbox(source, rank_, odd)->get_async<int>(&received_);
    if (leaving >= 1) {
      pair.send = mailbox(rank_, destination, odd)->put_async(&token_, static_cast<uint64_t>(leaving));
      account_.bytes += leaving;
      account_.messages += 1;
    }
    return pair;
  }

  Pair begin(const Round& round, int step, bool odd = false) {
    const int destination = (rank_ + step) % n_, source = (rank_ + n_ - step) % n_;
    const double leaving = round.out[rank_] * round.in[destination], coming = round.out[source] * round.in[rank_];
    return begin(destination, leaving, source, coming, odd);
  }

  void compute(double seconds) {
    if (seconds > 0) sg::this_actor::sleep_for(seconds);
    account_.computing += seconds;
  }

  template <class Wait>
  void wait(Wait&& until) {
    const double start = sg::Engine::get_clock();
    until();
    account_.waiting += sg::Engine::get_clock() - start;
  }

  // The ring algorithm of MPI libraries for long messages (Thakur, Rabenseifner, Gropp 2005).
  void ring(const List& bytes, const List& seconds) {
    if (n_ > 1) compute(case_.step);
    const int next = (rank_ + 1) % n_, before = (rank_ + n_ - 1) % n_;
    for (int step = 0; step < n_ - 1; ++step) {
      const int leaving = (rank_ + n_ - step) % n_, coming = (before + n_ - step) % n_;
      const Pair pair = begin(next, bytes[leaving], before, bytes[coming]);
      wait([&] { pair.wait(); });
      compute(seconds[coming]);
    }
  }

  // What came in one step is worked on while the messages of the next are on their way.
  void exchange(const Round& round) {
    if (n_ > 1) compute(case_.step);
    compute(round.before[rank_]);
    Pair pair = n_ > 1 ? begin(round, 1) : Pair();
    for (int step = 1; step < n_; ++step) {
      wait([&] { pair.wait(); });
      if (case_.overlap && step + 1 < n_) pair = begin(round, step + 1);
      compute(round.after[rank_]);
      if (!case_.overlap && step + 1 < n_) pair = begin(round, step + 1);
    }
  }

  // All messages of a round, pair by pair as MPI libraries do with long ones.
  void all_to_all(const Round& round, bool odd) {
    for (int step = 1; step < n_; ++step) begin(round, step, odd).wait();
  }

  // A round on its way; without overlap it is only sent when it is waited for.
  struct Sent {
    const Round* round = nullptr;
    bool odd = false;
    sg::ActorPtr actor;
  };

  Sent start(const Round& round, bool odd) {
    compute(case_.step);
    if (!case_.overlap) return {&round, odd, nullptr};
    const auto work = [this, &round, odd] { all_to_all(round, odd); };
    return {&round, odd, sg::Actor::create("exchange", sg::this_actor::get_host(), work)};
  }

  void finish(const Sent& sent) {
    if (!sent.round) return;
    wait([&] { sent.actor ? sent.actor->join() : all_to_all(*sent.round, sent.odd); });
    compute(sent.round->after[rank_]);
  }

  void in_background(const std::vector<Round>& rounds, bool finish_first) {
    Sent pending;
    for (const Round& round : rounds) {
      compute(round.before[rank_]);
      if (finish_first) finish(pending);
      const Sent latest = start(round, !pending.odd);
      if (!finish_first) finish(pending);
      pending = latest;
    }
    finish(pending);
  }

  const Case& case_;
  int n_, first_, rank_;
  Account& account_;
  int token_ = 0;
  int* received_ = nullptr;
};

void print(const std::vector<Account>& accounts) {
  Account mean, most;
  most.stages.resize(accounts.front().stages.size());
  const double share = 1.0 / accounts.size();
  for (const Account& a : accounts) {
    mean.computing += a.computing * share;
    mean.waiting += a.waiting * share;
    most.bytes = std::max(most.bytes, a.bytes);
    most.messages = std::max(most.messages, a.messages);
    for (std::size_t i = 0; i < most.stages.size(); ++i) most.stages[i] = std::max(most.stages[i], a.stages[i]);
  }
  std::printf("{\"computing\": %.9g, \"waiting\": %.9g, \"bytes\": %.12g, \"messages\": %.9g, \"ends\": [",
              mean.computing, mean.waiting, most.bytes, most.messages);
  for (std::size_t i = 0; i < most.stages.size(); ++i) std::printf("%s%.9g", i ? ", " : "", most.stages[i]);
  std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
  sg::Engine engine(&argc, argv);
  if (argc != 3) {
    std::cerr << "usage: mphase_sim PLATFORM.xml CASE.txt\n";
    return 2;
  }
  engine.load_platform(argv[1]);
  const Case c = read_case(argv[2]);
  std::vector<Account> accounts(c.n_group * c.n_rank);
  for (int world = 0; world < c.n_group * c.n_rank; ++world) {
    sg::Actor::create("rank", sg::Host::by_name("n" + std::to_string(world)), [&c, world, &account = accounts[world]] {
      Rank(c, world / c.n_rank, world % c.n_rank, account).run();
    });
  }
  engine.run();
  const std::size_t n_stage = accounts.front().stages.size();
  const bool same =
      std::all_of(accounts.begin(), accounts.end(), [n_stage](const Account& a) { return a.stages.size() == n_stage; });
  if (!same) {
    std::cerr << "mphase_sim: ranks did not come to the end\n";
    return 1;
  }
  print(accounts);
  return 0;
}
