#include "apps/cluster/operator_session.hpp"

#include "runtime/base/disk.hpp"

#include <boost/json/parse.hpp>

#include <utility>

namespace atl::ops {
namespace {

std::string given_or(const std::string& given, std::string_view variable) {
  if (!given.empty()) return given;
  return model::system_environment()(variable).value_or("");
}

}  // namespace

error api_refusal(const std::string& server, const http::call_reply& reply) {
  error said = remote::refusal(server, reply.status, reply.headers, reply.body);
  std::string text = said.message();
  // The hint of the generation clients names options that commands of operators do not have.
  const std::size_t hint = text.find("; give a key by ");
  if (hint != std::string::npos) text.resize(hint);
  if (reply.status == 401) text += "; give a key by --admin-key-file FILE";
  return {said.code(), text};
}

result<operator_session> operator_session::open(const operator_server& at) {
  const auto files = system_disk();
  remote::server_options o;
  o.url = given_or(at.url, "ATOLL_SERVER");
  o.ca_file = given_or(at.ca_file, "ATOLL_CA");
  o.token_file = given_or(at.key_file, "ATOLL_ADMIN_KEY_FILE");
  if (o.url.empty())
    return error{errc::invalid_argument, "no coordinator: give --server URL, or set ATOLL_SERVER"};
  ATOLL_ASSIGN(auto connection, remote::connection_of(*files, o, model::system_environment()));
  if (!connection.server.is_tls && connection.server.host != "127.0.0.1" &&
      connection.server.host != "localhost" && connection.server.host != "::1")
    return error{errc::invalid_argument,
                 "--server " + o.url + ": the key would travel in clear text; give an https URL"};
  ATOLL_ASSIGN(auto by, http::client::create(std::move(connection)));
  return operator_session{o.url, std::move(by)};
}

result<boost::json::value> operator_session::ask(const std::string& method,
                                                 const std::string& path,
                                                 const std::string& body,
                                                 std::vector<http::header> headers) {
  http::call_request r;
  r.method = method;
  r.path = path;
  r.body = body;
  r.headers = std::move(headers);
  r.time = patience_;
  ATOLL_ASSIGN(const http::call_reply reply, by_->exchange(std::move(r)));
  if (reply.status < 200 || reply.status > 299) return api_refusal(url_, reply);
  boost::system::error_code code;
  boost::json::value parsed = boost::json::parse(reply.body, code);
  if (code) return error{errc::malformed_frame, url_ + path + ": the answer is no JSON"};
  return parsed;
}

void operator_session::pause(std::chrono::milliseconds time) {
  by_->after(time, [this] { by_->stop(); });
  by_->run();
}

}  // namespace atl::ops
