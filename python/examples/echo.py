# SPDX-License-Identifier: MIT
#
# echo.py [ADDRESS]: a server that sends back what it is sent, with a tasklet to a connection.
#
# Each is written as if it were alone: a call that would have to wait lets the others run. A
# client that says nothing for ten seconds is cut off. Without an ADDRESS, such as :7000 or
# unix:/tmp/echo, it serves a few clients of its own and ends.
import sys

import stackless
from weft import io

PATIENCE = 10  # seconds


def serve(connection):
    with connection:
        try:
            while True:
                with io.deadline(PATIENCE):
                    data = io.recv(connection, 4096)
                if not data:
                    return
                io.send_full(connection, data)
        except OSError as error:
            print("a client is cut off:", error)


def accept(server):
    with server:
        while True:
            connection, _ = io.accept(server)
            stackless.tasklet(serve)(connection)


def client(number, address, done):
    with io.dial(address) as connection:
        for text in ("hello", "and goodbye"):
            message = "%s from client %d" % (text, number)
            io.send_full(connection, message.encode())
            answer = io.recv_full(connection, len(message))
            done.send(answer.decode())
    done.send(None)


def main():
    if len(sys.argv) > 1:
        accept(io.listen(sys.argv[1]))
    server = io.listen("127.0.0.1:0")
    acceptor = stackless.tasklet(accept)(server)
    for number in range(3):
        done = stackless.channel()
        stackless.tasklet(client)(number, "%s:%d" % server.getsockname(), done)
        for answer in iter(done.receive, None):
            print(answer)
    acceptor.kill()


main()
