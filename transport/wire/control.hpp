// What nodes and the coordinator say to each other about who is there and who holds what, and how
// weights travel. Plain values; the rules written here are checked on both sides (check.cpp).
#pragma once

#include "runtime/base/ids.hpp"
#include "runtime/tensor/dtype.hpp"
#include "transport/frame.hpp"
#include "transport/wire/generation.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace atl::transport::wire {

// Limits of what is said here; those of layers, experts and entries are in rows.hpp.
inline constexpr std::uint32_t name_bytes_max = 255;
inline constexpr std::uint32_t ucx_bytes_max = 4096;  // of a worker's address; known: 500
inline constexpr std::uint32_t ticket_bytes = 32;     // of a ticket and of the key that makes it
inline constexpr std::uint32_t members_max = 4096;
inline constexpr std::uint32_t units_max = 1024;  // shards, and groups, of one node
/// Of all names, addresses and tickets of one `members`: with 200 bytes of tables for each member
/// it stays under metadata_bytes_max.
inline constexpr std::uint32_t members_bytes_max = 8U << 20;
inline constexpr std::uint32_t revoked_max = 65'536;  // certificates, and nodes removed
inline constexpr std::uint32_t leave_ms_max = 86'400'000;
inline constexpr std::uint32_t chunk_bytes_max = 4U << 20;
inline constexpr std::uint64_t expert_bytes_max = 1ULL
                                                  << 30;  // known: 84 MiB (3 x 7168 x 2048 bf16)

/// Rows/s of experts; no machine comes near.
inline constexpr float speed_max = 1e12F;

/// Whether a failure domain may be called so: 1 to 255 letters, digits and -_.:/ of ASCII.
bool is_domain_name(std::string_view name) noexcept;

// What a node does; a set of bits. Unknown bits are refused.
inline constexpr std::uint32_t role_coordinator = 1U << 0;
inline constexpr std::uint32_t role_gateway = 1U << 1;
inline constexpr std::uint32_t role_attention = 1U << 2;
inline constexpr std::uint32_t role_expert = 1U << 3;
inline constexpr std::uint32_t roles_known = (1U << 4) - 1;

/// One expert that a group holds, and the hash of its answer to the check row
/// (experts/store/check_row.hpp): equal weights and equal arithmetic give equal hashes.
struct checked_expert {
  std::uint64_t check = 0;
  layer_index layer;
  std::uint32_t expert = 0;
  friend bool operator==(const checked_expert&, const checked_expert&) = default;
};

/// node -> coordinator, on the control path: this life of the sender wants to be a member. Said
/// again when the path was lost, so that a restarted coordinator learns what is.
struct join {
  std::uint32_t roles = 0;    // at least one
  std::string name;           // for people, at most 255 bytes
  std::string version;        // of the program, at most 255 bytes
  std::string numeric_class;  // rows of one class are equal in every bit; at most 255 bytes
  std::string model;  // fingerprint of the checkpoint, at most 255 bytes; empty: it has none
  std::uint64_t expert_bytes = 0;     // memory for expert weights
  std::uint32_t shards = 0;           // attention shards it runs, at most units_max
  std::uint32_t groups = 0;           // expert groups it runs, at most units_max
  std::uint32_t sequences_max = 0;    // of each shard
  std::uint64_t pages_total = 0;      // of each shard
  std::string tls;                    // where it takes data frames, at most 255 bytes
  std::vector<std::byte> ucx;         // the address of its UCX worker, at most 4,096 bytes
  std::vector<std::byte> ticket_key;  // tickets for it are made with this: 0 or 32 bytes
  atl::epoch epoch;                   // of the placement its routers use, 0: none
  std::vector<checked_expert> held;   // in its first group
  tensor::dtype activations = tensor::dtype::f32;  // how its routers send rows; not f16
  /// Rows/s of one expert that its device computes, measured at the start; 0: not known. Compared
  /// with that of other nodes and with nothing else.
  float speed = 0;
  std::string domain;  // what fails with it (rack, zone), is_domain_name; empty: it alone
  // For people; at most 255 bytes each.
  std::string device;
  std::uint64_t memory_bytes = 0;  // that the process may use
  std::string instruction_set;
  friend bool operator==(const join&, const join&) = default;
};

/// coordinator -> node: the answer to join.
struct welcome {
  std::string cluster;            // id of the cluster, at most 255 bytes
  std::uint32_t group_first = 0;  // ids of the node's groups: group_first, group_first + 1, ...
  std::uint32_t shard_first = 0;  // likewise of its shards
  std::optional<failure> cause;   // it is no member, and why
  friend bool operator==(const welcome&, const welcome&) = default;
};

