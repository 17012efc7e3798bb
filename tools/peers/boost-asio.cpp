// SPDX-License-Identifier: MIT
//
// weft-peer-boost-asio echo: the server of weft-bench's workload net, by boost.asio on
// one thread (over epoll, as it is built by default): a session for each connection,
// which reads what there is and writes it back. A signal ends it. The acceptor and the
// sockets are told that they have one thread.
#include <boost/asio.hpp>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <utility>

namespace asio = boost::asio;
using asio::ip::tcp;
using error = boost::system::error_code;

namespace
{

constexpr std::size_t buffer_size = 16 * 1024;
constexpr std::chrono::milliseconds pause(10); // where there is no descriptor

class session : public std::enable_shared_from_this<session>
{
    public:
	explicit session(tcp::socket &&s) : socket(std::move(s))
	{
	}

	void read()
	{
		socket.async_read_some(
			asio::buffer(bytes),
			[self = shared_from_this()](error e, std::size_t n) {
				if (!e)
					self->write(n);
			});
	}

    private:
	void write(std::size_t n)
	{
		asio::async_write(
			socket, asio::buffer(bytes, n),
			[self = shared_from_this()](error e, std::size_t) {
				if (!e)
					self->read();
			});
	}

	tcp::socket socket;
	std::array<char, buffer_size> bytes;
};

class server
{
    public:
	explicit server(asio::io_context &context)
		: acceptor(context, { asio::ip::address_v4::loopback(), 0 }),
		  timer(context)
	{
		std::cout << "listening on " << acceptor.local_endpoint()
			  << std::endl;
	}

	void accept()
	{
		acceptor.async_accept([this](error e, tcp::socket s) {
			if (e)
				return accept_later();
			std::make_shared<session>(std::move(s))->read();
			accept();
		});
	}

    private:
	void accept_later()
	{
		timer.expires_after(pause);
		timer.async_wait([this](error) { accept(); });
	}

	tcp::acceptor acceptor;
	asio::steady_timer timer;
};

} // namespace

int main(int argc, char **argv)
try {
	if (argc != 2 || std::strcmp(argv[1], "echo") != 0) {
		std::fputs("usage: weft-peer-boost-asio echo, "
			   "as weft-bench runs it\n",
			   stderr);
		return 64;
	}
	asio::io_context context(1);
	server s(context);

	s.accept();
	context.run();
	return EXIT_SUCCESS;
} catch (const std::exception &e) {
	std::cout << "unavailable " << e.what() << std::endl;
	return EXIT_FAILURE;
}
