// atoll chat: a conversation at the terminal, or one question.
#include "runtime/model/chat.hpp"

#include "apps/commands.hpp"
#include "apps/generate.hpp"
#include "apps/inbox.hpp"
#include "apps/output.hpp"
#include "runtime/base/random.hpp"

#include <csignal>
#include <unistd.h>
#include <utility>

namespace atl::apps {
namespace {

constexpr std::string_view help_text =
    "  /reset   forget the conversation\n"
    "  /exit    leave (or Ctrl-D)\n"
    "  /help    this text\n"
    "  Ctrl-C stops an answer; at the prompt, twice, it leaves\n";

class conversation {
public:
  conversation(const chat_command_options& o,
               const model_files& found,
               model::chat_format format,
               actors::local_cluster& cluster)
      : options_{o}, found_{found}, format_{format}, cluster_{cluster} {
    reset();
  }

  void reset() {
    messages_.clear();
    if (!options_.system.empty()) messages_.push_back({"system", options_.system});
  }

  /// Streams the answer; both turns become history unless the request failed. Answers with the
  /// signal that cut it short, or 0.
  result<int> say(const std::string& text, output& to) {
    messages_.push_back({"user", text});
    auto outcome = answer_last(to);
    if (outcome.has_error()) messages_.pop_back();
    return outcome;
  }

  const speed_meter& speed() const { return speed_; }

private:
  /// A question after others: what has been said before is in the way.
  result<void> check_room(std::size_t tokens) const {
    const std::size_t alone = options_.system.empty() ? 1 : 2;
    const auto room = static_cast<std::size_t>(found_.cluster.context_max);
    if (tokens < room || messages_.size() == alone) return {};
    return error{errc::invalid_argument,
                 "the conversation has " + std::to_string(tokens) +
                     " tokens with this question and the context holds " + std::to_string(room) +
                     "; /reset forgets it and makes room"};
  }

  void tell_cut(std::int64_t tokens_max) const {
    if (options_.engine.quiet) return;
    note(tokens_max == options_.how.tokens_max
             ? "(cut after " + std::to_string(tokens_max) + " tokens; -n allows more)\n"
             : "(cut: the context of " + std::to_string(found_.cluster.context_max) +
                   " tokens is full; /reset forgets the conversation)\n");
  }

  result<int> answer_last(output& to) {
    prompt p;
    p.source = "the conversation";
    p.how = options_.how;
    ATOLL_ASSIGN(p.tokens,
                 model::encode_chat(*found_.words, format_, messages_, {options_.thinking}));
    ATOLL_TRY(check_room(p.tokens.size()));
    std::vector<prompt> one{std::move(p)};
    ATOLL_TRY(encode_prompts(
        one, found_.words.get(), false, found_.config.vocab_size, found_.cluster.context_max));
    std::string said;
    run_listener l;
    l.text = [&](std::size_t, std::string_view piece) -> result<void> {
      ATOLL_TRY(to.write(piece));
      return to.flush();
    };
    l.done = [&](std::size_t, answer&& done) -> result<void> {
      speed_.add(done);
      said = std::move(done.text);
      if (!said.ends_with('\n')) ATOLL_TRY(to.write("\n"));
      ATOLL_TRY(to.flush());
      if (done.finish == "length") tell_cut(one[0].how.tokens_max);
      return {};
    };
    ATOLL_ASSIGN(const run_outcome ran, run_prompts(cluster_, found_, one, {}, l));
    if (ran.failure) return *ran.failure;
    messages_.push_back({"assistant", said});
    return ran.interrupt;
  }

  const chat_command_options& options_;
  const model_files& found_;
  model::chat_format format_;
  actors::local_cluster& cluster_;
  std::vector<model::chat_message> messages_;
  speed_meter speed_;
};

/// A terminal may give bytes that are not UTF-8, and a pipe anything: such errors, and a prompt
/// that has grown too long, end a turn and not the conversation.
bool is_of_the_turn(const error& e) { return e.code() == errc::invalid_argument; }

/// A line that begins with a slash. True when the conversation goes on.
bool obey(const std::string& command, conversation& talk) {
  if (command == "/exit" || command == "/quit") return false;
  if (command == "/reset") {
    talk.reset();
    note("(forgotten)\n");
  } else {
    if (command != "/help") note("there is no " + command + "\n");
    note(help_text);
  }
  return true;
}

result<int> converse(conversation& talk, output& to) {
  line_reader lines;
  const bool is_person = ::isatty(STDIN_FILENO) == 1;
  if (is_person) note("Type /help for help. Ctrl-D leaves.\n");
  bool was_interrupted = false;
  for (;;) {
    if (is_person) note("> ");
    std::string line;
    const line_reader::outcome got = lines.read(line);
    if (got == line_reader::outcome::end) break;
    if (got == line_reader::outcome::interrupt) {
      if (was_interrupted || !is_person || lines.interrupt() != SIGINT)
        return 128 + lines.interrupt();
      was_interrupted = true;
      note("\n(Ctrl-C again, or Ctrl-D, to leave)\n");
      continue;
    }
    was_interrupted = false;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    if (line.front() == '/') {
      if (obey(line, talk)) continue;
      return 0;
    }
    const result<int> said = talk.say(line, to);
    if (said.has_error()) {
      if (!is_of_the_turn(said.error())) return said.error();
      note("atoll: " + said.error().message() + "\n");
    } else if (*said != 0) {
      if (!is_person || *said != SIGINT) return 128 + *said;
      note("\n(stopped)\n");
    }
  }
  if (is_person) note("\n");
  return 0;
}

result<model::chat_format> choose_format(const chat_command_options& o, const model_files& found) {
  if (!found.words)
    return error{errc::invalid_model,
                 found.directory + ": a chat needs tokenizer.json, which is missing there"};
  if (o.format.empty()) return model::detect_chat_format(*found.words);
  const auto chosen = model::chat_format_from_string(o.format);
  if (chosen) return *chosen;
  return error{errc::invalid_argument, "--chat-format " + o.format + ": choose v2, v3, r1 or v3.1"};
}

}  // namespace

result<int> run_chat(chat_command_options o) {
  hold_interrupts();
  const auto files = system_disk();
  ATOLL_ASSIGN(const model_files found, find_model(*files, o.engine));
  ATOLL_ASSIGN(const model::chat_format format, choose_format(o, found));
  if (o.question && o.question->empty())
    return error{errc::invalid_argument, "-q: the question is empty; give it some text"};
  if (!o.how.is_seeded) o.how.params.seed = system_entropy();
  ATOLL_ASSIGN(const auto cluster, start_engine(*files, found, o.engine));
  ATOLL_ASSIGN(output to, output::open(*files, ""));
  conversation talk{o, found, format, *cluster};
  if (!o.question) return converse(talk, to);
  ATOLL_ASSIGN(const int signal, talk.say(*o.question, to));
  if (!o.engine.quiet) note("atoll: " + talk.speed().summary(cluster->description()) + "\n");
  return signal == 0 ? 0 : 128 + signal;
}

}  // namespace atl::apps