enum class member_state : std::uint8_t { alive, suspect, dead, draining, cordoned };

/// One member as another sees it.
struct member_info {
  node_id node;
  incarnation life;
  member_state state = member_state::alive;
  std::uint32_t roles = 0;
  std::uint32_t shards = 0;
  std::uint32_t shard_first = 0;
  std::uint32_t sequences_max = 0;
  std::uint64_t pages_total = 0;
  std::string name;
  std::string tls;
  std::vector<std::byte> ucx;
  std::vector<std::byte> ticket;  // for the receiver of this message to show to the member
  friend bool operator==(const member_info&, const member_info&) = default;
};

/// Of a certificate of the cluster's authority: 16 bytes, the first of them the highest.
struct certificate_serial {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend auto operator<=>(const certificate_serial&, const certificate_serial&) = default;
};
/// As in transport/tls/certificate.hpp: lower-case hex, 32 digits. Nothing for another text.
std::optional<certificate_serial> parse_serial(std::string_view hex) noexcept;
std::string to_text(certificate_serial serial);

/// coordinator -> every node, whenever it changes and after welcome: all members.
struct members {
  std::uint64_t version = 0;      // grows with every change, over restarts of the coordinator too
  std::vector<member_info> list;  // by ascending node, members_max and members_bytes_max at most
  // Who is not to be believed, as long as its certificates would be valid; revoked_max each.
  std::vector<certificate_serial> revoked = {};
  std::vector<std::uint32_t> removed = {};  // nodes, whatever certificate they show
  friend bool operator==(const members&, const members&) = default;
};

/// agent -> coordinator: the routers of the node use this epoch, and calls of `oldest` and later
/// ones may still be under way.
struct adopted {
  atl::epoch epoch;
  atl::epoch oldest;  // not after epoch
  friend bool operator==(const adopted&, const adopted&) = default;
};

/// coordinator -> agent: these copies are in no placement that is used any more.
struct release {
  atl::epoch epoch;  // the first without them
  group_id group;
  layer_index layer;
  std::vector<std::uint32_t> experts;
  friend bool operator==(const release&, const release&) = default;
};

/// node -> coordinator: the data path to a peer is lost, or is there again.
struct path_report {
  node_id peer;
  incarnation life;
  bool is_lost = true;
  std::string why;  // cut to text_bytes_max when encoded
  friend bool operator==(const path_report&, const path_report&) = default;
};

/// node -> coordinator: it wants to go within this time, its work moved off first.
struct leave {
  std::uint64_t deadline_ms = 0;  // at most a day
  friend bool operator==(const leave&, const leave&) = default;
};

/// coordinator -> node: it is no member any more. Without a cause it may go: nothing of the cluster
/// needs it.
struct dismissed {
  incarnation life;  // that is meant
  std::optional<failure> cause;
  friend bool operator==(const dismissed&, const dismissed&) = default;
};

/// agent -> agent, on the data path: bytes [offset, offset + length) of an expert's weights.
struct fetch {
  std::uint64_t number = 0;  // names the question; a repeat carries the same
  layer_index layer;
  std::uint32_t expert = 0;
  std::uint64_t offset = 0;  // below expert_bytes_max
  std::uint32_t length = 0;  // 1 to chunk_bytes_max
  friend bool operator==(const fetch&, const fetch&) = default;
};

/// One of an expert's three matrices as it lies in the bytes that travel: `rows` x `columns`
/// elements of `type` at `at`, and its scales (float32, scale_rows x scale_columns) at `scales_at`
/// where it has any. All within the bytes of the expert.
struct weight_part {
  std::uint64_t at = 0;
  std::uint64_t scales_at = 0;
  std::uint32_t rows = 0;
  std::uint32_t columns = 0;
  std::uint32_t scale_rows = 0;
  std::uint32_t scale_columns = 0;
  tensor::dtype type = tensor::dtype::bf16;
  friend bool operator==(const weight_part&, const weight_part&) = default;
};

/// agent -> agent: the answer to fetch. The bytes are the payload, at most chunk_bytes_max and with
/// a checksum in the header; they may be fewer than were asked for.
struct chunk {
  std::uint64_t number = 0;
  layer_index layer;
  std::uint32_t expert = 0;
  std::uint64_t offset = 0;            // of the first byte; offset + bytes <= total
  std::uint64_t total = 0;             // bytes of the whole expert, at most expert_bytes_max
  std::array<weight_part, 3> parts{};  // gate, up, down
  payload_ref bytes;                   // empty exactly where there is a cause
  std::optional<failure> cause;        // it is not held here
};

}  // namespace atl::transport::wire
