// A blocking HTTP client for the router's tests: one connection, bytes in plain sight.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace slmmesh {

struct HttpReply {
  int status = 0;                              // 0: the connection broke
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class TestHttpClient {
 public:
  // `ca_file` empty: plaintext.
  explicit TestHttpClient(const std::string& address, const std::string& ca_file = "");
  ~TestHttpClient();

  void Send(const std::string& bytes);
  void SendRequest(const std::string& method, const std::string& path, const std::string& body,
                   const std::vector<std::string>& headers = {});
  HttpReply Receive();
  // The next bytes of the connection as they come, "" at its end.
  std::string ReceiveSome();
  // Until `end` has come; everything so far, also when the connection ends first.
  std::string ReceiveUntil(const std::string& end);
  void Close();

  HttpReply Post(const std::string& path, const std::string& body, const std::vector<std::string>& headers = {}) {
    SendRequest("POST", path, body, headers);
    return Receive();
  }
  HttpReply Get(const std::string& path, const std::vector<std::string>& headers = {}) {
    SendRequest("GET", path, "", headers);
    return Receive();
  }

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The JSON texts of a stream's events, [DONE] included.
std::vector<std::string> EventsOf(const std::string& body);

}  // namespace slmmesh
