// The copies of one layer's experts while they are planned, and the best shares for them. Loads are
// fractions of the layer's total. One owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace atl::cluster::balancing {

inline constexpr double tiny = 1e-12;  // of the layer's load: below it, nothing
inline constexpr std::uint32_t nowhere = ~std::uint32_t{0};

struct place {
  double speed = 1;
  std::uint32_t slots = 0;  // for this layer
  std::uint32_t domain = 0;
  bool takes = true;
  bool drains = false;
};

struct layer_problem {
  std::vector<double> loads;  // sum to 1
  std::vector<place> places;
  bool wants_cover = false;
  bool is_cover_firm = false;        // there is memory to cover all: it goes before balance
  std::vector<char> is_cold;         // by domain: holds a copy of every expert, if a slow one
  std::vector<char> is_barred = {};  // experts x nodes, or empty: no copy is made there
  std::vector<char> is_fixed = {};   // by expert, or empty: no further copy is made

  std::size_t experts() const { return loads.size(); }
  std::size_t nodes() const { return places.size(); }
  bool bars(std::uint32_t e, std::uint32_t j) const {
    return !is_barred.empty() && is_barred[e * nodes() + j] != 0;
  }
  bool fixes(std::uint32_t e) const { return !is_fixed.empty() && is_fixed[e] != 0; }
};

struct copy_of_expert {
  std::uint32_t node = 0;
  double load = 0;
  bool is_pinned = false;
};

class layer_state {
public:
  explicit layer_state(const layer_problem& problem);

  const layer_problem& problem() const { return *problem_; }
  std::span<const copy_of_expert> copies(std::uint32_t e) const { return copies_[e]; }
  std::span<const std::uint32_t> held_by(std::uint32_t j) const { return held_by_[j]; }
  bool holds(std::uint32_t j, std::uint32_t e) const { return is_held_[e * nodes() + j] != 0; }
  /// Neither there already nor barred.
  bool may_come(std::uint32_t e, std::uint32_t j) const {
    return !holds(j, e) && !problem_->bars(e, j);
  }
  double load_at(std::uint32_t j) const { return node_load_[j]; }
  double load_of(std::uint32_t e, std::uint32_t j) const;
  bool has_room(std::uint32_t j) const { return held_by_[j].size() < problem_->places[j].slots; }

  /// Copies that are there now: what is added beyond them is moved.
  void add_present(std::uint32_t e, std::uint32_t j, double load, bool is_pinned);
  void add(std::uint32_t e, std::uint32_t j, double load);
  void add_load(std::uint32_t e, std::uint32_t j, double load);
  /// Its load goes to the expert's other copies, or nowhere if there is none.
  void remove(std::uint32_t e, std::uint32_t j);
  /// e from i to j and f from j to i, with their loads.
  void exchange(std::uint32_t e, std::uint32_t i, std::uint32_t f, std::uint32_t j);
  std::size_t moved() const { return moved_; }

  /// Whether the expert is in two failure domains, or a cold copy is in another; leaving out the
  /// copy at `without`, adding one at `with`.
  bool
  is_covered(std::uint32_t e, std::uint32_t without = nowhere, std::uint32_t with = nowhere) const;
  /// It may be given up: others are there, and it is not pinned.
  bool may_drop(std::uint32_t e, std::uint32_t j) const {
    return copies_[e].size() >= 2 && !is_pinned(e, j);
  }
  /// And the expert is covered without it, or not covered at all.
  bool may_drop_covered(std::uint32_t e, std::uint32_t j) const {
    return may_drop(e, j) && (is_covered(e, j) || !is_covered(e));
  }
  bool is_pinned(std::uint32_t e, std::uint32_t j) const;
  bool is_new(std::uint32_t e, std::uint32_t j) const {
    return holds(j, e) && was_held_[e * nodes() + j] == 0;
  }
  bool was_held(std::uint32_t e, std::uint32_t j) const { return was_held_[e * nodes() + j] != 0; }
  /// No copies; those that were there still count as present.
  void clear();

  /// Makes the loads of the copies those with the smallest finishing time, which is the largest,
  /// over sets of nodes R, of the load of experts with copies in R only, over the speed of R. Every
  /// expert has a copy.
  /// Not below `enough`: a finishing time that needs no improvement.
  void settle(double enough = 0);
  /// After settle().
  double finish() const { return finish_; }
  /// The nodes of the set R: all finish last.
  const std::vector<char>& is_critical() const { return is_critical_; }
  std::size_t critical_count() const { return critical_count_; }

private:
  std::size_t nodes() const { return problem_->nodes(); }
  copy_of_expert* find(std::uint32_t e, std::uint32_t j);
  void put(std::uint32_t e, std::uint32_t j, double load, bool is_pinned);
  void take(std::uint32_t e, std::uint32_t j);
  void shift_to_neighbours(double finish);
  bool shift_to_slack(double finish);
  bool augment(std::uint32_t end, double finish);

  const layer_problem* problem_;
  std::vector<std::vector<copy_of_expert>> copies_;  // by expert
  std::vector<std::vector<std::uint32_t>> held_by_;  // by node: experts
  std::vector<char> is_held_;                        // experts x nodes
  std::vector<char> was_held_;                       // experts x nodes
  std::vector<double> node_load_;
  std::size_t moved_ = 0;
  double finish_ = 0;
  std::vector<char> is_critical_;
  std::size_t critical_count_ = 0;

  // Of the search in settle(): how each node was reached.
  struct step {
    std::uint32_t from = nowhere;
    std::uint32_t expert = 0;
  };
  std::vector<step> reached_;
  std::vector<char> is_reached_;
  std::vector<std::uint32_t> queue_;
};

}  // namespace atl::cluster::balancing
