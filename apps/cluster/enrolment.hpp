// How machines become nodes, on the coordinator's side: a join token and a request for a
// certificate come in, a node's number, its certificate and all it needs to begin go out; later its
// certificate is renewed. Immutable; any thread.
#pragma once

#include "cluster/control.hpp"
#include "runtime/base/result.hpp"
#include "transport/tls/authority.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace atl::ops {

/// What a node is told when it joins.
struct join_terms {
  node_id coordinator;
  std::string control;            // where the coordinator takes frames
  std::string model_config;       // text of config.json
  std::string generation_config;  // of generation_config.json; may be empty
  std::string fingerprint;        // of the checkpoint
  std::int64_t heartbeat_ms = 200;
  std::int64_t suspect_ms = 900;
  std::int64_t dead_ms = 1900;
  std::chrono::seconds certificate_time{std::chrono::hours{24}};
};

struct join_request {
  std::string token_id;
  std::string secret_hash;
  std::string name;
  std::vector<std::string> roles;
  std::uint32_t role_bits = 0;
  std::string csr;
  std::string version;
};

class enrolment {
public:
  enrolment(transport::tls::authority authority,
            join_terms terms,
            std::function<std::int64_t()> unix_s)
      : authority_{std::move(authority)}, terms_{std::move(terms)}, unix_s_{std::move(unix_s)} {}

  /// Reads and checks the body of POST /api/v1/join, as far as that takes no token: fields, roles,
  /// the request's own signature, and that the clocks agree.
  result<join_request> read_join(std::string_view body) const;
  /// Takes a use of the token and gives the node its number. On the coordinator's state.
  static result<node_id> admit(cluster::control& on, const join_request& r);
  /// Its certificate, which is noted, and all else. To be told once that is durable. On the
  /// coordinator's state.
  result<boost::json::object>
  welcome(cluster::control& on, const join_request& r, node_id node) const;

  /// The certificate of POST /api/v1/renew, if it may be renewed by now.
  struct renewal {
    transport::tls::certificate_facts facts;
    std::string csr;
  };
  result<renewal> read_renewal(std::string_view body) const;
  /// A gateway that waits for questions (request_hub.hpp) shows what it would renew its certificate
  /// with, and brings answers. errc::unauthorised: it is no gateway.
  struct line {
    transport::tls::certificate_facts facts;
    boost::json::array answers;
  };
  result<line> read_line(std::string_view body) const;
  /// Whether the node is one still, and the certificate not revoked. On the coordinator's state.
  static result<void> check_member(const cluster::control& on,
                                   const transport::tls::certificate_facts& shown,
                                   time_point_ns now);
  /// A certificate, which is noted. errc::overloaded: the node has had too many of late. On the
  /// coordinator's state.
  result<boost::json::object> renew(cluster::control& on, const renewal& r) const;

private:
  result<renewal> read_proof(const boost::json::object& o) const;
  result<std::string> issue(cluster::control& on,
                            const std::string& csr,
                            node_id node,
                            const std::vector<std::string>& roles) const;

  transport::tls::authority authority_;
  join_terms terms_;
  std::function<std::int64_t()> unix_s_;
};

}  // namespace atl::ops
