// What nodes and whoever makes plans do for a coordinator's mind, at once. For the .cpp files of
// this folder.
#pragma once

#include "cluster/control.hpp"

#include <utility>
#include <vector>

namespace atl::ops {

/// Plans that were asked for are made; other effects are added to `said`.
inline void
make_plans(cluster::control& on, std::vector<cluster::effect>& said, time_point_ns now) {
  std::vector<cluster::plan_effect> asked;
  for (auto& e : on.take_effects()) {
    if (const auto* p = std::get_if<cluster::plan_effect>(&e)) asked.push_back(*p);
    said.push_back(std::move(e));
  }
  for (const auto& p : asked) on.planned(p.job, plan_elastic(*p.input), now);
}

/// The nodes do what they are told.
inline void obey(cluster::control& on, std::vector<cluster::effect>& said, time_point_ns now) {
  namespace wire = transport::wire;
  for (int round = 0; round < 8; ++round) {
    make_plans(on, said, now);
    for (const auto& e : std::exchange(said, {})) {
      const auto* sent = std::get_if<cluster::send_effect>(&e);
      if (sent == nullptr) continue;
      if (const auto* l = std::get_if<wire::load>(&sent->body)) {
        wire::placed p;
        p.epoch = l->epoch;
        p.node = sent->to.node;
        p.group = l->group;
        p.layer = l->layer;
        for (const auto expert : l->experts) p.held.push_back({7, l->layer, expert});
        on.placed(sent->to, p, now);
      }
      if (const auto* p = std::get_if<wire::place>(&sent->body))
        on.adopted(sent->to, {p->epoch, p->epoch}, now);
    }
  }
}

}  // namespace atl::ops
