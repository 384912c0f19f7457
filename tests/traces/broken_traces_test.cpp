// Broken trace files and the message that a user gets: place, field, what was read, what was
// expected.
#include <zlib.h>

#include "sim/base/diagnostics.h"
#include "tests/traces/trace_fixture.h"
#include "traces/byte_source.h"

namespace kvsim {
namespace {

using test::Pairs;
using test::TempFile;

struct Broken {
  const char* name;
  const char* format;
  std::string content;
  int line;             // that the message names; 0 = the file as a whole
  std::string message;  // part of the text after the place
  Pairs params = {};
};

const std::string kMooncakeRow =
    "{\"timestamp\": 5, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [0, 1]}\n";
const std::string kVidurHeader = "arrived_at,num_prefill_tokens,num_decode_tokens\n";
const std::string kAzureHeader = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
const std::string kBurstHeader =
    "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n";

std::string gzip(const std::string& text) {
  const TempFile file("", ".gz");
  ByteSink sink(file.path());
  sink.write(text.data(), text.size());
  sink.close();
  std::ifstream in(file.path(), std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string cut_gzip() {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += kMooncakeRow;
  std::string packed = gzip(text);
  packed.resize(packed.size() - 12);
  return packed;
}

std::string damaged_gzip() {
  std::string packed = gzip(kMooncakeRow);
  packed[packed.size() - 6] = static_cast<char>(packed[packed.size() - 6] ^ 1);  // the checksum
  return packed;
}

std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']');
}

std::string agent(const std::string& requests) {
  return "{\"id\": \"a\", \"block_size\": 64, \"requests\": " + requests + "}\n";
}

std::string client(const std::string& rates, const std::string& input = "{\"10\": 1.0}") {
  return "{\"client\": 1, \"rates\": " + rates +
         ", \"lengths\": {\"0\": {\"input_tokens\": " + input +
         ", \"output_tokens\": {\"5\": 1.0}}}}\n";
}

std::string mooncake_row(const std::string& time, const std::string& in, const std::string& out,
                         const std::string& ids) {
  return kMooncakeRow + "{\"timestamp\": " + time + ", \"input_length\": " + in +
         ", \"output_length\": " + out + ", \"hash_ids\": " + ids + "}\n";
}

std::vector<Broken> mooncake_files() {
  return {
      {"empty file", "mooncake", "", 0, "the trace holds no records"},
      {"only blank lines", "mooncake", "\n \n\r\n", 3, "the trace holds no records"},
      {"truncated JSON", "mooncake", kMooncakeRow + "{\"timestamp\": 6, \"input_length\": 6", 2,
       "malformed JSON"},
      {"truncated in a string", "mooncake", kMooncakeRow + "{\"timestamp\": 6, \"inp", 2,
       "malformed JSON"},
      {"truncated in the ids", "mooncake", kMooncakeRow + "{\"timestamp\": 6, \"hash_ids\": [1, 2",
       2, "malformed JSON"},
      {"no object", "mooncake", "[1, 2]\n", 1, "read '[1, 2]', expected a JSON object"},
      {"text after the object", "mooncake",
       "{\"timestamp\": 5, \"input_length\": 6, \"output_length\": 5} x\n", 1, "malformed JSON"},
      {"two objects on a line", "mooncake",
       "{\"timestamp\": 5, \"input_length\": 6, \"output_length\": 5}{}\n", 1,
       "malformed JSON: text after the end"},
      {"binary garbage", "mooncake",
       std::string("\x7f"
                   "ELF\x02\x01\x00\x00\xff\xfe",
                   10),
       1, "error: "},
      {"invalid UTF-8", "mooncake", "{\"timestamp\": 5, \"x\": \"\xff\xfe\"}\n", 1,
       "malformed JSON: The input is not valid UTF-8"},
  };
}

std::vector<Broken> mooncake_values() {
  return {
      {"text as length", "mooncake", mooncake_row("6", "\"600\"", "5", "[0]"), 2,
       "input_length: read '\"600\"', expected a whole number of tokens from 0 to 100000000"},
      {"fraction as length", "mooncake", mooncake_row("6", "600.5", "5", "[0]"), 2,
       "input_length: read '600.5', expected a whole number"},
      {"negative length", "mooncake", mooncake_row("6", "-600", "5", "[0]"), 2,
       "input_length: read '-600', expected a whole number of tokens"},
      {"no input", "mooncake", mooncake_row("6", "0", "5", "[]"), 2,
       "input_length: read '0', expected a whole number of tokens from 1"},
      {"no output", "mooncake", mooncake_row("6", "600", "0", "[0, 1]"), 2,
       "(parameter zero_lengths: one takes it as 1, skip leaves it out)"},
      {"absurd length", "mooncake", mooncake_row("6", "100000001", "5", "[0]"), 2,
       "input_length: read '100000001', expected a whole number of tokens from 0 to 100000000"},
      {"length beyond 64 bits", "mooncake", mooncake_row("6", "99999999999999999999", "5", "[0]"),
       2, "input_length: read '99999999999999999999'"},
      {"null length", "mooncake", mooncake_row("6", "null", "5", "[0]"), 2,
       "input_length: read 'null', expected a whole number"},
      {"NaN as time", "mooncake", mooncake_row("NaN", "600", "5", "[0, 1]"), 2,
       "timestamp: read 'NaN', expected a number from 0"},
      {"infinite time", "mooncake", mooncake_row("1e999", "600", "5", "[0, 1]"), 2,
       "timestamp: read '1e999', expected a number"},
      {"negative time", "mooncake", mooncake_row("-1", "600", "5", "[0, 1]"), 2,
       "timestamp: read '-1', expected a number from 0"},
      {"time in ns since 1970", "mooncake",
       mooncake_row("1700000000000000000", "600", "5", "[0, 1]"), 2, "timestamp: read '1.7e+18'"},
      {"not sorted", "mooncake", mooncake_row("4", "600", "5", "[0, 1]"), 2,
       "arrives at 0.004 s, before the record of line 1 (0.005 s)"},
      {"too few ids", "mooncake", mooncake_row("6", "600", "5", "[0]"), 2,
       "hash_ids: read 1 ids, expected 2 for 600 prompt tokens in blocks of 512"},
      {"too many ids", "mooncake", mooncake_row("6", "512", "5", "[0, 1]"), 2,
       "hash_ids: read 2 ids, expected 1"},
      {"other block size",
       "mooncake",
       kMooncakeRow,
       1,
       "expected 10 for 600 prompt tokens in blocks of 64",
       {{"hash_block", "64"}}},
      {"negative id", "mooncake", mooncake_row("6", "600", "5", "[0, -1]"), 2,
       "hash_ids[1]: read '-1', expected a whole number, 0 or more"},
      {"ids no list", "mooncake", mooncake_row("6", "600", "5", "7"), 2,
       "hash_ids: read '7', expected a list of whole numbers"},
      {"no timestamp", "mooncake", "{\"input_length\": 6, \"output_length\": 5}\n", 1,
       "timestamp: is missing"},
      {"delays only", "mooncake", "{\"delay\": 5, \"input_length\": 6, \"output_length\": 5}\n", 1,
       "rows that follow a 'delay' after another are not supported"},
      {"field twice", "mooncake",
       "{\"timestamp\": 5, \"created_time\": 6, \"input_length\": 6, \"output_length\": 5}\n", 1,
       "created_time: is given twice"},
      {"deep nesting", "mooncake",
       "{\"timestamp\": 5, \"input_length\": 6, \"output_length\": 5, \"hash_ids\": " +
           nested(100'000) + "}\n",
       1, "hash_ids"},
      {"NUL byte", "mooncake", kMooncakeRow + std::string("{\"timestamp\": \0 6}\n", 18), 2,
       "error: "},
      {"truncated gzip", "mooncake", cut_gzip(), 0, "the gzip data ends too early"},
      {"damaged gzip", "mooncake", damaged_gzip(), 0, "damaged gzip data"},
      {"gzip magic only", "mooncake", "\x1f\x8b", 0, "the gzip data ends too early"},
      {"zstd magic and nonsense", "mooncake", "\x28\xb5\x2f\xfd nonsense", 0, "zstd data"},
      {"overlong line", "mooncake", std::string((64U << 20) + 2, 'x'), 1,
       "the line is longer than 64 MiB"},
  };
}

std::vector<Broken> csv_files() {
  return {
      {"empty file", "vidur", "", 0, "the file is empty"},
      {"header only", "vidur", kVidurHeader, 1, "the trace holds no records"},
      {"wrong header", "vidur", kAzureHeader + "1,2,3\n", 1,
       "has no column 'num_prefill_tokens', expected in the first line; it names: TIMESTAMP, "
       "ContextTokens"},
      {"lengths only", "vidur", "num_prefill_tokens,num_decode_tokens\n1,2\n", 1,
       "has no column 'arrived_at': this file holds lengths only"},
      {"column twice", "vidur", "arrived_at,num_prefill_tokens,num_decode_tokens,arrived_at\n", 1,
       "two columns are called 'arrived_at'"},
      {"missing cell", "vidur", kVidurHeader + "1,2,3\n1,2\n", 3,
       "read 2 columns, expected 3 as in the first line"},
      {"extra cell", "vidur", kVidurHeader + "1,2,3,4\n", 2, "has more than the 3 columns"},
      {"text as tokens", "vidur", kVidurHeader + "1,two,3\n", 2,
       "num_prefill_tokens: read 'two', expected a whole number of tokens"},
      {"fraction as tokens", "vidur", kVidurHeader + "1,2,3.5\n", 2,
       "num_decode_tokens: read '3.5'"},
      {"empty cell", "vidur", kVidurHeader + "1,,3\n", 2, "num_prefill_tokens: read ''"},
      {"zero tokens", "vidur", kVidurHeader + "1,2,0\n", 2, "num_decode_tokens: read '0'"},
      {"NaN", "vidur", kVidurHeader + "nan,2,3\n", 2,
       "arrived_at: read 'nan', expected a number of seconds"},
      {"infinity", "vidur", kVidurHeader + "inf,2,3\n", 2, "arrived_at: read 'inf'"},
      {"negative time", "vidur", kVidurHeader + "-0.5,2,3\n", 2, "arrived_at: read '-0.5'"},
      {"not sorted", "vidur", kVidurHeader + "2,2,3\n1,2,3\n", 3,
       "arrives at 1 s, before the record of line 2 (2 s)"},
      {"NUL bytes", "vidur", kVidurHeader + std::string("1,2\0,3\n", 7), 2, "holds a NUL byte"},
      {"open quote", "vidur", kVidurHeader + "1,\"2,3\n", 2, "a quote is not closed"},
      {"binary", "azure", std::string("\x89PNG\r\n\x1a\n\0\0\0", 11), 1,
       "has no column 'TIMESTAMP'"},
      {"control characters", "splitwise",
       "arrival_timestamp,prompt_size,token_size\n1,\x01\x02,3\n", 2,
       "prompt_size: read '\\x01\\x02'"},
      {"bad date", "azure", kAzureHeader + "2023-02-29 00:00:00,5,5\n", 2,
       "TIMESTAMP: read '2023-02-29 00:00:00', expected a time such as"},
      {"seconds as date", "azure", kAzureHeader + "17.5,5,5\n", 2, "TIMESTAMP: read '17.5'"},
      {"before the first row", "azure",
       kAzureHeader + "2023-11-16 18:15:46.68,5,5\n2023-11-16 18:15:46.67,5,5\n", 3,
       "a time not before the first row's"},
      {"negative tokens", "azure", kAzureHeader + "2023-11-16 18:15:46.68,-5,5\n", 2,
       "ContextTokens: read '-5'"},
      {"huge tokens", "splitwise",
       "arrival_timestamp,prompt_size,token_size\n1,9223372036854775808,3\n", 2,
       "prompt_size: read '9223372036854775808'"},
      {"all failed", "burstgpt", kBurstHeader + "5,GPT-4,10,0,10,API log\n", 2,
       "all 1 records of the trace were left out"},
      {"request without tokens", "burstgpt", kBurstHeader + "5,GPT-4,0,7,10,API log\n", 2,
       "Request tokens: read '0'"},
      {"no model column",
       "burstgpt",
       "Timestamp,Request tokens,Response tokens\n",
       1,
       "has no column 'Model'",
       {{"model", "GPT-4"}}},
  };
}

std::vector<Broken> json_files() {
  return {
      {"fewer ids than tokens", "token-ids",
       "{\"input_toks\": 3, \"output_toks\": 1, \"arrival_time_ns\": 0, \"input_tok_ids\": [1, "
       "2]}\n",
       1, "input_tok_ids: read 2 token ids, expected 3"},
      {"no arrival", "token-ids", "{\"input_toks\": 3, \"output_toks\": 1}\n", 1,
       "arrival_time_ns: is missing"},
      {"no output", "token-ids", "{\"input_toks\": 3, \"arrival_time_ns\": 1}\n", 1,
       "output_toks: is missing"},
      {"negative pause", "token-ids",
       "{\"arrival_time_ns\": 1, \"sub_requests\": [{\"input_toks\": 3, \"output_toks\": 1, "
       "\"tool_duration_ns\": "
       "-5}]}\n",
       1, "sub_requests[0].tool_duration_ns: read '-5'"},
      {"no sub-requests", "token-ids", "{\"arrival_time_ns\": 1, \"sub_requests\": []}\n", 1,
       "sub_requests: is an empty list"},
      {"a shrinking context",
       "token-ids",
       "{\"arrival_time_ns\": 1, \"sub_requests\": [{\"input_toks\": 3, \"output_toks\": 1}, "
       "{\"input_toks\": 3, \"output_toks\": 1}]}\n",
       1,
       "sub_requests[1].input_toks: read 3, expected at least the 4",
       {{"tools_inside", "true"}}},
      {"both forms", "token-ids",
       "{\"arrival_time_ns\": 1, \"input_toks\": 3, \"sub_requests\": [{\"input_toks\": 3, "
       "\"output_toks\": 1}]}\n",
       1, "expected one of the two forms"},
      {"not sorted", "token-ids",
       "{\"input_toks\": 3, \"output_toks\": 1, \"arrival_time_ns\": 9}\n{\"input_toks\": 3, "
       "\"output_toks\": 1, "
       "\"arrival_time_ns\": 8}\n",
       2, "before the record of line 1"},
      {"no chat id", "qwen-bailian",
       "{\"timestamp\": 1, \"input_length\": 3, \"output_length\": 1}\n", 1, "chat_id: is missing"},
      {"wrong hash count", "qwen-bailian",
       "{\"chat_id\": 1, \"timestamp\": 1, \"input_length\": 33, \"output_length\": 1, "
       "\"hash_ids\": [1]}\n",
       1, "hash_ids: read 1 hashes, expected 3"},
      {"turn 0", "qwen-bailian",
       "{\"chat_id\": 1, \"turn\": 0, \"timestamp\": 1, \"input_length\": 33, \"output_length\": "
       "1}\n",
       1, "turn: read '0'"},
  };
}

std::vector<Broken> list_and_session_files() {
  return {
      {"no list", "sharegpt", "{\"id\": 1}", 1, "expected a JSON list, '[' first"},
      {"empty file", "sharegpt", " \n", 2, "the file is empty"},
      {"empty list", "sharegpt", "[]", 0, "the trace holds no records"},
      {"list of numbers", "sharegpt", "[\n1]", 2, "expected an object in the list"},
      {"list not closed", "sharegpt",
       "[{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", "
       "\"value\": \"b\"}]}\n",
       2, "the JSON list ends too early"},
      {"object not closed", "sharegpt", "[\n\n{\"conversations\": [", 3,
       "the object that begins here is not closed"},
      {"unknown speaker", "sharegpt",
       "[{\"conversations\": [{\"from\": \"alien\", \"value\": \"a\"}]}]", 1,
       "conversations[0].from: read 'alien', expected human, gpt"},
      {"no text", "sharegpt", "[{\"conversations\": [{\"from\": \"human\"}]}]", 1,
       "conversations[0].value: is missing"},
      {"text after the list", "sharegpt",
       "[{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", "
       "\"value\": \"b\"}]}]\n{}",
       2, "text after the end of the JSON list"},
      {"no id", "agentic-sessions", "{\"block_size\": 64, \"requests\": []}\n", 1,
       "id: is missing"},
      {"no requests", "agentic-sessions", agent("[]"), 1, "requests: holds no request"},
      {"wrong id count", "agentic-sessions",
       agent("[{\"t\": 0, \"type\": \"n\", \"in\": 130, \"out\": 1, \"runs\": [[1, 3]]}]"), 1,
       "requests[0]: read 3 block ids, expected 2 for 130 prompt tokens in full blocks of 64"},
      {"run of one number", "agentic-sessions",
       agent("[{\"t\": 0, \"type\": \"n\", \"in\": 130, \"out\": 1, \"runs\": [[1]]}]"), 1,
       "requests[0].runs[0]: expected [first id, count]"},
      {"negative thinking", "agentic-sessions",
       agent("[{\"t\": 0, \"type\": \"n\", \"in\": 10, \"out\": 1, \"think_time\": -1, \"runs\": "
             "[]}]"),
       1, "requests[0].think_time: read '-1'"},
      {"agents in agents", "agentic-sessions", agent([] {
         std::string s = "[]";
         for (int i = 0; i < 6; ++i)
           s = "[{\"t\": 0, \"type\": \"subagent\", \"requests\": " + s + "}]";
         return s;
       }()),
       1, "sub-agents are nested deeper than 4"},
      {"unknown pattern", "servegen", client("[[0, 1, 1, \"Pareto\", 1, 1]]"), 1,
       "rates[0][3]: read 'Pareto', expected Gamma or Weibull"},
      {"short row", "servegen", client("[[0, 1, 1, \"Gamma\", 1]]"), 1,
       "rates[0]: read 5 values, expected [t, rate, cv, pattern, shape, scale]"},
      {"windows out of order", "servegen",
       client("[[600, 1, 1, \"Gamma\", 1, 1], [0, 1, 1, \"Gamma\", 1, 1]]"), 1,
       "windows of 600 s in order"},
      {"probabilities", "servegen", client("[[0, 1, 1, \"Gamma\", 1, 1]]", "{\"10\": 0.5}"), 1,
       "lengths.0.input_tokens: the probabilities sum to 0.5, expected 1"},
      {"length no number", "servegen", client("[[0, 1, 1, \"Gamma\", 1, 1]]", "{\"ten\": 1}"), 1,
       "read 'ten', expected a whole number of tokens"},
      {"huge rate", "servegen", client("[[0, 1e9, 1, \"Gamma\", 1, 1]]"), 1,
       "rates[0][1]: read '1000000000', expected a number from 0 to 10000"},
  };
}

void expect_message(const Broken& b) {
  const TempFile file(b.content);
  try {
    const auto source = test::open_trace(b.format, file.path(), b.params);
    test::drain(*source);
    ADD_FAILURE() << b.format << ", " << b.name << ": was accepted";
  } catch (const InputError& e) {
    const std::string text = e.what();
    const std::string place =
        b.line > 0 ? file.path() + ":" + std::to_string(b.line) + ":" : file.path() + ": error: ";
    EXPECT_EQ(text.rfind(place, 0), 0U)
        << b.format << ", " << b.name << " at line " << b.line << ": " << text;
    EXPECT_NE(text.find(b.message), std::string::npos)
        << b.format << ", " << b.name << ": " << text;
  }
}

TEST(BrokenTraces, MessagesForMooncakeFiles) {
  for (const Broken& b : mooncake_files()) expect_message(b);
  for (const Broken& b : mooncake_values()) expect_message(b);
}
TEST(BrokenTraces, MessagesForCsvFiles) {
  for (const Broken& b : csv_files()) expect_message(b);
}
TEST(BrokenTraces, MessagesForOtherJsonFiles) {
  for (const Broken& b : json_files()) expect_message(b);
  for (const Broken& b : list_and_session_files()) expect_message(b);
}

// Lenient reading leaves the broken record out and never fails for it; damage to the file as a
// whole stays an error.
TEST(BrokenTraces, LenientReadingKeepsTheGoodRows) {
  TraceSource::Context lenient;
  lenient.lenient = true;
  int kept = 0;
  std::vector<Broken> all_files = mooncake_files();
  for (Broken& b : mooncake_values()) all_files.push_back(std::move(b));
  for (const Broken& b : all_files) {
    if (b.content.rfind(kMooncakeRow, 0) != 0 || !b.params.empty()) continue;
    const TempFile file(b.content);
    const auto source = test::open_trace(b.format, file.path(), b.params, lenient);
    const auto all = test::drain(*source);
    EXPECT_EQ(all.size() + source->skipped().records, 2U) << b.name;
    EXPECT_EQ(source->skipped().records + source->skipped().reordered, 1U) << b.name;
    EXPECT_EQ(source->skipped().first_reason.rfind(file.path() + ":2:", 0), 0U)
        << source->skipped().first_reason;
    ++kept;
  }
  EXPECT_GE(kept, 20);
}

TEST(BrokenTraces, MissingFileAndFolder) {
  for (const char* format : {"mooncake", "azure", "sharegpt", "servegen"}) {
    try {
      test::open_trace(format, "/nonexistent/trace.jsonl");
      ADD_FAILURE() << format;
    } catch (const InputError& e) {
      EXPECT_NE(std::string(e.what()).find(
                    "/nonexistent/trace.jsonl: error: cannot open: No such file or directory"),
                std::string::npos)
          << e.what();
    }
    EXPECT_THROW(test::drain(*test::open_trace(format, "/tmp")), InputError) << format;
  }
}

}  // namespace
}  // namespace kvsim
